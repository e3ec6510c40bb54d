//! The adapter on real Docker: what only a real engine can show.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "common/docker.rs"]
mod docker;
#[path = "common/fake_runtime.rs"]
mod fake_runtime;
#[path = "common/image.rs"]
mod image;
#[path = "common/runtime_world.rs"]
mod world;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use agentainer::observed::{ContainerId, Network};
use agentainer::runtime::{
    BuildEvent, BuildRequest, ContainerRuntime, DockerRuntime, RuntimeClass,
};
use docker::{Corner, STRANGER, by_hand};
use futures::StreamExt;
use serde_json::{Value, json};
use world::{World, answering, class, spec};

fn inspect(id: &ContainerId) -> Value {
    let (status, answer) = by_hand("GET", &format!("/containers/{id}/json"), None);
    assert_eq!(status, 200);
    answer
}

/// One GET to a container.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

async fn address(world: &World, id: &ContainerId) -> SocketAddr {
    let all = world.runtime().list().await.unwrap();
    answering(all.iter().find(|container| container.id == *id).unwrap()).await
}

#[tokio::test]
async fn law_7_the_security_defaults_show_in_an_inspection() {
    let world = World::docker().await;
    let network = world.network().await;
    let mut request = world.request("users", 0, 1, &network);
    request.spec = spec(json!({
        "env": {"TOKEN": "hunter2-secret"},
        "user": "1000:1000",
        "resources": {"cpu": "250m", "memory": "32Mi"},
        "security": {"readOnlyRootFilesystem": true, "capabilities": {"drop": ["SETUID"]}},
    }));
    let id = world.start(&request).await;
    let seen = inspect(&id);
    let host = &seen["HostConfig"];
    assert_eq!(host["RestartPolicy"]["Name"], "no");
    assert_eq!(host["Init"], true);
    assert_eq!(
        host["LogConfig"],
        json!({"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}})
    );
    assert_eq!(host["PidsLimit"], 512);
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    let added: Vec<&str> = host["CapAdd"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c.as_str().unwrap())
        .collect();
    let bare: Vec<&str> = added
        .iter()
        .map(|name| name.trim_start_matches("CAP_"))
        .collect();
    assert_eq!(
        bare,
        [
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "NET_BIND_SERVICE",
            "NET_RAW",
            "SETGID"
        ]
    );
    assert_eq!(host["Privileged"], false);
    assert_eq!(
        (&host["NanoCpus"], &host["Memory"]),
        (&json!(250_000_000), &json!(32 << 20))
    );
    assert_eq!(host["MemorySwap"], host["Memory"]);
    assert_eq!(host["ReadonlyRootfs"], true);
    assert!(host["Tmpfs"]["/tmp"].is_string());
    // The seed looks for the network's name here.
    assert_eq!(host["NetworkMode"], network.name.as_str());
    assert!(host["Binds"].is_null());
    assert_eq!(seen["Config"]["Hostname"], request.identity.agent.as_str());
    assert_eq!(seen["Config"]["User"], "1000:1000");
    assert_eq!(seen["Config"]["ExposedPorts"], json!({"8000/tcp": {}}));
    let labels = seen["Config"]["Labels"].to_string();
    assert!(labels.contains("agentainer.dev/spec") && labels.contains("TOKEN"));
    assert!(!labels.contains("hunter2"), "{labels}");

    let at = address(&world, &id).await;
    assert_eq!(get(at, "/env?name=TOKEN"), "hunter2-secret");
    assert!(get(at, "/read?path=/proc/self/status").contains("NoNewPrivs:\t1"));
    // What is left for user 1000: nothing of it is effective.
    assert!(get(at, "/read?path=/proc/self/status").contains("CapEff:\t0000000000000000"));
}

#[tokio::test]
async fn law_7_no_port_is_ever_published() {
    let world = World::docker().await;
    let network = world.network().await;
    let mut request = world.request("users", 0, 1, &network);
    request.spec = spec(json!({"port": 9000, "env": {"PORT": "9000"}}));
    let id = world.start(&request).await;
    let seen = inspect(&id);
    assert!(
        seen["HostConfig"]["PortBindings"]
            .as_object()
            .is_none_or(|ports| ports.is_empty())
    );
    assert_eq!(seen["HostConfig"]["PublishAllPorts"], false);
    assert_eq!(seen["NetworkSettings"]["Ports"], json!({"9000/tcp": null}));
    assert_eq!(world.only().await.port, Some(9000));
}

#[tokio::test]
async fn law_7_host_folders_are_refused_unless_opened() {
    let root = tempfile::tempdir().unwrap();
    let corner = Corner::open(vec![root.path().to_path_buf()]).await;
    let world = World::Docker(corner);
    let network = world.network().await;
    let mut request = world.request("users", 0, 1, &network);
    let at = |path: &str| spec(json!({"volumes": [{"host": path, "container": "/data"}]}));
    for path in [
        "/",
        "/etc",
        "/var/run",
        "/var/run/docker.sock",
        "/proc/1/root",
    ] {
        request.spec = at(path);
        let refusal = world.runtime().create(&request).await.unwrap_err();
        assert_eq!(refusal.class(), RuntimeClass::Terminal);
        let flag = format!("--allow-host-path {path}");
        assert!(refusal.to_string().contains(&flag), "{refusal}");
    }
    assert_eq!(world.runtime().list().await.unwrap(), []);

    let data = root.path().join("users/data");
    request.spec = at(data.to_str().unwrap());
    let id = world.start(&request).await;
    std::fs::write(data.join("note"), "from the host").unwrap();
    let there = address(&world, &id).await;
    assert_eq!(get(there, "/read?path=/data/note"), "from the host");

    // Exchanged for a link while it is stopped: it does not start again.
    world
        .runtime()
        .stop(&id, std::time::Duration::from_secs(5))
        .await
        .unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::os::unix::fs::symlink("/etc", &data).unwrap();
    let refusal = world.runtime().start(&id).await.unwrap_err();
    assert_eq!(refusal.class(), RuntimeClass::Terminal);
    assert!(refusal.to_string().contains("symbolic link"), "{refusal}");
}

#[tokio::test]
async fn a_named_volume_is_one_for_the_cluster_and_can_be_read_only() {
    let world = World::docker().await;
    let network = world.network().await;
    let mut writer = world.request("users", 0, 1, &network);
    writer.spec = spec(json!({"volumes": [{"name": "cache", "container": "/cache"}]}));
    let mut reader = world.request("orders", 0, 1, &network);
    reader.spec =
        spec(json!({"volumes": [{"name": "cache", "container": "/in", "readOnly": true}]}));
    let writer = world.start(&writer).await;
    let reader = world.start(&reader).await;
    let (writer, reader_at) = (
        address(&world, &writer).await,
        address(&world, &reader).await,
    );
    assert_eq!(get(writer, "/write?path=/cache/x"), "");
    assert_eq!(get(reader_at, "/read?path=/in/x"), "");
    assert!(get(reader_at, "/write?path=/in/y").contains("Read-only"));
    let mount = &inspect(&reader)["Mounts"][0];
    let short: String = world.cluster().as_str().chars().take(8).collect();
    assert_eq!(mount["Name"], format!("agentainer-{short}-cache"));
    assert_eq!(mount["RW"], false);
}

#[tokio::test]
async fn a_volume_of_somebody_else_is_not_taken() {
    let world = World::docker().await;
    let network = world.network().await;
    let short: String = world.cluster().as_str().chars().take(8).collect();
    let theirs = json!({
        "Name": format!("agentainer-{short}-theirs"),
        "Labels": {STRANGER: world.cluster().as_str()},
    });
    assert_eq!(by_hand("POST", "/volumes/create", Some(theirs)).0, 201);
    let mut request = world.request("users", 0, 1, &network);
    request.spec = spec(json!({"volumes": [{"name": "theirs", "container": "/x"}]}));
    let refusal = world.runtime().create(&request).await.unwrap_err();
    assert!(refusal.to_string().contains("is not ours"), "{refusal}");
    request.spec = spec(json!({"volumes": [{"name": "../../etc", "container": "/x"}]}));
    assert_eq!(
        class(world.runtime().create(&request).await),
        RuntimeClass::Terminal
    );
}

#[tokio::test]
async fn names_resolve_between_two_agents_and_the_host_is_the_networks_gateway() {
    let world = World::docker().await;
    let network = world.network().await;
    let users = world.request("users", 0, 1, &network);
    let mut orders = world.request("orders", 0, 1, &network);
    orders.address = Some(world.address(&network, 0));
    let users_id = world.start(&users).await;
    let orders_id = world.start(&orders).await;
    let (users_at, orders_at) = (
        address(&world, &users_id).await,
        address(&world, &orders_id).await,
    );
    assert_eq!(orders_at.ip(), orders.address.unwrap());
    for name in &orders.aliases {
        assert_eq!(
            get(users_at, &format!("/resolve?name={name}")),
            format!("{}\n", orders_at.ip())
        );
    }
    let seen = get(
        users_at,
        &format!("/get?host={}&port=8000&path=/", orders.identity.agent),
    );
    assert_eq!(seen, format!("{0}\n{0}-0\n", orders.identity.agent));
    let gateway = get(users_at, "/resolve?name=host.docker.internal");
    assert_eq!(gateway, format!("{}\n", network.gateway.unwrap()));
    // A dynamic address lies in the strangers' range, outside of those that we give.
    let std::net::IpAddr::V4(dynamic) = users_at.ip() else {
        panic!("IPv4 alone")
    };
    assert!(network.strangers.unwrap().contains(&dynamic));
}

#[tokio::test]
async fn a_network_that_somebody_else_made_is_adopted_and_its_addresses_are_not_ours() {
    let corner = Corner::new().await;
    let label = json!({STRANGER: corner.settings.cluster.as_str()});
    let body = json!({"Name": corner.settings.network, "Labels": label});
    assert_eq!(by_hand("POST", "/networks/create", Some(body)).0, 201);
    let world = World::Docker(corner);
    let network: Network = world.runtime().network().await.unwrap().unwrap();
    assert!(!network.ours && !network.addresses_owned, "{network:?}");
    assert!(network.gateway.is_some() && network.subnet.is_some());
    let mut request = world.request("users", 0, 1, &network);
    world.start(&request).await;

    request.name.push('2');
    request.address = Some(world.address(&network, 3));
    let id = world.runtime().create(&request).await.unwrap();
    let refusal = world.runtime().start(&id).await.unwrap_err();
    assert_eq!(refusal.class(), RuntimeClass::Terminal, "{refusal}");
    // One that does not run is on it all the same: the network is not empty without the other.
    let network = world.runtime().network().await.unwrap().unwrap();
    assert_eq!(network.members.get(&id.0), Some(&None), "{network:?}");
}

#[tokio::test]
async fn of_two_networks_of_one_name_ours_is_taken() {
    let corner = Corner::new().await;
    let label = json!({STRANGER: corner.settings.cluster.as_str()});
    let body = json!({"Name": corner.settings.network, "Labels": label});
    let ours = corner.network().await;
    let (status, twin) = by_hand("POST", "/networks/create", Some(body));
    // Engines of API 1.44 and above allow no twin.
    if status != 201 {
        return;
    }
    assert_ne!(twin["Id"], ours.id.0.as_str());
    assert_eq!(corner.runtime.network().await.unwrap().unwrap().id, ours.id);
    // And used, though its name alone says nothing now.
    let world = World::Docker(corner);
    let mut request = world.request("users", 0, 1, &ours);
    request.address = Some(world.address(&ours, 0));
    let id = world.start(&request).await;
    for _ in 0..2 {
        let attachment = world.only().await.attachment.unwrap();
        assert_eq!(attachment.network, ours.id);
        assert_eq!(attachment.ip, request.address.map(Into::into));
        let grace = std::time::Duration::from_secs(5);
        world.runtime().stop(&id, grace).await.unwrap();
        world.runtime().start(&id).await.unwrap();
    }
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_refused_for_good() {
    let world = World::docker().await;
    let network = world.network().await;
    let mut request = world.request("users", 0, 1, &network);
    request.spec =
        spec(json!({"command": ["/no/such/program"], "env": {"TOKEN": "hunter2-secret"}}));
    // With an init process the engine starts that, and it fails to find the program: the container ends with 127.
    let id = world.runtime().create(&request).await.unwrap();
    match world.runtime().start(&id).await {
        Ok(()) => {
            let ended = world.until(|container| container.exit.is_some()).await;
            assert_eq!(ended.exit.unwrap().code, 127);
        }
        Err(cause) => assert_eq!(cause.class(), RuntimeClass::Terminal, "{cause}"),
    }
}

#[tokio::test]
async fn a_build_tells_its_log_and_ends_with_an_image_or_an_error() {
    let corner = Corner::new().await;
    let short: String = corner.settings.cluster.as_str().chars().take(8).collect();
    let tag = format!("agentainer-test/built-{short}:1");
    let build = async |dockerfile: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(dockerfile.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, "Dockerfile", dockerfile.as_bytes())
            .unwrap();
        let context = tar.into_inner().unwrap();
        let request = BuildRequest {
            context: futures::stream::iter([Ok(context.into())]).boxed(),
            dockerfile: "Dockerfile".to_owned(),
            args: BTreeMap::from([("KEY".to_owned(), "hunter2".to_owned())]),
            target: None,
            tag: tag.clone(),
        };
        corner
            .runtime
            .build(request)
            .await
            .unwrap()
            .collect::<Vec<_>>()
            .await
    };
    let base = image::reference();
    let events = build(&format!("FROM {base}\nARG KEY\nENV BUILT=1\n")).await;
    let done = events.iter().find_map(|event| match event {
        Ok(BuildEvent::Done(id)) => Some(id.clone()),
        _ => None,
    });
    assert_eq!(corner.runtime.image(&tag).await.unwrap(), done);
    assert!(done.is_some(), "{events:?}");
    assert!(!format!("{events:?}").contains("hunter2"));
    by_hand("DELETE", &format!("/images/{tag}"), None);

    let events = build(&format!("FROM {base}\nCOPY nothing /here\n")).await;
    let last = events.last().unwrap().as_ref().unwrap_err();
    assert!(last.to_string().contains("nothing"), "{last}");
    let broken = BuildRequest {
        context: futures::stream::iter([Err(std::io::Error::other("larger than 10 MB"))]).boxed(),
        dockerfile: "Dockerfile".to_owned(),
        args: BTreeMap::new(),
        target: None,
        tag: tag.clone(),
    };
    let events: Vec<_> = corner.runtime.build(broken).await.unwrap().collect().await;
    let last = events.last().unwrap().as_ref().unwrap_err();
    assert!(last.to_string().contains("larger than 10 MB"), "{last}");
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_so_with_its_address() {
    let corner = Corner::new().await;
    let away = "unix:///nonexistent/docker.sock";
    let runtime = DockerRuntime::connect(Some(away), corner.settings.clone()).unwrap();
    let error = runtime.list().await.unwrap_err();
    assert_eq!(error.class(), RuntimeClass::Transient);
    assert!(error.to_string().contains(away), "{error}");
    assert_eq!(class(runtime.events().await), RuntimeClass::Transient);
    assert!(DockerRuntime::connect(Some("ssh://box"), corner.settings.clone()).is_err());
    let engine = corner.runtime.ping().await.unwrap();
    assert!(engine.api_version.starts_with("1."));
}

#[tokio::test]
async fn the_gateway_of_the_network_is_on_this_host() {
    let corner = Corner::new().await;
    let network = corner.network().await;
    let gateway: Ipv4Addr = network.gateway.unwrap();
    std::net::TcpListener::bind((gateway, 0)).unwrap();
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn law_7_not_even_the_most_talkative_log_tells_environment_values() {
    let world = World::docker().await;
    let network = world.network().await;
    let kept = Kept::default();
    let writer = kept.clone();
    // With the bridge for the `log` crate, which bollard writes to, as the server has it.
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .try_init();
    assert!(log.is_ok());
    let mut request = world.request("users", 0, 1, &network);
    request.spec = spec(json!({"env": {"TOKEN": "hunter2-secret"}}));
    request
        .injected_env
        .push(("AGENTAINER_TOKEN".to_owned(), "injected-secret".to_owned()));
    let id = world.start(&request).await;
    world.runtime().list().await.unwrap();
    world.runtime().remove(&id).await.unwrap();
    let text = String::from_utf8_lossy(&kept.0.lock().unwrap()).into_owned();
    assert!(text.contains("bollard"), "bollard's own log is there");
    for secret in ["hunter2-secret", "injected-secret"] {
        assert!(!text.contains(secret), "{secret} was logged");
    }
}
