//! A router with its store, engine and tokens, and short words for requests and answers.

use std::net::SocketAddr;
use std::sync::Arc;

use agentainer::agent::{Agent, AgentStatus, Phase, Uid};
use agentainer::api::{ApiState, Limits, router};
use agentainer::keys::DEFAULT_TOKEN;
use agentainer::names::AgentName;
use agentainer::store::AgentStore;
use agentainer::tokens::{ServerKey, Tokens, agent_token};
use agentainer::wire::{Listener, Via};
use axum::Router;
use axum::body::Body;
use futures::StreamExt;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::engine::Engine;
use crate::fake_store::FakeStore;

pub const ADMIN: &str = "agentainer-admin-of-the-tests-0123456789";

pub struct Api {
    pub store: FakeStore,
    pub engine: Engine,
    pub key: ServerKey,
    router: Router,
}

/// An answer with its whole body.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
    /// The problem's word; checks that it is a whole problem.
    pub fn word(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16(), "{self:?}");
        assert_eq!(problem["instance"], self.header("x-request-id"), "{self:?}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        let word = problem["type"].as_str().unwrap();
        word.strip_prefix("urn:agentainer:problem:")
            .unwrap()
            .to_owned()
    }
}

impl Api {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ApiState)) -> Self {
        let store = FakeStore::default();
        let engine = Engine::default();
        let key = ServerKey::random();
        let tokens = Tokens::new(key.clone(), ADMIN, true);
        let mut state = ApiState::new(Arc::new(store.clone()), Arc::new(engine.clone()), tokens);
        state.limits = Limits {
            spec: 1 << 20,
            apply: 4 << 20,
            build: 1000,
        };
        change(&mut state);
        Self {
            store,
            engine,
            key,
            router: router(state),
        }
    }

    /// The same router, to be served elsewhere.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    pub async fn raw(&self, request: Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> Answered {
        let answer = self.raw(request).await;
        let (parts, body) = answer.into_parts();
        let mut text = Vec::new();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece.unwrap());
        }
        Answered {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(text).unwrap(),
        }
    }

    /// As an admin, with a JSON body when there is one.
    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answered {
        self.send(request(method, path, Some(ADMIN), body)).await
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.admin("GET", path, None).await
    }

    /// Applies these agents for an owner; all must be well.
    pub async fn applied(&self, owner: &str, agents: Value) -> Value {
        let answer = self
            .admin(
                "POST",
                "/apply",
                Some(json!({"owner": owner, "agents": agents})),
            )
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    pub async fn agent(&self, name: &str) -> Agent {
        self.store
            .get(&AgentName::new(name).unwrap())
            .await
            .unwrap()
            .unwrap()
    }

    pub async fn token_of(&self, name: &str) -> String {
        agent_token(&self.key, &self.agent(name).await.metadata.uid, 1)
    }

    pub fn token_of_uid(&self, uid: &Uid) -> String {
        agent_token(&self.key, uid, 1)
    }

    /// Everything that the store holds, to see that nothing changed.
    pub async fn everything(&self) -> Vec<Agent> {
        self.store.list().await.unwrap().agents
    }

    pub async fn set_phase(&self, name: &str, phase: Phase) {
        let agent = self.agent(name).await;
        let status = AgentStatus {
            phase,
            ..AgentStatus::default()
        };
        let put = self.store.put_status(&agent.metadata, &status);
        put.await.unwrap();
    }
}

pub fn via(listener: Listener) -> Via {
    Via {
        peer: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        listener,
    }
}

pub fn request(
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> Request<Body> {
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost:8081")
        .extension(via(Listener::Loopback));
    if let Some(token) = token {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    match body {
        Some(body) => builder
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap(),
        None => builder.body(Body::empty()).unwrap(),
    }
}

pub fn viewer(path: &str) -> Request<Body> {
    request("GET", path, Some(DEFAULT_TOKEN), None)
}

pub fn a_stranger(key: &ServerKey) -> String {
    agent_token(key, &Uid::random(), 1)
}

/// The first lines of a body that does not end.
pub async fn first_pieces(answer: http::Response<Body>, count: usize) -> Vec<String> {
    let mut pieces = answer.into_body().into_data_stream();
    let mut read = Vec::new();
    while read.len() < count {
        let piece = tokio::time::timeout(std::time::Duration::from_secs(5), pieces.next())
            .await
            .expect("the stream says no more")
            .expect("the stream ended")
            .unwrap();
        read.push(String::from_utf8(piece.to_vec()).unwrap());
    }
    read
}
