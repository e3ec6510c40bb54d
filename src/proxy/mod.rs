//! The public data path: `/agent/{id}/…` to a ready instance of the agent.
//!
//! Owns what happens to a request between the client's connection and the agent's: where it goes, what of its head passes, when
//! it is tried again, what is said when it cannot be answered. Reads the [`Endpoints`] table and nothing else: no Redis and no
//! Docker call stands in the way. Called by the front end (`front`) with hyper's own types; knows no router.
//!
//! A request's way: [`path`] → `framing` → `wait` → `request` → `forward` (`pick`, `pool`, `line`) → `response` or `upgrade` → `body`.
//! What it came to is its `account`'s, which settles with the body's end; `seen` tells of all of them.

mod account;
mod attempt;
mod beside;
mod body;
mod breaker;
mod budget;
mod capture;
mod chance;
mod deliver;
mod exchange;
mod forward;
mod framing;
mod gate;
mod grpc;
mod h2c;
mod hop;
mod http1;
mod keep;
mod line;
mod manner;
mod pass_on;
pub mod path;
mod patience;
mod pick;
mod pool;
mod prefer;
mod refusal;
mod request;
mod rescue;
mod response;
mod runs;
mod seen;
mod session;
mod settings;
mod trace;
mod upgrade;
mod wait;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Request, Response};
use hyper::body::Incoming;

use self::account::Account;
pub use self::body::{ProxyBody, RequestBody};
use self::capture::Room;
use self::chance::Chance;
pub use self::deliver::Ended;
use self::exchange::Exchange;
use self::forward::{Bounds, Failed, forward};
use self::gate::{Full, Gates, Place};
pub use self::keep::{Keeping, RESULTS};
use self::keep::{Sketch, Unanswered};
use self::manner::Manner;
use self::pass_on::Answer;
use self::path::Target;
pub use self::patience::BodyError;
use self::pick::Wish;
use self::pool::Lease;
use self::prefer::Preference;
use self::refusal::Refusal;
pub use self::refusal::too_many;
pub use self::request::IsOurToken;
use self::request::Origin;
use self::runs::Runs;
pub use self::settings::Settings;
use self::upgrade::Tunnels;
use self::wait::{Waiting, look};
use crate::agent::spec::OnDisconnect;
use crate::endpoints::{Endpoints, Route};
use crate::telemetry::access::AccessLog;
use crate::telemetry::figures::AgentFigures;

/// The proxy: one for the process.
pub struct Proxy {
    endpoints: Arc<Endpoints>,
    is_our_token: Arc<IsOurToken>,
    /// How long a request waits for an agent that is not ready or has no place for it.
    hold: Duration,
    waiting: Waiting,
    gates: Gates,
    chance: Chance,
    tunnels: Tunnels,
    runs: Runs,
    access_log: Option<Arc<AccessLog>>,
    /// Of requests that name no agent, or none that exists.
    nobody: Arc<AgentFigures>,
    keeping: Option<Keeping>,
    room: Room,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy over this table. `is_our_token` says whether an `Authorization` value is a token of ours, which no agent may see.
    pub fn new(
        endpoints: Arc<Endpoints>,
        is_our_token: Arc<IsOurToken>,
        settings: Settings,
    ) -> Self {
        Self {
            endpoints,
            is_our_token,
            hold: settings.hold,
            waiting: Waiting::new(settings.hold, settings.held),
            gates: Gates::default(),
            chance: Chance::new(settings.seed),
            tunnels: Tunnels::default(),
            runs: Runs::default(),
            access_log: settings.access_log,
            nobody: Arc::default(),
            keeping: None,
            room: Room::default(),
        }
    }

    /// The same, keeping requests that cannot be answered now. They are delivered by [`Self::deliver`].
    pub fn keeping(mut self, keeping: Keeping) -> Self {
        self.keeping = Some(keeping);
        self
    }

    /// Answers a request for `/agent` or anything below it. Dropping the future cancels the agent's request, unless the agent's
    /// spec wants it to go on (`proxy.onDisconnect`).
    pub async fn call(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        tls: bool,
    ) -> Response<ProxyBody> {
        self.called(None, request, peer, tls).await
    }

