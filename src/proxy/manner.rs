//! Which requests may be kept in the journal: one contract for every wait. Pure.

use std::time::Duration;

use http::header::{HeaderMap, UPGRADE};
use http::{Method, Request};

use super::grpc;
use super::keyed::IDEMPOTENCY_KEY;
use super::prefer::Preference;
use super::request::CALLBACK_URL;
use crate::agent::spec::{Persistence, PersistenceMode};
use crate::callback::{NotAllowed, Rules, Target};

/// How a request is treated that cannot be answered now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// It is kept, and the client gets 202.
    pub(super) kept: bool,
    /// That is wanted even if it could be answered now.
    pub(super) in_background: bool,
    /// It is kept in any case, before it is forwarded, or is not forwarded (`persistence.mode: always`).
    pub(super) always: bool,
    /// It is kept before it is forwarded if that can be done: it carries a key.
    pub(super) keyed: bool,
    /// How long the client wants to wait first.
    pub(super) wait: Option<Duration>,
    /// As the client put it.
    pub(super) preference: Preference,
    /// Where it wants to be told how a kept request ended; looked at, and allowed.
    pub(super) callback: Option<String>,
}

impl Manner {
    /// As an agent's spec and the request's head say.
    pub(super) fn of<B>(request: &Request<B>, persistence: Option<&Persistence>) -> Self {
        let preference = Preference::of(request.headers());
        let mode = persistence.map_or(PersistenceMode::Auto, |given| given.mode);
        let wait = preference.wait;
        if mode == PersistenceMode::Off || never(request.method(), request.headers()) {
            return Self {
                wait,
                ..Self::default()
            };
        }
        let listed = match persistence {
            Some(given) => given
                .methods
                .iter()
                .any(|method| method.eq_ignore_ascii_case(request.method().as_str())),
            None => usual(request.method()),
        };
        let kept = listed || preference.respond_async;
        Self {
            kept,
            always: kept && mode == PersistenceMode::Always,
            keyed: kept && request.headers().contains_key(IDEMPOTENCY_KEY),
            in_background: preference.respond_async,
            wait,
            preference,
            callback: None,
        }
    }

    /// The same with where the client wants to be called back, if that is allowed.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn with_callback(
        mut self,
        headers: &HeaderMap,
        persistence: Option<&Persistence>,
        rules: &Rules,
    ) -> Result<Self, String> {
        let mut given = headers.get_all(CALLBACK_URL).into_iter();
        let (true, Some(url)) = (self.kept, given.next()) else {
            return Ok(self);
        };
        let one = given.next().is_none().then_some(url);
        let url = one.and_then(|url| url.to_str().ok());
        let url = url.ok_or_else(|| NotAllowed::NotOne.to_string())?;
        let listed = persistence.map_or(&[][..], |given| &given.callbacks.hosts);
        let target = Target::parse(url, listed).map_err(|error| error.to_string())?;
        if let Some(address) = target.address() {
            let checked = rules.check(address, &[]);
            checked.map_err(|kind| format!("the address is {kind}, which is not called"))?;
        }
        self.callback = Some(url.trim().to_owned());
        Ok(self)
    }

    /// Whether it is written before it is forwarded.
    pub(super) const fn first(&self) -> bool {
        self.always || self.keyed
    }

    /// How long it waits for its agent to get ready, or for a place: what is kept need not wait.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        match self.wait {
            Some(wait) => wait,
            None if self.kept => Duration::ZERO,
            None => usual,
        }
    }
}

/// The methods that are kept when the spec does not say; the default of `persistence.methods`.
fn usual(method: &Method) -> bool {
    matches!(
        *method,
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE
    )
}

/// What can only be answered at once: a change of protocol, a tunnel, a trace, and gRPC, whose client waits for trailers.
fn never(method: &Method, headers: &HeaderMap) -> bool {
    grpc::media_type(headers).is_some()
        || headers.contains_key(UPGRADE)
        || matches!(*method, Method::CONNECT | Method::TRACE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn manner(method: &str, header: (&str, &str), spec: Option<&Persistence>) -> Manner {
        let request = Request::builder().method(method).header(header.0, header.1);
        Manner::of(&request.body(()).unwrap(), spec)
    }

    const PLAIN: (&str, &str) = ("accept", "*/*");

    #[test]
    fn methods_that_write_are_kept_and_those_that_read_only_if_asked() {
        for (method, kept) in [
            ("POST", true),
            ("PUT", true),
            ("PATCH", true),
            ("DELETE", true),
            ("GET", false),
            ("HEAD", false),
            ("OPTIONS", false),
            ("PURGE", false),
        ] {
            for spec in [None, Some(&Persistence::default())] {
                assert_eq!(manner(method, PLAIN, spec).kept, kept, "{method}");
                let asked = manner(method, ("prefer", "respond-async"), spec);
                assert!(asked.kept && asked.in_background, "{method}");
                assert_eq!(manner(method, ("prefer", "wait=3"), spec).kept, kept);
            }
        }
    }

    #[test]
    fn what_can_only_be_answered_at_once_is_never_kept() {
        for (method, header) in [
            ("GET", ("upgrade", "websocket")),
            ("POST", ("content-type", "application/grpc+proto")),
            ("CONNECT", PLAIN),
            ("TRACE", ("prefer", "respond-async")),
        ] {
            assert!(!manner(method, header, None).kept, "{method} {header:?}");
        }
        let off = Persistence {
            mode: PersistenceMode::Off,
            ..Persistence::default()
        };
        assert!(!manner("POST", ("prefer", "respond-async"), Some(&off)).kept);
    }

    #[test]
    fn the_spec_names_other_methods() {
        let spec = Persistence {
            methods: vec!["post".to_owned(), "PURGE".to_owned()],
            ..Persistence::default()
        };
        for (method, kept) in [("POST", true), ("PURGE", true), ("PUT", false)] {
            assert_eq!(manner(method, PLAIN, Some(&spec)).kept, kept, "{method}");
        }
    }

    #[test]
    fn what_is_kept_waits_only_if_its_client_wants_to() {
        let usual = Duration::from_secs(5);
        let patience = |method, header| manner(method, header, None).patience(usual);
        assert_eq!(patience("POST", PLAIN), Duration::ZERO);
        assert_eq!(patience("GET", PLAIN), usual);
        for method in ["POST", "GET"] {
            let wait = patience(method, ("prefer", "wait=30"));
            assert_eq!(wait, Duration::from_secs(30));
        }
    }
}
