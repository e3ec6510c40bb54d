//! The adapter against an engine that is scripted to be odd: hung containers, words of a newer release, containers
//! that vanish between two calls, events that nobody knows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentainer::agent::ClusterId;
use agentainer::observed::ContainerState;
use agentainer::runtime::{
    ContainerRuntime, DockerRuntime, RuntimeClass, RuntimeEvent, RuntimeSettings,
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// What the engine answers to a path (without its query).
#[derive(Clone)]
enum Reply {
    Json(u16, Value),
    /// Nothing, ever.
    Hang,
    /// These lines, and the connection is closed.
    Lines(Vec<String>),
    /// The connection is closed at once.
    Close,
}

struct Engine {
    folder: tempfile::TempDir,
    script: Arc<Mutex<BTreeMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Engine {
    fn new() -> Self {
        let engine = Self {
            folder: tempfile::tempdir().unwrap(),
            script: Arc::default(),
            asked: Arc::default(),
        };
        engine.says(
            "/version",
            Reply::Json(200, json!({"ApiVersion": "1.41", "MinAPIVersion": "1.12"})),
        );
        let listener = UnixListener::bind(engine.socket()).unwrap();
        let (script, asked) = (Arc::clone(&engine.script), Arc::clone(&engine.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&asked)));
            }
        });
        engine
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    fn says(&self, path: &str, reply: Reply) {
        self.script.lock().unwrap().insert(path.to_owned(), reply);
    }

    fn runtime(&self) -> DockerRuntime {
        let settings = RuntimeSettings {
            cluster: ClusterId("c1".to_owned()),
            network: "net".to_owned(),
            allowed_host_paths: Vec::new(),
            denied_host_paths: Vec::new(),
        };
        DockerRuntime::connect(
            Some(&format!("unix://{}", self.socket().display())),
            settings,
        )
        .unwrap()
    }

    /// Containers a, b, … on the list, each inspected as running.
    fn holds(&self, ids: &[&str]) {
        let summary =
            |id: &&str| json!({"Id": id, "Names": [format!("/users-{id}")], "Labels": labels(id)});
        let list: Vec<Value> = ids.iter().map(summary).collect();
        self.says("/v1.41/containers/json", Reply::Json(200, list.into()));
        for id in ids {
            let inspect =
                json!({"Id": id, "Name": format!("/users-{id}"), "State": {"Status": "running"}});
            self.says(
                &format!("/v1.41/containers/{id}/json"),
                Reply::Json(200, inspect),
            );
        }
    }
}

fn labels(id: &str) -> Value {
    json!({
        "agentainer.dev/cluster": "c1", "agentainer.dev/agent": "users", "agentainer.dev/uid": "u1",
        "agentainer.dev/generation": "1", "agentainer.dev/revision": "v1:00", "agentainer.dev/epoch": "1",
        "agentainer.dev/ordinal": (id.as_bytes()[0] - b'a').to_string(), "agentainer.dev/incarnation": "1",
    })
}

async fn serve(
    stream: UnixStream,
    script: Arc<Mutex<BTreeMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            if first.is_empty() {
                first = line;
            }
        }
        let target = first.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().to_owned();
        asked.lock().unwrap().push(path.clone());
        let reply = script.lock().unwrap().get(&path).cloned();
        let reply = reply.unwrap_or(Reply::Json(
            404,
            json!({"message": format!("no such: {path}")}),
        ));
        match reply {
            Reply::Hang => std::future::pending().await,
            Reply::Close => return,
            Reply::Json(status, body) => {
                let body = body.to_string();
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} -\r\ncontent-length: {length}\r\n\r\n{body}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Lines(lines) => {
                let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
                let answer = format!("HTTP/1.1 200 -\r\nconnection: close\r\n\r\n{text}");
                let _ = stream.write_all(answer.as_bytes()).await;
                return;
            }
        }
    }
}

fn states(found: &[agentainer::observed::Container]) -> Vec<(&str, ContainerState)> {
    found
        .iter()
        .map(|container| (container.id.0.as_str(), container.state))
        .collect()
}

#[tokio::test]
async fn one_hung_container_hides_no_other_and_is_not_taken_for_gone() {
    let engine = Engine::new();
    engine.holds(&["a", "b", "c"]);
    engine.says("/v1.41/containers/b/json", Reply::Hang);
    let runtime = engine.runtime();
    let found = tokio::time::timeout(Duration::from_secs(9), runtime.list()).await;
    let found = found
        .expect("the list waits no longer than for one inspection")
        .unwrap();
    assert_eq!(
        states(&found),
        [
            ("a", ContainerState::Running),
            ("b", ContainerState::Unknown),
            ("c", ContainerState::Running)
        ]
    );
    assert_eq!(found[1].name, "users-b");
}

#[tokio::test]
async fn one_that_vanishes_between_list_and_inspection_is_left_out() {
    let engine = Engine::new();
    engine.holds(&["a", "b"]);
    engine.says(
        "/v1.41/containers/a/json",
        Reply::Json(404, json!({"message": "No such container: a"})),
    );
    assert_eq!(
        states(&engine.runtime().list().await.unwrap()),
        [("b", ContainerState::Running)]
    );
}

#[tokio::test]
async fn one_that_the_engine_cannot_inspect_is_told_as_unknown() {
    let engine = Engine::new();
    engine.holds(&["a", "b"]);
    engine.says(
        "/v1.41/containers/a/json",
        Reply::Json(500, json!({"message": "layer does not exist"})),
    );
    let found = engine.runtime().list().await.unwrap();
    assert_eq!(
        states(&found),
        [
            ("a", ContainerState::Unknown),
            ("b", ContainerState::Running)
        ]
    );
}

