//! What an agent wrote, made fit to be shown in its status: without the values of its environment (law 7), without
//! control characters, and short.
//!
//! Masked are the values, their lines, and every longer part of one that a URL, a list or JSON is made of, as written
//! and percent-encoded. What a program derives from a secret (a hash, base64) is not recognised; that is why lines of a
//! log are shown to those alone who may read the log.

use std::ops::Range;

use super::AgentSpec;

/// What stands in the place of a secret.
const STARS: &str = "***";
/// A whole value is masked from this length on.
const SHORTEST: usize = 4;
/// And from this one, when its variable's name says that it is a secret.
const SHORTEST_NAMED: usize = 2;
/// A part of a value is masked from this length on.
const SHORTEST_PART: usize = 6;
/// Numbers of fewer digits are ports, sizes and counts.
const SHORTEST_NUMBER: usize = 6;
/// Values that say too little to be a secret.
const HARMLESS: [&str; 6] = ["true", "false", "null", "none", "localhost", "0.0.0.0"];
/// Words in the name of a variable whose value is a secret however short.
const TELLING: [&str; 7] = [
    "PASS",
    "PWD",
    "SECRET",
    "TOKEN",
    "KEY",
    "CREDENTIAL",
    "AUTH_",
];
/// The longest line that is shown, in characters.
const LONGEST: usize = 240;

/// Texts that are never shown.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Secrets").field(&self.0.len()).finish()
    }
}

impl Secrets {
    /// The environment values of a spec, and further secrets.
    pub fn of(spec: &AgentSpec, further: impl IntoIterator<Item = String>) -> Self {
        let mut all = Vec::new();
        for (name, value) in &spec.env {
            let name = name.to_uppercase();
            let named = TELLING.iter().any(|word| name.contains(word));
            add(&mut all, value.as_str(), named);
        }
        for secret in further {
            add(&mut all, &secret, true);
        }
        let encoded: Vec<String> = all.iter().map(|secret| percent_encoded(secret)).collect();
        all.extend(encoded);
        all.sort();
        all.dedup();
        Self(all)
    }

    /// A line as it may be shown.
    pub fn mask(&self, line: &str) -> String {
        let mut found: Vec<Range<usize>> = Vec::new();
        for secret in &self.0 {
            let places = line.match_indices(secret.as_str());
            found.extend(places.map(|(at, text)| at..at + text.len()));
        }
        found.sort_by_key(|range| (range.start, range.end));
        let mut shown = String::new();
        let mut at = 0;
        for range in found {
            if range.start >= at {
                shown.push_str(line.get(at..range.start).unwrap_or_default());
                shown.push_str(STARS);
            }
            at = at.max(range.end);
        }
        shown.push_str(line.get(at..).unwrap_or_default());
        short(&plain(&shown))
    }
}

/// A value, its lines, and their parts.
fn add(all: &mut Vec<String>, value: &str, named: bool) {
    let least = if named { SHORTEST_NAMED } else { SHORTEST };
    let mut take = |text: &str, least: usize| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let short = text.len() < least || (digits && !named && text.len() < SHORTEST_NUMBER);
        if !short && !HARMLESS.contains(&text.to_lowercase().as_str()) {
            all.push(text.to_owned());
        }
    };
    take(value, least);
    for line in value.lines() {
        take(line.trim(), least);
        for part in line.split(|c: char| c.is_whitespace() || ",;:/@?&='\"{}[]()".contains(c)) {
            take(part, SHORTEST_PART.max(least));
        }
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

/// Without colours and other control characters.
fn plain(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' && rest.peek() == Some(&'[') {
            // An ANSI sequence ends with a letter or one of a few signs (ECMA-48, 5.4).
            rest.next();
            let _ = rest.find(|c| ('\u{40}'..='\u{7e}').contains(c));
        } else if c == '\t' {
            shown.push(' ');
        } else if !c.is_control() {
            shown.push(c);
        }
    }
    shown.trim_end().to_owned()
}

fn short(line: &str) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secrets(env: serde_json::Value) -> Secrets {
        let spec: AgentSpec = serde_json::from_value(serde_json::json!({ "env": env })).unwrap();
        Secrets::of(&spec, ["agent-token-1".to_owned()])
    }

    #[test]
    fn law_7_no_value_of_the_environment_is_shown() {
        let secrets = secrets(serde_json::json!({
            "API_KEY": "sk-12345", "PIN": "990011", "PASSWORD": "ab", "MODE": "fast",
            "DATABASE": "postgres://bob:hunter2!@db:5432/main",
            "HOSTS": ["alpha.example", "beta.example"],
            "CONFIG": {"inner": {"deep": "very-deep-secret"}},
            "PEM": "-----BEGIN-----\nMIIabcdef\n-----END-----\n",
            "PORT": 8000, "DEBUG": true,
        }));
        for (line, shown) in [
            ("key sk-12345 refused", "key *** refused"),
            ("pin=990011", "pin=***"),
            ("login bob/ab", "login bob/***"),
            ("mode fast", "mode ***"),
            ("cannot log in with hunter2!", "cannot log in with ***"),
            ("no beta.example", "no ***"),
            ("got very-deep-secret", "got ***"),
            ("  MIIabcdef", "  ***"),
            ("token agent-token-1", "token ***"),
            ("GET /?p=hunter2%21", "GET /?p=***"),
            (
                "listening on 8000, debug true",
                "listening on 8000, debug true",
            ),
        ] {
            assert_eq!(secrets.mask(line), shown);
        }
    }

    #[test]
    fn law_7_secrets_that_overlap_leave_nothing_between_them() {
        let secrets = secrets(serde_json::json!({"A": "abcdef", "B": "defghi"}));
        assert_eq!(secrets.mask("x abcdefghi y"), "x *** y");
        assert_eq!(secrets.mask("abcdefabcdef"), "******");
    }

    #[test]
    fn lines_are_plain_and_short() {
        let secrets = secrets(serde_json::json!({}));
        assert_eq!(secrets.mask("\u{1b}[1;31mred\u{1b}[0m\tend\r\n"), "red end");
        assert_eq!(secrets.mask(&"é".repeat(1000)).chars().count(), LONGEST + 1);
        assert_eq!(secrets.mask("\u{1b}["), "");
    }
}
