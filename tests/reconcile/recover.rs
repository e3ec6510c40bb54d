//! A store that was wiped, or is older than it was, knows again how rollouts stood: the snapshot is kept while the server runs,
//! and recovered from.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agentainer::agent::status::{FailedRollout, RolloutState, condition};
use agentainer::agent::{Agent, AgentStatus};
use agentainer::probe::Outcome;
use agentainer::recover::{Keeper, Kept, Recovery, SnapshotFolder};
use agentainer::store::{AgentStore, Write};
use agentainer::wire::{RecoverOutcome, RecoverRequest};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::calls::Trouble;
use crate::rollouts::{colours, spec, state, with_good};
use crate::world::{World, name, s};

/// The snapshot of a world's server, kept while this lives.
pub struct Snapshot {
    folder: SnapshotFolder,
    data: tempfile::TempDir,
    /// What it was last told.
    trouble: Arc<Mutex<Option<String>>>,
    _keeper: AbortOnDropHandle<()>,
}

impl Snapshot {
    pub fn of(world: &World) -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::of(data.path());
        let trouble: Arc<Mutex<Option<String>>> = Arc::default();
        let keeper = Keeper {
            folder: folder.clone(),
            cluster: world.cluster.clone(),
            store: Arc::new(world.store.clone()),
            told: {
                let trouble = Arc::clone(&trouble);
                Box::new(move |told| *trouble.lock() = told)
            },
        };
        let agents = world.server().handle.agents().clone();
        let work = tokio::spawn(keeper.keep(agents, CancellationToken::new()));
        Self {
            folder,
            data,
            trouble,
            _keeper: AbortOnDropHandle::new(work),
        }
    }

    async fn kept(&self) -> Option<Kept> {
        let (mut all, problems) = self.folder.read().await.unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        all.remove(&name("users"))
    }

    /// Which file it is: each write makes another.
    fn file(&self) -> (u64, SystemTime) {
        let path: PathBuf = self.data.path().join("snapshot/users.json");
        let file = std::fs::metadata(path).unwrap();
        (file.ino(), file.modified().unwrap())
    }

    fn recovery(&self, world: &World) -> Recovery {
        Recovery {
            store: Arc::new(world.store.clone()),
            runtime: Arc::new(world.port.clone()),
            snapshot: self.folder.clone(),
        }
    }

    pub async fn recover(&self, world: &World, outcome: RecoverOutcome) {
        let recovery = self.recovery(world);
        let told = recovery.run(RecoverRequest::default()).await.unwrap();
        assert_eq!(told.results[0].outcome, outcome);
        assert!(told.results[0].warnings.is_empty(), "{told:?}");
    }
}

/// An agent whose rollout failed, and its snapshot; all is settled.
async fn failed(seed: u64, more: &serde_json::Value, end: RolloutState) -> (World, Snapshot) {
    let mut world = with_good(seed, more.clone()).await;
    let snapshot = Snapshot::of(&world);
    world.apply("users", spec("bad", more)).await;
    world
        .until(s(90), "it failed", async |world| state(world).await == end)
        .await;
    world.pass(s(30)).await;
    let agent = world.agent("users").await.unwrap();
    let kept = snapshot.kept().await.unwrap();
    assert_eq!(kept.agent.status, stood(&agent));
    assert_eq!(kept.revisions.len(), 2);
    assert_eq!(*snapshot.trouble.lock(), None);
    (world, snapshot)
}

/// What must be as it was.
fn stood(agent: &Agent) -> AgentStatus {
    agent.status.remembered()
}

fn strategy(rollback: bool) -> serde_json::Value {
    json!({"strategy": {"progressDeadline": "30s", "rollback": rollback}})
}

