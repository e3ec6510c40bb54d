//! `.dockerignore`: which paths of a build context stay behind.
//!
//! The rules are those of Docker's `patternmatcher` (moby/patternmatcher, `MatchesOrParentMatches`) and not gitignore's: a
//! pattern is rooted at the context, `*` stops at a slash, `**` does not, `!` takes back, the last match wins.

/// The patterns of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    takes_back: bool,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// `**` at the end: anything.
    Anything,
    /// `**` elsewhere: nothing, or anything up to a slash.
    Folders,
    /// `*`: anything but a slash.
    Some,
    /// `?`: one character but a slash.
    One,
    /// `[a-z]`, `[^a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Itself.
    Literal(char),
}

impl Ignore {
    /// From the file's text.
    ///
    /// # Errors
    /// The line and what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            // A comment begins in the first column.
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if pattern.is_empty() {
                if takes_back {
                    return Err(format!("line {}: '!' needs a pattern", number + 1));
                }
                continue;
            }
            let pattern = clean(pattern);
            // The context itself is never left out.
            if pattern.is_empty() {
                continue;
            }
            let tokens = tokens(&pattern).map_err(|why| format!("line {}: {why}", number + 1))?;
            patterns.push(Pattern { takes_back, tokens });
        }
        Ok(Self { patterns })
    }

    /// The same, with one path always taken.
    pub(super) fn but_for(mut self, path: &str) -> Self {
        self.patterns.push(Pattern {
            takes_back: true,
            tokens: clean(path).chars().map(Token::Literal).collect(),
        });
        self
    }

    /// Whether a path (with `/`, seen from the context) stays behind.
    pub(super) fn ignores(&self, path: &str) -> bool {
        let parents = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        let candidates: Vec<Vec<char>> = std::iter::once(path)
            .chain(parents)
            .map(|path| path.chars().collect())
            .collect();
        let mut ignored = false;
        for pattern in &self.patterns {
            // A pattern that would change nothing need not be tried.
            if ignored == pattern.takes_back
                && candidates.iter().any(|path| matches(&pattern.tokens, path))
            {
                ignored = !pattern.takes_back;
            }
        }
        ignored
    }

    /// Whether something below an ignored folder may be taken all the same.
    pub(super) fn takes_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.takes_back)
    }
}

/// Go's `filepath.Clean`, seen from the context.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn tokens(pattern: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        let token = match char {
            '*' if chars.next_if_eq(&'*').is_some() => {
                while chars.next_if_eq(&'*').is_some() {}
                chars.next_if_eq(&'/');
                if chars.peek().is_none() {
                    Token::Anything
                } else {
                    Token::Folders
                }
            }
            '*' => Token::Some,
            '?' => Token::One,
            '\\' => Token::Literal(chars.next().ok_or("a backslash needs a character")?),
            '[' => class(&mut chars)?,
            other => Token::Literal(other),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, String> {
    let wrong = || "a '[' needs its ']'".to_owned();
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let first = match chars.next().ok_or_else(wrong)? {
            ']' if !ranges.is_empty() => return Ok(Token::Class { negated, ranges }),
            '\\' => chars.next().ok_or_else(wrong)?,
            char => char,
        };
        let last = if chars.next_if_eq(&'-').is_some() {
            chars.next().ok_or_else(wrong)?
        } else {
            first
        };
        ranges.push((first, last));
    }
}

/// Whether the whole path matches: every token moves a set of places, so that no pattern takes long.
fn matches(tokens: &[Token], path: &[char]) -> bool {
    let mut places = vec![false; path.len().saturating_add(1)];
    if let Some(first) = places.first_mut() {
        *first = true;
    }
    for token in tokens {
        let mut next = vec![false; places.len()];
        for (place, _) in places.iter().enumerate().filter(|(_, there)| **there) {
            let rest = path.get(place..).unwrap_or_default();
            let mut reach = |place: usize| {
                if let Some(there) = next.get_mut(place) {
                    *there = true;
                }
            };
            match token {
                Token::Anything => (place..=path.len()).for_each(reach),
                Token::Folders => {
                    reach(place);
                    for (offset, char) in rest.iter().enumerate() {
                        if *char == '/' {
                            reach(place + offset + 1);
                        }
                    }
                }
                Token::Some => {
                    let length = rest.iter().take_while(|char| **char != '/').count();
                    (place..=place + length).for_each(reach);
                }
                Token::One | Token::Class { .. } | Token::Literal(_) => {
                    if rest.first().is_some_and(|char| token.takes(*char)) {
                        reach(place + 1);
                    }
                }
            }
        }
        places = next;
    }
    places.last().copied().unwrap_or_default()
}

impl Token {
    fn takes(&self, char: char) -> bool {
        match self {
            Self::One => char != '/',
            Self::Class { negated, ranges } => {
                let within = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&char));
                within != *negated
            }
            Self::Literal(literal) => *literal == char,
            Self::Anything | Self::Folders | Self::Some => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_mean_what_docker_means() {
        // Pattern file, path, whether it stays behind. After moby/patternmatcher's own table.
        for (file, path, ignored) in [
            ("**", "file", true),
            ("**", "a/b", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir", "a/b/dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/*.txt", "a/b/file.txt", true),
            ("**/*.txt", "file.txt.bak", false),
            ("a**/*.txt", "a/file.txt", true),
            ("a/*.txt", "a/b/file.txt", false),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aee", false),
            ("a[^b-d]e", "aee", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a?b", "axb", true),
            ("a?b", "a/b", false),
            ("abc.def", "abcZdef", false),
            // Unlike gitignore, a name alone is rooted.
            ("node_modules", "node_modules/x/y", true),
            ("node_modules", "web/node_modules/x", false),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("/docs", "docs/a", true),
            ("./docs/", "docs/a", true),
            ("a/../docs", "docs/a", true),
            ("docs/*/x", "docs/a/x/deep", true),
            // The last match wins.
            ("*.md\n!README.md", "README.md", false),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                "README-secret.md",
                true,
            ),
            ("*\n!src", "src/main.rs", false),
            ("*\n!src\nsrc/*.tmp", "src/a.tmp", true),
            ("! keep\n*", "keep", true),
            // Comments, blanks, the context itself.
            ("# docs\n\n  \n.", "docs", false),
            (" docs ", "docs", true),
            ("\u{feff}docs", "docs", true),
        ] {
            let ignore = Ignore::parse(file).unwrap();
            assert_eq!(ignore.ignores(path), ignored, "{file:?} on {path:?}");
        }
    }

    #[test]
    fn a_wrong_pattern_is_named_by_its_line() {
        assert_eq!(
            Ignore::parse("a\n[b").unwrap_err(),
            "line 2: a '[' needs its ']'"
        );
        assert_eq!(
            Ignore::parse("!").unwrap_err(),
            "line 1: '!' needs a pattern"
        );
        assert!(Ignore::parse("a\\").is_err());
    }

    #[test]
    fn what_docker_needs_is_taken_whatever_the_patterns_say() {
        let ignore = Ignore::parse("*").unwrap().but_for("Dockerfile");
        assert!(!ignore.ignores("Dockerfile"));
        assert!(ignore.ignores("Dockerfile.dev"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let ignore = Ignore::parse(&"*a".repeat(200)).unwrap();
        assert!(!ignore.ignores(&"a".repeat(150)));
    }
}
