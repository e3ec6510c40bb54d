//! Rollouts that fail, go back by themselves, are held; the history of revisions.

use agentainer::agent::status::{RolloutState, condition};
use agentainer::agent::{Phase, REVISIONS_KEPT};
use agentainer::keys::ROLLOUT_PAUSED;
use agentainer::observed::{Container, ContainerState};
use agentainer::probe::Outcome;
use agentainer::store::AgentStore;
use serde_json::{Value, json};

use crate::world::{World, s};

/// A world in which what has `COLOUR=bad` never gets ready, and an agent that is good.
pub async fn with_good(seed: u64, more: Value) -> World {
    let mut world = World::new(seed).await;
    let engine = world.engine.clone();
    world.answer(move |container| {
        let mut environment = engine.environment(&container.id).into_iter();
        if environment.any(|(name, value)| name == "COLOUR" && value == "bad") {
            Outcome::NotReady("GET /health answered 500".to_owned())
        } else {
            Outcome::Ready
        }
    });
    world.apply("users", spec("good", &more)).await;
    world.settle_within(s(10)).await;
    world
}

pub fn spec(colour: &str, more: &Value) -> Value {
    let mut spec = json!({"replicas": 2, "env": {"COLOUR": colour}});
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    spec
}

fn colour(world: &World, container: &Container) -> String {
    let mut environment = world.engine.environment(&container.id).into_iter();
    environment.find(|(name, _)| name == "COLOUR").unwrap().1
}

pub async fn state(world: &World) -> RolloutState {
    world.status("users").await.rollout.state
}

