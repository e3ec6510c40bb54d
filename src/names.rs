//! Name rules: what an agent may be called and how its containers are named.
//!
//! Layer 0: pure text rules, no I/O.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names that mean something else on the agents' network.
pub const RESERVED: [&str; 4] = ["localhost", "agentainer", "redis", "host"];

/// An agent's name: a DNS label (RFC 1123: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 characters), since it is the
/// agent's host name; none of [`RESERVED`].
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength" = 63))]
pub struct AgentName(String);

/// Why a text is no agent name; says the rule and, where there is one, the nearest valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty text.
    #[error("a name is needed: 1 to 63 lower-case letters, digits and '-'")]
    Empty,
    /// Not a DNS label.
    #[error("'{given}' is not a valid name: 1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit{}", hint(.given))]
    NotALabel {
        /// What was given, cut to 80 characters.
        given: String,
    },
    /// One of [`RESERVED`].
    #[error(
        "'{given}' is reserved: localhost, agentainer, redis and host mean something else on the agents' network; choose another name"
    )]
    Reserved {
        /// What was given.
        given: String,
    },
}

fn hint(given: &str) -> String {
    let fixed: String = given
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    let fixed = fixed.trim_matches('-');
    if fixed.is_empty() || fixed == given {
        String::new()
    } else {
        format!(" (did you mean '{fixed}'?)")
    }
}

impl AgentName {
    /// Checks the rules.
    ///
    /// # Errors
    /// [`NameError`] names the rule that is broken.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let letter_or_digit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let valid = text.len() <= 63
            && text.chars().all(|c| letter_or_digit(c) || c == '-')
            && text.starts_with(letter_or_digit)
            && text.ends_with(letter_or_digit);
        if !valid {
            return Err(NameError::NotALabel {
                given: text.chars().take(80).collect(),
            });
        }
        if RESERVED.contains(&text.as_str()) {
            return Err(NameError::Reserved { given: text });
        }
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The deterministic name of one container: `<agent>-<ordinal>-<incarnation>`.
    pub fn container(&self, ordinal: u32, incarnation: u64) -> String {
        format!("{}-{ordinal}-{incarnation}", self.0)
    }

    /// The agent of which this would be an instance's name, were there such an agent: its instances answer to their own names
    /// in DNS, and no other agent's name may be one of those.
    pub fn as_instance(&self) -> Option<Self> {
        let number = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit())
                && !text.is_empty()
                && (text == "0" || !text.starts_with('0'))
        };
        let (rest, incarnation) = self.0.rsplit_once('-')?;
        let (agent, ordinal) = rest.rsplit_once('-')?;
        // There are at most a hundred instances, numbered from 0; the first incarnation is 1.
        let fits =
            number(ordinal) && ordinal.len() <= 2 && number(incarnation) && incarnation != "0";
        Self::new(agent).ok().filter(|_| fits)
    }

    /// Why an agent of this name may not come beside these, if it may not.
    pub fn clash<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Option<String> {
        let whole = self.as_instance();
        others.into_iter().find_map(|other| {
            if whole.as_ref() == Some(other) {
                return Some(format!("'{self}' is what an instance of '{other}' is called; choose another name"));
            }
            (other.as_instance().as_ref() == Some(self)).then(|| {
                format!("an instance of '{self}' would be called '{other}', which is an agent's name; choose another name")
            })
        })
    }

    /// The repository under which this agent's images are kept from a prune: `agentainer/<agent>`.
    pub fn image_repository(&self) -> String {
        format!("agentainer/{}", self.0)
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for AgentName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<AgentName> for String {
    fn from(name: AgentName) -> Self {
        name.0
    }
}

impl AsRef<str> for AgentName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for AgentName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Up to one near match of `given` among `known`, for "did you mean".
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let limit = |candidate: &str| (candidate.len() / 3).max(1);
    known
        .into_iter()
        // Each letter too many or too few is a step: this spares most of the comparisons.
        .filter(|candidate| candidate.len().abs_diff(given.len()) <= limit(candidate) * 4)
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&given, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            *distance <= limit(candidate) && *distance < candidate.len().max(given.len())
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn law_4_no_agent_is_called_like_anothers_instance() {
        let name = |text: &str| AgentName::new(text).unwrap();
        let others = [name("users"), name("gpt-4-1"), name("x-0-1")];
        for good in [
            "users-0",
            "users-1-0",
            "users-100-1",
            "users-00-1",
            "claude-3-5",
            "users-0-1x",
            "gpt-4",
        ] {
            assert_eq!(name(good).clash(&others), None, "{good}");
        }
        for bad in ["users-0-1", "users-12-345", "gpt", "x"] {
            assert!(name(bad).clash(&others).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_a_dns_label() {
        for good in ["a", "users", "a-b", "4u", &"x".repeat(63)] {
            assert!(AgentName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ü", &"x".repeat(64)] {
            assert!(AgentName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reserved_names_are_refused_with_the_reason() {
        let error = AgentName::new("redis").unwrap_err().to_string();
        assert!(error.contains("reserved"), "{error}");
    }

    #[test]
    fn a_wrong_name_gets_a_suggestion() {
        let error = AgentName::new("My_Agent").unwrap_err().to_string();
        assert!(error.contains("did you mean 'my-agent'?"), "{error}");
    }

    #[test]
    fn the_nearest_known_name_is_suggested() {
        assert_eq!(
            nearest("replcias", ["replicas", "restart"]),
            Some("replicas")
        );
        assert_eq!(nearest("zzz", ["replicas", "restart"]), None);
    }
}
