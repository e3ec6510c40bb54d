//! `-f FILE`: manifests from files, folders and standard input, read and checked before anything is sent.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::console::Console;
use super::environment::set;
use super::{Context, Failure};
use crate::agent::manifest::{self, Bundle, Inputs, Loaded, Source};

/// The largest input that is read at all; `manifest` has its own, smaller limit.
const LARGEST: u64 = 64 << 20;
/// The extensions of manifests in a folder.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Which manifests.
#[derive(Args, Clone, Debug, Default)]
pub struct Files {
    /// A manifest, a folder of them, or - for standard input. May be repeated.
    #[arg(short = 'f', long = "file", alias = "filename", value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    pub file: Vec<String>,
    /// Look into the folders of a folder too.
    #[arg(short = 'R', long, requires = "file")]
    pub recursive: bool,
}

impl Files {
    /// All agents that they name, by owner. What is odd is told; what is wrong is told in full and ends the command.
    pub(super) fn read(
        &self,
        context: &Context,
        owner: Option<&str>,
    ) -> Result<Vec<Bundle>, Failure> {
        if self.file.is_empty() {
            return Err(Failure::Usage(
                "which manifest? Name it with -f FILE, or -f - for standard input".to_owned(),
            ));
        }
        let sources = self.sources()?;
        load(&context.console, &sources, owner)
    }

    fn sources(&self) -> Result<Vec<Source>, Failure> {
        let mut sources = Vec::new();
        for given in &self.file {
            if given == "-" {
                // Somebody may be typing: Ctrl-C must be heard meanwhile.
                let bytes = tokio::task::block_in_place(standard_input)?;
                sources.push(Source {
                    name: "<stdin>".to_owned(),
                    folder: here()?,
                    bytes,
                });
                continue;
            }
            let path = Path::new(given);
            let metadata = std::fs::metadata(path)
                .with_context(|| format!("the manifest {given} cannot be read"))?;
            if !metadata.is_dir() {
                sources.push(source(path)?);
                continue;
            }
            let before = sources.len();
            folder(path, self.recursive, &mut sources)?;
            if sources.len() == before {
                let hint = if self.recursive {
                    ""
                } else {
                    "; -R looks into its folders too"
                };
                return Err(Failure::error(format!(
                    "the folder {given} holds no .yaml, .yml or .json file{hint}"
                )));
            }
        }
        Ok(sources)
    }
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .context("standard input cannot be read")?;
    Ok(bytes)
}

/// The manifests of a folder, by name.
fn folder(path: &Path, recursive: bool, sources: &mut Vec<Source>) -> Result<(), Failure> {
    let unread = || format!("the folder {} cannot be read", path.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).with_context(unread)? {
        paths.push(entry.with_context(unread)?.path());
    }
    paths.sort();
    for path in paths {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // A link to a folder may lead round in a circle.
        let kind = std::fs::symlink_metadata(&path).with_context(unread)?;
        let manifest = path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| EXTENSIONS.contains(&extension));
        if kind.is_dir() && recursive && !hidden {
            folder(&path, recursive, sources)?;
        } else if manifest && !hidden && path.is_file() {
            sources.push(source(&path)?);
        }
    }
    Ok(())
}

fn source(path: &Path) -> Result<Source, Failure> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
        .with_context(|| format!("the manifest {name} cannot be read"))?;
    let parent = path.parent().unwrap_or(Path::new(""));
    Ok(Source {
        name,
        folder: here()?.join(parent),
        bytes,
    })
}

/// The present folder.
pub(super) fn here() -> Result<PathBuf, Failure> {
    Ok(std::env::current_dir().context("the present folder is not known")?)
}

/// Checks texts and works them out.
pub(super) fn load(
    console: &Console,
    sources: &[Source],
    owner: Option<&str>,
) -> Result<Vec<Bundle>, Failure> {
    let inputs = Inputs {
        // A variable that is set and empty is not an unset one: `${NAME-default}` tells them apart.
        lookup: &set,
        read: &|path| std::fs::read(path),
        owner,
    };
    let colours = console.colours_errors();
    match manifest::load(sources, inputs) {
        Ok(Loaded { bundles, warnings }) => {
            if !warnings.is_empty() {
                console.note(warnings.render(colours).trim_end());
            }
            if bundles.iter().all(|bundle| bundle.agents.is_empty()) {
                return Err(Failure::error("the manifests name no agent"));
            }
            Ok(bundles)
        }
        Err(report) => {
            console.note(report.render(colours).trim_end());
            Err(Failure::Told(1))
        }
    }
}
