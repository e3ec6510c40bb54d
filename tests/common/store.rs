//! What every `AgentStore` promises. Each case is run against the fake and against Redis.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::time::Duration;

use agentainer::agent::{
    Agent, AgentSpec, AgentStatus, ClusterId, EventKind, EventRecord, Metadata, Phase,
    ResourceVersion, Revision, RevisionRecord, Uid,
};
use agentainer::keys;
use agentainer::names::AgentName;
use agentainer::store::{AgentStore, Change, ChangeKind, Result, StoreClass, StoreError, Write};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::{Timestamp, ToSpan as _};

/// How many changes a fixture's store keeps.
pub const CHANGES_KEPT: usize = 100;
/// How many events a fixture's store keeps.
pub const EVENTS_KEPT: usize = 50;

/// A store that is the test's own.
pub trait Fixture: Send + Sync {
    type Store: AgentStore + Clone;
    /// A handle, as each of several servers has one.
    fn store(&self) -> Self::Store;
    /// Forgets everything.
    fn wipe(&self);
}

pub fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub fn agent(text: &str) -> Agent {
    let metadata = Metadata {
        name: name(text),
        labels: BTreeMap::from([("tier".to_owned(), "backend".to_owned())]),
        annotations: BTreeMap::new(),
        owner: "default".to_owned(),
        uid: Uid::random(),
        generation: 1,
        resource_version: ResourceVersion::default(),
        creation_timestamp: at(0),
        deletion_timestamp: None,
        finalizers: vec![keys::FINALIZER.to_owned()],
    };
    let spec = AgentSpec {
        image: Some(format!("{text}:1.4")),
        ..AgentSpec::default()
    };
    Agent::new(metadata, spec)
}

fn create(agent: &Agent) -> Write {
    Write::Create {
        agent: Box::new(agent.clone()),
        applied: None,
    }
}

fn update(agent: &Agent) -> Write {
    Write::Update {
        agent: Box::new(agent.clone()),
        expected: agent.metadata.resource_version,
        applied: None,
    }
}

fn delete(agent: &Agent) -> Write {
    Write::Delete {
        name: agent.metadata.name.clone(),
        expected: Some(agent.metadata.resource_version),
        at: at(50),
    }
}

fn finalize(agent: &Agent) -> Write {
    Write::Finalize {
        name: agent.metadata.name.clone(),
        uid: agent.metadata.uid.clone(),
        at: at(60),
    }
}

async fn one(store: &impl AgentStore, write: Write) -> Option<Agent> {
    store.commit(&[write]).await.unwrap().remove(0)
}

async fn created(store: &impl AgentStore, text: &str) -> Agent {
    one(store, create(&agent(text))).await.unwrap()
}

fn status(generation: u64) -> AgentStatus {
    AgentStatus {
        observed_generation: generation,
        phase: Phase::Running,
        ..AgentStatus::default()
    }
}

fn conflict<T: std::fmt::Debug>(result: Result<T>) -> (String, Option<ResourceVersion>) {
    match result {
        Err(StoreError::Conflict { name, actual }) => (name.to_string(), actual),
        other => panic!("expected a conflict, got {other:?}"),
    }
}

async fn next(changes: &mut BoxStream<'static, Result<Change>>) -> Result<Change> {
    tokio::time::timeout(Duration::from_secs(10), changes.next())
        .await
        .expect("a change within 10 s")
        .expect("the stream goes on")
}

/// A created object has the store's version, and reads as it was written.
pub async fn a_created_agent_reads_as_written(fixture: &impl Fixture) {
    let store = fixture.store();
    let written = agent("users");
    let mut expected = written.clone();
    let answered = one(&store, create(&written)).await.unwrap();
    expected.metadata.resource_version = answered.metadata.resource_version;
    assert!(answered.metadata.resource_version > ResourceVersion(0));
    assert_eq!(answered, expected);
    assert_eq!(store.get(&name("users")).await.unwrap(), Some(expected));
    assert_eq!(store.get(&name("nobody")).await.unwrap(), None);
}

