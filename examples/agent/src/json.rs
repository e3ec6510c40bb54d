//! JSON values: building, printing with indentation, and parsing what an upstream answered.

use std::fmt::{self, Write as _};

/// Answers nested deeper than this are kept as text: the parser must not be driven into the ground.
const MAX_NESTING: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// A number as it was written, so that none loses digits on its way through.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// Fields in the order they were added.
    Object(Vec<(String, Json)>),
}

impl Json {
    pub fn text(value: impl Into<String>) -> Self {
        Json::Text(value.into())
    }

    pub fn number(value: impl fmt::Display) -> Self {
        Json::Number(value.to_string())
    }

    pub fn object<const N: usize>(fields: [(&str, Json); N]) -> Self {
        Json::Object(fields.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Adds a field to an object; anything else stays as it is.
    pub fn push(&mut self, name: &str, value: Json) {
        if let Json::Object(fields) = self {
            fields.push((name.to_owned(), value));
        }
    }

    /// The whole of `text` as one value, or nothing where it is not JSON.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { rest: text };
        let value = parser.value(0)?;
        parser.skip_space();
        parser.rest.is_empty().then_some(value)
    }

    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(text) => write_text(out, text),
            Json::List(items) => write_block(out, indent, ['[', ']'], items, |out, item| {
                item.write(out, indent + 1);
            }),
            Json::Object(fields) => {
                write_block(out, indent, ['{', '}'], fields, |out, (name, value)| {
                    write_text(out, name);
                    out.push_str(": ");
                    value.write(out, indent + 1);
                });
            }
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out, 0);
        f.write_str(&out)
    }
}

fn write_block<T>(
    out: &mut String,
    indent: usize,
    [open, close]: [char; 2],
    items: &[T],
    mut write: impl FnMut(&mut String, &T),
) {
    out.push(open);
    for (place, item) in items.iter().enumerate() {
        out.push_str(if place == 0 { "\n" } else { ",\n" });
        out.extend(std::iter::repeat_n("  ", indent + 1));
        write(out, item);
    }
    if !items.is_empty() {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", indent));
    }
    out.push(close);
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > MAX_NESTING {
            return None;
        }
        self.skip_space();
        match self.rest.chars().next()? {
            'n' => self.take("null").map(|()| Json::Null),
            't' => self.take("true").map(|()| Json::Bool(true)),
            'f' => self.take("false").map(|()| Json::Bool(false)),
            '"' => self.string().map(Json::Text),
            '[' => self.list(depth),
            '{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Json> {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)))
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        // `f64` is a little more lenient than JSON ("1.", "+1"); printed digits are kept as they were.
        digits.parse::<f64>().ok()?;
        self.rest = rest;
        Some(Json::number(digits))
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        self.take("[")?;
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if items.is_empty() && self.take("]").is_some() {
                return Some(Json::List(items));
            }
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take("]").is_some() {
                return Some(Json::List(items));
            }
            self.take(",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.take("{")?;
        let mut fields = Vec::new();
        loop {
            self.skip_space();
            if fields.is_empty() && self.take("}").is_some() {
                return Some(Json::Object(fields));
            }
            let name = self.string()?;
            self.skip_space();
            self.take(":")?;
            fields.push((name, self.value(depth + 1)?));
            self.skip_space();
            if self.take("}").is_some() {
                return Some(Json::Object(fields));
            }
            self.take(",")?;
            self.skip_space();
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut out = String::new();
        loop {
            let at = self.rest.find(['"', '\\'])?;
            let (plain, rest) = self.rest.split_at(at);
            out.push_str(plain);
            self.rest = rest;
            if self.take("\"").is_some() {
                return Some(out);
            }
            self.take("\\")?;
            let escaped = self.rest.chars().next()?;
            self.rest = &self.rest[escaped.len_utf8()..];
            out.push(match escaped {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => self.unicode()?,
                '"' | '\\' | '/' => escaped,
                _ => return None,
            });
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        self.take("\\u")?;
        let second = self.hex()?.checked_sub(0xDC00)?;
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + second)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        self.rest = self.rest.get(4..)?;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_to_the_same_value() {
        let value = Json::object([
            (
                "text",
                Json::text("a \"quoted\"\\ line\nand \u{1} ünïcode 🦀"),
            ),
            (
                "list",
                Json::List(vec![Json::Null, Json::Bool(true), Json::number(-1.5e9)]),
            ),
            ("empty", Json::List(vec![])),
            ("none", Json::object([])),
        ]);
        assert_eq!(Json::parse(&value.to_string()), Some(value));
    }

    #[test]
    fn escapes_of_two_halves_become_one_character() {
        assert_eq!(
            Json::parse(r#" "\ud83e\udd80\u00e9" "#),
            Some(Json::text("🦀é"))
        );
    }

    #[test]
    fn what_is_not_json_is_refused_and_never_panics() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "\"\\u12\"",
            "\"\\ud800\"",
            "nul",
            "1 2",
            "\"\\",
            "[1",
            "\"é\\u00é\"",
        ] {
            assert_eq!(Json::parse(text), None, "{text}");
        }
        assert_eq!(Json::parse(&"[".repeat(100_000)), None);
    }
}
