//! Law 7 from the inside: what an agent may and may not reach; and the document's Python and troubleshooting lines.

use crate::server::{Server, docker_says, says};
use crate::web::{curl, get};

/// An agent with a whole userland: the document's Flask agents.
const PYTHON: &str = "agents: [{name: insider, image: 'agentainer-test/python:latest', env: {SECRET: insider-secret}}, \
    {name: other-agent, image: hello, env: {SECRET: others-secret}}]";

fn inside(command: &str) -> (bool, String) {
    docker_says(&["exec", "insider", "sh", "-c", command])
}

fn python(code: &str) -> (bool, String) {
    docker_says(&["exec", "insider", "python3", "-c", code])
}

#[test]
fn an_agent_reaches_what_the_document_says_and_nothing_else() {
    let server = Server::start();
    server.apply(PYTHON);
    the_troubleshooting_lines_work();
    the_python_snippets_work(&server);
    law_7_the_agents_redis_cannot_be_administered();
    law_7_the_api_shows_an_agent_what_it_may_see(&server);
    law_7_the_control_plane_is_out_of_reach(&server);
}

fn the_troubleshooting_lines_work() {
    for line in [
        "curl -sf http://other-agent:8000/health",
        "nslookup other-agent",
        "ping -c 1 -W 3 other-agent",
        "timeout 5 tcpdump -i eth0 -c 1 port 8000 & sleep 1; curl -s http://other-agent:8000/ >/dev/null; wait",
    ] {
        let (ok, said) = inside(line);
        assert!(ok, "`{line}` in the agent: {said}");
    }
}

fn the_python_snippets_work(server: &Server) {
    let port = server.port;
    for code in [
        "import requests; r = requests.get('http://other-agent:8000/api/data'); assert r.status_code == 200, r.text".to_owned(),
        format!("import requests; r = requests.get('http://host.docker.internal:{port}/agent/other-agent/api/data'); assert r.status_code == 200, r.text"),
        format!("import requests; r = requests.post('http://host.docker.internal:{port}/agent/other-agent/api', json={{'a': 1}}); assert r.status_code == 200, r.text"),
        format!(
            "import os, requests; h = {{'Authorization': 'Bearer agentainer-default-token'}}; A = os.environ['AGENT_ID']\n\
             r = requests.get(f'http://host.docker.internal:{port}/agents/{{A}}', headers=h); assert r.status_code == 200 and 'insider-secret' not in r.text, r.text\n\
             r = requests.get('http://host.docker.internal:{port}/agents', headers=h); assert r.status_code == 200 and 'others-secret' not in r.text, r.text"
        ),
        "import redis; r = redis.Redis(host='host.docker.internal', port=6379); r.setex('user:1', 300, 'x'); assert r.get('user:1') == b'x'; assert r.publish('events:a', 'b') >= 0".to_owned(),
        "import redis\nr = redis.Redis(host='host.docker.internal', port=6379)\np = r.pubsub()\np.psubscribe('events:*')\nassert p.get_message(timeout=5)\nr.publish('events:x', 'hello')\nm = p.get_message(timeout=5)\nassert m['type'] == 'pmessage' and m['data'] == b'hello', m".to_owned(),
        "import requests\nfrom requests.adapters import HTTPAdapter\nfrom requests.packages.urllib3.util.retry import Retry\ns = requests.Session()\ns.mount('http://', HTTPAdapter(max_retries=Retry(total=3, backoff_factor=0.3), pool_connections=10, pool_maxsize=20))\nassert s.get('http://other-agent:8000/api', timeout=(3, 30)).status_code == 200".to_owned(),
    ] {
        let (ok, said) = python(&code);
        assert!(ok, "{code}\n{said}");
    }
    let refused = get(&server.url("/agent/insider/api/sensitive"));
    assert!(refused.is_some_and(|answer| [401, 404, 405].contains(&answer.status)));
    let allowed = curl(&[
        "-X",
        "POST",
        "-H",
        "X-API-Key: secret-key",
        &server.url("/agent/insider/api/sensitive"),
    ])
    .unwrap();
    assert_eq!(allowed.status, 200, "{}", allowed.body);
}

