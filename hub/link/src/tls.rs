//! TLS on the link: each side shows the other a certificate of one CA, and takes no other.
//!
//! Whose certificate it is counts on one side only: the Hub's must be for the name that was dialled, while any of the CA
//! makes a Worker. Both are asked for at the handshake: a link that stands outlives its certificates.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};

/// Where one side has what it shows and what it wants to be shown: files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The CA whose certificates the other side may show.
    pub ca: PathBuf,
    /// The certificate shown to the other side, before those that it was signed with.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why these files are no certificates.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct BadCertificates {
    path: PathBuf,
    reason: String,
}

/// The files as they were read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Read {
    of: Certificates,
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key does not belong into a log.
        f.debug_struct("Read").field("of", &self.of).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the files. They are small, and read when a link begins.
    pub(crate) fn read(&self) -> Result<Read, BadCertificates> {
        let file = |path: &Path| std::fs::read(path).map_err(|why| bad(path, why));
        Ok(Read {
            ca: file(&self.ca)?,
            certificate: file(&self.certificate)?,
            key: file(&self.key)?,
            of: self.clone(),
        })
    }
}

impl Read {
    /// How a Worker dials.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, BadCertificates> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|why| bad(&self.of.certificate, why))?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain()?, self.key()?)
            .map_err(|why| bad(&self.of.certificate, why))?;
        Ok(Arc::new(config))
    }

    /// How a Hub takes Workers.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>, BadCertificates> {
        let theirs =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider())
                .build()
                .map_err(|why| bad(&self.of.ca, why))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|why| bad(&self.of.certificate, why))?
            .with_client_cert_verifier(theirs)
            .with_single_cert(self.chain()?, self.key()?)
            .map_err(|why| bad(&self.of.certificate, why))?;
        // Who comes again shows its certificate again: it may have expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, BadCertificates> {
        let path = &self.of.ca;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.ca) {
            let certificate = certificate.map_err(|why| bad(path, why))?;
            roots.add(certificate).map_err(|why| bad(path, why))?;
        }
        if roots.is_empty() {
            return Err(bad(path, "there is no certificate in it"));
        }
        Ok(roots)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, BadCertificates> {
        let path = &self.of.certificate;
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| bad(path, why))?;
        match chain.is_empty() {
            true => Err(bad(path, "there is no certificate in it")),
            false => Ok(chain),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, BadCertificates> {
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        // What the library says of it might show some of it.
        key.map_err(|_| bad(&self.of.key, "there is no private key in it"))
    }
}

fn bad(path: &Path, reason: impl fmt::Display) -> BadCertificates {
    BadCertificates { path: path.to_owned(), reason: reason.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Why there was no handshake with that other side, in a sentence for whoever runs this one.
pub(crate) fn why(error: &io::Error, other: &str) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::NoCertificatesPresented) => format!("{other} shows no certificate"),
        Some(Error::InvalidCertificate(wrong)) => {
            format!("{other}'s certificate {}", wrong_with(wrong))
        }
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired => {
                format!("{other} wants to be shown a certificate")
            }
            AlertDescription::CertificateExpired => {
                format!("{other} does not take this side's certificate: it has expired")
            }
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                format!("{other} does not take this side's certificate: it is not of its CA")
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown => {
                format!("{other} does not take this side's certificate")
            }
            alert => format!("{other} ended the TLS handshake with {alert:?}"),
        },
        Some(Error::InvalidMessage(_)) => format!("{other} speaks no TLS there"),
        Some(error) => format!("no TLS with {other}: {error}"),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => {
                format!("{other} broke the TLS handshake off; its log may say why")
            }
            _ => format!("no TLS with {other}: {error}"),
        },
    }
}

fn wrong_with(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: compare the clocks".into()
        }
        // Another CA of the same name has another key, maybe of another kind.
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is not of the CA known here".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another name than the one dialled".into()
        }
        other => format!("is not good: {other}"),
    }
}