/// Creating, updating and deleting rest on a version; a stale one is a conflict that names the present one.
pub async fn a_stale_version_is_a_conflict_and_changes_nothing(fixture: &impl Fixture) {
    let store = fixture.store();
    let first = created(&store, "users").await;
    let v1 = first.metadata.resource_version;
    assert_eq!(
        conflict(store.commit(&[create(&agent("users"))]).await),
        ("users".to_owned(), Some(v1))
    );
    let mut changed = first.clone();
    changed.spec.args = vec!["--new".to_owned()];
    let second = one(&store, update(&changed)).await.unwrap();
    let v2 = second.metadata.resource_version;
    assert!(v2 > v1);
    for stale in [
        update(&first),
        delete(&first),
        Write::Check {
            name: name("users"),
            expected: v1,
        },
    ] {
        assert_eq!(
            conflict(store.commit(&[stale]).await),
            ("users".to_owned(), Some(v2))
        );
    }
    let missing = agent("nobody");
    for absent in [update(&missing), delete(&missing), finalize(&missing)] {
        assert_eq!(
            conflict(store.commit(&[absent]).await),
            ("nobody".to_owned(), None)
        );
    }
    let mut other_life = second.clone();
    other_life.metadata.uid = Uid::random();
    conflict(store.commit(&[update(&other_life)]).await);
    assert_eq!(store.get(&name("users")).await.unwrap(), Some(second));
}

