#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::io;

use serde_json::{Value, json};

use super::*;

/// The block of the network document, exactly as it stands there.
const SEED: &str = "agents:
  # API Gateway (public facing)
  - name: gateway
    env:
      UPSTREAM_SERVICES:
        - http://auth:8000
        - http://users:8000
        - http://orders:8000
  
  # Internal services
  - name: auth
    env:
      REDIS_URL: redis://host.docker.internal:6379
      
  - name: users
    env:
      AUTH_SERVICE: http://auth:8000
      DB_URL: postgres://host.docker.internal:5432/users
      
  - name: orders
    env:
      AUTH_SERVICE: http://auth:8000
      USER_SERVICE: http://users:8000
      DB_URL: postgres://host.docker.internal:5432/orders
";

fn lookup(name: &str) -> Option<String> {
    match name {
        "IMAGE" => Some("users:2".to_owned()),
        "REPLICAS" => Some("3".to_owned()),
        "EMPTY" => Some(String::new()),
        "SECRET" => Some("hunter2".to_owned()),
        "HOME" => Some("/home/me".to_owned()),
        _ => None,
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("/repo/shop/a.env") => Ok(b"A=file\nB=file\nSECRET\n".to_vec()),
        Some("/repo/b.env") => Ok(b"B=later # x\nQ='a b'\n".to_vec()),
        Some("/repo/shop/bad.env") => Ok(b"A=1\nnot a line hunter2\nMISSING\n".to_vec()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        folder: PathBuf::from("/repo/shop"),
        bytes: text.as_bytes().to_vec(),
    }
}

fn load_with(texts: &[(&str, &str)], owner: Option<&str>) -> Result<Loaded, Report> {
    let sources: Vec<Source> = texts
        .iter()
        .map(|(name, text)| source(name, text))
        .collect();
    load(
        &sources,
        Inputs {
            lookup: &lookup,
            read: &read,
            owner,
        },
    )
}

fn good(text: &str) -> Loaded {
    load_with(&[("agents.yaml", text)], None).unwrap_or_else(|report| panic!("{report}"))
}

fn bad(text: &str) -> String {
    load_with(&[("agents.yaml", text)], None)
        .unwrap_err()
        .to_string()
}

fn spec(loaded: &Loaded, index: usize) -> Value {
    Value::Object(loaded.bundles[0].agents[index].spec.clone())
}

#[test]
fn the_seeds_mesh_is_taken_exactly_as_it_is_written() {
    let loaded = good(SEED);
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.bundles.len(), 1);
    let bundle = &loaded.bundles[0];
    assert_eq!(bundle.owner, "default");
    let names: Vec<&str> = bundle.agents.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["gateway", "auth", "users", "orders"]);
    assert_eq!(
        spec(&loaded, 0),
        json!({"env": {"UPSTREAM_SERVICES": "http://auth:8000,http://users:8000,http://orders:8000"}})
    );
    let orders = &bundle.locations["orders"];
    assert_eq!((orders.line, orders.column), (20, 11));
}

#[test]
fn three_forms_mix_in_one_stream_and_each_has_its_owner() {
    let text = "\
agents:
  - name: a
---
apiVersion: v1
kind: AgentDeployment
metadata: {name: shop, labels: {team: x, tier: back}}
spec:
  agents:
    - {name: b, labels: {tier: front}}
---
apiVersion: agentainer.dev/v1
kind: Agent
metadata: {name: c}
spec: {image: c:1}
---
apiVersion: agentainer.dev/v1
kind: Agent
metadata: {name: d, owner: shop, uid: x, resourceVersion: '7'}
status: {phase: Running}
---
# nothing
";
    let loaded = load_with(&[("x.yaml", text)], Some("mine")).unwrap();
    let found: Vec<(String, Vec<String>)> = loaded
        .bundles
        .iter()
        .map(|bundle| {
            let names = bundle.agents.iter().map(|a| a.name.to_string()).collect();
            (bundle.owner.clone(), names)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("mine".to_owned(), vec!["a".to_owned(), "c".to_owned()]),
            ("shop".to_owned(), vec!["b".to_owned(), "d".to_owned()]),
        ]
    );
    let labels = &loaded.bundles[1].agents[0].labels;
    assert_eq!(labels["team"], "x");
    assert_eq!(labels["tier"], "front");
}

#[test]
fn an_empty_list_is_a_bundle_that_names_nothing() {
    let loaded = good("agents: []\n");
    assert_eq!(loaded.bundles.len(), 1);
    assert!(loaded.bundles[0].agents.is_empty());
    assert!(good("# nothing\n").bundles.is_empty());
}

