//! What holds for whatever bundle is applied.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::harness::Api;

/// A sparse spec of a few fields, each there or not.
fn spec() -> impl Strategy<Value = Value> {
    let maybe = |values: Vec<Value>| proptest::option::of(proptest::sample::select(values));
    let fields = (
        maybe(vec![json!("a:1"), json!("a:2")]),
        maybe(vec![json!(0), json!(1), json!(3)]),
        maybe(vec![json!("running"), json!("stopped")]),
        maybe(vec![
            json!({}),
            json!({"A": "1"}),
            json!({"A": 2, "B": ["x", "y"]}),
            json!({"C": {"k": true}}),
        ]),
        maybe(vec![
            json!({"delay": "2s"}),
            json!({"policy": "no"}),
            json!({}),
        ]),
        maybe(vec![json!(true), json!(false)]),
        maybe(vec![
            json!({"endpoint": "/h"}),
            json!({"interval": "10s", "retries": 5}),
        ]),
        maybe(vec![
            json!({"cpu": 0.5}),
            json!({"cpu": "500m", "memory": "1Gi"}),
        ]),
        maybe(vec![
            json!([{"name": "v", "container": "/v", "readOnly": true}]),
            json!([]),
        ]),
    );
    fields.prop_map(
        |(image, replicas, state, env, restart, auto, health, resources, volumes)| {
            let named = [
                ("image", image),
                ("replicas", replicas),
                ("state", state),
                ("env", env),
                ("healthCheck", health),
                ("resources", resources),
                ("volumes", volumes),
            ];
            let mut spec: Map<String, Value> = named
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)))
                .collect();
            match (restart, auto) {
                // Both at once contradict each other.
                (None, Some(auto)) => spec.insert("autoRestart".into(), auto),
                (Some(restart), _) => spec.insert("restart".into(), restart),
                (None, None) => None,
            };
            Value::Object(spec)
        },
    )
}

fn bundle() -> impl Strategy<Value = Value> {
    let labels = proptest::sample::select(vec![
        json!({}),
        json!({"x": "1"}),
        json!({"x": "2", "y": "3"}),
    ]);
    let agent = (
        proptest::sample::select(vec!["a", "b", "c"]),
        spec(),
        labels,
    );
    proptest::collection::vec(agent, 0..4).prop_map(|agents| {
        let mut seen = std::collections::BTreeSet::new();
        let agents: Vec<Value> = agents
            .into_iter()
            .filter(|(name, _, _)| seen.insert(*name))
            .map(|(name, spec, labels)| json!({"name": name, "spec": spec, "labels": labels}))
            .collect();
        json!(agents)
    })
}

fn outcomes(answer: &Value) -> Vec<Value> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|result| {
            json!([
                result["name"],
                result["outcome"],
                result["replacesContainers"],
                result["after"]["spec"]
            ])
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_dry_run_tells_what_an_apply_then_does_and_a_second_apply_does_nothing(bundles in proptest::collection::vec(bundle(), 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let api = Api::new();
            for agents in &bundles {
                let before = api.everything().await;
                let body = |dry: bool| json!({"owner": "o", "agents": agents, "dryRun": dry});
                let dry = api.admin("POST", "/apply?reveal=env", Some(body(true))).await;
                assert_eq!(dry.status, 200, "{}", dry.text);
                assert_eq!(api.everything().await, before, "a dry run changes nothing");
                let done = api.admin("POST", "/apply?reveal=env", Some(body(false))).await;
                assert_eq!(outcomes(&done.json()), outcomes(&dry.json()));
                let after = api.everything().await;
                let again = api.applied("o", agents.clone()).await;
                for result in again["results"].as_array().unwrap() {
                    assert_eq!(result["outcome"], "unchanged", "{result}");
                    assert_eq!(result["replacesContainers"], false, "{result}");
                }
                assert_eq!(api.everything().await, after, "a second apply changes nothing");
                for agent in &after {
                    let name = agent.metadata.name.as_str();
                    let read = api.get(&format!("/agents/{name}")).await.json();
                    let put = api.admin("PUT", &format!("/agents/{name}"), Some(read)).await;
                    assert_eq!(put.status, 200, "{}", put.text);
                }
                assert_eq!(api.everything().await, after, "writing back what was read changes nothing");
            }
        });
    }

    #[test]
    fn an_owners_next_manifest_leaves_nothing_of_the_last(first in bundle(), second in bundle()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (walked, fresh) = (Api::new(), Api::new());
            walked.applied("o", first).await;
            walked.applied("o", second.clone()).await;
            fresh.applied("o", second.clone()).await;
            for agent in second.as_array().unwrap() {
                let name = agent["name"].as_str().unwrap();
                let (walked, fresh) = (walked.agent(name).await, fresh.agent(name).await);
                assert_eq!(walked.spec, fresh.spec, "{name}");
                assert_eq!(walked.metadata.labels, fresh.metadata.labels, "{name}");
            }
        });
    }
}
