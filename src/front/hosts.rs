//! Host routing: `NAME.DOMAIN` is the agent NAME, with an origin of its own. Pure text.
//!
//! Every host below the domain is an agent's and nobody else's, so that the API is never reached under one; but for names that
//! the operator gave to the API itself.

use http::Request;
use http::header::HOST;
use http::uri::Authority;

/// Which hosts are agents'.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    domain: Option<String>,
    ours: Vec<String>,
}

impl Hosts {
    /// Agents are below this domain, except under `ours`.
    pub fn below(domain: &str, ours: &[String]) -> Self {
        Self {
            domain: Some(domain.to_ascii_lowercase()),
            ours: ours.iter().map(|name| name.to_ascii_lowercase()).collect(),
        }
    }

    /// The agent that a request is for by its host, which the target names or else `Host` (RFC 9112 §3.2.2). Whether the two agree
    /// and are well-formed, whoever answers finds out.
    pub(super) fn agent<B>(&self, request: &Request<B>) -> Option<String> {
        let domain = self.domain.as_deref()?;
        let host = match request.uri().authority() {
            Some(authority) => authority.clone(),
            None => Authority::try_from(request.headers().get(HOST)?.as_bytes()).ok()?,
        };
        let host = host.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let agent = host.strip_suffix(domain)?.strip_suffix('.')?;
        let ours = self.ours.iter().any(|name| name == host);
        (!ours).then(|| agent.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_below_the_domain_is_an_agents() {
        let hosts = Hosts::below("Agents.example", &["api.agents.example".to_owned()]);
        for (host, agent) in [
            ("users.agents.example", Some("users")),
            ("USERS.Agents.Example:8443", Some("users")),
            ("users.agents.example.", Some("users")),
            ("a.b.agents.example", Some("a.b")),
            (".agents.example", Some("")),
            ("agents.example", None),
            ("usersagents.example", None),
            ("users.agents.example.evil", None),
            ("api.agents.example", None),
            ("localhost", None),
            ("[::1]:8081", None),
        ] {
            let request = Request::get("/x").header(HOST, host).body(()).unwrap();
            assert_eq!(hosts.agent(&request).as_deref(), agent, "{host}");
            assert_eq!(Hosts::default().agent(&request), None);
        }
        let request =
            Request::get("http://auth.agents.example/x").header(HOST, "users.agents.example");
        let request = request.body(()).unwrap();
        assert_eq!(hosts.agent(&request).as_deref(), Some("auth"));
        assert_eq!(hosts.agent(&Request::new(())), None);
    }
}
