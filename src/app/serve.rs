//! `agentainer serve`: from a configuration to a running server, and to its end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::data_folder::DataFolder;
use super::doors::{allowed_hosts, hosts, limits, listen, listen_tls, open_given, with_via};
use super::ending::{LONG, SHORT, wait_for_the_end};
use super::guard::Guard;
use super::handover::Door;
use super::identity::identify;
use super::metrics::Tellers;
use super::settings::{reconcile_settings, runtime_settings, still_there};
use super::{
    activation, callbacks, certificate, container, detach, ending, handover, network, redises,
    succession, upkeep,
};
use crate::agent::ClusterId;
use crate::api::auth::files::Secrets;
use crate::api::{self, ApiState};
use crate::cli;
use crate::config::{Durability, ServeConfig, Switch};
use crate::endpoints::Endpoints;
use crate::front::Front;
use crate::journal::{News, RequestJournal};
use crate::probe::Prober;
use crate::proxy::{self, Proxy};
use crate::reconcile::{self, Board, Parts};
use crate::recover::{Recovery, SnapshotFolder};
use crate::runtime::ContainerRuntime;
use crate::runtime::docker::DockerRuntime;
use crate::store::MemberId;
use crate::telemetry::access::AccessLog;
use crate::telemetry::spans::Spans;
use crate::wire::RecoverOutcome;

/// How long a pass that runs may take to finish after SIGTERM; what it leaves undone the next server does.
const LAST_PASSES: Duration = Duration::from_secs(15);

