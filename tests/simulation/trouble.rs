//! What goes wrong, and at which call.

use std::collections::BTreeMap;
use std::time::Duration;

use agentainer::redis_link::LinkError;
use agentainer::runtime::RuntimeClass;
use agentainer::store::StoreError;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::{fake_runtime, fake_store};

/// How long a call that hangs takes to be given up, by the adapters' own deadlines.
const DEADLINE: Duration = Duration::from_secs(30);

/// How late an answer comes.
const SLOW: Duration = Duration::from_secs(5);
/// The same, longer than two leases.
const STALE: Duration = Duration::from_secs(9);

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server dies before it.
    DiesBefore,
    /// The server dies after it took effect.
    DiesAfter,
    /// It fails, and nothing happened.
    Fails,
    /// It took effect, and timed out all the same.
    TimesOut,
    /// It timed out, and takes effect later.
    Late,
    /// No answer until the deadline, and no effect.
    Hangs,
    /// Somebody else got there first.
    Conflicts,
    /// A read that knows nothing of what others did since our own last write.
    Old,
    /// An answer that was true when it was asked for, and comes five seconds later.
    Slow,
    /// The same, by when the lease may have passed on and come back; of one of two servers.
    Stale,
    /// An event that nobody hears of.
    Drop,
    /// The whole server stands still for half a minute, while the world moves on. Beside another one it does so in the middle
    /// of the call, which goes out when it wakes.
    Pause,
    /// The same for two seconds, less than a lease; beside another server alone.
    Nap,
    /// The store does not answer this server for a while, whatever it says to others.
    CutOff,
    /// The other server dies.
    OtherDies,
    /// Both die.
    BothDie,
}

impl Trouble {
    /// Whether the server may know less than it could, for a while.
    const fn blinds(self) -> bool {
        matches!(
            self,
            Self::Hangs | Self::Old | Self::Slow | Self::Stale | Self::Drop | Self::Pause
        )
    }
}

/// Kinds of moments, each counted for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Any call.
    Call,
    /// A call that changes something.
    Write,
    /// A call that changes nothing.
    Read,
    /// An event of the engine.
    Event,
    /// A change that the store's watch tells.
    Change,
    /// A sign of life, which is how the lease is held; where there are two servers.
    Sign,
}

/// One trouble at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    pub moment: Moment,
    pub nth: u64,
    pub trouble: Trouble,
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub at: Duration,
    /// Which server's it was.
    pub by: usize,
    pub engine: bool,
    pub name: &'static str,
    pub target: String,
    pub writes: bool,
    pub trouble: Option<Trouble>,
}

/// Chance, as a script draws it.
pub struct Chance {
    pub rng: StdRng,
    /// Of trouble with a call.
    pub odds: f64,
    pub of: Vec<Trouble>,
}

/// Decides what goes wrong, and remembers what was said.
pub struct Script {
    /// Whether there are two servers: then signs of life are struck too.
    two: bool,
    strikes: Vec<Strike>,
    pub chance: Option<Chance>,
    latency: Option<StdRng>,
    pub counts: BTreeMap<Moment, u64>,
    pub made: Vec<Made>,
    began: Instant,
    /// When trouble last struck, and when it last left the server with an old view of the world.
    pub struck_at: Option<Instant>,
    pub blinded_at: Option<Instant>,
    /// Nobody answers for a while: the store, the engine.
    pub store_away: bool,
    pub deaf: bool,
}

impl Script {
    pub fn new(strikes: Vec<Strike>, two: bool) -> Self {
        Self {
            two,
            strikes,
            chance: None,
            latency: None,
            counts: BTreeMap::new(),
            made: Vec::new(),
            began: Instant::now(),
            struck_at: None,
            blinded_at: None,
            store_away: false,
            deaf: false,
        }
    }

    /// Calls take random times from now on.
    pub fn vary(&mut self, seed: u64) {
        self.latency = Some(StdRng::seed_from_u64(seed));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.strikes.clear();
        self.chance = None;
        self.store_away = false;
        self.deaf = false;
    }

    /// The next moment of these kinds; what goes wrong with it.
    fn next(&mut self, moments: &[Moment]) -> Option<Trouble> {
        let mut found = None;
        for moment in moments {
            let count = self.counts.entry(*moment).or_default();
            let at = *count;
            *count += 1;
            let strike = self.strikes.iter();
            let mut strike = strike.filter(|strike| strike.moment == *moment && strike.nth == at);
            found = found.or(strike.next().map(|strike| strike.trouble));
        }
        let sign = moments.contains(&Moment::Sign);
        let writes = moments.contains(&Moment::Write) || sign;
        let event = !moments.contains(&Moment::Call) && !sign;
        if let Some(chance) = self.chance.as_mut().filter(|_| found.is_none())
            && chance.rng.random_bool(chance.odds)
        {
            let drawn = chance.of[chance.rng.random_range(0..chance.of.len())];
            let fits = match drawn {
                Trouble::Drop => event,
                Trouble::Old | Trouble::Slow | Trouble::Stale => !event && !writes,
                Trouble::Late | Trouble::Conflicts => !event && writes,
                _ => !event,
            };
            found = fits.then_some(drawn);
        }
        if let Some(found) = found {
            self.struck_at = Some(Instant::now());
            // Of two servers one goes on, and knows all.
            if found.blinds() && !(self.two && found == Trouble::Pause) {
                self.blinded_at = self.struck_at;
            }
        }
        found
    }

