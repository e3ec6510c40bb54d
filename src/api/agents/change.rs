//! One change of one agent: read, change, compare and swap, again when somebody else was quicker.

use http::HeaderMap;
use http::header::IF_MATCH;

use crate::agent::merge::Merged;
use crate::agent::{Agent, ResourceVersion, Uid};
use crate::api::refusal::{Answer, Refusal};
use crate::api::spec::parts;
use crate::api::{ApiState, circle};
use crate::store::{StoreError, Write};

/// How often a change that names no version is tried.
pub(in crate::api) const TRIES: usize = 8;

/// What the change rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Precondition {
    /// Only over this version.
    pub(super) version: Option<ResourceVersion>,
    /// Only in this life.
    pub(super) uid: Option<Uid>,
}

impl Precondition {
    /// From an `If-Match` header (RFC 9110, section 13.1.1): the version in quotes, or `*`.
    pub(super) fn of(headers: &HeaderMap) -> Answer<Self> {
        let Some(value) = headers.get(IF_MATCH) else {
            return Ok(Self::default());
        };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self::default());
        }
        let version = text.trim_matches('"').parse().map(ResourceVersion);
        let version = version
            .map_err(|_| Refusal::bad("If-Match takes one resourceVersion in quotes, or *"))?;
        Ok(Self {
            version: Some(version),
            uid: None,
        })
    }

    /// Refuses an agent that is not as expected.
    pub(super) fn check(&self, live: &Agent) -> Answer<()> {
        let name = &live.metadata.name;
        if self
            .version
            .is_some_and(|version| version != live.metadata.resource_version)
        {
            let now = live.metadata.resource_version;
            let detail = format!(
                "agent '{name}' was changed meanwhile (it is at version {now}); read it again and repeat"
            );
            return Err(Refusal::conflict("conflict", detail).about(name));
        }
        if self
            .uid
            .as_ref()
            .is_some_and(|uid| *uid != live.metadata.uid)
        {
            let detail = format!(
                "agent '{name}' was deleted and made anew meanwhile; read it again and repeat"
            );
            return Err(Refusal::conflict("conflict", detail).about(name));
        }
        Ok(())
    }
}

/// Refuses an agent that is being deleted: nothing is written to it any more.
pub(in crate::api) fn refuse_deleted(live: &Agent) -> Answer<()> {
    if live.metadata.deletion_timestamp.is_none() {
        return Ok(());
    }
    let name = &live.metadata.name;
    let detail = format!(
        "agent '{name}' is being deleted; wait until it is gone (agentainer get agent {name})"
    );
    Err(Refusal::conflict("being-deleted", detail).about(name))
}

/// What an agent becomes with these parts; its generation moves on when its spec differs.
pub(in crate::api) fn with_parts(live: &Agent, parts: Merged) -> Agent {
    let mut agent = live.clone();
    if parts.spec != live.spec {
        agent.metadata.generation = live.metadata.generation.saturating_add(1);
    }
    agent.metadata.labels = parts.labels;
    agent.metadata.annotations = parts.annotations;
    agent.spec = parts.spec;
    agent
}

/// Changes the parts of an agent that a client writes. `edit` is told the agent as it is; it may be told several times.
/// Answers the agent as it is afterwards.
pub(super) async fn change(
    api: &ApiState,
    live: Agent,
    precondition: &Precondition,
    edit: impl Fn(&Agent, &mut Merged) -> Answer<()>,
) -> Answer<Agent> {
    let name = live.metadata.name.clone();
    let mut live = live;
    for _ in 0..TRIES {
        precondition.check(&live)?;
        refuse_deleted(&live)?;
        let mut wanted = parts(&live);
        edit(&live, &mut wanted)?;
        if wanted == parts(&live) {
            return Ok(live);
        }
        let needs = &wanted.spec.depends_on;
        let mut guard = Vec::new();
        if *needs != live.spec.depends_on {
            guard = circle::guard(api, &name, needs).await?;
        }
        let mut writes = vec![Write::Update {
            agent: Box::new(with_parts(&live, wanted)),
            expected: live.metadata.resource_version,
            applied: None,
        }];
        writes.append(&mut guard);
        match api.store.commit(&writes).await {
            Ok(written) => {
                (api.wake)(&name);
                return written
                    .into_iter()
                    .next()
                    .flatten()
                    .ok_or_else(|| Refusal::no_agent(name.as_str(), None));
            }
            Err(StoreError::Conflict { .. }) => {
                live = super::find(api, name.as_str()).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let detail = format!(
        "agent '{name}' is being changed by somebody else all the time; nothing was changed, repeat"
    );
    Err(Refusal::conflict("conflict", detail).about(&name))
}
