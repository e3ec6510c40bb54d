//! WebSockets as a server speaks them (RFC 6455): the handshake, and an echo of every message until one side closes.

use std::io::{self, Read, Write};

/// A longer frame is refused.
const MAX_FRAME: u64 = 1 << 20;

const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The answer to a client's `Sec-WebSocket-Key` (section 4.2.2).
pub fn accept(key: &str) -> String {
    base64(&sha1(
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    ))
}

/// Sends every frame back as it came, until the client closes.
pub fn echo(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    loop {
        let mut head = [0; 2];
        from.read_exact(&mut head)?;
        let (flags, opcode) = (head[0] & 0xf0, head[0] & 0x0f);
        let masked = head[1] & 0x80 != 0;
        let length = match head[1] & 0x7f {
            126 => {
                let mut long = [0; 2];
                from.read_exact(&mut long)?;
                u64::from(u16::from_be_bytes(long))
            }
            127 => {
                let mut long = [0; 8];
                from.read_exact(&mut long)?;
                u64::from_be_bytes(long)
            }
            short => u64::from(short),
        };
        if !masked || length > MAX_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut mask = [0; 4];
        from.read_exact(&mut mask)?;
        let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
        from.read_exact(&mut payload)?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        match opcode {
            PING => frame(to, flags, PONG, &payload)?,
            PONG => {}
            CLOSE => return frame(to, flags, CLOSE, &payload),
            CONTINUATION..=2 => frame(to, flags, opcode, &payload)?,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn frame(to: &mut impl Write, flags: u8, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut bytes = vec![flags | opcode];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => bytes.extend((short as u8).to_be_bytes()),
        Ok(long) => {
            bytes.push(126);
            bytes.extend(long.to_be_bytes());
        }
        Err(_) => {
            bytes.push(127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    to.write_all(&bytes)
}

/// FIPS 180-4; good for nothing any more but this handshake.
fn sha1(data: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
    let mut padded = data.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((data.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut w = [0u32; 80];
        for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
            *word = bytes
                .iter()
                .fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for i in 16..80 {
            w[i] = (w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (i, word) in w.iter().enumerate() {
            let (f, k) = match i {
                0..20 => ((b & c) | (!b & d), 0x5a827999),
                20..40 => (b ^ c ^ d, 0x6ed9eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1bbcdc),
                _ => (b ^ c ^ d, 0xca62c1d6u32),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(f)
                .wrapping_add(e)
                .wrapping_add(k)
                .wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (word, add) in state.iter_mut().zip([a, b, c, d, e]) {
            *word = word.wrapping_add(add);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn base64(data: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in data.chunks(3) {
        let bits = three
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            if place <= three.len() {
                text.push(LETTERS[(bits >> (18 - 6 * place) & 63) as usize] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_own_handshake() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn messages_come_back_and_a_close_ends_it() {
        // "Hello" masked, as in section 5.7; a ping without payload; a close.
        let mut sent: &[u8] = &[
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58, 0x89, 0x80, 1, 2, 3,
            4, 0x88, 0x80, 1, 2, 3, 4, 9, 9,
        ];
        let mut back = Vec::new();
        echo(&mut sent, &mut back).unwrap();
        assert_eq!(back, b"\x81\x05Hello\x8a\x00\x88\x00");
        assert_eq!(sent, [9, 9]);
    }

    #[test]
    fn long_messages_come_back() {
        for length in [125usize, 126, 70_000] {
            let mut sent = vec![0x82];
            match length {
                125 => sent.push(0x80 | 125),
                126 => sent.extend([0x80 | 126, 0, 126]),
                _ => {
                    sent.push(0x80 | 127);
                    sent.extend((length as u64).to_be_bytes());
                }
            }
            sent.extend([0; 4]);
            sent.extend(vec![b'x'; length]);
            let mut back = Vec::new();
            // The client goes without a close: that is an end of the stream.
            assert!(echo(&mut sent.as_slice(), &mut back).is_err());
            assert!(back.ends_with(&vec![b'x'; length]));
        }
    }
}
