//! Tests of what is recovered, from whom.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::*;
use crate::agent::AgentSpec;
use crate::runtime::Origin;

fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

fn agent(uid: &str, generation: u64, spec: serde_json::Value) -> Agent {
    let spec: AgentSpec = serde_json::from_value(spec).unwrap();
    let metadata = json!({"name": "users", "owner": "mesh", "uid": uid, "generation": generation,
        "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"tier": "back"}});
    Agent::new(serde_json::from_value(metadata).unwrap(), spec)
}

fn kept(uid: &str, generation: u64, spec: serde_json::Value) -> Kept {
    let mut agent = agent(uid, generation, spec);
    agent.status = serde_json::from_value(json!({
        "revision": agent.revision(), "observedGeneration": generation, "phase": "Degraded",
        "rollout": {"state": "Failed", "lastGood": "v1:good", "progress": 3, "progressedAt": AT,
            "failed": {"revision": agent.revision(), "reason": "CrashLoopBackOff", "message": "so it is", "at": AT}},
    }))
    .unwrap();
    let records = vec![record("v1:bad", 2), record("v1:good", 1)];
    Kept::of(agent, Some(json!({"name": "users"})), records)
}

const AT: &str = "2026-01-01T00:00:00Z";

fn record(revision: &str, number: u64) -> RevisionRecord {
    serde_json::from_value(
        json!({"revision": revision, "number": number, "imageId": "sha256:1", "image": "users",
        "generation": 1, "at": AT, "shape": {"spec": {}}}),
    )
    .unwrap()
}

fn found(uid: &str, generation: u64, spec: serde_json::Value) -> Found {
    let shaped = agent(uid, generation, spec.clone());
    Found {
        uid: Uid(uid.to_owned()),
        generation,
        revision: shaped.revision(),
        latest: ContainerId("c1".to_owned()),
        revisions: 1,
        ordinals: shaped.spec.replicas.0,
        ended: false,
        frozen: false,
        made: Some(MadeFrom {
            spec: serde_json::from_value(spec).unwrap(),
            origin: Origin {
                owner: Some("mesh".to_owned()),
                restarted_at: None,
            },
        }),
    }
}

fn decided(live: Option<Agent>, kept: Option<Kept>, found: Option<Found>) -> Decision {
    decide(&World {
        live: live
            .into_iter()
            .map(|agent| (name("users"), agent))
            .collect(),
        kept: kept.into_iter().map(|kept| (name("users"), kept)).collect(),
        found: found
            .into_iter()
            .map(|found| (name("users"), found))
            .collect(),
        now: Timestamp::UNIX_EPOCH,
    })
}

fn restored(decision: &Decision) -> (&Agent, Option<ResourceVersion>, &[RevisionRecord]) {
    let [
        Write::Restore {
            agent,
            expected,
            revisions,
            ..
        },
    ] = decision.writes.as_slice()
    else {
        panic!("{decision:?}");
    };
    (agent, *expected, revisions)
}

fn created(decision: &Decision) -> &Agent {
    let (agent, expected, _) = restored(decision);
    assert_eq!(expected, None);
    agent
}

#[test]
fn law_6_a_wiped_store_gets_back_what_the_snapshot_has() {
    let spec = json!({"env": {"KEY": "v"}, "replicas": 2});
    let decision = decided(
        None,
        Some(kept("u1", 3, spec.clone())),
        Some(found("u1", 2, spec.clone())),
    );
    let kept = kept("u1", 3, spec);
    assert_eq!(*created(&decision), kept.agent);
    assert_eq!(restored(&decision).2, kept.revisions);
    assert_eq!(decision.results[0].from, RecoverSource::Snapshot);
    assert_eq!(decision.results[0].warnings, [""; 0]);
}

#[test]
fn containers_of_a_later_generation_than_the_snapshots_tell_the_spec() {
    let decision = decided(
        None,
        Some(kept("u1", 3, json!({"env": {"KEY": "old"}}))),
        Some(found("u1", 4, json!({"env": {"KEY": "new"}}))),
    );
    let agent = created(&decision);
    assert_eq!(agent.spec.env["KEY"].as_str(), "new");
    // What no container carries is the snapshot's.
    assert_eq!(agent.metadata.labels["tier"], "back");
    assert_eq!(
        (agent.metadata.generation, decision.results[0].from),
        (4, RecoverSource::Containers)
    );
}

#[test]
fn without_a_snapshot_the_containers_alone_make_the_same_agent() {
    let spec = json!({"image": "users:1", "env": {"KEY": "v"}});
    let decision = decided(None, None, Some(found("u1", 2, spec.clone())));
    let made = created(&decision);
    assert_eq!(made.revision(), agent("u1", 2, spec).revision());
    assert_eq!(
        (made.metadata.uid.as_str(), made.metadata.owner.as_str()),
        ("u1", "mesh")
    );
    assert_eq!(made.metadata.finalizers, [FINALIZER]);
    assert!(decision.results[0].warnings.is_empty(), "{decision:?}");
}

#[test]
fn what_containers_do_not_tell_is_said() {
    let mut found = found("u1", 2, json!({"replicas": 3}));
    (found.ordinals, found.revisions) = (1, 2);
    found.ended = true;
    found.revision = Revision("v1:other".to_owned());
    found.made.as_mut().unwrap().origin.owner = None;
    let decision = decided(None, None, Some(found));
    let agent = created(&decision);
    assert_eq!(
        (agent.spec.replicas.0, agent.spec.state),
        (1, DesiredState::Stopped)
    );
    assert_eq!(agent.metadata.owner, DEFAULT_OWNER);
    assert_eq!(decision.results[0].warnings.len(), 5, "{decision:?}");
}

#[test]
fn a_container_without_a_readable_label_is_named() {
    let mut found = found("u1", 2, json!({}));
    found.made = None;
    let decision = decided(None, None, Some(found));
    assert!(decision.writes.is_empty());
    assert!(decision.warnings[0].contains("users"), "{decision:?}");
}

#[test]
fn an_older_store_is_brought_forward_and_a_newer_one_left_alone() {
    let new = || Some(kept("u1", 5, json!({"port": 9000})));
    let decision = decided(Some(agent("u1", 3, json!({}))), new(), None);
    let (written, expected, _) = restored(&decision);
    assert_eq!(
        (written.spec.port.0, expected),
        (9000, Some(ResourceVersion(7)))
    );
    for generation in [5, 6] {
        let decision = decided(Some(agent("u1", generation, json!({}))), new(), None);
        assert_eq!(decision.writes, []);
        assert_eq!(decision.results[0].outcome, RecoverOutcome::Unchanged);
    }
}

#[test]
fn an_agent_that_was_made_since_under_that_name_is_left_alone() {
    let decision = decided(
        Some(agent("u2", 1, json!({}))),
        Some(kept("u1", 5, json!({}))),
        None,
    );
    assert_eq!(decision.writes, []);
    assert_eq!(decision.results[0].outcome, RecoverOutcome::Skipped);
}

#[test]
fn the_container_is_asked_only_when_nobody_else_knows() {
    let found = found("u1", 2, json!({}));
    let of = |uid, generation| agent(uid, generation, json!({}));
    assert!(needs_container(&found, None, None));
    assert!(needs_container(&found, Some(&of("u1", 1)), None));
    assert!(needs_container(
        &found,
        None,
        Some(&kept("u0", 9, json!({})))
    ));
    assert!(!needs_container(&found, Some(&of("u1", 2)), None));
    assert!(!needs_container(
        &found,
        None,
        Some(&kept("u1", 2, json!({})))
    ));
}

#[test]
fn law_8_how_a_rollout_stood_comes_back_with_the_spec() {
    let kept = || kept("u1", 5, json!({"args": ["bad"]}));
    let running = found("u1", 4, json!({}));
    let decision = decided(None, Some(kept()), Some(running));
    let (agent, _, revisions) = restored(&decision);
    assert_eq!(agent.status, kept().agent.status);
    let failed = agent.status.rollout.failed.as_ref().unwrap();
    assert_eq!(failed.revision, agent.revision());
    assert_eq!(revisions, [record("v1:good", 1), record("v1:bad", 2)]);

    // An older store's own status goes on, but for that.
    let mut older = agent_at(3);
    older.status.ready_replicas = 2;
    older.status.rollout.last_good = Some(Revision("v1:older".to_owned()));
    let decision = decided(Some(older.clone()), Some(kept()), None);
    let (agent, expected, revisions) = restored(&decision);
    assert_eq!(agent.status.ready_replicas, 2);
    assert_eq!(agent.status.rollout, kept().agent.status.rollout);
    assert_eq!((expected, revisions.len()), (Some(ResourceVersion(7)), 2));

    // A snapshot of an earlier version remembers nothing, and takes nothing away.
    let mut bare = kept();
    (bare.agent.status, bare.revisions) = Default::default();
    let decision = decided(Some(older.clone()), Some(bare), None);
    assert_eq!(restored(&decision).0.status, older.status);

    // A newer store knows better.
    for generation in [5, 6] {
        let decision = decided(Some(agent_at(generation)), Some(kept()), None);
        assert_eq!(decision.writes, []);
    }
}

fn agent_at(generation: u64) -> Agent {
    agent("u1", generation, json!({}))
}

#[test]
fn law_8_from_later_containers_an_older_snapshot_of_that_life_still_tells_what_was_good() {
    let decision = decided(
        None,
        Some(kept("u1", 3, json!({"env": {"KEY": "old"}}))),
        Some(Found {
            revisions: 2,
            ..found("u1", 4, json!({"env": {"KEY": "new"}}))
        }),
    );
    assert_eq!(decision.results[0].warnings, [""; 0]);
    let (agent, _, revisions) = restored(&decision);
    let good = Some(Revision("v1:good".to_owned()));
    assert_eq!(
        (&agent.status.rollout.last_good, revisions.len()),
        (&good, 2)
    );
    // Another life's tells nothing of this one.
    let decision = decided(
        None,
        Some(kept("u0", 3, json!({}))),
        Some(found("u1", 4, json!({}))),
    );
    let (agent, _, revisions) = restored(&decision);
    assert_eq!(agent.status, Default::default());
    assert_eq!(revisions, []);
}

#[test]
fn law_8_a_snapshot_that_is_older_than_the_store_takes_nothing_from_it() {
    let mut live = agent_at(5);
    live.metadata.labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
    live.status.revision = Some(live.revision());
    live.status.rollout.last_good = Some(live.revision());
    live.status.rollout.progress = 4;
    let decision = decided(
        Some(live.clone()),
        Some(kept("u1", 3, json!({"env": {"KEY": "old"}}))),
        Some(found("u1", 6, json!({"env": {"KEY": "new"}}))),
    );
    let (agent, _, revisions) = restored(&decision);
    assert_eq!(agent.spec.env["KEY"].as_str(), "new");
    assert_eq!(agent.metadata.labels, live.metadata.labels);
    assert_eq!(agent.status, live.status);
    assert_eq!(revisions, []);
}