fn law_7_the_agents_redis_cannot_be_administered() {
    for command in [
        "CONFIG GET *",
        "CONFIG SET dir /tmp",
        "REPLICAOF 1.2.3.4 1",
        "SLAVEOF NO ONE",
        "MODULE LIST",
        "SHUTDOWN NOSAVE",
        "FLUSHALL",
        "FLUSHDB",
        "DEBUG SLEEP 0",
        "SAVE",
        "BGSAVE",
        "BGREWRITEAOF",
        "ACL LIST",
        "ACL SETUSER x",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "MONITOR",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "DBSIZE",
        "SCRIPT FLUSH",
        "FUNCTION LIST",
        "CLUSTER INFO",
        "SYNC",
        "MIGRATE h 1 k 0 1",
        "SWAPDB 0 1",
        "LATENCY RESET",
    ] {
        let words: Vec<String> = command.split(' ').map(|word| format!("'{word}'")).collect();
        let code = format!(
            "import redis; r = redis.Redis(host='host.docker.internal', port=6379)\n\
             try:\n    print('ALLOWED', r.execute_command({}))\nexcept redis.exceptions.NoPermissionError as e:\n    print('DENIED')\n\
             except redis.exceptions.ResponseError as e:\n    print('DENIED' if 'NOPERM' in str(e) or 'permission' in str(e) or 'not allowed' in str(e) else 'OTHER', e)",
            words.join(", ")
        );
        let (_, said) = python(&code);
        assert!(
            said.contains("DENIED"),
            "law 7: {command} from inside an agent: {said}"
        );
    }
}

fn law_7_the_api_shows_an_agent_what_it_may_see(server: &Server) {
    let port = server.port;
    let api = |method: &str, path: &str, token: &str| {
        let line = format!(
            "curl -s -o /tmp/body -w '%{{http_code}}' -X {method} -H \"Authorization: Bearer {token}\" -H 'Content-Type: application/json' -d '{{}}' http://host.docker.internal:{port}{path}; cat /tmp/body"
        );
        inside(&line).1
    };
    let whole = api("GET", "/agents/insider", "$AGENTAINER_TOKEN");
    assert!(whole.starts_with("200"), "{whole}");
    let others = api("GET", "/agents/other-agent", "$AGENTAINER_TOKEN");
    assert!(
        others.starts_with("200") && !others.contains("others-secret"),
        "{others}"
    );
    for token in ["agentainer-default-token", "$AGENTAINER_TOKEN"] {
        for (method, path) in [
            ("DELETE", "/agents/other-agent"),
            ("PUT", "/agents/other-agent"),
            ("PATCH", "/agents/other-agent"),
            ("POST", "/agents/other-agent/stop"),
            ("POST", "/apply"),
            ("GET", "/agents/other-agent/logs"),
        ] {
            let said = api(method, path, token);
            assert!(said.starts_with("403"), "law 7: {method} {path}: {said}");
        }
    }
    assert!(api("GET", "/agents", "").starts_with("401"));
    assert!(api("GET", "/agents", "wrong").starts_with("401"));
    assert_eq!(
        server.containers("other-agent").len(),
        1,
        "nothing happened to it"
    );
    // The well-known token is stripped on the way to an agent, and so is no key to anything there.
    let echoed = curl(&[
        "-H",
        "Authorization: Bearer agentainer-default-token",
        &server.url("/agent/other-agent/echo"),
    ])
    .unwrap();
    assert!(
        !echoed.body.contains("agentainer-default-token"),
        "{}",
        echoed.body
    );
}

fn law_7_the_control_plane_is_out_of_reach(server: &Server) {
    assert!(
        !inside("ls /var/run/docker.sock").0,
        "the Docker socket is not in the container"
    );
    // The control Redis has no port at all; its socket is in a folder that only we may enter.
    let sockets: Vec<_> = walk(&server.data_dir())
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(".sock"))
        .collect();
    assert!(!sockets.is_empty(), "the control Redis listens on a socket");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(server.data_dir())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o066,
        0,
        "nobody else can list or change the data folder"
    );
    let data = server.data_dir();
    for host in [
        data.to_string_lossy().into_owned(),
        "/var/run/docker.sock".to_owned(),
        "/".to_owned(),
        "/etc".to_owned(),
    ] {
        let manifest = format!(
            "agents: [{{name: thief, image: hello, volumes: [{{host: '{host}', container: /loot}}]}}]"
        );
        let output = server.cli_with_input(
            &["apply", "-f", "-", "--wait", "--timeout", "15s"],
            &manifest,
        );
        assert!(!output.status.success(), "law 7: {host} was mounted");
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains("--allow-host-path") || said.contains("never"),
            "{host}: {said}"
        );
        server.ok(&["delete", "thief"]);
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Sends a datagram and an ARP answer whose sender is `argv[2]`, then the same two from a MAC of its own making, to `argv[1]`.
const FORGER: &str = r#"
import socket, struct, sys
to, source, word = sys.argv[1], sys.argv[2], sys.argv[3].encode()
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
datagram = struct.pack('!HHHH', 5555, 9999, 8 + len(word), 0) + word
head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(to))
packet = head[:10] + struct.pack('!H', checksum(head)) + head[12:] + datagram
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(packet, (to, 0))
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
frames.bind(('eth0', 0))
mac = frames.getsockname()[4]
arp = lambda of: struct.pack('!HHBBH6s4s6s4s', 1, 0x0800, 6, 4, 2, of, socket.inet_aton(source), b'\xff' * 6, socket.inet_aton(to))
frames.send(b'\xff' * 6 + mac + b'\x08\x06' + arp(mac))
made_up = b'\x02\x66\x66\x66\x66\x66'
frames.send(b'\xff' * 6 + made_up + b'\x08\x00' + packet)
frames.send(b'\xff' * 6 + made_up + b'\x08\x06' + arp(made_up))
"#;

