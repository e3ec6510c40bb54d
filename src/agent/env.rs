//! One environment value: text whatever YAML type it was written as, and never shown by `Debug`.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer, Serialize};

/// An environment value. Strings, numbers and booleans become text, a list is joined with commas, a map becomes
/// compact JSON (design, section 3). Values may be secrets: `Debug` prints stars.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[schemars(with = "EnvForm")]
pub struct EnvValue(pub String);

/// The forms that a value is written in (schema only).
#[derive(JsonSchema)]
#[schemars(untagged, rename = "EnvValue")]
#[expect(dead_code, reason = "describes the schema alone")]
enum EnvForm {
    /// Text, kept as it is.
    Text(String),
    /// A number, as text.
    Number(f64),
    /// `true` or `false`, as text.
    Boolean(bool),
    /// Joined with commas.
    List(Vec<serde_json::Value>),
    /// Compact JSON.
    Map(serde_json::Map<String, serde_json::Value>),
}

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl EnvValue {
    /// The text that the container gets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for EnvValue {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for EnvValue {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = EnvValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, a boolean, a list or a map")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<EnvValue, E> {
                Ok(EnvValue(text.to_owned()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<EnvValue, E> {
                Ok(EnvValue(value.to_string()))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<EnvValue, E> {
                Ok(EnvValue(value.to_string()))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<EnvValue, E> {
                Ok(EnvValue(value.to_string()))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<EnvValue, E> {
                Ok(EnvValue(value.to_string()))
            }
            fn visit_unit<E: Error>(self) -> Result<EnvValue, E> {
                Err(E::custom(
                    "an environment value is missing: write \"\" for an empty one, or ${NAME} to take it from your environment",
                ))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<EnvValue, A::Error> {
                let mut parts = Vec::new();
                while let Some(EnvValue(part)) = items.next_element()? {
                    parts.push(part);
                }
                Ok(EnvValue(parts.join(",")))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnvValue, A::Error> {
                let value = serde_json::Value::deserialize(
                    serde::de::value::MapAccessDeserializer::new(map),
                )?;
                Ok(EnvValue(value.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(json: &str) -> String {
        serde_json::from_str::<EnvValue>(json).unwrap().0
    }

    #[test]
    fn every_type_becomes_text() {
        assert_eq!(value(r#""x""#), "x");
        assert_eq!(value("8080"), "8080");
        assert_eq!(value("true"), "true");
        assert_eq!(
            value(r#"["http://auth:8000", "http://users:8000", 3]"#),
            "http://auth:8000,http://users:8000,3"
        );
        assert_eq!(value(r#"{"a": 1, "b": [true]}"#), r#"{"a":1,"b":[true]}"#);
        assert!(serde_json::from_str::<EnvValue>("null").is_err());
    }

    #[test]
    fn law_7_debug_never_shows_a_value() {
        assert_eq!(format!("{:?}", EnvValue::from("secret")), "***");
    }
}
