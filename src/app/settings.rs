//! What the parts of the server are told, made from its configuration.

use std::sync::Arc;
use std::time::Duration;

use super::data_folder::DataFolder;
use super::redises;
use crate::agent::{ClusterId, Uid};
use crate::api::auth::files::Secrets;
use crate::config::{AgentsRedis, ServeConfig};
use crate::endpoints::{self, Holding};
use crate::observed::ContainerState;
use crate::reconcile::{Injection, Settings};
use crate::redis_server::agents_folder;
use crate::runtime::docker::subnet;
use crate::runtime::{ContainerRuntime, RuntimeSettings};
use crate::store::MemberId;
use crate::tokens::agent_token;

/// How long the engine may take to tell whether a container has its address still.
const LOOK: Duration = Duration::from_secs(2);

/// How the engine is used.
pub(super) fn runtime_settings(
    config: &ServeConfig,
    folder: &DataFolder,
    cluster: &ClusterId,
) -> RuntimeSettings {
    RuntimeSettings {
        cluster: cluster.clone(),
        network: config.network.clone(),
        allowed_host_paths: config.allow_host_path.clone(),
        denied_host_paths: vec![
            folder.path().to_owned(),
            agents_folder(folder.path()),
            // The engine's own: other containers' files, volumes and settings.
            "/var/lib/docker".into(),
            "/var/lib/containerd".into(),
        ],
    }
}

/// How the reconciler runs.
pub(super) fn reconcile_settings(
    config: &ServeConfig,
    (cluster, epoch): (ClusterId, u64),
    member: MemberId,
    secrets: &Secrets,
) -> Settings {
    let key = secrets.key.clone();
    let wanted = config.subnet;
    let redis = match &config.agents_redis {
        AgentsRedis::Own => Some(("host.docker.internal".to_owned(), config.agents_redis_port)),
        AgentsRedis::Url(url) => redises::host_and_port(url),
        AgentsRedis::Off => None,
    };
    Settings {
        cluster,
        member,
        succeeds: false,
        epoch,
        concurrency: 8,
        resync: Duration::from_secs(60),
        host_resync: Duration::from_secs(15),
        subnets: Arc::new(move || match wanted {
            Some(subnet) => vec![subnet],
            None => subnet::free_subnets(&subnet::host_routes())
                .take(64)
                .collect(),
        }),
        injection: Injection {
            url: format!("http://host.docker.internal:{}", config.port),
            redis,
            token: Arc::new(move |uid: &Uid, epoch| agent_token(&key, uid, epoch)),
        },
        seed: seed(),
    }
}

/// Asks the engine whether a container runs under an address now.
pub(super) fn still_there(runtime: &Arc<dyn ContainerRuntime>) -> Arc<endpoints::Check> {
    let runtime = Arc::clone(runtime);
    Arc::new(move |agent, container, address| {
        let runtime = Arc::clone(&runtime);
        Box::pin(async move {
            let Ok(Ok(all)) = tokio::time::timeout(LOOK, runtime.list_agent(&agent)).await else {
                return Holding::Silent;
            };
            let here = all.iter().find(|one| one.id == container);
            let place = here.and_then(|one| one.attachment.as_ref()?.ip);
            match here.map(|one| one.state) {
                // Listed and not inspected in time.
                Some(ContainerState::Unknown) => Holding::Silent,
                Some(ContainerState::Running) if place == Some(address) => Holding::Has,
                _ => Holding::HasNot,
            }
        })
    })
}

/// Where this run's jitter begins.
#[expect(
    clippy::disallowed_methods,
    reason = "the one source of seeds; tests give their own"
)]
fn seed() -> u64 {
    rand::random()
}
