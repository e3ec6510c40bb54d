#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::json;

use super::*;

fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

fn errors_of(spec: Value, origin: Origin) -> Vec<String> {
    super::spec(&name("users"), spec.as_object().unwrap(), origin)
        .iter()
        .map(|error| {
            let mark = if error.warning { "warning: " } else { "" };
            format!("{mark}{error}")
        })
        .collect()
}

fn one(spec: Value) -> String {
    let found = errors_of(spec.clone(), Origin::File);
    assert_eq!(found.len(), 1, "{spec}: {found:?}");
    found.into_iter().next().unwrap()
}

fn none(spec: Value) {
    assert_eq!(
        errors_of(spec.clone(), Origin::File),
        Vec::<String>::new(),
        "{spec}"
    );
}

fn agents(list: &[(&str, Value)]) -> Vec<ApplyAgent> {
    list.iter()
        .map(|(text, spec)| ApplyAgent {
            name: name(text),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            spec: spec.as_object().unwrap().clone(),
        })
        .collect()
}

#[test]
fn a_wrong_field_hides_no_other() {
    let found = errors_of(
        json!({"replicas": "x", "port": 0, "volumes": [{"container": "data"}], "dependsOn": ["redis"], "healthCheck": {"endpoint": "health"}}),
        Origin::File,
    );
    for part in [
        "replicas: expected a whole number",
        "port: must be from 1 to 65535",
        "volumes[0]: needs `host`",
        "volumes[0].container: 'data' is not absolute",
        "dependsOn[0]: 'redis' is reserved",
        "healthCheck.endpoint: 'health' is not a path",
    ] {
        assert!(
            found.iter().any(|error| error.starts_with(part)),
            "{part} in {found:#?}"
        );
    }
}

#[test]
fn law_7_capabilities_that_reach_the_host_are_refused() {
    for bad in [
        "SYS_ADMIN",
        "cap_net_admin",
        "SYS_PTRACE",
        "SYS_MODULE",
        "ALL",
        "BPF",
        "DAC_READ_SEARCH",
    ] {
        let error = one(json!({"security": {"capabilities": {"add": [bad]}}}));
        assert!(error.contains("is refused"), "{error}");
    }
    none(
        json!({"security": {"capabilities": {"add": ["NET_BIND_SERVICE", "CAP_CHOWN"], "drop": ["ALL", "SYS_ADMIN"]}}}),
    );
    let error = one(json!({"security": {"capabilities": {"drop": ["NET_RAV"]}}}));
    assert!(error.contains("did you mean 'NET_RAW'?"), "{error}");
}

#[test]
fn every_part_of_a_spec_that_is_right_is_taken() {
    none(json!({
        "strategy": {"rollback": true, "type": "rolling", "maxSurge": 1, "progressDeadline": "2m"},
        "restart": {"maxRetries": 3, "policy": "on-failure"},
        "healthCheck": {"restartOnStatus": true},
        "persistence": {"mode": "always", "methods": ["POST"], "ttl": "1h", "maxRetries": 0, "maxQueue": 5, "maxBody": "1Ki", "maxBytes": "1Mi", "order": "strict", "concurrency": 1, "replayUnsafe": true, "retryRefusals": true, "resumable": true, "callbacks": {"hosts": ["example.org", "*.example.net"]}},
        "proxy": {"protocol": "h2c", "balance": "round-robin", "breaker": {}, "timeouts": {"connect": "1s", "firstByte": "30s", "idle": "1m", "total": "0s"}, "retries": 1, "maxInFlight": 3, "onDisconnect": "continue"},
    }));
}

#[test]
fn law_7_callbacks_go_to_hosts_that_are_named() {
    for bad in [
        "*",
        "",
        "https://example.org",
        "example.org:8443",
        "example.org/hook",
        "a.*.org",
    ] {
        let error = one(json!({"persistence": {"callbacks": {"hosts": ["example.org", bad]}}}));
        assert!(error.contains("is no host"), "{error}");
    }
}

#[test]
fn nothing_is_kept_for_no_time_or_for_longer_than_anybody_lives() {
    for (bad, why) in [
        ("0s", "more than 0s"),
        ("87600h1ms", "at most 87600h"),
        ("18446744073709551615ms", "at most 87600h"),
    ] {
        let error = one(json!({"persistence": {"ttl": bad}}));
        assert!(
            error.starts_with("persistence.ttl: ") && error.contains(why),
            "{error}"
        );
    }
    none(json!({"persistence": {"ttl": "3650d"}}));
}

