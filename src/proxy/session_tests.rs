#![allow(clippy::unwrap_used)]
use std::net::SocketAddr;

use super::*;
use crate::observed::ContainerId;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, value.parse().unwrap());
    }
    map
}

fn spec(header: Option<&str>, cookie: Option<&str>) -> Proxy {
    Proxy {
        balance: Some(Balance::Hash),
        session: Some(Session {
            header: header.map(str::to_owned),
            cookie: cookie.map(str::to_owned),
        }),
        ..Proxy::default()
    }
}

fn key(fields: &[(&'static str, &str)], spec: &Proxy) -> Option<u64> {
    take(&mut headers(fields), spec).key
}

fn endpoint(id: &str) -> Endpoint {
    Endpoint::new(
        ContainerId(id.to_owned()),
        SocketAddr::from(([127, 0, 0, 1], 1)),
    )
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_header_names_the_session() {
    let by = spec(Some("Mcp-Session-Id"), None);
    let one = key(&[("mcp-session-id", "a")], &by);
    assert_eq!(one, Some(hash(b"a")));
    assert_ne!(one, key(&[("mcp-session-id", "b")], &by));
    assert_eq!(key(&[("mcp-session-id", "")], &by), None);
    assert_eq!(key(&[], &by), None);
    assert_eq!(key(&[("mcp-session-id", "a")], &Proxy::default()), None);
}

#[test]
fn a_cookie_names_the_session() {
    let by = spec(None, Some("sid"));
    let expected = Some(hash(b"x=1"));
    for given in ["sid=x=1", "a=b; sid=x=1", "notsid=2; sid=x=1 ;c"] {
        assert_eq!(key(&[("cookie", given)], &by), expected, "{given}");
    }
    let two = [("cookie", "a=b"), ("cookie", "sid=x=1")];
    assert_eq!(key(&two, &by), expected, "HTTP/2 splits cookies");
    assert_eq!(key(&[("cookie", "sid")], &by), None);
    assert_eq!(key(&[("cookie", "SID=x=1")], &by), None);
}

#[test]
fn the_header_comes_before_the_cookie() {
    let by = spec(Some("x-session"), Some("sid"));
    let both = [("x-session", "h"), ("cookie", "sid=c")];
    assert_eq!(key(&both, &by), Some(hash(b"h")));
    assert_eq!(key(&[("cookie", "sid=c")], &by), Some(hash(b"c")));
}

#[test]
fn a_name_that_an_instance_made_comes_back_to_it_and_the_agent_sees_it_as_it_made_it() {
    let by = spec(Some("mcp-session-id"), None);
    let (one, other) = (endpoint("one"), endpoint("other"));
    let stick = take(&mut headers(&[]), &by).stick.unwrap();
    let mut answer = headers(&[
        ("mcp-session-id", "s-1"),
        ("set-cookie", "mcp-session-id=1"),
    ]);
    stick.tell(&mut answer, &one);
    let told = all(&answer, "mcp-session-id").remove(0);
    assert!(told.starts_with("s-1~a") && told.len() == 3 + TAG, "{told}");
    assert_eq!(all(&answer, "set-cookie"), ["mcp-session-id=1"]);

    let mut next = headers(&[("mcp-session-id", &told)]);
    let taken = take(&mut next, &by);
    assert_eq!(all(&next, "mcp-session-id"), ["s-1"]);
    assert_eq!(
        (taken.key, taken.home),
        (Some(hash(b"s-1")), Some(instance(&one)))
    );
    // An echo is told as it came, whoever answers; another name is another session.
    let mut echo = headers(&[("mcp-session-id", "s-1")]);
    taken.stick.as_ref().unwrap().tell(&mut echo, &other);
    assert_eq!(all(&echo, "mcp-session-id"), [told]);
    let mut new = headers(&[("mcp-session-id", "s-2")]);
    taken.stick.unwrap().tell(&mut new, &other);
    let new = take(&mut new, &by);
    assert_eq!(new.home, Some(instance(&other)));
}

#[test]
fn a_name_that_the_client_made_stays_as_it_is() {
    let by = spec(Some("x-session"), None);
    let near = format!("{}x", String::from_utf8(tagged(b"mine", 7)).unwrap());
    let moved = String::from_utf8(tagged(b"mine", 7))
        .unwrap()
        .replace("mine", "yours");
    for name in ["mine", "~a0000000000", "mine~a000000000000", &near, &moved] {
        let mut request = headers(&[("x-session", name)]);
        let taken = take(&mut request, &by);
        assert_eq!(taken.home, None, "{name}");
        let mut echo = request.clone();
        taken.stick.unwrap().tell(&mut echo, &endpoint("one"));
        assert_eq!(all(&echo, "x-session"), [name]);
        assert_eq!(request, echo);
    }
}

#[test]
fn a_cookie_that_an_instance_set_comes_back_to_it() {
    let by = spec(None, Some("sid"));
    let one = endpoint("one");
    let stick = take(&mut headers(&[]), &by).stick.unwrap();
    let set = [
        ("set-cookie", "sid=a.b; Path=/x; HttpOnly"),
        ("set-cookie", "sidx=1"),
        ("set-cookie", "sid=; Max-Age=0"),
        ("set-cookie", "sid=\"q\""),
    ];
    let mut answer = headers(&set);
    stick.tell(&mut answer, &one);
    let told = all(&answer, "set-cookie");
    let (pair, rest) = told[0].split_once(';').unwrap();
    assert!(pair.starts_with("sid=a.b~a"), "{pair}");
    assert_eq!(rest, " Path=/x; HttpOnly");
    assert_eq!(told[1..], ["sidx=1", "sid=; Max-Age=0", "sid=\"q\""]);

    for (given, bare) in [
        (format!("k=v; {pair} ; z"), ["k=v; sid=a.b; z", "w=1"]),
        (pair.to_owned(), ["sid=a.b", "w=1"]),
    ] {
        let mut next = headers(&[("cookie", &given), ("cookie", "w=1")]);
        let taken = take(&mut next, &by);
        assert_eq!(
            (taken.key, taken.home),
            (Some(hash(b"a.b")), Some(instance(&one)))
        );
        assert_eq!(all(&next, "cookie"), bare);
    }
}

#[test]
fn only_agents_that_ask_for_it_have_anything_changed() {
    let value = String::from_utf8(tagged(b"mine", 7)).unwrap();
    let mut by = spec(Some("x-session"), None);
    by.balance = Some(Balance::RoundRobin);
    for by in [by, Proxy::default()] {
        let mut request = headers(&[("x-session", &value)]);
        let taken = take(&mut request, &by);
        assert!(taken.stick.is_none() && taken.key.is_none());
        assert_eq!(all(&request, "x-session"), [value.as_str()]);
    }
}
