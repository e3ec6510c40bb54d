//! What must hold of kept requests, seen from outside: what clients sent and were promised, what agents got, and the records at the
//! end. Pure: the histories may come from a simulation or from real containers.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A header field: its name and its value, byte for byte.
pub type Field = (String, Vec<u8>);

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The agent's own answer, and for which request the agent says that it is.
    Answer { status: u16, of: Option<u32> },
    /// It is kept and will be delivered (202).
    Kept { id: String },
    /// It was sent, no answer came, and it is kept as unknown (502 or 504 with an address).
    Unknown { id: String },
    /// It is surely not kept, and the agent surely did not get it.
    Refused { status: u16 },
    /// Neither an answer nor a promise: anything may have happened, once.
    Nothing,
}

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its name within the run, part of its target.
    pub number: u32,
    pub agent: String,
    pub method: String,
    /// As the agent must get it.
    pub target: String,
    /// Those that the agent must get, repeated ones in their order.
    pub fields: Vec<Field>,
    /// The body's digest.
    pub body: String,
    /// It is idempotent by its method, or carries a key.
    pub repeatable: bool,
    /// Milliseconds since the run began.
    pub began: u64,
    pub ended: u64,
    pub promise: Promise,
}

/// What an agent got.
#[derive(Clone, Debug)]
pub struct Got {
    pub agent: String,
    /// The record's id and the number of the delivery, if it was kept.
    pub record: Option<(String, u32)>,
    pub method: String,
    pub target: String,
    pub fields: Vec<Field>,
    /// The body's digest; `None`: not all of it came.
    pub body: Option<String>,
    pub at: u64,
    /// When it was answered, and with what.
    pub answered: Option<(u64, u16)>,
    /// When it ended, however it did, where that is known.
    pub ended: Option<u64>,
}

/// A record at the end.
#[derive(Clone, Debug)]
pub struct Final {
    pub id: String,
    pub target: String,
    pub state: String,
    pub attempts: u32,
    /// The kept answer's status, and for which request the agent said that it is.
    pub answer: Option<(u16, Option<u32>)>,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub sent: Vec<Sent>,
    pub got: Vec<Got>,
    pub records: Vec<Final>,
    /// What the client saw at the address that it was given, in the end: the state, by the record's id.
    pub opened: BTreeMap<String, String>,
    /// When something was broken on purpose: from, until.
    pub troubles: Vec<(u64, u64)>,
    /// Agents with `order: strict`.
    pub strict: BTreeSet<String>,
    /// `persistence.maxRetries`.
    pub max_retries: u32,
    /// How long a claim holds, in milliseconds.
    pub lease: u64,
    /// How long after something broke its consequences may be seen, in milliseconds.
    pub margin: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What must not be.
    pub faults: Vec<String>,
    /// How much of what there was.
    pub counts: BTreeMap<String, u64>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "{count:>7}  {what}")?;
        }
        for fault in &self.faults {
            writeln!(f, "FAULT    {fault}")?;
        }
        Ok(())
    }
}

impl Verdict {
    fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }
}

/// The number in a target.
pub fn number(target: &str) -> Option<u32> {
    let rest = target.strip_prefix("/w/")?;
    rest.split('?').next()?.parse().ok()
}

/// Everything about one request.
struct Case<'a> {
    sent: &'a Sent,
    got: Vec<&'a Got>,
    records: Vec<&'a Final>,
    /// Of these nobody was told, and no agent.
    withdrawn: Vec<&'a Final>,
}

/// Whether a record was written for a request that then went another way, because the journal did not say in time that it has it: it
/// is taken back, under an id that nobody heard of.
fn withdrawn(record: &Final, case: &Case<'_>) -> bool {
    let told = match &case.sent.promise {
        Promise::Kept { id } | Promise::Unknown { id } => *id == record.id,
        Promise::Answer { .. } | Promise::Refused { .. } | Promise::Nothing => false,
    };
    let mut sent = case.got.iter().filter_map(|got| got.record.as_ref());
    record.state == "cancelled" && !told && !sent.any(|(id, _)| *id == record.id)
}

