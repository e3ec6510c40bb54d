//! Two servers on one store and one engine: both serve, one acts, and the other takes over.

use tokio::time::Instant;

use crate::load::{Kinds, Load};
use crate::server::{Server, docker};
use crate::web::{curl, get};

fn busy(colour: &str) -> String {
    format!(
        "agents: [{{name: busy, image: hello, replicas: 2, env: {{COLOUR: {colour}}}, \
         healthCheck: {{endpoint: /health, interval: 5s}}, drain: {{timeout: 30s}}}}]"
    )
}

fn said(server: &Server, word: &str) -> bool {
    get(&server.url("/ready")).is_some_and(|answer| answer.body.contains(word))
}

#[test]
fn law_5_two_servers_roll_an_agent_together_and_one_takes_over_from_the_other() {
    let mut first = Server::start();
    first.apply(&busy("red"));
    let second = first.beside();
    second.eventually("the second one follows and routes", |second| {
        said(second, "\"Follows\"")
            && get(&second.url("/agent/busy/")).is_some_and(|answer| answer.status == 200)
    });
    assert!(said(&first, "\"Leads\""));

    // An agent's token is good on both.
    let old = first.containers("busy");
    let env = docker(&["inspect", "-f", "{{json .Config.Env}}", &old[0]]);
    let env: Vec<String> = serde_json::from_str(&env).unwrap();
    let token = env
        .iter()
        .find_map(|one| one.strip_prefix("AGENTAINER_TOKEN="))
        .unwrap();
    for server in [&first, &second] {
        let header = format!("Authorization: Bearer {token}");
        let answer = curl(&["-H", &header, &server.url("/agents")]).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    let loads = [
        Load::on(
            &first,
            "busy",
            Kinds {
                rate: 200,
                ..Kinds::ALL
            },
        ),
        Load::on(
            &second,
            "busy",
            Kinds {
                rate: 200,
                ..Kinds::ALL
            },
        ),
    ];
    // By way of the server that does not act.
    let began = Instant::now();
    second.apply(&busy("blue"));
    second.eventually("all are new", |second| {
        let now = second.containers("busy");
        now.len() == 2 && !now.iter().any(|id| old.contains(id))
    });
    println!("rolled by two servers: {:?}", began.elapsed());
    for (load, what) in loads.into_iter().zip(["by the leader", "by the other"]) {
        load.end().faultless(what);
    }

    first.kill();
    let began = Instant::now();
    let lost = second.containers("busy")[0].clone();
    docker(&["rm", "-f", &lost]);
    second.eventually("the second one has taken over and mended", |second| {
        let now = second.containers("busy");
        now.len() == 2 && !now.contains(&lost) && said(second, "\"Leads\"")
    });
    println!(
        "taken over and mended after a kill -9: {:?}",
        began.elapsed()
    );
}
