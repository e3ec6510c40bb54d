//! TLS to the server: whom a client trusts.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failure;

/// Begins TLS on connections to one server.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// Whether it trusts a file's authorities and not the system's.
    given: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish()
    }
}

impl Tls {
    /// For the server of this name; it is trusted by the authorities of a file, or else by the system's.
    ///
    /// # Errors
    /// When there are none, or the name is none that a certificate can have.
    pub(super) fn new(host: &str, authorities: Option<&Path>) -> Result<Self, Failure> {
        let roots = match authorities {
            Some(path) => of_file(path)?,
            None => of_system()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS cannot be spoken")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(host.to_owned())
                .map_err(|_| Failure::error(format!("'{host}' is no name of a server")))?,
            given: authorities.is_some(),
        })
    }

    /// Shakes hands with the server.
    ///
    /// # Errors
    /// Its words say what to do when the server is not trusted.
    pub(super) async fn begin(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let shaken = self.connector.connect(self.name.clone(), stream).await;
        shaken.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
            let remedy = match cause {
                Some(rustls::Error::InvalidCertificate(_)) if self.given => {
                    "; is it signed by an authority of --ca-cert, for this name?"
                }
                Some(rustls::Error::InvalidCertificate(_)) => {
                    "; --ca-cert FILE names the authority that signed it"
                }
                _ => "; does it speak TLS there?",
            };
            std::io::Error::other(format!("no TLS came about: {error}{remedy}"))
        })
    }
}

fn of_file(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let given = || format!("--ca-cert: {} cannot be used", path.display());
    for one in CertificateDer::pem_file_iter(path).with_context(given)? {
        roots.add(one.with_context(given)?).with_context(given)?;
    }
    if roots.is_empty() {
        return Err(Failure::error(format!(
            "--ca-cert: {} holds no certificate in PEM",
            path.display()
        )));
    }
    Ok(roots)
}

fn of_system() -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Failure::error(
            "this system trusts no authority: install ca-certificates, or give --ca-cert FILE",
        ));
    }
    Ok(roots)
}
