//! What happens: a catalogue of stories, each from an empty host, or nearly, to an end that is known.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::world::{World, s};

/// A story: what operator and somebody's hand do. Faults may strike at any moment of it.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// Whether how far it goes is a matter of time, so that a fault may change how many containers are made.
    pub races: bool,
    pub play: for<'a> fn(&'a mut World) -> BoxFuture<'a, ()>,
}

const fn races(name: &str) -> bool {
    matches!(
        name.as_bytes(),
        b"undo" | b"failed_roll" | b"crashing_roll" | b"silent" | b"crash_loop" | b"removed"
    )
}

impl Scenario {
    /// Whether it is told with two servers too, one fault at each moment: something is drained, or must be made once.
    pub fn for_two(&self) -> bool {
        const TOLD: [&str; 9] = [
            "create",
            "scale_down",
            "roll",
            "recreate",
            "undo",
            "delete_and_make_again",
            "stop_and_start",
            "removed",
            "network_loss",
        ];
        TOLD.contains(&self.name)
    }
}

/// How long one step may take: longer than any rest after a failure.
const LIMIT: std::time::Duration = s(420);

macro_rules! scenarios {
    ($($name:ident $world:ident $play:block)*) => {
        /// All of them.
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: stringify!($name),
            races: races(stringify!($name)),
            play: |$world| Box::pin(async move $play),
        }),*];
    };
}

fn blue(replicas: u32) -> Value {
    json!({"image": "users", "replicas": replicas, "env": {"COLOUR": "blue"}, "drain": {"timeout": "5s"}})
}

fn red(replicas: u32) -> Value {
    json!({"image": "users", "replicas": replicas, "drain": {"timeout": "5s"}})
}

fn writes(colour: &str) -> Value {
    json!({"image": "users", "env": {"COLOUR": colour}, "volumes": [{"name": "data", "container": "/data"}], "drain": {"timeout": "2s"}})
}

async fn first(world: &World, agent: &str) -> agentainer::observed::ContainerId {
    let all = world.containers(agent);
    all.first().map_or_else(
        || agentainer::observed::ContainerId("none".to_owned()),
        |container| container.id.clone(),
    )
}