#[test]
fn environment_values_become_text_as_they_were_written() {
    let loaded = good(
        "agents:\n- name: a\n  env:\n    V: 1.10\n    P: 0755\n    T: true\n    N: 1e3\n    S: ''\n    L: [a, 1.0, true]\n    M: {b: 1, a: [x, null]}\n    B: |\n      one\n      two\n    D: $$HOME $HOME ${IMAGE}\n    E: ${EMPTY}\n",
    );
    assert_eq!(
        spec(&loaded, 0)["env"],
        json!({"V": "1.10", "P": "0755", "T": "true", "N": "1e3", "S": "", "L": "a,1.0,true",
               "M": r#"{"a":["x",null],"b":1}"#, "B": "one\ntwo\n", "D": "$HOME $HOME users:2", "E": ""})
    );
}

#[test]
fn the_clients_environment_fills_in_every_field_with_its_type() {
    let loaded = good(
        "agents:\n- name: a\n  image: ${IMAGE}\n  replicas: ${REPLICAS}\n  port: ${PORT:-9000}\n  args: ['${IMAGE}', '$${X}']\n",
    );
    assert_eq!(
        spec(&loaded, 0),
        json!({"image": "users:2", "replicas": 3, "port": 9000, "args": ["users:2", "${X}"]})
    );
    assert_eq!(
        bad("agents:\n- name: a\n  image: x-${NOT_SET}\n  replicas: ${N}\n"),
        "agents.yaml:3:12: error: agents[0].image: the environment variable NOT_SET is not set (set NOT_SET, or write ${NOT_SET:-a default})\n\
         agents.yaml:4:13: error: agents[0].replicas: the environment variable N is not set (set N, or write ${N:-a default})"
    );
}

#[test]
fn env_files_are_read_in_order_and_env_goes_before_them() {
    let loaded = good("agents:\n- name: a\n  envFile: [./a.env, ../b.env]\n  env: {A: own}\n");
    assert_eq!(
        spec(&loaded, 0),
        json!({"env": {"A": "own", "B": "later", "Q": "a b", "SECRET": "hunter2"}})
    );
    let report = bad("agents:\n- name: a\n  envFile: bad.env\n- name: b\n  envFile: none.env\n");
    assert_eq!(
        report,
        "agents.yaml:5:12: error: agents[1].envFile: cannot be read: entity not found (it is /repo/shop/none.env)\n\
         bad.env:2:1: error: is not NAME=value\n\
         bad.env:3:1: error: the environment variable MISSING is not set (set it, or write MISSING=value)"
    );
}

#[test]
fn relative_paths_are_taken_from_the_manifests_folder() {
    let loaded = good(
        "agents:\n- name: a\n  build: ./a\n  volumes:\n  - {host: ./data/../d, container: /d}\n  - {host: ~/x, container: /x, readOnly: true}\n  - {host: /abs, container: /abs}\n- name: b\n  build: {context: ../b, dockerfile: D, args: {V: 1.0}, target: t}\n",
    );
    assert_eq!(
        spec(&loaded, 0),
        json!({"volumes": [
            {"host": "/repo/shop/d", "container": "/d"},
            {"host": "/home/me/x", "container": "/x", "mode": "ro"},
            {"host": "/abs", "container": "/abs"},
        ]})
    );
    assert_eq!(spec(&loaded, 1), json!({}));
    let builds = &loaded.bundles[0].builds;
    assert_eq!(builds["a"].context, Path::new("/repo/shop/a"));
    assert_eq!(builds["b"].context, Path::new("/repo/b"));
    assert_eq!(builds["b"].dockerfile, "D");
    assert_eq!(builds["b"].args["V"].as_str(), "1.0");
}

#[test]
fn short_forms_are_worked_out_and_empty_fields_name_nothing() {
    let loaded = good(
        "agents:\n- name: a\n  autoRestart: false\n  dependencies: [b]\n  resources: {cpu: 0.5, memory: 10240Ki}\n  volumes:\n  healthCheck: {}\n- name: b\n",
    );
    assert_eq!(
        spec(&loaded, 0),
        json!({"restart": {"policy": "no"}, "dependsOn": ["b"], "resources": {"cpu": "500m", "memory": "10Mi"}, "healthCheck": {}})
    );
}

#[test]
fn what_is_loaded_passes_the_servers_checks() {
    let loaded = good(SEED);
    for bundle in &loaded.bundles {
        assert_eq!(
            super::super::validate::bundle(
                &bundle.owner,
                &bundle.agents,
                super::super::validate::Origin::Api
            ),
            []
        );
    }
}

#[test]
fn oversized_input_is_refused_across_all_sources() {
    let big = format!("# {}\nagents: []\n", "x".repeat(3 << 20));
    let report = load_with(&[("a.yaml", &big), ("b.yaml", &big)], None).unwrap_err();
    assert!(
        report
            .to_string()
            .starts_with("b.yaml: error: more than 4 MiB"),
        "{report}"
    );
}

#[test]
fn text_that_is_no_utf_8_is_refused_with_its_line() {
    let mut source = source("x.yaml", "agents:\n- name: a\n");
    source.bytes.extend(b"  image: \xff\n");
    let inputs = Inputs {
        lookup: &lookup,
        read: &read,
        owner: None,
    };
    let report = load(&[source], inputs).unwrap_err().to_string();
    assert_eq!(report, "x.yaml:3:1: error: is not UTF-8 text");
}

#[test]
fn agents_of_the_same_name_in_two_files_are_told_with_the_first_place() {
    let report = load_with(
        &[
            ("one.yaml", "agents:\n- name: a\n"),
            (
                "two.yaml",
                "apiVersion: v1\nkind: Agent\nmetadata:\n  name: a\n",
            ),
        ],
        None,
    )
    .unwrap_err();
    assert_eq!(
        report.to_string(),
        "two.yaml:4:9: error: metadata.name: 'a' is given twice; first at one.yaml:2"
    );
}

#[test]
fn law_7_no_report_holds_an_environment_value() {
    for text in [
        "agents:\n- name: a\n  env:\n    A: hunter2\n    A: hunter2\n    B C: hunter2\n",
        "agents:\n- name: a\n  environment: {A: hunter2}\n",
        "agents:\n- name: a\n  env: hunter2\n",
        "agents:\n- name: a\n  env: [A=hunter2]\n",
        "agents:\n- name: a\n  env: {A: '${SECRET', B: hunter2}\n",
        "agents:\n- name: a\n  env:\n    A: \"hunter2\n    B: hunter2\n",
        "agents:\n- name: a\n  env:\n    A: ${NO:?hunter2}x\n"
            .replace("hunter2", "x")
            .as_str(),
        "agents:\n- name: a\n  env:\n    A: !x hunter2\n",
        "agents:\n- name: a\n  envFile: bad.env\n",
        "agents:\n- name: a\n  build: {context: ., args: {A B: hunter2, T: [hunter2]}, x: 1}\n",
    ] {
        let report = load_with(&[("x.yaml", text)], None).unwrap_err();
        for shown in [
            report.to_string(),
            report.render(false),
            format!("{report:?}"),
        ] {
            assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        }
    }
}

mod never_panics {
    use proptest::prelude::*;

    use super::*;

    fn try_load(bytes: &[u8]) {
        let source = Source {
            name: "x".to_owned(),
            folder: PathBuf::from("/x"),
            bytes: bytes.to_vec(),
        };
        let inputs = Inputs {
            lookup: &lookup,
            read: &read,
            owner: None,
        };
        let started = std::time::Instant::now();
        if let Err(report) = load(&[source], inputs) {
            let _ = report.render(true);
            assert!(report.errors() > 0);
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    /// Texts made of what YAML and our manifests are made of.
    fn yamlish() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "agents:",
            "- ",
            "name: ",
            "a",
            "env:",
            "A",
            ": ",
            ":",
            "\n",
            "\n  ",
            "\n    ",
            "  ",
            "\t",
            "{",
            "}",
            "[",
            "]",
            ",",
            "\"",
            "'",
            "|",
            ">",
            "&x ",
            "*x",
            "<<: ",
            "!!str ",
            "!t ",
            "? ",
            "#",
            "---\n",
            "...\n",
            "%YAML 1.2\n",
            "${",
            "}",
            "$$",
            "${A:-",
            "kind: Agent",
            "kind: AgentDeployment",
            "metadata:",
            "spec:",
            "replicas: ",
            "3",
            "-1",
            "1e9",
            "null",
            "~",
            "true",
            "volumes:",
            "ü",
            "\u{feff}",
            "\u{0}",
            "\r\n",
            "\\",
            "dependsOn: ",
            "healthCheck:",
            "build:",
            "args:",
            "envFile: a.env",
            "0x",
            "items:",
            "hunter2",
        ]);
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            try_load(&bytes);
        }

        #[test]
        fn on_anything_like_yaml(text in yamlish()) {
            try_load(text.as_bytes());
        }

        #[test]
        fn on_a_good_manifest_with_a_piece_cut_out_or_put_in(at in 0..SEED.len(), length in 0..40usize, piece in yamlish()) {
            let mut text = SEED.to_owned();
            text.replace_range(at..(at + length).min(SEED.len()), &piece);
            try_load(text.as_bytes());
        }

        #[test]
        fn law_7_a_broken_manifest_never_shows_a_value(cut in 0..400usize, piece in yamlish()) {
            let text = "agents:\n  - name: a\n    replicas: x\n    env:\n      A: hunter2\n      B: 'hunter2 hunter2'\n      C: [hunter2, {k: hunter2}]\n      D: |\n        hunter2\n        hunter2\n    build:\n      context: .\n      args: {T: hunter2}\n    port: y\n";
            let at = cut.min(text.len());
            let broken = format!("{}{}{}", &text[..at], piece.replace("hunter2", ""), &text[at..]);
            // A piece may turn a value into a key, a field's name or a comment; those are shown.
            let in_value = text[..at].lines().last().is_some_and(|line| line.contains("hunter") || line.contains(": ") || line.ends_with(':'));
            if let Err(report) = load_with(&[("x.yaml", &broken)], None)
                && !in_value
                && !piece.contains([':', '-', ',', '?', '{', '[', '}', ']', '#', '\'', '"', '|', '>', '\n', '\r'])
            {
                prop_assert!(!report.render(false).contains("hunter2"), "{}\n{}", broken, report.render(false));
            }
        }
    }
}
