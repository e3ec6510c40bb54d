//! Listeners that come and go, who is let in, and how connections end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agentainer::front::{ClientRate, Front, Limits, ListenerKind};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::agents;
use crate::rig::{PATIENCE, Raw, Rig, bounded, until, whole};

const GET: &str = "GET /health HTTP/1.1\r\nHost: b\r\n\r\n";

/// What a client gets at an address; `None` when it cannot connect or is closed at once.
async fn at(address: SocketAddr) -> Option<String> {
    let mut raw = Raw(TcpStream::connect(address).await.ok()?);
    raw.send(GET).await;
    let answer = raw.until("}").await;
    (!answer.is_empty()).then_some(answer)
}

#[tokio::test]
async fn loopback_is_listened_on_in_both_families() {
    let rig = Rig::new();
    let address = rig.front.listen_loopback(0).unwrap();
    assert!(at(address).await.unwrap().contains("Loopback"));
    if let Ok(listener) = std::net::TcpListener::bind("[::1]:0") {
        drop(listener);
        assert!(
            at(SocketAddr::new("::1".parse().unwrap(), address.port()))
                .await
                .unwrap()
                .contains("Loopback")
        );
    }
}

#[tokio::test]
async fn every_address_has_loopback_and_the_gateway_among_them() {
    for every in ["0.0.0.0:0", "[::]:0"] {
        let rig = Rig::new();
        let Ok(local) = rig.front.listen(every.parse().unwrap()) else {
            assert_ne!(every, "0.0.0.0:0", "this machine has no IPv6 at most");
            continue;
        };
        let port = local.port();
        rig.front.listen(local).unwrap();
        assert_eq!(rig.front.listen_loopback(port).unwrap().port(), port);
        let gateway = Ipv4Addr::new(127, 3, 0, 1);
        let subnet = "127.3.0.0/16".parse().unwrap();
        rig.front
            .set_gateway(Some((gateway, subnet)), port)
            .unwrap();
        let answer = at(([127, 0, 0, 1], port).into()).await.unwrap();
        assert!(answer.contains("Loopback"), "{every}: {answer}");
    }
}

#[tokio::test]
async fn a_taken_address_is_reported_and_harms_nothing() {
    let rig = Rig::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let held = std::net::TcpListener::bind(taken).unwrap();
    let error = rig.front.listen(taken).unwrap_err();
    assert_eq!(error.address, taken);
    assert!(error.to_string().contains(&taken.to_string()));
    drop(held);
    assert!(at(rig.address).await.is_some());
}

#[tokio::test]
async fn law_7_the_gateway_lets_in_only_the_agents_network() {
    let rig = Rig::new();
    // 127.0.0.0/8 is all ours: 127.1.x.y plays the agents' network, and a peer's address is the one that it called from.
    let gateway = Ipv4Addr::new(127, 1, 0, 1);
    let port = rig.address.port();
    let address = SocketAddr::from((gateway, port));
    for (subnet, let_in) in [("127.1.0.0/16", true), ("10.9.0.0/16", false)] {
        let subnet = subnet.parse().unwrap();
        rig.front
            .set_gateway(Some((gateway, subnet)), port)
            .unwrap();
        assert!(
            rig.front
                .listening()
                .contains(&(address, ListenerKind::Gateway(subnet)))
        );
        // The kernel calls from 127.0.0.1 or the called address; bind to be sure.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 1, 0, 9], 0))).unwrap();
        let mut raw = Raw(socket.connect(address).await.unwrap());
        raw.send(GET).await;
        let answer = raw.until("}").await;
        assert_eq!(!answer.is_empty(), let_in, "{subnet}: {answer}");
    }
}

#[tokio::test]
async fn the_gateways_listener_follows_its_address() {
    let rig = Rig::new();
    let port = rig.address.port();
    let subnet = "127.0.0.0/8".parse().unwrap();
    let (one, two) = (Ipv4Addr::new(127, 2, 0, 1), Ipv4Addr::new(127, 2, 0, 2));
    for gateway in [one, one, two] {
        rig.front
            .set_gateway(Some((gateway, subnet)), port)
            .unwrap();
        assert!(at((gateway, port).into()).await.is_some(), "{gateway}");
        assert_eq!(rig.front.listening().len(), 2);
    }
    bounded(async { while at((one, port).into()).await.is_some() {} }).await;
    // An address that this machine does not have is an error, and nothing listens on a gateway then.
    assert!(
        rig.front
            .set_gateway(Some((Ipv4Addr::new(192, 0, 2, 1), subnet)), port)
            .is_err()
    );
    assert_eq!(rig.front.listening().len(), 1);
    rig.front.set_gateway(Some((two, subnet)), port).unwrap();
    rig.front.set_gateway(None, port).unwrap();
    bounded(async { while at((two, port).into()).await.is_some() {} }).await;
    assert!(at(rig.address).await.is_some());
}

