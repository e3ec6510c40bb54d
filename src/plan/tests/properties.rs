//! The planner against generated worlds. A failure prints its smallest case and the seed to repeat it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::fixture::*;
use super::generators::*;
use super::world::{Program, Sim, World};
use crate::agent::spec::DesiredState;
use crate::agent::{AgentSpec, Phase, Revision};
use crate::observed::*;

/// Passes until a world of at most a dozen containers must be settled.
const BOUND: usize = 600;

fn world(spec: AgentSpec, sims: Vec<Sim>) -> World {
    let agent = agent(spec);
    let asked = agent.revision();
    let mut world = World::new(agent);
    world.tombstones.insert(uid("dead"));
    world.sims = sims;
    for sim in &mut world.sims {
        if sim.seen.identity.revision.0 == "v1:asked" {
            sim.seen.identity.revision = asked.clone();
        }
    }
    world
}

/// Whether strangers that may write to the agent's volumes hold it up for good.
fn held_up(world: &World) -> bool {
    let agent = world.agent.as_ref().unwrap();
    agent.spec.strategy_kind() == crate::agent::spec::StrategyKind::Recreate
        && world
            .sims
            .iter()
            .any(|sim| sim.seen.identity.uid == uid("unknown"))
}

fn matches_spec(world: &World) -> Result<(), TestCaseError> {
    let agent = world.agent.as_ref().unwrap();
    let asked = agent.revision();
    let (spec, status) = (&agent.spec, &agent.status);
    let state = |sim: &&Sim| sim.seen.state;
    let present = || {
        world
            .own()
            .filter(|sim| sim.seen.state != ContainerState::Dead)
    };
    let mut ordinals: BTreeMap<u32, Vec<&Sim>> = BTreeMap::new();
    for sim in present() {
        ordinals
            .entry(sim.seen.identity.ordinal)
            .or_default()
            .push(sim);
    }
    prop_assert!(
        ordinals.keys().all(|ordinal| *ordinal < spec.replicas.0),
        "surplus: {ordinals:#?}"
    );
    match spec.state {
        DesiredState::Stopped => {
            prop_assert!(present().all(|sim| !matches!(
                state(&sim),
                ContainerState::Running | ContainerState::Paused
            )));
            prop_assert_eq!(status.phase, Phase::Stopped);
        }
        DesiredState::Paused => {
            let recreate = spec.strategy_kind() == crate::agent::spec::StrategyKind::Recreate;
            let frozen = |sim: &Sim| {
                let other = sim.seen.identity.revision != asked;
                other && sim.seen.state == ContainerState::Paused
            };
            let beside_old = recreate && present().any(frozen);
            prop_assert!(
                // Nothing is replaced while frozen: what never ran, and an old one that ended, may stay.
                present().all(|sim| match state(&sim) {
                    ContainerState::Paused | ContainerState::Created => true,
                    // Nor is one of the asked revision started beside another that may write to the same volumes.
                    ContainerState::Exited => sim.seen.identity.revision != asked || beside_old,
                    _ => false,
                }),
                "{:#?}",
                ordinals
            );
        }
        DesiredState::Running => {
            prop_assert_eq!(ordinals.len(), usize::try_from(spec.replicas.0).unwrap());
            for sims in ordinals.values() {
                prop_assert_eq!(sims.len(), 1, "{:#?}", sims);
                let seen = &sims[0].seen;
                prop_assert_eq!(
                    (seen.state, &seen.identity.revision),
                    (ContainerState::Running, &asked)
                );
                let attached = seen
                    .attachment
                    .as_ref()
                    .map(|attachment| &attachment.network);
                prop_assert_eq!(attached, world.network.as_ref().map(|network| &network.id));
                prop_assert_eq!(seen.limits.memory, 0);
            }
            prop_assert_eq!(status.is_ready(), spec.replicas.0 > 0, "{:#?}", status);
        }
    }
    Ok(())
}

