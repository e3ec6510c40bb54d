//! Requests to an agent that cannot answer: kept by the real server in its real Redis, delivered by it or by the next.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::receiver::Receiver;
use crate::server::{PATIENCE, Server, docker, pause};
use crate::web::{Answer, curl};

const BODY: &str = "body of \u{1}\u{2} and \u{e9} bytes";

fn post(server: &Server, target: &str, headers: &[&str]) -> Option<Answer> {
    post_to(&server.url(target), headers)
}

pub fn post_to(url: &str, headers: &[&str]) -> Option<Answer> {
    let mut args = vec!["-X", "POST", "--data-binary", BODY];
    for header in headers {
        args.extend(["-H", header]);
    }
    args.push(url);
    curl(&args)
}

fn accepted(answer: Option<Answer>) -> String {
    let answer = answer.expect("the server answers");
    assert_eq!(answer.status, 202, "{}", answer.body);
    location(&answer).expect("an address")
}

pub fn location(answer: &Answer) -> Option<String> {
    let mut lines = answer.head.lines();
    let line = lines.find_map(|line| line.strip_prefix("location: "))?;
    Some(line.trim().to_owned())
}

fn capability(address: &str) -> &str {
    address.rsplit('.').next().unwrap()
}

fn result(address: &str) -> Value {
    curl(&[address]).map_or(Value::Null, |answer| answer.json())
}

pub fn settled(server: &Server, address: &str) -> Value {
    let mut last = Value::Null;
    server.eventually("the request is settled", |_| {
        last = result(&format!("{address}?wait=5"));
        let status = last["status"].as_str().unwrap_or_default();
        !["pending", "claimed", "retrying", ""].contains(&status)
    });
    last
}

/// What the agent says that it got.
fn echoed(result: &Value) -> Value {
    let body = result["answer"]["body"].as_str().unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no echo: {result}"))
}

