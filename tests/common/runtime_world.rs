//! One engine and one cluster on it for one contract test: the fake, or a corner of real Docker.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use agentainer::agent::{AgentSpec, ClusterId, Revision, Uid};
use agentainer::names::AgentName;
use agentainer::observed::{Container, ContainerId, Identity, ImageId, Network, NetworkId};
use agentainer::runtime::docker::subnet;
use agentainer::runtime::{
    ContainerRuntime, CreateContainer, Origin, RuntimeClass, RuntimeError, RuntimeSettings,
};
use serde_json::{Value, json};

use super::docker::{Corner, STRANGER, by_hand};
use super::fake_runtime::{FakeEngine, FakeRuntime};
use super::image;

/// One engine and one cluster on it.
#[allow(clippy::large_enum_variant)]
pub enum World {
    Fake(FakeRuntime),
    Docker(Corner),
}

/// What somebody else does.
pub enum Hand {
    Create(String),
    Kill(ContainerId),
    Pause(ContainerId),
    Unpause(ContainerId),
    Remove(ContainerId),
    Disconnect(ContainerId, NetworkId),
    Untag(String),
}

impl World {
    pub fn fake() -> Self {
        let engine = FakeEngine::new();
        engine.add_image(&image::reference());
        Self::Fake(engine.runtime(RuntimeSettings {
            cluster: ClusterId::random(),
            network: "agentainer-network".to_owned(),
            allowed_host_paths: Vec::new(),
            denied_host_paths: Vec::new(),
        }))
    }

    pub async fn docker() -> Self {
        Self::Docker(Corner::new().await)
    }

    /// Another cluster on the same engine, which uses the same network.
    pub fn other_cluster(&self) -> Self {
        let settings = RuntimeSettings {
            cluster: ClusterId::random(),
            ..self.settings().clone()
        };
        match self {
            Self::Fake(fake) => Self::Fake(fake.engine().runtime(settings)),
            Self::Docker(corner) => Self::Docker(Corner {
                runtime: agentainer::runtime::DockerRuntime::connect(None, settings.clone())
                    .unwrap(),
                settings,
                image: corner.image.clone(),
            }),
        }
    }

    pub fn runtime(&self) -> &dyn ContainerRuntime {
        match self {
            Self::Fake(fake) => fake,
            Self::Docker(corner) => &corner.runtime,
        }
    }

    pub fn settings(&self) -> &RuntimeSettings {
        match self {
            Self::Fake(fake) => fake.settings(),
            Self::Docker(corner) => &corner.settings,
        }
    }

    pub fn cluster(&self) -> ClusterId {
        self.settings().cluster.clone()
    }

    pub fn image(&self) -> ImageId {
        match self {
            Self::Fake(fake) => fake.engine().image_id(&image::reference()).unwrap(),
            Self::Docker(corner) => corner.image.clone(),
        }
    }

    /// An agent's name, this world's own: container names are one space for all of Docker.
    pub fn agent(&self, base: &str) -> AgentName {
        let short: String = self.settings().network.chars().rev().take(8).collect();
        let short: String = short.chars().rev().collect();
        AgentName::new(format!("{base}-{short}")).unwrap()
    }

    /// The network; made when it is missing.
    pub async fn network(&self) -> Network {
        if let Some(network) = self.runtime().network().await.unwrap() {
            return network;
        }
        match self {
            Self::Fake(fake) => fake
                .create_network("10.99.0.0/20".parse().unwrap())
                .await
                .unwrap(),
            Self::Docker(corner) => corner.network().await,
        }
    }

    /// The nth address that may be given to an agent.
    pub fn address(&self, network: &Network, n: usize) -> Ipv4Addr {
        subnet::for_agents(network.subnet.unwrap(), network.strangers)
            .nth(n + 10)
            .unwrap()
    }

