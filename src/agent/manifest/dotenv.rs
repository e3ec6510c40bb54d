//! `envFile`: lines of `NAME=value`, as docker and compose read them. Values are taken as they stand: no `${…}`.
//!
//! Comments, `export`, single quotes (as is), double quotes (`\n`, `\t`, `\"`, `\\`, several lines) and a trailing
//! ` # comment`. A bare `NAME` takes the client's own value. Messages never hold a value.

use super::super::validate;

/// One line of the file.
#[derive(PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    /// Its value; `None`: the client's own.
    pub(super) value: Option<String>,
    /// The line it begins on, from 1.
    pub(super) line: usize,
}

/// A wrong line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrongLine {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Reads a file's text.
pub(super) fn parse(text: &str) -> (Vec<Variable>, Vec<WrongLine>) {
    let (mut variables, mut wrong) = (Vec::new(), Vec::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 0;
    while !rest.is_empty() {
        line += 1;
        let this = rest.split('\n').next().unwrap_or_default();
        let mut used = this.len();
        match assignment(this) {
            None => {}
            Some((name, equals)) => {
                if let Err(message) = validate::env_name(name) {
                    // Without '=' the text may be half of a value.
                    let bare = "is not NAME=value".to_owned();
                    let message = if equals.is_some() { message } else { bare };
                    wrong.push(WrongLine { line, message });
                } else if let Some(equals) = equals {
                    let (name, begins) = (name.to_owned(), line);
                    match value(rest.get(equals..).unwrap_or_default()) {
                        Ok((value, behind)) => {
                            let tail = behind.split('\n').next().unwrap_or_default();
                            used = rest.len() - behind.len() + tail.len();
                            line += rest.get(..used).map_or(0, |it| it.matches('\n').count());
                            variables.push(Variable {
                                name,
                                value: Some(value),
                                line: begins,
                            });
                        }
                        Err(message) => wrong.push(WrongLine {
                            line,
                            message: message.to_owned(),
                        }),
                    }
                } else {
                    variables.push(Variable {
                        name: name.to_owned(),
                        value: None,
                        line,
                    });
                }
            }
        }
        // Behind the newline, if there is one.
        rest = rest.get(used + 1..).unwrap_or_default();
    }
    (variables, wrong)
}

/// The name that a line begins with, and where its value begins; nothing for an empty line or a comment.
fn assignment(line: &str) -> Option<(&str, Option<usize>)> {
    let (before, equals) = match line.split_once('=') {
        Some((before, _)) => (before, Some(before.len() + 1)),
        None => (line, None),
    };
    let name = before.trim();
    if name.starts_with('#') || (name.is_empty() && equals.is_none()) {
        return None;
    }
    let name = name.strip_prefix("export ").map_or(name, str::trim_start);
    Some((name, equals))
}

/// A value, and what follows it.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    let text = text.trim_start_matches([' ', '\t']);
    let (value, rest) = if let Some(inner) = text.strip_prefix('\'') {
        inner
            .split_once('\'')
            .map(|(value, rest)| (value.to_owned(), rest))
            .ok_or("a single quote is not closed")?
    } else if let Some(inner) = text.strip_prefix('"') {
        double_quoted(inner)?
    } else {
        let (line, rest) = match text.find('\n') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let line = match line.find(" #").or_else(|| line.find("\t#")) {
            Some(at) => line.split_at(at).0,
            None if line.starts_with('#') => "",
            None => line,
        };
        return Ok((line.trim().to_owned(), rest));
    };
    let tail = rest.split('\n').next().unwrap_or_default().trim();
    if tail.is_empty() || tail.starts_with('#') {
        Ok((value, rest))
    } else {
        Err("something follows the closing quote")
    }
}

fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\' | '$' | '\'')) => value.push(c),
                Some('\n') => {}
                Some(c) => {
                    value.push('\\');
                    value.push(c);
                }
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("a double quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Option<String>, usize)> {
        let (variables, wrong) = parse(text);
        assert_eq!(wrong, []);
        variables
            .into_iter()
            .map(|v| (v.name, v.value, v.line))
            .collect()
    }

    fn pairs(text: &str) -> String {
        read(text)
            .into_iter()
            .map(|(name, value, line)| format!("{line}:{name}={value:?};"))
            .collect()
    }

    #[test]
    fn lines_are_read_as_docker_and_compose_read_them() {
        assert_eq!(
            pairs(
                "A=1\n# no\n\nexport B = two words # why\nC='a # b'\nD=\"x\\ny\\\"\"  # c\nE=\nF\nG=a=b#c\r\nH=#x"
            ),
            "1:A=Some(\"1\");4:B=Some(\"two words\");5:C=Some(\"a # b\");6:D=Some(\"x\\ny\\\"\");\
             7:E=Some(\"\");8:F=None;9:G=Some(\"a=b#c\");10:H=Some(\"\");"
        );
    }

    #[test]
    fn quoted_values_go_over_lines_and_lines_are_still_counted() {
        assert_eq!(
            pairs("A=\"one\ntwo\" # c\nB='x\ny\nz'\nC=3"),
            "1:A=Some(\"one\\ntwo\");3:B=Some(\"x\\ny\\nz\");6:C=Some(\"3\");"
        );
    }

    #[test]
    fn law_7_a_wrong_line_is_told_without_its_value() {
        let (_, wrong) = parse("A=1\n2B=hunter2\nhunter2 hunter2\nC=\"hunter2\nD=4");
        let text = format!("{wrong:?}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(wrong.iter().map(|w| w.line).collect::<Vec<_>>(), [2, 3, 4]);
    }
}
