//! The Redis servers that we run ourselves, with the real redis-server in folders of the tests' own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_docs
)]

#[path = "common/redis_child.rs"]
mod redis_child;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentainer::redis_server::{
    AgentsRedis, AgentsRedisOptions, ExternalRedis, Outcome, RedisServer, RedisServerClass,
    RedisServerError, ServerState, Stopped, control, look_at, stop,
};
use agentainer::store::AgentStore as _;
use agentainer::store::redis::{RedisStore, RedisStoreOptions};
use redis_child::RedisChild;
use rustix::process::{Pid, Signal, kill_process};

/// A folder whose redis-server is gone after the test, however that ends.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let private = std::fs::Permissions::from_mode(0o700);
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("agentainer-rs").permissions(private);
        Self(folder.tempdir().unwrap())
    }
    fn path(&self) -> PathBuf {
        self.0.path().join("redis")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.path().join("data/redis.pid"));
        if let Some(pid) = pid.ok().and_then(|text| text.trim().parse::<u32>().ok()) {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&*self.path().to_string_lossy()) {
                signal(pid, Signal::KILL);
            }
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

const MEMORY: u64 = 64 << 20;

async fn started(folder: &Folder) -> RedisServer {
    RedisServer::start(control(&folder.path(), MEMORY))
        .await
        .unwrap()
}

fn run_of(server: &RedisServer) -> (u32, String, bool) {
    match &*server.state().borrow() {
        ServerState::Up { identity, adopted } => (identity.pid, identity.run_id.clone(), *adopted),
        ServerState::Down { reason, .. } => panic!("down: {reason}"),
    }
}

async fn up_again(server: &RedisServer, old: &str) -> (u32, String, bool) {
    let mut state = server.state();
    let again = state.wait_for(
        |state| matches!(state, ServerState::Up { identity, .. } if identity.run_id != old),
    );
    drop(
        tokio::time::timeout(Duration::from_secs(30), again)
            .await
            .expect("up again within 30 s")
            .unwrap(),
    );
    run_of(server)
}

fn connect(url: &str) -> redis::Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

fn run<T: redis::FromRedisValue>(
    connection: &mut redis::Connection,
    line: &str,
) -> redis::RedisResult<T> {
    let words: Vec<&str> = line
        .split_whitespace()
        .map(|word| if word == "''" { "" } else { word })
        .collect();
    redis::cmd(words[0]).arg(&words[1..]).query(connection)
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path)
        .unwrap()
        .permissions()
        .mode()
        & 0o777
}

#[tokio::test]
async fn the_control_redis_is_durable_and_private() {
    let folder = Folder::new();
    let server = started(&folder).await;
    let mut connection = connect(&server.url());
    for (name, value) in [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("no-appendfsync-on-rewrite", "no"),
        ("save", ""),
        ("maxmemory", "67108864"),
        ("maxmemory-policy", "noeviction"),
        ("port", "0"),
    ] {
        let (_, is): (String, String) =
            run(&mut connection, &format!("CONFIG GET {name}")).unwrap();
        assert_eq!(is, value, "{name}");
    }
    assert_eq!(mode(&server.socket()), 0o600);
    assert_eq!(mode(&folder.path()), 0o700);
    assert_eq!(mode(&folder.path().join("data")), 0o700);
    for file in ["redis.conf", "run.json", "lock"] {
        assert_eq!(mode(&folder.path().join(file)), 0o600, "{file}");
    }
    let (pid, ..) = run_of(&server);
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    let session = rustix::process::getsid(Some(pid)).unwrap();
    assert_eq!(session, pid, "it leads a session of its own");
    assert_eq!(server.stop().await.unwrap(), Stopped::Orderly);
    assert!(!folder.path().join("data/redis.sock").exists());
    assert_eq!(
        stop(&control(&folder.path(), MEMORY)).await.unwrap(),
        Stopped::NotRunning
    );
}