/// A bundle is all or none.
pub async fn a_bundle_is_all_or_none(fixture: &impl Fixture) {
    let store = fixture.store();
    let auth = created(&store, "auth").await;
    let users = created(&store, "users").await;
    let before = store.list().await.unwrap();
    let mut changed = auth.clone();
    changed.spec.args = vec!["x".to_owned()];
    let mut stale = users.clone();
    stale.metadata.resource_version = ResourceVersion(users.metadata.resource_version.0 + 9);
    let writes = [create(&agent("orders")), update(&changed), update(&stale)];
    let (named, actual) = conflict(store.commit(&writes).await);
    assert_eq!(
        (named.as_str(), actual),
        ("users", Some(users.metadata.resource_version))
    );
    assert_eq!(store.list().await.unwrap(), before);

    let writes = [
        create(&agent("orders")),
        update(&changed),
        delete(&users),
        Write::Check {
            name: name("auth"),
            expected: auth.metadata.resource_version,
        },
    ];
    let after = store.commit(&writes).await.unwrap();
    assert_eq!(after.len(), 4);
    assert_eq!(after[0].as_ref().unwrap().metadata.name, name("orders"));
    assert_eq!(after[1].as_ref().unwrap().spec.args, ["x"]);
    assert!(
        after[2]
            .as_ref()
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    assert_eq!(store.commit(&[]).await.unwrap(), []);
}

/// An agent that is written twice in a bundle is a mistake.
pub async fn naming_an_agent_twice_is_a_conflict(fixture: &impl Fixture) {
    let store = fixture.store();
    let writes = [create(&agent("users")), create(&agent("users"))];
    assert_eq!(
        conflict(store.commit(&writes).await),
        ("users".to_owned(), None)
    );
    assert_eq!(store.list().await.unwrap().agents, []);
}

/// What a manifest named is kept with the object, and goes with it.
pub async fn the_manifest_last_applied_is_kept(fixture: &impl Fixture) {
    let store = fixture.store();
    let manifest = serde_json::json!({"image": "users:1", "args": [], "env": {}, "port": 8000.5});
    let write = Write::Create {
        agent: Box::new(agent("users")),
        applied: Some(manifest.clone()),
    };
    let users = one(&store, write).await.unwrap();
    assert_eq!(
        store.applied(&name("users")).await.unwrap(),
        Some(manifest.clone())
    );
    let users = one(&store, update(&users)).await.unwrap();
    assert_eq!(store.applied(&name("users")).await.unwrap(), Some(manifest));
    let write = Write::Update {
        expected: users.metadata.resource_version,
        agent: Box::new(users.clone()),
        applied: Some(serde_json::json!({})),
    };
    let users = one(&store, write).await.unwrap();
    assert_eq!(
        store.applied(&name("users")).await.unwrap(),
        Some(serde_json::json!({}))
    );
    one(&store, delete(&users)).await;
    one(&store, finalize(&users)).await;
    assert_eq!(store.applied(&name("users")).await.unwrap(), None);
    created(&store, "users").await;
    assert_eq!(store.applied(&name("users")).await.unwrap(), None);
}

/// Deletion waits for the finalizer; then the object goes and a tombstone comes.
pub async fn a_finalizer_holds_the_object_until_it_is_done(fixture: &impl Fixture) {
    let store = fixture.store();
    let users = created(&store, "users").await;
    let uid = users.metadata.uid.clone();
    conflict(store.commit(&[finalize(&users)]).await);
    let dying = one(&store, delete(&users)).await.unwrap();
    assert_eq!(dying.metadata.deletion_timestamp, Some(at(50)));
    assert!(dying.metadata.resource_version > users.metadata.resource_version);
    assert_eq!(dying.spec, users.spec);
    let again = one(
        &store,
        Write::Delete {
            name: name("users"),
            expected: None,
            at: at(55),
        },
    )
    .await;
    assert_eq!(
        again.as_ref(),
        Some(&dying),
        "a second wish changes nothing"
    );
    let mut revived = dying.clone();
    revived.metadata.deletion_timestamp = None;
    let dying = one(&store, update(&revived)).await.unwrap();
    assert_eq!(
        dying.metadata.deletion_timestamp,
        Some(at(50)),
        "a deletion stays"
    );
    assert_eq!(
        store.tombstones(std::slice::from_ref(&uid)).await.unwrap(),
        []
    );

    let mut other = dying.clone();
    other.metadata.uid = Uid::random();
    conflict(store.commit(&[finalize(&other)]).await);
    assert_eq!(one(&store, finalize(&dying)).await, None);
    assert_eq!(store.get(&name("users")).await.unwrap(), None);
    let known = store
        .tombstones(&[Uid::random(), uid.clone()])
        .await
        .unwrap();
    assert_eq!(known, [uid]);
    assert_eq!(conflict(store.commit(&[finalize(&dying)]).await).1, None);
    assert_eq!(store.tombstones(&[]).await.unwrap(), []);
}

/// Without a finalizer an object goes at once, also when the last one is taken off by an update.
pub async fn without_a_finalizer_deletion_is_at_once(fixture: &impl Fixture) {
    let store = fixture.store();
    let mut free = agent("users");
    free.metadata.finalizers.clear();
    let free = one(&store, create(&free)).await.unwrap();
    assert_eq!(one(&store, delete(&free)).await, None);
    let held = created(&store, "orders").await;
    let mut held = one(&store, delete(&held)).await.unwrap();
    held.metadata.finalizers.clear();
    assert_eq!(one(&store, update(&held)).await, None);
    let uids = [free.metadata.uid, held.metadata.uid];
    assert_eq!(store.tombstones(&uids).await.unwrap(), uids);
    let nothing = Write::Delete {
        name: name("users"),
        expected: None,
        at: at(70),
    };
    let before = store.list().await.unwrap();
    assert_eq!(one(&store, nothing).await, None);
    assert_eq!(store.list().await.unwrap(), before);
}

/// What belongs to a life ends with it.
pub async fn a_new_life_begins_with_nothing_of_the_old(fixture: &impl Fixture) {
    let store = fixture.store();
    let old = created(&store, "users").await;
    let uid = &old.metadata.uid;
    store.put_status(&old.metadata, &status(1)).await.unwrap();
    store.reserve(uid, 0, 0).await.unwrap();
    store.put_revision(uid, &revision("v1:a", 1)).await.unwrap();
    one(&store, delete(&old)).await;
    one(&store, finalize(&old)).await;
    let new = created(&store, "users").await;
    assert_eq!(new.status, AgentStatus::default());
    assert_ne!(new.metadata.uid, *uid);
    assert_eq!(store.revisions(uid).await.unwrap(), []);
    assert_eq!(store.reserve(uid, 0, 0).await.unwrap().incarnation, 1);
}

/// A writer of the spec never has a conflict with one of the status.
pub async fn the_status_lives_apart(fixture: &impl Fixture) {
    let store = fixture.store();
    let users = created(&store, "users").await;
    let mut changes = store.watch(users.metadata.resource_version).await.unwrap();
    store.put_status(&users.metadata, &status(1)).await.unwrap();
    let read = store.get(&name("users")).await.unwrap().unwrap();
    assert_eq!(read.status, status(1));
    assert_eq!(
        read.metadata.resource_version, users.metadata.resource_version,
        "a status changes no version of the object"
    );
    let change = next(&mut changes).await.unwrap();
    assert_eq!(change.kind, ChangeKind::Status);
    assert_eq!(change.agent.unwrap().status, status(1));

    // The same again, another life's and nobody's: nothing happens.
    let before = store.list().await.unwrap().resource_version;
    store.put_status(&users.metadata, &status(1)).await.unwrap();
    let (mut another, mut nobody) = (users.metadata.clone(), users.metadata.clone());
    (another.uid, nobody.name) = (Uid::random(), name("nobody"));
    store.put_status(&another, &status(9)).await.unwrap();
    store.put_status(&nobody, &status(9)).await.unwrap();
    assert_eq!(store.list().await.unwrap().resource_version, before);

    // An update that rests on the object's version succeeds, and its own idea of the status is ignored.
    let mut changed = users.clone();
    changed.status = status(77);
    let changed = one(&store, update(&changed)).await.unwrap();
    assert_eq!(changed.status, status(1));
    assert_eq!(next(&mut changes).await.unwrap().kind, ChangeKind::Object);
}

/// A status that rests on an object which was written since, or restored in its place, is refused, and nobody sees it.
pub async fn a_status_of_an_older_object_is_a_conflict(fixture: &impl Fixture) {
    let store = fixture.store();
    let read = created(&store, "users").await;
    let written = one(&store, update(&read)).await.unwrap();
    let version = written.metadata.resource_version;
    let conflict = |refused: Result<()>, now: ResourceVersion| {
        let error = refused.unwrap_err();
        assert_eq!(error.class(), StoreClass::Conflict);
        assert!(
            matches!(&error, StoreError::Conflict { name: of, actual } if *of == name("users") && *actual == Some(now)),
            "{error:?}"
        );
    };
    conflict(store.put_status(&read.metadata, &status(1)).await, version);
    store
        .put_status(&written.metadata, &status(2))
        .await
        .unwrap();
    let mut older = written.clone();
    older.status = status(3);
    let restore = Write::Restore {
        agent: Box::new(older),
        expected: Some(version),
        applied: None,
        revisions: Vec::new(),
    };
    let restored = one(&store, restore).await.unwrap();
    let now = restored.metadata.resource_version;
    conflict(store.put_status(&written.metadata, &status(4)).await, now);
    // What the store has anyway is no conflict.
    store
        .put_status(&written.metadata, &status(3))
        .await
        .unwrap();
    let read = store.get(&name("users")).await.unwrap().unwrap();
    assert_eq!(read.status, status(3));
    store.put_status(&read.metadata, &status(5)).await.unwrap();
}

/// A watcher sees every change once, in order, from where it stands.
pub async fn a_watch_resumes_from_its_position(fixture: &impl Fixture) {
    let store = fixture.store();
    let start = store.list().await.unwrap().resource_version;
    let mut changes = store.watch(start).await.unwrap();
    let users = created(&store, "users").await;
    let auth = created(&store, "auth").await;
    let first = next(&mut changes).await.unwrap();
    assert_eq!(
        (first.kind, &first.name),
        (ChangeKind::Object, &name("users"))
    );
    assert_eq!(first.resource_version, users.metadata.resource_version);
    assert_eq!(first.agent, Some(users.clone()));
    drop(changes);

    let mut changes = fixture.store().watch(first.resource_version).await.unwrap();
    let second = next(&mut changes).await.unwrap();
    assert_eq!(second.agent, Some(auth.clone()));
    one(&store, delete(&users)).await;
    let third = next(&mut changes).await.unwrap();
    assert!(third.agent.unwrap().metadata.deletion_timestamp.is_some());
    one(&store, finalize(&users)).await;
    let fourth = next(&mut changes).await.unwrap();
    assert_eq!((fourth.kind, fourth.agent), (ChangeKind::Gone, None));
    let versions = [
        first.resource_version,
        second.resource_version,
        third.resource_version,
    ];
    assert!(versions.is_sorted() && fourth.resource_version > versions[2]);
    assert_eq!(
        store.list().await.unwrap().resource_version,
        fourth.resource_version
    );

    // From the beginning: what is gone shows as gone.
    let mut changes = store.watch(start).await.unwrap();
    assert_eq!(next(&mut changes).await.unwrap().kind, ChangeKind::Gone);
    assert_eq!(next(&mut changes).await.unwrap().agent, Some(auth));
}

/// Several watchers see the same.
pub async fn every_watcher_sees_every_change(fixture: &impl Fixture) {
    let store = fixture.store();
    let start = store.list().await.unwrap().resource_version;
    let mut watchers = Vec::new();
    for _ in 0..5 {
        watchers.push(fixture.store().watch(start).await.unwrap());
    }
    for index in 0..20 {
        created(&store, &format!("agent-{index}")).await;
    }
    for watcher in &mut watchers {
        for index in 0..20 {
            let change = next(watcher).await.unwrap();
            assert_eq!(change.name, name(&format!("agent-{index}")));
        }
    }
}

/// A position that was trimmed is Expired, at the start and later; the last that is kept is not.
pub async fn a_trimmed_position_is_expired(fixture: &impl Fixture) {
    let store = fixture.store();
    let users = created(&store, "users").await;
    let first = users.metadata.resource_version;
    for generation in 1..=CHANGES_KEPT as u64 {
        store
            .put_status(&users.metadata, &status(generation))
            .await
            .unwrap();
    }
    let mut changes = store.watch(first).await.unwrap();
    assert_eq!(
        next(&mut changes).await.unwrap().resource_version.0,
        first.0 + 1
    );
    let gone = store.watch(ResourceVersion(first.0 - 1)).await;
    assert!(matches!(gone.err(), Some(StoreError::Expired)));

    // Slow readers: the stream runs away from under them.
    let mut slow = store
        .watch(store.list().await.unwrap().resource_version)
        .await
        .unwrap();
    for generation in 1..=2 * CHANGES_KEPT as u64 {
        store
            .put_status(&users.metadata, &status(1000 + generation))
            .await
            .unwrap();
    }
    let error = loop {
        if let Err(error) = next(&mut slow).await {
            break error;
        }
    };
    assert!(matches!(error, StoreError::Expired));
    assert_eq!(error.class(), StoreClass::NotFound);
    assert!(slow.next().await.is_none(), "it ends after that");
}

/// A position ahead of the store is Expired: the store is older than the watcher.
pub async fn a_position_ahead_of_the_store_is_expired(fixture: &impl Fixture) {
    let store = fixture.store();
    let users = created(&store, "users").await;
    let ahead = ResourceVersion(users.metadata.resource_version.0 + 5);
    assert!(matches!(
        store.watch(ahead).await.err(),
        Some(StoreError::Expired)
    ));
    assert!(store.watch(users.metadata.resource_version).await.is_ok());
}

/// A store belongs to the first that founds it.
pub async fn the_first_founder_keeps_the_store(fixture: &impl Fixture) {
    let store = fixture.store();
    assert_eq!(store.cluster().await.unwrap(), None);
    let ours = ClusterId::random();
    let record = store.found(&ours, 3).await.unwrap();
    assert_eq!((&record.id, record.epoch), (&ours, 3));
    let version = store.list().await.unwrap().resource_version;
    let other = fixture
        .store()
        .found(&ClusterId::random(), 9)
        .await
        .unwrap();
    assert_eq!(other, record);
    assert_eq!(store.cluster().await.unwrap(), Some(record));
    assert_eq!(store.list().await.unwrap().resource_version, version);
    let users = created(&store, "users").await;
    assert!(users.metadata.resource_version > version);
}

/// A wiped store is nobody's, and a running watcher learns of it, also when it was founded anew meanwhile.
pub async fn law_6_a_wiped_store_shows_as_such(fixture: &impl Fixture) {
    let store = fixture.store();
    store.found(&ClusterId::random(), 1).await.unwrap();
    let users = created(&store, "users").await;
    let mut changes = store.watch(users.metadata.resource_version).await.unwrap();
    fixture.wipe();
    assert_eq!(store.cluster().await.unwrap(), None);
    assert!(matches!(next(&mut changes).await, Err(StoreError::Expired)));
    let old = users.metadata.resource_version;
    assert!(matches!(
        store.watch(old).await.err(),
        Some(StoreError::Expired)
    ));
    let at = store
        .found(&ClusterId::random(), 2)
        .await
        .map(|_| store.list());
    let again = at.unwrap().await.unwrap().resource_version;
    assert!(again >= old, "positions of the old store do not come again");
    assert_eq!(store.list().await.unwrap().agents, []);
    assert_eq!(store.tombstones(&[users.metadata.uid]).await.unwrap(), []);
}

/// Incarnations grow, whoever reserves them, and stay above what the caller saw.
pub async fn reserved_incarnations_only_grow(fixture: &impl Fixture) {
    let store = fixture.store();
    let (one, two) = (Uid::random(), Uid::random());
    let numbers = async |uid: &Uid, ordinal, after| {
        let reserved = store.reserve(uid, ordinal, after).await.unwrap();
        (reserved.incarnation, reserved.address_cursor)
    };
    assert_eq!(numbers(&one, 0, 0).await, (1, 1));
    assert_eq!(
        numbers(&one, 0, 0).await,
        (2, 2),
        "asking again never answers the same"
    );
    assert_eq!(numbers(&one, 1, 0).await, (1, 3));
    assert_eq!(numbers(&two, 0, 0).await, (1, 4));
    assert_eq!(numbers(&one, 0, 41).await, (42, 5));
    assert_eq!(numbers(&one, 0, 7).await, (43, 6));

    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, uid) = (fixture.store(), one.clone());
        tasks.spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..10 {
                mine.push(store.reserve(&uid, 0, 0).await.unwrap());
            }
            mine
        });
    }
    let all: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let mut incarnations: Vec<u64> = all.iter().map(|reserved| reserved.incarnation).collect();
    let mut cursors: Vec<u64> = all.iter().map(|reserved| reserved.address_cursor).collect();
    incarnations.sort_unstable();
    cursors.sort_unstable();
    assert_eq!(incarnations, (44..124).collect::<Vec<u64>>());
    assert_eq!(cursors, (7..87).collect::<Vec<u64>>());
}

