//! What others wrote of an agent, made fit to be shown: without the values of its environment (law 7).
//!
//! Of what the agent itself wrote are masked the values, their lines, and every longer part of one that a URL, a list or
//! JSON is made of, as written and percent-encoded. What a program derives from a secret (a hash, base64) is not
//! recognised; that is why lines of a log are shown to those alone who may read the log. Of the engine's words, which
//! repeat a value whole or not at all, only whole values are masked.
//!
//! What is public anyway (names, images) is shown even where it is a value too: stars for it would hide nothing, and say
//! to everybody who knows the name what the value is.

use std::ops::Range;

use crate::keys::TOKEN_VARIABLE;

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
/// What stands between the parts of a value, beside white space.
const BETWEEN: &str = ",;:/@?&='\"{}[]()";
/// The longest line that is shown, in characters.
const LONGEST: usize = 240;

/// Texts that are never shown, and those in which nothing is hidden.
#[derive(Clone, Default)]
pub struct Secrets {
    hidden: Vec<String>,
    public: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Secrets").field(&self.hidden.len()).finish()
    }
}

impl Secrets {
    /// What is secret in an agent's own words: variables with their values.
    pub fn of<'a, N, V>(env: impl IntoIterator<Item = (&'a N, &'a V)>) -> Self
    where
        N: AsRef<str> + 'a,
        V: AsRef<str> + 'a,
    {
        let mut all = Vec::new();
        for (name, value) in env {
            let (named, value) = (tells(name.as_ref()), value.as_ref());
            let least = if named { SHORTEST_NAMED } else { SHORTEST };
            take(&mut all, value, least, named);
            for line in value.lines() {
                take(&mut all, line.trim(), least, named);
                for part in line.split(|c: char| c.is_whitespace() || BETWEEN.contains(c)) {
                    take(&mut all, part, SHORTEST_PART.max(least), named);
                }
            }
        }
        let encoded: Vec<String> = all.iter().map(|secret| percent_encoded(secret)).collect();
        all.extend(encoded);
        Self::hiding(all)
    }

    /// What is secret in the engine's words: variables, or build arguments, with their values.
    pub fn whole<'a, N, V>(values: impl IntoIterator<Item = (&'a N, &'a V)>) -> Self
    where
        N: AsRef<str> + 'a,
        V: AsRef<str> + 'a,
    {
        let mut all = Vec::new();
        for (name, value) in values {
            take(&mut all, value.as_ref(), SHORTEST, tells(name.as_ref()));
        }
        Self::hiding(all)
    }

    fn hiding(mut hidden: Vec<String>) -> Self {
        hidden.sort();
        hidden.dedup();
        let public = Vec::new();
        Self { hidden, public }
    }

    /// With what we set ourselves in an agent's environment: public, but for its token.
    pub fn injected(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in variables {
            if name == TOKEN_VARIABLE {
                self.hidden.push(value);
            } else {
                self.public.push(value);
            }
        }
        self
    }

    /// The same, but for what is said in these texts, which everybody may know.
    pub fn but(mut self, public: impl IntoIterator<Item = String>) -> Self {
        self.public.extend(public);
        self
    }

    /// A text without secrets.
    pub fn mask(&self, text: &str) -> String {
        let public = places(text, &self.public);
        let within = |secret: &Range<usize>| {
            let mut public = public.iter();
            public.any(|public| public.start <= secret.start && secret.end <= public.end)
        };
        let mut found = places(text, &self.hidden);
        found.retain(|secret| !within(secret));
        found.sort_by_key(|range| (range.start, range.end));
        let mut shown = String::new();
        let mut at = 0;
        for range in found {
            if range.start >= at {
                shown.push_str(text.get(at..range.start).unwrap_or_default());
                shown.push_str(STARS);
            }
            at = at.max(range.end);
        }
        shown.push_str(text.get(at..).unwrap_or_default());
        shown
    }

    /// A line of a log as it may be shown: without secrets and control characters, and short.
    pub fn line(&self, line: &str) -> String {
        short(&plain(&self.mask(line)))
    }
}

/// Where a text holds one of these.
fn places(text: &str, these: &[String]) -> Vec<Range<usize>> {
    let these = these.iter().filter(|one| !one.is_empty());
    these
        .flat_map(|one| text.match_indices(one.as_str()))
        .map(|(at, found)| at..at + found.len())
        .collect()
}

