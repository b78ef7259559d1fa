//! TLS in the process: what it changes in answers, and what happens when its files change.

use std::path::Path;

use knm_api::http::tls::{Files, Tls, TlsError};
use knm_shared::session::Role;
use knm_tests::scratch;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Options, PASSWORD, TestApp, until};

/// A self-signed certificate for `localhost` and its key, as PEM.
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    /// With a key as most tools write it: SEC 1.
    fn ec() -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        let key = EcKey::generate(&group).expect("a key");
        let pem = key.private_key_to_pem().expect("PEM");
        Self::of(&PKey::from_ec_key(key).expect("a key"), pem)
    }

    /// With a key as cert-manager writes it: PKCS#1.
    fn rsa() -> Self {
        let key = Rsa::generate(2048).expect("a key");
        let pem = key.private_key_to_pem().expect("PEM");
        Self::of(&PKey::from_rsa(key).expect("a key"), pem)
    }

    fn of(key: &PKey<openssl::pkey::Private>, pem: Vec<u8>) -> Self {
        let mut name = X509NameBuilder::new().expect("a name");
        name.append_entry_by_text("CN", "localhost").expect("a name");
        let name = name.build();
        let mut cert = X509::builder().expect("a certificate");
        cert.set_version(2).expect("3");
        cert.set_subject_name(&name).expect("a name");
        cert.set_issuer_name(&name).expect("a name");
        cert.set_pubkey(key).expect("a key");
        cert.set_not_before(&Asn1Time::days_from_now(0).expect("now")).expect("now");
        cert.set_not_after(&Asn1Time::days_from_now(1).expect("later")).expect("later");
        let names =
            SubjectAlternativeName::new().dns("localhost").build(&cert.x509v3_context(None, None));
        cert.append_extension(names.expect("names")).expect("names");
        cert.sign(key, MessageDigest::sha256()).expect("signed");
        Self { cert: cert.build().to_pem().expect("PEM"), key: pem }
    }

    fn write(&self, folder: &Path) -> Files {
        let files = Files { cert: folder.join("tls.crt"), key: folder.join("tls.key") };
        std::fs::write(&files.cert, &self.cert).expect("written");
        std::fs::write(&files.key, &self.key).expect("written");
        files
    }

    /// Whether a server at this address shows this certificate; sends a request if it does.
    async fn ask(&self, app: &TestApp, request: &str) -> Option<String> {
        let root = native_tls::Certificate::from_pem(&self.cert).expect("a certificate");
        let mut connector = native_tls::TlsConnector::builder();
        connector.disable_built_in_roots(true).add_root_certificate(root);
        let connector = tokio_native_tls::TlsConnector::from(connector.build().expect("a client"));
        let stream = TcpStream::connect(app.address).await.expect("connects");
        let mut stream = connector.connect("localhost", stream).await.ok()?;
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered and closed");
        Some(String::from_utf8_lossy(&answer).into_owned())
    }
}

const META: &str = "GET /api/v1/meta HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_browser_that_comes_over_tls_is_kept_there() {
    let (folder, pair) = (scratch::dir("tls").expect("a folder"), Pair::ec());
    let tls = Some(Tls::load(pair.write(&folder)).expect("a pair"));
    let app = TestApp::start_with(Options { tls, ..Options::default() }).await;
    app.account("jane", Role::Viewer).await;
    let answer = pair.ask(&app, META).await.expect("its certificate");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");

    let body = json!({"username": "jane", "password": PASSWORD}).to_string();
    let login = |origin: &str| {
        format!(
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = pair.ask(&app, &login("https://localhost")).await.expect("its certificate");
    assert!(answer.contains("; SameSite=Strict; Secure"), "{answer}");
    let answer = pair.ask(&app, &login("http://localhost")).await.expect("its certificate");
    assert!(answer.starts_with("HTTP/1.1 403"), "a page in plain text is another: {answer}");

    let mut plain = TcpStream::connect(app.address).await.expect("connects");
    plain.write_all(META.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("kube-node-manager"), "{answer}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
    let folder = scratch::dir("tls").expect("a folder");
    let (first, second) = (Pair::ec(), Pair::rsa());
    let files = first.write(&folder);
    let tls = Some(Tls::load(files.clone()).expect("a pair"));
    let app = TestApp::start_with(Options { tls, ..Options::default() }).await;
    assert!(first.ask(&app, META).await.is_some());
    assert!(second.ask(&app, META).await.is_none());

    // Half of it first, as it is when two files are copied.
    std::fs::write(&files.cert, &second.cert).expect("written");
    assert!(matches!(Tls::load(files.clone()), Err(TlsError::Mismatch(..))));
    assert!(first.ask(&app, META).await.is_some());
    std::fs::write(&files.key, &second.key).expect("written");
    until("the new one is shown", async || second.ask(&app, META).await.is_some()).await;
    assert!(first.ask(&app, META).await.is_none());
}

#[test]
fn what_is_no_pair_is_refused_with_the_name_of_the_file() {
    let folder = scratch::dir("tls").expect("a folder");
    let (pair, other) = (Pair::ec(), Pair::ec());
    let with = |cert: &[u8], key: &[u8]| {
        let files = Pair { cert: cert.to_vec(), key: key.to_vec() }.write(&folder);
        Tls::load(files).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(with(&pair.cert, &pair.key), "");
    assert!(with(b"", &pair.key).contains("tls.crt"));
    assert!(with(b"rubbish", &pair.key).contains("tls.crt"));
    assert!(with(&pair.cert, b"rubbish").contains("tls.key"));
    assert!(with(&pair.cert, &pair.cert).contains("tls.key"));
    assert!(with(&pair.cert, &other.key).contains("is not the key of the certificate"));
    // Nobody is asked for a passphrase.
    let key = PKey::private_key_from_pem(&pair.key).expect("a key");
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let locked = key.private_key_to_pem_pkcs8_passphrase(cipher, b"x").expect("PEM");
    assert!(with(&pair.cert, &locked).contains("without a passphrase"));
    let missing = Files { cert: folder.join("no"), key: folder.join("no") };
    assert!(matches!(Tls::load(missing), Err(TlsError::Unreadable(..))));
}
