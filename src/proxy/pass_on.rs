//! An agent's answer on its way to the client: what of its head passes, and whether a tunnel begins.

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;

use super::account::Account;
use super::body::ProxyBody;
use super::coming::Coming;
use super::live::Live;
use super::patience::Limits;
use super::pool::Lease;
use super::runs::Runs;
use super::session::Stick;
use super::{Proxy, framing, hop, response, trace};

/// An agent's answer before it is passed on.
pub(super) struct Answer {
    pub(super) response: Response<Coming>,
    pub(super) lease: Lease,
    /// What it has to say of sessions.
    pub(super) stick: Option<Stick>,
    pub(super) limits: Limits,
    pub(super) runs: Option<Runs>,
    /// When the request was written first.
    pub(super) live: Option<Box<Live>>,
    /// Whether it was asked for below `/agent/NAME`, and not at a host of the agent's own.
    pub(super) prefixed: bool,
}

impl Proxy {
    /// Makes an agent's answer the client's.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) fn pass_on(
        &self,
        agent: &str,
        host: Option<&HeaderValue>,
        asked: Option<OnUpgrade>,
        answer: Answer,
        account: &mut Option<Account>,
    ) -> Result<Response<ProxyBody>, &'static str> {
        let Answer {
            mut response,
            lease,
            stick,
            limits,
            runs,
            mut live,
            prefixed,
        } = answer;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let agreed = hop::upgrade(response.headers());
        if let Err(reason) = framing::check_answer(response.headers_mut()) {
            return Err(useless(live, reason));
        }
        // An agent that speaks HTTP/1.0 is no reason to speak it to the client (RFC 9110 §2.5).
        *response.version_mut() = Version::HTTP_11;
        if prefixed {
            let source = response::Source {
                agent,
                host,
                is_agent: &|name| self.endpoints.table().routes.contains_key(name),
            };
            response::rewrite(response.headers_mut(), &source);
        } else {
            response::of_its_own(response.headers_mut(), host);
        }
        if let Some(stick) = stick {
            stick.tell(response.headers_mut(), lease.endpoint());
        }
        if let Some(live) = &mut live {
            live.answered(response.status(), response.headers());
            live.mark(response.headers_mut());
        }
        if let Some(account) = account {
            account.answered(lease.endpoint(), lease.waited(), response.headers_mut());
        }
        if !switches {
            let stays = live.as_ref().is_some_and(|live| live.goes_on());
            let runs = runs.or_else(|| stays.then(|| self.runs.clone()));
            return Ok(response.map(|coming| {
                let body = match runs {
                    Some(runs) => ProxyBody::lasting(coming, limits, lease, runs),
                    None => ProxyBody::agent(coming, limits, lease),
                };
                body.of_live(live)
            }));
        }
        let (Some(client), Some(protocol)) = (asked, agreed) else {
            return Err(useless(live, "changed the protocol without being asked to"));
        };
        let mut account = account.take();
        if let Some(account) = &mut account {
            account.head(
                response.status().as_u16(),
                response.headers().get(trace::REQUEST_ID),
            );
        }
        self.tunnels.open(client, lease, account);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        Ok(response.map(|_| ProxyBody::ours("")))
    }
}

/// The answer cannot be passed on, for this reason.
fn useless(live: Option<Box<Live>>, reason: &'static str) -> &'static str {
    if let Some(mut live) = live {
        live.useless(reason);
    }
    reason
}
