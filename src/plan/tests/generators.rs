//! Generated specs, containers in every odd state, and faults.

use std::net::IpAddr;
use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::fixture::*;
use super::world::{Program, Sim, World};
use crate::agent::spec::{Replicas, RestartPolicy, Strategy as Rollout, StrategyKind, Volume};
use crate::agent::{AgentSpec, ClusterId, Revision};
use crate::observed::*;

/// A spec that can settle: what ends is started again.
pub(super) fn specs() -> impl Strategy<Value = AgentSpec> {
    let rollout = (0_u32..3, 0_u32..3, prop::option::of(any::<bool>()));
    (
        0_u32..4,
        0_u8..6,
        rollout,
        any::<bool>(),
        0_u64..3,
        0_u16..3,
    )
        .prop_map(
            |(replicas, state, (surge, unavailable, kind), volume, drain, port)| AgentSpec {
                replicas: Replicas(replicas),
                state: match state {
                    0 => crate::agent::spec::DesiredState::Stopped,
                    1 => crate::agent::spec::DesiredState::Paused,
                    _ => crate::agent::spec::DesiredState::Running,
                },
                strategy: Rollout {
                    kind: kind.map(|rolling| {
                        if rolling {
                            StrategyKind::Rolling
                        } else {
                            StrategyKind::Recreate
                        }
                    }),
                    max_surge: Some(surge),
                    max_unavailable: Some(unavailable),
                    ..Rollout::default()
                },
                volumes: if volume {
                    vec![Volume {
                        name: Some("data".to_owned()),
                        container: "/data".to_owned(),
                        ..Volume::default()
                    }]
                } else {
                    Vec::new()
                },
                drain: crate::agent::spec::Drain {
                    timeout: crate::agent::quantity::Span::seconds(drain * 20),
                },
                port: crate::agent::spec::Port(8000 + port),
                ..AgentSpec::default()
            },
        )
}

/// The same, with every policy and a health check: nothing is promised but that no plan panics or does harm.
pub(super) fn wild_specs() -> impl Strategy<Value = AgentSpec> {
    (specs(), 0_u8..3, any::<bool>(), any::<u64>()).prop_map(|(mut spec, policy, check, span)| {
        spec.restart.policy = match policy {
            0 => RestartPolicy::Always,
            1 => RestartPolicy::OnFailure,
            _ => RestartPolicy::No,
        };
        spec.restart.delay.millis = span;
        spec.drain.timeout.millis = span.rotate_left(7);
        spec.replicas = Replicas(if span % 7 == 0 {
            u32::MAX
        } else {
            spec.replicas.0
        });
        spec.health_check = check.then(|| crate::agent::spec::HealthCheck {
            retries: u32::try_from(span % 4).unwrap(),
            ..Default::default()
        });
        spec
    })
}

/// A container in any state that an engine was ever seen to report, of this life, a dead one, an unknown one, another
/// cluster or another agent.
pub(super) fn containers() -> impl Strategy<Value = Vec<Sim>> {
    let times = (0_i64..4, 0_i64..4, 0_i64..4);
    let one = (
        (0_u32..5, 1_u64..5, 0_u8..8, 0_u8..3),
        (0_u8..9, 0_u8..5, 0_u8..4, 0_u8..4),
        (times, 0_u64..3, any::<bool>(), -3_i64..200),
    );
    prop::collection::vec(one, 0..7).prop_map(|all| {
        let mut sims: Vec<Sim> = Vec::new();
        for ((ordinal, incarnation, life, revision), (state, net, naming, limits), rest) in all {
            let revision = Revision(format!("v1:{}", ["asked", "b", "c"][usize::from(revision)]));
            let mut seen = container(&revision, ordinal, incarnation);
            seen.id = ContainerId(format!("c{}", sims.len()));
            match life {
                0 => seen.identity.uid = uid("dead"),
                1 => seen.identity.uid = uid("unknown"),
                2 => seen.identity.cluster = ClusterId("theirs".to_owned()),
                3 => seen.identity.agent = name("auth"),
                _ => {}
            }
            match naming {
                0 => seen.name = "users".to_owned(),
                1 => seen.name = format!("odd-{}", sims.len()),
                _ => {}
            }
            if sims.iter().any(|other| other.seen.name == seen.name) {
                seen.name = format!("twice-{}", sims.len());
            }
            if limits == 0 {
                seen.limits = Limits {
                    nano_cpus: -1,
                    memory: i64::MAX,
                    pids: 0,
                };
            }
            sims.push(dress(seen, state, net, rest));
        }
        sims
    })
}

