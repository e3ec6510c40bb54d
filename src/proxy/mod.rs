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
mod broke;
mod budget;
mod callbacks;
mod capture;
mod chance;
mod chunks;
mod claim;
mod coming;
mod deliver;
mod draft;
mod exchange;
mod explanation;
mod first;
mod forward;
mod framing;
mod gate;
mod grpc;
mod h2c;
mod heads;
mod hop;
mod http1;
mod keep;
mod keyed;
mod line;
mod live;
mod manner;
mod outgoing;
mod pass_on;
pub mod path;
mod patience;
mod pick;
mod pool;
mod prefer;
mod pump;
mod recorder;
mod recording;
mod refusal;
mod repeated;
mod request;
mod rescue;
mod response;
mod runs;
mod seen;
mod seldom;
mod sent;
mod session;
mod settings;
mod spans;
mod spare;
mod trace;
mod upgrade;
mod upload;
mod wait;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Request, Response};
use hyper::body::Incoming;

use self::account::Account;
pub use self::body::{ProxyBody, RequestBody};
pub use self::callbacks::Calling;
use self::capture::Room;
use self::chance::Chance;
use self::claim::Claims;
pub use self::deliver::Ended;
use self::exchange::Exchange;
use self::first::First;
use self::forward::Failed;
use self::gate::Gates;
pub use self::keep::{Keeping, RESULTS};
use self::keep::{Sketch, Unanswered};
use self::manner::Manner;
use self::pass_on::Answer;
use self::path::Target;
pub use self::patience::BodyError;
use self::prefer::Preference;
use self::refusal::Refusal;
pub use self::refusal::too_many;
pub use self::request::IsOurToken;
use self::request::Origin;
use self::runs::Runs;
pub use self::seldom::Seldom;
use self::sent::{Baggage, NotSent, Sent};
pub use self::settings::Settings;
use self::spans::Trace;
use self::upgrade::Tunnels;
use self::wait::{Waiting, look};
use crate::agent::spec::OnDisconnect;
use crate::endpoints::Endpoints;
use crate::telemetry::access::AccessLog;
use crate::telemetry::figures::AgentFigures;
use crate::telemetry::spans::Spans;

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
    spans: Option<Arc<Spans>>,
    /// Of requests that name no agent, or none that exists.
    nobody: Arc<AgentFigures>,
    keeping: Option<Keeping>,
    room: Room,
    claims: Claims,
    /// Whether this server is ending.
    leaving: Arc<AtomicBool>,
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
            spans: None,
            nobody: Arc::default(),
            keeping: None,
            room: Room::default(),
            claims: Claims::default(),
            leaving: Arc::default(),
        }
    }

    /// The same, keeping requests that cannot be answered now. They are delivered by [`Self::deliver`].
    pub fn keeping(mut self, keeping: Keeping) -> Self {
        self.keeping = Some(keeping);
        self
    }

    /// The same, telling of requests and attempts in spans.
    pub fn telling(mut self, spans: Arc<Spans>) -> Self {
        self.spans = Some(spans);
        self
    }

    /// Answers a request for `/agent` or anything below it. Dropping the future cancels the agent's request, unless the agent's
    /// spec wants it to go on (`proxy.onDisconnect`).
    pub fn call(
        self: &Arc<Self>,
        request: Box<Request<Incoming>>,
        peer: SocketAddr,
        tls: bool,
    ) -> impl Future<Output = Response<ProxyBody>> + Send {
        self.called(None, request, peer, tls)
    }

    /// Answers a request for an agent at an origin of its own: all of the target is the agent's. As [`call`](Self::call) else.
    pub fn call_agent(
        self: &Arc<Self>,
        agent: &str,
        request: Box<Request<Incoming>>,
        peer: SocketAddr,
        tls: bool,
    ) -> impl Future<Output = Response<ProxyBody>> + Send {
        self.called(Some(agent), request, peer, tls)
    }

    async fn called(
        self: &Arc<Self>,
        agent: Option<&str>,
        mut request: Box<Request<Incoming>>,
        peer: SocketAddr,
        tls: bool,
    ) -> Response<ProxyBody> {
        let spans = self.spans.as_ref();
        let trace = spans.and_then(|spans| Trace::begin(spans, &mut request, &self.chance));
        let mut account = Some(Account::open(
            &self.nobody,
            self.access_log.as_ref(),
            trace,
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
        request: Box<Request<Incoming>>,
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
        let manner = match &self.keeping {
            Some(keeping) => {
                let persistence = known.persistence.as_ref();
                let manner = Manner::of(&request, persistence);
                let headers = request.headers();
                let manner = manner.with_callback(headers, persistence, &keeping.callable);
                manner.map_err(|reason| Refusal::Callback { agent, reason })?
            }
            None => Manner::default(),
        };
        let patience = manner.patience(self.hold);
        let (route, place) = match manner.in_background {
            true => (Err(known), None),
            false => match self.place(agent, Arc::clone(&known), patience).await {
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
            stick,
            host,
            upgrade,
        } = Exchange::new(
            *request,
            &route,
            target,
            origin,
            self.is_our_token.as_ref(),
            &self.chance,
        );
        bounds.patience = patience;
        bounds.trace = account.as_ref().and_then(Account::trace).cloned();
        if manner.kept {
            Preference::strip(request.headers_mut());
        }
        if keep_now {
            return Box::pin(self.keep(agent, &route, request, &manner)).await;
        }
        let mut live = None;
        if manner.first() {
            // Seldom needed, and large.
            let first = Box::pin(self.write_first(agent, &route, request, &manner));
            request = match first.await? {
                First::Written(request, written) => {
                    live = Some(written);
                    request
                }
                First::Unwritten(request) => request,
                First::Answered(response) => return Ok(response),
            };
        }
        let sketch =
            (manner.kept && live.is_none()).then(|| Sketch::of(&mut request, &route, &self.room));
        let request = Box::new(request);
        let known = Arc::clone(&route);
        let runs =
            (route.proxy.on_disconnect == Some(OnDisconnect::Continue)).then(|| self.runs.clone());
        let baggage = Baggage {
            bounds,
            wish,
            place,
            live,
        };
        let answered = match &runs {
            None => self.send(agent, route, request, baggage).await,
            Some(runs) => {
                let (this, name) = (Arc::clone(self), agent.to_owned());
                let exchange = async move {
                    let answered = this.send(&name, route, request, baggage).await;
                    answered.map_err(|not_sent| not_sent.about(""))
                };
                let answered = Box::pin(runs.carry(exchange, limits)).await;
                let cut = || Refusal::Failed {
                    agent,
                    failed: Failed::Total,
                };
                answered
                    .ok_or_else(cut)?
                    .map_err(|not_sent| not_sent.about(agent))
            }
        };
        let Sent {
            response,
            lease,
            live,
        } = match answered {
            Ok(sent) => sent,
            Err(NotSent {
                refusal,
                unsent,
                live: Some(live),
            }) => {
                let unsent = unsent.is_some();
                let failed = self.live_failed(agent, refusal, unsent, live, &manner);
                return Box::pin(failed).await;
            }
            Err(NotSent {
                refusal,
                unsent,
                live: None,
            }) => {
                let failed = Unanswered {
                    refusal,
                    unsent,
                    sketch,
                };
                return Box::pin(self.keep_failed(agent, &known, failed, &manner)).await;
            }
        };
        // What was copied of the request is of no use any more.
        drop(sketch);
        let answer = Answer {
            response,
            lease,
            stick,
            limits,
            runs,
            live,
            prefixed,
        };
        self.pass_on(agent, host.as_ref(), upgrade, answer, account)
            .map_err(|reason| Refusal::BadAnswer { agent, reason })
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
            self.runs.cut().await;
            self.tunnels.ended().await;
        }
    }
}
