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

use native_tls::{Certificate, Protocol, TlsConnector};
use postgres_native_tls::MakeTlsConnector;

use crate::config::{Database, SslMode};

/// A connector that checks what the mode asks for.
///
/// # Errors
/// A message for people when the root certificate is of no use.
pub(super) fn connector(db: &Database) -> Result<MakeTlsConnector, String> {
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