type Rest = ((i64, i64, i64), u64, bool, i64);

fn dress(
    mut seen: Container,
    state: u8,
    net: u8,
    ((made, started, ended), busy, ready, code): Rest,
) -> Sim {
    seen.state = [
        ContainerState::Created,
        ContainerState::Running,
        ContainerState::Running,
        ContainerState::Paused,
        ContainerState::Restarting,
        ContainerState::Exited,
        ContainerState::Removing,
        ContainerState::Dead,
        ContainerState::Unknown,
    ][usize::from(state)];
    // Unknown, long ago, just now, in a future that cannot be.
    let moment = |which: i64| {
        [None, Some(at(-5000)), Some(at(0)), Some(at(90_000))][usize::try_from(which).unwrap()]
    };
    (seen.created_at, seen.started_at) = (moment(made), moment(started));
    if seen.state == ContainerState::Exited && code != 77 {
        seen.exit = Some(Exit {
            code,
            oom_killed: code % 2 == 0,
            at: moment(ended),
        });
    }
    match (net, &mut seen.attachment) {
        (0, attachment) => *attachment = None,
        (1, Some(attachment)) => attachment.network = NetworkId("elsewhere".to_owned()),
        (2, Some(attachment)) => {
            attachment.aliases.clear();
            attachment.asked_ip = None;
        }
        (3, Some(attachment)) => attachment.ip = Some(IpAddr::V6("fd00::7".parse().unwrap())),
        _ => {}
    }
    let (state, running) = (seen.state, seen.state == ContainerState::Running);
    let mut sim = Sim::new(seen);
    let lasts = matches!(
        state,
        ContainerState::Restarting | ContainerState::Removing | ContainerState::Unknown
    );
    sim.passes = lasts.then(|| at(5));
    sim.in_flight = if running { busy } else { 0 };
    sim.finishes = (sim.in_flight > 0).then(|| at(9));
    let soon = at(0) + SignedDuration::from_secs(2);
    sim.ready_at = Some(if ready { at(-100) } else { soon });
    sim
}

/// What somebody else does to containers, and where a pass is cut short.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Kill(usize),
    Remove(usize),
    Pause(usize),
    Disconnect(usize),
    Rename(usize),
    Limits(usize),
    NetworkGone,
    CutShort(usize),
}

pub(super) fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let one = (0_u8..8, 0_usize..6).prop_map(|(kind, which)| match kind {
        0 => Fault::Kill(which),
        1 => Fault::Remove(which),
        2 => Fault::Pause(which),
        3 => Fault::Disconnect(which),
        4 => Fault::Rename(which),
        5 => Fault::Limits(which),
        6 => Fault::NetworkGone,
        _ => Fault::CutShort(which),
    });
    prop::collection::vec(one, 0..6)
}

pub(super) fn strike(world: &mut World, fault: Fault) {
    let now = world.now;
    let ids: Vec<ContainerId> = world.own().map(|sim| sim.seen.id.clone()).collect();
    let chosen = |which: usize| ids.get(which % ids.len().max(1)).cloned();
    let change = |world: &mut World, which: usize, change: &dyn Fn(&mut Container)| {
        if let Some(sim) = chosen(which).and_then(|id| world.sim(&id)) {
            change(&mut sim.seen);
        }
    };
    match fault {
        Fault::Kill(which) => {
            if let Some(id) = chosen(which) {
                world.end(&id, 137);
            }
        }
        Fault::Remove(which) => {
            if let Some(id) = chosen(which) {
                world.sims.retain(|sim| sim.seen.id != id);
            }
        }
        Fault::Pause(which) => change(world, which, &|seen| {
            if seen.state == ContainerState::Running {
                seen.state = ContainerState::Paused;
            }
        }),
        Fault::Disconnect(which) => change(world, which, &|seen| seen.attachment = None),
        Fault::Rename(which) => {
            let odd = format!("odd-{now}");
            change(world, which, &|seen| seen.name = odd.clone());
        }
        Fault::Limits(which) => change(world, which, &|seen| seen.limits.memory = 1),
        Fault::NetworkGone => {
            world.network = None;
            world.network_comes = Some(now + Duration::from_secs(2));
        }
        Fault::CutShort(most) => {
            world.pass(most);
        }
    }
}

pub(super) fn programs() -> impl Strategy<Value = Program> {
    (0_u8..5).prop_map(|which| match which {
        0 => Program::NeverReady,
        1 => Program::Crashes,
        2 => Program::DoesNotStart,
        3 => Program::NoImage,
        _ => Program::Good,
    })
}
