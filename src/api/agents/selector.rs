//! `?labelSelector=` and `?owner=`: which agents a list or a watch is about.

use crate::agent::Agent;
use crate::api::query::Query;
use crate::api::refusal::{Answer, Refusal};

/// Which agents are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    terms: Vec<Term>,
    owner: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl Selector {
    /// From a query: terms `key=value` (or `==`), `key!=value`, `key` and `!key`, joined with commas, all of which must hold, as
    /// kubectl's.
    pub(super) fn of(query: &Query) -> Answer<Self> {
        let terms = query.text("labelSelector").unwrap_or_default();
        let terms = terms
            .split(',')
            .map(str::trim)
            .filter(|term| !term.is_empty());
        Ok(Self {
            terms: terms.map(term).collect::<Answer<_>>()?,
            owner: query.text("owner").map(str::to_owned),
        })
    }

    pub(super) fn matches(&self, agent: &Agent) -> bool {
        let labels = &agent.metadata.labels;
        let owned = self
            .owner
            .as_ref()
            .is_none_or(|owner| *owner == agent.metadata.owner);
        owned
            && self.terms.iter().all(|term| match term {
                Term::Is(key, value) => labels.get(key) == Some(value),
                Term::IsNot(key, value) => labels.get(key) != Some(value),
                Term::Has(key) => labels.contains_key(key),
                Term::HasNot(key) => !labels.contains_key(key),
            })
    }
}

fn term(text: &str) -> Answer<Term> {
    let pair = |separator: &str| {
        text.split_once(separator)
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
    };
    let term = if let Some((key, value)) = pair("!=") {
        Term::IsNot(key, value)
    } else if let Some((key, value)) = pair("==").or_else(|| pair("=")) {
        Term::Is(key, value)
    } else if let Some(key) = text.strip_prefix('!') {
        Term::HasNot(key.trim().to_owned())
    } else {
        Term::Has(text.to_owned())
    };
    let (Term::Is(key, _) | Term::IsNot(key, _) | Term::Has(key) | Term::HasNot(key)) = &term;
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(sound) {
        let detail = "labelSelector takes terms such as tier=backend, tier!=backend, tier and !tier, joined with commas";
        return Err(Refusal::bad(detail));
    }
    Ok(term)
}