pub fn revision(text: &str, second: i64) -> RevisionRecord {
    RevisionRecord {
        revision: Revision(text.to_owned()),
        number: 0,
        tag: None,
        shape: None,
        proven: None,
        image_id: "sha256:aa".to_owned(),
        image: "users:1".to_owned(),
        generation: 1,
        at: at(second),
    }
}

/// Revisions are kept by life, oldest first, one record each.
pub async fn revisions_are_kept_oldest_first(fixture: &impl Fixture) {
    let store = fixture.store();
    let uid = Uid::random();
    for (text, second) in [("v1:c", 30), ("v1:a", 10), ("v1:b", 20)] {
        store
            .put_revision(&uid, &revision(text, second))
            .await
            .unwrap();
    }
    let mut again = revision("v1:c", 30);
    again.image_id = "sha256:bb".to_owned();
    store.put_revision(&uid, &again).await.unwrap();
    let kept = store.revisions(&uid).await.unwrap();
    assert_eq!(
        kept,
        [revision("v1:a", 10), revision("v1:b", 20), again.clone()]
    );
    assert_eq!(store.revisions(&Uid::random()).await.unwrap(), []);
    let forgotten = Revision("v1:b".to_owned());
    store.forget_revision(&uid, &forgotten).await.unwrap();
    store.forget_revision(&uid, &forgotten).await.unwrap();
    let kept = store.revisions(&uid).await.unwrap();
    assert_eq!(kept, [revision("v1:a", 10), again]);
}