/// Runs the server until SIGTERM or SIGINT; with `--detach`, starts it in the background and returns when it answers.
///
/// # Errors
/// When the data folder, the control Redis or the loopback port cannot be had: each with its remedy. A missing Docker
/// is no error; the server waits for it.
pub async fn serve(config: ServeConfig) -> Result<()> {
    let path = config.data_dir.clone().unwrap_or_else(cli::data_dir);
    let mut given = activation::given()?;
    if config.detach {
        activation::stays(&given)?;
        return detach::serve(&path, &config).await;
    }
    detach::leave_session();
    upkeep::allow_many_files();
    let certificate = certificate::load(&config)?;
    let inheritance = match config.takeover {
        true => handover::ask(&path).await?,
        false => None,
    };
    let (folder, inherited) = match inheritance {
        Some(got) => {
            let folder = DataFolder::adopt(path, got.lock)?;
            let sockets = activation::handed(&got.names, got.sockets, &mut given)?;
            (folder, Some((sockets, got.predecessor)))
        }
        None => {
            let folder = DataFolder::open(path)?;
            folder.keep_network(&config.network)?;
            (folder, None)
        }
    };
    let (sockets, predecessor) = inherited.unzip();
    let shutdown = CancellationToken::new();
    let observing = CancellationToken::new();
    let tasks = TaskTracker::new();
    let board = Board::default();

    let in_container = container::own_container();
    let control = redises::Control::start(&config, &folder, in_container.is_some()).await?;
    let named = config.cluster.clone().map(ClusterId);
    let (cluster, epoch) = identify(&folder, control.store.as_ref(), named).await?;
    let mut secrets = Secrets::load_or_create(folder.path())?;
    let shared = upkeep::shared_key(control.store.as_ref(), &secrets.key)
        .await
        .context("the key of agents' tokens cannot be had from the control Redis")?;
    secrets.adopt_key(folder.path(), shared)?;
    let default_token = config
        .default_token
        .map_or(in_container.is_none(), |switch| switch == Switch::On);
    let tokens = secrets.tokens(default_token);

    let runtime: Arc<dyn ContainerRuntime> = Arc::new(DockerRuntime::connect(
        config.docker_host.as_deref(),
        runtime_settings(&config, &folder, &cluster),
    )?);
    let recovery = Recovery {
        store: Arc::clone(&control.store),
        runtime: Arc::clone(&runtime),
        snapshot: SnapshotFolder::of(folder.path()),
    };
    if config.recover {
        recover(&recovery).await?;
    }
    let endpoints = Arc::new(Endpoints::default());
    endpoints.check_with(still_there(&runtime));
    let handle: Arc<OnceLock<reconcile::Handle>> = Arc::default();
    let wake = {
        let handle = Arc::clone(&handle);
        move |name: &crate::names::AgentName| {
            if let Some(handle) = handle.get() {
                handle.wake(name);
            }
        }
    };
    let parts = Parts {
        store: Arc::clone(&control.store),
        runtime: Arc::clone(&runtime),
        endpoints: Arc::clone(&endpoints),
        prober: Arc::new(Prober::new(Arc::new(wake.clone()))),
        board: board.clone(),
    };
    // Before the first request: an agent that exists is never a 404, however early one asks for it.
    for agent in control
        .store
        .list()
        .await
        .context("the control Redis does not answer")?
        .agents
    {
        endpoints.announce(
            &agent.metadata.name,
            &agent.metadata.uid,
            &agent.spec.proxy,
            agent.spec.persistence.as_ref(),
        );
    }
    let keeper = upkeep::keeper(&recovery, &cluster, &board);
    let guard = Guard::new(&cluster, Arc::clone(&runtime), board.clone());
    let member = MemberId::new_run(&folder.server_id()?);
    let mut settings = reconcile_settings(&config, (cluster, epoch), member, &secrets);
    settings.succeeds = predecessor.is_some();
    let (reconciler, reconciling) = reconcile::run(parts, settings, observing.clone());
    // Set once; nobody asked before.
    let _ = handle.set(reconciler.clone());

    let is_ours = {
        let tokens = tokens.clone();
        move |value: &http::HeaderValue| tokens.is_ours(value)
    };
    let access_log = match &config.access_log {
        Some(path) => {
            let log = AccessLog::start(path, config.log_format)
                .with_context(|| format!("--access-log {}", path.display()))?;
            Some(Arc::new(log))
        }
        None => None,
    };
    let proxy = Proxy::new(
        Arc::clone(&endpoints),
        Arc::new(is_ours),
        proxy::Settings {
            access_log: access_log.clone(),
            ..proxy::Settings::default()
        },
    );
    let told = CancellationToken::new();
    let proxy = match &config.otlp_endpoint {
        Some(collector) => {
            let (spans, waiting) = Spans::new(config.otlp_share);
            let service = config.otlp_service_name.clone();
            let telling = super::spans::tell(collector.clone(), service, waiting, told.clone());
            tasks.spawn(telling);
            proxy.telling(Arc::new(spans))
        }
        None => proxy,
    };
    let journal: Arc<dyn RequestJournal> = Arc::clone(&control.journal) as _;
    let news = Arc::new(News::default());
    let proxy = Arc::new(proxy.keeping(proxy::Keeping {
        journal: Arc::clone(&journal),
        news: Arc::clone(&news),
        in_memory: config.durability == Durability::Memory,
        events: Some(Arc::clone(&control.journal) as _),
        callable: callbacks::rules(&config),
    }));
    let calling = proxy::Calling {
        calls: Arc::clone(&control.journal) as _,
        journal: Arc::clone(&journal),
        news: Arc::clone(&news),
        caller: callbacks::caller(&config, &reconciler)?,
        key: Arc::new({
            let tokens = tokens.clone();
            move |agent| tokens.callback_key(agent)
        }),
        figures: Arc::default(),
    };
    let mut api = ApiState::new(Arc::clone(&control.store), Arc::clone(&runtime), tokens);
    api.requests = Some((journal, Arc::clone(&news)));
    api.events = Some(Arc::clone(&control.journal) as _);
    api.wake = Arc::new(wake);
    api.former_life = Arc::new({
        let reconciler = reconciler.clone();
        move |name| reconciler.former_life(name)
    });
    api.recovery = Some(recovery.clone());
    api.looked_at = Arc::new({
        let reconciler = reconciler.clone();
        move |name| reconciler.looked_at(name)
    });
    api.shutdown = shutdown.clone();
    api.host_conditions = Arc::new({
        let board = board.clone();
        move || board.list()
    });
    api.allowed_hosts = Arc::new(allowed_hosts(&config, &given, reconciler.network()));
    let tellers: Arc<OnceLock<Tellers>> = Arc::default();
    api.metrics = Arc::new({
        let tellers = Arc::clone(&tellers);
        move || tellers.get().map(Tellers::scrape).unwrap_or_default()
    });
    let router = api::router(api).layer(axum::middleware::map_request(with_via));
    let mut front = Front::<Router>::new(Arc::clone(&proxy), router, limits(&config))
        .route_hosts(hosts(&config))
        .hold(activation::sockets(&given)?);
    if let Some(sockets) = sockets {
        front = front.inherit(sockets);
    }
    let front = Arc::new(front);
    // Set once; nobody is let in before.
    let _ = tellers.set(Tellers {
        proxy: Arc::clone(&proxy),
        front: Arc::clone(&front),
        reconciler: reconciler.clone(),
        board: board.clone(),
        calls: Arc::clone(&calling.figures),
        news: Arc::clone(&news),
        access_log: access_log.clone(),
    });
    open_given(&front, &given, certificate.as_ref())?;
    listen(&front, &config, in_container.is_some())?;
    if let Some(certificate) = certificate {
        listen_tls(
            &front,
            &config,
            &given,
            &certificate,
            in_container.is_some(),
        )?;
        tasks.spawn(certificate::keep(
            certificate,
            board.clone(),
            shutdown.clone(),
        ));
    }

    let mut reconciling = tokio::spawn(reconciling);
    let follower = network::Follower {
        front: Arc::clone(&front),
        agents_redis: redises::AgentsRedisKeeper::new(&config, &folder),
        board,
        runtime,
        own_container: in_container,
        port: config.port,
        idle: Vec::new(),
    };
    tasks.spawn(follower.follow(reconciler.network(), shutdown.clone()));
    tasks.spawn(guard.keep(shutdown.clone()));
    tasks.spawn(keeper.keep(reconciler.agents().clone(), shutdown.clone()));
    let ended = upkeep::ended_lives(&control.store);
    tasks.spawn(Arc::clone(&proxy).deliver(ended, shutdown.clone()));
    tasks.spawn(calling.run(shutdown.clone()));
    tasks.spawn(upkeep::keep_time(shutdown.clone()));
    tasks.spawn(upkeep::keep_key(
        Arc::clone(&control.store),
        secrets.key.clone(),
        shutdown.clone(),
    ));
    if let Some(predecessor) = predecessor {
        succession::prepare(&endpoints, &front, reconciler.network()).await?;
        // The last that may fail: after our word nobody else serves.
        folder.keep_network(&config.network)?;
        predecessor.relieve().await?;
        front.open_doors();
        reconciler.lead();
        if let Err(error) = folder.claim() {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "the data folder's lock names the former server still"
            );
        }
    }
    let door = Door::open(folder.path())
        .inspect_err(|error| {
            tracing::warn!(
                error = format!("{error:#}"),
                "no other server can take over from this one"
            )
        })
        .ok();
    let mut told_to_end = false;
    let end = async || {
        wait_for_the_end().await?;
        told_to_end = true;
        Ok(())
    };
    let successor = async {
        match &door {
            Some(door) => {
                door.next_or(|| succession::estate(&folder, &given, &front), end)
                    .await
            }
            None => wait_for_the_end().await.map(|()| None),
        }
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), port = config.port, data = %folder.path().display(), "serving");

    let successor = tokio::select! {
        biased;
        // It ends by shutdown alone; without it nothing would be mended any more, so that a restart is better.
        ended = &mut reconciling => anyhow::bail!("the reconcile loop ended by itself: {ended:?}"),
        successor = successor => successor?,
    };
    shutdown.cancel();
    tasks.close();
    let handed_over = successor.is_some();
    let grace = match successor {
        None => {
            tracing::info!("ending: no new connections, what is in flight finishes");
            front.close();
            reconciler.resign().await;
            SHORT
        }
        Some(successor) => {
            tracing::info!(
                "handing over: another server accepts from now on, what is in flight finishes here"
            );
            front.let_go();
            // Its Redis servers and its folder are the other's to keep from now on.
            drop((control, folder, door));
            reconciler.resign().await;
            successor.go().await;
            match told_to_end {
                true => SHORT,
                false => LONG,
            }
        }
    };
    let finished = tokio::select! {
        biased;
        finished = ending::finish(&front, &proxy, grace) => finished,
        _ = wait_for_the_end(), if handed_over => false,
    };
    told.cancel();
    if let Some(log) = access_log {
        let _ = tokio::task::spawn_blocking(move || log.end()).await;
    }
    // Until now it observed, and told the server that leads what was in flight.
    observing.cancel();
    let passes = tokio::time::timeout(LAST_PASSES, reconciling).await;
    let _ = tokio::time::timeout(LAST_PASSES, tasks.wait()).await;
    tracing::info!(
        finished,
        passes_finished = passes.is_ok(),
        "ended; agents run on"
    );
    Ok(())
}

/// `--recover`: what the store lost is there again before anybody looks.
async fn recover(recovery: &Recovery) -> Result<()> {
    let response = recovery
        .at_start()
        .await
        .context("--recover: nothing was changed")?;
    for warning in &response.warnings {
        tracing::warn!(warning, "recover");
    }
    for result in &response.results {
        for warning in &result.warnings {
            tracing::warn!(agent = %result.name, warning, "recover");
        }
        if result.outcome != RecoverOutcome::Unchanged {
            tracing::info!(agent = %result.name, outcome = ?result.outcome, from = ?result.from, "recovered");
        }
    }
    Ok(())
}
