//! One contract suite for every `AgentStore`: the fake that simulations use, and the real thing in Redis.

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
#[path = "common/store_members.rs"]
mod members;
#[path = "common/redis_child.rs"]
mod redis_child;

use std::time::Duration;

use agentainer::agent::ResourceVersion;
use agentainer::keys::Keys;
use agentainer::redis_link::LinkError;
use agentainer::store::redis::{RedisStore, RedisStoreOptions};
use agentainer::store::{AgentStore, StoreClass, StoreError, Write};
use agentainer::tokens::ServerKey;
use contract::{CHANGES_KEPT, EVENTS_KEPT, Fixture};
use fake_store::{FakeStore, Fault};
use futures::StreamExt as _;
use redis_child::RedisChild;

struct Fake(FakeStore);

impl Fixture for Fake {
    type Store = FakeStore;
    fn store(&self) -> FakeStore {
        self.0.another()
    }
    fn wipe(&self) {
        self.0.wipe();
    }
}

fn fake() -> Fake {
    Fake(FakeStore::new(CHANGES_KEPT, EVENTS_KEPT))
}

struct InRedis(RedisChild);

impl Fixture for InRedis {
    type Store = RedisStore;
    fn store(&self) -> RedisStore {
        RedisStore::new(&self.0.url(), options()).unwrap()
    }
    fn wipe(&self) {
        let _: String = self.0.run(&["FLUSHALL"]);
    }
}

fn options() -> RedisStoreOptions {
    RedisStoreOptions {
        keys: Keys::new("test:"),
        changes_kept: u32::try_from(CHANGES_KEPT).unwrap(),
        events_kept: u32::try_from(EVENTS_KEPT).unwrap(),
        deadline: Duration::from_secs(10),
        block: Duration::from_millis(200),
    }
}

fn in_redis() -> InRedis {
    InRedis(RedisChild::start(&[]))
}

