//! The operations that tell of the server itself.

use axum::routing::get;

use super::{Content, Operation};
use crate::api::auth::Access;
use crate::api::body::JSON;
use crate::api::{health, openapi};
use crate::telemetry::exposition::MEDIA_TYPE as METRICS;
use crate::wire::ReadyBody;

pub(super) static OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/health",
        id: "getHealth",
        summary: "Whether the process is alive.",
        access: Access::Public,
        params: &[],
        takes: None,
        gives: content!(JSON, ReadyBody),
        status: 200,
        refuses: &[],
        handler: || get(health::health),
    },
    Operation {
        method: "get",
        path: "/ready",
        id: "getReady",
        summary: "Whether the server can do its work: Redis and Docker answer. 503 with the conditions when not.",
        access: Access::Public,
        params: &[],
        takes: None,
        gives: content!(JSON, ReadyBody),
        status: 200,
        refuses: &[503],
        handler: || get(health::ready),
    },
    Operation {
        method: "get",
        path: "/version",
        id: "getVersion",
        summary: "The server's version.",
        access: Access::Public,
        params: &[],
        takes: None,
        gives: Content {
            types: JSON,
            schema: None,
        },
        status: 200,
        refuses: &[],
        handler: || get(health::version),
    },
    Operation {
        method: "get",
        path: "/metrics",
        id: "getMetrics",
        summary: "What the server and its agents count, as Prometheus scrapes it (OpenMetrics text).",
        access: Access::Viewer,
        params: &[],
        takes: None,
        gives: Content {
            types: &[METRICS],
            schema: None,
        },
        status: 200,
        refuses: &[],
        handler: || get(health::metrics),
    },
    Operation {
        method: "get",
        path: "/openapi.json",
        id: "getOpenApi",
        summary: "This document.",
        access: Access::Public,
        params: &[],
        takes: None,
        gives: Content {
            types: JSON,
            schema: None,
        },
        status: 200,
        refuses: &[],
        handler: || get(openapi::serve),
    },
];