/// What was lost comes back whole at once: nobody sees the object without its status and its history. It takes nobody's
/// place but that of the version it expects.
pub async fn a_restored_agent_has_its_status_and_revisions_at_once(fixture: &impl Fixture) {
    let store = fixture.store();
    let mut lost = agent("users");
    let uid = lost.metadata.uid.clone();
    (lost.status, lost.metadata.generation) = (status(3), 3);
    let restore = |agent: &Agent, expected, revisions: &[RevisionRecord]| Write::Restore {
        agent: Box::new(agent.clone()),
        expected,
        applied: Some(serde_json::json!({"name": "users"})),
        revisions: revisions.to_vec(),
    };
    store
        .put_revision(&uid, &revision("v1:a", 10))
        .await
        .unwrap();
    let start = store.list().await.unwrap().resource_version;
    let first = restore(&lost, None, &[revision("v1:b", 20), revision("v1:c", 30)]);
    let back = one(&store, first.clone()).await.unwrap();
    assert_eq!((&back.status, &back.metadata.uid), (&status(3), &uid));
    assert_eq!(store.get(&name("users")).await.unwrap(), Some(back.clone()));
    let records = ["v1:a", "v1:b", "v1:c"].map(|text| Revision(text.to_owned()));
    let kept = store.revisions(&uid).await.unwrap();
    assert!(kept.iter().map(|record| &record.revision).eq(&records));
    assert!(store.applied(&name("users")).await.unwrap().is_some());
    let mut changes = store.watch(start).await.unwrap();
    let change = changes.next().await.unwrap().unwrap();
    assert_eq!(
        (change.kind, change.agent),
        (ChangeKind::Object, Some(back.clone()))
    );

    // Over a newer one, another life, or one that is there: nothing.
    let version = back.metadata.resource_version;
    conflict(store.commit(&[first]).await);
    let stale = ResourceVersion(version.0 - 1);
    conflict(store.commit(&[restore(&lost, Some(stale), &[])]).await);
    let stranger = agent("users");
    conflict(
        store
            .commit(&[restore(&stranger, Some(version), &[])])
            .await,
    );
    assert_eq!(store.get(&name("users")).await.unwrap(), Some(back));

    (lost.status, lost.metadata.generation) = (status(4), 4);
    let mut newer = revision("v1:b", 20);
    newer.number = 7;
    let older = restore(&lost, Some(version), std::slice::from_ref(&newer));
    let writes = [older, create(&agent("auth"))];
    let both = store.commit(&writes).await.unwrap();
    let back = both[0].clone().unwrap();
    assert_eq!((&back.status, back.metadata.generation), (&status(4), 4));
    assert!(both[1].is_some(), "what stands behind it is read as well");
    let kept = store.revisions(&uid).await.unwrap();
    assert_eq!((kept.len(), &kept[1]), (3, &newer));
}

