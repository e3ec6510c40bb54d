//! What agents are told in their environment where the user set none (design, section 6, "Agents' environment").

use std::sync::Arc;

use crate::agent::Uid;
use crate::keys::TOKEN_VARIABLE;
use crate::names::AgentName;

/// Makes an agent's own token from its uid and the store's epoch; the server's key stays with the maker.
pub type TokenMaker = Arc<dyn Fn(&Uid, u64) -> String + Send + Sync>;

/// What we tell agents.
#[derive(Clone)]
pub struct Injection {
    /// Where the API and the proxy are, as seen from a container.
    pub url: String,
    /// The agents' Redis as seen from a container: host and port; `None`: there is none to tell of.
    pub redis: Option<(String, u16)>,
    /// Makes tokens.
    pub token: TokenMaker,
}

impl std::fmt::Debug for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Injection")
            .field("url", &self.url)
            .field("redis", &self.redis)
            .finish_non_exhaustive()
    }
}

impl Injection {
    /// The variables of one container.
    pub(super) fn environment(
        &self,
        agent: &AgentName,
        uid: &Uid,
        epoch: u64,
        instance: &str,
    ) -> Vec<(String, String)> {
        let mut all = vec![
            ("AGENT_ID".to_owned(), agent.to_string()),
            ("AGENT_NAME".to_owned(), agent.to_string()),
            ("AGENT_INSTANCE".to_owned(), instance.to_owned()),
            ("AGENTAINER_URL".to_owned(), self.url.clone()),
            (TOKEN_VARIABLE.to_owned(), (self.token)(uid, epoch)),
        ];
        if let Some((host, port)) = &self.redis {
            all.push(("AGENTAINER_REDIS_HOST".to_owned(), host.clone()));
            all.push(("AGENTAINER_REDIS_PORT".to_owned(), port.to_string()));
        }
        all
    }
}
