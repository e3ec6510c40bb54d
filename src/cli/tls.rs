//! TLS to the server: whom a client trusts.

use std::path::Path;

use anyhow::Context as _;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failure;
use crate::trust;

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
        let config = trust::config(roots(authorities)?).context("no TLS")?;
        Ok(Self {
            connector: TlsConnector::from(config),
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

fn roots(authorities: Option<&Path>) -> Result<RootCertStore, Failure> {
    if let Some(path) = authorities {
        return trust::of_file(path).map_err(|error| Failure::error(format!("--ca-cert: {error}")));
    }
    let roots = trust::of_system();
    match roots.is_empty() {
        true => Err(Failure::error(
            "this system trusts no authority: install ca-certificates, or give --ca-cert FILE",
        )),
        false => Ok(roots),
    }
}
