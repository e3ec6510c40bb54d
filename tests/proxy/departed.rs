//! A container that lost its address never answers what was asked of it there, and no packet ever says so: whoever waits
//! is told. Whoever waits for a container that merely left the table is not (law 5).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use agentainer::observed::ContainerId;
use agentainer::plan::EndpointState;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::agents::{self, Agent};
use crate::rig::{Raw, Rig, bounded, read_until, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n";

/// An agent that answers each head with this, and then nothing until it is told to say the rest.
async fn halting(answer: &'static str, rest: &'static str) -> (Agent, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let agent = agents::raw(move |mut stream, agent| {
        let told = Arc::clone(&told);
        async move {
            while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                agent.count();
                let _ = stream.write_all(answer.as_bytes()).await;
                told.notified().await;
                let _ = stream.write_all(rest.as_bytes()).await;
            }
        }
    })
    .await;
    (agent, go)
}

/// Where a container is that was connected again under another address.
fn elsewhere(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), address.port())
}

/// The container is seen without any address.
fn depart(rig: &Rig, container: &str, others: &[(&str, SocketAddr)]) {
    rig.publish("users", others, |publication| {
        publication.departed = [ContainerId(container.to_owned())].into();
    });
}

async fn asked(rig: &Rig, request: impl AsRef<[u8]>, agent: &Agent) -> Raw {
    let before = agent.requests();
    let mut raw = rig.raw().await;
    raw.send(request).await;
    until(|| agent.requests() > before).await;
    raw
}

#[tokio::test]
async fn law_3_what_was_sent_to_an_address_that_was_lost_is_repeated_only_where_that_is_safe() {
    let rig = Rig::new();
    let (lost, _go) = halting("", "").await;
    let other = agents::scripted(OK).await;
    for moved in [true, false] {
        rig.ready("users", &[("lost", lost.address)]);
        let mut get = asked(&rig, GET, &lost).await;
        let post = "POST /agent/users/ HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx";
        let mut post = asked(&rig, post, &lost).await;
        let before = other.requests();
        if moved {
            let now = [("lost", elsewhere(lost.address)), ("other", other.address)];
            rig.publish("users", &now, |publication| {
                publication.endpoints[0].state = EndpointState::Starting;
            });
        } else {
            depart(&rig, "lost", &[("other", other.address)]);
        }
        let answer = get.until("\r\n\r\nok").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let refused = post.until("}").await;
        assert!(refused.starts_with("HTTP/1.1 502 "), "{refused}");
        assert!(
            refused.contains("lost its address") && refused.contains("may have handled"),
            "{refused}"
        );
        assert_eq!(other.requests(), before + 1, "the POST was not repeated");
        rig.until_in_flight("lost", 0).await;
    }
}

#[tokio::test]
async fn law_3_one_that_is_alone_is_asked_again_where_it_is_now() {
    let rig = Rig::new();
    let (lost, _go) = halting("", "").await;
    let there = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
    rig.ready("users", &[("c", lost.address)]);
    let mut raw = asked(&rig, GET, &lost).await;
    rig.ready("users", &[("c", there.local_addr().unwrap())]);
    let (mut stream, _) = bounded(there.accept()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    stream.write_all(OK.as_bytes()).await.unwrap();
    assert!(raw.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn an_answer_from_an_address_that_was_lost_is_cut_and_does_not_look_whole() {
    let rig = Rig::new();
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n";
    let (lost, _go) = halting(begun, "").await;
    rig.ready("users", &[("lost", lost.address)]);
    let mut raw = asked(&rig, GET, &lost).await;
    raw.until("some").await;
    depart(&rig, "lost", &[]);
    let rest = raw.rest().await;
    assert!(!rest.contains("0\r\n\r\n"), "it looks whole: {rest:?}");
    rig.until_in_flight("lost", 0).await;
}

#[tokio::test]
async fn a_tunnel_to_an_address_that_was_lost_is_cut() {
    let rig = Rig::new();
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi";
    let (lost, _go) = halting(switch, "").await;
    rig.ready("users", &[("lost", lost.address)]);
    let upgrade =
        "GET /agent/users/ws HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    let mut raw = asked(&rig, upgrade, &lost).await;
    raw.until("\r\n\r\nhi").await;
    rig.until_in_flight("lost", 1).await;
    depart(&rig, "lost", &[]);
    assert_eq!(raw.rest().await, "");
    rig.until_in_flight("lost", 0).await;
}

#[tokio::test]
async fn law_5_what_left_the_table_and_kept_its_address_may_finish() {
    type Change = fn(&Rig, SocketAddr);
    let ways: [(&str, Change); 5] = [
        ("not named any more", |rig, _| rig.ready("users", &[])),
        ("its agent withdrawn", |rig, _| {
            let name = agentainer::names::AgentName::new("users").unwrap();
            rig.endpoints.withdraw(&name);
        }),
        ("under another port", |rig, address| {
            let other = SocketAddr::new(address.ip(), address.port() ^ 1);
            rig.ready("users", &[("kept", other)]);
        }),
        ("drained", |rig, address| {
            rig.publish("users", &[("kept", address)], |publication| {
                publication.endpoints[0].state = EndpointState::Draining;
            });
        }),
        ("gone and back", |rig, address| {
            depart(rig, "kept", &[]);
            rig.ready("users", &[("kept", address)]);
        }),
    ];
    for (way, change) in ways {
        let rig = Rig::new();
        let (kept, go) = halting("HTTP/1.1 200 OK\r\n", "Content-Length: 2\r\n\r\nok").await;
        let (lost, _go) = halting("", "").await;
        rig.ready("users", &[("kept", kept.address)]);
        let mut waiting = asked(&rig, GET, &kept).await;
        rig.ready("orders", &[("lost", lost.address)]);
        let post = Request::post("/agent/orders/")
            .header("host", "b")
            .body(Full::<Bytes>::from("x"))
            .unwrap();
        let cut = rig.ask(post);
        let change = async {
            until(|| lost.requests() == 1).await;
            change(&rig, kept.address);
            rig.publish("orders", &[], |publication| {
                publication.departed = [ContainerId("lost".to_owned())].into();
            });
        };
        let (cut, ()) = tokio::join!(cut, change);
        assert_eq!(cut.status, StatusCode::BAD_GATEWAY, "{way}");
        // By now it would have been cut too.
        go.notify_one();
        let answer = waiting.until("\r\n\r\nok").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{way}: {answer:?}");
    }
}
