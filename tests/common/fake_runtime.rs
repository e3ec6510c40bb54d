//! An engine in memory with the real one's semantics, to be used by every test that needs no Docker.
//!
//! [`FakeEngine`] is the engine: one for all clusters, with what "somebody else" may do to it, programs that end by
//! themselves, and faults. [`FakeRuntime`] is the port of one cluster on it. Nothing here reads a clock but the
//! product's own, which is virtual in tests with paused time. `runtime_contract.rs` holds it to what Docker does.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "fake_containers.rs"]
mod fake_containers;
#[path = "fake_engine.rs"]
mod fake_engine;
#[path = "fake_networks.rs"]
mod fake_networks;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use agentainer::names::AgentName;
use agentainer::observed::{
    Container, ContainerId, ContainerState, ImageId, Limits, Network, NetworkId,
};
use agentainer::runtime::{
    BuildEvent, BuildRequest, ContainerRuntime, CreateContainer, EngineInfo, LogChunk, LogQuery,
    MadeFrom, NameHolder, PullProgress, PullTold, Result, RuntimeError, RuntimeEvent,
    RuntimeSettings,
};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio_stream::wrappers::BroadcastStream;

pub use self::fake_engine::{Call, Caller, FakeEngine, Fault, Program, Pull, writes};
use self::fake_engine::{Course, Past, State, Told, missing};

/// The port of one cluster on a [`FakeEngine`].
#[derive(Clone)]
pub struct FakeRuntime {
    engine: FakeEngine,
    settings: RuntimeSettings,
    caller: Option<Arc<dyn Caller>>,
    /// The engine as it was after this caller's last change, where there is a caller that may be answered from it.
    past: Arc<Mutex<Option<Past>>>,
    remembers: bool,
}

impl FakeEngine {
    /// The port of a cluster.
    pub fn runtime(&self, settings: RuntimeSettings) -> FakeRuntime {
        FakeRuntime {
            engine: self.clone(),
            settings,
            caller: None,
            past: Arc::default(),
            remembers: false,
        }
    }
}

impl FakeRuntime {
    pub fn engine(&self) -> &FakeEngine {
        &self.engine
    }

    pub fn settings(&self) -> &RuntimeSettings {
        &self.settings
    }

    /// The same port as one of several callers has it; whether it may be given old answers.
    pub fn called_by(&self, caller: Arc<dyn Caller>, remembers: bool) -> Self {
        let port = Self {
            caller: Some(caller),
            past: Arc::default(),
            remembers,
            ..self.clone()
        };
        port.catch_up();
        port
    }

    /// What is old for this caller is as it is now.
    pub fn catch_up(&self) {
        if self.remembers {
            *self.past.lock() = Some(self.engine.lock().present());
        }
    }