/// Whether a variable's name says that its value is a secret.
fn tells(name: &str) -> bool {
    let name = name.to_uppercase();
    TELLING.iter().any(|word| name.contains(word))
}

/// Takes a value, or a part of one, if it is worth hiding.
fn take(all: &mut Vec<String>, text: &str, least: usize, named: bool) {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let short = text.len() < least || (digits && !named && text.len() < SHORTEST_NUMBER);
    if !short && !HARMLESS.contains(&text.to_lowercase().as_str()) {
        all.push(text.to_owned());
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
    use std::collections::BTreeMap;

    use super::*;

    const ENV: [(&str, &str); 10] = [
        ("API_KEY", "sk-12345"),
        ("PIN", "990011"),
        ("PASSWORD", "ab"),
        ("MODE", "fast"),
        ("DATABASE", "postgres://bob:hunter2!@db:5432/main"),
        ("HOSTS", "alpha.example,beta.example"),
        ("CONFIG", r#"{"inner":{"deep":"very-deep-secret"}}"#),
        ("PEM", "-----BEGIN-----\nMIIabcdef\n-----END-----\n"),
        ("PORT", "8000"),
        ("DEBUG", "true"),
    ];

    #[test]
    fn law_7_no_value_of_the_environment_is_shown() {
        let secrets = Secrets::of(&BTreeMap::from(ENV));
        for (line, shown) in [
            ("key sk-12345 refused", "key *** refused"),
            ("pin=990011", "pin=***"),
            ("login bob/ab", "login bob/***"),
            ("mode fast", "mode ***"),
            ("cannot log in with hunter2!", "cannot log in with ***"),
            ("no beta.example", "no ***"),
            ("got very-deep-secret", "got ***"),
            ("  MIIabcdef", "  ***"),
            ("GET /?p=hunter2%21", "GET /?p=***"),
            (
                "listening on 8000, debug true",
                "listening on 8000, debug true",
            ),
        ] {
            assert_eq!(secrets.line(line), shown);
        }
    }

    #[test]
    fn law_7_the_engine_repeats_values_whole() {
        let secrets = Secrets::whole(&BTreeMap::from(ENV)).injected([
            (TOKEN_VARIABLE.to_owned(), "agentainer.u1".to_owned()),
            ("AGENT_ID".to_owned(), "users".to_owned()),
        ]);
        for (text, shown) in [
            ("bad: sk-12345", "bad: ***"),
            ("no such mode: fast", "no such mode: ***"),
            ("at postgres://bob:hunter2!@db:5432/main", "at ***"),
            (
                "port 8000 of users, agentainer.u1",
                "port 8000 of users, ***",
            ),
            // Stars for what is short would garble it.
            ("available, main, 8000", "available, main, 8000"),
        ] {
            assert_eq!(secrets.mask(text), shown);
        }
    }

    #[test]
    fn law_7_secrets_that_overlap_leave_nothing_between_them() {
        let secrets = Secrets::of(&BTreeMap::from([("A", "abcdef"), ("B", "defghi")]));
        assert_eq!(secrets.mask("x abcdefghi y"), "x *** y");
        assert_eq!(secrets.mask("abcdefabcdef"), "******");
    }

    #[test]
    fn what_is_public_is_shown_and_whatever_is_more_than_that_is_not() {
        let secrets = Secrets::whole(&BTreeMap::from([
            ("SELF", "worker"),
            ("PART", "work"),
            ("PASSWORD", "worker-0-pass"),
            ("TOKEN", "0-1-secret"),
        ]))
        .but(["worker", "worker-0-1", ""].map(str::to_owned));
        for (text, shown) in [
            (
                "The name \"/worker-0-1\" is in use by worker",
                "The name \"/worker-0-1\" is in use by worker",
            ),
            ("at work in worker", "at *** in worker"),
            ("worker:worker-0-pass", "worker:***"),
            // Begins with what is public, and goes on.
            ("worker-0-1-secret", "worker-***"),
        ] {
            assert_eq!(secrets.mask(text), shown);
        }
    }

    #[test]
    fn lines_are_plain_and_short() {
        let secrets = Secrets::default();
        assert_eq!(secrets.line("\u{1b}[1;31mred\u{1b}[0m\tend\r\n"), "red end");
        assert_eq!(secrets.line(&"é".repeat(1000)).chars().count(), LONGEST + 1);
        assert_eq!(secrets.line("\u{1b}["), "");
    }
}
