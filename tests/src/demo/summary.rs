//! What is where.

use std::fmt::Write as _;

use super::stage::{Kubernetes, Stage, USER};
use crate::scratch;

/// Everything that a person needs to look around.
pub(super) fn of(stage: &Stage) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line("\nkube-node-manager is running. Ctrl-C stops everything.\n".into());
    for pod in &stage.pods {
        let ws = pod.relay.address();
        let ui = if stage.has_ui { " (web UI)" } else { "" };
        line(format!("  {}  api    http://{}{ui}", pod.name(), pod.api.address()));
        line(format!("         admin  http://{}/metrics", pod.api.admin_address()));
        line(format!("         relay  ws://{ws}/api/v1/progress/ws"));
        line(format!("         admin  http://{}/metrics", pod.relay.admin_address()));
        let logs = pod.api.log().path().parent().map(|p| p.display().to_string());
        line(format!("         logs   {}\n", logs.unwrap_or_default()));
    }
    line(format!("  user         {USER}"));
    line(format!("  password     {}", stage.password));
    line(format!("  PostgreSQL   psql {}", psql(stage)));
    line(format!("  Kubernetes   {}", kubectl(&stage.kubernetes)));
    if let Some(prometheus) = &stage.prometheus {
        line(format!("  Prometheus   http://{}/alerts", prometheus.address()));
    }
    if let Ok(root) = scratch::root() {
        let fate = if scratch::keep() { "kept" } else { "removed at the end" };
        line(format!("  folder       {} ({fate})", root.display()));
    }
    out
}

fn psql(stage: &Stage) -> String {
    let (server, database) = (stage.database.server(), stage.database.name());
    if stage.throwaway() {
        return server.url(database);
    }
    // The password that somebody else chose does not belong on a screen.
    format!("-h {} -p {} -U {} {database}", server.host(), server.port(), server.user())
}

fn kubectl(kubernetes: &Kubernetes) -> String {
    match kubernetes {
        Kubernetes::Simulated(sim) => format!("kubectl --server={} get nodes", sim.url()),
        Kubernetes::Real { kubeconfig, context } => {
            let context =
                if context.is_empty() { String::new() } else { format!(" --context={context}") };
            format!("kubectl --kubeconfig={}{context} get nodes", kubeconfig.display())
        }
    }
}
