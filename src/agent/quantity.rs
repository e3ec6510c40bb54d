//! Amounts as people write them: CPU (`500m`, `0.5`), bytes (`512Mi`, `512M`), durations (`30s`, `1m30s`).
//!
//! Each parses from text or a plain number, keeps one canonical text, and so hashes the same however it was written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no quantity: what was given and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not {expected}")]
pub struct QuantityError {
    given: String,
    expected: &'static str,
}

fn wrong(given: &str, expected: &'static str) -> QuantityError {
    QuantityError {
        given: given.chars().take(40).collect(),
        expected,
    }
}

/// CPU time in thousandths of a core. `500m` and `0.5` are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "CpuForm")]
pub struct Cpu {
    /// Thousandths of a core.
    pub millis: u64,
}

/// Bytes. `512M` is 512 × 10⁶, `512Mi` is 512 × 2²⁰.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "BytesForm")]
pub struct Bytes {
    /// The number of bytes.
    pub bytes: u64,
}

/// A span of time in whole milliseconds: `250ms`, `30s`, `1m30s`, `24h`; a plain number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "SpanForm")]
pub struct Span {
    /// Milliseconds.
    pub millis: u64,
}

/// The forms that a CPU amount is written in (schema only).
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Cpu")]
#[expect(dead_code, reason = "describes the schema alone")]
enum CpuForm {
    /// Cores.
    Number(f64),
    /// `500m` or `0.5`.
    Text(#[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?m?$"))] String),
}

#[derive(JsonSchema)]
#[schemars(untagged, rename = "Bytes")]
#[expect(dead_code, reason = "describes the schema alone")]
enum BytesForm {
    /// Bytes.
    Number(u64),
    /// `512Mi`, `1G`, `4096`.
    Text(#[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?([kKMGTP]i?)?[bB]?$"))] String),
}

#[derive(JsonSchema)]
#[schemars(untagged, rename = "Span")]
#[expect(dead_code, reason = "describes the schema alone")]
enum SpanForm {
    /// Seconds.
    Number(f64),
    /// `250ms`, `30s`, `1m30s`, `24h`.
    Text(
        #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$|^[0-9]+(\.[0-9]+)?$"))]
        String,
    ),
}

/// A decimal number times `unit`, exactly, without floating point; `None` when it is none or too large.
fn decimal(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty()
        || !digits(whole)
        || !digits(fraction)
        || (text.contains('.') && fraction.is_empty())
    {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let (mut rest, mut scale): (u128, u128) = (0, 1);
    for digit in fraction.chars().take(18) {
        scale = scale.checked_mul(10)?;
        rest = rest
            .checked_mul(10)?
            .checked_add(u128::from(digit.to_digit(10)?))?;
    }
    let below_one = u128::from(unit).checked_mul(rest)? / scale;
    whole.checked_add(u64::try_from(below_one).ok()?)
}

impl FromStr for Cpu {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let expected = "a CPU amount: cores such as 0.5, or thousandths such as 500m";
        let millis = match text.strip_suffix('m') {
            Some(thousandths) => decimal(thousandths, 1),
            None => decimal(text, 1000),
        };
        millis
            .map(|millis| Self { millis })
            .ok_or_else(|| wrong(text, expected))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis.is_multiple_of(1000) {
            write!(f, "{}", self.millis / 1000)
        } else {
            write!(f, "{}m", self.millis)
        }
    }
}

/// Unit names, largest first within each family, with their number of bytes.
const BYTE_UNITS: [(&str, u64); 12] = [
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
    ("K", 1_000),
    ("", 1),
];

impl FromStr for Bytes {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let bare = text.strip_suffix(['B', 'b']).unwrap_or(text);
        BYTE_UNITS
            .iter()
            .find_map(|(suffix, unit)| {
                let number = bare.strip_suffix(suffix)?;
                decimal(number, *unit)
            })
            .map(|bytes| Self { bytes })
            .ok_or_else(|| {
                wrong(
                    text,
                    "an amount of bytes: 512Mi (2^20), 512M (10^6), 1Gi, 4096",
                )
            })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, unit): &&(&str, u64)| {
            *unit > 1 && self.bytes > 0 && self.bytes.is_multiple_of(*unit)
        };
        match BYTE_UNITS.iter().find(exact) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.bytes / unit),
            None => write!(f, "{}", self.bytes),
        }
    }
}

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self {
            millis: seconds * 1000,
        }
    }
    /// As the standard library's duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

