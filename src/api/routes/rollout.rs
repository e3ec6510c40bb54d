//! The operations below `/agents/{id}/rollout`.

use axum::routing::{get, post};

use super::{Content, Operation, Param, REVEAL, action};
use crate::api::agents;
use crate::api::auth::Access;
use crate::api::body::JSON;
use crate::wire::{HistoryBody, RolloutBody};

pub(super) static OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/agents/{id}/rollout",
        id: "getRollout",
        summary: "How far the way to the revision that the spec asks for is, and why it is no farther.",
        access: Access::Viewer,
        params: &[],
        takes: None,
        gives: content!(JSON, RolloutBody),
        status: 200,
        refuses: &[404, 503],
        handler: || get(agents::rollout),
    },
    Operation {
        method: "get",
        path: "/agents/{id}/rollout/history",
        id: "getRolloutHistory",
        summary: "Its revisions with what their containers are made from, the oldest first.",
        access: Access::Itself,
        params: &[REVEAL],
        takes: None,
        gives: content!(JSON, HistoryBody),
        status: 200,
        refuses: &[400, 404, 503],
        handler: || get(agents::history),
    },
    Operation {
        params: &[
            Param {
                name: "toRevision",
                about: "The number of a revision in the history; left out or 0, the present one when it is good by another health \
                        check than the spec's, else the last good one when the present one never was good, else the one before.",
            },
            REVEAL,
        ],
        ..action(
            "/agents/{id}/rollout/undo",
            "undoRollout",
            "Brings the container-shaping fields of an earlier revision back into the spec, and the health check that passed on it.",
            || post(agents::undo),
        )
    },
    action(
        "/agents/{id}/rollout/restart",
        "restartRollout",
        "Replaces its instances, with the image resolved anew; the same as /agents/{id}/restart.",
        || post(agents::restart),
    ),
    action(
        "/agents/{id}/rollout/pause",
        "pauseRollout",
        "Holds its rollouts: instances are kept as they are, and none is replaced.",
        || post(agents::pause_rollout),
    ),
    action(
        "/agents/{id}/rollout/resume",
        "resumeRollout",
        "Lets a paused rollout go on.",
        || post(agents::resume_rollout),
    ),
];