    pub fn request(
        &self,
        agent: &str,
        ordinal: u32,
        incarnation: u64,
        network: &Network,
    ) -> CreateContainer {
        let agent = self.agent(agent);
        let instance = format!("{agent}-{ordinal}");
        let name = agent.container(ordinal, incarnation);
        CreateContainer {
            aliases: names([agent.as_str(), &name]),
            name,
            identity: Identity {
                cluster: self.cluster(),
                agent,
                uid: Uid::random(),
                generation: 1,
                revision: Revision("v1:00".to_owned()),
                ordinal,
                incarnation,
                epoch: 1,
            },
            origin: Origin {
                owner: Some("default".to_owned()),
                restarted_at: None,
            },
            spec: AgentSpec::default(),
            image: self.image(),
            injected_env: vec![("AGENT_INSTANCE".to_owned(), instance)],
            network: network.id.clone(),
            address: None,
            host_gateway: network.gateway,
        }
    }

    pub async fn start(&self, request: &CreateContainer) -> ContainerId {
        let id = self.runtime().create(request).await.unwrap();
        self.runtime().start(&id).await.unwrap();
        id
    }

    /// A running container of an agent, on the network.
    pub async fn running(&self, agent: &str, ordinal: u32) -> ContainerId {
        let network = self.network().await;
        self.start(&self.request(agent, ordinal, 1, &network)).await
    }

    /// The one container there is.
    pub async fn only(&self) -> Container {
        let mut all = self.runtime().list().await.unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// The one container there is, as soon as it is as wanted.
    pub async fn until(&self, wanted: impl Fn(&Container) -> bool) -> Container {
        within(async {
            loop {
                let seen = self.only().await;
                if wanted(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// Waits until a container's program accepts connections.
    pub async fn answering(&self, id: &ContainerId) {
        if let Self::Docker(corner) = self {
            let all = corner.runtime.list().await.unwrap();
            let seen = all.iter().find(|container| container.id == *id).unwrap();
            answering(seen).await;
        }
    }

    pub async fn by_hand(&self, hand: Hand) {
        let stranger =
            json!({"Image": self.image().0, "Labels": {STRANGER: self.cluster().as_str()}});
        match self {
            Self::Fake(fake) => deed_on_fake(fake.engine(), hand),
            Self::Docker(_) => deed_on_docker(hand, stranger),
        }
    }
}

fn deed_on_fake(engine: &FakeEngine, hand: Hand) {
    match hand {
        Hand::Create(name) => {
            engine.create_by_hand(&name);
        }
        Hand::Kill(id) => engine.kill_by_hand(&id),
        Hand::Pause(id) => engine.pause_by_hand(&id),
        Hand::Unpause(id) => engine.unpause_by_hand(&id),
        Hand::Remove(id) => engine.remove_by_hand(&id),
        Hand::Disconnect(id, network) => engine.disconnect_by_hand(&id, &network),
        Hand::Untag(name) => engine.untag_by_hand(&name),
    }
}

fn deed_on_docker(hand: Hand, stranger: Value) {
    let (method, path, body) = match hand {
        Hand::Create(name) => (
            "POST",
            format!("/containers/create?name={name}"),
            Some(stranger),
        ),
        Hand::Kill(id) => ("POST", format!("/containers/{id}/kill"), None),
        Hand::Pause(id) => ("POST", format!("/containers/{id}/pause"), None),
        Hand::Unpause(id) => ("POST", format!("/containers/{id}/unpause"), None),
        Hand::Remove(id) => ("DELETE", format!("/containers/{id}?force=true"), None),
        Hand::Disconnect(id, network) => (
            "POST",
            format!("/networks/{}/disconnect", network.0),
            Some(json!({"Container": id.0, "Force": true})),
        ),
        Hand::Untag(name) => ("DELETE", format!("/images/{name}?noprune=true"), None),
    };
    let (status, answer) = by_hand(method, &path, body);
    assert!(
        (200..300).contains(&status),
        "{method} {path}: {status} {answer}"
    );
}

/// Waits until a container's program accepts connections, and tells where.
pub async fn answering(container: &Container) -> SocketAddr {
    let ip = container.attachment.as_ref().unwrap().ip.unwrap();
    let address = SocketAddr::new(ip, 8000);
    within(async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    address
}

/// Bounds a wait.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it takes too long")
}

/// The class of the error that there must be.
pub fn class<T>(result: Result<T, RuntimeError>) -> RuntimeClass {
    match result {
        Ok(_) => panic!("must be refused"),
        Err(cause) => cause.class(),
    }
}

pub fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

pub fn spec(json: Value) -> AgentSpec {
    serde_json::from_value(json).unwrap()
}
