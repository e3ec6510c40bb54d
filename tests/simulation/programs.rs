//! What the agents' programs do: how long they take to start, and whether they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentainer::agent::spec::HealthCheck;
use agentainer::clock;
use agentainer::observed::{Container, ContainerId, ContainerState, ImageId};
use agentainer::probe::Outcome;

/// What a program answers once it is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Well,
    /// It answers, and not well.
    Sick,
    /// It accepts nothing.
    Silent,
}

/// A path that no program knows.
pub const WRONG: &str = "/wrong";

/// From the start of a program until it listens.
const BOOT: Duration = Duration::from_millis(200);

/// All programs.
#[derive(Default)]
pub struct Programs {
    images: BTreeMap<ImageId, Health>,
    agents: BTreeMap<String, Health>,
    /// Containers that were well at some time in their present run.
    pub well: BTreeSet<(ContainerId, Option<jiff::Timestamp>)>,
}

impl Programs {
    pub fn image(&mut self, image: &ImageId, health: Health) {
        self.images.insert(image.clone(), health);
    }

    pub fn agent(&mut self, agent: &str, health: Health) {
        self.agents.insert(agent.to_owned(), health);
    }

    pub fn heal(&mut self) {
        self.agents.clear();
    }

    /// What a probe of this container finds that asks by this check.
    pub fn asked(&mut self, container: &Container, check: Option<&HealthCheck>) -> Outcome {
        match self.answer(container) {
            Outcome::Ready if check.is_some_and(|check| check.endpoint == WRONG) => {
                Outcome::NotReady(format!("GET {WRONG} answered 404"))
            }
            outcome => outcome,
        }
    }

    /// What a probe of this container finds, if its path is known.
    pub fn answer(&mut self, container: &Container) -> Outcome {
        if container.state != ContainerState::Running {
            return Outcome::Unanswered("it does not run".to_owned());
        }
        let up = container.started_at.is_some_and(|started| {
            Duration::try_from(clock::now().duration_since(started)).is_ok_and(|age| age >= BOOT)
        });
        if !up {
            return Outcome::Unanswered("nothing listens yet".to_owned());
        }
        let of_agent = self.agents.get(container.identity.agent.as_str());
        match of_agent.or_else(|| self.images.get(&container.image)) {
            None | Some(Health::Well) => {
                self.well
                    .insert((container.id.clone(), container.started_at));
                Outcome::Ready
            }
            Some(Health::Sick) => Outcome::NotReady("GET /health answered 503".to_owned()),
            Some(Health::Silent) => Outcome::Unanswered("nothing listens".to_owned()),
        }
    }

    /// Whether a container, as it is, answers requests.
    pub fn serves(&mut self, container: &Container) -> bool {
        let placed = container
            .attachment
            .as_ref()
            .is_some_and(|place| place.ip.is_some());
        placed && self.answer(container) == Outcome::Ready
    }
}