#[tokio::test]
async fn it_outlives_its_owner_and_is_adopted() {
    let folder = Folder::new();
    let first = started(&folder).await;
    let (pid, run_id, adopted) = run_of(&first);
    assert!(!adopted);
    let _: String = run(&mut connect(&first.url()), "SET kept 1").unwrap();
    drop(first);

    let second = started(&folder).await;
    assert_eq!(run_of(&second), (pid, run_id.clone(), true));
    let kept: String = run(&mut connect(&second.url()), "GET kept").unwrap();
    assert_eq!(kept, "1");
    drop(second);

    // Also when our note of it is lost, and with the settings of today.
    std::fs::remove_file(folder.path().join("run.json")).unwrap();
    let third = RedisServer::start(control(&folder.path(), 2 * MEMORY))
        .await
        .unwrap();
    assert_eq!(run_of(&third), (pid, run_id, true));
    let (_, memory): (String, String) =
        run(&mut connect(&third.url()), "CONFIG GET maxmemory").unwrap();
    assert_eq!(memory, (2 * MEMORY).to_string());
    third.stop().await.unwrap();
}

#[tokio::test]
async fn two_servers_that_start_at_once_share_one() {
    let folder = Folder::new();
    let (one, two) = tokio::join!(started(&folder), started(&folder));
    let (a, b) = (run_of(&one), run_of(&two));
    assert_eq!((a.0, &a.1), (b.0, &b.1));
    assert!(a.2 != b.2, "one started it, one adopted it");
    drop(two);
    one.stop().await.unwrap();
}

#[tokio::test]
async fn law_2_what_it_acknowledged_survives_its_kill_and_it_starts_again() {
    let folder = Folder::new();
    let server = started(&folder).await;
    let (pid, run_id, _) = run_of(&server);
    let url = server.url();
    let writer = tokio::task::spawn_blocking(move || {
        let mut connection = connect(&url);
        let mut acknowledged = 0_u64;
        while run::<String>(&mut connection, &format!("SET key:{acknowledged} x")).is_ok() {
            acknowledged += 1;
            if acknowledged == 200 {
                signal(pid, Signal::KILL);
            }
        }
        acknowledged
    });
    let acknowledged = writer.await.unwrap();
    assert!(acknowledged >= 200);
    let (new_pid, new_run, adopted) = up_again(&server, &run_id).await;
    assert!(new_pid != pid && new_run != run_id && !adopted);
    let mut connection = connect(&server.url());
    for index in 0..acknowledged {
        let found: i64 = run(&mut connection, &format!("EXISTS key:{index}")).unwrap();
        assert_eq!(found, 1, "key:{index} of {acknowledged}");
    }
    server.stop().await.unwrap();
}

