//! An agent's answer on its way to the client: what of its head passes, and whether a tunnel begins.

use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::account::Account;
use super::body::ProxyBody;
use super::patience::Limits;
use super::pool::Lease;
use super::runs::Runs;
use super::{Proxy, hop, response, trace};

/// An agent's answer before it is passed on.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    pub(super) limits: Limits,
    pub(super) runs: Option<Runs>,
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
            limits,
            runs,
            prefixed,
        } = answer;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let agreed = hop::upgrade(response.headers());
        let mut codings = hop::tokens(response.headers(), &TRANSFER_ENCODING);
        if codings.any(|coding| !coding.eq_ignore_ascii_case(b"chunked")) {
            return Err("answered with a transfer coding other than 'chunked'");
        }
        drop(codings);
        if prefixed {
            let table = self.endpoints.table();
            let source = response::Source {
                agent,
                host,
                is_agent: &|name| table.routes.contains_key(name),
            };
            response::rewrite(response.headers_mut(), &source);
        } else {
            response::of_its_own(response.headers_mut(), host);
        }
        if let Some(account) = account {
            account.answered(lease.endpoint(), lease.waited(), response.headers_mut());
        }
        if !switches {
            return Ok(response.map(|incoming| match runs {
                Some(runs) => ProxyBody::lasting(incoming, limits, lease, runs),
                None => ProxyBody::agent(incoming, limits, lease),
            }));
        }
        let (Some(client), Some(protocol)) = (asked, agreed) else {
            return Err("changed the protocol without being asked to");
        };
        let mut account = account.take();
        if let Some(account) = &mut account {
            account.head(
                response.status().as_u16(),
                response.headers().get(trace::REQUEST_ID),
            );
        }
        let agent = hyper::upgrade::on(&mut response);
        self.tunnels.open(client, agent, lease, account);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
        Ok(response.map(|_| ProxyBody::ours("")))
    }
}
