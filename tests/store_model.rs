//! The fake and Redis side by side: whatever is asked of both, both answer the same. And a bundle is on disk as a whole.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs
)]

#[path = "common/store.rs"]
mod contract;
#[path = "common/fake_store.rs"]
mod fake_store;
#[path = "common/redis_child.rs"]
mod redis_child;

use std::time::Duration;

use agentainer::agent::{
    Agent, AgentStatus, EventKind, EventRecord, ResourceVersion, RevisionRecord, Uid,
};
use agentainer::keys::{FINALIZER, Keys};
use agentainer::redis_link::LinkError;
use agentainer::store::redis::{RedisStore, RedisStoreOptions};
use agentainer::store::{AgentStore, Change, StoreError, Write};
use contract::{agent, at, name, revision};
use fake_store::FakeStore;
use futures::StreamExt as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis_child::RedisChild;

const NAMES: [&str; 3] = ["auth", "users", "orders"];

/// What a version in a write shall be.
#[derive(Clone, Copy, Debug)]
enum Version {
    Present,
    Stale,
    Any,
}

#[derive(Clone, Debug)]
enum Step {
    Create {
        of: usize,
        finalizer: bool,
        applied: bool,
    },
    Update {
        of: usize,
        version: Version,
        finalizer: bool,
        other_life: bool,
        applied: bool,
    },
    Restore {
        of: usize,
        version: Version,
        finalizer: bool,
        other_life: bool,
        revisions: u8,
    },
    Delete {
        of: usize,
        version: Version,
    },
    Finalize {
        of: usize,
        other_life: bool,
    },
    Check {
        of: usize,
        version: Version,
    },
}

