//! `build:`: what is sent, what is shown, what is written into the spec.

use std::collections::BTreeMap;
use std::io::Read;

use agentainer::keys::BUILT_FROM;
use agentainer::observed::ImageId;
use agentainer::runtime::BuildEvent;

use crate::rig::Rig;

const IMAGE: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const MANIFEST: &str = "agents:
  - name: users
    build: {context: ./users, args: {VERSION: secret-version}, target: final}
";

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.file("agents.yaml", MANIFEST);
    rig.file("users/Dockerfile", "FROM scratch\n");
    rig.file("users/main.py", "print()\n");
    rig.file("users/secret.key", "hunter2");
    rig.file("users/.dockerignore", "*.key\n");
    rig.engine.set(|state| {
        state.build = vec![
            Ok(BuildEvent::Log("Step 1/1 : FROM scratch\n".to_owned())),
            Ok(BuildEvent::Done(ImageId(IMAGE.to_owned()))),
        ];
    });
    rig
}

fn packed(context: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(context);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        })
        .collect()
}

#[tokio::test]
async fn apply_builds_first_and_writes_the_image_into_the_spec() {
    let rig = rig().await;
    let ran = rig.run("apply -f agents.yaml").await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "agent/users created\n"),
        "{ran:?}"
    );
    assert!(ran.err.contains("Step 1/1 : FROM scratch"), "{ran:?}");
    assert!(!ran.err.contains("secret-version"), "{ran:?}");
    let built = rig.engine.ask(|state| state.built.clone()).unwrap();
    assert_eq!(
        (built.dockerfile.as_str(), built.target.as_deref()),
        ("Dockerfile", Some("final"))
    );
    assert_eq!(built.args["VERSION"], "secret-version");
    let files = packed(&built.context);
    assert_eq!(
        files.keys().map(String::as_str).collect::<Vec<_>>(),
        [".dockerignore", "Dockerfile", "main.py"]
    );
    let agent = rig.agent("users").await;
    assert_eq!(agent.spec.image.as_deref(), Some(IMAGE));
    assert_eq!(agent.spec.build, None);
    let from = &agent.metadata.annotations[BUILT_FROM];
    assert!(
        from.contains("users sha256:") && !from.contains("secret"),
        "{from}"
    );
    assert_eq!(
        rig.run("apply -f agents.yaml").await.ok(),
        "agent/users unchanged\n"
    );
}

#[tokio::test]
async fn diff_builds_nothing_and_tells_a_changed_context() {
    let rig = rig().await;
    rig.run("apply -f agents.yaml").await.ok();
    rig.engine.set(|state| state.built = None);
    assert_eq!(rig.run("diff -f agents.yaml").await.ok(), "");
    rig.file("users/secret.key", "ignored");
    assert_eq!(rig.run("diff -f agents.yaml").await.ok(), "");
    rig.file("users/main.py", "print(2)\n");
    let ran = rig.run("diff -f agents.yaml").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("built-from"), "{ran:?}");
    rig.run("apply -f agents.yaml --dry-run").await.ok();
    assert_eq!(rig.engine.ask(|state| state.built.clone()), None);
}

#[tokio::test]
async fn a_build_that_fails_applies_nothing() {
    let rig = rig().await;
    rig.engine
        .set(|state| state.build.insert(1, Err("no space left".to_owned())));
    let ran = rig
        .run("apply -f agents.yaml")
        .await
        .failed(1, "no space left");
    assert!(ran.err.contains("nothing was applied"), "{ran:?}");
    rig.run("get users").await.failed(3, "users");
    std::fs::remove_file(rig.home.path().join("users/Dockerfile")).unwrap();
    rig.run("apply -f agents.yaml")
        .await
        .failed(1, "there is no Dockerfile");
}

#[tokio::test]
async fn deploy_builds_too() {
    let rig = rig().await;
    assert_eq!(
        rig.run("deploy --name dev --build ./users").await.ok(),
        "agent/dev created\n"
    );
    assert_eq!(rig.agent("dev").await.spec.image.as_deref(), Some(IMAGE));
}
