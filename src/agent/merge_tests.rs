#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::names::AgentName;

fn agent(spec: Value) -> ApplyAgent {
    ApplyAgent {
        name: AgentName::new("users").unwrap(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec: spec.as_object().unwrap().clone(),
    }
}

fn spec(value: Value) -> AgentSpec {
    serde_json::from_value(value).unwrap()
}

fn live(value: Value) -> Merged {
    Merged {
        spec: spec(value),
        ..Merged::default()
    }
}

fn merged(last: Value, wanted: Value, was: Value) -> AgentSpec {
    apply(Some(&agent(last)), &agent(wanted), Some(&live(was)))
        .unwrap()
        .spec
}

#[test]
fn what_a_manifest_does_not_name_keeps_what_scale_and_stop_gave_it() {
    let applied = json!({"image": "users:1"});
    let now = merged(
        applied.clone(),
        json!({"image": "users:2"}),
        json!({"image": "users:1", "replicas": 4, "state": "stopped"}),
    );
    assert_eq!(
        now,
        spec(json!({"image": "users:2", "replicas": 4, "state": "stopped"}))
    );
}

#[test]
fn what_a_manifest_no_longer_names_returns_to_its_default() {
    let now = merged(
        json!({"replicas": 3, "port": 9000, "restart": {"policy": "no"}}),
        json!({"port": 9000}),
        json!({"replicas": 3, "port": 9000, "restart": {"policy": "no"}}),
    );
    assert_eq!(now, spec(json!({"port": 9000})));
}

#[test]
fn env_and_labels_merge_by_key() {
    let now = merged(
        json!({"env": {"A": "1", "B": "1"}}),
        json!({"env": {"A": "2"}}),
        json!({"env": {"A": "1", "B": "1", "BY_HAND": "x"}}),
    );
    assert_eq!(now, spec(json!({"env": {"A": "2", "BY_HAND": "x"}})));

    let text = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let mut last = agent(json!({}));
    last.labels = text(&[("tier", "back"), ("old", "1")]);
    let mut wanted = agent(json!({}));
    wanted.labels = text(&[("tier", "front")]);
    let mut was = live(json!({}));
    was.labels = text(&[("tier", "back"), ("old", "1"), ("by-hand", "x")]);
    was.annotations = text(&[("agentainer.dev/restarted-at", "now")]);
    let now = apply(Some(&last), &wanted, Some(&was)).unwrap();
    assert_eq!(now.labels, text(&[("tier", "front"), ("by-hand", "x")]));
    assert_eq!(now.annotations, was.annotations);
}

#[test]
fn env_that_is_no_longer_named_at_all_keeps_what_was_set_by_hand() {
    let now = merged(
        json!({"env": {"A": "1"}}),
        json!({}),
        json!({"env": {"A": "1", "BY_HAND": "x"}}),
    );
    assert_eq!(now, spec(json!({"env": {"BY_HAND": "x"}})));
}

#[test]
fn lists_are_one_value() {
    let now = merged(
        json!({"args": ["a", "b"]}),
        json!({"args": ["c"]}),
        json!({"args": ["a", "b", "by-hand"]}),
    );
    assert_eq!(now.args, ["c"]);
}

#[test]
fn a_health_check_that_is_no_longer_named_is_gone_as_a_whole() {
    let now = merged(
        json!({"healthCheck": {"endpoint": "/ok"}}),
        json!({}),
        json!({"healthCheck": {"endpoint": "/ok", "interval": "5s"}}),
    );
    assert_eq!(now.health_check, None);
}

#[test]
fn short_forms_and_other_units_change_nothing() {
    let first = apply(
        None,
        &agent(json!({"autoRestart": false, "resources": {"cpu": 0.5}})),
        None,
    )
    .unwrap();
    let again = apply(
        Some(&agent(
            json!({"autoRestart": false, "resources": {"cpu": 0.5}}),
        )),
        &agent(json!({"restart": {"policy": "no"}, "resources": {"cpu": "500m"}})),
        Some(&first),
    )
    .unwrap();
    assert_eq!(first, again);
}

#[test]
fn a_new_agent_is_what_its_manifest_says() {
    let now = apply(None, &agent(json!({"replicas": 2})), None).unwrap();
    assert_eq!(now.spec, spec(json!({"replicas": 2})));
}

#[test]
fn merge_patch_follows_the_examples_of_rfc_7396() {
    for (target, with, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": "b"}),
            json!({"b": "c"}),
            json!({"a": "b", "b": "c"}),
        ),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (
            json!({"a": "b", "b": "c"}),
            json!({"a": null}),
            json!({"b": "c"}),
        ),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (
            json!({"a": [{"b": "c"}]}),
            json!({"a": [1]}),
            json!({"a": [1]}),
        ),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (
            json!({"e": null}),
            json!({"a": 1}),
            json!({"e": null, "a": 1}),
        ),
        (
            json!([1, 2]),
            json!({"a": "b", "c": null}),
            json!({"a": "b"}),
        ),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
    ] {
        let mut result = target.clone();
        patch(&mut result, &with);
        assert_eq!(result, expected, "{target} patched with {with}");
    }
}