    /// One call: faults, then the effect, which is one step for everybody else.
    async fn call<T: Send + 'static>(
        &self,
        call: &'static str,
        target: &str,
        effect: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let call = Call {
            name: call,
            target: target.to_owned(),
        };
        let course = self.engine.before(&call, self.caller.as_deref()).await?;
        match course {
            Course::Plain(after) => {
                let result = self.carry_out(&call, effect);
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                result
            }
            Course::Lost(error) => {
                let _ = self.carry_out(&call, effect);
                Err(error)
            }
            Course::Mute => {
                let _ = self.carry_out(&call, effect);
                std::future::pending().await
            }
            Course::Late(time, error) => {
                let later = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    let caller = later.caller.as_ref();
                    if let Some(caller) = caller {
                        caller.late(&call);
                    }
                    let port = Self {
                        caller: None,
                        ..later.clone()
                    };
                    let _ = port.carry_out(&call, effect);
                    if let Some(caller) = caller {
                        caller.late(&call);
                    }
                });
                Err(error)
            }
            Course::Sent(time) => {
                let (tell, told) = tokio::sync::oneshot::channel();
                let later = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    if later.caller.as_ref().is_none_or(|caller| caller.lives()) {
                        let _ = tell.send(later.carry_out(&call, effect));
                    }
                });
                match told.await {
                    Ok(answer) => answer,
                    Err(_) => std::future::pending().await,
                }
            }
            Course::Old => {
                let mut past = self.past.lock();
                let mut state = self.engine.lock();
                match past.as_mut().filter(|_| !call.writes()) {
                    Some(past) => {
                        state.swap(past);
                        let result = effect(&mut state);
                        state.swap(past);
                        result
                    }
                    None => effect(&mut state),
                }
            }
        }
    }

    fn carry_out<T>(&self, call: &Call, effect: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        if let Some(caller) = &self.caller {
            caller.about(call);
        }
        let result = {
            let mut state = self.engine.lock();
            let result = effect(&mut state);
            if result.is_ok() {
                state.effects.push(call.clone());
            }
            if call.writes() && self.remembers {
                *self.past.lock() = Some(state.present());
            }
            result
        };
        if let Some(caller) = &self.caller {
            caller.done(call, result.is_ok());
        }
        result
    }

    /// All containers of this cluster, looked at without a call.
    pub fn look(&self) -> Vec<Container> {
        self.ours(&self.engine.lock(), None)
    }

    /// The container that has an address, looked at without a call.
    pub fn look_behind(&self, address: std::net::IpAddr) -> Option<Container> {
        let state = self.engine.lock();
        let there = state.containers.values().find(|container| {
            let place = container.place.as_ref();
            place.is_some_and(|place| place.ip.is_some_and(|ip| address == ip))
        });
        there.and_then(|container| state.seen(container, &self.settings))
    }

    /// The agents' network, looked at without a call.
    pub fn look_at_network(&self) -> Option<Network> {
        self.engine.lock().network(&self.settings)
    }

    fn ours(&self, state: &State, agent: Option<&AgentName>) -> Vec<Container> {
        ours(state, &self.settings, agent)
    }
}

