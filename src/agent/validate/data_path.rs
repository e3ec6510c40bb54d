//! What `spec.proxy` and `spec.persistence` mean and may not mean, beyond their form.

use super::super::check::short;
use super::super::hosts::is_pattern;
use super::super::spec::{Balance, Order, Persistence, Proxy, Session};
use super::{FieldError, FieldPath};

/// Every error of it.
pub(super) fn rules(proxy: &Proxy) -> Vec<FieldError> {
    let mut found = Vec::new();
    let at = FieldPath::of("proxy");
    let hashes = proxy.balance == Some(Balance::Hash);
    let session = proxy.session.as_ref();
    match session.map(names) {
        Some([None, None]) | None if hashes => found.push(
            FieldError::new(
                at.key("balance"),
                "by hash needs to know what a session is recognised by",
            )
            .help("add `session: {header: Mcp-Session-Id}`, or a cookie's name"),
        ),
        Some(given) if !hashes && given != [None, None] => found.push(
            FieldError::new(at.key("session"), "means nothing without `balance: hash`")
                .help("add `balance: hash`, or leave the session out"),
        ),
        _ => {}
    }
    if let Some([header, cookie]) = session.map(names) {
        let at = at.key("session");
        for (field, name) in [("header", header), ("cookie", cookie)] {
            if name.is_some_and(|name| !is_token(name)) {
                found.push(FieldError::new(
                    at.key(field),
                    "is not a name: letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 §5.6.2)",
                ));
            }
        }
    }
    if let Some(breaker) = &proxy.breaker {
        let at = at.key("breaker");
        if breaker.share().is_none() {
            found.push(
                FieldError::new(at.key("maxEjected"), "is not a share from 0% to 100%")
                    .help("`50%` is half of the instances; one may always be left alone"),
            );
        }
        if breaker.failures > 0 && breaker.cooldown.millis == 0 {
            found.push(
                FieldError::new(at.key("cooldown"), "must be more than 0s")
                    .help("`failures: 0` turns the breaker off"),
            );
        }
    }
    found
}

/// Every error of what is said of keeping requests.
pub(super) fn keeping(persistence: &Persistence) -> Vec<FieldError> {
    let mut found = Vec::new();
    let at = FieldPath::of("persistence");
    for method in &persistence.methods {
        let never = ["CONNECT", "TRACE"]
            .iter()
            .any(|one| method.eq_ignore_ascii_case(one));
        if never || method.is_empty() || !is_token(method) {
            found.push(
                FieldError::new(at.key("methods"), format!("'{method}' cannot be kept"))
                    .help("name methods such as POST, PUT, PATCH and DELETE"),
            );
        }
    }
    for host in &persistence.callbacks.hosts {
        if !is_pattern(host) {
            let said = format!("'{}' is no host", short(host));
            found.push(
                FieldError::new(at.key("callbacks").key("hosts"), said)
                    .help("write `hooks.example.org`, or `*.example.org` for all names below it; no scheme, port or path"),
            );
        }
    }
    if persistence.ttl.millis == 0 {
        found.push(
            FieldError::new(at.key("ttl"), "must be more than 0s")
                .help("`mode: off` keeps nothing"),
        );
    }
    if persistence.ttl > Persistence::LONGEST_TTL {
        let said = format!("must be at most {} (ten years)", Persistence::LONGEST_TTL);
        found.push(
            FieldError::new(at.key("ttl"), said)
                .help("it is how long a request may wait, and how long what became of it is kept"),
        );
    }
    if persistence.concurrency == 0 {
        found.push(FieldError::new(at.key("concurrency"), "must be 1 or more"));
    }
    if persistence.order == Order::Strict
        && persistence.concurrency > 1
        && persistence.concurrency != Persistence::default().concurrency
    {
        found.push(
            FieldError::new(
                at.key("concurrency"),
                "means nothing with `order: strict`, which is one at a time",
            )
            .help("leave it out, or set it to 1"),
        );
    }
    if persistence.max_body.bytes > persistence.max_bytes.bytes {
        found.push(
            FieldError::new(
                at.key("maxBody"),
                "is more than maxBytes, so that the longest could never wait",
            )
            .help("raise maxBytes, or lower maxBody"),
        );
    }
    found
}

/// The header and the cookie that are named; an empty name is none.
fn names(session: &Session) -> [Option<&str>; 2] {
    [&session.header, &session.cookie].map(|name| name.as_deref().filter(|name| !name.is_empty()))
}

fn is_token(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    name.bytes().all(plain)
}