/// As many cases as `PROPTEST_CASES` says, else a number that takes a few seconds.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: if usual.cases == 256 { 100 } else { usual.cases },
        failure_persistence: None,
        ..usual
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn law_1_any_odd_world_comes_to_match_and_stays(spec in specs(), sims in containers(), faults in faults()) {
        let mut world = world(spec, sims);
        for fault in faults {
            world.run_for(Duration::from_secs(1));
            strike(&mut world, fault);
        }
        world.settle(BOUND);
        if !held_up(&world) {
            matches_spec(&world)?;
        }
        let before = world.agent.clone();
        world.advance(world.now + Duration::from_secs(100_000));
        world.told.clear();
        let plan = world.pass(usize::MAX);
        prop_assert_eq!(&world.told, &[]);
        prop_assert_eq!(words(&plan), nothing());
        prop_assert_eq!(plan.recheck, None);
        prop_assert_eq!(before.unwrap().status, world.agent.unwrap().status);
    }

    #[test]
    fn no_plan_panics_or_does_harm(
        spec in wild_specs(),
        sims in containers(),
        programs in prop::collection::vec(programs(), 3),
        faults in faults(),
        deleted in any::<bool>(),
        gone in 0_u8..5,
    ) {
        let mut world = world(spec, sims);
        let asked = world.agent.as_ref().unwrap().revision();
        for (revision, program) in [asked, Revision("v1:b".into()), Revision("v1:c".into())].into_iter().zip(programs) {
            world.programs.insert(revision, program);
        }
        if deleted && let Some(agent) = &mut world.agent {
            agent.metadata.deletion_timestamp = Some(at(-1));
        }
        if gone == 0 {
            world.agent = None;
        }
        for fault in faults {
            world.run_for(Duration::from_secs(3));
            strike(&mut world, fault);
        }
        world.run_for(Duration::from_secs(400));
    }

    #[test]
    fn law_6_frozen_never_takes_anything_away(spec in wild_specs(), sims in containers(), deleted in any::<bool>()) {
        let mut world = world(spec, sims);
        if deleted && let Some(agent) = &mut world.agent {
            agent.metadata.deletion_timestamp = Some(at(-1));
        }
        world.frozen = Some("the store is older than the containers".to_owned());
        let before: Vec<_> = world.sims.iter().map(|sim| (sim.seen.id.clone(), sim.seen.name.clone())).collect();
        world.run_for(Duration::from_secs(100));
        for (id, name) in before {
            let kept = world.sims.iter().find(|sim| sim.seen.id == id);
            let removing = |sim: &Sim| sim.passes.is_some();
            prop_assert!(kept.is_some_and(|sim| removing(sim) || sim.seen.name == name) || kept.is_none());
        }
    }

    #[test]
    fn a_deleted_agent_goes_with_all_its_containers(spec in specs(), sims in containers()) {
        let mut world = world(spec, sims);
        world.agent.as_mut().unwrap().metadata.deletion_timestamp = Some(at(-1));
        world.settle(BOUND);
        prop_assert!(world.agent.is_none());
        let left = |sim: &&Sim| sim.seen.identity.cluster.0 == "ours"
            && sim.seen.identity.agent.as_str() == "users"
            && sim.seen.state != ContainerState::Dead;
        prop_assert!(world.sims.iter().filter(left).all(|sim| sim.seen.identity.uid == uid("unknown")));
        let strangers = world.sims.iter().filter(|sim| sim.seen.identity.uid == uid("unknown"));
        prop_assert!(strangers.count() <= 7);
    }

    #[test]
    fn law_8_there_and_back_is_as_if_nothing_had_been(
        spec in specs(),
        program in programs(),
        stay in 0_u64..200,
        faults in faults(),
    ) {
        let a = AgentSpec { state: DesiredState::Running, ..spec };
        let b = AgentSpec { args: vec!["b".to_owned()], ..a.clone() };
        let mut world = world(a.clone(), Vec::new());
        let revision_b = agent(b.clone()).revision();
        world.programs.insert(revision_b, program);
        world.settle(BOUND);
        let fresh = shape(&world);

        change(&mut world, b);
        for fault in faults {
            world.run_for(Duration::from_secs(1));
            strike(&mut world, fault);
        }
        world.run_for(Duration::from_secs(stay));
        change(&mut world, a);
        world.settle(BOUND);
        matches_spec(&world)?;
        prop_assert_eq!(fresh, shape(&world));
        prop_assert!(told(&world, "RolloutComplete") <= 3, "{:#?}", world.told);
    }

    #[test]
    fn law_8_a_bad_revision_leaves_the_good_one_serving(
        spec in specs(),
        bad in programs(),
    ) {
        prop_assume!(bad != Program::Good);
        let mut a = AgentSpec { state: DesiredState::Running, volumes: Vec::new(), ..spec };
        a.strategy.kind = Some(crate::agent::spec::StrategyKind::Rolling);
        let b = AgentSpec { args: vec!["b".to_owned()], ..a.clone() };
        let mut world = world(a.clone(), Vec::new());
        world.programs.insert(agent(b.clone()).revision(), bad);
        world.settle(BOUND);
        change(&mut world, b);
        let floor = a.replicas.0.saturating_sub(a.strategy.max_unavailable.unwrap_or(0));
        for _ in 0..30 {
            world.run_for(Duration::from_secs(10));
            let status = &world.agent.as_ref().unwrap().status;
            prop_assert!(status.ready_replicas >= floor, "{:#?}", world.history);
            prop_assert!(!status.is_ready() || a.replicas.0 == 0);
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn law_8_rollback_restores_all_of_the_last_good_revision_and_stays(
        spec in specs(),
        bad in programs(),
        faults in faults(),
    ) {
        prop_assume!(bad != Program::Good && spec.replicas.0 > 0);
        let mut a = AgentSpec { state: DesiredState::Running, ..spec };
        a.strategy.rollback = true;
        let b = AgentSpec { args: vec!["b".to_owned()], ..a.clone() };
        let mut world = world(a.clone(), Vec::new());
        world.programs.insert(agent(b.clone()).revision(), bad);
        world.settle(BOUND);
        let fresh = shape(&world);
        change(&mut world, b.clone());
        for fault in faults {
            world.run_for(Duration::from_secs(3));
            strike(&mut world, fault);
        }
        world.run_for(Duration::from_secs(1000));
        world.settle(BOUND);
        prop_assert_eq!(&fresh, &shape(&world));
        let rollout = world.agent.as_ref().unwrap().status.rollout.clone();
        prop_assert_eq!(rollout.state, crate::agent::status::RolloutState::RolledBack);
        change(&mut world, b);
        world.settle(BOUND);
        prop_assert_eq!(&fresh, &shape(&world), "the same manifest again rolls nothing");
        change(&mut world, a);
        let plan = world.pass(usize::MAX);
        prop_assert!(plan.actions.iter().all(|one| one.action.word() == "keep-revision"));
        world.settle(BOUND);
        prop_assert_eq!(fresh, shape(&world));
    }

    #[test]
    fn law_8_a_first_revision_that_failed_is_tried_on_and_becomes_good(spec in specs(), bad in programs()) {
        prop_assume!(bad != Program::Good && spec.replicas.0 > 0);
        let first = AgentSpec { state: DesiredState::Running, ..spec };
        let mut world = world(first.clone(), Vec::new());
        world.programs.insert(agent(first).revision(), bad);
        world.run_for(Duration::from_secs(1000));
        let rollout = world.agent.as_ref().unwrap().status.rollout.clone();
        prop_assert_eq!(rollout.state, crate::agent::status::RolloutState::Failed);
        prop_assert!(!rollout.failed.unwrap().message.contains("undo"));
        prop_assert!((1..=2).contains(&told(&world, "RolloutFailed")), "{:#?}", world.told);
        let texts: BTreeSet<_> = world.told.iter().map(|turn| (turn.reason, &turn.message)).collect();
        prop_assert!(texts.len() <= 6, "many words for few things: {:#?}", texts);
        world.programs.clear();
        let soon = world.now + Duration::from_secs(1);
        for sim in world.sims.iter_mut().filter(|sim| sim.ready_at.is_some()) {
            (sim.ready_at, sim.dies_at) = (Some(soon), None);
        }
        world.settle(BOUND);
        matches_spec(&world)?;
        let agent = world.agent.as_ref().unwrap();
        let rollout = agent.status.rollout.clone();
        prop_assert_eq!(rollout.state, crate::agent::status::RolloutState::Complete);
        prop_assert_eq!((rollout.failed, rollout.progressed_at), (None, None));
        prop_assert_eq!(rollout.last_good, Some(agent.revision()));
        prop_assert_eq!(told(&world, "RolloutComplete"), 1);
    }

    #[test]
    fn law_1_a_held_rollout_goes_on_where_it_was(spec in specs(), stay in 0_u64..20, faults in faults()) {
        let a = AgentSpec { state: DesiredState::Running, ..spec };
        let b = AgentSpec { args: vec!["b".to_owned()], ..a.clone() };
        let mut world = world(a, Vec::new());
        world.settle(BOUND);
        change(&mut world, b);
        world.run_for(Duration::from_secs(stay));
        let key = crate::keys::ROLLOUT_PAUSED.to_owned();
        let annotations = |world: &mut World| std::mem::take(&mut world.agent.as_mut().unwrap().metadata.annotations);
        world.agent.as_mut().unwrap().metadata.annotations.insert(key, "true".to_owned());
        for fault in faults {
            world.run_for(Duration::from_secs(1));
            strike(&mut world, fault);
        }
        world.settle(BOUND);
        let replicas = world.agent.as_ref().unwrap().spec.replicas.0;
        prop_assert_eq!(world.agent.as_ref().unwrap().status.ready_replicas, replicas);
        annotations(&mut world);
        world.settle(BOUND);
        matches_spec(&world)?;
    }
}

/// How often people were told this.
fn told(world: &World, reason: &str) -> usize {
    let told = world.told.iter();
    told.filter(|turn| turn.reason == reason).count()
}

fn change(world: &mut World, spec: AgentSpec) {
    let agent = world.agent.as_mut().unwrap();
    agent.spec = spec;
    agent.metadata.generation += 1;
    // As the reconciler does: a changed spec starts afresh.
    world.failures.clear();
    world
        .images
        .retain(|_, state| matches!(state, ImageState::Resolved(_)));
}

/// What a world comes down to, however often its containers were replaced.
fn shape(world: &World) -> Vec<(u32, Revision, ContainerState, bool)> {
    let mut all: Vec<_> = world
        .own()
        .map(|sim| {
            let identity = &sim.seen.identity;
            (
                identity.ordinal,
                identity.revision.clone(),
                sim.seen.state,
                sim.seen.limits.memory == 0,
            )
        })
        .collect();
    all.sort();
    all
}
