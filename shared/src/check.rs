//! `knm-api check` and `knm-relay check`: tries a configuration out and says what it found, a line
//! for each step, without starting or changing anything.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use crate::config::env::{self, Lookup};
use crate::config::{self, Database, Loaded, NotifyType};
use crate::pg::{App, Connector, Target};

mod echo;
mod server;

use echo::Echo;
use server::{Facts, Session};

/// Pods of the installation that the operator's guide describes.
const REPLICAS: u32 = 3;

/// Who checks: each tries what it will need itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The api container.
    Api,
    /// The relay sidecar.
    Relay,
}

/// Checks the configuration at `path` (see [`config::load`]) and prints the steps to standard
/// output. Returns whether all is well enough to start; warnings do not count.
pub async fn run(path: Option<&Path>, component: Component) -> bool {
    run_with(path, component, &env::process, &mut std::io::stdout()).await
}

/// [`run`] with an environment and an output of one's own.
pub async fn run_with(
    path: Option<&Path>,
    component: Component,
    env: Lookup<'_>,
    out: &mut dyn Write,
) -> bool {
    let mut report = Report { out, sound: true };
    match config::load_with(path, env) {
        Ok(loaded) => {
            describe(&loaded, &mut report);
            connect_all(&loaded, component, &mut report).await;
        }
        Err(errors) => errors.faults().iter().for_each(|fault| report.fail(fault)),
    }
    report.sound
}

/// Writes the lines and remembers whether one of them was a failure. An output that cannot be
/// written to changes nothing: the exit code still tells.
struct Report<'a> {
    out: &'a mut dyn Write,
    sound: bool,
}

impl Report<'_> {
    fn ok(&mut self, line: impl Display) {
        let _ = writeln!(self.out, "ok    {line}");
    }

    fn warn(&mut self, line: impl Display) {
        let _ = writeln!(self.out, "warn  {line}");
    }

    fn fail(&mut self, line: impl Display) {
        self.sound = false;
        let _ = writeln!(self.out, "fail  {line}");
    }
}

fn describe(loaded: &Loaded, report: &mut Report<'_>) {
    let Loaded { source, sha, warnings, .. } = loaded;
    report.ok(format_args!("configuration from {source} is valid, sha256 {sha}"));
    warnings.iter().for_each(|warning| report.warn(warning));
}

async fn connect_all(loaded: &Loaded, component: Component, report: &mut Report<'_>) {
    let db = &loaded.config.database;
    let Some(pooled) = connect(db, Target::Pooled, report).await else {
        return;
    };
    let separate = (!db.direct_host.is_empty() && db.direct_host != db.host)
        || (db.direct_port != 0 && db.direct_port != db.port);
    let direct = match separate {
        true => connect(db, Target::Direct, report).await,
        false => None,
    };
    if separate && direct.is_none() {
        return;
    }
    // The real server's settings, where a pooler stands in front of it.
    match server::facts(direct.as_ref().unwrap_or(&pooled)).await {
        Ok(facts) => judge(&facts, db, component, report),
        Err(error) => report.fail(format_args!("the server does not answer a query: {error}")),
    }
    if component == Component::Relay {
        match loaded.config.progress.notify_type {
            NotifyType::Postgres => listen(db, &pooled, report).await,
            NotifyType::Polling => {
                report.ok("progress.notify_type is \"polling\": LISTEN is not needed");
            }
        }
    }
}

async fn connect(db: &Database, target: Target, report: &mut Report<'_>) -> Option<Session> {
    let opened = match Connector::new(db, App::Check, target) {
        Ok(connector) => connector.connect().await.map(|connected| (connector, connected)),
        Err(error) => Err(error),
    };
    match opened {
        Ok((connector, (client, connection))) => {
            report.ok(format_args!(
                "connected to PostgreSQL at host={} port={} dbname={} user={}",
                connector.host(),
                connector.port(),
                connector.database(),
                db.username,
            ));
            Some(Session::start(client, connection))
        }
        Err(error) => {
            report.fail(error);
            None
        }
    }
}

fn judge(facts: &Facts, db: &Database, component: Component, report: &mut Report<'_>) {
    let wanted = db.max_open_conns.saturating_mul(REPLICAS);
    if i64::from(wanted) > facts.available() {
        report.warn(format_args!(
            "{REPLICAS} replicas with database.max_open_conns {} may open {wanted} connections, and \
             the server has {} for this role; lower it to {} or raise max_connections ({})",
            db.max_open_conns,
            facts.available(),
            facts.available() / i64::from(REPLICAS),
            facts.max_connections,
        ));
    } else {
        report.ok(format_args!(
            "{REPLICAS} replicas need at most {wanted} of the server's {} connections",
            facts.available()
        ));
    }
    if facts.synchronous_commit == "off" {
        report.warn(
            "synchronous_commit is off: a crash of the server may lose progress that was already \
             reported; set it to on for this database",
        );
    }
    if component == Component::Api && !facts.may_create {
        report.warn(format_args!(
            "user {} may not create tables here, which migrations need: GRANT CREATE ON SCHEMA \
             public TO {0}",
            db.username
        ));
    }
}

async fn listen(db: &Database, sender: &Session, report: &mut Report<'_>) {
    let connector = match Connector::new(db, App::Check, Target::Direct) {
        Ok(connector) => connector,
        Err(error) => return report.fail(error),
    };
    match echo::try_out(&connector, sender).await {
        Ok(Echo::Heard(after)) => report.ok(format_args!(
            "LISTEN works: a notification from another connection came back after {:.1} ms",
            after.as_secs_f64() * 1e3
        )),
        Ok(Echo::Lost) => report.fail(connector.pooler_found()),
        Err(echo::EchoError::Connect(error)) => report.fail(error),
        Err(echo::EchoError::Query(error)) => {
            report.fail(format_args!("LISTEN or NOTIFY was refused: {error}"));
        }
    }
}