macro_rules! contract {
    ($($of:ident::$case:ident)*) => {
        mod fake {
            use super::{contract, members};
            $(#[tokio::test] async fn $case() { $of::$case(&super::fake()).await; })*
        }
        mod redis {
            use super::{contract, members};
            $(#[tokio::test] async fn $case() { $of::$case(&super::in_redis()).await; })*
        }
    };
}

contract! {
    contract::a_created_agent_reads_as_written
    contract::a_stale_version_is_a_conflict_and_changes_nothing
    contract::a_bundle_is_all_or_none
    contract::naming_an_agent_twice_is_a_conflict
    contract::the_manifest_last_applied_is_kept
    contract::a_finalizer_holds_the_object_until_it_is_done
    contract::without_a_finalizer_deletion_is_at_once
    contract::a_new_life_begins_with_nothing_of_the_old
    contract::the_status_lives_apart
    contract::a_status_of_an_older_object_is_a_conflict
    contract::a_watch_resumes_from_its_position
    contract::every_watcher_sees_every_change
    contract::a_trimmed_position_is_expired
    contract::a_position_ahead_of_the_store_is_expired
    contract::the_first_founder_keeps_the_store
    contract::law_6_a_wiped_store_shows_as_such
    contract::reserved_incarnations_only_grow
    contract::revisions_are_kept_oldest_first
    contract::a_restored_agent_has_its_status_and_revisions_at_once
    contract::events_count_up_and_are_capped
    contract::of_concurrent_writers_one_wins_each_round
    contract::a_big_fleet_is_read_at_once
    contract::odd_values_come_back_as_written
    contract::a_healthy_store_answers_a_ping
    members::a_lease_is_one_servers_until_it_ends
    members::a_restarted_server_has_its_lease_at_once
    members::the_status_of_a_superseded_leader_is_refused
    members::reports_are_seen_while_their_server_lives
    members::the_first_token_key_is_everybodys
}

#[tokio::test]
async fn an_outage_is_transient_and_over_when_redis_is_back() {
    let mut redis = RedisChild::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = RedisStore::new(&redis.url(), options()).unwrap();
    let users = store
        .commit(&[create("users")])
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let mut changes = store.watch(users.metadata.resource_version).await.unwrap();

    redis.kill();
    let error = store.list().await.unwrap_err();
    assert_eq!(error.class(), StoreClass::Transient);
    assert!(error.to_string().contains("redis.sock"), "{error}");
    let error = next(&mut changes).await.unwrap_err();
    assert_eq!(error.class(), StoreClass::Transient, "{error}");

    redis.start_again();
    assert_eq!(store.get(&users.metadata.name).await.unwrap(), Some(users));
    let auth = store.commit(&[create("auth")]).await.unwrap().remove(0);
    let change = loop {
        match next(&mut changes).await {
            Ok(change) => break change,
            Err(error) => assert_eq!(error.class(), StoreClass::Transient, "{error}"),
        }
    };
    assert_eq!(change.agent, auth, "the watch went on where it was");
}

#[tokio::test]
async fn a_store_nobody_listens_at_fails_soon_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("redis+unix://{}/none.sock", folder.path().display());
    let store = RedisStore::new(&url, options()).unwrap();
    let error = store.ping().await.unwrap_err();
    assert_eq!(error.class(), StoreClass::Transient);
    assert!(store.watch(ResourceVersion(0)).await.is_err());
}

#[tokio::test]
async fn a_silent_redis_costs_no_more_than_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://:hunter2@{}", listener.local_addr().unwrap());
    let short = RedisStoreOptions {
        deadline: Duration::from_millis(300),
        ..options()
    };
    let store = RedisStore::new(&url, short).unwrap();
    let call = tokio::time::timeout(Duration::from_secs(5), store.list());
    let error = call.await.expect("within the deadline").unwrap_err();
    assert!(
        matches!(error, StoreError::Link(LinkError::Unreachable { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn refusals_of_redis_are_said_in_its_words() {
    let redis = RedisChild::start(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let store = RedisStore::new(&redis.url(), options()).unwrap();
    let error = store.commit(&[create("users")]).await.unwrap_err();
    assert!(error.to_string().contains("OOM"), "{error}");
    assert_eq!(error.class(), StoreClass::Transient);
    assert_eq!(
        store.list().await.unwrap().agents,
        [],
        "nothing was half written"
    );
    assert_eq!(
        store.list().await.unwrap().resource_version,
        ResourceVersion(0)
    );
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "0"]);
    let _: String = redis.run(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = store.ping().await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    let _: String = redis.run(&["REPLICAOF", "NO", "ONE"]);
    let _: String = redis.run(&["ACL", "SETUSER", "default", "-evalsha"]);
    let error = store.commit(&[create("users")]).await.unwrap_err();
    assert!(error.to_string().contains("NOPERM"), "{error}");
}

#[tokio::test]
async fn the_token_key_is_read_from_a_redis_that_takes_no_writes() {
    let redis = RedisChild::start(&["--maxmemory-policy", "noeviction"]);
    let store = RedisStore::new(&redis.url(), options()).unwrap();
    let (first, second) = (ServerKey::random(), ServerKey::random());
    store.share_key(&first).await.unwrap();
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(store.share_key(&second).await.unwrap(), first);
    let _: String = redis.run(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(store.share_key(&second).await.unwrap(), first);
    // None there, and none taken: said as what it is.
    let _: String = redis.run(&["REPLICAOF", "NO", "ONE"]);
    let _: i64 = redis.run(&["HDEL", &options().keys.cluster(), "token-key"]);
    let refused = store.share_key(&second).await;
    assert!(
        matches!(refused, Err(StoreError::Link(LinkError::Refused { .. }))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_full_redis_still_lets_agents_go() {
    let redis = RedisChild::start(&["--maxmemory-policy", "noeviction"]);
    let store = RedisStore::new(&redis.url(), options()).unwrap();
    let users = store
        .commit(&[create("users")])
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let (name, uid) = (users.metadata.name.clone(), users.metadata.uid.clone());
    let at = contract::at(1);
    let delete = Write::Delete {
        name: name.clone(),
        expected: None,
        at,
    };
    store.commit(&[delete]).await.unwrap();
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let finalize = Write::Finalize {
        name,
        uid: uid.clone(),
        at,
    };
    store.commit(&[finalize]).await.unwrap();
    assert_eq!(
        store.tombstones(std::slice::from_ref(&uid)).await.unwrap(),
        [uid]
    );
}

#[tokio::test]
async fn a_password_is_never_shown() {
    let redis = RedisChild::start(&[]);
    let _: String = redis.run(&["CONFIG", "SET", "requirepass", "right-secret"]);
    let url = format!(
        "redis+unix://{}?pass=wrong-secret",
        redis.socket().display()
    );
    let store = RedisStore::new(&url, options()).unwrap();
    let error = store.ping().await.unwrap_err();
    let shown = format!("{error} {error:?} {store:?} {}", store.address());
    assert!(!shown.contains("secret"), "{shown}");
    assert!(
        matches!(error, StoreError::Link(LinkError::Refused { .. })),
        "{shown}"
    );
    let url = format!(
        "redis+unix://{}?pass=right-secret",
        redis.socket().display()
    );
    RedisStore::new(&url, options())
        .unwrap()
        .ping()
        .await
        .unwrap();
    for bad in [
        "http://u:secret@host",
        "redis://:secret@",
        "secret",
        "rediss://:secret@h:1",
    ] {
        let error = RedisStore::new(bad, options()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(error.class(), StoreClass::Terminal);
    }
}

#[tokio::test]
async fn a_foreign_record_is_named_and_its_content_is_not_shown() {
    let redis = RedisChild::start(&[]);
    let store = RedisStore::new(&redis.url(), options()).unwrap();
    let _: i64 = redis.run(&["HSET", "test:agents", "users", "1 u 0 \n{\"secret\": 1"]);
    let error = store.list().await.unwrap_err();
    assert!(error.to_string().contains("'users'"), "{error}");
    assert!(!format!("{error:?}").contains("secret"));
    assert_eq!(error.class(), StoreClass::Terminal);
}

#[tokio::test]
async fn a_lost_version_counter_does_not_turn_history_back() {
    let redis = RedisChild::start(&[]);
    let store = RedisStore::new(&redis.url(), options()).unwrap();
    let users = store
        .commit(&[create("users")])
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let _: i64 = redis.run(&["DEL", "test:version"]);
    let auth = store
        .commit(&[create("auth")])
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    assert!(auth.metadata.resource_version > users.metadata.resource_version);
}

#[tokio::test]
async fn the_fake_fails_before_or_after_the_effect() {
    let store = FakeStore::default();
    let away = || {
        StoreError::Link(LinkError::Unreachable {
            address: "fake".to_owned(),
            source: "away".into(),
        })
    };
    let mut calls = 0;
    store.on_call(move |call| {
        calls += 1;
        match (call, calls) {
            ("commit", 1) => Some(Fault::Before(away())),
            ("commit", 2) => Some(Fault::After(away())),
            _ => None,
        }
    });
    store.commit(&[create("auth")]).await.unwrap_err();
    store.commit(&[create("users")]).await.unwrap_err();
    let names: Vec<_> = store
        .list()
        .await
        .unwrap()
        .agents
        .iter()
        .map(|agent| agent.metadata.name.to_string())
        .collect();
    assert_eq!(names, ["users"]);
    let backup = store.backup();
    store.heal();
    store.commit(&[create("auth")]).await.unwrap();
    store.restore(&backup);
    assert_eq!(store.list().await.unwrap().agents.len(), 1);
}

fn create(text: &str) -> Write {
    Write::Create {
        agent: Box::new(contract::agent(text)),
        applied: None,
    }
}

async fn next(
    changes: &mut futures::stream::BoxStream<
        'static,
        agentainer::store::Result<agentainer::store::Change>,
    >,
) -> agentainer::store::Result<agentainer::store::Change> {
    tokio::time::timeout(Duration::from_secs(20), changes.next())
        .await
        .expect("within 20 s")
        .expect("the stream goes on")
}

#[tokio::test]
async fn a_full_redis_still_lets_a_server_lead() {
    let redis = RedisChild::start(&["--maxmemory-policy", "noeviction"]);
    let store = RedisStore::new(&redis.url(), options()).unwrap();
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(store.ping().await.is_err(), "it takes no writes");
    let hour = Duration::from_secs(3600);
    for _ in 0..3 {
        let muster = store.beat(&members::beat("a", hour, hour)).await.unwrap();
        assert_eq!(members::leader(&muster).unwrap().0, "a/1");
    }
}
