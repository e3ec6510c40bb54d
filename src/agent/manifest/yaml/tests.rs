#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

use std::fmt::Write;

use super::*;

fn json(text: &str) -> String {
    let stream = parse(text);
    assert_eq!(stream.errors, []);
    stream
        .documents
        .iter()
        .map(|node| node.to_json().to_string())
        .collect::<Vec<_>>()
        .join(" | ")
}

fn error(text: &str) -> String {
    let stream = parse(text);
    let wrong = stream.errors.first().unwrap();
    format!(
        "{}:{}: {}",
        wrong.place.line, wrong.place.column, wrong.message
    )
}

#[test]
fn documents_come_in_order_and_empty_ones_are_null() {
    assert_eq!(
        json("a: 1\n---\nb: [x, 2]\n---\n"),
        r#"{"a":1} | {"b":["x",2]} | null"#
    );
    assert_eq!(json(""), "");
    assert_eq!(json("# only a comment\n"), "");
}

#[test]
fn every_key_and_value_knows_its_place() {
    let text = "a: 1\nb:\n  - c: ünï  # x\n    d: \"q\\\"\"\n";
    let node = parse(text).documents.remove(0);
    let item = &node.get("b").unwrap().items()[0];
    let slice = |place: Place| &text[place.start..place.end];
    let c = &item.entries()[0];
    assert_eq!((slice(c.key_place), slice(c.value.place)), ("c", "ünï"));
    assert_eq!((c.value.place.line, c.value.place.column), (3, 8));
    let d = &item.entries()[1];
    assert_eq!(slice(d.value.place), "\"q\\\"\"");
    assert_eq!(d.value.text, "q\"");
}

#[test]
fn aliases_and_merge_keys_are_filled_in_and_own_keys_go_first() {
    assert_eq!(
        json("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\nw: {<<: [*x, {c: 4}]}\n"),
        r#"{"w":{"a":1,"b":2,"c":4},"x":{"a":1,"b":2},"y":{"a":1,"b":3},"z":{"a":1,"b":2}}"#
    );
}

#[test]
fn tags_of_yaml_itself_are_known_and_others_refused() {
    assert_eq!(
        json("a: !!str 5\nb: ! 6\nc: !!int 7\n"),
        r#"{"a":"5","b":"6","c":7}"#
    );
    assert_eq!(
        error("a: !secret x\n"),
        "1:12: the tag !secret means nothing here"
    );
}

#[test]
fn a_key_given_twice_is_an_error_at_the_second_place() {
    assert_eq!(
        error("env:\n  A: 1\n  B: 2\n  A: 3\n"),
        "4:3: the key 'A' is given twice; first on line 2"
    );
}

#[test]
fn documents_before_a_syntax_error_are_kept() {
    let stream = parse("a: 1\n---\nb: [1,\n---\nc: 3\n");
    assert_eq!(stream.documents.len(), 1);
    assert_eq!(stream.errors.len(), 1);
    assert!(stream.errors[0].fatal);
}

#[test]
fn alias_bombs_are_refused_quickly() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        let list = [before.as_str(); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{list}]").unwrap();
    }
    let started = std::time::Instant::now();
    assert!(error(&text).contains("more than 50000 keys and values"));
    assert!(started.elapsed() < std::time::Duration::from_secs(2));
    assert!(error("a: &a [*a]\n").contains("within its own anchor"));
    let merges: String = (0..600).map(|n| format!("m{n}: {{<<: *big}}\n")).collect();
    let big: String = (0..100).map(|n| format!("k{n}: 1, ")).collect();
    assert!(error(&format!("big: &big {{{big}}}\n{merges}")).contains("more than 50000"));
}

#[test]
fn deep_nesting_is_refused_quickly() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        (0..2000).fold(String::new(), |mut text, level| {
            let _ = writeln!(text, "{}a:", " ".repeat(level));
            text
        }),
    ] {
        let started = std::time::Instant::now();
        assert!(!parse(&text).errors.is_empty());
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
    let deep = format!("a: {}{}", "[".repeat(63), "]".repeat(63));
    assert!(parse(&deep).errors.is_empty());
}

#[test]
fn a_list_or_map_as_a_key_is_an_error() {
    assert!(error("? [a]\n: 1\n").contains("a key is a text"));
}

#[test]
fn tabs_get_a_clear_word() {
    assert!(error("a:\n\tb: 1\n").contains("indent with spaces"));
}
