//! What the client works out of a spec before it is sent: `envFile`, relative paths, `build`, short forms.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::super::{EnvValue, FieldError, FieldPath, sparse};
use super::tree::{Kind, Node};
use super::{Build, Inputs, dotenv};

/// The largest `envFile`, in bytes.
const MAX_ENV_FILE: usize = 1 << 20;

/// A spec as it is sent.
pub(super) struct Resolved {
    pub(super) spec: Map<String, Value>,
    pub(super) build: Option<Build>,
    /// Seen from the spec.
    pub(super) errors: Vec<FieldError>,
    /// In an `envFile`: file, line, message.
    pub(super) file_errors: Vec<(String, usize, String)>,
}

/// Works a spec out. What has a wrong form is left as it is, since the checks tell of it.
pub(super) fn agent(
    node: &Node,
    mut spec: Map<String, Value>,
    folder: &Path,
    inputs: Inputs<'_>,
) -> Resolved {
    let mut resolved = Resolved {
        spec: Map::new(),
        build: None,
        errors: Vec::new(),
        file_errors: Vec::new(),
    };
    let mut env = BTreeMap::new();
    if spec.remove("envFile").is_some()
        && let Some(files) = node.get("envFile")
    {
        read_env_files(files, folder, inputs, &mut env, &mut resolved);
    }
    if let Some(own) = node.get("env") {
        env.extend(texts(own));
    }
    if !env.is_empty() {
        let env = env
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)))
            .collect();
        spec.insert("env".to_owned(), Value::Object(env));
    }
    if let Some(Value::Array(volumes)) = spec.get_mut("volumes") {
        for volume in volumes.iter_mut().filter_map(Value::as_object_mut) {
            if let Some(Value::String(host)) = volume.get_mut("host")
                && !host.is_empty()
            {
                *host = absolute(host, folder, inputs).display().to_string();
            }
        }
    }
    if spec.remove("build").is_some() {
        resolved.build = node
            .get("build")
            .and_then(|build| self::build(build, folder, inputs));
    }
    sparse::canonical(&mut spec);
    resolved.spec = spec;
    resolved
}

/// The variables of an `env` map, as text.
fn texts(env: &Node) -> impl Iterator<Item = (String, String)> {
    env.entries()
        .iter()
        .filter(|entry| !matches!(entry.value.kind, Kind::Null))
        .map(|entry| (entry.key.clone(), entry.value.to_env_text()))
}

fn read_env_files(
    files: &Node,
    folder: &Path,
    inputs: Inputs<'_>,
    env: &mut BTreeMap<String, String>,
    resolved: &mut Resolved,
) {
    let at = FieldPath::of("envFile");
    let mut all: Vec<(FieldPath, &str)> = Vec::new();
    all.extend(files.as_text().map(|file| (at.clone(), file)));
    for (index, file) in files.items().iter().enumerate() {
        all.extend(file.as_text().map(|file| (at.index(index), file)));
    }
    for (at, file) in all {
        let path = absolute(file, folder, inputs);
        let bytes = match (inputs.read)(&path) {
            Ok(bytes) if bytes.len() > MAX_ENV_FILE => {
                let error = FieldError::new(at, "is larger than 1 MiB");
                resolved.errors.push(error);
                continue;
            }
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                let error = FieldError::new(at, message).help(format!("it is {}", path.display()));
                resolved.errors.push(error);
                continue;
            }
        };
        let Ok(text) = String::from_utf8(bytes) else {
            resolved
                .errors
                .push(FieldError::new(at, "is not UTF-8 text"));
            continue;
        };
        let (variables, wrong) = dotenv::parse(&text);
        let mut tell = |line, message| resolved.file_errors.push((file.to_owned(), line, message));
        for line in wrong {
            tell(line.line, line.message);
        }
        for variable in variables {
            match variable.value.or_else(|| (inputs.lookup)(&variable.name)) {
                Some(value) => {
                    env.insert(variable.name, value);
                }
                None => tell(
                    variable.line,
                    format!(
                        "the environment variable {0} is not set (set it, or write {0}=value)",
                        variable.name
                    ),
                ),
            }
        }
    }
}

fn build(node: &Node, folder: &Path, inputs: Inputs<'_>) -> Option<Build> {
    let text = |field: &str| node.get(field).and_then(Node::as_text).map(str::to_owned);
    let context = node
        .as_text()
        .map(str::to_owned)
        .or_else(|| text("context"))?;
    let args = node.get("args").map(|args| {
        texts(args)
            .map(|(name, value)| (name, EnvValue(value)))
            .collect()
    });
    Some(Build {
        context: absolute(&context, folder, inputs),
        dockerfile: text("dockerfile").unwrap_or_else(|| "Dockerfile".to_owned()),
        args: args.unwrap_or_default(),
        target: text("target"),
    })
}

/// A path of the manifest: `~` is the user's home, a relative one is taken from the manifest's folder; `.` and `..`
/// are worked out without asking the file system.
fn absolute(path: &str, folder: &Path, inputs: Inputs<'_>) -> PathBuf {
    let home = path
        .strip_prefix('~')
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .and_then(|rest| Some(format!("{}{rest}", (inputs.lookup)("HOME")?)));
    let whole = folder.join(home.as_deref().unwrap_or(path));
    let mut plain = PathBuf::new();
    for component in whole.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