#[tokio::test]
async fn law_7_a_held_socket_for_everybody_is_never_the_gateways_as_well() {
    let gateway = Ipv4Addr::new(127, 4, 0, 1);
    let sockets = [(gateway, 0), (Ipv4Addr::LOCALHOST, 0)]
        .map(|address| std::net::TcpListener::bind(address).unwrap());
    let [ours, elsewhere] = sockets.each_ref().map(|one| one.local_addr().unwrap());
    let rig = Rig::new();
    let front = Front::new(Arc::clone(&rig.proxy), rig.router(), Limits::default());
    let front = front.hold(sockets.into());
    front.listen(ours).unwrap();
    assert_eq!(front.idle(), [elsewhere], "nobody accepts from it");
    let place = Some((gateway, "127.4.0.0/16".parse().unwrap()));
    let error = front.set_gateway(place, ours.port()).unwrap_err();
    assert_eq!(error.address, ours);
    assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.source.to_string().contains("'gateway'"));
    assert_eq!(front.listening().len(), 1);
    // On another port there is nothing in its way.
    front.set_gateway(place, elsewhere.port()).unwrap();
    assert_eq!(front.listening().len(), 2);
}

#[tokio::test]
async fn law_5_a_socket_that_is_held_is_let_go_of_and_whoever_connects_waits() {
    let gateway = Ipv4Addr::new(127, 3, 0, 1);
    let socket = std::net::TcpListener::bind((gateway, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let place = Some((gateway, "127.0.0.0/8".parse().unwrap()));
    let rig = Rig::new();
    let front = || {
        let front = Front::new(Arc::clone(&rig.proxy), rig.router(), Limits::default());
        front.hold(vec![socket.try_clone().unwrap()])
    };
    let waits = async || {
        let mut raw = Raw(TcpStream::connect(address).await.unwrap());
        raw.send(GET).await;
        raw
    };
    let answered = async |mut raw: Raw| assert!(raw.until("}").await.contains("router /health"));
    // Nobody is on the network yet; then the network goes, and comes again.
    let (first, mut early) = (front(), waits().await);
    for _ in 0..2 {
        first.set_gateway(place, address.port()).unwrap();
        answered(early).await;
        assert!(
            first.sockets().unwrap().is_empty(),
            "it is not ours to give"
        );
        first.set_gateway(None, address.port()).unwrap();
        early = waits().await;
    }
    first.set_gateway(place, address.port()).unwrap();
    answered(early).await;
    assert!(first.shutdown(PATIENCE).await);
    let late = waits().await;
    let second = front();
    second.set_gateway(place, address.port()).unwrap();
    answered(late).await;
}

#[tokio::test]
async fn a_shutdown_lets_what_is_in_flight_finish() {
    let rig = Rig::new();
    let (agent, go) = agents::patient().await;
    rig.ready("users", &[("c", agent.address)]);
    let mut idle = rig.raw().await;
    idle.send(GET).await;
    idle.until("}").await;
    let _untouched = rig.raw().await;
    let mut busy = rig.raw().await;
    busy.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://b/agent/users/")
        .body(Full::<Bytes>::default())
        .unwrap();
    let stream = tokio::spawn(sender.send_request(request));
    rig.until_in_flight("c", 2).await;
    let (clean, busy, stream) = bounded(async {
        tokio::join!(
            rig.front.shutdown(Duration::from_secs(15)),
            async {
                // It takes no more by now, and ends only when it is told to.
                until(|| rig.front.listening().is_empty()).await;
                go.send_replace(true);
                busy.rest().await
            },
            stream
        )
    })
    .await;
    assert!(clean);
    assert!(
        busy.starts_with("HTTP/1.1 200 OK")
            && busy.contains("connection: close\r\n")
            && busy.ends_with("done"),
        "{busy}"
    );
    assert_eq!(whole(stream.unwrap().unwrap()).await.text, "done");
    assert!(at(rig.address).await.is_none());
}

#[tokio::test]
async fn law_5_a_kept_connection_has_one_more_answer_which_says_that_it_is_the_last() {
    let rig = Rig::new();
    let mut idle = rig.raw().await;
    idle.send(GET).await;
    assert!(!idle.until("}").await.contains("connection: close"));
    let mut silent = rig.raw().await;
    silent.send(GET).await;
    silent.until("}").await;
    let (clean, last, nothing) = bounded(async {
        tokio::join!(
            async {
                rig.front.close();
                let (within, idle) = (Duration::from_secs(15), Duration::from_secs(3));
                rig.front.finish(within, idle).await
            },
            async {
                until(|| rig.front.listening().is_empty()).await;
                idle.send(GET).await;
                idle.rest().await
            },
            silent.rest(),
        )
    })
    .await;
    assert!(clean);
    assert!(last.contains("HTTP/1.1 200 OK"), "{last}");
    assert!(last.contains("connection: close"), "{last}");
    assert!(
        !nothing.contains("HTTP/1.1"),
        "one without a request is closed at last: {nothing}"
    );
}

#[tokio::test]
async fn a_shutdown_cuts_what_does_not_end_in_time() {
    let rig = Rig::new();
    let agent = agents::scripted("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf").await;
    rig.ready("users", &[("c", agent.address)]);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    raw.until("half").await;
    assert!(!bounded(rig.front.shutdown(Duration::from_millis(20))).await);
    assert_eq!(raw.rest().await, "");
    rig.until_in_flight("c", 0).await;
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_given_up() {
    let limits = Limits {
        head_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let rig = Rig::with(Duration::from_secs(1), limits);
    let mut raw = rig.raw().await;
    raw.send("GET /agent/users/ HTTP/1.1\r\nHost:").await;
    let answer = bounded(raw.rest()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_let_go_of_in_both_protocols() {
    let limits = Limits {
        head_timeout: Duration::from_millis(50),
        quiet: Duration::from_millis(50),
        ..Limits::default()
    };
    let rig = Rig::with(Duration::from_secs(1), limits);
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for begin in ["", "P", preface] {
        let mut raw = rig.raw().await;
        raw.send(begin).await;
        raw.rest().await;
    }
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://b/health").body(Full::<Bytes>::default());
    whole(sender.send_request(request.unwrap()).await.unwrap()).await;
    // It is told so (GOAWAY), and nothing breaks.
    bounded(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_is_all_there_may_end_after_its_answer() {
    let rig = Rig::new();
    let agent = agents::http(|request: http::Request<hyper::body::Incoming>| async move {
        http::Response::new(request.into_body())
    })
    .await;
    rig.ready("users", &[("c", agent.address)]);
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut ask = |end| {
        let request = http::Request::put("http://b/agent/users/").header("content-length", "4");
        let request = request.body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from("ping"), end).unwrap();
        let answered = async {
            let mut answer = bounded(answer).await.unwrap().into_body();
            while let Some(data) = bounded(answer.data()).await {
                data.unwrap();
            }
        };
        (answered, body)
    };
    let (answered, mut open) = ask(false);
    answered.await;
    // A reset of the first would be here before the second's answer.
    ask(true).0.await;
    open.send_data(Bytes::new(), true).unwrap();
}

#[tokio::test]
async fn who_takes_back_most_of_what_it_asks_is_cut_off() {
    let rig = Rig::new();
    let agent = agents::raw(|_stream, _| std::future::pending()).await;
    rig.ready("users", &[("c", agent.address)]);
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let resets = async {
        for n in 0..100_000_u32 {
            let Ok(ready) = client.ready().await else {
                return n;
            };
            client = ready;
            let request = http::Request::get("http://b/agent/users/")
                .body(())
                .unwrap();
            let Ok((_, mut stream)) = client.send_request(request, false) else {
                return n;
            };
            tokio::task::yield_now().await;
            stream.send_reset(h2::Reason::CANCEL);
        }
        u32::MAX
    };
    let asked = bounded(resets).await;
    assert!(asked < 50_000, "{asked}");
    let _ = bounded(connection).await;
    rig.until_in_flight("c", 0).await;
    assert!(agent.connections() < 2_000, "{}", agent.connections());
}

#[tokio::test]
async fn a_client_asks_no_more_than_it_may() {
    let limits = Limits {
        client_rate: Some(ClientRate {
            count: 1.try_into().unwrap(),
            within: Duration::from_secs(60),
            burst: 3.try_into().unwrap(),
        }),
        ..Limits::default()
    };
    let rig = Rig::with(Duration::from_secs(1), limits);
    let agent = agents::mirror().await;
    rig.ready("users", &[("c", agent.address)]);
    let ask = |target: &str, client: &str| {
        let request = http::Request::get(target)
            .header("host", "b")
            .header("x-forwarded-for", client);
        rig.ask(request.body(Full::default()).unwrap())
    };
    for target in ["/agent/users/", "/health", "/agent/users/"] {
        assert_eq!(ask(target, "192.0.2.1").await.status, 200, "{target}");
    }
    for target in ["/agent/users/", "/health"] {
        let answer = ask(target, "192.0.2.1").await;
        assert_eq!(answer.status, 429, "{answer:?}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(answer.detail().contains("--client-rate"), "{answer:?}");
    }
    assert_eq!(agent.requests(), 2);
    assert_eq!(ask("/agent/users/", "192.0.2.2").await.status, 200);
    // Those for an agent are told of as all others are.
    assert_eq!(ask("/agent/none/", "192.0.2.1").await.status, 429);
    until(|| {
        let agents = rig.proxy.agents_seen();
        let users = agents.iter().find(|seen| seen.name == "users").unwrap();
        let refused = users.traffic.refused.get("too-many-requests") == Some(&1);
        refused
            && users.traffic.codes == [(200, 3), (429, 1)]
            && rig.proxy.nobody_seen().codes == [(429, 1)]
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let rig = Rig::with(
        Duration::from_secs(1),
        Limits {
            connections: 1,
            ..Limits::default()
        },
    );
    let mut first = rig.raw().await;
    first.send(GET).await;
    first.until("}").await;
    let mut second = rig.raw().await;
    second.send(GET).await;
    drop(first);
    assert!(second.until("}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn law_7_agents_that_hold_every_place_of_theirs_keep_nobody_else_out() {
    let rig = Rig::with(
        Duration::from_secs(1),
        Limits {
            connections: 1,
            ..Limits::default()
        },
    );
    let (gateway, subnet) = (Ipv4Addr::new(127, 4, 0, 1), "127.0.0.0/8".parse().unwrap());
    let port = rig.address.port();
    rig.front
        .set_gateway(Some((gateway, subnet)), port)
        .unwrap();
    let held = tokio::net::TcpStream::connect((gateway, port)).await;
    let mut held = Raw(held.unwrap());
    held.send(GET).await;
    held.until("}").await;
    let mut other = rig.raw().await;
    other.send(GET).await;
    assert!(other.until("}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn law_5_sockets_that_were_taken_over_outlive_a_successor_that_fails() {
    let rig = Rig::new();
    let successor = || {
        let sockets = rig.front.sockets().unwrap().into_iter();
        let router = axum::Router::new();
        let next = agentainer::front::Front::new(rig.proxy.clone(), router, Limits::default())
            .inherit(sockets.map(Into::into).collect());
        assert_eq!(next.listen(rig.address).unwrap(), rig.address);
        assert_eq!(next.unclaimed(), 0);
        next
    };
    drop(successor());
    assert!(at(rig.address).await.is_some(), "it accepts as before");
    // With its doors open they are its own, and end with it.
    let next = successor();
    next.open_doors();
    rig.front.let_go();
    next.close();
    bounded(async { while at(rig.address).await.is_some() {} }).await;
}

#[tokio::test]
async fn an_axum_router_fits() {
    let rig = Rig::new();
    let router = axum::Router::new().route(
        "/agents/{id}",
        axum::routing::get(
            |axum::extract::Path(id): axum::extract::Path<String>,
             connected: axum::Extension<agentainer::front::Connected>| async move {
                format!("{id} {:?}}}", connected.listener)
            },
        ),
    );
    let front = agentainer::front::Front::new(rig.proxy.clone(), router, Limits::default());
    let address = front.listen_loopback(0).unwrap();
    let mut raw = Raw(TcpStream::connect(address).await.unwrap());
    raw.send("GET /agents/users HTTP/1.1\r\nHost: b\r\n\r\n")
        .await;
    assert!(raw.until("}").await.ends_with("users Loopback}"));
}
