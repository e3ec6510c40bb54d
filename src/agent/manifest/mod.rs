//! Manifests: YAML text → bundles of agents, as `POST /apply` takes them, or every error at once with its place.
//!
//! No I/O: the command line hands in texts, and two functions that look up environment variables and read files.
//! It must not decide what an agent becomes; that is `merge` and `plan`. Called by `cli` alone.

mod document;
mod dotenv;
mod interpolate;
mod mask;
mod report;
mod resolve;
mod scalar;
mod tree;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::report::{Finding, Report};
pub use self::tree::Place;
use super::{ApplyAgent, EnvValue};
use crate::keys::DEFAULT_OWNER;
use crate::names::AgentName;

/// Looks an environment variable of the client up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;
/// Reads a file of the client's (an `envFile`).
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// One manifest: a file's or standard input's bytes.
#[derive(Clone)]
pub struct Source {
    /// As the user named it; `<stdin>` for standard input.
    pub name: String,
    /// The absolute folder that relative paths in it are taken from.
    pub folder: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What manifests take from the client's side.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// For `${NAME}` and bare names in an `envFile`.
    pub lookup: Lookup<'a>,
    /// For `envFile`.
    pub read: ReadFile<'a>,
    /// `--owner`: who owns what names no owner; default `default`.
    pub owner: Option<&'a str>,
}

/// What manifests ask for.
#[derive(Debug)]
pub struct Loaded {
    /// One per owner, in the order in which they first occur.
    pub bundles: Vec<Bundle>,
    /// What is odd and harms nothing.
    pub warnings: Report,
}

/// The agents of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Who applies it.
    pub owner: String,
    /// The agents in the order of the manifests; `build`, `envFile`, relative paths and short forms are worked out.
    pub agents: Vec<ApplyAgent>,
    /// What must be built first: the image's id goes into that agent's `spec.image`.
    pub builds: BTreeMap<AgentName, Build>,
    /// Where each agent stands.
    pub locations: BTreeMap<AgentName, Location>,
}

/// An image to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The context folder, absolute.
    pub context: PathBuf,
    /// The Dockerfile, within the context.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, EnvValue>,
    /// The stage to build.
    pub target: Option<String>,
}

/// Where an agent stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file as the user named it.
    pub file: String,
    /// The line of its name, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

/// Loads manifests: all of them or nothing.
///
/// # Errors
/// Everything that is wrong in all of them, warnings among it, in the order of the files.
pub fn load(sources: &[Source], inputs: Inputs<'_>) -> Result<Loaded, Report> {
    let mut documents = document::Documents::new(inputs.owner.unwrap_or(DEFAULT_OWNER));
    let mut left = yaml::MAX_BYTES;
    for source in sources {
        documents.read(source, &mut left, inputs);
    }
    documents.check_together();
    let document::Documents {
        bundles,
        mut findings,
        texts,
        ..
    } = documents;
    findings.sort_by(|one, other| {
        let key = |(number, it): &(usize, Finding)| {
            let elsewhere = it.line > 0 && it.snippet.is_none();
            let file = elsewhere.then(|| it.file.clone());
            (*number, file, it.line, it.column, it.path.clone())
        };
        key(one).cmp(&key(other))
    });
    let report = Report {
        findings: findings.into_iter().map(|(_, finding)| finding).collect(),
        sources: Arc::new(texts),
    };
    if report.errors() > 0 {
        return Err(report);
    }
    Ok(Loaded {
        bundles,
        warnings: report,
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
