//! Which agent a request is for, and what of its target the agent gets: everything after `/agent/{id}`, byte for byte.
//!
//! Pure text. Nothing is decoded, normalised or joined: percent-encoding, dots, empty segments and the query belong to the
//! agent. Agent names are DNS labels, so the id needs no decoding either and is matched literally.

use http::uri::PathAndQuery;

use super::keep::RESULTS;
use crate::journal::RecordId;

/// The path under which all agents are.
pub const ROOT: &str = "/agent";

/// Whether the proxy answers this path: `/agent` and everything below it, but not `/agents`.
pub fn is_proxied(path: &str) -> bool {
    path.strip_prefix(ROOT)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether this is the path of a kept request's result, with its capability in it. It was given out under the host that the request
/// came by, so it is ours there too, where all else is an agent's; and no agent may see it.
pub fn is_result(path: &str) -> bool {
    let below = path.strip_prefix(RESULTS);
    let below = below.and_then(|rest| rest.strip_prefix('/'));
    let Some((id, secret)) = below.and_then(|rest| rest.split('/').next()?.split_once('.')) else {
        return false;
    };
    // A capability is written like an id.
    RecordId::parse(id).is_some() && RecordId::parse(secret).is_some()
}

/// A request's target below [`ROOT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/agent` and `/agent/`: no agent is named.
    Nobody,
    /// `/agent/{id}` without a slash behind it: relative links of the answer would miss the prefix.
    Bare {
        /// The agent's name as it stands there.
        agent: &'a str,
        /// With its question mark; empty when there is none.
        query: &'a str,
    },
    /// `/agent/{id}/…`.
    Within {
        /// The agent's name as it stands there.
        agent: &'a str,
        /// Path and query for the agent; begins with a slash.
        rest: &'a str,
    },
}

/// Takes a target apart; `None` when the proxy does not answer it (see [`is_proxied`]).
pub fn parse(target: &PathAndQuery) -> Option<Target<'_>> {
    if !is_proxied(target.path()) {
        return None;
    }
    let below = target.as_str().get(ROOT.len()..)?;
    let Some(below) = below.strip_prefix('/') else {
        return Some(Target::Nobody);
    };
    let end = below.find(['/', '?']).unwrap_or(below.len());
    let (agent, rest) = below.split_at_checked(end)?;
    Some(if agent.is_empty() && !rest.starts_with('/') {
        Target::Nobody
    } else if rest.starts_with('/') {
        Target::Within { agent, rest }
    } else {
        Target::Bare { agent, query: rest }
    })
}

/// All of a target as an agent's, which has an origin of its own.
pub(super) fn all_of<'a>(agent: &'a str, target: &'a PathAndQuery) -> Target<'a> {
    Target::Within {
        agent,
        rest: target.as_str(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> PathAndQuery {
        PathAndQuery::try_from(text).unwrap()
    }

    #[test]
    fn targets_are_taken_apart() {
        for (text, expected) in [
            ("/agents", None),
            ("/agents/users", None),
            ("/", None),
            ("/%61gent/users/", None),
            ("/agent", Some(Target::Nobody)),
            ("/agent?x=1", Some(Target::Nobody)),
            ("/agent/", Some(Target::Nobody)),
            ("/agent/?x", Some(Target::Nobody)),
            (
                "/agent/users",
                Some(Target::Bare {
                    agent: "users",
                    query: "",
                }),
            ),
            (
                "/agent/users?a=/b",
                Some(Target::Bare {
                    agent: "users",
                    query: "?a=/b",
                }),
            ),
            (
                "/agent/users/",
                Some(Target::Within {
                    agent: "users",
                    rest: "/",
                }),
            ),
            (
                "/agent/users/?q",
                Some(Target::Within {
                    agent: "users",
                    rest: "/?q",
                }),
            ),
            (
                "/agent/users//a/../%2e%2F?x=%20&y=/agent/",
                Some(Target::Within {
                    agent: "users",
                    rest: "//a/../%2e%2F?x=%20&y=/agent/",
                }),
            ),
            (
                "/agent//x",
                Some(Target::Within {
                    agent: "",
                    rest: "/x",
                }),
            ),
        ] {
            assert_eq!(parse(&target(text)), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_follows_the_id_reaches_the_agent_byte_for_byte(
            agent in "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?",
            path in "(/[-A-Za-z0-9._~!$&'()*+,;=:@%]{0,12}){1,6}",
            query in "(\\?[-A-Za-z0-9._~!$&'()*+,;=:@%/?]{0,30})?",
        ) {
            let rest = format!("{path}{query}");
            let whole = target(&format!("/agent/{agent}{rest}"));
            prop_assert_eq!(parse(&whole), Some(Target::Within { agent: &agent, rest: &rest }));
            let forwarded = target(&rest);
            prop_assert_eq!(forwarded.as_str(), &rest);
        }

        #[test]
        fn no_target_is_cut_short_or_makes_it_panic(text in "/agent[/?a-z0-9%.#-]{0,40}") {
            let whole = target(&text);
            match parse(&whole) {
                Some(Target::Within { agent, rest }) => prop_assert_eq!(format!("/agent/{agent}{rest}"), whole.as_str()),
                Some(Target::Bare { agent, query }) => prop_assert_eq!(format!("/agent/{agent}{query}"), whole.as_str()),
                Some(Target::Nobody) | None => {}
            }
        }
    }
}
