//! What is kept about an agent beside spec and status: its revisions and the events worth telling people.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::{AgentSpec, HealthCheck};
use super::{Revision, Shape};
use crate::names::AgentName;

/// How many revisions of an agent are kept. Those that are asked for, running or the last good one are kept beyond it.
pub const REVISIONS_KEPT: usize = 10;

/// A revision, as it was first seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRecord {
    /// The revision.
    pub revision: Revision,
    /// Its number in the history, from 1; one that is asked for again gets the next, as in kubectl. 0: it was recorded
    /// by a version that gave none.
    #[serde(default)]
    pub number: u64,
    /// The image it was resolved to.
    pub image_id: String,
    /// The image as the spec named it.
    pub image: String,
    /// Our name for the image, which keeps it from a prune; `None`: given by a version whose names clusters shared, so
    /// that it is never taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The generation that brought it.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// What containers of it are made from; `None`: recorded by a version that kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// The last check that has passed on an instance of it, by which all of them are judged; `None`: none has yet, or it
    /// was recorded by a version that kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Check>,
}

/// How an instance is asked whether it is well. That there is no `healthCheck`, so that its port need only accept, is a
/// check too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Check {
    /// As a spec has it; `None`: it is well when the port accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

impl Check {
    /// That of a spec.
    pub fn of(spec: &AgentSpec) -> Self {
        Self {
            health_check: spec.health_check.clone(),
        }
    }

    /// Whether another asks the same. What is made of the answers (`interval`, `retries`, `startPeriod`, `restartOnStatus`) is no
    /// part of that.
    pub fn asks_like(&self, other: &Self) -> bool {
        let asks = |check: &Self| {
            let check = check.health_check.as_ref()?;
            Some((check.endpoint.clone(), check.timeout))
        };
        asks(self) == asks(other)
    }
}

/// Records by number, the oldest first. Those without a number get those before the first that has one, in the order in
/// which they came.
pub fn numbered(mut records: Vec<RevisionRecord>) -> Vec<RevisionRecord> {
    let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
    let numbers = records.iter().map(|record| record.number);
    let mut next = numbers
        .filter(|number| *number > 0)
        .min()
        .unwrap_or_else(|| count.saturating_add(1));
    records.sort_by_key(|record| (record.number, record.at, record.generation));
    let bare = records.partition_point(|record| record.number == 0);
    for record in records.iter_mut().take(bare).rev() {
        next = next.saturating_sub(1);
        record.number = next;
    }
    records
}

/// The number that the next revision gets.
pub fn next_number(records: &[RevisionRecord]) -> u64 {
    let highest = records.iter().map(|record| record.number).max();
    let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
    highest.unwrap_or(0).max(count).saturating_add(1)
}

/// Something worth telling people about an agent or the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    /// The agent; left out: it is about the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// Whether somebody should look.
    #[serde(rename = "type", default)]
    pub kind: EventKind,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence, without secrets.
    pub message: String,
    /// How often.
    pub count: u32,
    /// When first.
    pub first_seen: Timestamp,
    /// When last.
    pub last_seen: Timestamp,
}

/// What kind of event, with Kubernetes' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventKind {
    /// Things go their way.
    #[default]
    Normal,
    /// Something is amiss.
    Warning,
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(number: u64, second: i64) -> RevisionRecord {
        RevisionRecord {
            revision: Revision(format!("v1:{second}")),
            number,
            image_id: "sha256:1".to_owned(),
            image: "users".to_owned(),
            tag: None,
            generation: 1,
            at: Timestamp::from_second(second).unwrap(),
            shape: None,
            proven: None,
        }
    }

    #[test]
    fn records_without_a_number_come_before_those_with_one() {
        let numbers = |records| -> Vec<(u64, i64)> {
            let all = numbered(records).into_iter();
            all.map(|r| (r.number, r.at.as_second())).collect()
        };
        let bare = vec![record(0, 20), record(0, 10)];
        assert_eq!(next_number(&bare), 3);
        assert_eq!(numbers(bare), [(1, 10), (2, 20)]);
        let mixed = vec![record(3, 30), record(0, 20), record(4, 5)];
        assert_eq!(next_number(&mixed), 5);
        assert_eq!(numbers(mixed), [(2, 20), (3, 30), (4, 5)]);
        assert_eq!(next_number(&[]), 1);
    }

    #[test]
    fn a_record_of_an_earlier_version_still_reads() {
        let text = r#"{"revision":"v1:a","imageId":"sha256:1","image":"users","generation":4,"at":"2026-01-01T00:00:00Z"}"#;
        let record: RevisionRecord = serde_json::from_str(text).unwrap();
        assert_eq!((record.number, record.tag, record.shape), (0, None, None));
        assert_eq!(record.proven, None);
    }

    #[test]
    fn that_no_check_is_proven_is_told_from_that_none_is_known() {
        let mut known = record(1, 10);
        for health_check in [None, Some(HealthCheck::default())] {
            known.proven = Some(Check { health_check });
            let text = serde_json::to_string(&known).unwrap();
            assert_eq!(
                serde_json::from_str::<RevisionRecord>(&text).unwrap(),
                known
            );
        }
    }

    #[test]
    fn an_event_of_an_earlier_version_still_reads() {
        let at = "2026-01-01T00:00:00Z";
        let text = format!(
            r#"{{"agent":"users","reason":"Created","message":"m","count":2,"firstSeen":"{at}","lastSeen":"{at}"}}"#
        );
        let event: EventRecord = serde_json::from_str(&text).unwrap();
        assert_eq!((event.kind, event.count), (EventKind::Normal, 2));
        assert_eq!(event.agent.unwrap().as_str(), "users");
    }
}
