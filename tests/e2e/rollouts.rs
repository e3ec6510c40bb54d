//! Rollouts on real containers: one that fails, one that goes back by itself, undo, and the history with its images.

use crate::server::{Server, docker};
use crate::web::get;

/// The value of COLOUR in each of an agent's containers, sorted.
fn colours(server: &Server, name: &str) -> Vec<String> {
    let ids = server.containers(name);
    let mut found: Vec<String> = ids
        .iter()
        .filter_map(|id| {
            let (there, environment) = crate::server::docker_says(&[
                "inspect",
                "-f",
                "{{range .Config.Env}}{{println .}}{{end}}",
                id,
            ]);
            let mut lines = environment.lines();
            let colour = lines.find_map(|line| line.strip_prefix("COLOUR="));
            colour.filter(|_| there).map(str::to_owned)
        })
        .collect();
    found.sort();
    found
}

fn answers(server: &Server, name: &str) -> bool {
    get(&server.url(&format!("/agent/{name}/"))).is_some_and(|answer| answer.status == 200)
}

/// Listens elsewhere than its spec says, so that it is never ready.
const DEAF: &str = "PORT: '9000'";
/// Ends at once.
pub const CRASHES: &str = "DATA_DIR: /proc/none";

pub fn manifest(name: &str, colour: &str, trouble: &str, strategy: &str) -> String {
    format!(
        "agents: [{{name: {name}, image: hello, replicas: 2, drain: {{timeout: 1s}}, \
         env: {{COLOUR: {colour}, {trouble}}}, strategy: {{{strategy}}}}}]"
    )
}

