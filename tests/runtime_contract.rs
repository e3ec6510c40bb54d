//! What every container engine behind the port does alike: one suite, run against the fake and against real Docker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "common/docker.rs"]
mod docker;
#[path = "common/fake_runtime.rs"]
mod fake_runtime;
#[path = "common/image.rs"]
mod image;
#[path = "common/runtime_world.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use agentainer::observed::{ContainerState, Limits, NetworkId};
use agentainer::runtime::{LogQuery, RuntimeClass, RuntimeEvent};
use futures::StreamExt;
use world::{Hand, World, class, names, spec, within};

const GRACE: Duration = Duration::from_secs(10);

/// Each test once for either engine.
macro_rules! contract {
    ($($name:ident)*) => {
        mod on_the_fake {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::World::fake()).await;
            })*
        }
        mod on_docker {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::World::docker().await).await;
            })*
        }
    };
}

contract! {
    a_container_lives_from_its_creation_to_its_removal
    a_taken_name_is_a_conflict
    freezing_and_thawing_can_be_repeated
    a_frozen_container_is_stopped_without_waiting_out_the_grace_period
    what_somebody_else_does_is_seen_in_the_list_and_told_as_events
    the_network_is_made_found_and_removed
    one_address_is_given_once
    an_address_of_a_stopped_container_is_free
    a_container_can_leave_the_network_and_come_back
    leaving_the_network_names_the_agent
    a_container_can_take_the_agents_name
    limits_are_set_and_taken_away
    a_container_tells_what_it_was_made_from
    another_clusters_containers_are_never_listed
    images_are_found_by_name_and_id_and_kept_by_a_tag
    what_does_not_exist_is_not_found
    the_log_tells_standard_error_apart
    a_program_that_ends_leaves_its_code
    a_network_made_again_takes_its_old_containers_back
}

async fn a_container_lives_from_its_creation_to_its_removal(world: World) {
    let network = world.network().await;
    let address = world.address(&network, 0);
    let mut request = world.request("users", 0, 1, &network);
    request.address = Some(address);
    let id = world.runtime().create(&request).await.unwrap();

    let seen = world.only().await;
    assert_eq!((&seen.id, &seen.name), (&id, &request.name));
    assert_eq!(seen.identity, request.identity);
    assert_eq!((seen.state, seen.exit), (ContainerState::Created, None));
    assert_eq!((seen.started_at, seen.port), (None, Some(8000)));
    assert_eq!(seen.image, world.image());
    let attachment = seen.attachment.unwrap();
    assert_eq!(attachment.network, network.id);
    assert_eq!((attachment.ip, attachment.asked_ip), (None, Some(address)));
    assert_eq!(attachment.aliases, request.aliases);

    for _ in 0..2 {
        world.runtime().start(&id).await.unwrap();
        let seen = world.only().await;
        assert_eq!(seen.state, ContainerState::Running);
        assert!(seen.started_at.is_some());
        assert_eq!(seen.attachment.unwrap().ip, Some(address.into()));
    }
    for _ in 0..2 {
        world.runtime().stop(&id, GRACE).await.unwrap();
        let seen = world.only().await;
        assert_eq!(seen.state, ContainerState::Exited);
        assert_eq!(seen.exit.map(|exit| exit.code), Some(143));
        let attachment = seen.attachment.unwrap();
        assert_eq!((attachment.ip, attachment.asked_ip), (None, Some(address)));
    }
    world.runtime().start(&id).await.unwrap();
    assert_eq!(world.only().await.exit, None);
    for _ in 0..2 {
        world.runtime().remove(&id).await.unwrap();
        assert_eq!(world.runtime().list().await.unwrap(), []);
    }
}

async fn a_taken_name_is_a_conflict(world: World) {
    let network = world.network().await;
    let request = world.request("users", 0, 1, &network);
    world.runtime().create(&request).await.unwrap();
    let again = world.runtime().create(&request).await;
    assert_eq!(class(again), RuntimeClass::Conflict);
    let foreign = world.request("orders", 0, 1, &network);
    world.by_hand(Hand::Create(foreign.name.clone())).await;
    assert_eq!(
        class(world.runtime().create(&foreign).await),
        RuntimeClass::Conflict
    );
    let holder = world
        .runtime()
        .holder_of_name(&foreign.name)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(holder.identity, None);
}