#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<Step>),
    Status {
        of: usize,
        generation: u64,
        other_life: bool,
        stale: bool,
    },
    Reserve {
        of: usize,
        ordinal: u32,
        after: u64,
    },
    Event {
        of: usize,
        reason: u8,
        second: i64,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    let of = 0..NAMES.len();
    let version = prop_oneof![4 => Just(Version::Present), 1 => Just(Version::Stale), 1 => Just(Version::Any)];
    let rarely = prop::bool::weighted(0.1);
    prop_oneof![
        3 => (of.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(of, finalizer, applied)| Step::Create { of, finalizer, applied }),
        3 => (of.clone(), version.clone(), prop::bool::weighted(0.8), rarely, any::<bool>()).prop_map(
            |(of, version, finalizer, other_life, applied)| Step::Update { of, version, finalizer, other_life, applied }
        ),
        2 => (of.clone(), version.clone(), prop::bool::weighted(0.9), rarely, 0_u8..3).prop_map(
            |(of, version, finalizer, other_life, revisions)| Step::Restore { of, version, finalizer, other_life, revisions }
        ),
        2 => (of.clone(), version.clone()).prop_map(|(of, version)| Step::Delete { of, version }),
        2 => (of.clone(), rarely).prop_map(|(of, other_life)| Step::Finalize { of, other_life }),
        1 => (of, version).prop_map(|(of, version)| Step::Check { of, version }),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let of = 0..NAMES.len();
    let op = prop_oneof![
        6 => prop::collection::vec(steps(), 1..4).prop_map(Op::Commit),
        2 => (of.clone(), 0_u64..3, prop::bool::weighted(0.1), prop::bool::weighted(0.2))
            .prop_map(|(of, generation, other_life, stale)| Op::Status { of, generation, other_life, stale }),
        1 => (of.clone(), 0_u32..2, 0_u64..5).prop_map(|(of, ordinal, after)| Op::Reserve { of, ordinal, after }),
        1 => (of, 0_u8..2, 0_i64..9_000).prop_map(|(of, reason, second)| Op::Event { of, reason, second }),
    ];
    prop::collection::vec(op, 1..40)
}

/// The same to ask of both, made from what is there now.
struct Asked {
    lives: u32,
    seen: Vec<Uid>,
}

impl Asked {
    fn life(&mut self) -> Uid {
        self.lives += 1;
        let uid = Uid(format!("life-{}", self.lives));
        self.seen.push(uid.clone());
        uid
    }

    fn write(&mut self, step: &Step, now: &[Agent]) -> Write {
        let of = |of: usize| name(NAMES[of]);
        let present = |of: usize| {
            now.iter()
                .find(|agent| agent.metadata.name.as_str() == NAMES[of])
                .cloned()
        };
        let version = |agent: Option<&Agent>, version: Version| {
            let present = agent.map_or(ResourceVersion(7), |agent| agent.metadata.resource_version);
            match version {
                Version::Present | Version::Any => present,
                Version::Stale => ResourceVersion(present.0.wrapping_sub(1)),
            }
        };
        let applied = |yes: bool| yes.then(|| serde_json::json!({"step": self.lives}));
        match *step {
            Step::Create {
                of,
                finalizer,
                applied: with,
            } => {
                let applied = applied(with);
                let mut agent = agent(NAMES[of]);
                agent.metadata.uid = self.life();
                if !finalizer {
                    agent.metadata.finalizers.clear();
                }
                Write::Create {
                    agent: Box::new(agent),
                    applied,
                }
            }
            Step::Update {
                of,
                version: wanted,
                finalizer,
                other_life,
                applied: with,
            } => {
                let found = present(of);
                let expected = version(found.as_ref(), wanted);
                let applied = applied(with);
                let mut agent = found.unwrap_or_else(|| agent(NAMES[of]));
                agent.metadata.generation += 1;
                agent.metadata.deletion_timestamp = None;
                agent.metadata.finalizers = if finalizer {
                    vec![FINALIZER.to_owned()]
                } else {
                    Vec::new()
                };
                if other_life {
                    agent.metadata.uid = self.life();
                }
                Write::Update {
                    agent: Box::new(agent),
                    expected,
                    applied,
                }
            }
            Step::Restore {
                of,
                version: wanted,
                finalizer,
                other_life,
                revisions,
            } => {
                let found = present(of);
                let applied = applied(other_life);
                // Mostly what fits: none where there is none.
                let expected = match (wanted, &found) {
                    (Version::Any, _) | (Version::Present, None) => None,
                    _ => Some(version(found.as_ref(), wanted)),
                };
                let alone = found.is_none();
                let mut agent = found.unwrap_or_else(|| agent(NAMES[of]));
                if alone || other_life {
                    agent.metadata.uid = self.life();
                }
                if !finalizer {
                    agent.metadata.finalizers.clear();
                }
                agent.status.observed_generation = u64::from(self.lives);
                let record = |number: u8| revision(&format!("v1:{number}"), i64::from(self.lives));
                Write::Restore {
                    agent: Box::new(agent),
                    expected,
                    applied,
                    revisions: (0..revisions).map(record).collect(),
                }
            }
            Step::Delete {
                of: index,
                version: wanted,
            } => Write::Delete {
                name: of(index),
                expected: match wanted {
                    Version::Any => None,
                    _ => Some(version(present(index).as_ref(), wanted)),
                },
                at: at(i64::from(self.lives)),
            },
            Step::Finalize {
                of: index,
                other_life,
            } => Write::Finalize {
                name: of(index),
                uid: match present(index) {
                    Some(agent) if !other_life => agent.metadata.uid,
                    _ => Uid("nobody".to_owned()),
                },
                at: at(i64::from(self.lives)),
            },
            Step::Check {
                of: index,
                version: wanted,
            } => Write::Check {
                name: of(index),
                expected: version(present(index).as_ref(), wanted),
            },
        }
    }
}

async fn changes(store: &impl AgentStore) -> Vec<Change> {
    let end = store.list().await.unwrap().resource_version;
    let mut changes = store.watch(ResourceVersion(0)).await.unwrap();
    let mut all = Vec::new();
    while all
        .last()
        .map_or(ResourceVersion(0), |last: &Change| last.resource_version)
        < end
    {
        all.push(changes.next().await.unwrap().unwrap());
    }
    all
}

async fn same(fake: &FakeStore, redis: &RedisStore, ops: &[Op]) {
    let mut asked = Asked {
        lives: 0,
        seen: Vec::new(),
    };
    for op in ops {
        let before = fake.list().await.unwrap();
        let present = |of: usize| {
            before
                .agents
                .iter()
                .find(|agent| agent.metadata.name.as_str() == NAMES[of])
        };
        let uid = |of: usize| {
            present(of).map_or(Uid("nobody".to_owned()), |agent| agent.metadata.uid.clone())
        };
        let (one, two) = match op {
            Op::Commit(steps) => {
                let writes: Vec<Write> = steps
                    .iter()
                    .map(|step| asked.write(step, &before.agents))
                    .collect();
                (
                    format!("{:?}", fake.commit(&writes).await),
                    format!("{:?}", redis.commit(&writes).await),
                )
            }
            Op::Status {
                of,
                generation,
                other_life,
                stale,
            } => {
                let uid = if *other_life {
                    Uid("nobody".to_owned())
                } else {
                    uid(*of)
                };
                let status = AgentStatus {
                    observed_generation: *generation,
                    ..AgentStatus::default()
                };
                let found = present(*of).cloned();
                let mut read = found.unwrap_or_else(|| agent(NAMES[*of])).metadata;
                read.uid = uid;
                read.resource_version.0 += u64::from(*stale);
                (
                    format!("{:?}", fake.put_status(&read, &status).await),
                    format!("{:?}", redis.put_status(&read, &status).await),
                )
            }
            Op::Reserve { of, ordinal, after } => (
                format!("{:?}", fake.reserve(&uid(*of), *ordinal, *after).await),
                format!("{:?}", redis.reserve(&uid(*of), *ordinal, *after).await),
            ),
            Op::Event { of, reason, second } => {
                let event = EventRecord {
                    agent: Some(name(NAMES[*of])),
                    kind: EventKind::Normal,
                    reason: format!("Reason{reason}"),
                    message: format!("at {second}"),
                    count: 1,
                    first_seen: at(*second),
                    last_seen: at(*second),
                };
                (
                    format!("{:?}", fake.record_event(&event).await),
                    format!("{:?}", redis.record_event(&event).await),
                )
            }
        };
        assert_eq!(one, two, "{op:?}");
        assert_eq!(
            fake.list().await.unwrap(),
            redis.list().await.unwrap(),
            "{op:?}"
        );
    }
    assert_eq!(changes(fake).await, changes(redis).await);
    let seen = &asked.seen;
    assert_eq!(fake.tombstones(seen).await.unwrap(), {
        let mut known = redis.tombstones(seen).await.unwrap();
        known.sort_by_key(|uid| seen.iter().position(|other| other == uid));
        known
    });
    for uid in seen {
        let sorted = |mut records: Vec<RevisionRecord>| {
            records.sort_by(|a, b| a.revision.cmp(&b.revision));
            records
        };
        assert_eq!(
            sorted(fake.revisions(uid).await.unwrap()),
            sorted(redis.revisions(uid).await.unwrap())
        );
    }
    for text in NAMES {
        let name = name(text);
        assert_eq!(
            fake.applied(&name).await.unwrap(),
            redis.applied(&name).await.unwrap()
        );
    }
    assert_eq!(
        fake.events(None, 100).await.unwrap(),
        redis.events(None, 100).await.unwrap()
    );
}

#[test]
fn the_fake_and_redis_answer_the_same_to_any_history() {
    let child = RedisChild::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&ops(), |ops| {
            let _: String = child.run(&["FLUSHALL"]);
            runtime.block_on(async {
                let redis = RedisStore::new(&child.url(), RedisStoreOptions::default()).unwrap();
                same(&FakeStore::default(), &redis, &ops).await;
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_redis_dies_in_is_there_as_a_whole_or_not_at_all() {
    let mut child = RedisChild::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let options = RedisStoreOptions {
        keys: Keys::new("t:"),
        ..RedisStoreOptions::default()
    };
    let store = RedisStore::new(&child.url(), options).unwrap();
    let mut acknowledged = 0;
    for round in 0_u64..6 {
        let writer = {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                loop {
                    let bundle: Vec<Write> = (0..20)
                        .map(|index| Write::Create {
                            agent: Box::new(agent(&format!("a-{round}-{done}-{index}"))),
                            applied: None,
                        })
                        .collect();
                    match store.commit(&bundle).await {
                        Ok(_) => done += 1,
                        Err(StoreError::Link(LinkError::Unreachable { .. })) => return done,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        };
        // Some way into its work, each round somewhere else.
        let enough = acknowledged * 20 + usize::try_from(round).unwrap() * 60 + 20;
        while store
            .list()
            .await
            .is_ok_and(|list| list.agents.len() < enough)
        {}
        child.kill();
        let done = tokio::time::timeout(Duration::from_secs(30), writer)
            .await
            .unwrap()
            .unwrap();
        child.start_again();
        acknowledged += done;
        let list = store.list().await.unwrap();
        assert_eq!(list.agents.len() % 20, 0, "no bundle in part");
        let bundles = list.agents.len() / 20;
        assert!(
            bundles >= acknowledged,
            "{bundles} of {acknowledged} acknowledged"
        );
        acknowledged = bundles;
        let changes = usize::try_from(list.resource_version.0).unwrap();
        assert_eq!(
            changes,
            list.agents.len(),
            "versions and objects go together"
        );
    }
}
