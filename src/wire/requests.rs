//! Requests that are kept, as the proxy and the API tell of them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client is told whose request is kept (202). Where it finds the answer stands in `Location`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdmittedBody {
    /// The record's id, which agents and operators see too. No secret.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// Where the record stands: `pending`.
    pub status: String,
    /// `memory`: the operator runs a Redis that may lose it. Left out: it is on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<String>,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderField {
    /// Its name, in lower case.
    pub name: String,
    /// Its value; `***` where it may be a secret.
    pub value: String,
}

/// An agent's answer to a kept request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptAnswer {
    /// Its status.
    pub status: u16,
    /// Its header fields, repeated ones in their order.
    pub headers: Vec<HeaderField>,
    /// Whether all of its body is kept: it was no longer than 1 MiB, and did not break off.
    pub whole: bool,
    /// Its body where it is text; `/answer` below this path gives its bytes whatever they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// What whoever holds a record's capability sees of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResultBody {
    /// The record's id.
    pub id: String,
    /// The agent's name.
    pub agent: String,
    /// Where it stands: pending, claimed (it is on its way), retrying, completed, failed, unknown, dead, cancelled or expired.
    pub status: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Deliveries begun so far.
    pub attempts: u32,
    /// When it was kept.
    pub admitted: Timestamp,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
    /// When it is given up, or forgotten once it is settled.
    pub expires: Timestamp,
    /// What the agent answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<KeptAnswer>,
    /// Who is told how it ended, where somebody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackBody>,
}

/// How far a record's callback is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackBody {
    /// Who is called. The rest of the URL is shown to nobody.
    pub host: String,
    /// unsettled (the record is), waiting (for its next call), done or given-up.
    pub status: String,
    /// Calls begun so far.
    pub calls: u32,
    /// How the last one ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What an agent's callbacks are signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackKey {
    /// The agent's name.
    pub agent: String,
    /// The key, as text. A secret.
    pub key: String,
}

/// A kept request as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestItem {
    /// The record and its answer, without that one's body.
    #[serde(flatten)]
    pub record: ResultBody,
    /// Its method.
    pub method: String,
    /// Path and query as its agent gets them.
    pub target: String,
    /// The length of its body.
    pub body_length: u64,
    /// Its header fields; shown of one alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderField>,
    /// Its place in the order of admission; `before` of the next page.
    pub sequence: u64,
}

/// A page of an agent's kept requests, the latest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestListBody {
    /// The requests.
    pub items: Vec<RequestItem>,
    /// `before` of the next page; left out on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// How many requests something was done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestCount {
    /// So many.
    pub count: u64,
}
