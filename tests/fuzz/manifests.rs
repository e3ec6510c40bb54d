//! The manifest parser: no input makes it panic, and whatever is wrong has a place.

use std::path::{Path, PathBuf};

use agentainer::agent::manifest::{Inputs, Report, Source, load};

use crate::run;

const TARGET: run::Target = run::Target {
    name: "manifests",
    words: &[
        "apiVersion: agentainer.dev/v1\n",
        "kind: Agent\n",
        "metadata:\n",
        "spec:\n",
        "agents:\n",
        "- name: a\n",
        "env:\n",
        "  ",
        "\t",
        "---\n",
        "...\n",
        "&a ",
        "*a",
        "<<: *a",
        "!!binary ",
        "!x ",
        "|\n",
        ">-\n",
        "? ",
        ": ",
        "- ",
        "# ",
        "\"",
        "'",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "${A}",
        "${A:-b}",
        "$$",
        "null",
        "~",
        "true",
        "1e9",
        "0x1F",
        ".nan",
        "512Mi",
        "30s",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "\u{1f600}",
        "\0",
        "\r",
        "replicas: 3\n",
        "image: x\n",
        "port: 8000\n",
    ],
    everyday: 3_000,
};

fn report(input: &[u8]) -> (Option<usize>, Report) {
    let source = Source {
        name: "it.yaml".to_owned(),
        folder: PathBuf::from("/repo"),
        bytes: input.to_vec(),
    };
    let lookup = |name: &str| (name == "A").then(|| "one".to_owned());
    let read = |_: &Path| Ok(b"B=two\n".to_vec());
    match load(
        &[source],
        Inputs {
            lookup: &lookup,
            read: &read,
            owner: None,
        },
    ) {
        Ok(loaded) => (
            Some(
                loaded
                    .bundles
                    .iter()
                    .map(|bundle| bundle.agents.len())
                    .sum(),
            ),
            loaded.warnings,
        ),
        Err(report) => (None, report),
    }
}

#[test]
fn manifests_are_loaded_or_every_error_has_its_place() {
    let mut corpus = run::files("manifests/good");
    corpus.retain(|input| input.len() < 8192);
    corpus.extend(
        run::files("manifests/bad")
            .into_iter()
            .filter(|input| input.len() < 8192),
    );
    corpus.extend(run::files("fuzz/corpus/manifests"));
    run::run(&TARGET, &corpus, |input| {
        let (loaded, found) = report(input);
        let (again, same) = report(input);
        let shown = found.to_string();
        if loaded != again || shown != same.to_string() {
            return Err("twice is not the same".to_owned());
        }
        let errors = found
            .findings
            .iter()
            .filter(|finding| !finding.warning)
            .count();
        if loaded.is_none() != (errors > 0) || errors != found.errors() {
            return Err(format!("loaded {loaded:?} with {errors} errors"));
        }
        let text = String::from_utf8_lossy(input);
        // YAML has line ends of its own (YAML 1.2.2 §5.4): CR alone is one.
        let lines: Vec<&str> = text.split(['\n', '\r']).collect();
        for finding in &found.findings {
            let inside =
                finding.line <= lines.len() && (finding.line == 0) == (finding.column == 0);
            if finding.file != "it.yaml" || finding.message.is_empty() || !inside {
                return Err(format!("no place: {finding:?}"));
            }
            // The file as a whole is to blame only if it is no text or too much, or nothing is in it.
            let whole =
                std::str::from_utf8(input).is_err() || finding.warning || text.contains('\0');
            if finding.line == 0
                && !whole
                && !text
                    .trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
                    .is_empty()
            {
                return Err(format!("the file as a whole is blamed: {finding:?}"));
            }
        }
        Ok(())
    });
}
