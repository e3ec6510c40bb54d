//! A request on its way to its agent, until the answer's head is there.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};

use super::Proxy;
use super::attempt;
use super::body::{ProxyBody, RequestBody};
use super::coming::Coming;
use super::forward::{Bounds, forward};
use super::gate::{Full, Place};
use super::live::Live;
use super::patience::Limits;
use super::pick::Wish;
use super::pool::Lease;
use super::refusal::Refusal;
use super::wait::has;
use crate::endpoints::Route;
use crate::plan::EndpointState;

/// What a request takes with it.
pub(super) struct Baggage {
    pub(super) bounds: Bounds,
    pub(super) wish: Wish,
    /// Its place among its agent's requests.
    pub(super) place: Option<Place>,
    /// When it was written first.
    pub(super) live: Option<Box<Live>>,
}

/// A request that its agent answered.
pub(super) struct Sent {
    pub(super) response: Response<Coming>,
    pub(super) lease: Lease,
    /// When the request was written first.
    pub(super) live: Option<Box<Live>>,
}

impl Sent {
    /// The answer's body, when nobody waits for it any more.
    pub(super) fn for_nobody(self, limits: Limits) -> ProxyBody {
        ProxyBody::agent(self.response.into_body(), limits, self.lease).of_live(self.live)
    }
}

/// A request that it did not answer.
pub(super) struct NotSent<'a> {
    pub(super) refusal: Refusal<'a>,
    /// The request itself, when nothing of it was sent.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
    /// When the request was written first.
    pub(super) live: Option<Box<Live>>,
}

impl NotSent<'_> {
    /// The same, said with this name of the agent.
    pub(super) fn about(self, agent: &str) -> NotSent<'_> {
        NotSent {
            refusal: self.refusal.about(agent),
            unsent: self.unsent,
            live: self.live,
        }
    }
}

impl Proxy {
    /// Sends a request to the agent, unless it is cancelled meanwhile.
    pub(super) async fn send<'a>(
        &self,
        agent: &'a str,
        route: Arc<Route>,
        request: Box<Request<RequestBody>>,
        baggage: Baggage,
    ) -> Result<Sent, NotSent<'a>> {
        let Baggage {
            bounds,
            wish,
            place,
            live,
        } = baggage;
        let exchange = self.exchange(agent, route, request, bounds, wish, place);
        let Some(mut live) = live else {
            return match exchange.await {
                Ok((response, lease)) => Ok(Sent {
                    response,
                    lease,
                    live: None,
                }),
                Err((refusal, unsent)) => Err(NotSent {
                    refusal,
                    unsent,
                    live: None,
                }),
            };
        };
        let mut exchange = Box::pin(exchange);
        let answered = std::future::poll_fn(|cx| match live.poll_cut(cx) {
            Poll::Ready(()) => Poll::Ready(Err((Refusal::Cancelled { agent }, None))),
            Poll::Pending => exchange.as_mut().poll(cx),
        });
        match answered.await {
            Ok((response, lease)) => {
                // Until it is passed on, it is as a delivery's.
                let mut headers = response.headers().clone();
                attempt::rewrite(self, agent, &mut headers);
                live.answered(response.status(), &headers);
                Ok(Sent {
                    response,
                    lease,
                    live: Some(live),
                })
            }
            Err((refusal, unsent)) => Err(NotSent {
                refusal,
                unsent,
                live: Some(live),
            }),
        }
    }

    /// A route with a ready endpoint, and a place among the agent's requests.
    pub(super) async fn place<'a>(
        &self,
        agent: &'a str,
        known: Arc<Route>,
        patience: Duration,
    ) -> Result<(Arc<Route>, Option<Place>), Refusal<'a>> {
        let route = match has(&known, EndpointState::Ready) {
            true => known,
            false => self.waiting.find(&self.endpoints, agent, patience).await?,
        };
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
        mut request: Box<Request<RequestBody>>,
        bounds: Bounds,
        wish: Wish,
        place: Option<Place>,
    ) -> Result<(Response<Coming>, Lease), (Refusal<'a>, Option<Box<Request<RequestBody>>>)> {
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
}
