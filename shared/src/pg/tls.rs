//! `database.ssl_mode` with libpq's meanings, by native-tls.
//!
//! | mode | encrypted | certificate from a trusted CA | names the host |
//! |---|---|---|---|
//! | disable | no | | |
//! | prefer | when possible | no | no |
//! | require | yes | only when `ssl_root_cert` is set | no |
//! | verify-ca | yes | yes | no |
//! | verify-full | yes | yes | yes |
//!
//! <https://www.postgresql.org/docs/15/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS>

use std::pin::Pin;

use native_tls::{Certificate, Protocol, TlsConnector};
use postgres_native_tls::{MakeTlsConnector, TlsStream};
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use crate::config::{Database, SslMode};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// TLS where the mode has any. Where it has none nothing is set up: OpenSSL takes megabytes only to begin, of
/// which the relay would never use a byte.
#[derive(Clone)]
pub(super) struct Tls(Option<MakeTlsConnector>);

impl Tls {
    /// That checks what the mode asks for.
    ///
    /// # Errors
    /// A message for people when the root certificate is of no use.
    pub(super) fn new(db: &Database) -> Result<Self, String> {
        match db.ssl_mode {
            SslMode::Disable => Ok(Self(None)),
            _ => connector(db).map(|connector| Self(Some(connector))),
        }
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = TlsStream<Socket>;
    type TlsConnect = Handshake;
    type Error = BoxError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, BoxError> {
        let connector = self.0.as_mut();
        Ok(Handshake(match connector {
            Some(maker) => Some(MakeTlsConnect::<Socket>::make_tls_connect(maker, domain)?),
            None => None,
        }))
    }
}

/// The handshake of one connection.
pub(super) struct Handshake(Option<postgres_native_tls::TlsConnector>);

impl TlsConnect<Socket> for Handshake {
    type Stream = TlsStream<Socket>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, BoxError>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let connector = self.0.ok_or("database.ssl_mode is disable")?;
            Ok(connector.connect(socket).await?)
        })
    }
}

fn connector(db: &Database) -> Result<MakeTlsConnector, String> {
    let rooted = !db.ssl_root_cert.as_os_str().is_empty();
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    let check_issuer = match db.ssl_mode {
        SslMode::Disable | SslMode::Prefer => false,
        SslMode::Require => rooted,
        SslMode::VerifyCa | SslMode::VerifyFull => true,
    };
    builder.danger_accept_invalid_certs(!check_issuer);
    builder.danger_accept_invalid_hostnames(db.ssl_mode != SslMode::VerifyFull);
    if check_issuer && rooted {
        for certificate in root_certificates(db)? {
            builder.add_root_certificate(certificate);
        }
    }
    // The system's certificates take megabytes, and where nothing is checked they check nothing.
    builder.disable_built_in_roots(rooted || !check_issuer);
    builder.build().map(MakeTlsConnector::new).map_err(|e| format!("TLS cannot be set up: {e}"))
}

fn root_certificates(db: &Database) -> Result<Vec<Certificate>, String> {
    let path = db.ssl_root_cert.display();
    let pem =
        std::fs::read(&db.ssl_root_cert).map_err(|e| format!("{path} cannot be read: {e}"))?;
    match Certificate::stack_from_pem(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{path} contains no certificate (PEM)")),
        Err(e) => Err(format!("{path} is no certificate (PEM): {e}")),
    }
}

/// What tokio-postgres must do with the connector.
pub(super) const fn negotiation(mode: SslMode) -> tokio_postgres::config::SslMode {
    use tokio_postgres::config::SslMode as Wire;
    match mode {
        SslMode::Disable => Wire::Disable,
        SslMode::Prefer => Wire::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Wire::Require,
    }
}