fn event(agent: &str, reason: &str, message: &str, second: i64) -> EventRecord {
    EventRecord {
        agent: Some(name(agent)),
        kind: EventKind::Normal,
        reason: reason.to_owned(),
        message: message.to_owned(),
        count: 1,
        first_seen: at(second),
        last_seen: at(second),
    }
}

/// The same event within the hour counts up; the newest come first; old ones go.
pub async fn events_count_up_and_are_capped(fixture: &impl Fixture) {
    let store = fixture.store();
    let record = async |event: EventRecord| store.record_event(&event).await.unwrap();
    record(event("users", "Killed", "first", 0)).await;
    record(event("auth", "Killed", "other", 5)).await;
    record(event("users", "Started", "up", 6)).await;
    record(event("users", "Killed", "second", 3_500)).await;
    let all = store.events(None, 10).await.unwrap();
    let mut counted = event("users", "Killed", "second", 3_500);
    counted.count = 2;
    counted.first_seen = at(0);
    let expected = [
        counted.clone(),
        event("users", "Started", "up", 6),
        event("auth", "Killed", "other", 5),
    ];
    assert_eq!(all, expected);
    // The window runs from the last time.
    record(event("users", "Killed", "third", 7_000)).await;
    let latest = store.events(Some(&name("users")), 1).await.unwrap();
    assert_eq!((latest[0].count, latest[0].first_seen), (3, at(0)));
    let late = at(7_000).checked_add(1.hours()).unwrap();
    let mut fresh = event("users", "Killed", "fourth", 0);
    (fresh.first_seen, fresh.last_seen) = (late, late);
    record(fresh.clone()).await;
    assert_eq!(
        store.events(Some(&name("users")), 1).await.unwrap(),
        [fresh]
    );
    let users = store.events(Some(&name("users")), 10).await.unwrap();
    assert_eq!(
        users.iter().map(|event| event.count).collect::<Vec<_>>(),
        [1, 3, 1]
    );
    assert_eq!(store.events(Some(&name("use")), 10).await.unwrap(), []);
    assert_eq!(store.events(None, 0).await.unwrap(), []);

    // One of the host is nobody's.
    let mut of_host = event("users", "NetworkCreated", "it was made", 8_000);
    (of_host.agent, of_host.kind) = (None, EventKind::Warning);
    record(of_host.clone()).await;
    record(of_host.clone()).await;
    of_host.count = 2;
    assert_eq!(store.events(None, 1).await.unwrap(), [of_host]);
    let users = store.events(Some(&name("users")), 10).await.unwrap();
    assert_eq!(users.len(), 3);

    for index in 0..EVENTS_KEPT {
        record(event("orders", &format!("Reason{index}"), "x", 9_000)).await;
    }
    let kept = store.events(None, 1_000).await.unwrap();
    assert_eq!(kept.len(), EVENTS_KEPT);
    assert!(kept.iter().all(|event| event.agent == Some(name("orders"))));
    assert_eq!(kept[0].reason, format!("Reason{}", EVENTS_KEPT - 1));
    // One that was dropped begins anew.
    record(event("users", "Killed", "again", 9_001)).await;
    assert_eq!(store.events(None, 1).await.unwrap()[0].count, 1);
}