fn digest() -> String {
    let digest = Sha256::digest(BODY.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_request_to_a_stopped_agent_is_answered_when_it_runs_again() {
    let server = Server::start();
    server.apply("agents: [{name: sleeper, image: hello}]");
    server.ok(&["stop", "sleeper", "--wait"]);
    let headers = ["X-Odd: a", "X-Odd: b", "Content-Type: application/x-odd"];
    let address = accepted(post(&server, "/agent/sleeper/echo?q=%20&q=2", &headers));
    assert_eq!(result(&address)["status"], "pending");
    let listed = server.ok(&["requests", "list", "sleeper"]);
    assert!(listed.contains("pending"), "{listed}");
    assert!(!listed.contains(capability(&address)), "{listed}");

    server.ok(&["start", "sleeper"]);
    let result = settled(&server, &address);
    assert_eq!(result["status"], "completed", "{result}");
    let got = echoed(&result);
    assert_eq!(
        (&got["method"], &got["path"]),
        (&json!("POST"), &json!("/echo"))
    );
    assert_eq!(got["query"], "q=%20&q=2");
    assert_eq!(got["body"]["sha256"], digest(), "{got}");
    let headers = got["headers"].as_array().unwrap();
    let odd: Vec<&Value> = headers.iter().filter(|field| field[0] == "x-odd").collect();
    assert_eq!(odd, [&json!(["x-odd", "a"]), &json!(["x-odd", "b"])]);
    let log = server.log_of("");
    assert!(!log.contains(capability(&address)), "the log opens nothing");

    let id = result["id"].as_str().unwrap();
    let shown = server.ok(&["requests", "show", "sleeper", id]);
    assert!(shown.contains("Status:    completed"), "{shown}");
    let again = server.cli(&["requests", "replay", "sleeper", id]);
    assert_eq!(
        again.status.code(),
        Some(1),
        "what is completed is not repeated"
    );
    server.ok(&["requests", "clear", "sleeper"]);
    assert_eq!(curl(&[&address]).unwrap().status, 404);
}

#[test]
fn law_2_what_was_accepted_survives_a_killed_server_and_a_killed_redis() {
    let mut server = Server::start();
    server.apply("agents: [{name: keeper, image: hello}]");
    server.ok(&["stop", "keeper", "--wait"]);
    let addresses: Vec<String> = (0..30)
        .map(|n| accepted(post(&server, &format!("/agent/keeper/echo?n={n}"), &[])))
        .collect();
    server.kill();
    let pid = std::fs::read_to_string(server.data_dir().join("control-redis/data/redis.pid"));
    let killed = Command::new("kill")
        .args(["-9", pid.unwrap().trim()])
        .status();
    assert!(killed.unwrap().success());
    server.launch();
    server.ok(&["start", "keeper"]);
    for (n, address) in addresses.iter().enumerate() {
        let result = settled(&server, address);
        assert_eq!(result["status"], "completed", "{result}");
        assert_eq!(echoed(&result)["query"], format!("n={n}"));
        assert_eq!(result["attempts"], 1, "once: {result}");
    }
}

/// The original's own test: requests all the while, and the agent is killed and started again.
fn a_hundred_while_the_agent_is_killed(name: &str, keyed: bool) -> BTreeMap<String, u32> {
    let server = Server::start();
    server.apply(&format!("agents: [{{name: {name}, image: hello}}]"));
    let kills = |n: usize| n == 20 || n == 60;
    let slow = |n: usize| n.is_multiple_of(4);
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    let (sent, answers) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for n in 0..100 {
            if kills(n) {
                let id = server.containers(name)[0].clone();
                docker(&["kill", "-s", "KILL", &id]);
            }
            let (server, sent) = (&server, sent.clone());
            clients.push(scope.spawn(move || {
                let key = format!("Idempotency-Key: \"key-{n}\"");
                let odd = format!("X-Odd: {n}");
                let mut headers = vec!["X-Odd: a", odd.as_str()];
                headers.extend(keyed.then_some(key.as_str()));
                // Some take long enough to be in flight when it is killed.
                let what = if slow(n) { "slow" } else { "echo" };
                let target = format!("/agent/{name}/{what}?ms=300&n={n}&n=%20");
                let _ = sent.send((n, post(server, &target, &headers)));
            }));
            pause();
        }
        for client in clients {
            client.join().unwrap();
        }
    });
    drop(sent);
    for (n, answer) in answers {
        let answer = answer.unwrap_or_else(|| panic!("request {n} had no answer at all"));
        let end = match (answer.status, location(&answer)) {
            (200, _) => {
                if !slow(n) {
                    assert_eq!(answer.json()["query"], format!("ms=300&n={n}&n=%20"));
                }
                "answered".to_owned()
            }
            (202 | 502 | 504, Some(address)) => {
                let result = settled(&server, &address);
                let end = result["status"].as_str().unwrap().to_owned();
                if end == "completed" && !slow(n) {
                    let got = echoed(&result);
                    assert_eq!(got["query"], format!("ms=300&n={n}&n=%20"));
                    assert_eq!(got["body"]["sha256"], digest());
                    let odd = json!([["x-odd", "a"], ["x-odd", n.to_string()]]);
                    let fields = got["headers"].as_array().unwrap().iter();
                    let fields: Vec<_> = fields.filter(|field| field[0] == "x-odd").collect();
                    assert_eq!(json!(fields), odd);
                }
                assert!(answer.status == 202 || end == "unknown", "{result}");
                end
            }
            (status, _) => panic!("request {n}: {status} {}", answer.body),
        };
        *ends.entry(end).or_default() += 1;
    }
    println!("{name}: {ends:?}");
    ends
}

#[test]
fn of_a_hundred_requests_with_a_key_all_are_processed_while_the_agent_is_killed() {
    let mut ends = a_hundred_while_the_agent_is_killed("keyed", true);
    let done = ends.remove("answered").unwrap_or(0) + ends.remove("completed").unwrap_or(0);
    assert_eq!((done, &ends), (100, &BTreeMap::new()));
}

#[test]
fn law_3_of_a_hundred_without_a_key_those_in_flight_are_unknown_and_all_others_processed() {
    let mut ends = a_hundred_while_the_agent_is_killed("keyless", false);
    let done = ends.remove("answered").unwrap_or(0) + ends.remove("completed").unwrap_or(0);
    let unknown = ends.remove("unknown").unwrap_or(0);
    assert_eq!((done + unknown, &ends), (100, &BTreeMap::new()));
    let slow_at_once = 4;
    let in_flight = 1..=2 * (slow_at_once + 4);
    assert!(
        in_flight.contains(&unknown),
        "only what was in flight: {unknown} are unknown"
    );
}

