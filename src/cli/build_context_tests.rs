#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::os::unix::fs::symlink;

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn what_dockerignore_names_stays_behind() {
    let folder = folder(&[
        ("Dockerfile", "FROM scratch"),
        (".dockerignore", "*\n!src\n**/*.tmp"),
        ("src/main.rs", "x"),
        ("src/a.tmp", "x"),
        ("secret.env", "x"),
        ("target/debug/big", "x"),
    ]);
    let context = BuildContext::open(folder.path(), "Dockerfile").unwrap();
    assert_eq!(
        context.entries(),
        [".dockerignore", "Dockerfile", "src", "src/main.rs"]
    );
}

#[tokio::test]
async fn the_tar_holds_files_links_and_no_owner() {
    let folder = folder(&[("Dockerfile", "FROM scratch"), ("a/b", "hello")]);
    symlink("/etc/passwd", folder.path().join("link")).unwrap();
    let mut pieces = BuildContext::open(folder.path(), "Dockerfile")
        .unwrap()
        .stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.recv().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().uid().unwrap(), 0);
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let link = entry
            .link_name()
            .unwrap()
            .map(|link| link.display().to_string());
        seen.push((entry.path().unwrap().display().to_string(), text, link));
    }
    let plain = |path: &str, text: &str| (path.to_owned(), text.to_owned(), None);
    assert_eq!(
        seen,
        [
            plain("Dockerfile", "FROM scratch"),
            plain("a/", ""),
            plain("a/b", "hello"),
            (
                "link".to_owned(),
                String::new(),
                Some("/etc/passwd".to_owned())
            ),
        ]
    );
}

#[test]
fn the_digest_tells_contents_and_names_and_not_times() {
    let open = |files: &[(&str, &str)]| {
        let folder = folder(files);
        BuildContext::open(folder.path(), "Dockerfile")
            .unwrap()
            .digest()
            .unwrap()
    };
    let one = open(&[("Dockerfile", "x"), ("a", "1")]);
    assert_eq!(one, open(&[("Dockerfile", "x"), ("a", "1")]));
    assert_ne!(one, open(&[("Dockerfile", "x"), ("a", "2")]));
    assert_ne!(one, open(&[("Dockerfile", "x"), ("b", "1")]));
}

#[test]
fn a_context_without_its_dockerfile_says_what_to_do() {
    let folder = folder(&[("a", "1")]);
    let error = BuildContext::open(folder.path(), "Dockerfile")
        .unwrap_err()
        .to_string();
    assert!(error.contains("build.dockerfile"), "{error}");
    let missing = folder.path().join("none");
    assert!(BuildContext::open(&missing, "Dockerfile").is_err());
}

#[test]
fn a_context_that_is_too_large_is_not_sent_and_its_largest_files_are_named() {
    let folder = folder(&[("Dockerfile", "x")]);
    let big = File::create(folder.path().join("model.bin")).unwrap();
    big.set_len(LARGEST + 1).unwrap();
    let error = BuildContext::open(folder.path(), "Dockerfile")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("model.bin") && error.contains(".dockerignore"),
        "{error}"
    );
}