/// Checks a run.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let mut cases: BTreeMap<u32, Case<'_>> = BTreeMap::new();
    for sent in &history.sent {
        let case = Case {
            sent,
            got: Vec::new(),
            records: Vec::new(),
            withdrawn: Vec::new(),
        };
        cases.insert(sent.number, case);
    }
    for got in &history.got {
        match number(&got.target).and_then(|number| cases.get_mut(&number)) {
            Some(case) => case.got.push(got),
            None => verdict.fault(format!(
                "{} got {} {}, which nobody sent",
                got.agent, got.method, got.target
            )),
        }
    }
    for record in &history.records {
        match number(&record.target).and_then(|number| cases.get_mut(&number)) {
            Some(case) => case.records.push(record),
            None => verdict.fault(format!("a record of {}, which nobody sent", record.target)),
        }
    }
    for case in cases.values_mut() {
        case.got.sort_by_key(|got| got.at);
        let all = std::mem::take(&mut case.records).into_iter();
        (case.records, case.withdrawn) = all.partition(|record| !withdrawn(record, case));
        counted(case, &mut verdict);
        kept(case, history, &mut verdict);
        true_to_the_byte(case, &mut verdict);
        repeats(case, history, &mut verdict);
    }
    for agent in &history.strict {
        order(agent, &cases, &mut verdict);
    }
    verdict
}

fn counted(case: &Case<'_>, verdict: &mut Verdict) {
    let told = match &case.sent.promise {
        Promise::Answer { .. } => "answered at once",
        Promise::Kept { .. } => "promised (202)",
        Promise::Unknown { .. } => "told that the end is unknown (502)",
        Promise::Refused { .. } => "refused",
        Promise::Nothing => "told nothing",
    };
    verdict.count("sent");
    verdict.count(format!("sent: {told}"));
    for record in &case.records {
        verdict.count(format!("records: {}", record.state));
    }
    for _ in &case.withdrawn {
        verdict.count("records: withdrawn");
    }
    for got in &case.got {
        verdict.count("got by agents");
        if got.record.as_ref().is_some_and(|(_, attempt)| *attempt > 1) {
            verdict.count("got by agents: again");
        }
    }
}

/// Law 2: what was promised has one end, and a true one.
fn kept(case: &Case<'_>, history: &History, verdict: &mut Verdict) {
    let sent = case.sent;
    let name = format!("{} to {} ({})", sent.number, sent.agent, sent.method);
    if case.records.len() > 1 {
        verdict.fault(format!("law 2: {name} has {} records", case.records.len()));
    }
    let promised = match &sent.promise {
        Promise::Kept { id } | Promise::Unknown { id } => Some(id),
        Promise::Answer { status, of } => {
            if of.is_some_and(|of| of != sent.number) {
                verdict.fault(format!("law 4: {name} was answered with another's answer"));
            }
            let answered = |got: &Got| got.answered.is_some_and(|(_, said)| said == *status);
            if !case.got.iter().any(|got| answered(got)) {
                verdict.fault(format!(
                    "{name} was answered with {status} and its agent never said so"
                ));
            }
            None
        }
        Promise::Refused { status } => {
            if !case.got.is_empty() || !case.records.is_empty() {
                verdict.fault(format!("{name} was refused with {status} and kept or sent"));
            }
            None
        }
        Promise::Nothing => None,
    };
    if let Some(id) = promised {
        if !case.records.iter().any(|record| record.id == *id) {
            verdict.fault(format!("law 2: {name} was promised and is lost"));
        }
        match history.opened.get(id) {
            None => verdict.fault(format!("{name}: its address opens nothing")),
            Some(state) if case.records.iter().any(|it| it.state != *state) => {
                verdict.fault(format!("{name}: its address tells of another state"));
            }
            Some(_) => {}
        }
    }
    for record in &case.records {
        if let Err(why) = ended(record, case, history) {
            verdict.fault(format!("law 2: {name}: {why}"));
        }
    }
}

/// Whether a record's end is one, and agrees with what its agent saw.
fn ended(record: &Final, case: &Case<'_>, history: &History) -> Result<(), String> {
    let Final {
        state,
        answer,
        attempts,
        ..
    } = record;
    let repeatable = case.sent.repeatable;
    let said = |status: u16| {
        let answers = case.got.iter().filter_map(|got| got.answered);
        answers.into_iter().any(|(_, said)| said == status)
    };
    if let Some((status, of)) = answer {
        if !said(*status) {
            return Err(format!("the record says {status}, and its agent never did"));
        }
        if of.is_some_and(|of| of != case.sent.number) {
            return Err("the record has another's answer".to_owned());
        }
    }
    match (state.as_str(), answer) {
        ("completed", Some((status, _))) if *status < 500 => Ok(()),
        ("completed", Some((status, _))) => Err(format!("completed with {status}")),
        ("completed", None) => Err("completed without an answer".to_owned()),
        ("failed", Some((500.., _))) if !repeatable => Ok(()),
        // What its client was told, or was on its way to it, is not repeated behind its back.
        ("failed", Some((told @ 500.., _))) => match case.sent.promise {
            Promise::Answer { status, .. } if status == *told => Ok(()),
            Promise::Nothing => Ok(()),
            _ => Err(format!("failed with {told}, though it may be repeated")),
        },
        ("dead", _) if *attempts > history.max_retries => Ok(()),
        ("unknown", _) if repeatable => Err("unknown, though it may be repeated".to_owned()),
        ("unknown", _) => {
            let known = case.got.iter().filter_map(|got| got.answered);
            let mut known = known.filter(|(at, _)| !troubled(history, *at));
            match known.next_back() {
                Some((_, status)) => Err(format!(
                    "unknown, though its agent answered with {status} and nothing was broken then"
                )),
                None => Ok(()),
            }
        }
        (state, _) => Err(format!("{state} is no end of it")),
    }
}