    /// Answers a request for an agent at an origin of its own: all of the target is the agent's. As [`call`](Self::call) else.
    pub async fn call_agent(
        self: &Arc<Self>,
        agent: &str,
        request: Request<Incoming>,
        peer: SocketAddr,
        tls: bool,
    ) -> Response<ProxyBody> {
        self.called(Some(agent), request, peer, tls).await
    }

    async fn called(
        self: &Arc<Self>,
        agent: Option<&str>,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        tls: bool,
    ) -> Response<ProxyBody> {
        let mut account = Some(Account::open(
            &self.nobody,
            self.access_log.as_ref(),
            &request,
            peer.ip(),
        ));
        let method = request.method().clone();
        let call = grpc::media_type(request.headers());
        let request_id = trace::request_id(request.headers_mut(), &self.chance);
        let whole = request.uri().path_and_query().cloned();
        let answered = self
            .answer(agent, request, whole.as_ref(), peer, tls, &mut account)
            .await;
        let mut response = answered.unwrap_or_else(|refusal| {
            tracing::debug!(?refusal, "request refused");
            let problem = refusal.problem();
            if let Some(account) = &account {
                account.refused(problem.word());
            }
            refusal.response(problem, &method, call, request_id.as_ref())
        });
        if let Some(mut account) = account {
            account.head(response.status().as_u16(), request_id.as_ref());
            response.body_mut().settle(account);
        }
        if let Some(id) = request_id {
            response
                .headers_mut()
                .entry(trace::REQUEST_ID)
                .or_insert(id);
        }
        response
    }

