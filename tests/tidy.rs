//! Holds the code to the map in `src/lib.rs`: who may import whom, which crate stays where, how long a file may be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by rank; a module imports from lower ranks alone, never from its own.
const RANKS: [(u8, &[&str]); 10] = [
    (0, &["clock", "keys", "names"]),
    (1, &["agent"]),
    (
        2,
        &["observed", "watch", "problem", "wire", "config", "tokens"],
    ),
    (
        3,
        &["plan", "telemetry", "redis_link", "trust", "event_stream"],
    ),
    (4, &["callback"]),
    (
        5,
        &[
            "runtime",
            "store",
            "journal",
            "controller",
            "endpoints",
            "probe",
            "redis_server",
        ],
    ),
    (6, &["reconcile", "recover", "proxy"]),
    (7, &["front", "api", "cli"]),
    (8, &["app"]),
    (9, &["main"]),
];

/// Crates that stay behind a port or an edge, and where that is.
const CONFINED: [(&str, &[&str]); 4] = [
    ("bollard", &["runtime/docker"]),
    (
        "redis",
        &[
            "redis_link.rs",
            "store/redis",
            "journal/redis",
            "redis_server",
        ],
    ),
    ("axum", &["api", "app"]),
    (
        "hyper",
        &[
            "proxy",
            "probe",
            "callback",
            "cli",
            "api",
            "app",
            "front",
            "runtime/docker",
        ],
    ),
];

/// Lines that a file may have; "about 300" with a little room.
const LONGEST: usize = 420;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                found.extend(files(&path, ending));
            }
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file without its comments and without its own test module.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap()
        .to_owned();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with("_tests.rs") || text.contains("/tests/") || text.ends_with("/tests.rs")
}

/// `controller` of `src/controller/cache.rs`, `names` of `src/names.rs`.
fn module_of(path: &Path) -> String {
    let inner = path.strip_prefix(root().join("src")).unwrap();
    let first = inner
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that a file names after `crate::`, in either form of `use`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let word = |text: &str| {
            text.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        };
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut start = true;
            for (index, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => start = true,
                    c if start && depth == 1 && !c.is_whitespace() => {
                        found.push(word(&group[index..]));
                        start = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            found.push(word(rest));
        }
    }
    found
}

#[test]
fn modules_import_downward_only_and_never_between_siblings() {
    let rank: BTreeMap<&str, u8> = RANKS
        .iter()
        .flat_map(|(rank, names)| names.iter().map(move |name| (*name, *rank)))
        .collect();
    let mut wrong = Vec::new();
    for path in files(&root().join("src"), ".rs")
        .iter()
        .filter(|path| !is_test(path))
    {
        let module = module_of(path);
        if module == "lib" {
            continue;
        }
        let Some(own) = rank.get(module.as_str()) else {
            wrong.push(format!(
                "{}: its module is on no layer; draw it on the map first",
                path.display()
            ));
            continue;
        };
        for import in imports(&code(path))
            .iter()
            .filter(|import| **import != module)
        {
            if let Some(other) = rank.get(import.as_str())
                && other >= own
            {
                wrong.push(format!(
                    "{}: {module} (rank {own}) imports {import} (rank {other})",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn crates_of_the_edges_stay_there() {
    let mut wrong = Vec::new();
    for path in files(&root().join("src"), ".rs")
        .iter()
        .filter(|path| !is_test(path))
    {
        let inner = path
            .strip_prefix(root().join("src"))
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let code = code(path);
        for (name, places) in CONFINED {
            let uses = [
                format!("use {name}::"),
                format!(" {name}::"),
                format!("({name}::"),
                format!("<{name}::"),
            ];
            let uses_it = uses.iter().any(|text| code.contains(text.as_str()));
            if uses_it && !places.iter().any(|place| inner.starts_with(place)) {
                wrong.push(format!("{inner}: {name} belongs in {places:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short_enough_to_hold_one_concept() {
    let long: Vec<String> = files(&root().join("src"), ".rs")
        .iter()
        .filter(|path| !is_test(path))
        .map(|path| (path, code(path).lines().count()))
        .filter(|(path, lines)| *lines > LONGEST && !path.ends_with("agent/spec.rs"))
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "split these:\n{}", long.join("\n"));
}

#[test]
fn every_module_says_what_it_owns() {
    let silent: Vec<String> = files(&root().join("src"), ".rs")
        .iter()
        .filter(|path| !is_test(path))
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| path.display().to_string())
        .collect();
    assert!(
        silent.is_empty(),
        "no first comment in:\n{}",
        silent.join("\n")
    );
}

#[test]
fn the_map_in_lib_rs_names_every_module() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules: Vec<&str> = RANKS
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    for module in modules.iter().filter(|module| **module != "main") {
        assert!(
            map.contains(&format!("`{module}`")),
            "src/lib.rs does not name `{module}` in its table"
        );
    }
}

#[test]
fn no_secret_or_leftover_is_committed() {
    let words = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"];
    let mut wrong = Vec::new();
    for path in files(&root().join("src"), ".rs") {
        let text = fs::read_to_string(&path).unwrap();
        wrong.extend(
            words
                .iter()
                .filter(|word| text.contains(**word))
                .map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_deployment_manifests_are_yaml_and_say_what_they_must() {
    let dir = root().join("manifests");
    let mut read = BTreeMap::new();
    for path in files(&dir, ".yml").into_iter().chain(files(&dir, ".yaml")) {
        let text = fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_yaml::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        read.insert(
            path.file_name().unwrap().to_string_lossy().into_owned(),
            value,
        );
    }
    let compose = &read["docker-compose.yml"];
    assert!(
        compose["services"]["agentainer"]["volumes"]
            .to_string()
            .contains("docker.sock")
    );
    let daemons = &read["daemonset.yaml"];
    assert_eq!(daemons["kind"], "DaemonSet");
    assert_eq!(
        daemons["spec"]["selector"]["matchLabels"],
        daemons["spec"]["template"]["metadata"]["labels"],
        "Kubernetes requires a selector, and that it selects the template"
    );
}

#[test]
fn every_test_that_the_page_of_failure_modes_names_exists() {
    let page = fs::read_to_string(root().join("docs/failure-modes.md")).unwrap();
    let mut code = String::new();
    for folder in ["src", "tests"] {
        for path in files(&root().join(folder), ".rs") {
            code.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    // A test's name is a sentence; what is shorter names a file or a command.
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 3)
        .collect();
    assert!(named.len() > 40, "the page names its tests: {named:?}");
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| {
            !code.contains(&format!("fn {name}(")) && !code.contains(&format!("    {name},"))
        })
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