fn troubled(history: &History, at: u64) -> bool {
    let mut troubles = history.troubles.iter();
    troubles.any(|(from, until)| {
        from.saturating_sub(history.margin) <= at && at <= until.saturating_add(history.margin)
    })
}

/// Path, query, repeated header fields and body as they were sent, to whom they were sent.
fn true_to_the_byte(case: &Case<'_>, verdict: &mut Verdict) {
    let sent = case.sent;
    let ordered = |fields: &[Field]| {
        let mut fields = fields.to_vec();
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        fields
    };
    for got in &case.got {
        let name = format!("{} to {}", sent.number, sent.agent);
        if got.agent != sent.agent {
            verdict.fault(format!("law 4: {name} came to {}", got.agent));
        }
        if (&got.method, &got.target) != (&sent.method, &sent.target) {
            verdict.fault(format!(
                "{name}: {} {} came as {} {}",
                sent.method, sent.target, got.method, got.target
            ));
        }
        if ordered(&got.fields) != ordered(&sent.fields) {
            verdict.fault(format!(
                "{name}: its header fields came as {:?}",
                got.fields
            ));
        }
        if got.body.as_ref().is_some_and(|body| *body != sent.body) {
            verdict.fault(format!("{name}: another body came"));
        }
    }
}

/// Law 3: nothing is repeated by guess.
fn repeats(case: &Case<'_>, history: &History, verdict: &mut Verdict) {
    let sent = case.sent;
    let name = format!("{} to {} ({})", sent.number, sent.agent, sent.method);
    if !sent.repeatable && case.got.len() > 1 {
        let times: Vec<u64> = case.got.iter().map(|got| got.at).collect();
        verdict.fault(format!(
            "law 3: {name} may not be repeated and came {} times, at {times:?} ms",
            times.len()
        ));
    }
    let mut attempts = BTreeSet::new();
    for got in &case.got {
        let Some((id, attempt)) = &got.record else {
            continue;
        };
        if !case.records.is_empty() && !case.records.iter().any(|record| record.id == *id) {
            verdict.fault(format!("law 4: {name} came under another's id"));
        }
        if !attempts.insert(*attempt) {
            verdict.fault(format!("law 3: {name} came twice as delivery {attempt}"));
        }
        if *attempt > history.max_retries + 1 {
            verdict.fault(format!("law 3: {name} came as delivery {attempt}"));
        }
    }
    for (n, later) in case.got.iter().enumerate().skip(1) {
        let earlier = case.got.get(n - 1).copied();
        let Some(earlier) = earlier.filter(|_| later.record.is_some()) else {
            continue;
        };
        let over = earlier.answered.filter(|(_, status)| *status < 500);
        if over.is_some_and(|(at, _)| at <= later.at && !troubled(history, at)) {
            verdict.fault(format!(
                "law 3: {name} came again after its answer, and nothing was broken then"
            ));
        }
        let beside = earlier.ended.is_none_or(|ended| ended > later.at);
        if beside && earlier.record.is_some() && later.at < earlier.at + history.lease {
            verdict.fault(format!(
                "law 3: {name} came twice at once, at {} and {} ms",
                earlier.at, later.at
            ));
        }
    }
}

/// With `order: strict`: what was promised before another was sent is begun before it, and done with.
fn order(agent: &str, cases: &BTreeMap<u32, Case<'_>>, verdict: &mut Verdict) {
    // When each was promised, sent, first begun and last begun.
    let mut all: Vec<(&Sent, u64, u64)> = Vec::new();
    for case in cases.values().filter(|case| case.sent.agent == agent) {
        let queued = case.got.iter().filter(|got| got.record.is_some());
        let times: Vec<u64> = queued.map(|got| got.at).collect();
        let promised = matches!(case.sent.promise, Promise::Kept { .. });
        if let (true, Some(first), Some(last)) = (promised, times.first(), times.last()) {
            all.push((case.sent, *first, *last));
        }
    }
    for (before, _, last) in &all {
        for (after, first, _) in &all {
            if before.ended < after.began && last > first {
                verdict.fault(format!(
                    "order: {} was promised before {} was sent, and came after it",
                    before.number, after.number
                ));
            }
        }
    }
}