fn ours(state: &State, settings: &RuntimeSettings, agent: Option<&AgentName>) -> Vec<Container> {
    let seen = |container| state.seen(container, settings);
    let mut found: Vec<Container> = match agent {
        Some(agent) => {
            let own = state.agents.get(agent).into_iter().flatten();
            let own = own.filter_map(|id| state.containers.get(id));
            own.filter_map(seen).collect()
        }
        None => state.containers.values().filter_map(seen).collect(),
    };
    found.sort_by(|a, b| {
        let key = |c: &Container| {
            (
                c.identity.agent.clone(),
                c.identity.ordinal,
                c.identity.incarnation,
                c.id.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    found
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    async fn list(&self) -> Result<Vec<Container>> {
        let settings = self.settings.clone();
        self.call("list", "", move |state| Ok(ours(state, &settings, None)))
            .await
    }
    async fn list_agent(&self, agent: &AgentName) -> Result<Vec<Container>> {
        let (settings, of) = (self.settings.clone(), agent.clone());
        self.call("list_agent", agent.as_str(), move |state| {
            Ok(ours(state, &settings, Some(&of)))
        })
        .await
    }
    async fn create(&self, request: &CreateContainer) -> Result<ContainerId> {
        let (settings, request) = (self.settings.clone(), request.clone());
        self.call("create", &request.name.clone(), move |state| {
            let opened = |host: &String| {
                let mut roots = settings.allowed_host_paths.iter();
                roots.any(|root| std::path::Path::new(host).starts_with(root))
            };
            let hosts = request.spec.volumes.iter().flat_map(|v| v.host.iter());
            if let Some(host) = hosts.into_iter().find(|host| !opened(host)) {
                let message = format!("'{host}' is not open: --allow-host-path {host}");
                return Err(RuntimeError::HostPathDenied { message });
            }
            state.create(&request)
        })
        .await
    }
    async fn start(&self, id: &ContainerId) -> Result<()> {
        let (engine, id) = (self.engine.clone(), id.clone());
        self.call("start", &id.0.clone(), move |state| {
            if let Some((run, after, code)) = state.start(&id)? {
                engine.end_later(id.clone(), run, after, code);
            }
            Ok(())
        })
        .await
    }
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let stubborn = self.engine.lock().ignores_term(id);
        if stubborn {
            tokio::time::sleep(grace).await;
        }
        let code = if stubborn { 137 } else { 143 };
        let id = id.clone();
        self.call("stop", &id.0.clone(), move |state| {
            state.get("stop", &id)?;
            state.end(&id, code, "stop");
            Ok(())
        })
        .await
    }
    async fn pause(&self, id: &ContainerId) -> Result<()> {
        let id = id.clone();
        self.call("pause", &id.0.clone(), move |state| state.freeze(&id, true))
            .await
    }
    async fn unpause(&self, id: &ContainerId) -> Result<()> {
        let id = id.clone();
        self.call("unpause", &id.0.clone(), move |state| {
            state.freeze(&id, false)
        })
        .await
    }
    async fn remove(&self, id: &ContainerId) -> Result<()> {
        let id = id.clone();
        self.call("remove", &id.0.clone(), move |state| {
            state.remove(&id);
            Ok(())
        })
        .await
    }
    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let (id, name) = (id.clone(), name.to_owned());
        self.call("rename", &id.0.clone(), move |state| {
            state.rename(&id, &name)
        })
        .await
    }
    async fn update_limits(&self, id: &ContainerId, limits: Limits) -> Result<()> {
        let id = id.clone();
        self.call("update_limits", &id.0.clone(), move |state| {
            state.get_mut("update_limits", &id)?.limits = limits;
            state.tell(&id, "update");
            Ok(())
        })
        .await
    }
    async fn connect(
        &self,
        id: &ContainerId,
        network: &NetworkId,
        aliases: &BTreeSet<String>,
        address: Option<Ipv4Addr>,
    ) -> Result<()> {
        let (id, network, aliases) = (id.clone(), network.clone(), aliases.clone());
        self.call("connect", &id.0.clone(), move |state| {
            state.connect(&id, &network, &aliases, address)
        })
        .await
    }
    async fn disconnect(&self, id: &ContainerId, network: &NetworkId) -> Result<()> {
        let (id, network) = (id.clone(), network.clone());
        self.call("disconnect", &id.0.clone(), move |state| {
            state.disconnect(&id, &network);
            Ok(())
        })
        .await
    }
    async fn made_from(&self, id: &ContainerId) -> Result<Option<MadeFrom>> {
        let (cluster, id) = (self.settings.cluster.clone(), id.clone());
        self.call("made_from", &id.0.clone(), move |state| {
            let ours = state.containers.get(&id).filter(|container| {
                let identity = container.identity.as_ref();
                identity.is_some_and(|own| own.cluster == cluster)
            });
            Ok(ours.map(|container| MadeFrom {
                spec: container.spec.clone(),
                origin: container.origin.clone(),
            }))
        })
        .await
    }
    async fn holder_of_name(&self, name: &str) -> Result<Option<NameHolder>> {
        let (cluster, wanted) = (self.settings.cluster.clone(), name.to_owned());
        self.call("holder_of_name", name, move |state| {
            let holder = state.names.get(&wanted);
            let holder = holder.and_then(|id| state.containers.get(id));
            Ok(holder.map(|holder| NameHolder {
                id: holder.id.clone(),
                identity: holder
                    .identity
                    .clone()
                    .filter(|identity| identity.cluster == cluster),
            }))
        })
        .await
    }
    async fn network(&self) -> Result<Option<Network>> {
        let settings = self.settings.clone();
        self.call("network", "", move |state| Ok(state.network(&settings)))
            .await
    }
    async fn create_network(&self, subnet: ipnet::Ipv4Net) -> Result<Network> {
        let settings = self.settings.clone();
        self.call("create_network", &subnet.to_string(), move |state| {
            state.create_network(&settings, subnet)
        })
        .await
    }
    async fn remove_network(&self, id: &NetworkId) -> Result<()> {
        let id = id.clone();
        self.call("remove_network", &id.0.clone(), move |state| {
            state.remove_network(&id)
        })
        .await
    }
    async fn image(&self, reference: &str) -> Result<Option<ImageId>> {
        let wanted = reference.to_owned();
        self.call("image", reference, move |state| Ok(state.image(&wanted)))
            .await
    }
    async fn pull(&self, reference: &str, told: &PullTold<'_>) -> Result<()> {
        told(PullProgress {
            layers: 1,
            ..PullProgress::default()
        });
        let wanted = reference.to_owned();
        self.call("pull", reference, move |state| state.pull(&wanted))
            .await
    }
    async fn tag(&self, image: &ImageId, repository: &str, tag: &str) -> Result<()> {
        let name = format!("{repository}:{tag}");
        let image = image.clone();
        self.call("tag", &name.clone(), move |state| {
            let tags = state
                .images
                .get_mut(&image)
                .ok_or_else(|| missing("tag", &image.0))?;
            tags.insert(name.clone());
            Ok(())
        })
        .await
    }
    async fn untag(&self, reference: &str) -> Result<()> {
        let name = reference.to_owned();
        self.call("untag", reference, move |state| state.untag(&name))
            .await
    }
    async fn build(
        &self,
        mut request: BuildRequest,
    ) -> Result<BoxStream<'static, Result<BuildEvent>>> {
        while let Some(piece) = request.context.next().await {
            piece.map_err(|cause| RuntimeError::Refused {
                call: "build",
                message: format!("the context: {cause}"),
            })?;
        }
        let id = self
            .call("build", &request.tag.clone(), move |state| {
                Ok(state.add_image(&request.tag))
            })
            .await?;
        let log = Ok(BuildEvent::Log("Step 1/1 : FROM scratch\n".to_owned()));
        Ok(futures::stream::iter([log, Ok(BuildEvent::Done(id))]).boxed())
    }
    async fn logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let (id, follow) = (id.clone(), query.follow);
        let chunks = self
            .call("logs", &id.0.clone(), move |state| state.log(&id, &query))
            .await?;
        let said = futures::stream::iter(chunks.into_iter().map(Ok));
        Ok(if follow {
            said.chain(futures::stream::pending()).boxed()
        } else {
            said.boxed()
        })
    }
    async fn events(&self) -> Result<BoxStream<'static, Result<RuntimeEvent>>> {
        let told = self
            .call("events", "", |state| Ok(state.events.subscribe()))
            .await?;
        let caller = self.caller.clone();
        let heard = move |event: &Result<RuntimeEvent>| {
            let (Some(caller), Ok(event)) = (&caller, event) else {
                return true;
            };
            let target = match event {
                RuntimeEvent::Container { id, action, .. } => format!("{action} {id}"),
                RuntimeEvent::Network => "network".to_owned(),
            };
            let name = "event";
            caller.judge(&Call { name, target }) != Some(Fault::Drop)
        };
        let settings = self.settings.clone();
        let mine = move |told: Told| match told {
            Told::Container { cluster, event } if cluster == settings.cluster => Some(Ok(event)),
            Told::Network {
                name,
                cluster,
                event,
            } if name == settings.network => {
                let ours = cluster.is_some_and(|cluster| cluster == settings.cluster);
                Some(Ok(event.filter(|_| ours).unwrap_or(RuntimeEvent::Network)))
            }
            Told::Gone => Some(Err(fake_engine::unreachable())),
            _ => None,
        };
        Ok(BroadcastStream::new(told)
            .map(|told| told.unwrap_or(Told::Gone))
            .filter_map(move |told| std::future::ready(mine(told)))
            .filter(move |event| std::future::ready(heard(event)))
            .scan(false, |over, event| {
                let ended = std::mem::replace(over, event.is_err());
                std::future::ready((!ended).then_some(event))
            })
            .boxed())
    }
    async fn ping(&self) -> Result<EngineInfo> {
        self.call("ping", "", |_| {
            Ok(EngineInfo {
                version: "fake".to_owned(),
                api_version: "1.41".to_owned(),
            })
        })
        .await
    }
}

/// Whether a container's process is there.
fn runs(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running | ContainerState::Paused)
}