#[test]
fn law_2_a_callback_outlives_a_killed_server_while_who_is_called_is_down() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let receiver = runtime.block_on(Receiver::start(&["localhost"]));
    receiver.answers(503);
    let authority = receiver.authority();
    let mut server = Server::with(&[
        "--callback-allow",
        "127.0.0.0/8,::1/128",
        "--callback-ca",
        authority.to_str().unwrap(),
    ]);
    server.apply(
        "agents: [{name: caller, image: hello, persistence: {callbacks: {hosts: [localhost]}}}]",
    );
    server.ok(&["stop", "caller", "--wait"]);
    let field = format!("X-Callback-Url: {}", receiver.url("localhost", "/s3cret"));
    let elsewhere = "X-Callback-Url: https://elsewhere.example.org/";
    let refused = post(&server, "/agent/caller/echo", &[elsewhere]).unwrap();
    assert_eq!(refused.status, 400, "{}", refused.body);
    let address = accepted(post(&server, "/agent/caller/echo", &[&field]));
    server.ok(&["start", "caller"]);
    let id = settled(&server, &address)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    server.eventually("it is called", |_| !receiver.calls().is_empty());
    server.kill();
    receiver.answers(204);
    server.launch();
    let mut shown = String::new();
    server.eventually("it is heard", |server| {
        shown = server.ok(&["requests", "show", "caller", &id]);
        shown.contains("Callback:  localhost done")
    });
    assert!(!shown.contains("s3cret"), "{shown}");
    let key = server.ok(&["requests", "callback-key", "caller"]);
    let calls = receiver.calls();
    let told = calls.last().unwrap().verified(key.trim());
    assert_eq!(told["status"], "completed", "{told}");
    assert_eq!(told["answer"]["status"], 200, "{told}");
    let got: Value = serde_json::from_str(told["answer"]["body"].as_str().unwrap()).unwrap();
    let headers = got["headers"].as_array().unwrap();
    assert!(headers.iter().all(|field| field[0] != "x-callback-url"));
    let log = server.log_of("");
    assert!(!log.contains("s3cret") && !log.contains(key.trim()));
}

#[test]
fn law_2_the_events_of_a_run_outlive_its_killed_server_and_are_resumed() {
    let mut server = Server::start();
    server.apply("agents: [{name: writer, image: hello, persistence: {resumable: true}}]");
    server.ok(&["wait", "writer"]);
    let answer = post(
        &server,
        "/agent/writer/sse?n=4&ms=50",
        &["Prefer: respond-async"],
    );
    let address = accepted(answer);
    let events = format!("{address}/events");
    let ids = |text: &str| -> Vec<String> {
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.map(str::to_owned).collect()
    };
    // Live, to its end.
    let live = curl(&[&events]).unwrap();
    assert!(live.head.contains("text/event-stream"), "{}", live.head);
    let seen = ids(&live.body);
    let [.., last, end] = &seen[..] else {
        panic!("{}", live.body)
    };
    assert_eq!(seen.len(), 5, "{}", live.body);
    assert!(
        last.ends_with(":4") && end.contains(".end"),
        "{}",
        live.body
    );
    server.kill();
    server.launch();
    let again = curl(&[&events]).unwrap();
    assert_eq!(again.body, live.body, "all of it is there");
    let resumed = curl(&["-H", &format!("Last-Event-ID: {}", seen[1]), &events]).unwrap();
    assert_eq!(ids(&resumed.body), seen[2..]);
    let over = curl(&["-H", &format!("Last-Event-ID: {end}"), &events]).unwrap();
    assert_eq!(over.status, 204);
    assert!(!server.log_of("").contains(capability(&address)));
}

#[test]
fn law_2_a_client_that_lost_its_answer_goes_on_with_the_next_server() {
    let mut server = Server::start();
    server.apply(
        "agents: [{name: speaker, image: hello, persistence: {mode: always, resumable: true}}]",
    );
    server.ok(&["wait", "speaker"]);
    let mut client = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .write_all(
            b"POST /agent/speaker/sse?n=60&ms=100 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
        )
        .unwrap();
    let mut lines = BufReader::new(client).lines();
    let mut until = |begin: &str| {
        let found = lines.find_map(|line| line.unwrap().strip_prefix(begin).map(str::to_owned));
        found.unwrap_or_else(|| panic!("no {begin}"))
    };
    let path = until("location: http://localhost");
    until("id: 1");
    let last = until("id: ");
    assert_eq!(last, "2", "the agent's own");
    drop(lines);
    let mut former = server.take_over();
    let events = server.url(&format!("{path}/events"));
    let rest = curl(&["-H", &format!("Last-Event-ID: {last}"), &events]).unwrap();
    let ids: Vec<&str> = rest
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    let (end, ids) = ids.split_last().unwrap();
    let expected: Vec<String> = (3..=60).map(|n| format!("1-{n}:{n}")).collect();
    assert_eq!(ids, expected, "{}", rest.body);
    assert!(end.contains(".end"), "{}", rest.body);
    assert!(rest.body.contains("\"completed\""), "{}", rest.body);
    assert!(former.wait().unwrap().success());
    assert!(!server.log_of("").contains(capability(&path)));
}
