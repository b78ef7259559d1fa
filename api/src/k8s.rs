//! The way to the Kubernetes API: one client, whose innermost layer is the lease.
//!
//! kube's own stack is not used as it comes: it retries by itself, which a fenced write must not, and
//! its layers end outside of where the last check has to stand.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::ServiceBuilder;

mod calls;
mod fence;
mod gate;
mod nodes;
mod outcome;
mod pods;

pub use calls::{Terms, VERBS};
pub use fence::Fenced;
pub use gate::{Gate, Pass};
pub use nodes::Nodes;
pub use outcome::{CallError, Refusal};
pub use pods::{Leaving, Pages, Pods, Right};

/// Recorded with every write; shows up in `managedFields`.
const FIELD_MANAGER: &str = "kube-node-manager";

/// Whether a write is only tried: the API server checks it and stores nothing
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRun {
    /// Nothing changes.
    Yes,
    /// It counts.
    No,
}

impl From<bool> for DryRun {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// A configured cluster that cannot be used as it stands.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The kubeconfig file.
    #[error("kubernetes.kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a service account.
    #[error(
        "no cluster to manage: set kubernetes.kubeconfig or KUBECONFIG, or run in a Pod with a \
         service account ({0})"
    )]
    Infer(#[from] kube::config::InferConfigError),
    /// Certificates, tokens.
    #[error("cluster credentials: {0}")]
    Client(#[from] kube::Error),
}

/// Reads where the default cluster is: the configured kubeconfig, else `KUBECONFIG`, else the pod's
/// service account.
///
/// # Errors
/// [`ClusterError`] when none of them can be read.
pub async fn config(settings: &knm_shared::config::Kubernetes) -> Result<Config, ClusterError> {
    let context = Some(settings.context.clone()).filter(|c| !c.is_empty());
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let config = if !settings.kubeconfig.as_os_str().is_empty() {
        let file = Kubeconfig::read_from(&settings.kubeconfig)?;
        Config::from_custom_kubeconfig(file, &options).await?
    } else if options.context.is_some() {
        Config::from_kubeconfig(&options).await?
    } else {
        Config::infer().await?
    };
    if config.proxy_url.is_some() {
        tracing::warn!(
            "the kubeconfig's or environment's proxy is not used: the API server is asked directly"
        );
    }
    Ok(config)
}

/// The name or address that the API server's certificate has to be for: of an IPv6 address in a URL, without
/// the brackets.
fn verifying(config: &Config) -> Config {
    let mut config = config.clone();
    let host = config.cluster_url.host().unwrap_or_default();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let (None, Some(address)) = (&config.tls_server_name, address) {
        config.tls_server_name = Some(address.to_owned());
    }
    config
}

/// A client for that cluster. Calls that carry a [`Fenced`] lease are refused once it has run out.
///
/// # Errors
/// [`ClusterError::Client`] when certificates or tokens cannot be used.
pub fn client(config: &Config) -> Result<Client, ClusterError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(Duration::from_secs(5)));
    // A watch may be silent for minutes: a connection that is dead has to be found out before what memory
    // shows is taken for the cluster's state.
    http.set_keepalive(Some(Duration::from_secs(20)));
    http.set_keepalive_interval(Some(Duration::from_secs(5)));
    http.set_keepalive_retries(Some(3));
    http.set_tcp_user_timeout(Some(Duration::from_secs(30)));
    let connector = verifying(config).openssl_https_connector_with_connector(http)?;
    let transport = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .layer(fence::FenceLayer)
        .service(transport);
    Ok(Client::new(service, config.default_namespace.clone()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use openssl::asn1::Asn1Time;
    use openssl::hash::MessageDigest;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::Rsa;
    use openssl::ssl::{SslAcceptor, SslMethod};
    use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
    use openssl::x509::{X509, X509Name};

    use super::*;

    /// A certificate for an address alone, signed by itself.
    fn certificate(address: &str) -> (X509, PKey<Private>) {
        let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
        let mut name = X509Name::builder().expect("a name");
        name.append_entry_by_text("CN", "kube-apiserver").expect("a name");
        let name = name.build();
        let mut made = X509::builder().expect("a certificate");
        made.set_version(2).expect("version 3");
        made.set_subject_name(&name).expect("subject");
        made.set_issuer_name(&name).expect("issuer");
        made.set_pubkey(&key).expect("key");
        made.set_not_before(&Asn1Time::days_from_now(0).expect("a time")).expect("from");
        made.set_not_after(&Asn1Time::days_from_now(1).expect("a time")).expect("to");
        let context = made.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().ip(address).build(&context).expect("names");
        made.append_extension(names).expect("names");
        let ca = BasicConstraints::new().ca().build().expect("constraints");
        made.append_extension(ca).expect("constraints");
        made.sign(&key, MessageDigest::sha256()).expect("signed");
        (made.build(), key)
    }

    async fn asks_version_of(address: &str, certified: &str) -> Result<(), kube::Error> {
        let (certificate, key) = certificate(certified);
        let mut acceptor =
            SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).expect("an acceptor");
        acceptor.set_private_key(&key).expect("key");
        acceptor.set_certificate(&certificate).expect("certificate");
        let acceptor = acceptor.build();
        let listener = TcpListener::bind((address, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else { return };
            let Ok(mut stream) = acceptor.accept(stream) else { return };
            let _ = stream.read(&mut [0; 4096]);
            let body = r#"{"major":"1","minor":"30","gitVersion":"v1.30.0","gitCommit":"","gitTreeState":"",
                "buildDate":"","goVersion":"","compiler":"","platform":""}"#;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        });
        let host = if address.contains(':') { format!("[{address}]") } else { address.into() };
        let mut config = Config::new(format!("https://{host}:{port}").parse().expect("a URL"));
        config.root_cert = Some(vec![certificate.to_der().expect("a certificate")]);
        let client = client(&config).expect("a client");
        client.apiserver_version().await.map(drop)
    }

    #[tokio::test]
    async fn an_address_is_verified_as_the_one_of_the_certificate() {
        asks_version_of("127.0.0.1", "127.0.0.1").await.expect("verified");
        asks_version_of("127.0.0.1", "127.0.0.2").await.expect_err("another address");
        // Where this machine has IPv6.
        if TcpListener::bind(("::1", 0)).is_ok() {
            asks_version_of("::1", "::1").await.expect("verified");
            asks_version_of("::1", "::2").await.expect_err("another address");
        }
    }

    #[test]
    fn what_a_kubeconfig_says_of_the_name_counts() {
        let named = |url: &str, name: Option<&str>| {
            let mut config = Config::new(url.parse().expect("a URL"));
            config.tls_server_name = name.map(str::to_owned);
            verifying(&config).tls_server_name
        };
        assert_eq!(named("https://[fd00::1]:443", None).as_deref(), Some("fd00::1"));
        assert_eq!(named("https://[fd00::1]:443", Some("api")).as_deref(), Some("api"));
        assert_eq!(named("https://10.0.0.1:443", None), None);
        assert_eq!(named("https://api.example.com", None), None);
    }
}
