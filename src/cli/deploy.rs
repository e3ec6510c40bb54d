//! `deploy`: one agent from the command line, as `docker run` is for a container. It goes through apply.

use clap::Args;
use serde_json::{Map, Value, json};

use super::apply::{How, bundles_of};
use super::manifests::{Files, here, load};
use super::output::Format;
use super::waiting::WaitFlag;
use super::{Context, Failure};
use crate::agent::manifest::Source;

/// Who owns agents that were deployed by hand: no bundle, so that no `apply --prune` takes them away.
const OWNER: &str = "deploy";

/// Deploy one agent, described by flags.
///
/// It is the same as applying a manifest that says what the flags say: doing it again changes what differs, and a flag
/// that is left out this time returns to its default. Other agents are not touched.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer deploy --name dev-agent --image my-agent:latest
  agentainer deploy --name dev-agent --image my-agent:latest --port 9000 --env MODE=dev --wait
  agentainer deploy --name dev-agent --build ./my-agent --memory 512Mi --cpu 0.5
  agentainer deploy --name dev-agent --volume dev-data:/app/data --env-file ./dev.env
  agentainer deploy --name dev-agent --image my-agent -- --verbose")]
pub struct DeployArgs {
    /// The agent's name, which is also its host name for other agents.
    #[arg(short, long, required_unless_present = "config")]
    pub name: Option<String>,
    /// The image [default: the agent's name].
    #[arg(short, long, conflicts_with = "build")]
    pub image: Option<String>,
    /// Build the image from this folder.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub build: Option<String>,
    /// Where the agent listens [default: 8000].
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// A variable of its environment; without =VALUE it is taken from yours. May be repeated.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// A file of NAME=VALUE lines. May be repeated.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub env_file: Vec<String>,
    /// A volume: NAME:PATH, or HOSTFOLDER:PATH where the server allows it; :ro makes it read-only. May be repeated.
    #[arg(long, value_name = "FROM:TO[:ro]")]
    pub volume: Vec<String>,
    /// How many instances run [default: 1].
    #[arg(long, value_name = "NUMBER")]
    pub replicas: Option<u32>,
    /// Memory of each instance: 512Mi, 1Gi (512m and 1g as Docker writes them).
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// CPU of each instance: 0.5, 500m.
    #[arg(short, long, visible_alias = "cpus", value_name = "CORES")]
    pub cpu: Option<String>,
    /// A label. May be repeated.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Another agent that must be ready before this one is first created. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub depends_on: Vec<String>,
    /// When the image is pulled: missing, always or never [default: missing].
    #[arg(long, value_name = "POLICY")]
    pub pull: Option<String>,
    /// When an instance that ended is started again: always, on-failure or no [default: always].
    #[arg(long, value_name = "POLICY", conflicts_with = "auto_restart")]
    pub restart: Option<String>,
    /// The same as --restart always.
    #[arg(long)]
    pub auto_restart: bool,
    /// A path that answers 2xx when the agent can serve, such as /health.
    #[arg(long, value_name = "PATH")]
    pub health_endpoint: Option<String>,
    /// Replaces the image's entrypoint.
    #[arg(long, value_name = "PROGRAM")]
    pub command: Option<String>,
    /// Arguments to the program, after --.
    #[arg(last = true, value_name = "ARGUMENT")]
    pub args: Vec<String>,
    /// Deploy what this manifest says instead: the same as apply -f.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "image", "build"], value_hint = clap::ValueHint::FilePath)]
    pub config: Option<String>,
    /// Take the agent over although another owner's manifest describes it.
    #[arg(long)]
    pub force: bool,
    /// Tell what would happen and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub wait: WaitFlag,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

pub(super) async fn run(context: &Context, args: &DeployArgs) -> Result<(), Failure> {
    let how = How {
        prune: false,
        dry_run: args.dry_run,
        force: args.force,
        wait: args.wait,
        format: args.output,
    };
    let bundles = match &args.config {
        Some(file) => {
            let files = Files {
                file: vec![file.clone()],
                recursive: false,
            };
            files.read(context, None)?
        }
        None => {
            let source = Source {
                name: "<command line>".to_owned(),
                folder: here()?,
                bytes: serde_json::to_vec_pretty(&manifest(args)?)?,
            };
            load(&context.console, &[source], Some(OWNER))?
        }
    };
    bundles_of(context, bundles, how).await
}

/// The manifest that says what the flags say.
fn manifest(args: &DeployArgs) -> Result<Value, Failure> {
    let mut agent = Map::new();
    let mut set = |field: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        if !empty {
            agent.insert(field.to_owned(), value);
        }
    };
    set("name", text(args.name.as_deref()));
    set("image", text(args.image.as_deref()));
    set("build", text(args.build.as_deref()));
    set("port", json!(args.port));
    set("replicas", json!(args.replicas));
    set("pullPolicy", text(args.pull.as_deref()));
    set("env", environment(&args.env)?);
    set("envFile", texts(&args.env_file));
    set("volumes", volumes(&args.volume)?);
    set("labels", labels(&args.label)?);
    set("dependsOn", texts(&args.depends_on));
    set("command", texts(args.command.as_slice()));
    set("args", texts(&args.args));
    let mut resources = Map::new();
    if let Some(memory) = &args.memory {
        resources.insert("memory".to_owned(), text(Some(&bytes(memory))));
    }
    if let Some(cpu) = &args.cpu {
        resources.insert("cpu".to_owned(), text(Some(cpu)));
    }
    set("resources", Value::Object(resources));
    let restart = args
        .restart
        .as_deref()
        .or(args.auto_restart.then_some("always"));
    if let Some(policy) = restart {
        set("restart", json!({"policy": escaped(policy)}));
    }
    if let Some(endpoint) = &args.health_endpoint {
        set("healthCheck", json!({"endpoint": escaped(endpoint)}));
    }
    Ok(json!({"agents": [agent]}))
}