#[tokio::test]
async fn odd_answers_give_odd_containers_and_no_panic() {
    let engine = Engine::new();
    engine.holds(&["a", "b", "c"]);
    let odd = [
        (
            "a",
            json!({"Id": "a", "State": {"Status": "hibernating", "ExitCode": "seven"}, "HostConfig": 3}),
        ),
        ("b", json!([1, 2, 3])),
        (
            "c",
            json!({"Id": "c", "Name": 5, "NetworkSettings": {"Networks": {"net": {"IPAddress": "here"}}}}),
        ),
    ];
    for (id, answer) in odd {
        engine.says(
            &format!("/v1.41/containers/{id}/json"),
            Reply::Json(200, answer),
        );
    }
    engine.says(
        "/v1.41/networks",
        Reply::Json(200, json!({"message": "no list"})),
    );
    let found = engine.runtime().list().await.unwrap();
    assert_eq!(
        states(&found),
        [
            ("a", ContainerState::Unknown),
            ("b", ContainerState::Unknown),
            ("c", ContainerState::Unknown)
        ]
    );
}

#[tokio::test]
async fn law_6_a_list_that_fails_is_an_error_and_no_empty_list() {
    let engine = Engine::new();
    let runtime = engine.runtime();
    for reply in [
        Reply::Json(500, json!({"message": "broken"})),
        Reply::Json(200, json!({"message": "no list"})),
        Reply::Json(200, Value::Null),
        Reply::Lines(vec!["half an ans".to_owned()]),
        Reply::Close,
    ] {
        engine.says("/v1.41/containers/json", reply);
        assert_eq!(
            runtime.list().await.unwrap_err().class(),
            RuntimeClass::Transient
        );
        assert!(runtime.list_agent(&"users".parse().unwrap()).await.is_err());
    }
    for reply in [
        Reply::Json(500, Value::Null),
        Reply::Json(200, Value::Null),
        Reply::Close,
    ] {
        engine.says("/v1.41/networks", reply);
        assert!(runtime.network().await.is_err());
    }
}

/// #49888: the engine lists no endpoint of a network that containers are on, and refuses to remove it for those.
#[tokio::test]
async fn an_empty_list_of_endpoints_does_not_make_a_used_network_free() {
    let engine = Engine::new();
    let network = json!({"Id": "n1", "Name": "net", "Driver": "bridge", "Containers": {}, "Labels": {},
        "IPAM": {"Config": [{"Subnet": "172.30.0.0/16", "Gateway": "172.30.0.1"}]}});
    engine.says("/v1.41/networks", Reply::Json(200, json!([network])));
    engine.says("/v1.41/networks/n1", Reply::Json(200, network));
    engine.holds(&["a"]);
    let runtime = engine.runtime();
    let found = runtime.network().await.unwrap().unwrap();
    assert!(
        !found.addresses_owned,
        "one that is made again when it is empty"
    );
    let members: Vec<_> = found.members.keys().collect();
    assert_eq!(members, ["a"], "who would start on it is on it");

    let refused = json!({"message": "network net id n1 has active endpoints"});
    engine.says("/v1.41/networks/n1", Reply::Json(403, refused));
    let error = runtime.remove_network(&found.id).await.unwrap_err();
    assert_eq!(error.class(), RuntimeClass::Conflict, "{error}");
}

#[tokio::test]
async fn an_event_that_nobody_knows_does_not_end_the_stream() {
    let engine = Engine::new();
    let die = json!({"Type": "container", "Action": "die", "Actor": {"ID": "a", "Attributes": labels("a")}});
    let odd = [
        json!({"Type": "model", "Action": "pull"}).to_string(),
        "not json".to_owned(),
        json!({"Type": 3}).to_string(),
        "[]".to_owned(),
        die.to_string(),
    ];
    engine.says("/v1.41/events", Reply::Lines(odd.into()));
    let told: Vec<_> = engine.runtime().events().await.unwrap().collect().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(matches!(&told[0], Ok(RuntimeEvent::Container { action, .. }) if action == "die"));
}

#[tokio::test]
async fn an_engine_that_was_upgraded_is_asked_for_its_version_again() {
    let engine = Engine::new();
    engine.holds(&["a"]);
    let runtime = engine.runtime();
    assert_eq!(runtime.list().await.unwrap().len(), 1);
    let newer = json!({"ApiVersion": "1.52", "MinAPIVersion": "1.44"});
    engine.says("/version", Reply::Json(200, newer));
    let old = json!({"message": "client version 1.41 is too old"});
    engine.says("/v1.41/containers/json", Reply::Json(400, old));
    engine.says("/v1.44/containers/json", Reply::Json(200, json!([])));
    assert!(runtime.list().await.is_err());
    assert_eq!(runtime.list().await.unwrap(), []);
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused_with_the_remedy() {
    let engine = Engine::new();
    engine.says(
        "/version",
        Reply::Json(200, json!({"ApiVersion": "1.39", "MinAPIVersion": "1.12"})),
    );
    let refusal = engine.runtime().list().await.unwrap_err();
    assert_eq!(refusal.class(), RuntimeClass::Terminal);
    assert!(refusal.to_string().contains("upgrade Docker"), "{refusal}");
}
