//! Tests of what a container is made of.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::agent::{ClusterId, EnvValue, Revision, Uid};
use crate::keys::TOKEN_VARIABLE;
use crate::names::AgentName;
use crate::observed::{Identity, ImageId, NetworkId};

fn request(spec: Value) -> CreateContainer {
    let agent = AgentName::new("users").unwrap();
    CreateContainer {
        name: agent.container(0, 1),
        identity: Identity {
            cluster: ClusterId("c1".to_owned()),
            agent,
            uid: Uid("u1".to_owned()),
            generation: 3,
            revision: Revision("v1:ab".to_owned()),
            ordinal: 0,
            incarnation: 1,
            epoch: 2,
        },
        spec: serde_json::from_value(spec).unwrap(),
        origin: crate::runtime::Origin {
            owner: Some("mesh".to_owned()),
            restarted_at: None,
        },
        image: ImageId("sha256:00".to_owned()),
        injected_env: vec![
            ("AGENT_ID".to_owned(), "users".to_owned()),
            ("MINE".to_owned(), "ours".to_owned()),
        ],
        network: NetworkId("n1".to_owned()),
        address: Some(std::net::Ipv4Addr::new(10, 1, 2, 3)),
        aliases: ["users".to_owned(), "users-0".to_owned()].into(),
        host_gateway: Some(std::net::Ipv4Addr::new(10, 1, 0, 1)),
    }
}

fn made(spec: Value) -> Value {
    serde_json::to_value(body(&request(spec), "net", Vec::new()).unwrap()).unwrap()
}

/// What an agent gets from the first day, whole: a change here is a change to every new container, and meant.
#[test]
fn the_whole_request_is_as_it_is_written_down() {
    let body = made(json!({
        "env": {"TOKEN": "hunter2"},
        "user": "1000",
        "port": 9000,
        "resources": {"cpu": "500m", "memory": "512Mi"},
    }));
    let golden: Value = serde_json::from_str(include_str!("create_golden.json")).unwrap();
    assert_eq!(body, golden, "{body:#}");
}

#[test]
fn the_users_environment_goes_before_ours() {
    let body = made(json!({"env": {"MINE": "users own"}}));
    assert_eq!(body["Env"], json!(["MINE=users own", "AGENT_ID=users"]));
}

#[test]
fn law_7_what_the_engine_says_is_told_without_secrets_and_with_the_names_that_everybody_knows() {
    let mut request = request(json!({
        "image": "registry.local/users:1.4",
        "env": {"SELF": "users", "CALL": "users-0-1", "TOKEN": "hunter2", "AT": "registry.local"},
    }));
    request
        .injected_env
        .push((TOKEN_VARIABLE.to_owned(), "agentainer.u1.2.mac".to_owned()));
    let said = |message: &str| {
        let refused = error::refused("create", message);
        error::scrubbed(refused, &secrets(&request)).to_string()
    };
    for known in [
        "The container name \"/users-0-1\" is already in use by container \"4f\"",
        "No such image: registry.local/users:1.4 (sha256:00), wanted by users with ours",
    ] {
        assert!(said(known).ends_with(known), "{}", said(known));
    }
    let told = said("bad: TOKEN=hunter2, T=agentainer.u1.2.mac at registry.local");
    assert!(told.ends_with("bad: TOKEN=***, T=*** at ***"), "{told}");
}

#[test]
fn law_7_the_spec_label_has_names_and_no_values() {
    let spec: AgentSpec = serde_json::from_value(json!({
        "env": {"TOKEN": "hunter2"},
        "build": {"context": ".", "args": {"KEY": "hunter2"}},
        "port": 9000,
    }))
    .unwrap();
    let text = spec_without_values(&spec);
    assert!(!text.contains("hunter2"), "{text}");
    let back: AgentSpec = serde_json::from_str(&text).unwrap();
    assert_eq!(back.env.get("TOKEN"), Some(&EnvValue::from("")));
    assert_eq!(back.port, spec.port);
}

#[test]
fn law_7_dangerous_capabilities_are_refused_and_others_can_be_had() {
    for name in [
        "ALL",
        "SYS_ADMIN",
        "cap_net_admin",
        "SYS_PTRACE",
        "DAC_READ_SEARCH",
        "NONSENSE",
    ] {
        let spec = json!({"security": {"capabilities": {"add": [name]}}});
        let refusal = body(&request(spec), "net", Vec::new())
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("granted to no agent"), "{refusal}");
    }
    let body = made(json!({"security": {"capabilities": {"add": ["cap_mknod"], "drop": ["ALL"]}}}));
    assert_eq!(body["HostConfig"]["CapAdd"], json!(["MKNOD"]));
    assert_eq!(body["HostConfig"]["CapDrop"], json!(["ALL"]));
    // What validation lets through can be made; what is kept by default may be named.
    made(json!({"security": {"capabilities": {"add": MAY_ADD}}}));
    assert!(CAPABILITIES.iter().all(|name| MAY_ADD.contains(name)));
}

#[test]
fn a_name_that_no_environment_can_hold_is_refused_without_its_value() {
    let refusal = body(
        &request(json!({"env": {"A=B": "hunter2"}})),
        "net",
        Vec::new(),
    )
    .unwrap_err()
    .to_string();
    assert!(
        refusal.contains("A=B") && !refusal.contains("hunter2"),
        "{refusal}"
    );
}

#[test]
fn command_and_args_are_as_in_kubernetes() {
    let body = made(json!({"command": ["/run"], "args": ["-v"]}));
    assert_eq!(
        (&body["Entrypoint"], &body["Cmd"]),
        (&json!(["/run"]), &json!(["-v"]))
    );
    let untouched = made(json!({}));
    assert!(untouched.get("Entrypoint").is_none_or(Value::is_null));
}

#[test]
fn a_read_only_root_has_a_writable_tmp_unless_a_volume_is_there() {
    let spec = json!({"security": {"readOnlyRootFilesystem": true}});
    assert!(made(spec)["HostConfig"]["Tmpfs"]["/tmp"].is_string());
    let spec = json!({
        "security": {"readOnlyRootFilesystem": true},
        "volumes": [{"name": "scratch", "container": "/tmp"}],
    });
    assert!(
        made(spec)["HostConfig"]
            .get("Tmpfs")
            .is_none_or(Value::is_null)
    );
}
