//! curl: both protocols, uploads with and without a length, a download that is taken up where it broke off.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::{PATIENCE, Site, web};

struct Curl<'a>(&'a Site);

impl Curl<'_> {
    async fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail-with-body", "--noproxy", "*", "--cacert"]);
        command.arg(self.0.authority()).args(args);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = ended.expect("curl took too long").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_content() {
    let site = Site::new();
    site.rig.ready("web", &[("c", web::agent().await.address)]);
    let curl = Curl(&site);
    let file = |name: &str| site.folder.path().join(name);
    let (upload, download) = (file("upload"), file("download"));
    let big = web::big();
    std::fs::write(&upload, &big).unwrap();
    let sum = web::sum(&big);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    for (base, protocol, version) in [
        (&site.clear, "--http1.1", "1.1"),
        (&site.clear, "--http2-prior-knowledge", "2"),
        (&site.tls, "--http1.1", "1.1"),
        (&site.tls, "--http2", "2"),
    ] {
        let at = |path: &str| format!("{base}/agent/web{path}");
        let used = ["-o", "/dev/null", "-w", "%{http_version}", protocol];
        assert_eq!(
            curl.run(&[&used[..], &[&at("/echo")]].concat()).await,
            version
        );
        // With a length, for which curl expects a 100 first, and in chunks.
        let with_length = curl
            .run(&[protocol, "-T", &text(&upload), &at("/echo")])
            .await;
        let chunked = [
            "-X",
            "POST",
            "-H",
            "Transfer-Encoding: chunked",
            "--data-binary",
        ];
        let data = format!("@{}", text(&upload));
        let echo = at("/echo");
        let in_chunks = [&[protocol], &chunked[..], &[&data, &echo]].concat();
        let in_chunks = curl.run(&in_chunks).await;
        for seen in [with_length, in_chunks] {
            assert!(seen.contains(&sum), "{protocol}: {seen}");
        }
        // Half of it is there already.
        std::fs::write(&download, &big[..big.len() / 2]).unwrap();
        curl.run(&[protocol, "-C", "-", "-o", &text(&download), &at("/big")])
            .await;
        assert_eq!(
            web::sum(&std::fs::read(&download).unwrap()),
            sum,
            "{protocol}"
        );
        let head = curl.run(&[protocol, "-I", &at("/big")]).await;
        assert!(
            head.contains(&format!("content-length: {}", web::BIG)),
            "{head}"
        );
        if protocol == "--http2-prior-knowledge" {
            // curl 7.88 begins HTTP/2 anew on the connection that it uses again.
            continue;
        }
        // To where the agent sends it, with the cookie that it got.
        let jar = text(&file("jar"));
        let seen = curl
            .run(&[protocol, "-L", "-b", &jar, "-c", &jar, &at("/login")])
            .await;
        assert!(seen.contains("sid=1"), "{protocol}: {seen}");
        std::fs::remove_file(file("jar")).unwrap();
    }
}