/// The colours of all containers, sorted.
pub fn colours(world: &World) -> Vec<String> {
    let all = world.containers("users");
    let mut all: Vec<String> = all.iter().map(|one| colour(world, one)).collect();
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn law_8_a_failed_rollout_keeps_what_was_good_whole_and_reverting_is_as_if_nothing_had_been()
{
    let more = json!({"strategy": {"progressDeadline": "30s"}});
    let mut world = with_good(300, more.clone()).await;
    let before = world.untouched("users");
    world.apply("users", spec("bad", &more)).await;
    let took = world
        .until(s(60), "it failed", async |world| {
            state(world).await == RolloutState::Failed
        })
        .await;
    assert!(took >= s(29) && took <= s(35), "{took:?}");
    let (reason, message) = world.said("users", condition::PROGRESSING).await.unwrap();
    assert_eq!(reason, "ProgressDeadlineExceeded", "{message}");
    assert_eq!(colours(&world), ["bad", "good", "good"]);
    // Somebody removes one of the good: it is made again as it was, with its own environment and image.
    let victim = world
        .containers("users")
        .into_iter()
        .find(|one| one.identity.ordinal == 1 && colour(&world, one) == "good");
    world.engine.remove_by_hand(&victim.unwrap().id);
    world
        .until(s(10), "it is made again", async |world| {
            colours(world) == ["bad", "good", "good"] && world.ready("users") == 2
        })
        .await;
    let three = spec(
        "bad",
        &json!({"replicas": 3, "strategy": {"progressDeadline": "30s"}}),
    );
    world.apply("users", three).await;
    world
        .until(s(10), "more of what is good", async |world| {
            colours(world) == ["bad", "good", "good", "good"] && world.ready("users") == 3
        })
        .await;
    world.apply("users", spec("good", &more)).await;
    world.settle_within(s(60)).await;
    let after = world.untouched("users");
    assert_eq!((&after[0].0, after[0].1), (&before[0].0, before[0].1));
    assert_eq!(state(&world).await, RolloutState::Complete);
}

#[tokio::test(start_paused = true)]
async fn law_8_it_goes_back_by_itself_and_the_same_manifest_again_changes_nothing() {
    let more = json!({"strategy": {"progressDeadline": "30s", "rollback": true}});
    let mut world = with_good(301, more.clone()).await;
    world.apply("users", spec("bad", &more)).await;
    world
        .until(s(90), "it went back", async |world| {
            state(world).await == RolloutState::RolledBack && colours(world) == ["good", "good"]
        })
        .await;
    let status = world.status("users").await;
    assert!(status.is_ready());
    assert_eq!(status.phase, Phase::Degraded);
    assert!(status.condition(condition::ROLLED_BACK).is_some());
    let agent = world.agent("users").await.unwrap();
    assert_eq!(
        agent.spec.env["COLOUR"].as_str(),
        "bad",
        "the spec is its user's"
    );
    // A manifest applied again and again, a server started anew, time: nothing.
    tokio::time::sleep(s(12)).await;
    let calls = world.calls.len();
    world.apply("users", spec("bad", &more)).await;
    world.restart().await;
    tokio::time::sleep(s(600)).await;
    let writes = world.calls.writes_since(calls);
    assert!(writes.iter().all(|call| !call.engine), "{writes:?}");
    assert_eq!(colours(&world), ["good", "good"]);
    // What is lost is made again of what was good.
    world
        .engine
        .remove_by_hand(&world.containers("users")[1].id);
    world
        .until(s(10), "it is made again", async |world| {
            world.ready("users") == 2 && colours(world) == ["good", "good"]
        })
        .await;
    // A restart tries it again, and another revision is rolled out.
    world.roll("users").await;
    world
        .until(s(10), "it is tried", async |world| {
            colours(world).contains(&"bad".to_owned())
        })
        .await;
    world.apply("users", spec("better", &more)).await;
    world.settle_within(s(60)).await;
    assert_eq!(colours(&world), ["better", "better"]);
    assert_eq!(
        world
            .status("users")
            .await
            .condition(condition::ROLLED_BACK),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn law_8_a_crash_loop_and_an_image_that_is_not_there_go_back_too() {
    let more = json!({"strategy": {"rollback": true}});
    let mut world = with_good(302, more.clone()).await;
    let crash = world.engine.add_image("crash");
    let ends = crate::fake_runtime::Program::Ends {
        after: s(1),
        code: 3,
    };
    world.engine.set_program(&crash, ends);
    for image in ["crash", "nowhere"] {
        let more = json!({"image": image, "strategy": {"rollback": true}});
        world.apply("users", spec("bad", &more)).await;
        let took = world
            .until(s(200), "it went back", async |world| {
                state(world).await == RolloutState::RolledBack && colours(world) == ["good", "good"]
            })
            .await;
        assert!(image == "nowhere" || took < s(90), "{took:?}");
        assert_eq!(world.ready("users"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn law_6_what_was_good_is_healed_while_the_store_is_away() {
    for (seed, rollback) in [(310, true), (311, false)] {
        let more = json!({"strategy": {"rollback": rollback}});
        let mut world = with_good(seed, more.clone()).await;
        // Its image cannot be had; with `rollback` it goes back, and without it never begins.
        let bad = json!({"image": "missing:1", "strategy": {"rollback": rollback, "progressDeadline": "30s"}});
        world.apply("users", spec("bad", &bad)).await;
        let wanted = if rollback {
            RolloutState::RolledBack
        } else {
            RolloutState::Failed
        };
        world
            .until(s(90), "it failed", async |world| {
                state(world).await == wanted
            })
            .await;
        tokio::time::sleep(s(5)).await;
        let before = world.containers("users");
        world
            .calls
            .judge(|call| (!call.engine).then_some(crate::calls::Trouble::Fails));
        tokio::time::sleep(s(20)).await;
        world.engine.kill_by_hand(&before[0].id);
        world
            .until(s(5), "it runs again", async |world| {
                let all = world.containers("users");
                let run = |one: &Container| one.state == ContainerState::Running;
                all.iter().all(run) && world.ready("users") == 2
            })
            .await;
        tokio::time::sleep(s(40)).await;
        world.calls.heal();
        tokio::time::sleep(s(60)).await;
        let ids = |all: Vec<Container>| all.into_iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(ids(world.containers("users")), ids(before));
        assert_eq!(state(&world).await, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn time_without_a_server_counts_for_no_deadline() {
    let more = json!({"strategy": {"progressDeadline": "30s", "rollback": true}});
    let mut world = with_good(303, more.clone()).await;
    world.apply("users", spec("bad", &more)).await;
    tokio::time::sleep(s(5)).await;
    world.kill().await;
    tokio::time::sleep(s(600)).await;
    world.serve().await;
    tokio::time::sleep(s(25)).await;
    assert_eq!(state(&world).await, RolloutState::Progressing);
    world
        .until(s(30), "it went back", async |world| {
            state(world).await == RolloutState::RolledBack
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_held_rollout_begins_when_it_is_resumed() {
    let mut world = with_good(304, json!({})).await;
    let hold = |held: bool| {
        move |agent: &mut agentainer::agent::Agent| {
            let annotations = &mut agent.metadata.annotations;
            if held {
                annotations.insert(ROLLOUT_PAUSED.to_owned(), "true".to_owned());
            } else {
                annotations.remove(ROLLOUT_PAUSED);
            }
        }
    };
    world.write("users", hold(true)).await;
    world.apply("users", spec("blue", &json!({}))).await;
    tokio::time::sleep(s(300)).await;
    assert_eq!(colours(&world), ["good", "good"]);
    assert_eq!(state(&world).await, RolloutState::Paused);
    world
        .engine
        .remove_by_hand(&world.containers("users")[0].id);
    world
        .until(s(10), "it is healed", async |world| {
            world.ready("users") == 2 && colours(world) == ["good", "good"]
        })
        .await;
    world.write("users", hold(false)).await;
    world.settle_within(s(60)).await;
    assert_eq!(colours(&world), ["blue", "blue"]);
}

#[tokio::test(start_paused = true)]
async fn ten_revisions_are_kept_with_their_images_and_the_rest_is_let_go() {
    let mut world = World::new(305).await;
    let mut images = Vec::new();
    for number in 1..=13 {
        let image = format!("users-{number}");
        images.push(world.engine.add_image(&image));
        world.apply("users", json!({"image": image})).await;
        world.settle_within(s(60)).await;
        // Its own name goes to another build, say: ours alone keeps it.
        world.engine.untag_by_hand(&format!("{image}:latest"));
    }
    let uid = world.agent("users").await.unwrap().metadata.uid;
    let records = world.store.revisions(&uid).await.unwrap();
    let mut numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (4..=13).collect::<Vec<_>>());
    assert_eq!(numbers.len(), REVISIONS_KEPT);
    for (place, image) in images.iter().enumerate() {
        let kept = world.engine.image_id(&image.0).is_some();
        assert_eq!(kept, place >= 3, "image {}", place + 1);
    }
    assert_eq!(world.status("users").await.rollout.number, 13);
    // Going back makes the old one the latest, and its image is there.
    world.apply("users", json!({"image": "users-5"})).await;
    world.settle_within(s(60)).await;
    assert_eq!(world.only("users").image, images[4]);
    assert_eq!(world.status("users").await.rollout.number, 14);
    // With the agent go all our names for its images; other names stay.
    let other = world.engine.add_image("theirs");
    world.delete("users").await;
    world
        .until(s(90), "it is gone", async |world| {
            world.agent("users").await.is_none()
        })
        .await;
    for (place, image) in images.iter().enumerate() {
        assert_eq!(world.engine.image_id(&image.0), None, "image {}", place + 1);
    }
    assert!(world.engine.image_id(&other.0).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_fails_later_stops_nobody() {
    let mut world = World::new(306).await;
    world.apply("users", json!({"dependsOn": ["auth"]})).await;
    tokio::time::sleep(s(5)).await;
    assert_eq!(world.containers("users"), [], "it waits for its first time");
    world.apply("auth", json!({})).await;
    world.settle_within(s(20)).await;
    let auth = world.only("auth").id;
    let sick = auth.clone();
    world.answer(move |container| {
        if container.id == sick {
            Outcome::NotReady("GET /health answered 503".to_owned())
        } else {
            Outcome::Ready
        }
    });
    world
        .until(s(60), "the dependency fails", async |world| {
            !world.status("auth").await.is_ready()
        })
        .await;
    assert!(world.status("users").await.is_ready());
    world.engine.remove_by_hand(&world.only("users").id);
    world
        .until(s(10), "it is made again", async |world| {
            world.ready("users") == 1
        })
        .await;
    let more = json!({"dependsOn": ["auth"], "replicas": 2, "env": {"A": "b"}});
    world.apply("users", more).await;
    world
        .until(s(60), "it scales and rolls", async |world| {
            world.ready("users") == 2 && world.status("users").await.is_ready()
        })
        .await;
    // From nothing, too: it was there once.
    world
        .apply("users", json!({"dependsOn": ["auth"], "replicas": 0}))
        .await;
    world
        .until(s(60), "all are gone", async |world| {
            world.containers("users").is_empty()
        })
        .await;
    world.apply("users", json!({"dependsOn": ["auth"]})).await;
    world
        .until(s(10), "it comes again", async |world| {
            world.ready("users") == 1
        })
        .await;
}
