//! TLS for clients: a certificate and its key from two files, read anew when they change.
//!
//! A pair that cannot be used never takes the place of one that can: whoever renews a certificate writes one file after the
//! other. Connections keep what they began with.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the two protocols are called in a handshake (RFC 7301 §6); the first that the client knows is taken.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A file of a certificate or a key is no larger.
const LARGEST: u64 = 1 << 20;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no certificate or no key in PEM, or a broken one.
    #[error("{} holds no {what} in PEM: {cause}", path.display())]
    NoPem {
        /// Which.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// The two are no pair, or of a kind that is not known.
    #[error("the certificate of {} and the key of {} cannot be used together", certificate.display(), key.display())]
    NoPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate with its key, and the files that they come from.
#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
}

/// What a file was when it was looked at: another one, or the same written to, is another stamp.
pub(crate) type Stamp = [Option<(u64, u64, u64, i64, i64)>; 2];

impl Certificate {
    /// Reads the pair.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(read(&certificate, &key)?);
        Ok(Self {
            certificate,
            key,
            current,
        })
    }

    /// Reads the pair anew, for connections from now on.
    ///
    /// # Errors
    /// [`TlsError`]; then the former one stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = read(&self.certificate, &self.key)?;
        self.current.store(Arc::new(config));
        Ok(())
    }

    /// Tells the files as they are now from what they were.
    pub(crate) fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| {
            let is = std::fs::metadata(path).ok()?;
            Some((is.dev(), is.ino(), is.size(), is.mtime(), is.mtime_nsec()))
        })
    }

    /// The key's file, when others than its owner and group may read it.
    pub fn open_key(&self) -> Option<&Path> {
        let mode = std::fs::metadata(&self.key).ok()?.mode();
        (mode & 0o004 != 0).then_some(&*self.key)
    }

    /// Shakes hands with a client.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        within: Duration,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        tokio::time::timeout(within, acceptor.accept(stream)).await?
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let no_pem = |path: &Path, what, cause: rustls::pki_types::pem::Error| TlsError::NoPem {
        path: path.to_owned(),
        what,
        cause: cause.to_string(),
    };
    let of_certificate =
        |cause: rustls::pki_types::pem::Error| no_pem(certificate, "certificate", cause);
    let chain = CertificateDer::pem_slice_iter(&text(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(of_certificate)?;
    if chain.is_empty() {
        return Err(of_certificate(rustls::pki_types::pem::Error::NoItemsFound));
    }
    let secret = PrivateKeyDer::from_pem_slice(&text(key)?)
        .map_err(|cause| no_pem(key, "private key", cause))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, secret)
        });
    let mut config = config.map_err(|source| TlsError::NoPair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn text(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path);
    file.and_then(|file| file.take(LARGEST).read_to_end(&mut text))
        .map_err(|source| TlsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    Ok(text)
}