async fn freezing_and_thawing_can_be_repeated(world: World) {
    let id = world.running("users", 0).await;
    for _ in 0..2 {
        world.runtime().pause(&id).await.unwrap();
        assert_eq!(world.only().await.state, ContainerState::Paused);
    }
    assert_eq!(world.only().await.exit, None);
    assert_eq!(
        class(world.runtime().start(&id).await),
        RuntimeClass::Conflict
    );
    for _ in 0..2 {
        world.runtime().unpause(&id).await.unwrap();
        assert_eq!(world.only().await.state, ContainerState::Running);
    }
    world.runtime().stop(&id, GRACE).await.unwrap();
    assert_eq!(
        class(world.runtime().pause(&id).await),
        RuntimeClass::Conflict
    );
    world.runtime().unpause(&id).await.unwrap();
}

async fn a_frozen_container_is_stopped_without_waiting_out_the_grace_period(world: World) {
    let id = world.running("users", 0).await;
    world.runtime().pause(&id).await.unwrap();
    let started = tokio::time::Instant::now();
    world
        .runtime()
        .stop(&id, Duration::from_secs(60))
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(world.only().await.state, ContainerState::Exited);
}

async fn what_somebody_else_does_is_seen_in_the_list_and_told_as_events(world: World) {
    let id = world.running("users", 0).await;
    let mut events = world.runtime().events().await.unwrap();
    let deeds = [
        (Hand::Pause(id.clone()), "pause", ContainerState::Paused),
        (
            Hand::Unpause(id.clone()),
            "unpause",
            ContainerState::Running,
        ),
        (Hand::Kill(id.clone()), "die", ContainerState::Exited),
    ];
    for (deed, word, state) in deeds {
        world.by_hand(deed).await;
        let told = within(async {
            loop {
                let event = events.next().await.unwrap().unwrap();
                if matches!(&event, RuntimeEvent::Container { action, .. } if action == word) {
                    return event;
                }
            }
        })
        .await;
        let RuntimeEvent::Container {
            agent, id: told_id, ..
        } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!((agent, &told_id), (world.agent("users"), &id));
        assert_eq!(world.only().await.state, state);
    }
    assert_eq!(world.only().await.exit.unwrap().code, 137);
    world.by_hand(Hand::Remove(id.clone())).await;
    within(async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if matches!(&event, RuntimeEvent::Container { action, .. } if action == "destroy") {
                return;
            }
        }
    })
    .await;
    assert_eq!(world.runtime().list().await.unwrap(), []);
}

async fn the_network_is_made_found_and_removed(world: World) {
    assert_eq!(world.runtime().network().await.unwrap(), None);
    let network = world.network().await;
    assert!(network.ours && network.addresses_owned);
    let subnet = network.subnet.unwrap();
    assert_eq!(network.gateway, subnet.hosts().next());
    assert_eq!(network.strangers.unwrap().prefix_len(), 24);
    assert!(network.members.is_empty());
    assert_eq!(
        world.runtime().network().await.unwrap(),
        Some(network.clone())
    );
    let twin = world
        .runtime()
        .create_network("10.99.16.0/20".parse().unwrap())
        .await;
    assert_eq!(class(twin), RuntimeClass::Conflict);

    let id = world.start(&world.request("users", 0, 1, &network)).await;
    let seen = world.runtime().network().await.unwrap().unwrap();
    assert_eq!(seen.members.keys().collect::<Vec<_>>(), [&id.0]);
    assert!(seen.members[&id.0].is_some());
    assert_eq!(
        class(world.runtime().remove_network(&network.id).await),
        RuntimeClass::Conflict
    );
    world.runtime().stop(&id, GRACE).await.unwrap();
    world.runtime().remove(&id).await.unwrap();
    for _ in 0..2 {
        world.runtime().remove_network(&network.id).await.unwrap();
    }
    assert_eq!(world.runtime().network().await.unwrap(), None);
}

async fn one_address_is_given_once(world: World) {
    let network = world.network().await;
    let mut first = world.request("users", 0, 1, &network);
    first.address = Some(world.address(&network, 0));
    let mut second = world.request("orders", 0, 1, &network);
    second.address = first.address;
    world.start(&first).await;
    let id = world.runtime().create(&second).await.unwrap();
    assert_eq!(
        class(world.runtime().start(&id).await),
        RuntimeClass::Conflict
    );
    let seen = world
        .runtime()
        .list_agent(&second.identity.agent)
        .await
        .unwrap();
    assert_eq!(seen.len(), 1);
    assert_ne!(seen[0].state, ContainerState::Running);
}

