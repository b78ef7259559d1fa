//! TLS in the process: a certificate and its key from files, read again when they change, so that a
//! renewed certificate needs no restart. While the new ones do not fit together the old ones serve on.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use native_tls::{Identity, Protocol};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use tokio::net::TcpStream;
use tokio_native_tls::{TlsAcceptor, TlsStream};

/// How often the files are looked at. The kubelet needs a minute to bring a changed Secret.
const LOOK: Duration = Duration::from_secs(5);

/// Why there is no certificate to serve with. The messages name the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(String, String),
    /// It holds no certificate.
    #[error("{0} is no certificate (PEM): {1}")]
    Certificate(String, String),
    /// It holds no key that can be used without a passphrase.
    #[error("{0} is no private key (PEM, without a passphrase): {1}")]
    Key(String, String),
    /// They do not belong together.
    #[error("{1} is not the key of the certificate in {0}")]
    Mismatch(String, String),
}

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The two files' content.
#[derive(Clone, PartialEq, Eq)]
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// What encrypts connections. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: Files,
    acceptor: Arc<RwLock<TlsAcceptor>>,
    loaded: Pem,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let loaded = files.read()?;
        let acceptor = files.acceptor(&loaded)?;
        Ok(Self { files, acceptor: Arc::new(RwLock::new(acceptor)), loaded })
    }

    /// Encrypts a connection.
    ///
    /// # Errors
    /// When the other end does not speak TLS as we do.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        acceptor.accept(stream).await.map_err(io::Error::other)
    }

    /// Reads the files again whenever they have changed. Connections that are open keep what they have.
    pub async fn watch(mut self) -> Infallible {
        let mut complaint = None;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.look() {
                Ok(false) => {}
                Ok(true) => {
                    complaint = None;
                    tracing::info!(cert = %self.files.cert.display(), "the certificate has changed");
                }
                Err(error) if complaint.as_ref() != Some(&error) => {
                    tracing::error!(%error, "the changed certificate is of no use; the old one stays");
                    complaint = Some(error);
                }
                Err(_) => {}
            }
        }
    }

    /// Whether there was something new.
    fn look(&mut self) -> Result<bool, TlsError> {
        let found = self.files.read()?;
        if found == self.loaded {
            return Ok(false);
        }
        let acceptor = self.files.acceptor(&found)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        self.loaded = found;
        Ok(true)
    }
}

impl Files {
    fn read(&self) -> Result<Pem, TlsError> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|e| TlsError::Unreadable(path.display().to_string(), e.to_string()))
        };
        Ok(Pem { cert: read(&self.cert)?, key: read(&self.key)? })
    }

    fn acceptor(&self, pem: &Pem) -> Result<TlsAcceptor, TlsError> {
        let (cert, key) = (self.cert.display().to_string(), self.key.display().to_string());
        let bad_cert = |e: String| TlsError::Certificate(cert.clone(), e);
        let chain = X509::stack_from_pem(&pem.cert).map_err(|e| bad_cert(e.to_string()))?;
        let own = chain.first().ok_or_else(|| bad_cert("it is empty".into()))?;
        let bad_key = |e: ErrorStack| TlsError::Key(key.clone(), e.to_string());
        // Without the callback, OpenSSL would ask for a passphrase on a terminal.
        let private: PKey<Private> =
            PKey::private_key_from_pem_callback(&pem.key, |_| Err(ErrorStack::get()))
                .map_err(bad_key)?;
        let public = own.public_key().map_err(|e| bad_cert(e.to_string()))?;
        if !public.public_eq(&private) {
            return Err(TlsError::Mismatch(cert, key));
        }
        // Keys come as PKCS#1, SEC 1 or PKCS#8; native-tls takes the last.
        let pkcs8 = private.private_key_to_pem_pkcs8().map_err(bad_key)?;
        let identity =
            Identity::from_pkcs8(&pem.cert, &pkcs8).map_err(|e| bad_cert(e.to_string()))?;
        let acceptor = native_tls::TlsAcceptor::builder(identity)
            .min_protocol_version(Some(Protocol::Tlsv12))
            .build()
            .map_err(|e| bad_cert(e.to_string()))?;
        Ok(acceptor.into())
    }
}