    fn note(
        &mut self,
        by: usize,
        engine: bool,
        (name, target): (&'static str, &str),
        writes: bool,
        trouble: Option<Trouble>,
    ) {
        self.made.push(Made {
            at: self.began.elapsed(),
            by,
            engine,
            name,
            target: target.to_owned(),
            writes,
            trouble,
        });
    }

    pub fn engine(&mut self, by: usize, call: &fake_runtime::Call) -> Option<Trouble> {
        if call.name == "event" {
            let trouble = self.next(&[Moment::Event]);
            return if self.deaf {
                Some(Trouble::Drop)
            } else {
                trouble
            };
        }
        let kind = if call.writes() {
            Moment::Write
        } else {
            Moment::Read
        };
        let trouble = self.next(&[Moment::Call, kind]);
        self.note(by, true, (call.name, &call.target), call.writes(), trouble);
        trouble
    }

    pub fn store(&mut self, by: usize, name: &'static str) -> Option<Trouble> {
        let trouble = match name {
            "change" => return self.next(&[Moment::Change]),
            // Asked again and again.
            "beat" | "leave" if self.two => {
                let trouble = self.next(&[Moment::Sign]);
                if trouble.is_some() {
                    self.note(by, false, (name, ""), false, trouble);
                }
                trouble
            }
            "next" | "beat" | "leave" => None,
            _ => {
                let writes = fake_store::writes(name);
                let kind = if writes { Moment::Write } else { Moment::Read };
                let trouble = self.next(&[Moment::Call, kind]);
                self.note(by, false, (name, ""), writes, trouble);
                trouble
            }
        };
        trouble.or(self.store_away.then_some(Trouble::Fails))
    }

    /// How long a call takes to arrive, and its answer to come.
    fn times(&mut self, name: &str) -> (Duration, Duration) {
        let after = match name {
            "create" => 10_000,
            "start" => 330_000,
            "stop" => 117_000,
            "remove" => 7_000,
            "pause" => 20_000,
            "connect" | "disconnect" => 37_000,
            "create_network" => 79_000,
            "list" => 3_000,
            _ => 500,
        };
        let mut vary = |microseconds: u64| {
            let time = match &mut self.latency {
                Some(rng) => rng.random_range(microseconds / 5..microseconds * 3),
                None => microseconds,
            };
            Duration::from_micros(time)
        };
        (vary(500), vary(after))
    }

    pub fn engine_fault(&mut self, name: &str, trouble: Option<Trouble>) -> fake_runtime::Fault {
        use fake_runtime::Fault;
        let (before, after) = self.times(name);
        let later = |fault| Fault::Then(before, Box::new(fault));
        match trouble {
            None
            | Some(Trouble::Pause | Trouble::Nap | Trouble::OtherDies | Trouble::BothDie)
            | Some(Trouble::CutOff) => Fault::Slow { before, after },
            Some(Trouble::DiesBefore) => Fault::Hang,
            Some(Trouble::DiesAfter) => later(Fault::Mute),
            Some(Trouble::Fails) => later(Fault::Refuse(RuntimeClass::Transient)),
            Some(Trouble::TimesOut) => later(Fault::Lose(RuntimeClass::Transient)),
            Some(Trouble::Conflicts) => later(Fault::Refuse(RuntimeClass::Conflict)),
            Some(Trouble::Late) => {
                later(Fault::Late(Duration::from_secs(3), RuntimeClass::Transient))
            }
            Some(Trouble::Hangs) => {
                Fault::Then(DEADLINE, Box::new(Fault::Refuse(RuntimeClass::Transient)))
            }
            Some(Trouble::Old) => later(Fault::Old),
            Some(Trouble::Slow) => Fault::Slow {
                before,
                after: SLOW,
            },
            Some(Trouble::Stale) => Fault::Slow {
                before,
                after: STALE,
            },
            Some(Trouble::Drop) => Fault::Drop,
        }
    }

    pub fn store_fault(&mut self, name: &str, trouble: Option<Trouble>) -> fake_store::Fault {
        use fake_store::Fault;
        let (before, after) = self.times(name);
        let later = |fault| Fault::Then(before, Box::new(fault));
        match trouble {
            None | Some(Trouble::Pause | Trouble::Nap | Trouble::OtherDies | Trouble::BothDie) => {
                Fault::Slow { before, after }
            }
            Some(Trouble::DiesBefore) => Fault::Hang,
            Some(Trouble::DiesAfter) => later(Fault::Mute),
            // Whatever a conflict is: the store has one for its commits alone.
            Some(Trouble::Fails | Trouble::Conflicts | Trouble::CutOff) => {
                later(Fault::Before(away()))
            }
            Some(Trouble::TimesOut) => later(Fault::After(away())),
            Some(Trouble::Late) => later(Fault::Late(Duration::from_secs(3), away())),
            Some(Trouble::Hangs) => Fault::Then(DEADLINE, Box::new(Fault::Before(away()))),
            Some(Trouble::Old) => later(Fault::Old),
            Some(Trouble::Slow) => Fault::Slow {
                before,
                after: SLOW,
            },
            Some(Trouble::Stale) => Fault::Slow {
                before,
                after: STALE,
            },
            Some(Trouble::Drop) => Fault::Drop,
        }
    }
}

/// The store is away.
pub fn away() -> StoreError {
    StoreError::Link(LinkError::Unreachable {
        address: "fake".to_owned(),
        source: "it is away".into(),
    })
}