    async fn answer<'a>(
        self: &Arc<Self>,
        named: Option<&'a str>,
        request: Request<Incoming>,
        whole: Option<&'a PathAndQuery>,
        peer: SocketAddr,
        tls: bool,
        account: &mut Option<Account>,
    ) -> Result<Response<ProxyBody>, Refusal<'a>> {
        let host = framing::check(&request)
            .map_err(|ambiguous| Refusal::Ambiguous(ambiguous, request.version()))?;
        let target = match named {
            Some(agent) => whole.map(|whole| path::all_of(agent, whole)),
            None => whole.and_then(path::parse),
        };
        let (agent, rest) = match target {
            Some(Target::Within { agent, rest }) => (agent, rest),
            Some(Target::Bare { agent, query })
                if self.endpoints.table().routes.contains_key(agent) =>
            {
                return Ok(refusal::redirect(agent, query));
            }
            Some(Target::Bare { agent, .. }) => return Err(Refusal::Unknown { agent }),
            Some(Target::Nobody) | None => return Err(Refusal::Nobody),
        };
        let known = look(&self.endpoints, agent)?;
        if let Some(account) = account {
            account.is_for(agent, &known);
        }
        let manner = match self.keeping {
            Some(_) => Manner::of(&request, known.persistence.as_ref()),
            None => Manner::default(),
        };
        let patience = manner.patience(self.hold);
        let (route, place) = match manner.in_background {
            true => (Err(known), None),
            false => match self.place(agent, patience).await {
                Ok((route, place)) => (Ok(route), place),
                Err(refusal) if manner.kept && refusal.passes() => (Err(known), None),
                Err(refusal) => return Err(refusal),
            },
        };
        let (route, keep_now) = match route {
            Ok(route) => (route, false),
            Err(known) => (known, true),
        };
        let target = match rest.starts_with('?') {
            // `http://host?query` has the root's path (RFC 9112 §3.2.1).
            true => PathAndQuery::try_from(format!("/{rest}")),
            false => PathAndQuery::try_from(rest),
        };
        let target = target.map_err(|_| Refusal::Nobody)?;
        let prefixed = named.is_none();
        let origin = Origin {
            agent,
            prefixed,
            peer,
            tls,
            host,
            upgrade: None,
        };
        let Exchange {
            mut request,
            mut bounds,
            limits,
            wish,
            host,
            upgrade,
        } = Exchange::new(
            request,
            &route,
            target,
            origin,
            self.is_our_token.as_ref(),
            &self.chance,
        );
        bounds.patience = patience;
        if manner.kept {
            Preference::strip(request.headers_mut());
        }
        if keep_now {
            return self.keep(agent, &route, request, &manner).await;
        }
        let sketch = manner
            .kept
            .then(|| Sketch::of(&mut request, &route, &self.room));
        let known = Arc::clone(&route);
        let runs =
            (route.proxy.on_disconnect == Some(OnDisconnect::Continue)).then(|| self.runs.clone());
        let answered = match &runs {
            None => {
                self.exchange(agent, route, request, bounds, wish, place)
                    .await
            }
            Some(runs) => {
                let (this, name) = (Arc::clone(self), agent.to_owned());
                let exchange = async move {
                    let answered = this
                        .exchange(&name, route, request, bounds, wish, place)
                        .await;
                    answered.map_err(|(refusal, unsent)| (refusal.about(""), unsent))
                };
                let answered = Box::pin(runs.carry(exchange, limits)).await;
                let cut = || Refusal::Failed {
                    agent,
                    failed: Failed::Total,
                };
                answered
                    .ok_or_else(cut)?
                    .map_err(|(refusal, unsent)| (refusal.about(agent), unsent))
            }
        };
        let (response, lease) = match answered {
            Ok(answered) => answered,
            Err((refusal, unsent)) => {
                let failed = Unanswered {
                    refusal,
                    unsent,
                    sketch,
                };
                return self.keep_failed(agent, &known, failed, &manner).await;
            }
        };
        // What was copied of the request is of no use any more.
        drop(sketch);
        let answer = Answer {
            response,
            lease,
            limits,
            runs,
            prefixed,
        };
        self.pass_on(agent, host.as_ref(), upgrade, answer, account)
            .map_err(|reason| Refusal::BadAnswer { agent, reason })
    }

    /// A route with a ready endpoint, and a place among the agent's requests.
    async fn place<'a>(
        &self,
        agent: &'a str,
        patience: Duration,
    ) -> Result<(Arc<Route>, Option<Place>), Refusal<'a>> {
        let route = self.waiting.find(&self.endpoints, agent, patience).await?;
        let limit = route.proxy.max_in_flight.unwrap_or(0);
        if limit == 0 {
            return Ok((route, None));
        }
        let waits = route.figures.waits();
        let place = self.gates.enter(agent, limit, patience).await;
        drop(waits);
        // It may have waited for a while.
        let route = self.waiting.find(&self.endpoints, agent, patience).await?;
        let place = place.map_err(|Full| Refusal::Full { agent })?;
        Ok((route, Some(place)))
    }

    /// Sends a request to the agent, and once more to its next instance when nothing was sent.
    async fn exchange<'a>(
        &self,
        agent: &'a str,
        mut route: Arc<Route>,
        mut request: Request<RequestBody>,
        bounds: Bounds,
        wish: Wish,
        place: Option<Place>,
    ) -> Result<(Response<Incoming>, Lease), (Refusal<'a>, Option<Request<RequestBody>>)> {
        let mut moved_on = false;
        loop {
            match forward(&route, request, &bounds, &wish, &self.chance).await {
                Ok((response, mut lease)) => {
                    lease.keep(place);
                    return Ok((response, lease));
                }
                // The table may be about to tell that the instance is gone.
                Err((failed, Some(unsent)))
                    if !moved_on
                        && Box::pin(self.waiting.moves_on(&self.endpoints, agent, &route))
                            .await =>
                {
                    tracing::debug!(agent, error = %failed, "nothing was sent; asking the next instance");
                    route = match self
                        .waiting
                        .find(&self.endpoints, agent, bounds.patience)
                        .await
                    {
                        Ok(route) => route,
                        Err(refusal) => return Err((refusal, Some(unsent))),
                    };
                    request = unsent;
                    moved_on = true;
                }
                Err((failed, unsent)) => return Err((Refusal::Failed { agent, failed }, unsent)),
            }
        }
    }

    /// Waits until every tunnel (WebSocket, say) and every run without a client ended, at most so long, then cuts what is left.
    /// The front end stops giving us new requests first.
    pub async fn drain(&self, within: Duration) {
        let ended = async || {
            self.tunnels.ended().await;
            self.runs.ended().await;
        };
        if tokio::time::timeout(within, ended()).await.is_err() {
            self.tunnels.cut();
            self.runs.cut();
            ended().await;
        }
    }
}