async fn an_address_of_a_stopped_container_is_free(world: World) {
    let network = world.network().await;
    let mut first = world.request("users", 0, 1, &network);
    first.address = Some(world.address(&network, 0));
    let id = world.start(&first).await;
    world.runtime().stop(&id, GRACE).await.unwrap();
    let mut second = world.request("orders", 0, 1, &network);
    second.address = first.address;
    world.start(&second).await;
    assert_eq!(
        class(world.runtime().start(&id).await),
        RuntimeClass::Conflict
    );
}

async fn a_container_can_leave_the_network_and_come_back(world: World) {
    let network = world.network().await;
    let id = world.start(&world.request("users", 0, 1, &network)).await;
    for _ in 0..2 {
        world.runtime().disconnect(&id, &network.id).await.unwrap();
        let seen = world.only().await;
        assert_eq!(
            (seen.state, seen.attachment),
            (ContainerState::Running, None)
        );
    }
    let address = world.address(&network, 5);
    let aliases = names([world.agent("users").as_str(), "users-0-1"]);
    world
        .runtime()
        .connect(&id, &network.id, &aliases, Some(address))
        .await
        .unwrap();
    let attachment = world.only().await.attachment.unwrap();
    assert_eq!(attachment.network, network.id);
    assert_eq!(attachment.ip, Some(address.into()));
    assert_eq!(attachment.aliases, aliases);
    let again = world
        .runtime()
        .connect(&id, &network.id, &aliases, None)
        .await;
    assert_eq!(class(again), RuntimeClass::Conflict);
    // The place on the network outlives a restart.
    world.runtime().stop(&id, GRACE).await.unwrap();
    world.runtime().start(&id).await.unwrap();
    assert_eq!(
        world.only().await.attachment.unwrap().ip,
        Some(address.into())
    );
    // One that does not run gets the new place instead.
    world.runtime().stop(&id, GRACE).await.unwrap();
    let other = world.address(&network, 6);
    world
        .runtime()
        .connect(&id, &network.id, &aliases, Some(other))
        .await
        .unwrap();
    world.runtime().start(&id).await.unwrap();
    assert_eq!(
        world.only().await.attachment.unwrap().ip,
        Some(other.into())
    );
}

async fn a_container_tells_what_it_was_made_from(world: World) {
    let network = world.network().await;
    let mut request = world.request("users", 0, 1, &network);
    request.spec = spec(serde_json::json!({
        "image": "users:1.4",
        "port": 9000,
        "env": {"KEY": "a=b c", "EMPTY": ""},
        "resources": {"memory": "64Mi"},
        "healthCheck": {"endpoint": "/health"},
    }));
    request.origin.owner = Some("mesh".to_owned());
    request.origin.restarted_at = Some("2026-01-01T00:00:00Z".to_owned());
    let id = world.runtime().create(&request).await.unwrap();
    let made = world.runtime().made_from(&id).await.unwrap().unwrap();
    assert_eq!(made.spec, request.spec);
    let value = |name: &str| made.spec.env[name].as_str().to_owned();
    assert_eq!(
        (value("KEY"), value("EMPTY")),
        ("a=b c".to_owned(), String::new())
    );
    assert_eq!(made.origin, request.origin);
    world.runtime().remove(&id).await.unwrap();
    assert_eq!(world.runtime().made_from(&id).await.unwrap(), None);
}

async fn leaving_the_network_names_the_agent(world: World) {
    let network = world.network().await;
    let id = world.start(&world.request("users", 0, 1, &network)).await;
    let mut events = world.runtime().events().await.unwrap();
    world
        .by_hand(Hand::Disconnect(id.clone(), network.id.clone()))
        .await;
    within(async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if let RuntimeEvent::Container { agent, action, .. } = event
                && action == "network disconnect"
                && agent == world.agent("users")
            {
                return;
            }
        }
    })
    .await;
    assert_eq!(world.only().await.attachment, None);
}

