#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;

fn rewritten(
    peer: &str,
    upgrade: Option<&'static str>,
    lines: &[(&str, &str)],
) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let origin = Origin {
        agent: "users",
        prefixed: true,
        peer: peer.parse().unwrap(),
        tls: false,
        host: Some(HeaderValue::from_static("box:8081")),
        upgrade: upgrade.map(HeaderValue::from_static),
    };
    rewrite(&mut headers, &origin, &|value| value == "Bearer ours");
    let mut all: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    all.sort();
    all
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.as_str())
}

#[test]
fn a_strangers_claims_about_itself_are_replaced() {
    let headers = rewritten(
        "10.1.2.3:5000",
        None,
        &[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "for=1.1.1.1"),
        ],
    );
    for (name, expected) in [
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "box:8081"),
        ("x-forwarded-prefix", "/agent/users"),
        ("forwarded", "for=10.1.2.3;proto=http;host=\"box:8081\""),
        ("host", "box:8081"),
    ] {
        assert_eq!(value(&headers, name), Some(expected), "{name}");
    }
}

#[test]
fn a_proxy_on_this_machine_is_believed_and_added_to() {
    let headers = rewritten(
        "[::1]:5000",
        None,
        &[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.org"),
            ("x-forwarded-prefix", "/box/"),
            ("forwarded", "for=1.1.1.1"),
        ],
    );
    for (name, expected) in [
        ("x-forwarded-for", "1.1.1.1, ::1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "example.org"),
        ("x-forwarded-prefix", "/box/agent/users"),
        (
            "forwarded",
            "for=1.1.1.1, for=\"[::1]\";proto=http;host=\"box:8081\"",
        ),
    ] {
        assert_eq!(value(&headers, name), Some(expected), "{name}");
    }
}

#[test]
fn an_address_in_ipv6_clothes_is_shown_as_what_it_is() {
    let headers = rewritten("[::ffff:10.1.2.3]:5000", None, &[]);
    assert_eq!(value(&headers, "x-forwarded-for"), Some("10.1.2.3"));
}

#[test]
fn law_7_a_token_of_ours_never_reaches_an_agent() {
    let headers = rewritten("10.1.2.3:1", None, &[("authorization", "Bearer ours")]);
    assert_eq!(value(&headers, "authorization"), None);
    let both = rewritten(
        "10.1.2.3:1",
        None,
        &[
            ("authorization", "Bearer ours"),
            ("authorization", "Bearer theirs"),
        ],
    );
    assert_eq!(value(&both, "authorization"), Some("Bearer theirs"));
}

#[test]
fn fields_that_are_ours_to_set_are_not_taken_from_outside() {
    let headers = rewritten(
        "127.0.0.1:1",
        None,
        &[
            ("x-agentainer-replay", "1"),
            ("x_agentainer_replay", "1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-forwarded_host", "evil"),
            ("x_custom", "kept"),
        ],
    );
    assert_eq!(value(&headers, "x_custom"), Some("kept"));
    assert!(
        headers
            .iter()
            .all(|(name, _)| !name.contains("agentainer")
                && (!name.contains('_') || name == "x_custom")),
        "{headers:?}"
    );
}

#[test]
fn connection_cannot_take_away_what_we_set() {
    let headers = rewritten(
        "10.1.2.3:1",
        None,
        &[
            ("connection", "close, x-forwarded-for, host"),
            ("x-forwarded-for", "1.1.1.1"),
        ],
    );
    assert_eq!(value(&headers, "x-forwarded-for"), Some("10.1.2.3"));
    assert_eq!(value(&headers, "host"), Some("box:8081"));
    assert_eq!(value(&headers, "connection"), None);
}

#[test]
fn trailers_and_upgrades_are_asked_for_again_on_our_own_connection() {
    let headers = rewritten(
        "10.1.2.3:1",
        None,
        &[("te", "trailers, gzip"), ("connection", "te")],
    );
    assert_eq!(
        (value(&headers, "te"), value(&headers, "connection")),
        (Some("trailers"), Some("te"))
    );
    let headers = rewritten(
        "10.1.2.3:1",
        Some("websocket"),
        &[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("expect", "100-Continue"),
        ],
    );
    assert_eq!(
        (value(&headers, "upgrade"), value(&headers, "connection")),
        (Some("websocket"), Some("upgrade"))
    );
    assert_eq!(value(&headers, "expect"), None);
}
