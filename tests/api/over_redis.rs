//! The same API over the real store: what the store in memory promises, Redis keeps.

use std::sync::Arc;

use agentainer::agent::ResourceVersion;
use agentainer::names::AgentName;
use agentainer::store::redis::{RedisStore, RedisStoreOptions};
use agentainer::store::{AgentStore, Write};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Api, first_pieces, request};
use crate::redis_child::RedisChild;

#[tokio::test]
async fn a_bundle_lives_its_life_in_redis() {
    let redis = RedisChild::start(&[]);
    let store = Arc::new(RedisStore::new(&redis.url(), RedisStoreOptions::default()).unwrap());
    let given: Arc<dyn AgentStore> = store.clone();
    let api = Api::with(move |state| state.store = given);
    let get = async |name: &str| {
        store
            .get(&AgentName::new(name).unwrap())
            .await
            .unwrap()
            .unwrap()
    };

    let bundle = json!([
        {"name": "auth", "spec": {"env": {"KEY": "s3cret"}}},
        {"name": "users", "spec": {"env": {"AUTH_SERVICE": "http://auth:8000"}, "replicas": 2}},
    ]);
    let created = api.applied("mesh", bundle.clone()).await;
    assert_eq!(created["results"][1]["outcome"], "created");
    let position = created["results"][1]["after"]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(position.parse::<u64>().unwrap() > 0);
    let before = (get("auth").await, get("users").await);
    let again = api.applied("mesh", bundle.clone()).await;
    assert_eq!(again["results"][0]["outcome"], "unchanged");
    assert_eq!((get("auth").await, get("users").await), before);

    let scaled = api
        .admin("POST", "/agents/users/scale", Some(json!({"replicas": 5})))
        .await
        .json();
    assert_eq!(scaled["metadata"]["generation"], 2);
    let stale = json!({"metadata": {"resourceVersion": position}, "spec": {}});
    assert_eq!(
        api.admin("PUT", "/agents/users", Some(stale)).await.status,
        409
    );
    assert_eq!(get("users").await.spec.replicas.0, 5);
    let back = api.applied("mesh", bundle).await;
    assert_eq!(back["results"][1]["outcome"], "configured");
    assert_eq!(get("users").await.spec.replicas.0, 2);

    let pruned = json!({"owner": "mesh", "agents": [{"name": "auth", "spec": {"env": {"KEY": "***"}}}], "prune": true});
    let pruned = api.admin("POST", "/apply", Some(pruned)).await;
    assert_eq!(
        pruned.json()["results"][1]["outcome"],
        "pruned",
        "{}",
        pruned.text
    );
    let token = api.token_of_uid(&get("users").await.metadata.uid);
    let finalize = Write::Finalize {
        name: AgentName::new("users").unwrap(),
        uid: get("users").await.metadata.uid,
        at: agentainer::clock::now(),
    };
    assert_eq!(
        api.send(request("GET", "/agents", Some(&token), None))
            .await
            .status,
        200
    );
    store.commit(&[finalize]).await.unwrap();
    assert_eq!(
        api.send(request("GET", "/agents", Some(&token), None))
            .await
            .status,
        401
    );

    let watch = api
        .raw(request(
            "GET",
            &format!("/agents?watch=true&resourceVersion={position}"),
            Some(ADMIN),
            None,
        ))
        .await;
    let last: Value = serde_json::from_str(first_pieces(watch, 4).await.last().unwrap()).unwrap();
    assert_eq!(
        (&last["type"], &last["name"]),
        (&"DELETED".into(), &"users".into()),
        "{last}"
    );
    let ahead = ResourceVersion(999_999);
    assert_eq!(
        api.get(&format!("/agents?watch=true&resourceVersion={ahead}"))
            .await
            .status,
        410
    );
}

#[tokio::test]
async fn of_many_that_apply_at_once_each_change_lands_once() {
    let redis = RedisChild::start(&[]);
    let store = Arc::new(RedisStore::new(&redis.url(), RedisStoreOptions::default()).unwrap());
    let given: Arc<dyn AgentStore> = store.clone();
    let api = Arc::new(Api::with(move |state| state.store = given));
    api.applied(
        "o",
        json!([{"name": "a", "spec": {}}, {"name": "b", "spec": {}}]),
    )
    .await;
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let api = Arc::clone(&api);
            tokio::spawn(async move {
                let patch = json!({"metadata": {"labels": {format!("l{n}"): "x"}}});
                api.admin("PATCH", "/agents/a", Some(patch)).await.status
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    let agent = store
        .get(&AgentName::new("a").unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(agent.metadata.labels.len(), 6);
}
