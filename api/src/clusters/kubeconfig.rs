//! kubeconfigs that users hand in: only what is a server and credentials by themselves. One that would
//! run a program or read a file does so in this process, with this process' rights.

use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedAuthInfo,
    NamedCluster, NamedContext,
};

use crate::causes;
use crate::k8s::{self, ClusterError};

/// Largest text (octets).
const MAX: usize = 128 * 1024;
/// The only name in what is stored.
const NAME: &str = "stored";

/// A kubeconfig that may be used.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The API server.
    pub server: String,
    /// The chosen context's cluster and user, and nothing else, as JSON.
    pub text: String,
}

/// Why a kubeconfig is refused: which field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Refused {
    /// `kubeconfig`, with the path in it; or `context`.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

fn refused(field: impl Into<String>, message: impl Into<String>) -> Refused {
    Refused { field: field.into(), message: message.into() }
}

/// Reads, checks and reduces a kubeconfig.
///
/// # Errors
/// [`Refused`]
pub(super) fn accept(text: &str, context: Option<&str>) -> Result<Accepted, Refused> {
    if text.len() > MAX {
        return Err(refused("kubeconfig", format!("must be no more than {MAX} bytes")));
    }
    let file = Kubeconfig::from_yaml(text).map_err(|error| unreadable(&error))?;
    let (cluster, user, namespace) = chosen(file, context)?;
    check_cluster(&cluster)?;
    check_user(&user)?;
    let server = cluster.server.clone().unwrap_or_default();
    let context =
        Context { cluster: NAME.into(), user: Some(NAME.into()), namespace, ..Context::default() };
    let name = || NAME.to_owned();
    let reduced = Kubeconfig {
        current_context: Some(name()),
        clusters: vec![NamedCluster {
            name: name(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name(),
            context: Some(context),
            ..NamedContext::default()
        }],
        ..Kubeconfig::default()
    };
    let text = serde_json::to_string(&reduced)
        .map_err(|error| refused("kubeconfig", format!("cannot be stored: {error}")))?;
    Ok(Accepted { server, text })
}

/// The parser quotes the text, with whatever secret is there: only the place is told.
fn unreadable(error: &KubeconfigError) -> Refused {
    let place = match error {
        KubeconfigError::Parse(error) => error.location(),
        _ => None,
    };
    let message = match place {
        Some(at) => {
            format!(
                "is not valid at line {} column {} (kubectl config view)",
                at.line(),
                at.column()
            )
        }
        None => "is not valid (kubectl config view)".to_owned(),
    };
    refused("kubeconfig", message)
}

/// What a stored kubeconfig leads to.
///
/// # Errors
/// [`ClusterError`] when credentials in it cannot be used.
pub(super) async fn config(stored: &str) -> Result<kube::Config, ClusterError> {
    let file = Kubeconfig::from_yaml(stored)?;
    Ok(kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
}

/// Whether a client can be made of it: certificates and keys are only read then.
///
/// # Errors
/// [`Refused`]
pub(super) async fn try_out(accepted: &Accepted) -> Result<(), Refused> {
    let made = async { k8s::client(&config(&accepted.text).await?).map(drop) };
    made.await.map_err(|error| refused("kubeconfig", causes::text(&error)))
}

fn chosen(
    file: Kubeconfig,
    context: Option<&str>,
) -> Result<(Cluster, AuthInfo, Option<String>), Refused> {
    let name = match (context, file.current_context) {
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) if !name.is_empty() => name,
        _ => return Err(refused("context", "the kubeconfig has no current context: name one")),
    };
    let mut contexts = file.contexts.into_iter();
    let context = contexts
        .find(|c| c.name == name)
        .and_then(|c| c.context)
        .ok_or_else(|| refused("context", format!("the kubeconfig has no context {name:?}")))?;
    let missing = |what: &str, name: &str| {
        refused("kubeconfig", format!("there is no {what} {name:?}, which the context names"))
    };
    let mut clusters = file.clusters.into_iter();
    let cluster = clusters
        .find(|c| c.name == context.cluster)
        .and_then(|c| c.cluster)
        .ok_or_else(|| missing("cluster", &context.cluster))?;
    let user = match &context.user {
        None => AuthInfo::default(),
        Some(name) => {
            let mut users = file.auth_infos.into_iter();
            let user = users.find(|u| u.name == *name).ok_or_else(|| missing("user", name))?;
            user.auth_info.unwrap_or_default()
        }
    };
    Ok((cluster, user, context.namespace))
}

fn check_cluster(cluster: &Cluster) -> Result<(), Refused> {
    let server = cluster.server.as_deref().unwrap_or_default();
    let uri: Option<http::Uri> = server.parse().ok();
    let usable = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some()
    });
    if !usable {
        return Err(refused("kubeconfig.cluster.server", "must be an http or https URL"));
    }
    // Everyone who reads the cluster sees it.
    if server.contains('@') {
        let message = "must not contain a user or a password; put them under user";
        return Err(refused("kubeconfig.cluster.server", message));
    }
    if cluster.certificate_authority.is_some() {
        return Err(file_read("cluster.certificate-authority", "certificate-authority-data"));
    }
    if cluster.proxy_url.is_some() {
        return Err(refused("kubeconfig.cluster.proxy-url", "proxies are not supported"));
    }
    Ok(())
}

