//! `apply`, `diff`, `deploy`, `delete`, and what acts on agents by name.

use serde_json::{Value, json};

use crate::rig::Rig;

const TWO: &str = "agents: [{name: auth}, {name: users, env: {SECRET: hunter2}}]";

#[tokio::test]
async fn apply_says_what_became_of_each_agent() {
    let rig = Rig::new().await;
    let apply = async |text: &str, flags: &str| {
        rig.run_with(&format!("apply -f - {flags}"), text, &[])
            .await
            .ok()
    };
    assert_eq!(
        apply(TWO, "").await,
        "agent/auth created\nagent/users created\n"
    );
    assert_eq!(
        apply(TWO, "").await,
        "agent/auth unchanged\nagent/users unchanged\n"
    );
    let more = "agents: [{name: auth, replicas: 2}, {name: users, env: {SECRET: hunter3}}]";
    assert_eq!(
        apply(more, "--dry-run").await,
        "agent/auth configured (dry run)\nagent/users configured (dry run) (containers are replaced)\n"
    );
    assert_eq!(rig.agent("auth").await.spec.replicas.0, 1);
    assert_eq!(apply(more, "-o name").await, "agent/auth\nagent/users\n");
    let json: Value = serde_json::from_str(&apply(more, "-o json").await).unwrap();
    assert_eq!(json["results"][0]["outcome"], "unchanged");
    assert!(!json.to_string().contains("hunter"), "{json}");
    let one = "agents: [{name: auth, replicas: 2}]";
    assert_eq!(apply(one, "").await, "agent/auth unchanged\n");
    assert_eq!(
        apply(one, "--prune").await,
        "agent/auth unchanged\nagent/users pruned\n"
    );
}

#[tokio::test]
async fn a_bad_manifest_sends_nothing() {
    let rig = Rig::new().await;
    let bad = "agents: [{name: auth}]\n---\nagents: [{name: users, port: 0}]";
    let ran = rig
        .run_with("apply -f -", bad, &[])
        .await
        .failed(1, "must be from 1 to 65535");
    assert_eq!(ran.out, "");
    assert_eq!(rig.run("list -o name").await.ok(), "");
}

#[tokio::test]
async fn an_agent_of_another_owner_is_a_conflict_unless_forced() {
    let rig = Rig::new().await;
    rig.apply(TWO).await;
    let one = "agents: [{name: auth}]";
    let ran = rig.run_with("apply -f - --owner team-a", one, &[]).await;
    ran.failed(1, "'auth' belongs to 'default'");
    rig.run_with("apply -f - --owner team-a --force", one, &[])
        .await
        .ok();
    assert_eq!(rig.agent("auth").await.metadata.owner, "team-a");
}

#[tokio::test]
async fn one_owners_refusal_leaves_another_owners_bundle_unapplied() {
    let rig = Rig::new().await;
    rig.apply("agents: [{name: taken}]").await;
    let bundle = |name: &str, agent: &str| {
        format!(
            "apiVersion: agentainer.dev/v1\nkind: AgentDeployment\nmetadata: {{name: {name}}}\nspec: {{agents: [{{name: {agent}}}]}}\n"
        )
    };
    let both = format!("{}---\n{}", bundle("one", "fresh"), bundle("two", "taken"));
    rig.run_with("apply -f -", &both, &[])
        .await
        .failed(1, "'taken' belongs to 'default'");
    rig.run("get fresh").await.failed(3, "fresh");
}

