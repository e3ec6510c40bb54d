//! `Prefer` (RFC 7240): whether a client would rather have its answer later, and how long it would wait for it.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest that anybody waits.
const LONGEST: Duration = Duration::from_secs(600);

/// What a client prefers, as far as it concerns us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Preference {
    /// `respond-async` (§4.1).
    pub(super) respond_async: bool,
    /// `wait=10`, in seconds (§4.3).
    pub(super) wait: Option<Duration>,
}

impl Preference {
    /// As its header fields say. Of one that is given twice the first counts (§2); what is not understood is ignored.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for one in preferences(headers) {
            match name_and_value(one) {
                (name, _) if name.eq_ignore_ascii_case("respond-async") => {
                    found.respond_async = true;
                }
                (name, Some(value)) if name.eq_ignore_ascii_case("wait") => {
                    let seconds = value.trim_matches('"').parse().ok();
                    let wait = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST));
                    found.wait = found.wait.or(wait);
                }
                _ => {}
            }
        }
        found
    }

    /// Takes what was heeded out of the fields: an agent that knows it too would heed it a second time.
    pub(super) fn strip(headers: &mut HeaderMap) {
        if !headers.contains_key(PREFER) {
            return;
        }
        let ours = |one: &&str| {
            let (name, _) = name_and_value(one);
            ["respond-async", "wait"]
                .iter()
                .any(|ours| name.eq_ignore_ascii_case(ours))
        };
        let left: Vec<&str> = preferences(headers).filter(|one| !ours(one)).collect();
        let left = HeaderValue::try_from(left.join(", "));
        headers.remove(PREFER);
        if let Ok(left) = left
            && !left.is_empty()
        {
            headers.insert(PREFER, left);
        }
    }

    /// `Preference-Applied` (§3), when something was.
    pub(super) fn applied(&self) -> Option<HeaderValue> {
        let mut text = String::new();
        if self.respond_async {
            text.push_str("respond-async");
        }
        if let Some(wait) = self.wait {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&format!("wait={}", wait.as_secs()));
        }
        HeaderValue::try_from(text)
            .ok()
            .filter(|value| !value.is_empty())
    }
}

fn preferences(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(PREFER).into_iter();
    let texts = fields.filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|one| !one.is_empty())
}

/// Without its parameters.
fn name_and_value(one: &str) -> (&str, Option<&str>) {
    let bare = one.split(';').next().unwrap_or(one);
    match bare.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (bare.trim(), None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn preferences_are_read_and_taken_out() {
        let seconds = |s| Some(Duration::from_secs(s));
        for (given, respond_async, wait, left) in [
            (&["respond-async"][..], true, None, None),
            (&["Respond-Async, WAIT=10"], true, seconds(10), None),
            (&["wait=\"5\"; x=1"], false, seconds(5), None),
            (&["wait=3", "wait=9"], false, seconds(3), None),
            (&["wait=99999"], false, Some(LONGEST), None),
            (
                &["wait=soon, handling=lenient"],
                false,
                None,
                Some("handling=lenient"),
            ),
            (&["return=minimal"], false, None, Some("return=minimal")),
            (&[], false, None, None),
        ] {
            let mut headers = headers(given);
            let found = Preference::of(&headers);
            assert_eq!(
                found,
                Preference {
                    respond_async,
                    wait
                },
                "{given:?}"
            );
            Preference::strip(&mut headers);
            let now = headers.get(PREFER).map(|value| value.to_str().unwrap());
            assert_eq!(now, left, "{given:?}");
        }
    }
}