scenarios! {
    create world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
    }
    scale_up world {
        world.apply("users", red(1)).await;
        world.matched(LIMIT).await;
        world.apply("users", red(3)).await;
        world.matched(LIMIT).await;
    }
    scale_down world {
        world.apply("users", red(3)).await;
        world.matched(LIMIT).await;
        world.apply("users", red(1)).await;
        world.matched(LIMIT).await;
        world.apply("users", red(0)).await;
        world.matched(LIMIT).await;
    }
    roll world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
        world.apply("users", blue(2)).await;
        world.matched(LIMIT).await;
    }
    roll_within world {
        let spec = |colour: &str| json!({
            "image": "users", "replicas": 2, "env": {"COLOUR": colour}, "drain": {"timeout": "2s"},
            "strategy": {"maxSurge": 0, "maxUnavailable": 1},
        });
        world.apply("users", spec("red")).await;
        world.matched(LIMIT).await;
        world.apply("users", spec("blue")).await;
        world.matched(LIMIT).await;
    }
    recreate world {
        world.apply("users", writes("red")).await;
        world.matched(LIMIT).await;
        world.apply("users", writes("blue")).await;
        world.matched(LIMIT).await;
    }
    failed_roll world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
        let mut bad = red(2);
        bad["image"] = json!("sick");
        world.apply("users", bad).await;
        world.rest(s(20)).await;
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
    }
    crashing_roll world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
        let mut bad = red(2);
        bad["image"] = json!("crash");
        world.apply("users", bad).await;
        world.rest(s(20)).await;
        world.apply("users", blue(2)).await;
        world.matched(LIMIT).await;
    }
    undo world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
        world.apply("users", blue(2)).await;
        world.rest(s(1)).await;
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
    }
    delete world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
        world.delete("users").await;
        world.matched(LIMIT).await;
    }
    delete_and_make_again world {
        world.apply("users", red(1)).await;
        world.matched(LIMIT).await;
        world.delete("users").await;
        world.matched(LIMIT).await;
        world.apply("users", blue(1)).await;
        world.matched(LIMIT).await;
    }
    stop_and_start world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
        let mut stopped = red(2);
        stopped["state"] = json!("stopped");
        world.apply("users", stopped).await;
        world.matched(LIMIT).await;
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
    }
    rename_drift world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
        let id = first(world, "users").await;
        world.hand(|engine| engine.rename_by_hand(&id, "renamed"));
        // By the event, or by the resync.
        for _ in 0..150 {
            world.rest(s(1)).await;
            if world.names_are_right("users") {
                break;
            }
        }
        world.matched(LIMIT).await;
    }
    limits_drift world {
        world.apply("users", red(1)).await;
        world.matched(LIMIT).await;
        let id = first(world, "users").await;
        world.hand(|engine| engine.update_by_hand(&id, agentainer::observed::Limits::default()));
        world.rest(s(1)).await;
        world.matched(LIMIT).await;
    }
    killed world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
        let id = first(world, "users").await;
        world.hand(|engine| engine.kill_by_hand(&id));
        world.rest(s(1)).await;
        world.matched(LIMIT).await;
    }
    removed world {
        world.apply("users", red(1)).await;
        world.matched(LIMIT).await;
        let id = first(world, "users").await;
        world.hand(|engine| engine.remove_by_hand(&id));
        world.rest(s(1)).await;
        world.matched(LIMIT).await;
    }
    paused_by_hand world {
        world.apply("users", red(1)).await;
        world.matched(LIMIT).await;
        let id = first(world, "users").await;
        world.hand(|engine| engine.pause_by_hand(&id));
        world.rest(s(1)).await;
        world.matched(LIMIT).await;
    }
    dependency world {
        let mut needs = red(1);
        needs["dependsOn"] = json!(["auth"]);
        world.apply("users", needs).await;
        world.rest(s(2)).await;
        world.apply("auth", json!({"drain": {"timeout": "2s"}})).await;
        world.matched(LIMIT).await;
    }
    crash_loop world {
        world.apply("users", red(1)).await;
        world.matched(LIMIT).await;
        for _ in 0..4 {
            let id = first(world, "users").await;
            world.hand(|engine| engine.exit(&id, 3));
            world.rest(s(3)).await;
        }
        world.matched(LIMIT).await;
    }
    network_loss world {
        world.apply("users", red(2)).await;
        world.apply("auth", json!({})).await;
        world.matched(LIMIT).await;
        let network = world.port.look_at_network().map(|network| network.id);
        if let Some(network) = network {
            world.hand(|engine| engine.remove_network_by_hand(&network));
        }
        world.rest(s(1)).await;
        world.matched(LIMIT).await;
    }
    disconnected world {
        world.apply("users", red(2)).await;
        world.matched(LIMIT).await;
        let id = first(world, "users").await;
        let network = world.port.look_at_network().map(|network| network.id);
        if let Some(network) = network {
            world.hand(|engine| engine.disconnect_by_hand(&id, &network));
        }
        world.rest(s(1)).await;
        world.matched(LIMIT).await;
    }
    silent world {
        let mut checked = red(2);
        checked["healthCheck"] = json!({"interval": "2s", "retries": 2, "timeout": "1s"});
        world.apply("users", checked).await;
        world.matched(LIMIT).await;
        world.shared.programs.lock().agent("users", crate::programs::Health::Silent);
        world.rest(s(15)).await;
        world.shared.programs.lock().heal();
        world.rest(s(1)).await;
        world.matched(LIMIT).await;
    }
    another_check world {
        let checked = |path: &str| {
            let mut checked = red(2);
            checked["healthCheck"] = json!({"endpoint": path, "interval": "2s", "retries": 2, "timeout": "1s"});
            checked
        };
        world.apply("users", checked("/health")).await;
        world.matched(LIMIT).await;
        world.apply("users", checked(crate::programs::WRONG)).await;
        world.rest(s(5)).await;
        // All serve, though none answers the new one well, and one that is lost is made again.
        world.matched(LIMIT).await;
        let id = first(world, "users").await;
        world.hand(|engine| engine.remove_by_hand(&id));
        world.rest(s(1)).await;
        world.matched(LIMIT).await;
        world.apply("users", checked("/health")).await;
        world.matched(LIMIT).await;
    }
    two_agents_take_turns world {
        world.apply("users", red(2)).await;
        world.apply("auth", json!({"replicas": 2, "drain": {"timeout": "1s"}})).await;
        world.matched(LIMIT).await;
        world.delete("users").await;
        world.apply("auth", json!({"replicas": 3, "env": {"A": "b"}, "drain": {"timeout": "1s"}})).await;
        world.matched(LIMIT).await;
        world.apply("users", red(3)).await;
        world.delete("auth").await;
        world.matched(LIMIT).await;
    }
}
