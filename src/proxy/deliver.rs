//! Delivery of what was kept: as soon as an agent has a ready instance, by the same forwarder that live requests take.
//!
//! Woken by what happens (the table changed, a request was kept, a delivery ended, a time came), and besides every few seconds, since
//! another server on the same journal may have gone. Every server delivers what it can; the journal sees to it that no two have the
//! same record, and that no agent gets more at once than its spec says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Proxy;
use super::attempt::attempt;
use super::claim::{LEASE, held, tell};
use super::keep::{Keeping, UNSAID, persistence, terms};
use super::wait::has;
use crate::agent::Uid;
use crate::agent::spec::Order;
use crate::endpoints::Route;
use crate::journal::policy::{Outcome, Verdict, judge};
use crate::journal::{Claim, Claimed, JournalError, Settlement, State, Take, claim_of};
use crate::plan::EndpointState;
use crate::redis_link::LinkError;

/// How often everything is looked at without being told.
const RESYNC: Duration = Duration::from_secs(5);
/// How long an agent is left alone that turned out not to be able to answer.
const PAUSE: Duration = Duration::from_millis(500);
/// The most that one agent gets at once, whatever its spec says.
const MOST: u64 = 256;

/// How many records are read at once.
const PAGE: usize = 500;

/// Says which of these lives of agents surely ended.
pub type Ended = dyn Fn(Vec<Uid>) -> BoxFuture<'static, Vec<Uid>> + Send + Sync;

/// What is known of one agent's backlog.
#[derive(Debug)]
struct Queue {
    agent: String,
    /// Not before then, whatever happens.
    rests: Option<Instant>,
    /// One is due then.
    next: Option<Instant>,
}

/// What the loop and its deliveries share.
#[derive(Debug, Default)]
struct Shared {
    /// Agents that turned out not to be able to answer.
    resting: Mutex<BTreeSet<Uid>>,
}