async fn a_container_can_take_the_agents_name(world: World) {
    let id = world.running("users", 0).await;
    let name = world.agent("users").to_string();
    assert_eq!(world.runtime().holder_of_name(&name).await.unwrap(), None);
    world.runtime().rename(&id, &name).await.unwrap();
    let holder = world
        .runtime()
        .holder_of_name(&name)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(holder.id, id);
    assert_eq!(holder.identity, Some(world.only().await.identity));
    assert_eq!(world.only().await.name, name);
    let network = world.runtime().network().await.unwrap().unwrap();
    let other = world
        .runtime()
        .create(&world.request("orders", 0, 1, &network))
        .await
        .unwrap();
    assert_eq!(
        class(world.runtime().rename(&other, &name).await),
        RuntimeClass::Conflict
    );
}

async fn limits_are_set_and_taken_away(world: World) {
    let network = world.network().await;
    let mut request = world.request("users", 0, 1, &network);
    request.spec =
        spec(serde_json::json!({"resources": {"cpu": "500m", "memory": "64Mi", "pids": 99}}));
    let id = world.start(&request).await;
    let limits = |nano_cpus, memory, pids| Limits {
        nano_cpus,
        memory,
        pids,
    };
    assert_eq!(world.only().await.limits, limits(500_000_000, 64 << 20, 99));
    for limits in [
        limits(1_000_000_000, 128 << 20, 512),
        limits(0, 0, 512),
        limits(250_000_000, 0, 20),
    ] {
        world.runtime().update_limits(&id, limits).await.unwrap();
        assert_eq!(world.only().await.limits, limits);
    }
}

async fn another_clusters_containers_are_never_listed(world: World) {
    let network = world.network().await;
    let other = world.other_cluster();
    let mut request = world.request("users", 0, 1, &network);
    world.runtime().create(&request).await.unwrap();
    request.identity.cluster = other.cluster();
    request.name = world.agent("users").container(0, 2);
    other.runtime().create(&request).await.unwrap();
    assert_eq!(
        world.only().await.name,
        world.agent("users").container(0, 1)
    );
    assert_eq!(other.only().await.name, request.name);
    let holder = world
        .runtime()
        .holder_of_name(&request.name)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(holder.identity, None);
}

async fn images_are_found_by_name_and_id_and_kept_by_a_tag(world: World) {
    let image = world.image();
    assert_eq!(
        world.runtime().image(&image.0).await.unwrap(),
        Some(image.clone())
    );
    assert_eq!(
        world.runtime().image(&image::reference()).await.unwrap(),
        Some(image.clone())
    );
    assert_eq!(
        world
            .runtime()
            .image("agentainer-test/no-such-image")
            .await
            .unwrap(),
        None
    );
    let short: String = world.cluster().as_str().chars().take(8).collect();
    let repository = format!("agentainer-test/kept-{short}");
    world
        .runtime()
        .tag(&image, &repository, "v1-0")
        .await
        .unwrap();
    let kept = format!("{repository}:v1-0");
    assert_eq!(
        world.runtime().image(&kept).await.unwrap(),
        Some(image.clone())
    );
    world.runtime().untag(&kept).await.unwrap();
    assert_eq!(world.runtime().image(&kept).await.unwrap(), None);
    assert_eq!(
        world.runtime().image(&image.0).await.unwrap(),
        Some(image.clone()),
        "it has its other names"
    );
    let again = world.runtime().untag(&kept).await;
    again.expect("nothing has that name");
    world
        .runtime()
        .tag(&image, &repository, "v1-0")
        .await
        .unwrap();
    world.by_hand(Hand::Untag(kept.clone())).await;
    assert_eq!(world.runtime().image(&kept).await.unwrap(), None);
    // Nobody listens there: a registry that is known to be away.
    let pulled = world
        .runtime()
        .pull("127.0.0.1:9/agentainer-test/none:1", &|_| {})
        .await;
    assert_eq!(class(pulled), RuntimeClass::Transient);
}

