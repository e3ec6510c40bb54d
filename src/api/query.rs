//! The query of a request: strict, since a parameter that is misspelt and ignored (`?dryrun=true`) does harm.

use axum::extract::Query as Pairs;
use http::Uri;

use super::refusal::{Answer, Refusal};
use crate::names::nearest;

/// A parameter that a route takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Param {
    /// Its name.
    pub(super) name: &'static str,
    /// What it means, for the OpenAPI document.
    pub(super) about: &'static str,
}

/// The parameters of a request, each known to its route and given once.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(uri: &Uri, known: &[Param]) -> Answer<Self> {
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Refusal::bad("the query is not of the form name=value&name=value"))?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            let shown: String = name.chars().take(40).collect();
            if !known.iter().any(|param| param.name == name) {
                let hint = nearest(name, known.iter().map(|param| param.name))
                    .map(|near| format!("; did you mean '{near}'?"))
                    .unwrap_or_default();
                return Err(Refusal::bad(format!(
                    "this route takes no parameter '{shown}'{hint}"
                )));
            }
            if pairs.iter().take(index).any(|(earlier, _)| earlier == name) {
                return Err(Refusal::bad(format!(
                    "the parameter '{shown}' is given twice"
                )));
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter's text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// `true`, `1` or nothing after the name; `false`, `0` or left out.
    pub(super) fn flag(&self, name: &str) -> Answer<bool> {
        match self.text(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(_) => Err(Refusal::bad(format!("'{name}' is true or false"))),
        }
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Answer<Option<u64>> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| Refusal::bad(format!("'{name}' is a whole number")))
            })
            .transpose()
    }
}
