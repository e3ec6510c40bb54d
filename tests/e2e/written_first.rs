//! `persistence.mode: always` and `Idempotency-Key` in the real server: what it had on its way when it, its agent or its Redis was killed.

use std::process::Command;

use serde_json::Value;

use crate::requests::{location, post_to, settled};
use crate::server::{Server, docker};
use crate::web::Answer;

fn always(name: &str) -> String {
    format!("agents: [{{name: {name}, image: hello, persistence: {{mode: always}}}}]")
}

/// How many of an agent's requests are in this state.
fn count(server: &Server, name: &str, state: &str) -> usize {
    let listed = server.cli(&["requests", "list", name, "--state", state, "-o", "name"]);
    String::from_utf8_lossy(&listed.stdout).lines().count()
}

/// Sends so many requests that take a while, half of them with a key, and does this once all of them are on their way.
fn while_on_their_way(
    server: &mut Server,
    name: &str,
    half: usize,
    act: impl FnOnce(&mut Server),
) -> Vec<(bool, Option<Answer>)> {
    let url = server.url("");
    let clients: Vec<_> = (0..2 * half)
        .map(|n| {
            let (url, name) = (url.clone(), name.to_owned());
            std::thread::spawn(move || {
                let keyed = n % 2 == 0;
                let key = format!("Idempotency-Key: \"k{n}\"");
                let headers: &[&str] = if keyed { &[&key] } else { &[] };
                let target = format!("{url}/agent/{name}/slow?ms=3000&n={n}");
                (keyed, post_to(&target, headers))
            })
        })
        .collect();
    server.eventually("all are on their way", |server| {
        count(server, name, "claimed") == 2 * half
    });
    act(server);
    clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect()
}

fn kill_redis(server: &Server) {
    let pid = std::fs::read_to_string(server.data_dir().join("control-redis/data/redis.pid"));
    let killed = Command::new("kill")
        .args(["-9", pid.unwrap().trim()])
        .status();
    assert!(killed.unwrap().success());
}

#[test]
fn law_2_what_a_killed_server_had_on_its_way_is_sent_again_or_unknown() {
    let mut server = Server::start();
    server.apply(&always("lasting"));
    let answers = while_on_their_way(&mut server, "lasting", 3, Server::kill);
    assert!(answers.iter().all(|(_, answer)| answer.is_none()));
    server.launch();
    server.eventually("those with a key are completed", |server| {
        count(server, "lasting", "completed") == 3
    });
    assert_eq!(count(&server, "lasting", "unknown"), 3, "never guessed");
    assert_eq!(count(&server, "lasting", ""), 6, "and no others");
    // Its client comes back with the key, and gets the answer to what it sent before.
    let target = server.url("/agent/lasting/slow?ms=3000&n=0");
    let again = post_to(&target, &["Idempotency-Key: \"k0\""]).unwrap();
    assert_eq!(again.status, 200, "{}", again.body);
    assert!(
        again.head.contains("idempotency-replayed: true"),
        "{}",
        again.head
    );
    assert_eq!(count(&server, "lasting", ""), 6);
}

#[test]
fn law_3_what_a_killed_agent_had_on_its_way_is_sent_again_or_unknown() {
    let mut server = Server::start();
    server.apply(&always("mortal"));
    let answers = while_on_their_way(&mut server, "mortal", 3, |server| {
        let id = server.containers("mortal")[0].clone();
        docker(&["kill", "-s", "KILL", &id]);
    });
    for (keyed, answer) in answers {
        let answer = answer.expect("the server answers");
        let address = location(&answer).expect("an address");
        let result = settled(&server, &address);
        let (status, end) = match keyed {
            true => (202, "completed"),
            false => (502, "unknown"),
        };
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(result["status"], end, "{result}");
    }
}

#[test]
fn a_killed_redis_takes_no_answer_away_and_hears_of_it_later() {
    let mut server = Server::start();
    server.apply(&always("unheard"));
    let answers = while_on_their_way(&mut server, "unheard", 3, |server| kill_redis(server));
    for (_, answer) in answers {
        let answer = answer.expect("the server answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    server.eventually("all are completed", |server| {
        count(server, "unheard", "completed") == 6
    });
    assert_eq!(count(&server, "unheard", ""), 6);
}

#[test]
fn invoke_follows_what_is_kept_to_its_answer() {
    let server = Server::start();
    server.apply("agents: [{name: called, image: hello}]");
    let echo = |server: &Server, args: &[&str]| -> Value {
        let mut all = vec!["invoke", "called", "/echo?a=1", "-d", "{\"x\": 1}"];
        all.extend(args);
        let out = server.ok(&all);
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}"))
    };
    let got = echo(&server, &[]);
    assert_eq!(
        (&got["method"], &got["query"]),
        (&"POST".into(), &"a=1".into())
    );
    server.ok(&["stop", "called", "--wait"]);
    let timed_out = server.cli(&["invoke", "called", "/echo", "-d", "1", "--wait", "0s"]);
    assert_eq!(timed_out.status.code(), Some(6), "{timed_out:?}");
    let described = server.ok(&["describe", "called"]);
    assert!(described.contains("Requests:"), "{described}");
    server.eventually("its queue is seen", |server| {
        server.agent("called")["status"]["queue"]["pending"] == 1
    });
    let got = std::thread::scope(|scope| {
        let called = scope.spawn(|| echo(&server, &["--idempotency-key", "k"]));
        server.eventually("both wait", |server| {
            count(server, "called", "pending") == 2
        });
        server.ok(&["start", "called"]);
        called.join().unwrap()
    });
    assert_eq!(got["query"], "a=1");
    assert_eq!(
        echo(&server, &["--idempotency-key", "k"]),
        got,
        "the same answer"
    );
}
