//! The adapter for the Docker Engine, API 1.41 and above, over bollard.
//!
//! Owns the words said to Docker and nothing else: no policy, no retry, no state beside a pool of connections and a
//! note of which container is whose. Every call has a deadline of its own. Called through
//! [`ContainerRuntime`] alone; built by `app`.

mod build;
mod containers;
mod create;
mod error;
mod events;
mod hostpath;
mod images;
mod logs;
mod made_from;
mod map;
mod networks;
mod pull;
mod stream;
pub mod subnet;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::errors::Error;
use futures::stream::BoxStream;
use http::Method;
use parking_lot::Mutex;
use serde_json::Value;

use self::hostpath::HostPaths;
use self::transport::{Address, Transport};
use super::{
    BuildEvent, BuildRequest, ContainerRuntime, CreateContainer, EngineInfo, LogChunk, LogQuery,
    MadeFrom, NameHolder, PullTold, Result, RuntimeError, RuntimeEvent, RuntimeSettings,
};
use crate::agent::redact::Secrets;
use crate::names::AgentName;
use crate::observed::{Container, ContainerId, ImageId, Limits, Network, NetworkId};

/// For calls that read.
const READ: Duration = Duration::from_secs(10);
/// For calls that change something and are quick on a healthy engine.
const CHANGE: Duration = Duration::from_secs(30);
/// For a start: a busy engine starts about five containers a second, however many are asked for.
const START: Duration = Duration::from_secs(90);
/// What a stop and a removal may take beyond the grace period.
const END: Duration = Duration::from_secs(30);
/// bollard's own timeout covers only the answer's head and counts in whole seconds: ours covers all, so that one is
/// put out of the way.
const NEVER: u64 = 24 * 3600;

/// The Docker Engine behind one socket, for one cluster.
pub struct DockerRuntime {
    docker: Docker,
    transport: Transport,
    address: String,
    settings: RuntimeSettings,
    paths: HostPaths,
    /// Whose each container is, as last listed: network events tell a container's id and no labels.
    owners: Arc<Mutex<BTreeMap<ContainerId, AgentName>>>,
}

impl DockerRuntime {
    /// Prepares the adapter; opens nothing yet. `docker_host` is `unix:///path` or `tcp://host:port`, by default
    /// `unix:///var/run/docker.sock`.
    ///
    /// # Errors
    /// [`RuntimeError::Refused`] when `docker_host` is of another kind.
    pub fn connect(docker_host: Option<&str>, settings: RuntimeSettings) -> Result<Self> {
        let address = docker_host
            .filter(|host| !host.is_empty())
            .unwrap_or(transport::DEFAULT_HOST)
            .to_owned();
        let parsed =
            Address::parse(&address).map_err(|message| error::refused("connect", message))?;
        let paths = HostPaths::new(&settings, &parsed);
        let transport = Transport::new(parsed);
        let wire = transport.clone();
        let docker = Docker::connect_with_custom_transport(
            move |request: bollard::BollardRequest| {
                let wire = wire.clone();
                async move {
                    use http_body_util::BodyExt;
                    wire.send(request.map(BodyExt::boxed_unsync)).await
                }
            },
            Some("http://docker"),
            NEVER,
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|cause| error::map("connect", &address, cause))?;
        Ok(Self {
            docker,
            transport,
            address,
            settings,
            paths,
            owners: Arc::default(),
        })
    }

    /// One call to the engine with its deadline, its errors as ours.
    async fn within<T>(
        &self,
        call: &'static str,
        deadline: Duration,
        future: impl Future<Output = std::result::Result<T, Error>> + Send,
    ) -> Result<T> {
        let nothing = Secrets::default();
        self.hiding(&nothing, call, deadline, future).await
    }

    /// The same for a request with secrets, which the engine may repeat.
    async fn hiding<T>(
        &self,
        secrets: &Secrets,
        call: &'static str,
        deadline: Duration,
        future: impl Future<Output = std::result::Result<T, Error>> + Send,
    ) -> Result<T> {
        let ours = |cause| error::scrubbed(error::whole(call, &self.address, cause), secrets);
        match tokio::time::timeout(deadline, future).await {
            Ok(result) => result.map_err(ours),
            Err(_) => Err(error::timeout(call, deadline)),
        }
    }

