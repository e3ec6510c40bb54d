//! Bodies as JSON: type, size, form, each with its own refusal.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::refusal::{Answer, Refusal};
use crate::problem::FieldProblem;

/// How long a body may take to arrive; builds have no such limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// JSON alone.
pub(super) const JSON: &[&str] = &["application/json"];
/// A merge patch (RFC 7396); plain JSON means the same.
pub(super) const MERGE_PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// Reads a whole body of one of `types` as JSON of at most `limit` bytes. Keys that are given twice are refused.
pub(super) async fn json(
    headers: &HeaderMap,
    body: Body,
    types: &[&str],
    limit: u64,
) -> Answer<Value> {
    expect_type(headers, types)?;
    let bytes = read(headers, body, limit).await?;
    let mut source = serde_json::Deserializer::from_slice(&bytes);
    let value = Strict
        .deserialize(&mut source)
        .and_then(|value| source.end().map(|()| value));
    value.map_err(|error| Refusal::bad(format!("the body is no JSON that we take: {error}")))
}

/// Reads a body that must say nothing.
pub(super) async fn none(headers: &HeaderMap, body: Body) -> Answer<()> {
    let bytes = read(headers, body, 4096).await?;
    match bytes.trim_ascii() {
        b"" | b"{}" => Ok(()),
        _ => Err(Refusal::bad("this route takes no body")),
    }
}

/// A value as one of the API's types.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Answer<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        Refusal::invalid(vec![FieldProblem {
            path: if path == "." { String::new() } else { path },
            message: suggest(&error.into_inner().to_string()),
        }])
    })
}

/// Serde's words with the nearest of the names that it expected.
pub(super) fn suggest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let near = message
        .starts_with("unknown ")
        .then(|| quoted.next())
        .flatten()
        .and_then(|given| crate::names::nearest(given, quoted));
    near.map_or_else(
        || message.to_owned(),
        |near| format!("{message} (did you mean '{near}'?)"),
    )
}

/// Refuses a body that says to be of another type.
pub(super) fn expect_type(headers: &HeaderMap, types: &[&str]) -> Answer<()> {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .map(str::trim);
    if given.is_some_and(|given| types.iter().any(|known| known.eq_ignore_ascii_case(given))) {
        return Ok(());
    }
    Err(Refusal::wrong_type(
        types.first().copied().unwrap_or_default(),
    ))
}

/// Refuses at once what says to be too large.
pub(super) fn expect_length(headers: &HeaderMap, limit: u64) -> Answer<()> {
    let said = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    match said {
        Some(length) if length > limit => Err(Refusal::too_large(limit)),
        _ => Ok(()),
    }
}

async fn read(headers: &HeaderMap, body: Body, limit: u64) -> Answer<Bytes> {
    expect_length(headers, limit)?;
    let reading = async {
        let mut read = BytesMut::new();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| Refusal::bad("the body broke off"))?;
            if (read.len() as u64).saturating_add(piece.len() as u64) > limit {
                return Err(Refusal::too_large(limit));
            }
            read.extend_from_slice(&piece);
        }
        Ok(read.freeze())
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap_or_else(|_| {
            Err(Refusal::new(
                http::StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "The body did not arrive in time",
                format!("a body may take {} s", PATIENCE.as_secs()),
            ))
        })
}

/// JSON whose objects name each key once: with serde's own map the last one wins in silence.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Self)?;
            if map.contains_key(&key) {
                let shown: String = key.chars().take(40).collect();
                return Err(serde::de::Error::custom(format!(
                    "the key '{shown}' is given twice"
                )));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