/// Sparse specs that touch every kind of field.
fn any_spec() -> impl Strategy<Value = Map<String, Value>> {
    let field = prop_oneof![
        (0..4u32).prop_map(|n| ("replicas", json!(n))),
        (8000..8003u16).prop_map(|n| ("port", json!(n))),
        "[ab]".prop_map(|text| ("image", json!(text))),
        prop::sample::select(vec!["running", "stopped"]).prop_map(|s| ("state", json!(s))),
        prop::collection::vec("[xy]", 0..3).prop_map(|list| ("args", json!(list))),
        prop::collection::btree_map("[ABC]", "[12]", 0..3).prop_map(|env| ("env", json!(env))),
        prop::option::of(1..9u32).prop_map(|n| match n {
            Some(n) => ("healthCheck", json!({"interval": n})),
            None => ("healthCheck", json!({})),
        }),
        prop::bool::ANY.prop_map(|yes| ("autoRestart", json!(yes))),
        (1..5u32).prop_map(|n| ("restart", json!({"delay": n}))),
        (1..3u32).prop_map(|n| ("resources", json!({"cpu": n}))),
        (1..3u32).prop_map(|n| ("resources", json!({"memory": format!("{n}Gi")}))),
        (0..3u32).prop_map(|n| ("strategy", json!({"maxSurge": n}))),
        (1..3u32).prop_map(|n| ("proxy", json!({"timeouts": {"connect": n}}))),
        (0..2u32).prop_map(|n| (
            "volumes",
            json!([{"name": format!("v{n}"), "container": "/v"}])
        )),
    ];
    prop::collection::vec(field, 0..6).prop_map(|fields| {
        fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    })
}

fn of(spec: Map<String, Value>) -> ApplyAgent {
    ApplyAgent {
        spec,
        ..agent(json!({}))
    }
}

proptest! {
    #[test]
    fn applying_the_same_twice_changes_nothing_more(a in any_spec(), last in any_spec(), by_hand in any_spec()) {
        let was = apply(None, &of(by_hand), None).unwrap();
        let once = apply(Some(&of(last)), &of(a.clone()), Some(&was)).unwrap();
        let twice = apply(Some(&of(a.clone())), &of(a), Some(&once)).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn law_8_a_then_b_then_a_equals_a(a in any_spec(), b in any_spec()) {
        let (a, b) = (of(a), of(b));
        let first = apply(None, &a, None).unwrap();
        let second = apply(Some(&a), &b, Some(&first)).unwrap();
        let third = apply(Some(&b), &a, Some(&second)).unwrap();
        prop_assert_eq!(first, third);
    }

    #[test]
    fn fields_that_neither_manifest_names_are_untouched(a in any_spec(), b in any_spec(), by_hand in any_spec()) {
        let was = apply(None, &of(by_hand), None).unwrap();
        let now = apply(Some(&of(a.clone())), &of(b.clone()), Some(&was)).unwrap();
        let before = serde_json::to_value(&was.spec).unwrap();
        let after = serde_json::to_value(&now.spec).unwrap();
        for field in ["replicas", "port", "image", "state", "args", "env", "healthCheck", "resources", "volumes", "strategy", "proxy"] {
            if !a.contains_key(field) && !b.contains_key(field) {
                prop_assert_eq!(before.get(field), after.get(field), "{}", field);
            }
        }
    }
}
