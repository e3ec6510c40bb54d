//! The end of an append-only file that was torn in the middle of a transaction, by a full disk or a kill.
//!
//! At its start Redis cuts off a torn command (`aof-load-truncated`), but keeps the `MULTI` and the whole commands before it. What
//! is written later then stands inside that transaction: at the start after next its part is carried out, though it never was
//! (seen with 7.0). A script's writes are such a transaction, so a half of one of ours would come to be.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// Cuts a transaction that has no end off the append-only file in a redis-server's folder for data, while none runs there. Answers
/// the file and how many bytes went, if any did.
///
/// Anything else that is wrong with the file is left to Redis, which says so.
///
/// # Errors
/// The file cannot be read or cut.
pub(super) fn cut(data: &Path) -> io::Result<Option<(PathBuf, u64)>> {
    let Some(path) = written_last(data)? else {
        return Ok(None);
    };
    let mut file = match File::open(&path) {
        Ok(file) => BufReader::with_capacity(1 << 16, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(begin) = unended(&mut file)? else {
        return Ok(None);
    };
    let file = OpenOptions::new().write(true).open(&path)?;
    let more = file.metadata()?.len().saturating_sub(begin);
    file.set_len(begin)?;
    file.sync_all()?;
    Ok(Some((path, more)))
}

/// The file that Redis writes to: since 7.0 the last increment in the manifest, before that the only one.
fn written_last(data: &Path) -> io::Result<Option<PathBuf>> {
    let folder = data.join("appendonlydir");
    let manifest = match std::fs::read_to_string(folder.join("appendonly.aof.manifest")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(data.join("appendonly.aof")));
        }
        Err(error) => return Err(error),
    };
    // `file appendonly.aof.3.incr.aof seq 3 type i`
    let increment = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.nth(1).map(str::to_owned);
        (words.last() == Some("i")).then_some(name).flatten()
    };
    let last = manifest.lines().filter_map(increment).next_back();
    Ok(last.map(|name| folder.join(name)))
}

/// Where the last transaction begins, if it does not end.
fn unended(file: &mut impl BufRead) -> io::Result<Option<u64>> {
    let (mut at, mut transaction) = (0_u64, None);
    loop {
        match command(file)? {
            Next::Command { length, name } => {
                match name.to_ascii_uppercase().as_slice() {
                    b"MULTI" => transaction = transaction.or(Some(at)),
                    b"EXEC" => transaction = None,
                    _ => {}
                }
                at = at.saturating_add(length);
            }
            Next::End => return Ok(transaction),
            // A snapshot before the commands, or damage.
            Next::Foreign => return Ok(None),
        }
    }
}

enum Next {
    Command {
        length: u64,
        name: Vec<u8>,
    },
    /// Of the file, be it in the middle of a command.
    End,
    Foreign,
}

/// Reads a command: `*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n`, or a line with a time (`#TS:…`).
fn command(file: &mut impl BufRead) -> io::Result<Next> {
    let (mut length, mut name) = (0, Vec::new());
    let count = match line(file)? {
        Line::Number(b'*', count, bytes) => {
            length += bytes;
            count
        }
        Line::Time(bytes) => {
            return Ok(Next::Command {
                length: bytes,
                name,
            });
        }
        Line::End => return Ok(Next::End),
        Line::Number(..) | Line::Foreign => return Ok(Next::Foreign),
    };
    for nth in 0..count {
        let size = match line(file)? {
            Line::Number(b'$', size, bytes) => {
                length += bytes + size + 2;
                size
            }
            Line::End => return Ok(Next::End),
            Line::Number(..) | Line::Time(_) | Line::Foreign => return Ok(Next::Foreign),
        };
        let mut word = file.by_ref().take(size + 2);
        let read = match nth {
            0 if size < 64 => word.read_to_end(&mut name)? as u64,
            _ => io::copy(&mut word, &mut io::sink())?,
        };
        if read < size + 2 {
            return Ok(Next::End);
        }
    }
    while name.last().is_some_and(u8::is_ascii_whitespace) {
        name.pop();
    }
    Ok(Next::Command { length, name })
}

enum Line {
    /// What it begins with, the number, and the line's length.
    Number(u8, u64, u64),
    Time(u64),
    End,
    Foreign,
}

fn line(file: &mut impl BufRead) -> io::Result<Line> {
    let mut text = Vec::new();
    // None of ours is longer; a file of another kind may have no ends of lines at all.
    let read = file.by_ref().take(64).read_until(b'\n', &mut text)? as u64;
    Ok(match text.split_first() {
        None => Line::End,
        Some((b'#', _)) => Line::Time(read),
        Some((kind, rest)) => {
            let Some(number) = rest.strip_suffix(b"\r\n") else {
                // Torn, or of another kind.
                return Ok(if read < 64 { Line::End } else { Line::Foreign });
            };
            let number = std::str::from_utf8(number).ok();
            // Redis takes no larger one.
            let number = number.and_then(|text| text.parse::<u32>().ok());
            number.map_or(Line::Foreign, |number| {
                Line::Number(*kind, number.into(), read)
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::unended;

    const WHOLE: &str = "*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n";
    const ALONE: &str = "#TS:1700000000\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n\r\nEX\r\n";

    fn cut_at(text: &str) -> Option<u64> {
        unended(&mut text.as_bytes()).unwrap()
    }

    #[test]
    fn a_transaction_that_is_torn_anywhere_is_cut_from_its_beginning() {
        let before = format!("{WHOLE}{ALONE}");
        let multi = "*1\r\n$5\r\nMULTI\r\n".len();
        for kept in 0..=WHOLE.len() {
            let torn = format!("{before}{}", &WHOLE[..kept]);
            let begins = (kept >= multi && kept < WHOLE.len()).then_some(before.len() as u64);
            assert_eq!(cut_at(&torn), begins, "{kept} bytes of it");
        }
    }

    #[test]
    fn what_is_no_torn_transaction_is_left_alone() {
        for kept in 0..=ALONE.len() {
            assert_eq!(cut_at(&format!("{WHOLE}{}", &ALONE[..kept])), None);
        }
        let snapshot = format!("REDIS0010{}*1\r\n$5\r\nMULTI\r\n", "\0".repeat(100));
        assert_eq!(cut_at(&snapshot), None);
        assert_eq!(
            cut_at("*1\r\n$5\r\nMULTI\r\n*x\r\n$4\r\nEXEC\r\n"),
            None,
            "damage"
        );
    }
}