async fn what_does_not_exist_is_not_found(world: World) {
    let nothing = agentainer::observed::ContainerId("0".repeat(64));
    let runtime = world.runtime();
    assert_eq!(class(runtime.start(&nothing).await), RuntimeClass::NotFound);
    assert_eq!(
        class(runtime.stop(&nothing, GRACE).await),
        RuntimeClass::NotFound
    );
    assert_eq!(class(runtime.pause(&nothing).await), RuntimeClass::NotFound);
    assert_eq!(
        class(runtime.rename(&nothing, "x").await),
        RuntimeClass::NotFound
    );
    assert_eq!(
        class(runtime.update_limits(&nothing, Limits::default()).await),
        RuntimeClass::NotFound
    );
    assert_eq!(
        class(runtime.logs(&nothing, LogQuery::default()).await),
        RuntimeClass::NotFound
    );
    let network = NetworkId("0".repeat(64));
    let aliases = BTreeSet::new();
    assert_eq!(
        class(runtime.connect(&nothing, &network, &aliases, None).await),
        RuntimeClass::NotFound
    );
    runtime.disconnect(&nothing, &network).await.unwrap();
    let network = world.network().await;
    let mut request = world.request("users", 0, 1, &network);
    request.image = agentainer::observed::ImageId(format!("sha256:{}", "0".repeat(64)));
    assert_eq!(
        class(runtime.create(&request).await),
        RuntimeClass::NotFound
    );
    request.image = world.image();
    request.network = NetworkId("0".repeat(64));
    assert_eq!(
        class(runtime.create(&request).await),
        RuntimeClass::NotFound
    );
}

async fn the_log_tells_standard_error_apart(world: World) {
    let id = world.running("users", 0).await;
    world.answering(&id).await;
    let read = async |query: LogQuery| {
        let chunks: Vec<_> = world
            .runtime()
            .logs(&id, query)
            .await
            .unwrap()
            .collect()
            .await;
        let chunks = chunks.into_iter().map(Result::unwrap);
        let text = |chunk: agentainer::runtime::LogChunk| {
            (
                chunk.stderr,
                String::from_utf8(chunk.bytes.to_vec()).unwrap(),
            )
        };
        let mut lines: Vec<(bool, String)> = chunks.map(text).collect();
        lines.sort();
        lines
    };
    let all = read(LogQuery::default()).await;
    let started = (false, format!("started {}-0\n", world.agent("users")));
    assert_eq!(
        all,
        [started, (true, "a line on standard error\n".to_owned())]
    );
    let tail = LogQuery {
        tail: Some(1),
        timestamps: true,
        ..LogQuery::default()
    };
    let last = read(tail).await;
    assert_eq!(last.len(), 1);
    let (moment, _) = last[0].1.split_once(' ').unwrap();
    moment.parse::<jiff::Timestamp>().unwrap();
}

async fn a_program_that_ends_leaves_its_code(world: World) {
    let network = world.network().await;
    let mut request = world.request("users", 0, 1, &network);
    request.spec = spec(serde_json::json!({"args": ["exit", "7"]}));
    world.start(&request).await;
    let ended = world
        .until(|container| container.state == ContainerState::Exited)
        .await;
    let exit = ended.exit.unwrap();
    assert_eq!((exit.code, exit.oom_killed), (7, false));
    assert!(exit.at.is_some());
}

async fn a_network_made_again_takes_its_old_containers_back(world: World) {
    let network = world.network().await;
    let mut request = world.request("users", 0, 1, &network);
    request.address = Some(world.address(&network, 0));
    let id = world.start(&request).await;
    world.runtime().stop(&id, GRACE).await.unwrap();
    let mut second = world.request("users", 1, 1, &network);
    second.address = Some(world.address(&network, 1));
    let never_started = world.runtime().create(&second).await.unwrap();
    world.runtime().remove_network(&network.id).await.unwrap();
    // Without its network it does not start.
    assert_eq!(
        class(world.runtime().start(&id).await),
        RuntimeClass::Conflict
    );
    let again = world
        .runtime()
        .create_network(network.subnet.unwrap())
        .await
        .unwrap();
    assert_ne!(again.id, network.id);
    world.runtime().start(&id).await.unwrap();
    world.runtime().start(&never_started).await.unwrap();
    let all = world.runtime().list().await.unwrap();
    assert_eq!(all.len(), 2);
    for (seen, asked) in all.iter().zip([&request, &second]) {
        let attachment = seen.attachment.as_ref().unwrap();
        assert_eq!(attachment.network, again.id);
        assert_eq!(attachment.ip, asked.address.map(Into::into));
        assert!(attachment.aliases.is_superset(&asked.aliases));
    }
}
