//! An event's place in a run's stream: the id under which a client has it.

use std::fmt;

/// Behind the place of the last event, the id of a stream's end.
const END: &str = ".end";

/// Which delivery of the request it is of, and its number there, from 1. As text `2-17`, and, where the agent gave an id too,
/// `2-17:id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The delivery's fence.
    pub run: u64,
    /// The event's number in it.
    pub number: u64,
}

impl Place {
    /// Reads what a client sends as `Last-Event-ID`; the agent's own id behind it is of no matter.
    pub fn read(text: &[u8]) -> Option<Self> {
        let ours = text.split(|byte| *byte == b':').next()?;
        let (run, number) = std::str::from_utf8(ours).ok()?.split_once('-')?;
        Some(Self {
            run: digits(run)?,
            number: digits(number)?,
        })
    }

    /// Reads the id of a stream's end: `2-17.end3`, the place of its last event and the record's fence.
    pub fn read_end(text: &[u8]) -> Option<(Self, u64)> {
        let text = std::str::from_utf8(text).ok()?;
        let (place, token) = text.split_once(END)?;
        Some((Self::read(place.as_bytes())?, digits(token)?)).filter(|_| !place.contains(':'))
    }

    /// The id of the end of a stream whose last event this is, while the record has this fence.
    pub fn end(self, token: u64) -> String {
        format!("{self}{END}{token}")
    }

    /// As text, with the agent's own id where it gave one.
    pub fn with(self, id: &[u8]) -> Vec<u8> {
        let mut text = self.to_string().into_bytes();
        if !id.is_empty() {
            text.push(b':');
            text.extend_from_slice(id);
        }
        text
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.number)
    }
}

fn digits(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let place = Place { run: 2, number: 17 };
        for id in [&b""[..], b"a", b"a:b-c", b"\xff\xfe"] {
            assert_eq!(Place::read(&place.with(id)).unwrap(), place);
            assert_eq!(Place::read_end(&place.with(id)), None);
        }
        assert_eq!(Place::read_end(place.end(3).as_bytes()), Some((place, 3)));
        assert_eq!(Place::read(place.end(3).as_bytes()), None);
        assert_eq!(
            Place::read_end(&place.with(b"x.end3")),
            None,
            "an agent's own"
        );
        for wrong in [
            "",
            "2",
            "2-",
            "-2",
            "a-1",
            "1-+2",
            "1-2-3",
            "99999999999999999999-1",
            ":1-2",
        ] {
            assert_eq!(Place::read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
