//! Keys that belong to Kubernetes itself.

/// Domains whose keys the kubelet, the scheduler and controllers read and rewrite, with every
/// subdomain of them (<https://kubernetes.io/docs/reference/labels-annotations-taints/>).
const DOMAINS: [&str; 2] = ["kubernetes.io", "k8s.io"];

/// Whether a label, annotation or taint key belongs to Kubernetes itself.
#[must_use]
pub(super) fn is_protected(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else {
        return false;
    };
    DOMAINS.iter().any(|domain| {
        prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_and_its_subdomains_and_nothing_that_only_looks_like_them() {
        for key in ["kubernetes.io/hostname", "node.kubernetes.io/x", "a.k8s.io/x", "k8s.io/x"] {
            assert!(is_protected(key), "{key}");
        }
        for key in ["team", "kubernetes.io", "example.com/x", "notkubernetes.io/x", "myk8s.io/x"] {
            assert!(!is_protected(key), "{key}");
        }
    }
}