pub fn apply_only(server: &Server, manifest: &str) {
    let output = server.cli_with_input(&["apply", "-f", "-"], manifest);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn law_8_a_failed_rollout_keeps_the_last_good_revision_whole_and_reverting_recovers() {
    let server = Server::start();
    let strategy = "progressDeadline: 8s";
    let good = manifest("steady", "good", "A: b", strategy);
    server.apply(&good);
    server.eventually("it has proved good", |server| {
        !server.agent("steady")["status"]["rollout"]["lastGood"].is_null()
    });
    let before = server.containers("steady");
    apply_only(&server, &manifest("steady", "bad", DEAF, strategy));
    let ended = server.cli(&["rollout", "status", "steady", "--timeout", "80s"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("rollout undo steady"), "{said}");
    assert!(answers(&server, "steady"));
    assert_eq!(colours(&server, "steady"), ["bad", "good", "good"]);

    docker(&["rm", "-f", &before[1]]);
    server.eventually("what was good is made again of its own record", |server| {
        colours(server, "steady") == ["bad", "good", "good"]
            && server.agent("steady")["status"]["readyReplicas"] == 2
    });
    apply_only(&server, &good);
    server.ok(&["rollout", "status", "steady", "--timeout", "80s"]);
    assert_eq!(colours(&server, "steady"), ["good", "good"]);
    assert!(
        server.containers("steady").contains(&before[0]),
        "untouched"
    );
}

#[test]
fn law_8_it_goes_back_by_itself_and_the_same_manifest_again_rolls_nothing() {
    let server = Server::start();
    let good = manifest("homing", "good", "A: b", "rollback: true");
    server.apply(&good);
    server.eventually("it has proved good", |server| {
        !server.agent("homing")["status"]["rollout"]["lastGood"].is_null()
    });
    let before = server.containers("homing");
    let bad = manifest("homing", "bad", CRASHES, "rollback: true");
    let args = ["apply", "-f", "-", "--wait", "--timeout", "80s"];
    let ended = server.cli_with_input(&args, &bad);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    server.eventually("it went back", |server| {
        server.agent("homing")["status"]["rollout"]["state"] == "RolledBack"
            && server.containers("homing") == before
    });
    assert!(answers(&server, "homing"));
    assert_eq!(server.agent("homing")["spec"]["env"]["COLOUR"], "***");
    apply_only(&server, &bad);
    let ended = server.cli(&["rollout", "status", "homing", "--timeout", "80s"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(server.containers("homing"), before);
    apply_only(&server, &good);
    server.ok(&["rollout", "status", "homing", "--timeout", "80s"]);
    assert_eq!(server.containers("homing"), before);
}

#[test]
fn undo_goes_back_pause_holds_and_the_history_lets_old_images_go() {
    let server = Server::start();
    let one = |colour: &str| {
        format!(
            "agents: [{{name: annals, image: hello, drain: {{timeout: 0s}}, env: {{COLOUR: {colour}}}}}]"
        )
    };
    for number in 1..=12 {
        server.apply(&one(&format!("c{number}")));
    }
    let numbers = server.ok(&["rollout", "history", "annals", "-o", "name"]);
    let numbers: Vec<&str> = numbers.lines().collect();
    assert_eq!(numbers.len(), 10, "{numbers:?}");
    assert_eq!((numbers[0], numbers[9]), ("3", "12"));
    let names = || {
        let filter = format!("reference=agentainer/annals:*-{}", server.tag_suffix());
        let names = docker(&["images", "--format", "{{.Tag}}", "--filter", &filter]);
        names.lines().count()
    };
    server.eventually("as many images have our name", |_| names() == 10);
    assert!(
        server
            .ok(&[
                "rollout",
                "history",
                "annals",
                "--revision",
                "5",
                "--reveal-env"
            ])
            .contains("c5")
    );

    server.ok(&["rollout", "undo", "annals", "--wait", "--timeout", "80s"]);
    assert_eq!(colours(&server, "annals"), ["c11"]);
    server.ok(&[
        "rollout",
        "undo",
        "annals",
        "--to-revision",
        "4",
        "--wait",
        "--timeout",
        "80s",
    ]);
    assert_eq!(colours(&server, "annals"), ["c4"]);

    server.ok(&["rollout", "pause", "annals"]);
    apply_only(&server, &one("c99"));
    server.eventually("it is held", |server| {
        server.agent("annals")["status"]["rollout"]["state"] == "Paused"
    });
    assert_eq!(colours(&server, "annals"), ["c4"]);
    server.ok(&["rollout", "resume", "annals"]);
    server.ok(&["rollout", "status", "annals", "--timeout", "80s"]);
    assert_eq!(colours(&server, "annals"), ["c99"]);
}

#[test]
fn law_8_a_first_revision_that_crash_loops_or_has_no_image_fails_and_is_mended() {
    let server = Server::start();
    let status = |name: &str| {
        let ended = server.cli(&["rollout", "status", name, "--timeout", "80s"]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!said.contains("undo"), "there is no earlier one: {said}");
        said
    };
    let loops = manifest("stillborn", "bad", CRASHES, "");
    apply_only(&server, &loops);
    let said = status("stillborn");
    assert!(said.contains("keeps ending with code"), "{said}");
    let args = ["apply", "-f", "-", "--wait", "--timeout", "80s"];
    let ended = server.cli_with_input(&args, &loops);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    server.eventually("it is told, with what kind of event it is", |server| {
        let told = server.ok(&["events", "stillborn"]);
        let line = |words: [&str; 2]| {
            let mut lines = told.lines();
            lines.any(|line| words.iter().all(|word| line.contains(word)))
        };
        line(["Warning", "CrashLoopBackOff"]) && line(["Warning", "RolloutFailed"])
    });
    apply_only(
        &server,
        "agents: [{name: bodiless, image: 'agentainer-test/nowhere:1', pullPolicy: never, \
         strategy: {progressDeadline: 5s}}]",
    );
    let said = status("bodiless");
    assert!(said.contains("agentainer-test/nowhere:1"), "{said}");

    apply_only(&server, &manifest("stillborn", "good", "A: b", ""));
    server.ok(&["rollout", "status", "stillborn", "--timeout", "80s"]);
    assert_eq!(colours(&server, "stillborn"), ["good", "good"]);
    assert!(server.agent("stillborn")["status"]["rollout"]["failed"].is_null());
    server.eventually("its good end is told", |server| {
        server
            .ok(&["describe", "stillborn"])
            .contains("RolloutComplete")
    });
    let told = server.ok(&["events"]);
    assert!(
        told.contains("host") && told.contains("NetworkCreated"),
        "{told}"
    );
}
