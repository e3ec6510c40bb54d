//! What the server says to the engine and the store: counted, and made to go wrong.

use std::sync::Arc;
use std::time::Duration;

use agentainer::names::AgentName;
use agentainer::redis_link::LinkError;
use agentainer::runtime::RuntimeClass;
use agentainer::store::StoreError;
use parking_lot::Mutex;

use crate::{fake_runtime, fake_store};

/// One call of either port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The port's method.
    pub name: &'static str,
    /// Whether it is the engine's.
    pub engine: bool,
    /// A name or an id; nothing for the store.
    pub target: String,
}

impl Call {
    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        match self.engine {
            true => fake_runtime::writes(self.name),
            false => fake_store::changes(self.name),
        }
    }
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It fails, and nothing happened.
    Fails,
    /// It took effect, and timed out all the same.
    TimesOut,
    /// Somebody else got there first.
    Conflicts,
    /// It takes this long; the engine's only.
    Slow(Duration),
    /// Its answer, true when it was asked for, comes so much later; the engine's only.
    Old(Duration),
    /// It never answers; the engine's only.
    Hangs,
    /// The server dies before it.
    DiesBefore,
    /// The server dies after it took effect.
    DiesAfter,
}

type Judge = Box<dyn FnMut(&Call) -> Option<Trouble> + Send>;

#[derive(Default)]
struct Log {
    all: Vec<Call>,
    judge: Option<Judge>,
    dead: bool,
}

/// The record of all calls. Clones are one.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Log>>);

impl Calls {
    /// Asks before each call what goes wrong with it.
    pub fn judge(&self, judge: impl FnMut(&Call) -> Option<Trouble> + Send + 'static) {
        self.0.lock().judge = Some(Box::new(judge));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.0.lock().judge = None;
    }

    /// Whether the server died: nothing that it still says has an effect.
    pub fn dead(&self) -> bool {
        self.0.lock().dead
    }

    pub fn revive(&self) {
        self.0.lock().dead = false;
    }

    pub fn len(&self) -> usize {
        self.0.lock().all.len()
    }

    /// Those from the nth on.
    pub fn since(&self, nth: usize) -> Vec<Call> {
        self.0.lock().all[nth..].to_vec()
    }

    /// The writes from the nth call on.
    pub fn writes_since(&self, nth: usize) -> Vec<Call> {
        let mut writes = self.since(nth);
        writes.retain(Call::writes);
        writes
    }

    fn next(&self, call: Call) -> Option<Trouble> {
        let mut log = self.0.lock();
        if log.dead {
            return Some(Trouble::DiesBefore);
        }
        let trouble = log.judge.as_mut().and_then(|judge| judge(&call));
        log.all.push(call);
        if matches!(trouble, Some(Trouble::DiesBefore | Trouble::DiesAfter)) {
            log.dead = true;
        }
        trouble
    }

    /// For the engine's hook.
    pub fn of_engine(&self, call: &fake_runtime::Call) -> Option<fake_runtime::Fault> {
        use fake_runtime::Fault;
        let call = Call {
            name: call.name,
            engine: true,
            target: call.target.clone(),
        };
        Some(match self.next(call)? {
            Trouble::Fails => Fault::Refuse(RuntimeClass::Transient),
            Trouble::TimesOut => Fault::Lose(RuntimeClass::Transient),
            Trouble::Conflicts => Fault::Refuse(RuntimeClass::Conflict),
            Trouble::Slow(time) => Fault::Delay(time),
            Trouble::Old(after) => Fault::Slow {
                before: Duration::ZERO,
                after,
            },
            Trouble::Hangs | Trouble::DiesBefore => Fault::Hang,
            Trouble::DiesAfter => Fault::Mute,
        })
    }

    /// For the store's hook.
    pub fn of_store(&self, name: &'static str) -> Option<fake_store::Fault> {
        use fake_store::Fault;
        let call = Call {
            name,
            engine: false,
            target: String::new(),
        };
        Some(match self.next(call)? {
            Trouble::Fails
            | Trouble::Hangs
            | Trouble::Slow(_)
            | Trouble::Old(_)
            | Trouble::DiesBefore => Fault::Before(away()),
            Trouble::TimesOut | Trouble::DiesAfter => Fault::After(away()),
            Trouble::Conflicts => Fault::Before(StoreError::Conflict {
                name: AgentName::new("somebody").unwrap(),
                actual: None,
            }),
        })
    }
}

/// The store is away.
pub fn away() -> StoreError {
    StoreError::Link(LinkError::Unreachable {
        address: "fake".to_owned(),
        source: "it is away".into(),
    })
}