/// The file that a redis-server writes to.
fn increment(folder: &Folder) -> PathBuf {
    let all = std::fs::read_dir(folder.path().join("data/appendonlydir")).unwrap();
    let mut all = all.map(|entry| entry.unwrap().path());
    all.find(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .unwrap()
}

#[tokio::test]
async fn law_2_a_transaction_that_was_torn_by_a_full_disk_never_comes_to_be() {
    use std::io::Write as _;
    let folder = Folder::new();
    let first = started(&folder).await;
    let _: String = run(&mut connect(&first.url()), "SET before 1").unwrap();
    first.stop().await.unwrap();
    let torn = "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$1\r\n1\r\n*3\r\n$3\r\nSE";
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(increment(&folder))
        .unwrap();
    file.write_all(torn.as_bytes()).unwrap();
    // Redis alone cuts off the last command and keeps the transaction open, for what is written next.
    let second = started(&folder).await;
    let mut pipe = redis::pipe();
    pipe.atomic().set("after", 1).set("later", 1);
    let _: () = pipe.query(&mut connect(&second.url())).unwrap();
    second.stop().await.unwrap();
    let third = started(&folder).await;
    let mut connection = connect(&third.url());
    let found: Vec<Option<i64>> = run(&mut connection, "MGET before after later torn").unwrap();
    assert_eq!(found, [Some(1), Some(1), Some(1), None]);
    third.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_reads_its_data_when_its_starter_goes_is_adopted_once_it_has() {
    let folder = Folder::new();
    let first = started(&folder).await;
    let _: String = run(&mut connect(&first.url()), "SET kept 1").unwrap();
    first.stop().await.unwrap();
    // A second's work.
    let long = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n".repeat(2_000_000);
    let path = increment(&folder);
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, before + &long).unwrap();
    let begun = std::process::Command::new("redis-server")
        .arg(folder.path().join("redis.conf"))
        .status();
    assert!(begun.unwrap().success(), "it detaches itself");
    let pid_file = folder.path().join("data/redis.pid");
    let written = async {
        while !pid_file.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written)
        .await
        .unwrap();
    let second = started(&folder).await;
    assert!(run_of(&second).2, "adopted");
    let kept: String = run(&mut connect(&second.url()), "GET kept").unwrap();
    assert_eq!(kept, "1");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_works_on_it_from_the_first_call() {
    let folder = Folder::new();
    let odd = folder.0.path().join("a \"b\" %41 ü#?");
    let setup = control(&odd.join("c"), MEMORY);
    let server = RedisServer::start(setup.clone()).await.unwrap();
    let store = RedisStore::new(&server.url(), RedisStoreOptions::default()).unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.cluster().await.unwrap(), None);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_cannot_start_says_why() {
    let folder = Folder::new();
    let logs = folder.path().join("data/appendonlydir");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("appendonly.aof.manifest"), "nonsense\n").unwrap();
    let error = RedisServer::start(control(&folder.path(), MEMORY))
        .await
        .unwrap_err();
    let RedisServerError::Failed { words, .. } = &error else {
        panic!("{error}");
    };
    assert!(words.contains("AOF"), "{words}");
    assert_eq!(error.class(), RedisServerClass::Transient);
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_refused_with_a_remedy() {
    let folder = Folder::new();
    let deep = folder.0.path().join("x".repeat(120));
    let error = RedisServer::start(control(&deep, MEMORY))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("--data-dir"), "{error}");
    assert!(!deep.exists());
}

#[tokio::test]
async fn somebody_elses_redis_at_our_socket_is_left_alone() {
    let theirs = RedisChild::start(&[]);
    let folder = Folder::new();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::os::unix::fs::symlink(theirs.socket(), data.join("redis.sock")).unwrap();
    let setup = control(&folder.path(), MEMORY);
    let error = RedisServer::start(setup.clone()).await.unwrap_err();
    assert!(matches!(error, RedisServerError::Foreign { .. }), "{error}");
    assert!(matches!(
        stop(&setup).await,
        Err(RedisServerError::Foreign { .. })
    ));
    let _: String = theirs.run(&["PING"]);
}

#[tokio::test]
async fn one_that_hangs_is_ended_by_its_pid() {
    let folder = Folder::new();
    let setup = control(&folder.path(), MEMORY);
    let server = RedisServer::start(setup.clone()).await.unwrap();
    let (pid, ..) = run_of(&server);
    drop(server);
    signal(pid, Signal::STOP);
    assert_eq!(stop(&setup).await.unwrap(), Stopped::Killed);
    assert!(!Path::new(&format!("/proc/{pid}/exe")).exists());
}

#[tokio::test]
async fn a_stranger_with_a_recorded_pid_is_not_touched() {
    let folder = Folder::new();
    let mut stranger = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("redis.pid"), format!("{}\n", stranger.id())).unwrap();
    let run = format!("{{\"pid\":{},\"run_id\":\"x\"}}", stranger.id());
    std::fs::write(folder.path().join("run.json"), run).unwrap();
    let setup = control(&folder.path(), MEMORY);
    assert_eq!(stop(&setup).await.unwrap(), Stopped::NotRunning);
    let server = RedisServer::start(setup).await.unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "it lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    server.stop().await.unwrap();
}

// The agents' Redis. A gateway stands for any address of the machine: all of 127/8 is.

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn gateway(last: u8) -> IpAddr {
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    IpAddr::from(Ipv4Addr::new(127, high | 1, low, last))
}

