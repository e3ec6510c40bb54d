//! TLS as a client: whom we trust. Used by the command line towards a server, and by the server towards who is called back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read, or is no PEM.
    #[error("{} cannot be used: {cause}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// It holds none.
    #[error("{} holds no certificate in PEM", path.display())]
    NoPem {
        /// Which.
        path: PathBuf,
    },
    /// This library cannot speak TLS at all.
    #[error("TLS cannot be spoken")]
    Tls(#[from] rustls::Error),
}

/// The authorities of a file.
///
/// # Errors
/// [`TrustError`], when it is not there or holds none.
pub fn of_file(path: &Path) -> Result<RootCertStore, TrustError> {
    let unusable = |cause: String| TrustError::Unusable {
        path: path.to_owned(),
        cause,
    };
    let mut roots = RootCertStore::empty();
    let pem = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    for one in pem {
        let one = one.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(one)
            .map_err(|error| unusable(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(TrustError::NoPem {
            path: path.to_owned(),
        }),
        false => Ok(roots),
    }
}

/// Those of this system; none where it has none.
pub fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// How TLS is begun with whoever these vouch for; HTTP/1.1 is spoken in it.
///
/// # Errors
/// [`TrustError::Tls`].
pub fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