/// `after`: how long nobody recovers.
async fn comes_back(seed: u64, rollback: bool, end: RolloutState, after: Duration) {
    let (mut world, snapshot) = failed(seed, &strategy(rollback), end).await;
    let before = world.agent("users").await.unwrap();
    let records = world.store.revisions(&before.metadata.uid).await.unwrap();
    let containers = world.untouched("users");
    let calls = world.calls.len();

    world.store.wipe();
    world.pass(after).await;
    assert!(world.agent("users").await.is_none());
    assert!(
        snapshot.kept().await.is_some(),
        "a wiped store wipes no snapshot"
    );
    snapshot.recover(&world, RecoverOutcome::Created).await;
    // At every moment from now on, for as long as another try could take.
    for _ in 0..600 {
        world.pass(s(1)).await;
        let agent = world.agent("users").await.unwrap();
        assert_eq!(stood(&agent), stood(&before));
    }
    let agent = world.agent("users").await.unwrap();
    assert_eq!(agent.status.rollout.failed, before.status.rollout.failed);
    assert_eq!(world.untouched("users"), containers);
    let after = world.store.revisions(&before.metadata.uid).await.unwrap();
    assert_eq!(after, records);
    let writes = world.calls.writes_since(calls);
    assert!(writes.iter().all(|call| !call.engine), "{writes:?}");
    let kept = snapshot.kept().await.unwrap();
    assert_eq!(
        kept.agent.metadata, agent.metadata,
        "and is written down again"
    );

    // What is lost is made of what was good, and another spec is rolled out.
    let lost = world.containers("users");
    let lost = lost.iter().find(|one| one.identity.ordinal == 1).unwrap();
    world.engine.remove_by_hand(&lost.id);
    world
        .until(s(10), "it is made again", async |world| {
            world.untouched("users").len() == containers.len() && world.ready("users") == 2
        })
        .await;
    world
        .apply("users", spec("better", &strategy(rollback)))
        .await;
    world
        .until(s(60), "it is rolled out", async |world| {
            colours(world) == ["better", "better"]
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn law_8_a_rollback_survives_a_wiped_store() {
    for (seed, after) in [(320, s(0)), (330, s(20))] {
        comes_back(seed, true, RolloutState::RolledBack, after).await;
    }
}

#[tokio::test(start_paused = true)]
async fn law_8_a_failure_that_nothing_was_done_about_survives_a_wiped_store() {
    for (seed, after) in [(321, s(0)), (331, s(20))] {
        comes_back(seed, false, RolloutState::Failed, after).await;
    }
}

#[tokio::test(start_paused = true)]
async fn law_8_an_older_store_is_brought_forward_with_how_the_rollout_stood() {
    let more = strategy(true);
    let mut world = with_good(322, more.clone()).await;
    let snapshot = Snapshot::of(&world);
    let backup = world.store.backup();
    world.apply("users", spec("bad", &more)).await;
    world
        .until(s(90), "it went back", async |world| {
            state(world).await == RolloutState::RolledBack
        })
        .await;
    world.pass(s(30)).await;
    let before = world.agent("users").await.unwrap();
    let (containers, calls) = (world.untouched("users"), world.calls.len());
    world.store.restore(&backup);
    world.pass(s(60)).await;
    let kept = snapshot.kept().await.unwrap();
    assert_eq!(
        kept.agent.status,
        stood(&before),
        "the older one is not written down"
    );
    snapshot.recover(&world, RecoverOutcome::Updated).await;
    for _ in 0..300 {
        world.pass(s(1)).await;
        assert_eq!(stood(&world.agent("users").await.unwrap()), stood(&before));
    }
    assert_eq!(world.untouched("users"), containers);
    let writes = world.calls.writes_since(calls);
    assert!(writes.iter().all(|call| !call.engine), "{writes:?}");
    let uid = &before.metadata.uid;
    assert_eq!(world.store.revisions(uid).await.unwrap().len(), 2);
    snapshot.recover(&world, RecoverOutcome::Unchanged).await;
}

#[tokio::test(start_paused = true)]
async fn law_8_a_last_good_image_that_is_gone_leaves_what_runs_and_is_said() {
    let more = strategy(true);
    let mut world = with_good(323, more.clone()).await;
    let snapshot = Snapshot::of(&world);
    let mut bad = spec("bad", &more);
    bad["image"] = "auth".into();
    world.apply("users", bad).await;
    world
        .until(s(90), "it went back", async |world| {
            state(world).await == RolloutState::RolledBack && colours(world) == ["good", "good"]
        })
        .await;
    world.pass(s(30)).await;
    let containers = world.untouched("users");
    world.store.wipe();
    let image = world.engine.image_id("users").unwrap();
    world.engine.lose_image(&image);
    world.pass(s(20)).await;
    snapshot.recover(&world, RecoverOutcome::Created).await;
    world.pass(s(300)).await;
    assert_eq!(state(&world).await, RolloutState::RolledBack);
    let (reason, message) = world
        .said("users", condition::IMAGE_RESOLVED)
        .await
        .unwrap();
    assert_eq!(reason, "ImageLost", "{message}");
    assert_eq!(world.untouched("users"), containers);
}

#[tokio::test(start_paused = true)]
async fn without_a_snapshot_the_containers_of_what_was_good_tell_what_is_asked_for() {
    let (mut world, snapshot) = failed(324, &strategy(true), RolloutState::RolledBack).await;
    let containers = world.untouched("users");
    world.store.wipe();
    world.pass(s(20)).await;
    let recovery = Recovery {
        snapshot: SnapshotFolder::of(&snapshot.data.path().join("elsewhere")),
        ..snapshot.recovery(&world)
    };
    recovery.run(RecoverRequest::default()).await.unwrap();
    world.pass(s(300)).await;
    // What failed is forgotten, and so is never tried.
    let agent = world.agent("users").await.unwrap();
    assert_eq!(agent.spec.env["COLOUR"].as_str(), "good");
    assert_eq!(agent.status.rollout.state, RolloutState::Complete);
    assert_eq!(agent.status.rollout.last_good, Some(agent.revision()));
    assert_eq!(world.untouched("users"), containers);
    assert_eq!(
        world
            .store
            .revisions(&agent.metadata.uid)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_is_written_when_something_of_it_changes_and_never_else() {
    let more = strategy(false);
    let mut world = with_good(325, more.clone()).await;
    let snapshot = Snapshot::of(&world);
    world.pass(s(30)).await;
    let kept = snapshot.kept().await.unwrap();
    let good = kept.agent.revision();
    assert_eq!(kept.agent.status.rollout.last_good, Some(good.clone()));
    assert_eq!(kept.revisions[0].revision, good);

    let file = snapshot.file();
    world.pass(s(600)).await;
    assert_eq!(snapshot.file(), file, "settled");
    // Ready or not, restarted, made again: nothing that is not seen again.
    for round in 0..6 {
        world.answer(move |_| match round % 2 {
            0 => Outcome::NotReady("GET /health answered 503".to_owned()),
            _ => Outcome::Ready,
        });
        world.pass(s(20)).await;
        world.engine.kill_by_hand(&world.containers("users")[0].id);
        world.pass(s(20)).await;
        world
            .engine
            .remove_by_hand(&world.containers("users")[1].id);
        world.pass(s(40)).await;
    }
    world.settle_within(s(300)).await;
    assert_eq!(snapshot.file(), file, "troubled");

    // Another revision is known as soon as it is on record, long before it is good.
    world.answer(|_| Outcome::NotReady("not yet".to_owned()));
    world.apply("users", spec("new", &more)).await;
    world.pass(s(5)).await;
    let kept = snapshot.kept().await.unwrap();
    assert_eq!(kept.revisions.len(), 2);
    assert_eq!(kept.agent.status.rollout.last_good, Some(good));
    world.answer(|_| Outcome::Ready);
    world.settle_within(s(300)).await;
    let kept = snapshot.kept().await.unwrap();
    assert_eq!(
        kept.agent.status.rollout.last_good,
        Some(kept.agent.revision())
    );
}

#[tokio::test(start_paused = true)]
async fn law_6_a_pass_that_read_what_was_there_before_does_not_write_over_what_is_restored() {
    let mut world = World::new(340).await;
    world.answer(|_| Outcome::NotReady("GET /health answered 503".to_owned()));
    world.apply("users", json!({})).await;
    world.pass(s(5)).await;
    // The next pass has read the object and has something to say, and the engine is slow.
    world
        .calls
        .judge(|call| (call.name == "list_agent").then_some(Trouble::Slow(s(2))));
    world.apply("users", json!({"replicas": 2})).await;
    world.pass(Duration::from_millis(500)).await;
    let read = world.agent("users").await.unwrap();
    let mut restored = read.clone();
    restored.status.rollout.progress = 100;
    restored.status.rollout.failed = Some(FailedRollout {
        revision: read.revision(),
        reason: "ProgressDeadlineExceeded".to_owned(),
        message: "restored".to_owned(),
        at: agentainer::clock::now(),
    });
    let restore = Write::Restore {
        agent: Box::new(restored),
        expected: Some(read.metadata.resource_version),
        applied: None,
        revisions: Vec::new(),
    };
    world.store.commit(&[restore]).await.unwrap();
    for _ in 0..100 {
        world.pass(Duration::from_millis(100)).await;
        let failed = world.status("users").await.rollout.failed;
        assert_eq!(
            failed.map(|failed| failed.message).as_deref(),
            Some("restored")
        );
    }
    let status = world.status("users").await;
    assert_eq!(status.observed_generation, read.metadata.generation);
}