fn check_user(user: &AuthInfo) -> Result<(), Refused> {
    if user.exec.is_some() {
        let message = "would run a program here; use a token or a client certificate";
        return Err(refused("kubeconfig.user.exec", message));
    }
    if user.auth_provider.is_some() {
        let message = "is not supported; use a token or a client certificate";
        return Err(refused("kubeconfig.user.auth-provider", message));
    }
    for (key, is_set, instead) in [
        ("user.tokenFile", user.token_file.is_some(), "token"),
        ("user.client-certificate", user.client_certificate.is_some(), "client-certificate-data"),
        ("user.client-key", user.client_key.is_some(), "client-key-data"),
    ] {
        if is_set {
            return Err(file_read(key, instead));
        }
    }
    Ok(())
}

fn file_read(key: &str, instead: &str) -> Refused {
    refused(
        format!("kubeconfig.{key}"),
        format!("would read a file here; use {instead} (kubectl config view --flatten --minify)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(cluster: &str, user: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: a, contexts: [{{name: a, context: \
             {{cluster: c, user: u}}}}, {{name: b, context: {{cluster: gone}}}}], clusters: \
             [{{name: c, cluster: {cluster}}}], users: [{{name: u, user: {user}}}, {{name: other, \
             user: {{token: not-to-be-kept}}}}]}}"
        )
    }

    const SERVER: &str = "{server: 'https://k8s.example.com:6443'}";

    #[tokio::test]
    async fn only_the_chosen_context_is_kept_with_its_secrets() {
        let accepted = accept(&yaml(SERVER, "{token: t0ken}"), None).expect("fine");
        assert_eq!(accepted.server, "https://k8s.example.com:6443");
        assert!(accepted.text.contains("t0ken") && !accepted.text.contains("not-to-be-kept"));
        let config = config(&accepted.text).await.expect("can be read again");
        assert_eq!(config.cluster_url.to_string(), "https://k8s.example.com:6443/");
        assert!(config.auth_info.token.is_some());
    }

    #[test]
    fn what_would_run_a_program_or_read_a_file_is_refused_by_name() {
        for (cluster, user, field) in [
            (
                SERVER,
                "{exec: {command: sh, apiVersion: client.authentication.k8s.io/v1}}",
                "user.exec",
            ),
            (SERVER, "{auth-provider: {name: gcp, config: {}}}", "user.auth-provider"),
            (SERVER, "{tokenFile: /etc/passwd}", "user.tokenFile"),
            (SERVER, "{client-certificate: /a}", "user.client-certificate"),
            (SERVER, "{client-key: /a}", "user.client-key"),
            (
                "{server: 'https://a', certificate-authority: /a}",
                "{}",
                "cluster.certificate-authority",
            ),
            ("{server: 'https://a', proxy-url: 'http://b'}", "{}", "cluster.proxy-url"),
            ("{server: 'file:///etc/passwd'}", "{}", "cluster.server"),
            ("{}", "{}", "cluster.server"),
            ("{server: 'https://jane:s3cr3t@a'}", "{}", "cluster.server"),
        ] {
            let refused = accept(&yaml(cluster, user), None).err().map(|r| r.field);
            assert_eq!(refused, Some(format!("kubeconfig.{field}")), "{cluster} {user}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_quoted() {
        for (cluster, user) in [
            (SERVER, "s3cr3t"),
            (SERVER, "{token: [s3cr3t]}"),
            (SERVER, "{token: {a: s3cr3t}}"),
            (SERVER, "{token: s3cr3t, token: s3cr3t}"),
            (SERVER, "{token: *s3cr3t}"),
            ("{server: 'https://a', insecure-skip-tls-verify: s3cr3t}", "{}"),
            ("{server: 'https://jane:s3cr3t@a'}", "{}"),
        ] {
            let refused = accept(&yaml(cluster, user), None).err().expect("cannot be read");
            assert!(!refused.to_string().contains("s3cr3t"), "{refused}");
        }
    }

    #[test]
    fn texts_that_are_no_kubeconfig_are_refused() {
        let field = |text: &str, context| accept(text, context).err().map(|r| r.field);
        let good = yaml(SERVER, "{}");
        assert_eq!(field("{", None).as_deref(), Some("kubeconfig"));
        assert_eq!(field("a: &a [*a]", None).as_deref(), Some("kubeconfig"));
        assert_eq!(field("{}", None).as_deref(), Some("context"));
        assert_eq!(field(&good, Some("c")).as_deref(), Some("context"));
        assert_eq!(field(&good, Some("b")).as_deref(), Some("kubeconfig"));
        assert_eq!(field(&" ".repeat(MAX + 1), None).as_deref(), Some("kubeconfig"));
    }
}