#[test]
fn the_data_path_is_told_what_it_can_do() {
    for (bad, why) in [
        (json!({"balance": "hash"}), "recognised by"),
        (json!({"balance": "hash", "session": {}}), "recognised by"),
        (
            json!({"balance": "hash", "session": {"header": ""}}),
            "recognised by",
        ),
        (json!({"session": {"header": "x"}}), "means nothing"),
        (
            json!({"balance": "hash", "session": {"header": "x y"}}),
            "not a name",
        ),
        (
            json!({"balance": "hash", "session": {"cookie": "a=b"}}),
            "not a name",
        ),
        (json!({"breaker": {"maxEjected": "101%"}}), "not a share"),
        (json!({"breaker": {"maxEjected": "half"}}), "not a share"),
        (json!({"breaker": {"maxEjected": "+5%"}}), "not a share"),
        (json!({"breaker": {"cooldown": "0s"}}), "more than 0s"),
    ] {
        let said = one(json!({ "proxy": bad }));
        assert!(said.contains(why), "{bad}: {said}");
    }
    for good in [
        json!({"balance": "hash", "session": {"header": "Mcp-Session-Id"}}),
        json!({"balance": "hash", "session": {"cookie": "sid", "header": "x"}}),
        json!({"session": {"header": ""}}),
        json!({"breaker": {"failures": 0, "cooldown": "0s"}}),
        json!({"breaker": {"maxEjected": "0%"}}),
    ] {
        none(json!({ "proxy": good }));
    }
}

#[test]
fn images_follow_the_grammar_of_references() {
    for good in [
        "users",
        "users:1.4",
        "library/redis:7-alpine",
        "registry.example/org/app:v1",
        "localhost:5000/a/b__c:x",
        "app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "my-app:latest",
    ] {
        none(json!({ "image": good }));
    }
    for bad in [
        "",
        "Users",
        "users:",
        "users:a b",
        "a//b",
        "/users",
        "users@sha256:1",
        "-users",
        "sha256:12",
        "http://x/y",
        "users latest",
    ] {
        assert!(one(json!({ "image": bad })).starts_with("image: "));
    }
}

#[test]
fn volumes_have_one_source_and_one_place() {
    for (volumes, part) in [
        (
            json!([{"host": "./d", "name": "d", "container": "/d"}]),
            "has both",
        ),
        (json!([{"container": "/d"}]), "needs `host`"),
        (json!([{"name": "d", "container": "d"}]), "is not absolute"),
        (json!([{"name": "d", "container": "/a/../b"}]), "holds '..'"),
        (
            json!([{"name": "d", "container": "//"}]),
            "would cover the whole image",
        ),
        (
            json!([{"name": "d", "container": "/proc/x"}]),
            "belongs to the kernel",
        ),
        (
            json!([{"name": "../d", "container": "/d"}]),
            "is not a volume's name",
        ),
        (
            json!([{"name": "a", "container": "/d"}, {"name": "b", "container": "/d/"}]),
            "volumes[0] is already mounted there",
        ),
        (
            json!([{"name": "a", "container": "/d", "mode": "ro", "readOnly": true}]),
            "short form of mode",
        ),
    ] {
        let error = one(json!({ "volumes": volumes }));
        assert!(error.contains(part), "{error}");
    }
    none(
        json!({"volumes": [{"host": "./data", "container": "/app/data"}, {"name": "cache", "container": "/cache", "readOnly": true}]}),
    );
}

#[test]
fn rolling_over_a_writable_volume_is_allowed_when_asked_for() {
    let volumes = json!([{"name": "a", "container": "/d"}]);
    none(json!({"volumes": volumes, "strategy": {"type": "rolling", "maxSurge": 1}}));
    let error = one(json!({"volumes": volumes, "strategy": {"maxSurge": 1}}));
    assert!(error.contains("type: rolling"), "{error}");
    let error = one(json!({"strategy": {"maxSurge": 0}}));
    assert!(
        error.contains("no instance could ever be replaced"),
        "{error}"
    );
    none(json!({"strategy": {"maxSurge": 0, "maxUnavailable": 1}}));
    let error = one(json!({"volumes": volumes, "replicas": 2}));
    assert!(error.starts_with("warning: replicas"), "{error}");
}

