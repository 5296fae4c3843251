//! A certificate authority of a test's own, and clients that believe it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The authority, with its certificate in `ca.pem` of its folder.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, folder: folder.to_owned() }
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Writes a new certificate for this machine to `server.pem` and its key to `server.key`; their paths.
    pub(crate) fn certify(&self) -> (PathBuf, PathBuf) {
        let (cert_file, key_file) = (self.folder.join("server.pem"), self.folder.join("server.key"));
        let (cert, key) = self.certificate_until(2100);
        std::fs::write(&cert_file, cert).unwrap();
        std::fs::write(&key_file, key).unwrap();
        (cert_file, key_file)
    }

    /// A new certificate for this machine that is good until this year, and its key, both in PEM.
    pub(crate) fn certificate_until(&self, year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        server.not_after = rcgen::date_time_ymd(year, 1, 1);
        (server.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// What a client that believes only the authority in this file needs.
pub(crate) fn believing(authority: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    super::install_crypto();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
