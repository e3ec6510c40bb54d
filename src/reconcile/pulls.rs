//! Image pulls: one for an image however many agents want it, beside the passes rather than in them, so that a slow
//! registry holds up nobody else. A pull has a deadline of its own; what failed is not asked of a registry again at once,
//! whoever asks.
//!
//! Owned by the reconciler: [`Pulls::run`] is a part of its future, and what is under way ends with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::memo::again;
use crate::clock;
use crate::names::AgentName;
use crate::observed::Failure;
use crate::runtime::{ContainerRuntime, PullProgress, RuntimeClass, RuntimeError};

/// Pulls at once.
const AT_ONCE: usize = 32;
/// How long a pull may take in all: the adapter ends one that shows no progress after two minutes, and one that gets on would
/// begin anew with what it had not finished.
const DEADLINE: Duration = Duration::from_secs(6 * 3600);
/// A registry is not asked for an image that it just refused.
const REST: Duration = Duration::from_secs(10);
/// Failures are forgotten after this long: longer than any back-off.
const FORGET: Duration = Duration::from_secs(900);
/// Between two tellings of how far a pull is.
const TELL: Duration = Duration::from_secs(5);

/// What has become of a wish for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pull {
    /// It is pulled; the agent is woken at the end.
    UnderWay,
    /// It was pulled for this wish.
    Done,
    /// It could not be pulled.
    Failed(Failure),
}

/// All pulls of this server.
#[derive(Default)]
pub(super) struct Pulls {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    /// By image, from the wish to the end.
    running: BTreeMap<String, Running>,
    /// Not begun yet.
    waiting: VecDeque<String>,
    /// Ends that their agents have not heard of yet.
    ended: BTreeMap<(AgentName, String), Result<(), Failure>>,
    /// The last failure in a row of an image.
    failures: BTreeMap<String, Failure>,
}

#[derive(Default)]
struct Running {
    agents: BTreeSet<AgentName>,
    progress: Option<PullProgress>,
    told: Option<Timestamp>,
}

impl Pulls {
    /// Wants an image for an agent: begins a pull, joins one, or answers how one ended.
    pub(super) fn want(&self, agent: &AgentName, image: &str) -> Pull {
        let now = clock::now();
        let mut state = self.state.lock();
        // It wants this one now; how another one ended does not matter to it any more.
        state
            .ended
            .retain(|(of, ended), _| of != agent || ended == image);
        match state.ended.remove(&(agent.clone(), image.to_owned())) {
            Some(Ok(())) => return Pull::Done,
            Some(Err(failure)) => return Pull::Failed(failure),
            None => {}
        }
        if let Some(running) = state.running.get_mut(image) {
            running.agents.insert(agent.clone());
            return Pull::UnderWay;
        }
        let young = |failure: &&Failure, age| since(failure.at, now) < age;
        if let Some(failure) = state.failures.get(image).filter(|one| young(one, REST)) {
            return Pull::Failed(failure.clone());
        }
        let running = Running {
            agents: [agent.clone()].into(),
            ..Running::default()
        };
        state.running.insert(image.to_owned(), running);
        state.waiting.push_back(image.to_owned());
        self.arrived.notify_one();
        Pull::UnderWay
    }

    /// How far the pull is that an agent waits for; `None` when it waits for none of this image.
    pub(super) fn under_way(&self, agent: &AgentName, image: &str) -> Option<String> {
        let state = self.state.lock();
        let running = state.running.get(image)?;
        running.agents.contains(agent).then(|| {
            running
                .progress
                .map_or_else(String::new, |progress| progress.to_string())
        })
    }

    /// Nothing is left of an agent.
    pub(super) fn forget(&self, agent: &AgentName) {
        self.state.lock().ended.retain(|(of, _), _| of != agent);
    }

    /// Pulls what is wanted, for ever; `wake` is told of agents whose pull ended or came on.
    pub(super) async fn run(
        &self,
        runtime: &dyn ContainerRuntime,
        wake: &(dyn Fn(&AgentName) + Sync),
    ) {
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < AT_ONCE {
                let Some(image) = self.state.lock().waiting.pop_front() else {
                    break;
                };
                under_way.push(async move {
                    let told = |progress| self.came_on(&image, progress, wake);
                    let pull = runtime.pull(&image, &told);
                    let result = tokio::time::timeout(DEADLINE, pull).await;
                    let result = result.unwrap_or(Err(RuntimeError::Timeout {
                        call: "pull",
                        seconds: DEADLINE.as_secs(),
                    }));
                    (image, result)
                });
            }
            tokio::select! {
                biased;
                Some((image, result)) = under_way.next() => self.end(&image, result, wake),
                () = self.arrived.notified() => {}
            }
        }
    }

    fn came_on(&self, image: &str, progress: PullProgress, wake: &dyn Fn(&AgentName)) {
        let now = clock::now();
        let mut state = self.state.lock();
        let Some(running) = state.running.get_mut(image) else {
            return;
        };
        running.progress = Some(progress);
        if running.told.is_some_and(|told| since(told, now) < TELL) {
            return;
        }
        running.told = Some(now);
        running.agents.iter().for_each(wake);
    }

    fn end(&self, image: &str, result: Result<(), RuntimeError>, wake: &dyn Fn(&AgentName)) {
        let now = clock::now();
        let mut state = self.state.lock();
        state
            .failures
            .retain(|_, failure| since(failure.at, now) < FORGET);
        let result = match result {
            Ok(()) => {
                state.failures.remove(image);
                Ok(())
            }
            Err(error) => {
                let failure = failed(state.failures.get(image), &error, now);
                state.failures.insert(image.to_owned(), failure.clone());
                Err(failure)
            }
        };
        let agents = state.running.remove(image).unwrap_or_default().agents;
        for agent in agents {
            wake(&agent);
            state
                .ended
                .insert((agent, image.to_owned()), result.clone());
        }
    }
}

/// A failure to get an image, after an earlier one in a row.
pub(super) fn failed(earlier: Option<&Failure>, error: &RuntimeError, now: Timestamp) -> Failure {
    let reason = match error.class() {
        RuntimeClass::NotFound => "ImageNotFound",
        _ => "ImagePullFailed",
    };
    again(earlier, reason, error.to_string(), true, now)
}

fn since(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(moment)).unwrap_or_default()
}
