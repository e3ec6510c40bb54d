//! Which `Host` a management route is asked by, against DNS rebinding; and no writes on another site's behalf.
//!
//! A web page that makes its own name resolve to our address is same-origin to the browser, and its requests carry its name in
//! `Host`; one that merely posts to us carries its name in `Origin`, or `Sec-Fetch-Site` says so.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::ApiState;
use super::refusal::{Answer, Refusal};

/// The routes that anybody may ask under any name.
const OPEN: [&str; 2] = ["/health", "/ready"];

/// And those below this: whoever knows the address was given it, under the name that the agents are called by.
const OPEN_BELOW: &str = "/results/";

/// Refuses what was not addressed to us, and writes that another site's page sends.
pub(super) async fn check(
    State(api): State<ApiState>,
    request: Request,
    next: Next,
) -> Answer<Response> {
    let path = request.uri().path();
    if !OPEN.contains(&path) && !path.starts_with(OPEN_BELOW) {
        let host = host(request.uri(), request.headers())
            .ok_or_else(|| misdirected("it names none or several"))?;
        if !is_ours(name_of(&host), || (api.allowed_hosts)()) {
            let shown: String = host.chars().take(80).collect();
            return Err(misdirected(&format!("'{shown}' is not one of ours")));
        }
        if !matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        ) && cross_site(request.headers(), &host)
        {
            return Err(Refusal::forbidden(
                "a page of another site may not write here",
            ));
        }
    }
    Ok(next.run(request).await)
}

fn misdirected(cause: &str) -> Refusal {
    Refusal::new(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected",
        "The request is addressed to somebody else",
        format!(
            "the Host header must be localhost, a loopback address, host.docker.internal, the agents' gateway or a name given with 'agentainer serve --allow-host': {cause}"
        ),
    )
}

/// The authority that the request is addressed to: the target's own when it is absolute (HTTP/2, a proxy), else `Host`; the two may
/// not differ.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut given = headers.get_all(HOST).iter();
    let header = given.next().map(|value| value.to_str().map(str::to_owned));
    if given.next().is_some() {
        return None;
    }
    match (uri.authority(), header) {
        (None, Some(Ok(header))) => Some(header),
        (Some(target), None) => Some(target.as_str().to_owned()),
        (Some(target), Some(Ok(header))) if target.as_str().eq_ignore_ascii_case(&header) => {
            Some(header)
        }
        _ => None,
    }
}

/// The name in `name`, `name:port`, `[v6]` and `[v6]:port`, without a trailing dot.
fn name_of(authority: &str) -> &str {
    let name = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((inside, port)) if port.is_empty() || is_port(port) => inside,
            _ => "",
        },
        None => match authority.find(':') {
            Some(at) if is_port(authority.get(at..).unwrap_or_default()) => {
                authority.get(..at).unwrap_or_default()
            }
            Some(_) => "",
            None => authority,
        },
    };
    name.strip_suffix('.').unwrap_or(name)
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .is_some_and(|digits| digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_ours(name: &str, configured: impl FnOnce() -> Vec<String>) -> bool {
    let loopback = match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => address == Ipv6Addr::LOCALHOST,
        Err(_) => false,
    };
    !name.is_empty()
        && (loopback
            || name.eq_ignore_ascii_case("localhost")
            || name.eq_ignore_ascii_case("host.docker.internal")
            || configured()
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name)))
}

fn cross_site(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    text(ORIGIN.as_str()).is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_7_only_our_names_are_ours() {
        let configured = || vec!["172.30.0.1".to_owned(), "box.example".to_owned()];
        for (authority, ours) in [
            ("localhost", true),
            ("LOCALHOST:8081", true),
            ("localhost.", true),
            ("127.0.0.1:8081", true),
            ("127.8.9.10", true),
            ("[::1]:8081", true),
            ("[::1]", true),
            ("host.docker.internal:8081", true),
            ("172.30.0.1:8081", true),
            ("box.example", true),
            ("", false),
            (":8081", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:8081", false),
            ("172.30.0.2:8081", false),
            ("0.0.0.0:8081", false),
            ("[::]:8081", false),
            ("[::1]evil", false),
            ("localhost:8081:1", false),
            ("localhost:x", false),
            ("user@localhost", false),
            ("2130706433", false),
        ] {
            assert_eq!(is_ours(name_of(authority), configured), ours, "{authority}");
        }
    }
}
