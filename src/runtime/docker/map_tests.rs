//! Tests of reading the engine's JSON.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn labels() -> Value {
    json!({
        "agentainer.dev/cluster": "c1", "agentainer.dev/agent": "users", "agentainer.dev/uid": "u1",
        "agentainer.dev/generation": "3", "agentainer.dev/revision": "v1:ab",
        "agentainer.dev/ordinal": "0", "agentainer.dev/incarnation": "7", "agentainer.dev/epoch": "2",
    })
}

fn cluster() -> ClusterId {
    ClusterId("c1".to_owned())
}

#[test]
fn labels_make_an_identity_and_a_wrong_one_is_named() {
    let identity = identity(&labels(), &cluster()).unwrap();
    assert_eq!(
        (identity.generation, identity.incarnation, identity.epoch),
        (3, 7, 2)
    );
    for name in labels().as_object().unwrap().keys() {
        for wrong in [Value::Null, json!(""), json!(-1), json!("x y")] {
            let mut labels = labels();
            labels[name] = wrong.clone();
            // A uid and a revision are any text.
            if (name == label::UID || name == label::REVISION) && wrong == json!("x y") {
                continue;
            }
            assert_eq!(
                super::identity(&labels, &cluster()),
                Err(name.as_str()),
                "{wrong}"
            );
        }
    }
}

#[test]
fn a_running_container_is_read() {
    let inspect = json!({
        "Id": "0123456789abcdef", "Name": "/users-0-7", "Image": "sha256:1",
        "Created": "2026-11-22T18:53:25.838352768Z",
        "State": {"Status": "running", "ExitCode": 0, "StartedAt": "2026-11-22T18:53:26Z",
                  "FinishedAt": "0001-01-01T00:00:00Z"},
        "HostConfig": {"NanoCpus": 500_000_000, "Memory": 1024, "PidsLimit": null},
        "NetworkSettings": {"Networks": {"net": {
            "NetworkID": "n1", "IPAddress": "10.0.0.2", "IPAMConfig": {"IPv4Address": "10.0.0.2"},
            "Aliases": ["users", "0123456789ab"]}}},
    });
    let identity = identity(&labels(), &cluster()).unwrap();
    let read = container(&inspect, identity, "net").unwrap();
    assert_eq!(read.name, "users-0-7");
    assert_eq!(read.state, ContainerState::Running);
    assert_eq!(read.exit, None);
    assert_eq!(
        read.limits,
        Limits {
            nano_cpus: 500_000_000,
            memory: 1024,
            pids: 0
        }
    );
    let attachment = read.attachment.unwrap();
    assert_eq!(attachment.aliases, ["users".to_owned()].into());
    assert_eq!(attachment.asked_ip, Some(Ipv4Addr::new(10, 0, 0, 2)));
}

#[test]
fn never_is_no_moment_and_an_unknown_state_is_not_dead() {
    let inspect =
        json!({"Id": "x", "State": {"Status": "hibernating", "StartedAt": "0001-01-01T00:00:00Z"}});
    let read = container(&inspect, identity(&labels(), &cluster()).unwrap(), "net").unwrap();
    assert_eq!(read.state, ContainerState::Unknown);
    assert_eq!(
        (read.started_at, read.exit, read.attachment),
        (None, None, None)
    );
}

#[test]
fn a_cpu_limit_that_was_taken_away_reads_as_none() {
    let read = limits(&json!({"NanoCpus": unlimited_cpus(2), "Memory": -1, "PidsLimit": -1}));
    assert_eq!(read, Limits::default());
}

/// Any JSON, with the engine's own field names likely.
fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![
            Just("running"),
            Just("exited"),
            Just(""),
            Just("10.0.0.2"),
            Just("é")
        ]
        .prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("Id"),
        Just("Name"),
        Just("State"),
        Just("Status"),
        Just("HostConfig"),
        Just("NanoCpus"),
        Just("NetworkSettings"),
        Just("Networks"),
        Just("net"),
        Just("Aliases"),
        Just("IPAMConfig"),
        Just("Created"),
        Just("StartedAt"),
        Just("Names"),
        Just("Memory"),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone().prop_map(str::to_owned), inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn odd_data_never_panics(value in odd_json()) {
        let identity = super::identity(&labels(), &cluster()).unwrap();
        let _ = container(&value, identity.clone(), "net");
        let _ = container_from_summary(&value, identity, "net");
        let _ = super::identity(&value, &cluster());
    }
}
