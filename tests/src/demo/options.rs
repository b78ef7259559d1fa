//! The demo's command line.

use std::path::PathBuf;

use clap::Parser;

/// Runs kube-node-manager on this machine: a throwaway PostgreSQL, a simulated cluster and two pods
/// (api and relay each), on free ports of the loopback interface. Ctrl-C stops everything.
#[derive(Debug, Clone, Parser)]
#[command(name = "demo", version)]
pub struct Options {
    /// Pods, each an api and a relay
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(1..=9))]
    pub pods: u8,

    /// Nodes of the simulated cluster
    #[arg(long, value_name = "N", default_value_t = 200, conflicts_with = "kubeconfig")]
    pub nodes: usize,

    /// The least time that the simulated cluster takes for an answer; the most is twice that
    #[arg(long, value_name = "MS", default_value_t = 15, conflicts_with = "kubeconfig")]
    pub latency: u64,

    /// A real cluster instead of the simulated one
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// Context in the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,

    /// An existing database instead of a throwaway one: postgres://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,

    /// The built web UI (api/web/dist); without it the demo has no UI
    #[arg(long, value_name = "FOLDER")]
    pub web_dir: Option<PathBuf>,

    /// A Prometheus beside it, which scrapes the pods and evaluates the rules (Debian: prometheus)
    #[arg(long, conflicts_with = "smoke")]
    pub prometheus: bool,

    /// The rules that it evaluates
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "dashboards/rules",
        requires = "prometheus"
    )]
    pub rules: PathBuf,

    /// Run the main job once, check it, and end: a label task at one pod, watched through the other
    #[arg(long)]
    pub smoke: bool,

    /// The smoke test fails when the p99 from publish to receipt is not under this
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub max_latency: u64,

    /// Keep configuration and logs after the end
    #[arg(long)]
    pub keep: bool,

    /// Password of the user admin; needed where the database has one already [default: a random one]
    #[arg(long, env = "KNM_ADMIN_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub admin_password: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for bad in [
            &["--pods", "0"][..],
            &["--context", "x"],
            &["--kubeconfig", "k", "--nodes", "5"],
            &["--nodes", "-1"],
            &["--smoke", "--prometheus"],
        ] {
            let arguments = std::iter::once("demo").chain(bad.iter().copied());
            assert!(Options::try_parse_from(arguments).is_err(), "{bad:?}");
        }
    }
}