/// The shell has filled in variables already: `$` is itself.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

fn text(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| Value::String(escaped(text)))
}

fn texts(items: impl IntoIterator<Item = impl AsRef<str>>) -> Value {
    items
        .into_iter()
        .map(|item| text(Some(item.as_ref())))
        .collect()
}

fn environment(pairs: &[String]) -> Result<Value, Failure> {
    let mut env = Map::new();
    for pair in pairs {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => match super::environment::set(pair) {
                Some(value) => (pair.as_str(), value),
                None => {
                    return Err(Failure::Usage(format!(
                        "--env {pair}: your environment has no {pair}; give it as {pair}=VALUE"
                    )));
                }
            },
        };
        if name.is_empty() {
            return Err(Failure::Usage("--env takes NAME=VALUE".to_owned()));
        }
        env.insert(name.to_owned(), text(Some(&value)));
    }
    Ok(Value::Object(env))
}

fn labels(pairs: &[String]) -> Result<Value, Failure> {
    let mut labels = Map::new();
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--label {pair}: expected KEY=VALUE")))?;
        labels.insert(key.to_owned(), text(Some(value)));
    }
    Ok(Value::Object(labels))
}

fn volumes(given: &[String]) -> Result<Value, Failure> {
    let mut volumes = Vec::new();
    for volume in given {
        let wrong = || {
            Failure::Usage(format!(
                "--volume {volume}: expected NAME:PATH or FOLDER:PATH, with :ro for read-only"
            ))
        };
        let parts: Vec<&str> = volume.split(':').collect();
        let (from, to, mode) = match parts.as_slice() {
            [from, to] => (*from, *to, "rw"),
            [from, to, mode @ ("rw" | "ro")] => (*from, *to, *mode),
            _ => return Err(wrong()),
        };
        if from.is_empty() || to.is_empty() {
            return Err(wrong());
        }
        // As in docker: a name has no slash; a folder that is beside us is ./folder.
        let is_folder = from.contains('/') || from.starts_with('.') || from.starts_with('~');
        let source = if is_folder { "host" } else { "name" };
        volumes.push(json!({source: escaped(from), "container": escaped(to), "mode": mode}));
    }
    Ok(Value::Array(volumes))
}

/// Docker writes 2^20 bytes as `1m`; ours is `1Mi`.
fn bytes(text: &str) -> String {
    let bare = text.strip_suffix('b').unwrap_or(text);
    for (docker, ours) in [('k', "Ki"), ('m', "Mi"), ('g', "Gi")] {
        if let Some(number) = bare.strip_suffix(docker) {
            return format!("{number}{ours}");
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        deploy: DeployArgs,
    }

    fn of(args: &[&str]) -> Value {
        let line = Line::try_parse_from(std::iter::once(&"deploy").chain(args)).unwrap();
        manifest(&line.deploy).unwrap()
    }

    #[test]
    fn flags_make_the_manifest_that_a_person_would_write() {
        assert_eq!(
            of(&["--name", "dev-agent", "--image", "my-agent:latest"]),
            json!({"agents": [{"name": "dev-agent", "image": "my-agent:latest"}]})
        );
        assert_eq!(
            of(&[
                "--name",
                "a",
                "--port",
                "9000",
                "--env",
                "A=b=c",
                "--volume",
                "data:/d",
                "--volume",
                "./x:/x:ro",
                "--memory",
                "512m",
                "--cpu",
                "0.5",
                "--label",
                "tier=web",
                "--",
                "-v"
            ]),
            json!({"agents": [{
                "name": "a",
                "port": 9000,
                "env": {"A": "b=c"},
                "volumes": [
                    {"name": "data", "container": "/d", "mode": "rw"},
                    {"host": "./x", "container": "/x", "mode": "ro"},
                ],
                "resources": {"memory": "512Mi", "cpu": "0.5"},
                "labels": {"tier": "web"},
                "args": ["-v"],
            }]})
        );
    }

    #[test]
    fn a_dollar_from_the_command_line_is_a_dollar() {
        let made = of(&["--name", "a", "--env", "A=${HOME}"]);
        assert_eq!(made.pointer("/agents/0/env/A"), Some(&json!("$${HOME}")));
    }

    #[test]
    fn wrong_pairs_are_usage_errors() {
        for args in [
            ["--volume", "x"],
            ["--label", "x"],
            ["--env", "=x"],
            ["--env", "NOT_SET_AT_ALL"],
        ] {
            let mut line = vec!["deploy", "--name", "a"];
            line.extend(args);
            let line = Line::try_parse_from(line).unwrap();
            assert_eq!(manifest(&line.deploy).unwrap_err().code(), 2, "{args:?}");
        }
    }
}