impl Proxy {
    /// Delivers until `shutdown`. `ended` says whose records are nobody's any more. What is on its way then is waited for by
    /// [`Self::drain`], or is left for the next server.
    pub async fn deliver(self: Arc<Self>, ended: Arc<Ended>, shutdown: CancellationToken) {
        let Some(keeping) = self.keeping.clone() else {
            return;
        };
        let shared = Arc::new(Shared::default());
        let mut queues: BTreeMap<Uid, Queue> = BTreeMap::new();
        let mut changes = self.endpoints.changes();
        let mut resync = Instant::now();
        // Whether the journal was there when it was looked at last.
        let mut there = false;
        while !shutdown.is_cancelled() {
            if Instant::now() >= resync {
                let before = there;
                there = self
                    .look_at_all(&keeping, &mut queues, &ended, before)
                    .await;
                resync = Instant::now() + RESYNC;
            }
            for (uid, agent) in keeping.news.taken() {
                queues.entry(uid).or_insert(Queue {
                    agent,
                    rests: None,
                    next: None,
                });
            }
            for uid in std::mem::take(&mut *shared.resting.lock()) {
                if let Some(queue) = queues.get_mut(&uid) {
                    queue.rests = Some(Instant::now() + PAUSE);
                }
            }
            changes.mark_unchanged();
            for (uid, queue) in &mut queues {
                let now = Instant::now();
                if queue.rests.is_some_and(|rests| rests > now) {
                    continue;
                }
                queue.rests = None;
                queue.next = None;
                let Some(route) = self.ready_route(uid, &queue.agent) else {
                    continue;
                };
                for claimed in take(&keeping, uid, queue, &route).await {
                    let run = Arc::clone(&self).carry_out(
                        keeping.clone(),
                        Arc::clone(&shared),
                        Arc::clone(&route),
                        claimed,
                    );
                    self.runs.spawn(run);
                }
            }
            let times = queues
                .values()
                .filter_map(|queue| queue.rests.or(queue.next));
            let until = times.min().map_or(resync, |time| time.min(resync));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                changed = changes.changed() => if changed.is_err() { break },
                () = keeping.news.work() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        // Whoever goes from now on may be sent away by us.
        self.leaving.store(true, Ordering::Release);
    }

    fn ready_route(&self, uid: &Uid, agent: &str) -> Option<Arc<Route>> {
        let table = self.endpoints.table();
        let route = table.routes.get(agent)?;
        (route.uid == *uid && has(route, EndpointState::Ready)).then(|| Arc::clone(route))
    }

    /// Looks at the whole journal: who has a backlog, whose claims lapsed, what is too old, whose agent is gone. Answers
    /// whether it could.
    async fn look_at_all(
        &self,
        keeping: &Keeping,
        queues: &mut BTreeMap<Uid, Queue>,
        ended: &Arc<Ended>,
        there: bool,
    ) -> bool {
        let journal = keeping.journal.as_ref();
        match journal.sweep().await {
            Ok(0) => {}
            // Somebody may want to be told of what expired.
            Ok(_) => keeping.news.calls_due(),
            Err(error) => {
                tracing::debug!(%error, "the journal cannot be looked at");
                return false;
            }
        }
        // While it was away no claim could be kept: whoever lives is heard first.
        if there {
            self.end_lapsed(keeping).await;
        }
        let Ok(backlogs) = journal.backlogs().await else {
            return false;
        };
        keeping.news.looked(backlogs.clone());
        let open = [State::Pending, State::Claimed, State::Retrying];
        let unsettled: Vec<_> = backlogs
            .into_iter()
            .filter(|backlog| backlog.count(&open) > 0)
            .collect();
        let mut lost = Vec::new();
        for backlog in &unsettled {
            let table = self.endpoints.table();
            let route = table.routes.get(backlog.agent.as_str());
            if route.is_none_or(|route| route.uid != backlog.uid) {
                lost.push(backlog.uid.clone());
            }
        }
        if !lost.is_empty() {
            // An agent that is merely not seen may come back: only what is known to have ended is given up (law 6).
            for uid in ended(lost).await {
                self.give_up(keeping, &uid, &open).await;
                queues.remove(&uid);
            }
        }
        queues.retain(|uid, _| unsettled.iter().any(|backlog| backlog.uid == *uid));
        for backlog in unsettled {
            queues.entry(backlog.uid).or_insert(Queue {
                agent: backlog.agent,
                rests: None,
                next: None,
            });
        }
        true
    }

    /// Says of what nobody keeps a claim of any more how it ended, as far as that is known.
    async fn end_lapsed(&self, keeping: &Keeping) {
        let journal = keeping.journal.as_ref();
        for record in journal.lapsed().await.unwrap_or_default() {
            if self.claims.has(&record.id) {
                continue;
            }
            let table = self.endpoints.table();
            let route = table.routes.get(record.agent.as_str());
            let persistence = route.map_or(&*UNSAID, |route| persistence(route));
            let verdict = judge(
                Outcome::Lapsed,
                terms(&record.head, persistence),
                record.standing.tries(),
            );
            let reason = "the server that delivered it ended before the answer came";
            tracing::info!(request = %record.id, agent = record.agent, ?verdict, reason);
            let settlement = Settlement {
                verdict,
                reason: reason.to_owned(),
                answer: None,
            };
            if let Err(error) = journal.settle(&claim_of(&record), settlement).await {
                // It is looked at again; all else is not held up for it, be that what the queues hold or what lapsed beside it.
                tracing::debug!(%error, request = %record.id, "the journal does not hear that a claim lapsed");
                match error {
                    JournalError::Link(LinkError::Unreachable { .. }) => return,
                    _ => continue,
                }
            }
            keeping.news.ended(&record);
        }
    }

    async fn give_up(&self, keeping: &Keeping, uid: &Uid, open: &[State]) {
        let journal = keeping.journal.as_ref();
        let mut before = None;
        loop {
            let page = journal.list(uid, open, before, PAGE).await;
            let page = page.unwrap_or_default();
            for record in &page {
                let cancelled = journal.cancel(&record.id, "its agent was deleted");
                if cancelled.await.is_ok() {
                    keeping.news.ended(record);
                }
            }
            match page.last() {
                Some(last) => before = Some(last.sequence),
                None => return,
            }
        }
    }

    /// Delivers one record, keeps its claim meanwhile, and tells how it ended.
    async fn carry_out(
        self: Arc<Self>,
        keeping: Keeping,
        shared: Arc<Shared>,
        route: Arc<Route>,
        claimed: Claimed,
    ) {
        let claim = claimed.claim();
        let ours = self.claims.ours(&claim.id);
        let held = self
            .carry_out_held(&keeping, &shared, &route, &claimed, &claim)
            .await;
        drop(ours);
        if !held {
            tracing::info!(request = %claim.id, agent = claimed.record.agent, "a delivery was cut off: its claim is gone");
        }
        keeping.news.ended(&claimed.record);
        keeping.news.stir();
    }

    /// `false` when the claim was lost.
    async fn carry_out_held(
        &self,
        keeping: &Keeping,
        shared: &Shared,
        route: &Arc<Route>,
        claimed: &Claimed,
        claim: &Claim,
    ) -> bool {
        let Some(ended) = held(keeping, claim, attempt(self, route, claimed)).await else {
            return false;
        };
        let terms = terms(&claimed.record.head, persistence(route));
        let verdict = judge(ended.outcome, terms, claimed.record.standing.tries());
        if verdict == Verdict::Release {
            shared.resting.lock().insert(claimed.record.uid.clone());
        }
        tracing::debug!(request = %claim.id, agent = claimed.record.agent, ?verdict, reason = ended.reason, "delivered");
        let settlement = Settlement {
            verdict,
            reason: ended.reason,
            answer: ended.answer,
        };
        tell(keeping, claim, settlement).await
    }
}

/// Takes what may be delivered now.
async fn take(keeping: &Keeping, uid: &Uid, queue: &mut Queue, route: &Route) -> Vec<Claimed> {
    let persistence = persistence(route);
    let strict = persistence.order == Order::Strict;
    let concurrency = match strict {
        true => 1,
        false => u64::from(persistence.concurrency.max(1)),
    };
    let take = Take {
        uid: uid.clone(),
        most: concurrency.min(MOST),
        concurrency,
        strict,
        lease: LEASE,
    };
    match keeping.journal.take(&take).await {
        Ok(taken) => {
            queue.next = taken.next.map(|next| Instant::now() + next);
            taken.claimed
        }
        Err(error) => {
            tracing::debug!(%error, agent = queue.agent, "nothing can be taken from the journal");
            queue.rests = Some(Instant::now() + RESYNC);
            Vec::new()
        }
    }
}
