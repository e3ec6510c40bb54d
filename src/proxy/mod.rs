//! The public data path: `/agent/{id}/…` to a ready instance of the agent.
//!
//! Owns what happens to a request between the client's connection and the agent's: where it goes, what of its head passes, when
//! it is tried again, what is said when it cannot be answered. Reads the [`Endpoints`] table and nothing else: no Redis and no
//! Docker call stands in the way. Called by the front end (`front`) with hyper's own types; knows no router.
//!
//! A request's way: [`path`] → `framing` → `wait` → `request` → `forward` (`pick`, `pool`, `line`) → `response` or `upgrade` → `body`.

mod beside;
mod body;
mod breaker;
mod chance;
mod exchange;
mod forward;
mod framing;
mod hop;
mod line;
pub mod path;
mod patience;
mod pick;
mod pool;
mod refusal;
mod request;
mod response;
mod session;
mod trace;
mod upgrade;
mod wait;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

pub use self::body::{ProxyBody, RequestBody};
use self::chance::Chance;
use self::exchange::Exchange;
use self::forward::forward;
use self::path::Target;
pub use self::patience::BodyError;
use self::patience::Limits;
use self::pool::Lease;
use self::refusal::Refusal;
pub use self::request::IsOurToken;
use self::request::Origin;
use self::upgrade::Tunnels;
use self::wait::Waiting;
use crate::endpoints::Endpoints;

/// What can be set on a proxy.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a request for a starting agent is held before it gets 503.
    pub hold: Duration,
    /// How many requests are held at once.
    pub held: usize,
    /// Where the choices of endpoints and the names of requests begin; the same seed gives the same ones.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(5),
            held: 4096,
            #[expect(
                clippy::disallowed_methods,
                reason = "this is where the one seed of the data path comes from; a simulation sets its own"
            )]
            seed: rand::random(),
        }
    }
}

/// The proxy: one for the process.
pub struct Proxy {
    endpoints: Arc<Endpoints>,
    is_our_token: Arc<IsOurToken>,
    waiting: Waiting,
    chance: Chance,
    tunnels: Tunnels,
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
            waiting: Waiting::new(settings.hold, settings.held),
            chance: Chance::new(settings.seed),
            tunnels: Tunnels::default(),
        }
    }

    /// Answers a request for `/agent` or anything below it. Dropping the future cancels the agent's request.
    pub async fn call(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        tls: bool,
    ) -> Response<ProxyBody> {
        let method = request.method().clone();
        let request_id = trace::request_id(request.headers_mut(), &self.chance);
        let whole = request.uri().path_and_query().cloned();
        let answered = self.answer(request, whole.as_ref(), peer, tls).await;
        let mut response = answered.unwrap_or_else(|refusal| {
            tracing::debug!(?refusal, "request refused");
            refusal.response(&method, request_id.as_ref())
        });
        if let Some(id) = request_id {
            response
                .headers_mut()
                .entry(trace::REQUEST_ID)
                .or_insert(id);
        }
        response
    }

    async fn answer<'a>(
        &self,
        request: Request<Incoming>,
        whole: Option<&'a PathAndQuery>,
        peer: SocketAddr,
        tls: bool,
    ) -> Result<Response<ProxyBody>, Refusal<'a>> {
        let host = framing::check(&request)
            .map_err(|ambiguous| Refusal::Ambiguous(ambiguous, request.version()))?;
        let (agent, rest) = match whole.and_then(path::parse) {
            Some(Target::Within { agent, rest }) => (agent, rest),
            Some(Target::Bare { agent, query })
                if self.endpoints.table().routes.contains_key(agent) =>
            {
                return Ok(refusal::redirect(agent, query));
            }
            Some(Target::Bare { agent, .. }) => return Err(Refusal::Unknown { agent }),
            Some(Target::Nobody) | None => return Err(Refusal::Nobody),
        };
        let mut route = self.waiting.find(&self.endpoints, agent).await?;
        let target = PathAndQuery::try_from(rest).map_err(|_| Refusal::Nobody)?;
        let origin = Origin {
            agent,
            peer,
            tls,
            host,
            upgrade: None,
        };
        let Exchange {
            mut request,
            bounds,
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
        let mut moved_on = false;
        let (response, lease) = loop {
            match forward(&route, request, &bounds, &wish, &self.chance).await {
                Ok(answered) => break answered,
                // The table may be about to tell that the instance is gone.
                Err((failed, Some(unsent)))
                    if !moved_on && self.waiting.moves_on(&self.endpoints, agent, &route).await =>
                {
                    tracing::debug!(agent, error = %failed, "nothing was sent; asking the next instance");
                    route = self.waiting.find(&self.endpoints, agent).await?;
                    request = unsent;
                    moved_on = true;
                }
                Err((failed, _)) => return Err(Refusal::Failed { agent, failed }),
            }
        };
        let answer = Answer {
            response,
            lease,
            limits,
        };
        self.pass_on(agent, host.as_ref(), upgrade, answer)
            .map_err(|reason| Refusal::BadAnswer { agent, reason })
    }

    /// Waits until every tunnel (WebSocket, say) ended, at most so long, then cuts what is left. The front end stops giving us
    /// new requests first.
    pub async fn drain(&self, within: Duration) {
        if tokio::time::timeout(within, self.tunnels.ended())
            .await
            .is_err()
        {
            self.tunnels.cut();
            self.tunnels.ended().await;
        }
    }

    fn pass_on(
        &self,
        agent: &str,
        host: Option<&HeaderValue>,
        asked: Option<OnUpgrade>,
        answer: Answer,
    ) -> Result<Response<ProxyBody>, &'static str> {
        let Answer {
            mut response,
            lease,
            limits,
        } = answer;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let agreed = hop::upgrade(response.headers());
        let mut codings = hop::tokens(response.headers(), &TRANSFER_ENCODING);
        if codings.any(|coding| !coding.eq_ignore_ascii_case(b"chunked")) {
            return Err("answered with a transfer coding other than 'chunked'");
        }
        drop(codings);
        let table = self.endpoints.table();
        let source = response::Source {
            agent,
            host,
            is_agent: &|name| table.routes.contains_key(name),
        };
        response::rewrite(response.headers_mut(), &source);
        if !switches {
            return Ok(response.map(|incoming| ProxyBody::agent(incoming, limits, lease)));
        }
        let (Some(client), Some(protocol)) = (asked, agreed) else {
            return Err("changed the protocol without being asked to");
        };
        self.tunnels
            .open(client, hyper::upgrade::on(&mut response), lease);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        Ok(response.map(|_| ProxyBody::ours("")))
    }
}

/// An agent's answer before it is passed on.
struct Answer {
    response: Response<Incoming>,
    lease: Lease,
    limits: Limits,
}
