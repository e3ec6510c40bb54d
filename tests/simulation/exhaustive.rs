//! Each story of the catalogue with one fault at every single moment of it. The oracle is differential: the end, and how
//! many containers were made and removed, are as in the story without the fault.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;

use crate::scenarios::{ALL, Scenario};
use crate::trouble::{Moment, Strike, Trouble};
use crate::world::{World, s};

/// How a story ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub created: u64,
    pub removed: u64,
    /// Agent, ordinal, revision, state.
    pub left: Vec<(String, u32, String, &'static str)>,
}

/// A story with its moments.
pub struct Told {
    pub end: End,
    pub moments: BTreeMap<Moment, u64>,
}

/// Plays a story with so many servers. Every seed but the first has calls that take random times.
pub async fn play(
    scenario: Scenario,
    servers: usize,
    seed: u64,
    strikes: Vec<Strike>,
    quiet: Duration,
) -> Told {
    let plain = strikes.is_empty();
    let mut world = World::with(servers, seed, strikes).await;
    if seed != 1 {
        world.shared.script.lock().vary(seed);
    }
    if seed != 1 && servers == 2 {
        world.vary(seed);
    }
    (scenario.play)(&mut world).await;
    let moments = world.shared.script.lock().counts.clone();
    world.settled(s(420), quiet).await;
    if plain {
        for agent in ["users", "auth"] {
            assert!(world.names_are_right(agent), "{agent}");
        }
    }
    let left = world.port.look().into_iter();
    let left = left.map(|c| {
        let identity = c.identity;
        let agent = identity.agent.to_string();
        (
            agent,
            identity.ordinal,
            identity.revision.0,
            c.state.as_str(),
        )
    });
    let end = End {
        created: world.engine.count("create") as u64,
        removed: world.engine.count("remove") as u64,
        left: left.collect(),
    };
    Told { end, moments }
}

/// Runs a simulation on a runtime of its own; a panic becomes its text.
pub fn alone<T>(simulation: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let caught = runtime.block_on(AssertUnwindSafe(simulation).catch_unwind());
    caught.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&'static str>().map_or_else(
            |_| "a panic without words".to_owned(),
            |text| (*text).to_owned(),
        ),
    })
}

/// What can go wrong at which moments.
pub const FAULTS: [(Moment, Trouble); 11] = [
    (Moment::Write, Trouble::DiesBefore),
    (Moment::Write, Trouble::DiesAfter),
    (Moment::Call, Trouble::Fails),
    (Moment::Write, Trouble::TimesOut),
    (Moment::Write, Trouble::Late),
    (Moment::Call, Trouble::Hangs),
    (Moment::Read, Trouble::Old),
    (Moment::Read, Trouble::Slow),
    (Moment::Event, Trouble::Drop),
    (Moment::Change, Trouble::Drop),
    (Moment::Call, Trouble::Pause),
];

/// What can go wrong where there are two servers.
pub const FAULTS_OF_TWO: [(Moment, Trouble); 27] = [
    (Moment::Write, Trouble::DiesBefore),
    (Moment::Write, Trouble::DiesAfter),
    (Moment::Write, Trouble::BothDie),
    (Moment::Write, Trouble::OtherDies),
    (Moment::Write, Trouble::Pause),
    (Moment::Write, Trouble::Nap),
    (Moment::Write, Trouble::CutOff),
    (Moment::Write, Trouble::TimesOut),
    (Moment::Write, Trouble::Late),
    (Moment::Write, Trouble::Hangs),
    (Moment::Read, Trouble::DiesBefore),
    (Moment::Read, Trouble::Pause),
    (Moment::Read, Trouble::Nap),
    (Moment::Read, Trouble::CutOff),
    (Moment::Read, Trouble::Fails),
    (Moment::Read, Trouble::Hangs),
    (Moment::Read, Trouble::Old),
    (Moment::Read, Trouble::Stale),
    (Moment::Event, Trouble::Drop),
    (Moment::Change, Trouble::Drop),
    (Moment::Sign, Trouble::Fails),
    (Moment::Sign, Trouble::TimesOut),
    (Moment::Sign, Trouble::Late),
    (Moment::Sign, Trouble::Hangs),
    (Moment::Sign, Trouble::DiesAfter),
    (Moment::Sign, Trouble::OtherDies),
    (Moment::Sign, Trouble::Pause),
];

/// What a story without faults is like.
pub fn plain(scenario: Scenario, servers: usize) -> Told {
    alone(play(scenario, servers, 1, Vec::new(), s(130)))
        .unwrap_or_else(|why| panic!("{} without a fault: {why}", scenario.name))
}

/// How many more containers a fault may cost.
fn slack(scenario: Scenario, strikes: &[Strike]) -> u64 {
    let dear = |strike: &Strike| {
        !matches!(
            strike.trouble,
            Trouble::DiesBefore | Trouble::DiesAfter | Trouble::Drop
        )
    };
    let each = if scenario.races { 3 } else { 1 };
    let dear = strikes
        .iter()
        .filter(|strike| scenario.races || dear(strike))
        .count();
    dear as u64 * each
}