/// Tells each datagram, and whom it takes for whom.
const VICTIM: &str = r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 9999))
while True:
    word, (source, _) = s.recvfrom(100)
    print(word.decode(), 'from', source, flush=True)
"#;

#[test]
fn law_4_an_agent_sends_from_no_address_but_its_own() {
    let server = Server::start();
    let victim = serde_json::to_string(&["python3", "-c", VICTIM]).unwrap();
    // Two of them listen nowhere, and are never ready.
    let manifest = format!(
        "agents: [{{name: forged-to, image: 'agentainer-test/python:latest', command: {victim}}}, \
         {{name: forger, image: 'agentainer-test/python:latest', command: [sleep, '600']}}, \
         {{name: posed-as, image: hello}}]"
    );
    let applied = server.cli_with_input(&["apply", "-f", "-"], &manifest);
    assert!(applied.status.success(), "{applied:?}");
    let said = |what: &str| {
        let ready = get(&server.url("/ready"));
        ready.is_some_and(|answer| answer.body.contains(what))
    };
    if !says("sh", &["-c", "nft list tables"]).0 {
        // Not as root, say.
        server.eventually("that nobody is guarded is said", |_| {
            said("no rule can be set")
        });
        return;
    }
    let place = |name: &str| {
        let one = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let (_, text) = docker_says(&["inspect", "-f", one, name]);
        text.trim().to_owned()
    };
    let names = ["forged-to", "forger", "posed-as"];
    server.eventually("all three run", |_| {
        names.iter().all(|name| place(name).contains('.'))
    });
    let [to, own, other] = names.map(place);
    let cluster = std::fs::read_to_string(server.data_dir().join("cluster")).unwrap();
    let table = format!("agentainer_{}", cluster.trim().replace('-', "_"));
    let shown = || says("nft", &["list", "table", "bridge", &table]).1;
    let guarded = |_: &Server| {
        [&to, &own, &other]
            .iter()
            .all(|one| shown().contains(one.as_str()))
    };
    server.eventually("each port is guarded", guarded);
    server.eventually("and that is said", |_| {
        said("each of 3 instances sends from its own")
    });
    let sends = |source: &str, word: &str| {
        let (ok, said) =
            docker_says(&["exec", "forger", "python3", "-c", FORGER, &to, source, word]);
        assert!(ok, "{said}");
    };
    let hears = |word: &str| docker_says(&["logs", "forged-to"]).1.contains(word);
    let posed = || {
        sends(&other, "as-another");
        sends("203.0.113.9", "as-nobody");
        sends(&own, "as-itself");
        server.eventually("the honest one is heard", |_| hears("as-itself"));
        !hears("as-another") && !hears("as-nobody") && {
            // Nobody was taught another's place: neither neighbours nor the bridge.
            let (_, known) = docker_says(&["exec", "forged-to", "cat", "/proc/net/arp"]);
            !known.contains("02:66:66:66:66:66")
        }
    };
    assert!(posed());
    // Somebody flushes it.
    let (ok, said) = says("nft", &["delete", "table", "bridge", &table]);
    assert!(ok, "{said}");
    server.eventually("it is made again", guarded);
    assert!(posed());
    // It goes with everything else.
    server.ok(&["stop", "--all"]);
    assert!(!shown().contains("chain"));
}
