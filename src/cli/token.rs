//! The token that goes with a request, and `agentainer token`.
//!
//! Looked for in this order: `--token`, `--token-file`, `AGENTAINER_TOKEN`, the file `admin.token` of the data folder.
//! The file's is sent to this machine alone. Nothing here prints a token unless it is asked to.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::address::Address;
use super::args::Global;
use super::environment::{data_dir, variable};
use super::{Context, Failure};
use crate::keys::DEFAULT_TOKEN;

/// The file of the data folder that holds the admin's token.
const FILE: &str = "admin.token";
/// Where a server that was started by root keeps it.
const SYSTEM_DIR: &str = "/var/lib/agentainer";

/// A token and where it came from. `Debug` does not show it.
#[derive(Clone)]
pub(super) struct Token {
    value: String,
    /// Why the admin's token is not this one, for whoever is refused.
    pub(super) missing: Option<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Token {
    /// The token for this server.
    pub(super) fn find(global: &Global, server: &Address) -> Result<Option<Self>, Failure> {
        let given = |value: String| Self {
            value,
            missing: None,
        };
        if let Some(token) = &global.token {
            return Ok(Some(given(token.trim().to_owned())));
        }
        if let Some(path) = &global.token_file {
            return Ok(Some(given(read(path)?)));
        }
        if let Some(token) = variable("AGENTAINER_TOKEN") {
            return Ok(Some(given(token.trim().to_owned())));
        }
        if !server.is_local() {
            return Ok(None);
        }
        match find_file() {
            Ok(path) => Ok(Some(given(read(&path)?))),
            // The well-known token lets anybody on this machine look.
            Err(missing) => Ok(Some(Self {
                value: DEFAULT_TOKEN.to_owned(),
                missing: Some(missing),
            })),
        }
    }

    /// As a header's value.
    pub(super) fn header(&self) -> Result<http::HeaderValue, Failure> {
        let mut value = http::HeaderValue::from_str(&format!("Bearer {}", self.value))
            .map_err(|_| Failure::error("the token holds characters that no token has"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the token cannot be read from {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// The admin's token file that this user may read, or what stands in the way, in words.
fn find_file() -> Result<PathBuf, String> {
    let mut folders = vec![data_dir()];
    let system = PathBuf::from(SYSTEM_DIR);
    // A folder that was named is meant: another server's token has no business with this one.
    if variable("AGENTAINER_DATA_DIR").is_none() && !folders.contains(&system) {
        folders.push(system);
    }
    let mut looked = Vec::new();
    for folder in folders {
        let path = folder.join(FILE);
        match std::fs::File::open(&path) {
            Ok(_) => return Ok(path),
            Err(error) => {
                let why = match error.kind() {
                    std::io::ErrorKind::NotFound => "not there".to_owned(),
                    std::io::ErrorKind::PermissionDenied => {
                        "may not be read by this user".to_owned()
                    }
                    _ => error.to_string(),
                };
                looked.push(format!("{} ({why})", path.display()));
            }
        }
    }
    Err(format!("no admin token was found: {}", looked.join(", ")))
}

/// Show where the admin's token is, or the token itself.
///
/// The file's path is printed; with --show the token, for use in a header.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer token
  curl -H \"Authorization: Bearer $(agentainer token --show)\" http://localhost:8081/agents")]
pub struct TokenArgs {
    /// Print the token itself. It gives full control: mind who looks, and where it is logged.
    #[arg(long)]
    pub show: bool,
}

pub(super) fn run(context: &Context, args: &TokenArgs) -> Result<(), Failure> {
    let path = match &context.global.token_file {
        Some(path) => path.clone(),
        None => find_file().map_err(Failure::NotFound)?,
    };
    if args.show {
        context.console.line(&read(&path)?)
    } else {
        context.console.line(&path.display().to_string())
    }
}
