//! The certificate that clients see: read at the start, read anew when its files change, and on the board when they cannot be used.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use crate::config::ServeConfig;
use crate::front::{Certificate, TlsError};
use crate::reconcile::{Board, host_condition};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// The certificate that the configuration names; `None`: no TLS.
///
/// # Errors
/// When it cannot be used.
pub(super) fn load(config: &ServeConfig) -> Result<Option<Arc<Certificate>>> {
    let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else {
        return Ok(None);
    };
    let loaded = Certificate::load(certificate.clone(), key.clone())
        .context("--tls-cert and --tls-key: no TLS can be spoken")?;
    warn_of_open_key(&loaded);
    Ok(Some(Arc::new(loaded)))
}

/// Looks at the files until shutdown. What cannot be used is told at the second look: a file that is being written is whole then.
pub(super) async fn keep(certificate: Arc<Certificate>, board: Board, shutdown: CancellationToken) {
    board.set(host_condition::TLS, true, "Loaded", "TLS is spoken");
    let mut known = certificate.stamp();
    let mut trouble: Option<String> = None;
    let mut told = false;
    let mut often = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = often.tick() => {}
        }
        let now = certificate.stamp();
        if now == known && trouble.is_none() {
            continue;
        }
        known = now;
        match certificate.reload() {
            Ok(()) => {
                tracing::info!("the certificate was read anew");
                (trouble, told) = (None, false);
                warn_of_open_key(&certificate);
                board.set(host_condition::TLS, true, "Loaded", "TLS is spoken");
            }
            Err(error) => {
                let error = words(&error);
                if trouble.as_ref() == Some(&error) {
                    let message = format!("the former certificate is shown still, since {error}");
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(
                            error,
                            "the former certificate is shown still: the changed one cannot be used"
                        );
                    }
                    board.set(host_condition::TLS, false, "NotUsable", message);
                }
                trouble = Some(error);
            }
        }
    }
}

fn words(error: &TlsError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn warn_of_open_key(certificate: &Certificate) {
    if let Some(path) = certificate.open_key() {
        let path = path.display();
        tracing::warn!(
            %path,
            "every user of this machine may read the private key; `chmod o-r` it"
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tempfile::TempDir;

    use super::*;
    use crate::agent::status::ConditionStatus;

    fn write_pair(folder: &TempDir, names: &[&str]) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let texts = [made.cert.pem(), made.signing_key.serialize_pem()];
        for (name, text) in ["cert.pem", "key.pem"].iter().zip(texts) {
            if names.contains(name) {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_that_cannot_be_used_is_told_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(&folder, &["cert.pem", "key.pem"]);
        let at = |name| folder.path().join(name);
        let certificate = Certificate::load(at("cert.pem"), at("key.pem")).unwrap();
        let board = Board::default();
        let shutdown = CancellationToken::new();
        tokio::spawn(keep(Arc::new(certificate), board.clone(), shutdown));
        let said = || {
            let all = board.list();
            let one = all.into_iter().find(|one| one.kind == host_condition::TLS);
            one.map(|one| (one.status, one.message))
        };
        let becomes = async |status| {
            let turned = async {
                while said().is_none_or(|(now, _)| now != status) {
                    tokio::time::sleep(LOOK / 2).await;
                }
            };
            tokio::time::timeout(LOOK * 10, turned).await.unwrap();
        };
        becomes(ConditionStatus::True).await;
        write_pair(&folder, &["key.pem"]);
        becomes(ConditionStatus::False).await;
        let (_, message) = said().unwrap();
        assert!(message.contains("cannot be used together"), "{message}");
        write_pair(&folder, &["cert.pem", "key.pem"]);
        becomes(ConditionStatus::True).await;
    }
}
