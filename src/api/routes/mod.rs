//! The table of operations: what there is, who may ask for it, what goes in and what comes out. The router and the OpenAPI document
//! are made from it, so that they cannot differ.

use axum::routing::{MethodRouter, delete, get, patch, post, put};
use schemars::{Schema, SchemaGenerator};

use super::auth::Access;
use super::body::{JSON, MERGE_PATCH};
use super::builds::TAR;
use super::query::Param;
use super::{ApiState, agents, apply, builds, events, recover};
use crate::agent::Agent;
use crate::wire::{
    AgentListBody, AgentWrite, ApplyRequest, ApplyResponse, BuildLine, EventListBody,
    RecoverRequest, RecoverResponse, ScaleRequest, WatchLine,
};

/// One operation.
pub(super) struct Operation {
    /// In lower case.
    pub(super) method: &'static str,
    /// With `{id}` for an agent's name.
    pub(super) path: &'static str,
    /// Its id in the OpenAPI document.
    pub(super) id: &'static str,
    /// What it does, in a line.
    pub(super) summary: &'static str,
    /// Who may ask for it.
    pub(super) access: Access,
    /// The parameters that it takes in its query, and no others.
    pub(super) params: &'static [Param],
    /// What goes in: media types and schema.
    pub(super) takes: Option<Content>,
    /// What comes out when it works.
    pub(super) gives: Content,
    /// The status when it works.
    pub(super) status: u16,
    /// Statuses of its refusals, beside those that every operation has.
    pub(super) refuses: &'static [u16],
    /// What serves it.
    pub(super) handler: fn() -> MethodRouter<ApiState>,
}

/// What a body is.
pub(super) struct Content {
    /// Its media types, the usual one first.
    pub(super) types: &'static [&'static str],
    /// Its schema; `None`: it is text or bytes.
    pub(super) schema: Option<fn(&mut SchemaGenerator) -> Schema>,
}

macro_rules! content {
    ($types:expr, $type:ty) => {
        Content {
            types: $types,
            schema: Some(|generator| generator.subschema_for::<$type>()),
        }
    };
}

mod requests;
mod rollout;
mod server;

const REVEAL: Param = Param {
    name: "reveal",
    about: "`env` shows an admin the values of environment variables, else `***`.",
};
const AGENT: Content = content!(JSON, Agent);
const LIMIT: &[Param] = &[
    Param {
        name: "limit",
        about: "At most so many, newest first; 1 to 1000, usually 100.",
    },
    Param {
        name: "watch",
        about: "`true`: one JSON line an event, the oldest first, and then what happens, without end. One that counts up comes again.",
    },
];

/// A change of one agent by one word.
const fn action(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: fn() -> MethodRouter<ApiState>,
) -> Operation {
    Operation {
        method: "post",
        path,
        id,
        summary,
        access: Access::Admin,
        params: &[REVEAL],
        takes: None,
        gives: AGENT,
        status: 200,
        refuses: &[400, 404, 409, 503],
        handler,
    }
}

/// All of them.
pub(super) fn operations() -> impl Iterator<Item = &'static Operation> {
    server::OPERATIONS
        .iter()
        .chain(OPERATIONS)
        .chain(rollout::OPERATIONS)
        .chain(requests::OPERATIONS)
}