async fn agents(folder: &Folder) -> (AgentsRedis, u16) {
    let port = free_port();
    let options = AgentsRedisOptions {
        memory: MEMORY,
        port,
    };
    (
        AgentsRedis::start(&folder.path(), &options).await.unwrap(),
        port,
    )
}

fn tcp(address: SocketAddr) -> redis::Connection {
    connect(&format!("redis://{address}"))
}

fn answers(address: IpAddr, port: u16) -> bool {
    std::net::TcpStream::connect_timeout(&SocketAddr::new(address, port), Duration::from_secs(5))
        .is_ok()
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn agents_find_it_on_the_gateway_and_on_loopback() {
    let folder = Folder::new();
    let (redis, port) = agents(&folder).await;
    assert!(
        !answers(LOOPBACK, port),
        "nowhere before there is a gateway"
    );
    let listening = redis.listen(Some(gateway(1))).await.unwrap();
    assert_eq!(listening.bound(), Some(SocketAddr::new(gateway(1), port)));
    assert_eq!(listening.loopback.1, Outcome::Bound);
    let mut connection = tcp(listening.bound().unwrap());
    let _: String = run(&mut connection, "SETEX user:1 300 x").unwrap();
    assert!(answers(LOOPBACK, port));

    // The gateway's address changes; who is connected stays so.
    let listening = redis.listen(Some(gateway(2))).await.unwrap();
    assert_eq!(listening.bound(), Some(SocketAddr::new(gateway(2), port)));
    assert_eq!(*redis.listening().borrow(), listening);
    assert!(!answers(gateway(1), port) && answers(gateway(2), port));
    let _: String = run(&mut connection, "GET user:1").unwrap();
    // Again, the same: nothing changes.
    assert_eq!(redis.listen(Some(gateway(2))).await.unwrap(), listening);
    // It goes.
    let listening = redis.listen(None).await.unwrap();
    assert_eq!(
        (listening.gateway, listening.loopback.1),
        (None, Outcome::Unused)
    );
    assert!(!answers(gateway(2), port) && !answers(LOOPBACK, port));
    redis.stop().await.unwrap();
}

#[tokio::test]
async fn a_taken_address_is_a_fact_and_not_a_failure() {
    let folder = Folder::new();
    let (redis, port) = agents(&folder).await;
    let holder = TcpListener::bind((gateway(3), port)).unwrap();
    let listening = redis.listen(Some(gateway(3))).await.unwrap();
    let taken = SocketAddr::new(gateway(3), port);
    assert_eq!(listening.gateway, Some((taken, Outcome::Taken)));
    assert_eq!(
        (listening.bound(), listening.loopback.1),
        (None, Outcome::Unused)
    );
    assert!(!answers(LOOPBACK, port));
    drop(holder);
    assert_eq!(
        redis.listen(Some(gateway(3))).await.unwrap().bound(),
        Some(taken)
    );

    // A port that all addresses hold, as the host's own Redis may.
    redis.listen(None).await.unwrap();
    let holder = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let listening = redis.listen(Some(gateway(3))).await.unwrap();
    assert_eq!(listening.gateway, Some((taken, Outcome::Taken)));
    assert_eq!(listening.loopback.1, Outcome::Taken);
    drop(holder);

    // Loopback alone is taken: the gateway matters.
    let _holder = TcpListener::bind((LOOPBACK, port)).unwrap();
    let listening = redis.listen(Some(gateway(3))).await.unwrap();
    assert_eq!(listening.bound(), Some(taken));
    assert_eq!(listening.loopback.1, Outcome::Taken);
    assert!(answers(gateway(3), port));

    // An address that this machine does not have.
    let nowhere = IpAddr::from(Ipv4Addr::new(203, 0, 113, 7));
    let listening = redis.listen(Some(nowhere)).await.unwrap();
    assert_eq!(listening.gateway.unwrap().1, Outcome::Absent);
    redis.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_crash_it_listens_again_and_its_owners_successor_finds_it_listening() {
    let folder = Folder::new();
    let (redis, port) = agents(&folder).await;
    let address = redis
        .listen(Some(gateway(4)))
        .await
        .unwrap()
        .bound()
        .unwrap();
    let (pid, run_id, _) = run_of(redis.server());
    let mut listening = redis.listening();
    listening.mark_unchanged();
    signal(pid, Signal::KILL);
    let (pid, ..) = up_again(redis.server(), &run_id).await;
    tokio::time::timeout(Duration::from_secs(20), listening.changed())
        .await
        .expect("listens again")
        .unwrap();
    assert_eq!(listening.borrow().bound(), Some(address));
    let _: String = run(&mut tcp(address), "SET kept 1").unwrap();
    drop(redis);

    let options = AgentsRedisOptions {
        memory: MEMORY,
        port,
    };
    let redis = AgentsRedis::start(&folder.path(), &options).await.unwrap();
    assert_eq!(
        (run_of(redis.server()).0, run_of(redis.server()).2),
        (pid, true)
    );
    assert!(answers(gateway(4), port), "it listened on meanwhile");
    assert_eq!(
        redis.listen(Some(gateway(4))).await.unwrap().bound(),
        Some(address)
    );
    let kept: String = run(&mut tcp(address), "GET kept").unwrap();
    assert_eq!(kept, "1");
    let setup = AgentsRedis::remains(&folder.path()).unwrap().unwrap();
    drop(redis);
    assert_eq!(stop(&setup).await.unwrap(), Stopped::Orderly);
    let never = AgentsRedis::remains(&folder.path().join("never")).unwrap();
    assert!(never.is_none());
}

#[tokio::test]
async fn law_7_it_runs_as_a_user_that_can_read_nothing_of_ours() {
    let folder = Folder::new();
    let (redis, _) = agents(&folder).await;
    let (pid, ..) = run_of(redis.server());
    let owner = std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    let root = rustix::process::geteuid().is_root();
    assert!(!root || owner != 0, "root does not run it as root");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    assert!(
        !root || groups.unwrap().trim().is_empty(),
        "none of our groups"
    );
    let path = folder.path();
    assert_eq!(mode(&path.join("admin-password")), 0o600);
    assert_eq!(std::fs::metadata(path.join("data")).unwrap().uid(), owner);
    assert_eq!(mode(&path.join("data")), 0o700);
    if root {
        for ours in ["", "redis.conf", "users.acl", "admin-password"] {
            assert_eq!(
                std::fs::metadata(path.join(ours)).unwrap().uid(),
                0,
                "{ours}"
            );
        }
        assert_eq!(mode(&path.join("users.acl")), 0o640);
        assert_eq!(mode(folder.0.path()), 0o711, "passed through, not listed");
    }
    let password = std::fs::read_to_string(path.join("admin-password")).unwrap();
    assert!(!format!("{redis:?}").contains(&password));
    for file in ["users.acl", "redis.conf", "run.json"] {
        assert!(
            !std::fs::read_to_string(path.join(file))
                .unwrap()
                .contains(&password),
            "{file}"
        );
    }
    redis.stop().await.unwrap();
}

#[tokio::test]
async fn a_data_folder_that_another_user_made_is_opened_for_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = Folder::new();
    // As `make run` does where only root may open Docker's socket.
    std::os::unix::fs::chown(folder.0.path(), Some(12345), Some(12345)).unwrap();
    assert_eq!(mode(folder.0.path()), 0o700);
    let (redis, _) = agents(&folder).await;
    assert_eq!(mode(folder.0.path()), 0o711);
    redis.stop().await.unwrap();
}

const ALLOWED: &str = "
    PING|ECHO hi|SELECT 1|SELECT 0|HELLO 2|TIME|ACL WHOAMI|COMMAND COUNT|COMMAND INFO get|COMMAND DOCS get
    CLIENT SETNAME me|CLIENT GETNAME|CLIENT ID|INFO server
    SET a 1|GET a|SETEX user:1 300 x|SETNX n 1|INCR a|INCRBYFLOAT a 1.5|APPEND s x|GETRANGE s 0 1|STRLEN s|MSET b 1 c 2|MGET b c
    GETDEL b|GETEX c EX 10|SETBIT bits 1 1|BITCOUNT bits|BITFIELD bits GET u4 0|PFADD h x|PFCOUNT h|GEOADD g 1 1 x|GEOSEARCH g FROMMEMBER x BYRADIUS 1 km
    DEL c|UNLINK n|EXISTS a|EXPIRE a 100|PEXPIRE a 100000|TTL a|PTTL a|PERSIST a|TYPE a|TOUCH a|RENAME s s2|RENAMENX s2 s3|COPY s3 s4|OBJECT ENCODING a
    HSET h1 f 1|HGET h1 f|HGETALL h1|HINCRBY h1 f 1|HSCAN h1 0|HDEL h1 f
    LPUSH l 1 2 3|RPOP l|LRANGE l 0 -1|BLPOP l 1|BRPOP l 1|LMOVE l l2 LEFT RIGHT|BLMOVE l l2 LEFT RIGHT 0.01|LLEN l
    SADD s1 x|SMEMBERS s1|SSCAN s1 0|SINTER s1 s1|SRANDMEMBER s1|ZADD z 1 x|ZRANGE z 0 -1|ZSCAN z 0|ZPOPMIN z|BZPOPMIN z 0.01|SORT s1 ALPHA|SORT_RO s1 ALPHA
    XADD st * f 1|XLEN st|XRANGE st - +|XREAD COUNT 1 STREAMS st 0|XGROUP CREATE st grp 0|XREADGROUP GROUP grp me COUNT 1 STREAMS st >|XACK st grp 0-1|XPENDING st grp|XINFO STREAM st|XAUTOCLAIM st grp me 0 0|XTRIM st MAXLEN 1
    PUBLISH events:x 1|PUBSUB NUMSUB events:x|SPUBLISH e 1
    MULTI|INCR once|EXEC|MULTI|DISCARD|WATCH a|UNWATCH
    EVAL return(1) 0|EVAL_RO return(1) 0|SCRIPT LOAD return(1)|SCRIPT EXISTS x|EVALSHA 930269f31393d0be681588b6ab08dccee7d6bb67 0
";

const DENIED: &str = "
    CONFIG GET dir|CONFIG SET dir /tmp|CONFIG REWRITE|CONFIG RESETSTAT|REPLICAOF NO ONE|SLAVEOF 1.2.3.4 1|ROLE|PSYNC ? -1|SYNC|REPLCONF ACK 1|FAILOVER
    MODULE LIST|MODULE LOAD /tmp/x.so|SHUTDOWN NOSAVE|DEBUG SLEEP 0|DEBUG OBJECT a|SAVE|BGSAVE|BGREWRITEAOF|LASTSAVE
    FLUSHALL|FLUSHDB|SWAPDB 0 1|MOVE a 1|KEYS *|SCAN 0|RANDOMKEY|DBSIZE|MIGRATE h 1 k 0 1|RESTORE k 0 x|RESTORE-ASKING k 0 x|DUMP a
    ACL LIST|ACL USERS|ACL GETUSER default|ACL SETUSER default +@all|ACL DELUSER x|ACL LOAD|ACL SAVE|ACL LOG|ACL CAT|ACL GENPASS
    CLIENT LIST|CLIENT KILL ID 1|CLIENT INFO|CLIENT PAUSE 1|CLIENT UNPAUSE|CLIENT NO-EVICT on|CLIENT TRACKING on|CLIENT UNBLOCK 1|CLIENT GETREDIR
    CLUSTER INFO|CLUSTER MYID|READONLY|READWRITE|ASKING|FUNCTION LIST|FUNCTION LOAD x|FUNCTION FLUSH|FUNCTION DUMP|FCALL f 0|SCRIPT FLUSH|SCRIPT KILL|SCRIPT DEBUG yes
    MONITOR|LATENCY LATEST|LATENCY DOCTOR|SLOWLOG GET|MEMORY STATS|MEMORY USAGE a|MEMORY PURGE|INFO|INFO all|INFO keyspace|INFO clients|PUBSUB CHANNELS|PUBSUB NUMPAT|PUBSUB SHARDCHANNELS
    PFDEBUG GETREG h|PFSELFTEST|OBJECT FREQ a|WAIT 1 1|LOLWUT|XSETID st 1-1
";

fn commands(table: &'static str) -> impl Iterator<Item = &'static str> {
    table
        .lines()
        .flat_map(|line| line.trim().split('|'))
        .filter(|line| !line.is_empty())
}

#[tokio::test]
async fn law_7_agents_may_use_data_and_not_administer() {
    let folder = Folder::new();
    let (redis, _) = agents(&folder).await;
    let address = redis
        .listen(Some(gateway(5)))
        .await
        .unwrap()
        .bound()
        .unwrap();
    let mut connection = tcp(address);
    // Redis 7 refuses some by its own configuration, before it looks at users.
    let denied = |error: &redis::RedisError| {
        let words = error.to_string();
        error.code() == Some("NOPERM")
            || words.contains("command not allowed")
            || words.contains("not allowed from script")
            || words.contains("can't run this command")
    };
    let mut wrong = Vec::new();
    for line in commands(ALLOWED) {
        if let Err(error) = run::<redis::Value>(&mut connection, line) {
            wrong.push(format!("{line}: {error}"));
        }
    }
    for line in commands(DENIED) {
        // One connection each: some of these would change what it is for.
        match run::<redis::Value>(&mut tcp(address), line) {
            Err(error) if denied(&error) => {}
            other => wrong.push(format!("{line}: {other:?}")),
        }
    }
    // Scripts are no way around.
    for line in [
        "'CONFIG','GET','dir'",
        "'KEYS','*'",
        "'FLUSHALL'",
        "'SCAN','0'",
        "'ACL','LIST'",
        "'DEBUG','SLEEP','0'",
    ] {
        let script = format!("return(redis.call({line}))");
        match run::<redis::Value>(&mut connection, &format!("EVAL {script} 0")) {
            Err(error) if denied(&error) => {}
            other => wrong.push(format!("{script}: {other:?}")),
        }
    }
    assert_eq!(wrong, Vec::<String>::new());

    // Messages, by pattern and by name.
    let mut listener = tcp(address);
    let mut messages = listener.as_pubsub();
    messages.psubscribe("events:*").unwrap();
    messages.subscribe("plain").unwrap();
    let _: i64 = run(&mut connection, "PUBLISH events:made hello").unwrap();
    let message = messages.get_message().unwrap();
    assert_eq!(message.get_channel_name(), "events:made");

    // Nobody guesses our user's password, and the name alone is none.
    let error = run::<redis::Value>(&mut connection, "AUTH agentainer ''").unwrap_err();
    assert_eq!(error.code(), Some("WRONGPASS"));
    redis.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_one_drops_what_expires_and_refuses_the_rest() {
    let folder = Folder::new();
    let options = AgentsRedisOptions {
        memory: 4 << 20,
        port: free_port(),
    };
    let redis = AgentsRedis::start(&folder.path(), &options).await.unwrap();
    let address = redis
        .listen(Some(gateway(6)))
        .await
        .unwrap()
        .bound()
        .unwrap();
    let mut connection = tcp(address);
    let big = "x".repeat(100_000);
    for index in 0..100 {
        let _: String = run(&mut connection, &format!("SETEX cache:{index} 300 {big}")).unwrap();
    }
    let full = (0..100)
        .find_map(|index| run::<String>(&mut connection, &format!("SET kept:{index} {big}")).err());
    assert_eq!(full.expect("full at last").code(), Some("OOM"));
    let first: i64 = run(&mut connection, "EXISTS kept:0").unwrap();
    assert_eq!(first, 1, "what has no expiry is kept");
    redis.stop().await.unwrap();
}

#[tokio::test]
async fn a_script_without_end_does_not_take_it_from_the_others() {
    let folder = Folder::new();
    let (redis, _) = agents(&folder).await;
    let address = redis
        .listen(Some(gateway(7)))
        .await
        .unwrap()
        .bound()
        .unwrap();
    for script in [
        "while true do end",
        "redis.call('SET', 'a', '1') while true do end",
    ] {
        let endless = tokio::task::spawn_blocking(move || {
            let mut connection = tcp(address);
            redis::cmd("EVAL")
                .arg(script)
                .arg(0)
                .query::<redis::Value>(&mut connection)
        });
        let ended = tokio::time::timeout(Duration::from_secs(40), endless).await;
        assert!(ended.expect("ended within 40 s").unwrap().is_err());
        let ping = async {
            while run_of_any(redis.server()).is_none() || !answers(gateway(7), address.port()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ping)
            .await
            .expect("serves again");
        let found: i64 = run(&mut tcp(address), "EXISTS a").unwrap();
        assert_eq!(found, 0, "nothing of it is left");
    }
    redis.stop().await.unwrap();
}

fn run_of_any(server: &RedisServer) -> Option<u32> {
    match &*server.state().borrow() {
        ServerState::Up { identity, .. } => Some(identity.pid),
        ServerState::Down { .. } => None,
    }
}

// The operator's own Redis.

async fn seen(redis: &RedisChild, query: &str) -> Result<ExternalRedis, RedisServerError> {
    look_at(&format!("{}{query}", redis.url())).await
}

#[tokio::test]
async fn an_open_external_redis_is_refused_unless_allowed() {
    let port = free_port().to_string();
    let redis = RedisChild::start(&[
        "--port",
        &port,
        "--bind",
        "0.0.0.0",
        "--protected-mode",
        "no",
    ]);
    let open = look_at(&format!("redis://127.0.0.1:{port}")).await.unwrap();
    assert!(open.is_open() && open.without_password && !open.private);
    let error = open.accept(false).unwrap_err();
    assert!(error.to_string().contains("--allow-open-redis"), "{error}");
    open.accept(true).unwrap();
    assert_eq!(open.append_only, Some(false));
    let warnings = open.warnings().join("\n");
    assert!(
        warnings.contains("without a password") && warnings.contains("appendonly yes"),
        "{warnings}"
    );

    let _: String = redis.run(&["CONFIG", "SET", "requirepass", "s3cret"]);
    let error = look_at(&format!("redis://127.0.0.1:{port}"))
        .await
        .unwrap_err();
    assert!(matches!(error, RedisServerError::Refused { .. }), "{error}");
    let closed = look_at(&format!("redis://:s3cret@127.0.0.1:{port}"))
        .await
        .unwrap();
    assert!(!closed.is_open());
    closed.accept(false).unwrap();
    assert!(!format!("{closed:?}{:?}", closed.warnings()).contains("s3cret"));
    let error = look_at(&format!("redis://:wr0ng@127.0.0.1:{port}"))
        .await
        .unwrap_err();
    assert!(!format!("{error}{error:?}").contains("wr0ng"), "{error:?}");
}

#[tokio::test]
async fn an_external_redis_where_no_agent_comes_is_not_open() {
    let redis = RedisChild::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let socket = seen(&redis, "").await.unwrap();
    assert!(socket.without_password && socket.private && !socket.is_open());
    assert_eq!(socket.warnings(), Vec::<String>::new());
    let port = free_port().to_string();
    let _: String = redis.run(&["CONFIG", "SET", "bind", "127.0.0.1 -::1"]);
    let _: String = redis.run(&["CONFIG", "SET", "port", &port]);
    let loopback = look_at(&format!("redis://127.0.0.1:{port}")).await.unwrap();
    assert!(loopback.private && !loopback.is_open());
    let _: String = redis.run(&["CONFIG", "SET", "appendfsync", "everysec"]);
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let warnings = seen(&redis, "").await.unwrap().warnings().join("\n");
    assert!(
        warnings.contains("two seconds") && warnings.contains("noeviction"),
        "{warnings}"
    );
    let error = look_at("redis://127.0.0.1:1").await.unwrap_err();
    assert_eq!(error.class(), RedisServerClass::Transient);
}
