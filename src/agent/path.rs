//! Where a field is within a document, and what is wrong there. Used by every check of input, of files and of requests.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// An item of a list, from 0.
    Index(usize),
    /// A field of a map.
    Key(String),
}

/// A field's place, shown as `spec.agents[2].volumes[0].container`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    /// The whole document.
    pub fn root() -> Self {
        Self::default()
    }

    /// From a text of keys and nothing else, such as `spec.restart`; an empty text is the root.
    pub fn of(keys: &str) -> Self {
        Self(
            keys.split('.')
                .filter(|key| !key.is_empty())
                .map(|key| Step::Key(key.to_owned()))
                .collect(),
        )
    }

    /// A field of this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// An item of this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// `inner` seen from where this path begins.
    #[must_use]
    pub fn join(&self, inner: &Self) -> Self {
        Self(self.0.iter().chain(&inner.0).cloned().collect())
    }

    /// Without its last step; the root stays the root.
    #[must_use]
    pub fn parent(&self) -> Self {
        let mut steps = self.0.clone();
        steps.pop();
        Self(steps)
    }

    /// The first key, if the path begins with one.
    pub fn first_key(&self) -> Option<&str> {
        match self.0.first() {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// The path below `prefix`, if it is below it.
    pub fn below(&self, prefix: &Self) -> Option<Self> {
        self.0
            .strip_prefix(prefix.0.as_slice())
            .map(|rest| Self(rest.to_vec()))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if plain(key) => {
                    write!(f, "{}{key}", if place == 0 { "" } else { "." })?;
                }
                Step::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn plain(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/'))
}

/// One wrong field, or one that is odd. Its texts never hold an environment value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where.
    pub path: FieldPath,
    /// What is wrong and what would be right.
    pub message: String,
    /// What to write instead, when that is known: `did you mean 'replicas'?`.
    pub help: Option<String>,
    /// The place is the key itself, not its value: an unknown field.
    pub at_key: bool,
    /// It harms nothing and is only told.
    pub warning: bool,
}

impl FieldError {
    /// An error at a place.
    pub fn new(path: FieldPath, message: impl Into<String>) -> Self {
        Self {
            path,
            message: message.into(),
            help: None,
            at_key: false,
            warning: false,
        }
    }

    /// The same, with a suggestion.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, with a suggestion when there is one.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// The same, pointing at the key.
    #[must_use]
    pub fn at_key(mut self) -> Self {
        self.at_key = true;
        self
    }

    /// The same, as a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.warning = true;
        self
    }

    /// The same, its path seen from `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &FieldPath) -> Self {
        self.path = prefix.join(&self.path);
        self
    }

    /// Message and suggestion in one line, without the path.
    pub fn text(&self) -> String {
        match &self.help {
            Some(help) => format!("{} ({help})", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.path.0.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.path, self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_people_write_it() {
        let path = FieldPath::of("spec.agents").index(2).key("env").key("A.B");
        assert_eq!(path.to_string(), r#"spec.agents[2].env["A.B"]"#);
        assert_eq!(
            path.below(&FieldPath::of("spec")).map(|p| p.to_string()),
            Some(r#"agents[2].env["A.B"]"#.to_owned())
        );
    }
}
