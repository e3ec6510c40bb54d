//! Sessions whose names the agent makes up, over three instances that know nothing of each other's.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentainer::agent::spec::{Balance, Session};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;

use crate::agents::{self, Agent};
use crate::rig::{Rig, Whole};

const MCP: &str = "mcp-session-id";

/// As a server of the Model Context Protocol: it names a session when asked without one, and knows its own alone (404 for others). It says
/// its name and the session as it got it.
async fn server(name: &'static str, by_cookie: bool) -> Agent {
    let known: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    agents::http(move |request| {
        let known = Arc::clone(&known);
        async move {
            let text = |name: &str| {
                let value = request.headers().get(name);
                value.map(|value| value.to_str().unwrap().to_owned())
            };
            let given = match by_cookie {
                true => text("cookie").map(|all| all.replace("a=b; sid=", "")),
                false => text(MCP),
            };
            let mut response = Response::new(());
            let session = given.unwrap_or_else(|| {
                let mut known = known.lock();
                let session = format!("{name}-{}", known.len());
                known.insert(session.clone());
                let field = match by_cookie {
                    true => ("set-cookie", format!("sid={session}; HttpOnly")),
                    false => (MCP, session.clone()),
                };
                response
                    .headers_mut()
                    .insert(field.0, field.1.parse().unwrap());
                session
            });
            if !known.lock().contains(&session) {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            response.map(|()| Full::new(Bytes::from(format!("{name} {session}"))))
        }
    })
    .await
}

async fn ask(rig: &Rig, field: Option<(&'static str, &str)>) -> Whole {
    let mut request = Request::get("/agent/mcp/").header("host", "b");
    if let Some((name, value)) = field {
        request = request.header(name, value);
    }
    rig.ask(request.body(Full::default()).unwrap()).await
}

#[tokio::test]
async fn a_session_stays_with_the_instance_that_made_its_name() {
    for by_cookie in [false, true] {
        let names = ["one", "two", "three"];
        let servers = [
            server("one", by_cookie).await,
            server("two", by_cookie).await,
            server("three", by_cookie).await,
        ];
        let all: Vec<_> = names
            .into_iter()
            .zip(servers.iter().map(|it| it.address))
            .collect();
        let publish = |rig: &Rig, some: &[(&str, std::net::SocketAddr)]| {
            rig.publish("mcp", some, |publication| {
                publication.proxy.balance = Some(Balance::Hash);
                publication.proxy.session = Some(Session {
                    header: (!by_cookie).then(|| "Mcp-Session-Id".to_owned()),
                    cookie: by_cookie.then(|| "sid".to_owned()),
                });
            });
        };
        let rig = Rig::new();
        publish(&rig, &all);
        let mut sessions = Vec::new();
        for _ in 0..30 {
            let answer = ask(&rig, None).await;
            let sent = match by_cookie {
                true => {
                    let cookie = answer.header("set-cookie").unwrap();
                    format!("a=b; {}", cookie.split(';').next().unwrap())
                }
                false => answer.header(MCP).unwrap().to_owned(),
            };
            sessions.push((sent, answer.text));
        }
        let makers: BTreeSet<_> = sessions
            .iter()
            .map(|(_, text)| text.split(' ').next())
            .collect();
        assert_eq!(makers.len(), 3, "each of them made some");
        let field = if by_cookie { "cookie" } else { MCP };
        // On this server, and on another one that knows nothing but the table.
        let other = Rig::new();
        publish(&other, &all);
        for rig in [&rig, &other] {
            for (sent, first) in &sessions {
                let answer = ask(rig, Some((field, sent))).await;
                assert_eq!((answer.status.as_u16(), &answer.text), (200, first));
            }
        }
        // One goes: its sessions are unknown to the others, who say so; all else stays.
        publish(&rig, &all[..2]);
        for (sent, first) in &sessions {
            let answer = ask(&rig, Some((field, sent))).await;
            let (maker, session) = first.split_once(' ').unwrap();
            let expected = if maker == "three" { 404 } else { 200 };
            assert_eq!(answer.status.as_u16(), expected, "{first}");
            assert!(
                answer.text.ends_with(&format!(" {session}")),
                "{first}: {}",
                answer.text
            );
        }
    }
}