    /// One GET whose answer we read ourselves.
    async fn get(&self, call: &'static str, path: &str) -> Result<Value> {
        self.within(
            call,
            READ,
            self.transport.json(Method::GET, path, None::<&Value>),
        )
        .await
    }
}

/// A value in a query string, percent-encoded.
fn query(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

/// The engine's filters, as the API wants them: JSON in a query string.
fn filters(filters: &BTreeMap<&str, Vec<String>>) -> String {
    query(&serde_json::to_string(filters).unwrap_or_default())
}

#[async_trait]
impl ContainerRuntime for DockerRuntime {
    async fn list(&self) -> Result<Vec<Container>> {
        self.containers(None).await
    }
    async fn list_agent(&self, agent: &AgentName) -> Result<Vec<Container>> {
        self.containers(Some(agent)).await
    }
    async fn create(&self, request: &CreateContainer) -> Result<ContainerId> {
        self.create_container(request).await
    }
    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.start_container(id).await
    }
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.stop_container(id, grace).await
    }
    async fn pause(&self, id: &ContainerId) -> Result<()> {
        self.pause_container(id).await
    }
    async fn unpause(&self, id: &ContainerId) -> Result<()> {
        self.unpause_container(id).await
    }
    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.remove_container(id).await
    }
    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.rename_container(id, name).await
    }
    async fn update_limits(&self, id: &ContainerId, limits: Limits) -> Result<()> {
        self.update_container(id, limits).await
    }
    async fn connect(
        &self,
        id: &ContainerId,
        network: &NetworkId,
        aliases: &BTreeSet<String>,
        address: Option<Ipv4Addr>,
    ) -> Result<()> {
        self.attach(id, network, aliases, address).await
    }
    async fn disconnect(&self, id: &ContainerId, network: &NetworkId) -> Result<()> {
        self.detach(id, network).await
    }
    async fn made_from(&self, id: &ContainerId) -> Result<Option<MadeFrom>> {
        self.container_made_from(id).await
    }
    async fn process(&self, id: &ContainerId) -> Result<Option<u32>> {
        match self.inspect(&id.0).await {
            Ok(inspect) => Ok(map::process(&inspect)),
            Err(RuntimeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
    async fn holder_of_name(&self, name: &str) -> Result<Option<NameHolder>> {
        self.name_holder(name).await
    }
    async fn network(&self) -> Result<Option<Network>> {
        self.find_network().await
    }
    async fn create_network(&self, subnet: ipnet::Ipv4Net) -> Result<Network> {
        self.make_network(subnet).await
    }
    async fn remove_network(&self, id: &NetworkId) -> Result<()> {
        self.drop_network(id).await
    }
    async fn image(&self, reference: &str) -> Result<Option<ImageId>> {
        self.find_image(reference).await
    }
    async fn pull(&self, reference: &str, told: &PullTold<'_>) -> Result<()> {
        self.pull_image(reference, told).await
    }
    async fn tag(&self, image: &ImageId, repository: &str, tag: &str) -> Result<()> {
        self.tag_image(image, repository, tag).await
    }
    async fn untag(&self, reference: &str) -> Result<()> {
        self.untag_image(reference).await
    }
    async fn build(&self, request: BuildRequest) -> Result<BoxStream<'static, Result<BuildEvent>>> {
        self.build_image(request)
    }
    async fn logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.container_logs(id, query).await
    }
    async fn events(&self) -> Result<BoxStream<'static, Result<RuntimeEvent>>> {
        self.follow_events().await
    }
    async fn ping(&self) -> Result<EngineInfo> {
        let version = self.get("version", "/version").await?;
        let field = |name: &str| map::text(&version, name).unwrap_or("unknown").to_owned();
        Ok(EngineInfo {
            version: field("/Version"),
            api_version: field("/ApiVersion"),
        })
    }
}

/// Makes sure that a text may stand in a path of the API: ours and the engine's ids and names all may.
fn in_path<'a>(call: &'static str, text: &'a str) -> Result<&'a str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(plain) {
        return Err(RuntimeError::Refused {
            call,
            message: format!(
                "'{}' is no name or id",
                text.chars().take(80).collect::<String>()
            ),
        });
    }
    Ok(text)
}
