//! The type of a scalar that was written without quotes.

use serde_json::Number;

use super::tree::Kind;

/// The type of a plain scalar: YAML 1.2's core schema, but that numbers with a leading zero stay text (`0755`), as do
/// `yes`, `no`, `on` and `off`.
pub(super) fn infer(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    let radix = |digits: &str, radix| {
        let plain = digits.chars().all(|c| c.is_ascii_alphanumeric());
        plain.then(|| u64::from_str_radix(digits, radix).ok())?
    };
    let other = match text.split_at_checked(2) {
        Some(("0x", digits)) => radix(digits, 16),
        Some(("0o", digits)) => radix(digits, 8),
        _ => None,
    };
    if let Some(number) = other {
        return Kind::Number(number.into());
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let leading_zero =
        digits.len() > 1 && digits.starts_with('0') && digits.chars().all(|c| c.is_ascii_digit());
    if leading_zero || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Kind::Text;
    }
    if digits.chars().all(|c| c.is_ascii_digit()) {
        let number = if negative {
            text.parse::<i64>().ok().map(Number::from)
        } else {
            digits.parse::<u64>().ok().map(Number::from)
        };
        if let Some(number) = number {
            return Kind::Number(number);
        }
    }
    let float = digits
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        .then(|| text.parse::<f64>().ok())
        .flatten();
    match float.and_then(Number::from_f64) {
        Some(number) => Kind::Number(number),
        None => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tree::{Node, Place};

    fn json(text: &str) -> String {
        Node::scalar(text.to_owned(), true, Place::default())
            .to_json()
            .to_string()
    }

    #[test]
    fn plain_scalars_have_the_types_of_the_core_schema() {
        for (text, expected) in [
            ("8000", "8000"),
            ("-3", "-3"),
            ("+3", "3"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("0.5", "0.5"),
            (".5", "0.5"),
            ("1e3", "1000.0"),
            ("true", "true"),
            ("False", "false"),
            ("~", "null"),
            ("", "null"),
            ("yes", "\"yes\""),
            ("off", "\"off\""),
            ("0755", "\"0755\""),
            ("1_000", "\"1_000\""),
            ("1.2.3", "\"1.2.3\""),
            ("12:30", "\"12:30\""),
            (".inf", "\".inf\""),
            ("1e999", "\"1e999\""),
            ("0x", "\"0x\""),
            ("-", "\"-\""),
            (".", "\".\""),
            ("500m", "\"500m\""),
            ("0", "0"),
            ("-0", "0"),
        ] {
            assert_eq!(json(text), expected, "{text}");
        }
    }
}
