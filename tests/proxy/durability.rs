//! A Redis that cannot keep a request: each time a 503 that says why, never a 202 for what is not on disk; and what was promised
//! before and after it is delivered, once.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::kept::{DURABLE, Kept, accepted, remembering};
use crate::redis_child::RedisChild;
use crate::rig::Whole;

/// How long the journal waits for its Redis here.
const DEADLINE: Duration = Duration::from_secs(1);

fn kept(more: &[&str]) -> Kept {
    let arguments: Vec<&str> = DURABLE.into_iter().chain(more.iter().copied()).collect();
    let kept = Kept::within(DEADLINE, RedisChild::start(&arguments), |_| Vec::new());
    kept.down("users", |_| {});
    kept
}

async fn refused(kept: &Kept, word: &str, why: &str) -> Whole {
    let answer = kept.post("/agent/users/", &[], b"refused").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("location"), None, "{answer:?}");
    assert!(
        answer.text.contains(&format!("problem:{word}")),
        "{answer:?}"
    );
    assert!(answer.detail().contains(why), "{answer:?}");
    answer
}

/// The agent comes, and gets these. What was refused because Redis was silent may be among them, once.
async fn gets(kept: &Kept, promised: &[Whole], silent: usize) {
    let (agent, got) = remembering(200).await;
    kept.up("users", &agent);
    for answer in promised {
        kept.settled(answer).await;
    }
    let got = got.lock();
    let promises = got.iter().filter(|(_, body)| body == "promised").count();
    let refused = got.iter().filter(|(_, body)| body == "refused").count();
    assert_eq!(promises, promised.len());
    assert!(refused <= silent, "{got:?}");
}

async fn promised(kept: &Kept) -> Whole {
    let answer = kept.post("/agent/users/", &[], b"promised").await;
    accepted(&answer);
    answer
}

fn process(kept: &Kept) -> Pid {
    Pid::from_raw(i32::try_from(kept.redis.pid()).unwrap()).unwrap()
}

#[tokio::test]
async fn law_2_a_redis_that_is_gone_makes_no_promise() {
    let mut kept = kept(&[]);
    let before = promised(&kept).await;
    kept.redis.kill();
    refused(&kept, "journal-unavailable", "cannot be reached").await;
    kept.redis.start_again();
    let after = promised(&kept).await;
    gets(&kept, &[before, after], 0).await;
}

#[tokio::test]
async fn law_2_a_redis_that_hangs_makes_no_promise_and_its_refusal_claims_nothing() {
    let kept = kept(&[]);
    let before = promised(&kept).await;
    kill_process(process(&kept), Signal::STOP).unwrap();
    let answer = refused(&kept, "journal-unavailable", "cannot be reached").await;
    assert!(answer.detail().contains("may be kept"), "{answer:?}");
    kill_process(process(&kept), Signal::CONT).unwrap();
    let after = promised(&kept).await;
    gets(&kept, &[before, after], 1).await;
}

#[tokio::test]
async fn law_2_a_redis_without_memory_makes_no_promise_and_still_delivers() {
    let kept = kept(&[]);
    let before = promised(&kept).await;
    let _: String = kept.redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let answer = refused(&kept, "journal-unavailable", "OOM").await;
    assert!(answer.detail().contains("is not kept"), "{answer:?}");
    gets(&kept, &[before], 0).await;
    kept.down("users", |_| {});
    let _: String = kept.redis.run(&["CONFIG", "SET", "maxmemory", "0"]);
    let after = promised(&kept).await;
    gets(&kept, &[after], 0).await;
}

#[tokio::test]
async fn law_2_a_redis_that_may_only_be_read_makes_no_promise() {
    let kept = kept(&[]);
    let before = promised(&kept).await;
    let _: String = kept.redis.run(&["REPLICAOF", "127.0.0.1", "1"]);
    refused(&kept, "journal-unavailable", "READONLY").await;
    let _: String = kept.redis.run(&["REPLICAOF", "NO", "ONE"]);
    let after = promised(&kept).await;
    gets(&kept, &[before, after], 0).await;
}

#[tokio::test]
async fn law_2_each_setting_that_loses_requests_is_named() {
    for (setting, line) in [
        (["--appendonly", "no"], "appendonly yes"),
        (["--appendfsync", "no"], "appendfsync always"),
        (
            ["--no-appendfsync-on-rewrite", "yes"],
            "no-appendfsync-on-rewrite no",
        ),
        (
            ["--maxmemory-policy", "allkeys-lru"],
            "maxmemory-policy noeviction",
        ),
    ] {
        let kept = kept(&setting);
        refused(&kept, "durability-unavailable", line).await;
        assert!(kept.records().await.is_empty());
    }
}

/// A write goes as far as there is room and no further, which is what a full disk does. Redis ends itself then when it may not lose
/// anything (`appendfsync always`).
#[tokio::test]
async fn law_2_a_full_disk_makes_no_promise_and_loses_none() {
    let mut kept = kept(&[]);
    let mut all = vec![promised(&kept).await];
    let written: String = kept.redis.run(&["INFO", "persistence"]);
    let size = written
        .lines()
        .find_map(|line| line.strip_prefix("aof_current_size:"));
    let size: u64 = size.unwrap().trim().parse().unwrap();
    let full = Rlimit {
        current: Some(size + 3000),
        maximum: None,
    };
    prlimit(Some(process(&kept)), Resource::Fsize, full).unwrap();
    let refusal = loop {
        let answer = kept.post("/agent/users/", &[], b"promised").await;
        if answer.status != 202 {
            break answer;
        }
        all.push(answer);
        assert!(all.len() < 10, "3 kB hold no more");
    };
    assert_eq!(refusal.status, 503, "{refusal:?}");
    assert!(
        refusal.text.contains("problem:journal-unavailable"),
        "{refusal:?}"
    );
    refused(&kept, "journal-unavailable", "cannot be reached").await;
    // There is room again, and what was half written is cut off.
    kept.redis.kill();
    kept.redis.start_again();
    all.push(promised(&kept).await);
    gets(&kept, &all, 0).await;
}