#[test]
fn spans_and_limits_have_a_least() {
    for (spec, part) in [
        (
            json!({"healthCheck": {"interval": "50ms"}}),
            "at least 100ms",
        ),
        (json!({"healthCheck": {"timeout": 0}}), "more than 0s"),
        (
            json!({"restart": {"delay": "10s", "maxDelay": "5s"}}),
            "is less than restart.delay, 10s",
        ),
        (json!({"restart": {"delay": 0}}), "more than 0s"),
        (json!({"drain": {"timeout": "9999d"}}), "more than 30 days"),
        (json!({"resources": {"memory": "512"}}), "Docker's least"),
        (json!({"resources": {"cpu": "1m"}}), "Docker's least"),
        (json!({"resources": {"pids": 0}}), "must be from 1"),
        (json!({"replicas": 101}), "from 0 to 100"),
        (json!({"user": "a b"}), "is not a user"),
        (json!({"user": "99999999999"}), "is not a user"),
        (
            json!({"env": {"A=B": "x"}}),
            "is not a name of an environment variable",
        ),
        (json!({"env": {"A": "***"}}), "hidden value"),
        (
            json!({"autoRestart": true, "restart": {"policy": "no"}}),
            "short form",
        ),
        (json!({"image": "a", "build": "."}), "leave out one"),
        (json!({"dependsOn": ["users"]}), "cannot depend on itself"),
    ] {
        let error = one(spec);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_api_takes_only_what_the_client_worked_out() {
    let found = errors_of(
        json!({"build": ".", "envFile": "x", "volumes": [{"host": "./d", "container": "/d"}, {"host": "/a/../b", "container": "/e"}]}),
        Origin::Api,
    );
    assert_eq!(found.len(), 4, "{found:#?}");
}

#[test]
fn law_7_no_message_holds_an_environment_value() {
    let found = errors_of(
        json!({"env": {"A B": "hunter2", "C": "hunter2\u{0}", "D": null, "": "hunter2"}, "build": {"context": ".", "args": {"T": null}}}),
        Origin::Api,
    );
    assert!(!found.is_empty());
    assert!(
        found.iter().all(|error| !error.contains("hunter2")),
        "{found:#?}"
    );
}

#[test]
fn labels_follow_kubernetes() {
    let labels = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let none = BTreeMap::new();
    assert_eq!(metadata(&labels("tier", "backend"), &none), []);
    assert_eq!(metadata(&labels("example.com/tier", ""), &none), []);
    for (key, value) in [
        ("a b", "x"),
        ("", "x"),
        ("-a", "x"),
        ("A.com/a", "x"),
        ("a", "x y"),
        ("a", "-x"),
        ("agentainer.dev/agent", "x"),
    ] {
        assert_eq!(
            metadata(&labels(key, value), &none).len(),
            1,
            "{key}={value}"
        );
    }
    assert_eq!(
        metadata(
            &none,
            &labels("agentainer.dev/restarted-at", "any text at all")
        ),
        []
    );
}

#[test]
fn names_twice_and_circles_are_errors_and_unknown_dependencies_warnings() {
    let list = agents(&[
        ("a", json!({"dependsOn": ["b"]})),
        ("b", json!({"dependencies": ["c"]})),
        ("c", json!({"dependsOn": ["a", "elsewhere", "bb"]})),
        ("a", json!({})),
        (
            "d",
            json!({"env": {"B": "http://bb:8000", "FAR": "http://faraway:1"}}),
        ),
    ]);
    let found: Vec<String> = bundle("shop", &list, Origin::Api)
        .iter()
        .map(|error| {
            let mark = if error.warning { "warning: " } else { "" };
            format!("{mark}{error}")
        })
        .collect();
    assert_eq!(
        found.join("\n"),
        "\
agents[3].name: 'a' is given twice; first as agents[0]
warning: agents[2].spec.dependsOn[1]: no agent 'elsewhere' here (it may be on the server already)
warning: agents[2].spec.dependsOn[2]: no agent 'bb' here (did you mean 'b'?)
agents[2].spec.dependsOn[0]: dependencies go in a circle: a → b → c → a
warning: agents[4].spec.env.B: names no agent 'bb' (did you mean 'b'?)"
    );
    assert_eq!(bundle("Shop!", &[], Origin::Api).len(), 1);
}
