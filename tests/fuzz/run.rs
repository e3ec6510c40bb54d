//! What every target does: the corpus as it is, then changed by chance, until a number or a time is reached.

#![allow(clippy::disallowed_methods)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::mutate::Mutator;

/// One target.
pub struct Target {
    pub name: &'static str,
    /// Words that mean something there.
    pub words: &'static [&'static str],
    /// So many inputs in an everyday run.
    pub everyday: usize,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// The files of a folder, in the order of their names.
pub fn files(name: &str) -> Vec<Vec<u8>> {
    let all = fs::read_dir(folder(name)).unwrap();
    let mut paths: Vec<_> = all
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs a target. `check` says what is wrong with what came of an input.
pub fn run(
    target: &Target,
    corpus: &[Vec<u8>],
    mut check: impl FnMut(&[u8]) -> Result<(), String>,
) {
    assert!(!corpus.is_empty());
    let mut held = |input: &[u8], which: &str| {
        let found = catch_unwind(AssertUnwindSafe(|| check(input)));
        let wrong = match found {
            Ok(Ok(())) => return,
            Ok(Err(wrong)) => wrong,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text =
                    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                format!("it panicked: {}", text.unwrap_or_default())
            }
        };
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
        fs::write(&file, input).unwrap();
        panic!(
            "{wrong}\n{which}: {}\nagain: INPUT={} cargo test --test fuzz {}",
            input.escape_ascii(),
            file.display(),
            target.name
        );
    };
    if let Ok(path) = std::env::var("INPUT") {
        return held(&fs::read(path).unwrap(), "the input");
    }
    for (nth, input) in corpus.iter().enumerate() {
        held(input, &format!("corpus entry {nth}"));
    }
    let seed = number("SEED").unwrap_or(1);
    let until = number("SECONDS_EACH").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut mutator = Mutator::new(seed, target.words);
    let mut count = 0;
    while until.map_or(count < target.everyday, |until| Instant::now() < until) {
        let input = mutator.input(corpus);
        held(&input, &format!("input {count} of seed {seed}"));
        count += 1;
    }
    println!(
        "{}: {} of the corpus, {count} changed ones, seed {seed}",
        target.name,
        corpus.len()
    );
}

/// Whether a line feed stands without its carriage return: some readers end a line there (RFC 9112 §2.2), a strict one does not.
pub fn has_lone_lf(bytes: &[u8]) -> bool {
    bytes
        .windows(2)
        .any(|two| two[1] == b'\n' && two[0] != b'\r')
}
