//! The part this agent plays, as its environment tells it.

use std::env;

/// All that the environment decides. Values that may hold a password are not printed from here.
pub struct Part {
    pub name: String,
    pub instance: String,
    pub port: u16,
    pub role: Role,
    /// Other agents to call: (variable, URL), in the order of the variables' names.
    pub upstreams: Vec<(String, String)>,
    /// A Redis named by the environment is a dependency; the default one is only used where it is there.
    pub redis_url: String,
    pub redis_is_required: bool,
    /// Only reported, never opened: no driver without dependencies.
    pub database_url: Option<String>,
    /// Where to keep what must outlive the container: a volume.
    pub data_dir: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Role {
    /// Answers with what its upstreams said.
    Service,
    /// Publishes an event every second.
    Publisher,
    /// Remembers the last events.
    Subscriber,
}

impl Part {
    /// From the process's environment; the error says which variable is wrong.
    pub fn from_env() -> Result<Self, String> {
        let get = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let host = get("HOSTNAME").unwrap_or_else(|| "agent".to_owned());
        let name = get("AGENT_NAME")
            .or_else(|| get("AGENT_ID"))
            .unwrap_or_else(|| host.clone());
        let port = match get("PORT") {
            None => 8000,
            Some(text) => text
                .parse()
                .map_err(|_| format!("PORT={text} is not a port"))?,
        };
        // An agent needs no more in its manifest than its name to be one of the event-driven pair.
        let role = match get("ROLE").as_deref().unwrap_or(&name) {
            "publisher" => Role::Publisher,
            "subscriber" => Role::Subscriber,
            _ => Role::Service,
        };
        let mut upstreams = Vec::new();
        let mut variables: Vec<_> = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.ends_with("_SERVICE") || name.ends_with("_SERVICES"))
            .collect();
        variables.sort();
        for (variable, urls) in variables {
            let urls = urls
                .split(',')
                .map(str::trim)
                .filter(|url| url.starts_with("http://"));
            upstreams
                .extend(urls.map(|url| (variable.clone(), url.trim_end_matches('/').to_owned())));
        }
        let redis_url = get("REDIS_URL");
        let redis_is_required = redis_url.is_some() || role != Role::Service;
        let redis_url = redis_url.unwrap_or_else(|| {
            let host =
                get("AGENTAINER_REDIS_HOST").unwrap_or_else(|| "host.docker.internal".to_owned());
            format!(
                "{host}:{}",
                get("AGENTAINER_REDIS_PORT").unwrap_or_else(|| "6379".to_owned())
            )
        });
        Ok(Part {
            instance: get("AGENT_INSTANCE").unwrap_or(host),
            name,
            port,
            role,
            upstreams,
            redis_url,
            redis_is_required,
            database_url: get("DB_URL"),
            data_dir: get("DATA_DIR"),
        })
    }
}
