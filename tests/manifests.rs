//! Every manifest of `tests/manifests/good` loads to the bundle beside it, and every one of `bad` to the report beside
//! it. `UPDATE=1 cargo test --test manifests` writes those files; read them before you commit them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use agentainer::agent::manifest::{Inputs, Loaded, Report, Source, load};

fn lookup(name: &str) -> Option<String> {
    match name {
        "TAG" => Some("1.4".to_owned()),
        "REPLICAS" => Some("2".to_owned()),
        "SECRET" => Some("hunter2".to_owned()),
        _ => None,
    }
}

/// Files are read beside the manifest, whatever folder it is told to stand in.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let here = path.strip_prefix("/repo").unwrap_or(path);
    fs::read(folder("").join(here))
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/manifests")
        .join(name)
}

fn try_load(path: &Path, kind: &str) -> Result<Loaded, Report> {
    let source = Source {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        folder: Path::new("/repo").join(kind),
        bytes: fs::read(path).unwrap(),
    };
    let inputs = Inputs {
        lookup: &lookup,
        read: &read,
        owner: None,
    };
    load(&[source], inputs)
}

fn manifests(kind: &str) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(folder(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

#[expect(
    clippy::disallowed_methods,
    reason = "UPDATE is these tests' own switch, not configuration"
)]
fn golden(path: &Path, found: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected != found {
        wrong.push(format!(
            "{}\n--- expected\n{expected}\n--- found\n{found}",
            path.display()
        ));
    }
}

fn show(loaded: &Loaded) -> String {
    let mut out = loaded.warnings.render(false);
    for bundle in &loaded.bundles {
        let agents = serde_json::to_string_pretty(&bundle.agents).unwrap();
        writeln!(out, "owner {}\n{agents}", bundle.owner).unwrap();
        for (name, build) in &bundle.builds {
            let args: Vec<&String> = build.args.keys().collect();
            writeln!(
                out,
                "build {name} from {} with {}, args {args:?}, target {:?}",
                build.context.display(),
                build.dockerfile,
                build.target
            )
            .unwrap();
        }
        for (name, at) in &bundle.locations {
            writeln!(out, "{name} at {}:{}:{}", at.file, at.line, at.column).unwrap();
        }
    }
    out
}

#[test]
fn good_manifests_load() {
    let mut wrong = Vec::new();
    for path in manifests("good") {
        match try_load(&path, "good") {
            Ok(loaded) => golden(&path.with_extension("out"), &show(&loaded), &mut wrong),
            Err(report) => wrong.push(report.render(false)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bad_manifests_are_told_whole() {
    let mut wrong = Vec::new();
    for path in manifests("bad") {
        match try_load(&path, "bad") {
            Ok(_) => wrong.push(format!("{} loads", path.display())),
            Err(report) => {
                let shown = report.render(false);
                assert!(!shown.contains("hunter2"), "law 7: {shown}");
                golden(&path.with_extension("out"), &shown, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_examples_load_without_a_warning() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for folder in fs::read_dir(examples).unwrap() {
        for entry in fs::read_dir(folder.unwrap().path()).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "yaml") {
                let loaded = try_load(&path, "good").unwrap_or_else(|it| panic!("{it}"));
                assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
                count += 1;
            }
        }
    }
    assert!(count > 0);
}