static OPERATIONS: &[Operation] = &[
    Operation {
        method: "post",
        path: "/apply",
        id: "apply",
        summary: "Applies a bundle, all or none: a three-way merge with what its owner applied last.",
        access: Access::Admin,
        params: &[REVEAL],
        takes: Some(content!(JSON, ApplyRequest)),
        gives: content!(JSON, ApplyResponse),
        status: 200,
        refuses: &[400, 409, 413, 415, 503],
        handler: || post(apply::apply),
    },
    Operation {
        method: "post",
        path: "/builds",
        id: "build",
        summary: "Builds an image from a tar stream. Build arguments come as a JSON object in the header X-Agentainer-Build-Args. \
                  The log comes as NDJSON; its last line is the image's id or an error.",
        access: Access::Admin,
        params: &[
            Param {
                name: "tag",
                about: "The image's name, such as `users:1.4`. Needed.",
            },
            Param {
                name: "dockerfile",
                about: "The Dockerfile within the context; usually `Dockerfile`.",
            },
            Param {
                name: "target",
                about: "The stage to build.",
            },
        ],
        takes: Some(Content {
            types: TAR,
            schema: None,
        }),
        gives: content!(&["application/x-ndjson"], BuildLine),
        status: 200,
        refuses: &[400, 413, 415, 422, 502, 503],
        handler: || post(builds::build),
    },
    Operation {
        method: "get",
        path: "/agents",
        id: "listAgents",
        summary: "Lists agents, or watches them: with `watch` as NDJSON, or as server-sent events when those are accepted.",
        access: Access::Viewer,
        params: &[
            Param {
                name: "labelSelector",
                about: "Terms `key=value`, `key!=value`, `key`, `!key`, joined with commas.",
            },
            Param {
                name: "owner",
                about: "Only agents of this owner.",
            },
            Param {
                name: "watch",
                about: "`true`: tell what changes, without end.",
            },
            Param {
                name: "resourceVersion",
                about: "Watch from here; left out, the list comes first. 410 when that is too long ago.",
            },
            REVEAL,
        ],
        takes: None,
        gives: content!(JSON, AgentListBody),
        status: 200,
        refuses: &[400, 410, 503],
        handler: || get(agents::list),
    },
    Operation {
        method: "post",
        path: "/agents",
        id: "createAgent",
        summary: "Makes a new agent; 409 when there is one of that name.",
        access: Access::Admin,
        params: &[REVEAL],
        takes: Some(content!(JSON, AgentWrite)),
        gives: AGENT,
        status: 201,
        refuses: &[400, 409, 413, 415, 503],
        handler: || post(agents::create),
    },
    Operation {
        method: "get",
        path: "/agents/{id}",
        id: "getAgent",
        summary: "One agent: desired beside actual.",
        access: Access::Viewer,
        params: &[REVEAL],
        takes: None,
        gives: AGENT,
        status: 200,
        refuses: &[404, 503],
        handler: || get(agents::get),
    },
    Operation {
        method: "put",
        path: "/agents/{id}",
        id: "replaceAgent",
        summary: "Replaces an agent's labels, annotations and spec, or makes it (201). If-Match or metadata.resourceVersion: only over \
                  that version.",
        access: Access::Admin,
        params: &[REVEAL],
        takes: Some(content!(JSON, AgentWrite)),
        gives: AGENT,
        status: 200,
        refuses: &[400, 404, 409, 413, 415, 503],
        handler: || put(agents::put),
    },
    Operation {
        method: "patch",
        path: "/agents/{id}",
        id: "patchAgent",
        summary: "Changes an agent by a JSON Merge Patch (RFC 7396).",
        access: Access::Admin,
        params: &[REVEAL],
        takes: Some(content!(MERGE_PATCH, AgentWrite)),
        gives: AGENT,
        status: 200,
        refuses: &[400, 404, 409, 413, 415, 503],
        handler: || patch(agents::patch),
    },
    Operation {
        method: "delete",
        path: "/agents/{id}",
        id: "deleteAgent",
        summary: "Asks for an agent's deletion; it is gone when its containers are.",
        access: Access::Admin,
        params: &[REVEAL],
        takes: None,
        gives: AGENT,
        status: 202,
        refuses: &[400, 404, 409, 503],
        handler: || delete(agents::delete),
    },
    action(
        "/agents/{id}/start",
        "startAgent",
        "Makes a stopped or paused agent run.",
        || post(agents::start),
    ),
    action(
        "/agents/{id}/stop",
        "stopAgent",
        "Stops its instances and keeps them.",
        || post(agents::stop),
    ),
    action(
        "/agents/{id}/pause",
        "pauseAgent",
        "Freezes its instances.",
        || post(agents::pause),
    ),
    action(
        "/agents/{id}/resume",
        "resumeAgent",
        "Thaws its instances.",
        || post(agents::resume),
    ),
    action(
        "/agents/{id}/restart",
        "restartAgent",
        "Replaces its instances, with the image resolved anew.",
        || post(agents::restart),
    ),
    Operation {
        takes: Some(content!(JSON, ScaleRequest)),
        refuses: &[400, 404, 409, 413, 415, 503],
        ..action(
            "/agents/{id}/scale",
            "scaleAgent",
            "Sets how many instances run.",
            || post(agents::scale),
        )
    },
    Operation {
        method: "get",
        path: "/agents/{id}/logs",
        id: "getLogs",
        summary: "What its containers wrote; lines have their container's name when there are several.",
        access: Access::Itself,
        params: &[
            Param {
                name: "tail",
                about: "Only the last so many lines of each instance; `all`.",
            },
            Param {
                name: "since",
                about: "Only since a time (RFC 3339), or so long ago (`10m`).",
            },
            Param {
                name: "follow",
                about: "`true`: go on as it grows.",
            },
            Param {
                name: "timestamps",
                about: "`true`: each line with its time.",
            },
            Param {
                name: "instance",
                about: "Of one instance, by its container's name or its ordinal.",
            },
        ],
        takes: None,
        gives: Content {
            types: &["text/plain"],
            schema: None,
        },
        status: 200,
        refuses: &[400, 404, 503],
        handler: || get(agents::logs),
    },
    Operation {
        method: "get",
        path: "/agents/{id}/events",
        id: "getAgentEvents",
        summary: "What happened to an agent, newest first.",
        access: Access::Itself,
        params: LIMIT,
        takes: None,
        gives: content!(JSON, EventListBody),
        status: 200,
        refuses: &[404, 503],
        handler: || get(events::of_agent),
    },
    Operation {
        method: "post",
        path: "/recover",
        id: "recover",
        summary: "Makes the agents again that the store lost, from the snapshot or from their containers.",
        access: Access::Admin,
        params: &[],
        takes: Some(content!(JSON, RecoverRequest)),
        gives: content!(JSON, RecoverResponse),
        status: 200,
        refuses: &[400, 413, 415, 501, 503],
        handler: || post(recover::recover),
    },
    Operation {
        method: "get",
        path: "/events",
        id: "getEvents",
        summary: "What happened to all agents, newest first.",
        access: Access::Admin,
        params: LIMIT,
        takes: None,
        gives: content!(JSON, EventListBody),
        status: 200,
        refuses: &[503],
        handler: || get(events::all),
    },
];

/// The schema of a watch's lines, which the document has beside the table's.
pub(super) fn further(generator: &mut SchemaGenerator) {
    generator.subschema_for::<WatchLine>();
}
