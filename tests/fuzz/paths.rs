//! Path rewriting: which agent a target is for, and what of it the agent gets.

use agentainer::proxy::path::{Target, is_proxied, parse};
use bytes::Bytes;
use http::uri::PathAndQuery;

use crate::run;

const TARGET: run::Target = run::Target {
    name: "paths",
    words: &[
        "/agent/", "/agent", "users", "//", "/../", "/./", "%2F", "%2e", "%00", "?", "#", "\\",
        "@", ":", "\u{e9}", " ", "*", "http://b",
    ],
    everyday: 20_000,
};

/// The same by hand: the name between the second slash and the next one or the query, and all that stands behind it.
fn by_hand(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let below = text.strip_prefix(b"/agent/")?;
    let end = below.iter().position(|byte| b"/?".contains(byte));
    Some(below.split_at(end.unwrap_or(below.len())))
}

#[test]
fn paths_keep_every_byte_and_name_one_agent() {
    run::run(&TARGET, &run::files("fuzz/corpus/paths"), |input| {
        let Ok(target) = PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(input)) else {
            return Ok(());
        };
        let text = target.as_str();
        let parsed = parse(&target);
        if parsed.is_some() != is_proxied(target.path()) {
            return Err("the two do not agree on whose it is".to_owned());
        }
        let right = match parsed {
            None => !text.starts_with("/agent/"),
            Some(Target::Nobody) => by_hand(text.as_bytes())
                .is_none_or(|(agent, rest)| agent.is_empty() && !rest.starts_with(b"/")),
            Some(Target::Bare { agent, query }) => {
                by_hand(text.as_bytes()) == Some((agent.as_bytes(), query.as_bytes()))
                    && !agent.is_empty()
                    && (query.is_empty() || query.starts_with('?'))
            }
            Some(Target::Within { agent, rest }) => {
                let forwarded = PathAndQuery::try_from(rest).map_err(|error| error.to_string())?;
                by_hand(text.as_bytes()) == Some((agent.as_bytes(), rest.as_bytes()))
                    && rest.starts_with('/')
                    && forwarded.as_str() == rest
                    && forwarded.query() == target.query()
            }
        };
        // What http leaves out is a fragment, and nothing else.
        let whole = input
            .strip_prefix(text.as_bytes())
            .is_some_and(|left| left.is_empty() || left.starts_with(b"#"));
        match right && (whole || text == "/") {
            true => Ok(()),
            false => Err(format!("{parsed:?} of {text:?}")),
        }
    });
}