#[tokio::test]
async fn warnings_go_to_standard_error() {
    let rig = Rig::new().await;
    let dangling = "agents: [{name: users, env: {A: 'http://atuh:8000'}}, {name: auth}]";
    let ran = rig.run_with("apply -f -", dangling, &[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("did you mean 'auth'?"), "{ran:?}");
    assert!(!ran.out.contains("did you mean"), "{ran:?}");
}

#[tokio::test]
async fn diff_shows_what_would_change_without_values_and_exits_1() {
    let rig = Rig::new().await;
    rig.apply(TWO).await;
    let diff = async |text: &str| rig.run_with("diff -f -", text, &[]).await;
    assert_eq!(diff(TWO).await.ok(), "");
    let ran =
        diff("agents: [{name: auth, replicas: 2}, {name: users, env: {SECRET: hunter3, NEW: x}}]")
            .await;
    assert_eq!(ran.code, 1, "{ran:?}");
    for line in [
        "--- agent/auth (live)\n",
        "+++ agent/auth (manifest)\n",
        "+  replicas: 2\n",
        "-    SECRET: \"*** (before)\"\n",
        "+    SECRET: \"*** (after)\"\n",
        "+    NEW: \"***\"\n",
        "# its containers would be replaced\n",
    ] {
        assert!(ran.out.contains(line), "{line:?} is not in\n{}", ran.out);
    }
    assert!(!ran.out.contains("hunter"), "{}", ran.out);
    assert_eq!(rig.agent("auth").await.spec.replicas.0, 1);
    diff("agents: [{nme: x}]").await.failed(2, "nme");
    let pruned = rig
        .run_with("diff -f - --prune", "agents: [{name: auth}]", &[])
        .await;
    assert!(pruned.out.contains("-  name: users\n"), "{pruned:?}");
}

#[tokio::test]
async fn deploy_is_the_manifest_that_its_flags_say() {
    let rig = Rig::new().await;
    let line = "deploy --name dev-agent --image my-agent:latest";
    assert_eq!(rig.run(line).await.ok(), "agent/dev-agent created\n");
    assert_eq!(rig.run(line).await.ok(), "agent/dev-agent unchanged\n");
    rig.file("dev.env", "FROM_FILE=1\n");
    let more = "deploy --name dev-agent --image my-agent:2 --port 9000 --env MODE=dev --env HERE --env-file dev.env \
                --memory 64m --cpu 0.5 --volume data:/d --replicas 2";
    let ran = rig.run_with(more, "", &[("HERE", "$HOME")]).await;
    assert_eq!(
        ran.ok(),
        "agent/dev-agent configured (containers are replaced)\n"
    );
    let spec = serde_json::to_value(rig.agent("dev-agent").await.spec).unwrap();
    assert_eq!(
        spec,
        json!({
            "image": "my-agent:2",
            "port": 9000,
            "replicas": 2,
            "env": {"FROM_FILE": "1", "HERE": "$HOME", "MODE": "dev"},
            "resources": {"cpu": "500m", "memory": "64Mi"},
            "volumes": [{"name": "data", "container": "/d"}],
        })
    );
    rig.run("deploy --name dev-agent --port 0")
        .await
        .failed(2, "port");
    rig.run("deploy --name Dev_Agent")
        .await
        .failed(1, "did you mean 'dev-agent'?");
    rig.run("deploy --image x").await.failed(2, "--name");
}

#[tokio::test]
async fn a_deployed_agent_outlives_a_prune_and_touches_no_other() {
    let rig = Rig::new().await;
    rig.apply(TWO).await;
    rig.run("deploy --name dev").await.ok();
    rig.run("deploy --name dev2").await.ok();
    let pruned = rig
        .run_with("apply -f - --prune", "agents: [{name: auth}]", &[])
        .await
        .ok();
    assert_eq!(pruned, "agent/auth unchanged\nagent/users pruned\n");
    let left = rig.run("list -o name").await.ok();
    assert!(left.contains("agent/dev\nagent/dev2\n"), "{left}");
    rig.run("deploy --name auth --image x")
        .await
        .failed(1, "belongs to 'default'");
    rig.file("m.yaml", "agents: [{name: auth, replicas: 3}]");
    assert_eq!(
        rig.run("deploy --config m.yaml").await.ok(),
        "agent/auth configured\n"
    );
}

#[tokio::test]
async fn words_change_what_shall_be() {
    let rig = Rig::new().await;
    rig.apply(TWO).await;
    for (line, said, state) in [
        (
            "stop auth users",
            "agent/auth stopped\nagent/users stopped\n",
            "stopped",
        ),
        ("start agent/auth", "agent/auth started\n", "running"),
        ("pause auth", "agent/auth paused\n", "paused"),
        ("resume auth", "agent/auth resumed\n", "running"),
        ("restart auth", "agent/auth restarted\n", "running"),
    ] {
        assert_eq!(rig.run(line).await.ok(), said, "{line}");
        let now = serde_json::to_value(rig.agent("auth").await.spec.state).unwrap();
        assert_eq!(now, state, "{line}");
    }
    assert_eq!(
        rig.run("scale auth --replicas 3").await.ok(),
        "agent/auth scaled\n"
    );
    assert_eq!(rig.agent("auth").await.spec.replicas.0, 3);
    rig.run("scale auth --replicas 101")
        .await
        .failed(2, "--replicas");
    let ran = rig.run("stop auth none").await.failed(3, "'none'");
    assert_eq!(ran.out, "agent/auth stopped\n");
}

#[tokio::test]
async fn what_scale_gave_outlives_an_apply_that_does_not_name_it() {
    let rig = Rig::new().await;
    rig.apply(TWO).await;
    rig.run("scale auth --replicas 3").await.ok();
    rig.apply(TWO).await;
    assert_eq!(rig.agent("auth").await.spec.replicas.0, 3);
}

#[tokio::test]
async fn delete_takes_names_or_manifests() {
    let rig = Rig::new().await;
    rig.reconcile();
    rig.apply(TWO).await;
    assert_eq!(rig.run("delete users").await.ok(), "agent/users deleted\n");
    rig.run("get users").await.failed(3, "users");
    rig.apply(TWO).await;
    rig.file("two.yaml", TWO);
    assert_eq!(
        rig.run("delete -f two.yaml").await.ok(),
        "agent/auth deleted\nagent/users deleted\n"
    );
    rig.apply(TWO).await;
    assert_eq!(rig.run("remove auth").await.ok(), "agent/auth deleted\n");
    assert_eq!(
        rig.run("rm users --wait=false -o name").await.ok(),
        "agent/users\n"
    );
}