const SPAN_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl FromStr for Span {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let expected = "a duration: 250ms, 30s, 1m30s, 24h";
        if let Some(millis) = decimal(text, 1000) {
            return Ok(Self { millis });
        }
        let mut rest = text;
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(wrong(text, expected));
        }
        while !rest.is_empty() {
            let number_end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(|| wrong(text, expected))?;
            let (number, tail) = rest.split_at(number_end);
            let (suffix, unit) = SPAN_UNITS
                .iter()
                .find(|(suffix, _)| tail.starts_with(suffix))
                .ok_or_else(|| wrong(text, expected))?;
            let part = decimal(number, *unit).ok_or_else(|| wrong(text, expected))?;
            total = total
                .checked_add(part)
                .ok_or_else(|| wrong(text, expected))?;
            rest = tail.strip_prefix(suffix).unwrap_or_default();
        }
        Ok(Self { millis: total })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.millis;
        for (suffix, unit) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            let count = rest / unit;
            if count > 0 {
                write!(f, "{count}{suffix}")?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

macro_rules! text_or_number {
    ($name:ident, $what:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
    };
}
text_or_number!(Cpu, "a CPU amount such as 500m or 0.5");
text_or_number!(Bytes, "an amount of bytes such as 512Mi");
text_or_number!(Span, "a duration such as 30s");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cpu_in_cores_and_thousandths_is_the_same() {
        assert_eq!(
            "500m".parse::<Cpu>().unwrap(),
            "0.5".parse::<Cpu>().unwrap()
        );
        assert_eq!("2".parse::<Cpu>().unwrap().millis, 2000);
        assert_eq!("1.5".parse::<Cpu>().unwrap().to_string(), "1500m");
        assert!(
            "".parse::<Cpu>().is_err()
                && "m".parse::<Cpu>().is_err()
                && "-1".parse::<Cpu>().is_err()
        );
    }

    #[test]
    fn decimal_and_binary_byte_units_differ() {
        assert_eq!("512M".parse::<Bytes>().unwrap().bytes, 512_000_000);
        assert_eq!("512Mi".parse::<Bytes>().unwrap().bytes, 512 << 20);
        assert_eq!("1.5Gi".parse::<Bytes>().unwrap().bytes, 3 << 29);
        assert_eq!("64Mi".parse::<Bytes>().unwrap().to_string(), "64Mi");
        assert!("99999999999999999999".parse::<Bytes>().is_err());
    }

    #[test]
    fn durations_keep_one_canonical_text() {
        for (given, canonical) in [
            ("90s", "1m30s"),
            ("1m30s", "1m30s"),
            ("250ms", "250ms"),
            ("30", "30s"),
            ("0s", "0s"),
            ("1d", "24h"),
        ] {
            assert_eq!(
                given.parse::<Span>().unwrap().to_string(),
                canonical,
                "{given}"
            );
        }
        assert!(
            "5x".parse::<Span>().is_err()
                && "".parse::<Span>().is_err()
                && "s".parse::<Span>().is_err()
        );
    }

    #[test]
    fn canonical_text_parses_to_the_same_value() {
        for millis in [0, 1, 999, 1000, 61_001, 86_400_000] {
            assert_eq!(
                Span { millis }.to_string().parse::<Span>().unwrap().millis,
                millis
            );
            assert_eq!(
                Bytes { bytes: millis }
                    .to_string()
                    .parse::<Bytes>()
                    .unwrap()
                    .bytes,
                millis
            );
            assert_eq!(
                Cpu { millis }.to_string().parse::<Cpu>().unwrap().millis,
                millis
            );
        }
    }
}
