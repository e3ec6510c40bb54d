//! What is written to the journal before it is forwarded: everything in `persistence.mode: always`, and what carries a key.

use std::sync::Arc;

use http::{Request, Response};

use super::Proxy;
use super::attempt;
use super::body::{ProxyBody, RequestBody};
use super::capture::{Unread, gather};
use super::claim::LEASE;
use super::keep::{Entered, Entry, persistence, terms};
use super::live::{Live, Whose};
use super::manner::Manner;
use super::refusal::Refusal;
use crate::agent::spec::OnDisconnect;
use crate::endpoints::Route;
use crate::journal::Begin;
use crate::journal::policy::Outcome;

/// A request that was to be written first.
pub(super) enum First {
    /// It was, and is to be sent now.
    Written(Request<RequestBody>, Box<Live>),
    /// It could not be, and is to be sent all the same.
    Unwritten(Request<RequestBody>),
    /// There is an answer to it already.
    Answered(Response<ProxyBody>),
}

impl Proxy {
    /// Writes a request that is about to be forwarded.
    ///
    /// # Errors
    /// Why it is not forwarded either.
    pub(super) async fn write_first<'a>(
        &self,
        agent: &'a str,
        route: &Arc<Route>,
        request: Request<RequestBody>,
        manner: &Manner,
    ) -> Result<First, Refusal<'a>> {
        let Some(keeping) = &self.keeping else {
            return Ok(First::Unwritten(request));
        };
        let persistence = persistence(route);
        let limit = persistence.max_body.bytes;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let (parts, body) = request.into_parts();
        // In `auto` a key is a promise as far as the journal can keep it: the agent gets the key too.
        let body = match gather(body, &self.room, most).await {
            Ok(body) => body,
            Err(Unread::Broken(cause)) => return Err(Refusal::Upload { agent, cause }),
            Err(Unread::TooLong(body) | Unread::Crowded(body)) if !manner.always => {
                return Ok(First::Unwritten(Request::from_parts(parts, body)));
            }
            Err(Unread::TooLong(_)) => return Err(Refusal::TooLong { agent, limit }),
            Err(Unread::Crowded(_)) => return Err(Refusal::NoRoom { agent }),
        };
        let head = Request::from_parts(parts, ());
        let begin = Begin::Live(LEASE);
        let entry = Entry::of(agent, route, &head, body.bytes.clone(), manner, begin);
        let whose = Whose {
            uid: route.uid.clone(),
            agent: agent.to_owned(),
            called: manner.callback.is_some(),
            terms: terms(&entry.draft.head, persistence),
            resumable: persistence.resumable,
            goes_on: route.proxy.on_disconnect != Some(OnDisconnect::Cancel),
        };
        let (parts, ()) = head.into_parts();
        let mut request = Request::from_parts(parts, body.into_body());
        match self.enter(keeping, entry).await {
            Ok(Entered::Kept(kept)) => {
                attempt::mark(request.headers_mut(), &kept.id, 1);
                if persistence.resumable {
                    attempt::plain(request.headers_mut());
                }
                let live = self.live(keeping, whose, kept);
                Ok(First::Written(request, live))
            }
            Ok(Entered::Known(known)) => {
                keeping.repeated(agent, known, manner).map(First::Answered)
            }
            Err(error) if manner.always => Err(Refusal::NotKept { agent, error }),
            Err(error) => {
                tracing::debug!(agent, %error, "a request with a key is forwarded without the journal");
                Ok(First::Unwritten(request))
            }
        }
    }

    /// What a client is told whose request was written, forwarded, and not answered by its agent.
    pub(super) async fn live_failed<'a>(
        &self,
        agent: &'a str,
        refusal: Refusal<'a>,
        unsent: bool,
        mut live: Box<Live>,
        manner: &Manner,
    ) -> Result<Response<ProxyBody>, Refusal<'a>> {
        let Some(keeping) = &self.keeping else {
            return Err(refusal);
        };
        let failed = match refusal {
            refusal if unsent && refusal.passes() => {
                let kept = live.fails(Outcome::NotBegun, String::new()).await;
                return Ok(keeping.accepted(agent, &kept, manner));
            }
            Refusal::Failed { failed, .. } if !unsent => failed,
            other => {
                live.given_up("it was not forwarded".to_owned());
                return Err(other);
            }
        };
        let kept = live.fails(Outcome::NoAnswer, failed.to_string()).await;
        match kept.state.is_settled() {
            false => Ok(keeping.accepted(agent, &kept, manner)),
            true => Err(Refusal::Lost {
                agent,
                failed,
                kept: Some(Box::new(kept)),
            }),
        }
    }
}
