//! The operations on kept requests.

use axum::routing::{delete, get, post};

use super::{Content, Operation, Param};
use crate::api::auth::Access;
use crate::api::body::JSON;
use crate::api::{requests, results};
use crate::wire::{RequestCount, RequestItem, RequestListBody, ResultBody};

const REQUEST: Content = content!(JSON, RequestItem);
const RESULT: Content = content!(JSON, ResultBody);

pub(super) static OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/agents/{id}/requests",
        id: "listRequests",
        summary: "Its kept requests, the latest first.",
        access: Access::Itself,
        params: &[
            Param {
                name: "state",
                about: "Only in these states, joined with commas; usually in all.",
            },
            Param {
                name: "limit",
                about: "At most so many; 1 to 1000, usually 100.",
            },
            Param {
                name: "before",
                about: "Only those admitted before the one of this `sequence`: `next` of the page before.",
            },
        ],
        takes: None,
        gives: content!(JSON, RequestListBody),
        status: 200,
        refuses: &[400, 404, 503],
        handler: || get(requests::list),
    },
    Operation {
        method: "delete",
        path: "/agents/{id}/requests",
        id: "clearRequests",
        summary: "Forgets settled requests, and cancels those that are not.",
        access: Access::Admin,
        params: &[Param {
            name: "state",
            about: "In these states, joined with commas; usually completed, cancelled and expired.",
        }],
        takes: None,
        gives: content!(JSON, RequestCount),
        status: 200,
        refuses: &[400, 404, 503],
        handler: || delete(requests::clear),
    },
    Operation {
        method: "post",
        path: "/agents/{id}/requests/requeue",
        id: "requeueRequests",
        summary: "Delivers dead letters again.",
        access: Access::Admin,
        params: &[Param {
            name: "state",
            about: "In these states, joined with commas: failed, dead, unknown; usually failed and dead.",
        }],
        takes: None,
        gives: content!(JSON, RequestCount),
        status: 200,
        refuses: &[400, 404, 503],
        handler: || post(requests::requeue),
    },
    Operation {
        method: "get",
        path: "/agents/{id}/requests/{request}",
        id: "getRequest",
        summary: "One kept request with its header fields and its answer.",
        access: Access::Itself,
        params: &[],
        takes: None,
        gives: REQUEST,
        status: 200,
        refuses: &[404, 503],
        handler: || get(requests::get),
    },
    Operation {
        method: "post",
        path: "/agents/{id}/requests/{request}/replay",
        id: "replayRequest",
        summary: "Delivers a request again that failed, is unknown or a dead letter.",
        access: Access::Admin,
        params: &[],
        takes: None,
        gives: REQUEST,
        status: 200,
        refuses: &[404, 409, 503],
        handler: || post(requests::replay),
    },
    Operation {
        method: "post",
        path: "/agents/{id}/requests/{request}/cancel",
        id: "cancelRequest",
        summary: "Gives up a request that is not settled; its agent may have handled it if it was on its way.",
        access: Access::Admin,
        params: &[],
        takes: None,
        gives: REQUEST,
        status: 200,
        refuses: &[404, 409, 503],
        handler: || post(requests::cancel),
    },
    Operation {
        method: "get",
        path: "/results/{capability}",
        id: "getResult",
        summary: "What became of a kept request, for whoever has the address that its 202 gave.",
        access: Access::Public,
        params: &[Param {
            name: "wait",
            about: "Wait at most so many seconds for it to be settled; up to 60.",
        }],
        takes: None,
        gives: RESULT,
        status: 200,
        refuses: &[400, 404, 503],
        handler: || get(results::get),
    },
    Operation {
        method: "delete",
        path: "/results/{capability}",
        id: "cancelResult",
        summary: "Gives up a kept request.",
        access: Access::Public,
        params: &[],
        takes: None,
        gives: RESULT,
        status: 200,
        refuses: &[404, 409, 503],
        handler: || delete(results::cancel),
    },
    Operation {
        method: "get",
        path: "/results/{capability}/answer",
        id: "getResultAnswer",
        summary: "The agent's answer with its status and its bytes; 409 while there is none.",
        access: Access::Public,
        params: &[],
        takes: None,
        gives: Content {
            types: &["*/*"],
            schema: None,
        },
        status: 200,
        refuses: &[404, 409, 503],
        handler: || get(results::answered),
    },
];
