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
pub use pods::{Leaving, Pods, Right};

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
    Ok(config)
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
    http.set_keepalive(Some(Duration::from_secs(20)));
    let connector = config.openssl_https_connector_with_connector(http)?;
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
