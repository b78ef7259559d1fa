//! The command line.

mod secret;

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use knm_shared::check::{self, Component};
use knm_shared::config::{self, Loaded, env};
use knm_shared::pg::{App, Connector, Reporter, Target};
use knm_shared::phrases;
use knm_shared::session::Role;
use knm_shared::telemetry::{self, Recent};

use crate::auth::{Passwords, check_password, check_username};
use crate::db::migrate::{MigrateError, Migration};
use crate::db::users::NewAccount;
use crate::routes::ui::Ui;
use crate::{app, causes, openapi, support};

/// REST API, web UI, task execution and progress writing of kube-node-manager
#[derive(Parser)]
#[command(name = "knm-api", version, about, propagate_version = true)]
struct Cli {
    /// Configuration file [default: KNM_CONFIG, else /etc/kube-node-manager/config.yaml]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Migrate the database and serve (the default)
    Serve,
    /// Try the configuration and the connection out, and say what was found
    ///
    /// Changes nothing. Exits with 1 when the process could not start with it.
    Check,
    /// Bring the database's schema up to date
    ///
    /// Serving does that too. Safe to run at any time and by several at once.
    Migrate {
        /// Rename tables of another program that are in the way to legacy_…
        #[arg(long)]
        adopt: bool,
        /// Afterwards, let this role serve: it gets every right that takes, and no other
        ///
        /// For a database whose tables belong to another role than the one that knm-api and knm-relay
        /// connect as. That role can add to the audit log but not change it.
        #[arg(long, value_name = "ROLE")]
        grant_to: Option<String>,
        /// End well also while the database is away or busy
        ///
        /// For an init container: serving migrates too, and waits for the database where everybody can see
        /// what it waits for.
        #[arg(long)]
        best_effort: bool,
    },
    /// Manage accounts
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Print the API's OpenAPI document
    Openapi,
    /// Write what support needs into one archive (tar)
    ///
    /// Versions, configuration, states, metrics of both programs of this pod, the database's view, recent
    /// errors. No secrets, no parameters of tasks; names of nodes where they failed.
    SupportBundle {
        /// Where to [default: standard output, unless that is a terminal]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Create an administrator
    ///
    /// The password comes from KNM_ADMIN_PASSWORD, else from standard input: a prompt on a terminal,
    /// else the first line.
    Create {
        /// The name to sign in with
        #[arg(long)]
        username: String,
    },
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    // On the heap: the future of a whole process is large.
    let outcome = runtime.block_on(Box::pin(run(cli)));
    // What still runs then is blocking work that nobody waits for.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", causes::text(error.as_ref()));
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = cli.config.as_deref();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Check => {
            let sound = check::run(config, Component::Api).await;
            let ui = config::load(config)
                .map_or(Ok(()), |loaded| Ui::load(&loaded.config.api.web_dir, None).map(drop));
            if let Err(error) = &ui {
                println!("web UI: {error}");
            }
            let sound = sound && ui.is_ok();
            return Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Openapi => print!("{}", openapi::document()),
        Command::Serve => {
            let loaded = config::load(config)?;
            let recent = Recent::hiding(support::secrets(&loaded.config, &env::process));
            let (config, version) = (&loaded.config, crate::VERSION);
            let export = telemetry::start_keeping(config, "knm-api", version, &recent)?;
            let served = app::serve(loaded, recent).await;
            export.stop().await;
            if let Err(error) = served {
                tracing::error!("knm-api ends: {}", causes::text(error.as_ref()));
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Migrate { adopt, grant_to, best_effort } => {
            let migrated = migrate(&config::load(config)?, adopt, grant_to.as_deref()).await;
            if best_effort { leave_to_serving(migrated)? } else { migrated? }
        }
        Command::SupportBundle { output } => match output {
            Some(path) => {
                let file = File::create(&path).with_context(|| path.display().to_string())?;
                support::write(config, file).await?;
            }
            None if std::io::stdout().is_terminal() => {
                anyhow::bail!(
                    "an archive is nothing for a terminal: redirect it, or use --output FILE"
                )
            }
            None => support::write(config, std::io::stdout()).await?,
        },
        Command::Admin(AdminCommand::Create { username }) => {
            create_admin(&config::load(config)?, &username).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn migrate(loaded: &Loaded, adopt: bool, grant_to: Option<&str>) -> anyhow::Result<()> {
    telemetry::init(&loaded.config.log)?;
    tracing::info!("{}", phrases::DATABASE_INITIALIZING);
    let mut migration = open(loaded).await?;
    let report = migration.run(adopt).await?;
    if let Some(role) = grant_to {
        migration.grant(role).await?;
        tracing::info!(role, "granted what serving takes");
    }
    tracing::info!(version = report.version, "{}", phrases::DATABASE_INITIALIZED);
    Ok(())
}

/// What waiting may cure is said and passed over.
fn leave_to_serving(migrated: anyhow::Result<()>) -> anyhow::Result<()> {
    let Err(error) = migrated else { return Ok(()) };
    match error.downcast_ref::<MigrateError>() {
        Some(MigrateError::Connect(cause)) => {
            Reporter::new(App::Api).failed(cause);
        }
        Some(error) if error.is_transient() => tracing::warn!(%error, "not migrated"),
        _ => return Err(error),
    }
    tracing::info!("serving migrates once the database lets it");
    Ok(())
}

async fn open(loaded: &Loaded) -> anyhow::Result<Migration> {
    let connector = Connector::new(&loaded.config.database, App::Api, Target::Direct)?;
    Ok(Migration::begin(&connector).await?)
}

async fn create_admin(loaded: &Loaded, username: &str) -> anyhow::Result<()> {
    check_username(username)?;
    let password = secret::read().context("the password could not be read")?;
    check_password(&password)?;
    let mut migration = open(loaded).await?;
    if !migration.has_schema().await? {
        anyhow::bail!("the database has no schema yet; run \"knm-api migrate\" first");
    }
    let password_hash = Passwords::new(1).hash(password).await?;
    let account = NewAccount { username, password_hash: &password_hash, role: Role::Admin };
    if !migration.create_user(&account, "knm-api admin create").await? {
        anyhow::bail!("there is a user {username} already");
    }
    println!("created the administrator {username}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["knm-api", "migrate", "--adopt", "--config", "x.yaml"]);
        assert!(matches!(cli.command, Some(Command::Migrate { adopt: true, .. })));
        assert_eq!(cli.config, Some("x.yaml".into()));
        assert!(Cli::parse_from(["knm-api"]).command.is_none());
        assert!(Cli::try_parse_from(["knm-api", "admin", "create"]).is_err());
    }
}