/// Why a story with faults did not end as it should.
pub fn wrong(
    scenario: Scenario,
    servers: usize,
    plain: &Told,
    seed: u64,
    strikes: &[Strike],
) -> Option<String> {
    let end = match alone(play(scenario, servers, seed, strikes.to_vec(), s(130))) {
        Ok(told) => told.end,
        Err(why) => return Some(why),
    };
    let slack = slack(scenario, strikes);
    let near = |is: u64, was: u64| is <= was + slack && (scenario.races || is >= was);
    let well = end.left == plain.end.left
        && near(end.created, plain.end.created)
        && near(end.removed, plain.end.removed);
    (!well).then(|| format!("it ended as {end:#?}\nand not as {:#?}", plain.end))
}

/// Runs jobs on all cores; what went wrong, in the order of the jobs.
pub fn on_all_cores<T: Sync>(jobs: &[T], run: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), parking_lot::Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(nth) else { return };
                    if let Some(why) = run(job) {
                        wrong.lock().push((nth, why));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner();
    wrong.sort();
    wrong.into_iter().map(|(_, why)| why).collect()
}

/// Fails with what went wrong, if anything did.
pub fn all_well(runs: usize, wrong: &[String]) {
    println!("{runs} simulations, {} went wrong", wrong.len());
    let first: Vec<&str> = wrong.iter().take(8).map(String::as_str).collect();
    assert!(
        wrong.is_empty(),
        "{} of {runs} went wrong\n\n{}",
        wrong.len(),
        first.join("\n\n")
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "how many runs, and which, is the caller's to say"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub fn number(name: &str) -> Option<u64> {
    variable(name)?.parse().ok()
}

/// In an everyday run, every so many moments one is tried.
const EVERYDAY: u64 = 24;
/// The same of two servers.
const EVERYDAY_OF_TWO: u64 = 96;

/// Every story of these with each fault at every so manieth moment, told by so many servers.
fn one_fault(servers: usize, stories: &[Scenario], faults: &[(Moment, Trouble)], every: u64) {
    let only = variable("STORY");
    let kind = variable("TROUBLE");
    let plains: Vec<_> = stories
        .iter()
        .filter(|scenario| only.as_ref().is_none_or(|only| only == scenario.name))
        .map(|scenario| (*scenario, plain(*scenario, servers)))
        .collect();
    let mut jobs = Vec::new();
    for (scenario, plain) in &plains {
        for (moment, trouble) in faults {
            if kind
                .as_ref()
                .is_some_and(|kind| *kind != format!("{trouble:?}"))
            {
                continue;
            }
            let count = plain.moments.get(moment).copied().unwrap_or(0);
            let of_it = |nth| Strike {
                moment: *moment,
                nth,
                trouble: *trouble,
            };
            let first = jobs.len() as u64 % every;
            jobs.extend(
                (first..count)
                    .step_by(every as usize)
                    .map(|nth| (scenario, plain, of_it(nth))),
            );
        }
    }
    let wrong = on_all_cores(&jobs, |(scenario, plain, strike)| {
        let why = wrong(**scenario, servers, plain, 1, &[*strike])?;
        let Strike {
            moment,
            nth,
            trouble,
        } = strike;
        let again = format!(
            "STORY={} SERVERS={servers} STRIKE={moment:?}:{nth}:{trouble:?}",
            scenario.name
        );
        Some(format!(
            "{again} cargo test --test simulation one_story\n{why}"
        ))
    });
    all_well(jobs.len(), &wrong);
}

/// Every story with every fault at every `EVERY`-th moment; `EVERY=1` is all of them.
#[test]
fn law_1_one_fault_at_any_moment_changes_nothing_of_the_end() {
    let every = number("EVERY").unwrap_or(EVERYDAY);
    one_fault(1, ALL, &FAULTS, every);
}

/// The same with two servers, for the stories in which something is taken away or has to be made once.
#[test]
fn law_1_one_fault_to_one_of_two_servers_changes_nothing_of_the_end() {
    let every = number("EVERY").unwrap_or(EVERYDAY_OF_TWO);
    let stories: Vec<_> = ALL.iter().filter(|story| story.for_two()).collect();
    let stories: Vec<Scenario> = stories.into_iter().copied().collect();
    one_fault(2, &stories, &FAULTS_OF_TWO, every);
}

/// One story with the strikes that `STRIKE` names, as a failing run prints them.
#[test]
fn one_story_again() {
    let (Some(story), Some(strikes)) = (variable("STORY"), variable("STRIKE")) else {
        return;
    };
    let scenario = ALL.iter().find(|scenario| scenario.name == story);
    let scenario = *scenario.expect("a story of the catalogue");
    let strikes: Vec<Strike> = strikes.split(',').map(read).collect();
    let seed = number("SEED").unwrap_or(1);
    let servers = number("SERVERS").unwrap_or(1) as usize;
    let plain = plain(scenario, servers);
    let wrong = wrong(scenario, servers, &plain, seed, &strikes);
    all_well(1, &wrong.into_iter().collect::<Vec<_>>());
}

/// `Write:3:DiesAfter`.
fn read(text: &str) -> Strike {
    let mut words = text.split(':');
    let mut word = || words.next().expect("MOMENT:NTH:TROUBLE");
    let (moment, nth, trouble) = (word(), word(), word());
    let known = FAULTS.iter().chain(&FAULTS_OF_TWO);
    let mut fitting =
        known.filter(|(of, what)| format!("{of:?}") == moment && format!("{what:?}") == trouble);
    let (moment, trouble) = *fitting.next().expect("a trouble of that moment");
    let nth = nth.parse().expect("a number");
    Strike {
        moment,
        nth,
        trouble,
    }
}
