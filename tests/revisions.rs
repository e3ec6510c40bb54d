//! Revisions must never change by themselves: a release of ours that gave an agent another revision would replace all
//! its containers. `tests/golden/revisions.json` holds hashes that were given out.
//!
//! A new case is added with `UPDATE=1 cargo test --test revisions`, which writes cases that have no hash yet and never
//! changes one that has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::path::Path;

use agentainer::agent::{AgentSpec, Revision, revision};
use agentainer::names::AgentName;
use serde_json::{Value, json};

fn of(spec: Value) -> Revision {
    let spec: AgentSpec = serde_json::from_value(spec).unwrap();
    revision::of(&AgentName::new("users").unwrap(), &spec, None)
}

#[test]
fn revisions_that_were_given_out_never_change() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/revisions.json");
    let mut cases: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(cases.len() >= 12);
    for case in &mut cases {
        let name = AgentName::new(case["name"].as_str().unwrap()).unwrap();
        let spec: AgentSpec = serde_json::from_value(case["spec"].clone()).unwrap();
        let found = revision::of(&name, &spec, case["restartedAt"].as_str());
        if case["revision"].is_null() && std::env::var_os("UPDATE").is_some() {
            case["revision"] = json!(found);
        }
        assert_eq!(
            case["revision"],
            json!(found),
            "the revision of {case:#} changed: every such agent in the world would be replaced"
        );
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{:#}\n", Value::Array(cases))).unwrap();
    }
}

#[test]
fn a_revision_is_the_same_however_its_fields_are_written() {
    let same = |one: Value, other: Value| {
        assert_eq!(of(one.clone()), of(other.clone()), "{one} and {other}");
    };
    same(
        json!({"env": {"A": "1", "B": "2"}, "port": 9000}),
        serde_json::from_str(r#"{"port": 9000, "env": {"B": "2", "A": "1"}}"#).unwrap(),
    );
    same(
        json!({"resources": {"cpu": "500m"}}),
        json!({"resources": {"cpu": 0.5}}),
    );
    same(
        json!({"resources": {"memory": "1Gi"}}),
        json!({"resources": {"memory": 1_073_741_824}}),
    );
    same(
        json!({"env": {"A": ["x", 1]}}),
        json!({"env": {"A": "x,1"}}),
    );
    same(json!({"image": "users"}), json!({}));
    same(
        json!({"port": 8000, "user": "", "command": [], "args": [], "env": {}, "volumes": [],
               "resources": {"pids": 512}, "security": {"readOnlyRootFilesystem": false, "capabilities": {"add": [], "drop": []}}}),
        json!({}),
    );
    same(
        json!({"volumes": [{"name": "a", "container": "/a", "mode": "ro"}]}),
        json!({"volumes": [{"name": "a", "container": "/a", "readOnly": true}]}),
    );
    same(
        json!({"volumes": [{"name": "a", "container": "/a", "mode": "rw"}]}),
        json!({"volumes": [{"name": "a", "container": "/a"}]}),
    );
    same(
        json!({"security": {"capabilities": {"drop": ["cap_net_raw", "KILL"]}}}),
        json!({"security": {"capabilities": {"drop": ["KILL", "NET_RAW", "KILL"]}}}),
    );
}

#[test]
fn what_shapes_no_container_changes_no_revision() {
    let plain = of(json!({}));
    for spec in [
        json!({"replicas": 5}),
        json!({"state": "stopped"}),
        json!({"pullPolicy": "always"}),
        json!({"strategy": {"type": "recreate"}}),
        json!({"healthCheck": {"endpoint": "/x", "interval": "1s"}}),
        json!({"restart": {"policy": "no", "delay": "9s"}}),
        json!({"autoRestart": false}),
        json!({"drain": {"timeout": "1s"}}),
        json!({"dependsOn": ["auth"]}),
        json!({"dependencies": ["auth"]}),
        json!({"proxy": {"timeouts": {"connect": "1s"}}}),
        json!({"persistence": {"mode": "off"}}),
    ] {
        assert_eq!(of(spec.clone()), plain, "{spec}");
    }
}

#[test]
fn every_field_that_shapes_a_container_changes_the_revision() {
    let specs = [
        json!({}),
        json!({"image": "users:2"}),
        json!({"command": ["x"]}),
        json!({"args": ["x"]}),
        json!({"user": "1000"}),
        json!({"port": 9000}),
        json!({"env": {"A": "1"}}),
        json!({"env": {"A": "2"}}),
        json!({"env": {"A": ""}}),
        json!({"resources": {"cpu": 1}}),
        json!({"resources": {"memory": "1Gi"}}),
        json!({"resources": {"pids": 100}}),
        json!({"volumes": [{"name": "a", "container": "/a"}]}),
        json!({"volumes": [{"name": "a", "container": "/a", "mode": "ro"}]}),
        json!({"volumes": [{"host": "/a", "container": "/a"}]}),
        json!({"security": {"readOnlyRootFilesystem": true}}),
        json!({"security": {"capabilities": {"add": ["KILL"]}}}),
        json!({"security": {"capabilities": {"drop": ["KILL"]}}}),
    ];
    let all: std::collections::BTreeSet<Revision> = specs.iter().cloned().map(of).collect();
    assert_eq!(all.len(), specs.len());

    let name = AgentName::new("users").unwrap();
    let spec = AgentSpec::default();
    let restarted = revision::of(&name, &spec, Some("2026-11-22T10:00:00Z"));
    assert_ne!(restarted, revision::of(&name, &spec, None));
}
