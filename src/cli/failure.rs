//! How a command can end other than well, and the exit code of each end (design, section 8).

use std::fmt;
use std::io;

use crate::problem::Problem;

/// Why a command did not end well.
#[derive(Debug)]
pub enum Failure {
    /// Something went wrong: 1.
    Error(anyhow::Error),
    /// The command line makes no sense: 2.
    Usage(String),
    /// Something that was asked for does not exist: 3.
    NotFound(String),
    /// The server refused: 3 for 404, 4 for 401 and 403, else 1.
    Refused(Box<Refused>),
    /// Nobody answers: 5.
    Unreachable {
        /// Where nobody answers.
        server: String,
        /// Why.
        cause: String,
    },
    /// What was waited for did not come in time: 6.
    Timeout(String),
    /// Everything was said; only the exit code is left to tell.
    Told(u8),
    /// Ctrl-C: 130.
    Interrupted,
    /// Standard output cannot be written. A reader that went (`| head`) is no error: 0.
    Output(io::Error),
}

/// The server's refusal.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// What the server said.
    pub problem: Problem,
    /// What may help, known on this side alone.
    pub hint: Option<String>,
}

impl Failure {
    /// The process' exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Error(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Refused(refused) => match refused.status {
                404 => 3,
                401 | 403 => 4,
                _ => 1,
            },
            Self::Unreachable { .. } => 5,
            Self::Timeout(_) => 6,
            Self::Told(code) => *code,
            Self::Interrupted => 130,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 1,
        }
    }

    /// An error with a text of its own.
    pub(super) fn error(text: impl fmt::Display) -> Self {
        Self::Error(anyhow::anyhow!("{text}"))
    }

    /// Whether the server said that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        self.code() == 3
    }

    /// Whether the server said that what was once there is gone: a position that its stream no longer reaches.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 410)
    }

    /// What is told on standard error; `None` when there is nothing to say.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Error(error) => Some(format!("{error:#}")),
            Self::Usage(text) | Self::NotFound(text) | Self::Timeout(text) => Some(text.clone()),
            Self::Refused(refused) => Some(refused.message()),
            Self::Unreachable { server, cause } => Some(format!(
                "nothing answers at {server}: {cause}\n  \
                 Is the server running? 'agentainer serve --detach' starts one here; --server URL or AGENTAINER_SERVER \
                 names another."
            )),
            Self::Output(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Some(format!("the output cannot be written: {error}"))
            }
            Self::Told(_) | Self::Interrupted | Self::Output(_) => None,
        }
    }
}

impl Refused {
    fn message(&self) -> String {
        let mut text = match (self.problem.title.as_str(), self.problem.detail.as_str()) {
            (title, "") => title.to_owned(),
            ("", detail) => detail.to_owned(),
            (_, detail) => detail.to_owned(),
        };
        if let [only] = self.problem.errors.as_slice()
            && text.contains(&only.message)
        {
            // Already said.
        } else {
            for error in &self.problem.errors {
                let separator = if error.path.is_empty() { "" } else { ": " };
                text.push_str(&format!("\n  {}{separator}{}", error.path, error.message));
            }
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n  {hint}"));
        }
        text
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Error(error.into())
    }
}
