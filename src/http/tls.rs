//! TLS without a proxy: one certificate, which may be replaced while connections go on. Deliberately absent: certificates by
//! name, client certificates and ACME; a proxy does those better.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Files that cannot be used; a sentence that names the setting.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, unreadable, or not what it should be.
    #[error("server.tls.{setting}: {path} cannot be used: {problem}.", path = .path.display())]
    File {
        /// `cert` or `key`.
        setting: &'static str,
        /// Of the file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The two do not belong together.
    #[error("server.tls.key: {path} is not the key of the certificate in server.tls.cert.", path = .0.display())]
    Mismatch(PathBuf),
}

/// Speaks TLS with whoever comes.
pub struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

impl Tls {
    /// With a chain of certificates, ours first, and the key, both in PEM.
    pub fn open(cert: &Path, key: &Path) -> Result<Tls, TlsError> {
        let certificate = Arc::new(Certificate(ArcSwap::from_pointee(read(cert, key)?)));
        let versions = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has every default version");
        let mut config = versions.with_no_client_auth().with_cert_resolver(certificate.clone());
        // The socket is an upgrade of HTTP/1.1 (RFC 6455).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), certificate })
    }

    /// Whether these files could be used.
    pub fn check(cert: &Path, key: &Path) -> Result<(), TlsError> {
        read(cert, key).map(drop)
    }

    /// Reads the files again; whoever connects from now on is shown what they hold. Whether it is another certificate.
    pub fn reload(&self, cert: &Path, key: &Path) -> Result<bool, TlsError> {
        let new = read(cert, key)?;
        let changed = new.cert != self.certificate.0.load().cert;
        self.certificate.0.store(Arc::new(new));
        Ok(changed)
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}

#[derive(Debug)]
struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| unusable("cert", cert, &error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable("cert", cert, "it holds no certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("key", key, &error.to_string()))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch(key.to_owned()),
        error => unusable("key", key, &error.to_string()),
    })
}

fn unusable(setting: &'static str, path: &Path, problem: &str) -> TlsError {
    TlsError::File { setting, path: path.to_owned(), problem: problem.trim_end_matches('.').to_owned() }
}