/// Of writers that rest on the same version one wins; none is lost.
pub async fn of_concurrent_writers_one_wins_each_round(fixture: &impl Fixture) {
    let store = fixture.store();
    let users = created(&store, "users").await;
    let start = users.metadata.resource_version;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let store = fixture.store();
        tasks.spawn(async move {
            let mut won = 0;
            while won < 10 {
                let mut agent = store.get(&name("users")).await.unwrap().unwrap();
                agent.metadata.generation += 1;
                agent.spec.args.push(format!("{writer}-{won}"));
                match store.commit(&[update(&agent)]).await {
                    Ok(_) => won += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
    let end = store.get(&name("users")).await.unwrap().unwrap();
    assert_eq!(end.metadata.generation, 41);
    let mut args = end.spec.args.clone();
    args.sort();
    args.dedup();
    assert_eq!(args.len(), 40);
    let mut changes = store.watch(start).await.unwrap();
    for step in 1..=40 {
        let change = next(&mut changes).await.unwrap();
        assert_eq!(change.resource_version.0, start.0 + step);
    }
}

/// Thousands of agents are written at once and read at once, sorted by name.
pub async fn a_big_fleet_is_read_at_once(fixture: &impl Fixture) {
    let store = fixture.store();
    let fleet: Vec<Agent> = (0..5_000)
        .map(|index| agent(&format!("agent-{index}")))
        .collect();
    let writes: Vec<Write> = fleet.iter().map(create).collect();
    let written = store.commit(&writes).await.unwrap();
    for agent in written.iter().flatten().take(50) {
        store.put_status(&agent.metadata, &status(4)).await.unwrap();
    }
    #[allow(clippy::disallowed_methods)]
    let began = std::time::Instant::now();
    let list = store.list().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(list.agents.len(), 5_000);
    assert!(list.agents.is_sorted_by_key(|agent| &agent.metadata.name));
    let running = list.agents.iter().filter(|agent| agent.status == status(4));
    assert_eq!(running.count(), 50);
}

/// Values that Lua or JSON could bend come back as they were.
pub async fn odd_values_come_back_as_written(fixture: &impl Fixture) {
    let store = fixture.store();
    let mut odd = agent("users");
    odd.metadata.labels.clear();
    odd.metadata.annotations = BTreeMap::from([(
        "note".to_owned(),
        "line\nbreak \u{0} ü 🦀 \\ \" $&%1".to_owned(),
    )]);
    odd.metadata.generation = u64::MAX;
    odd.metadata.owner = String::new();
    odd.spec.args = vec![String::new(), "\u{7f}".to_owned(), "x".repeat(100_000)];
    let written = one(&store, create(&odd)).await.unwrap();
    odd.metadata.resource_version = written.metadata.resource_version;
    assert_eq!(store.get(&name("users")).await.unwrap(), Some(odd.clone()));
    let dying = one(&store, delete(&odd)).await.unwrap();
    assert_eq!(dying.spec, odd.spec);
    assert_eq!(dying.metadata.annotations, odd.metadata.annotations);
}

/// The store says whether it takes writes.
pub async fn a_healthy_store_answers_a_ping(fixture: &impl Fixture) {
    fixture.store().ping().await.unwrap();
}
