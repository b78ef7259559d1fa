//! Child processes under control: logs line by line, signals, an end together with their parent.
//!
//! Signals go through a pidfd, so that none ever reaches a stranger that got the same number later.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

mod log;

pub use log::{Log, Mark};

/// A program to start, any number of times.
#[derive(Debug, Clone)]
pub struct Spec {
    name: String,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Spec {
    /// `program` dies with this process (SIGKILL). `name` is what messages call it.
    ///
    /// Its environment is empty but for `PATH`: what the developer's shell exports is no part of a
    /// test.
    #[must_use]
    pub fn new(name: impl Into<String>, program: &Path) -> Self {
        Self::with_death_signal(name, program, "KILL", &[])
    }

    /// Like [`Spec::new`], with another signal at the parent's death and more options of `setpriv`.
    #[must_use]
    pub fn with_death_signal(
        name: impl Into<String>,
        program: &Path,
        signal: &str,
        setpriv: &[String],
    ) -> Self {
        let mut arguments: Vec<OsString> = vec!["--pdeathsig".into(), signal.into()];
        arguments.extend(setpriv.iter().map(OsString::from));
        arguments.extend(["--".into(), program.into()]);
        let path = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
        Self { name: name.into(), arguments, environment: path.into_iter().collect() }
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.arguments.push(arg.as_ref().into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((key.into(), value.as_ref().into()));
        self
    }

    /// Starts it; everything that it prints goes to `log`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, log: &Log) -> anyhow::Result<Process> {
        let (reader, writer) = std::io::pipe().context("no pipe")?;
        let mut command = Command::new("setpriv");
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(writer.try_clone().context("no pipe")?)
            .stderr(writer)
            // A signal from the terminal is for the parent, which then stops its children in order.
            .process_group(0);
        let name = self.name.clone();
        let mut child = spawn_from_lasting_thread(command)
            .with_context(|| format!("cannot start {name} (by setpriv, of util-linux)"))?;
        let pid = Pid::from_child(&child);
        let pidfd =
            pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("no pidfd for {name}"))?;
        let log_done = log.follow(reader);
        let (sender, status) = watch::channel(None);
        std::thread::Builder::new().name(format!("wait {name}")).spawn(move || {
            let ended = child.wait();
            // Whoever learns of the end finds the last words in the log.
            log_done.wait();
            sender.send_replace(Some(ended.unwrap_or_else(|_| ExitStatus::from_raw(0xff00))));
        })?;
        Ok(Process { name, pid, pidfd, log: log.clone(), status })
    }
}

/// The death signal is sent when the *thread* that started the child ends (prctl(2)), and threads of
/// a runtime come and go. This one stays.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Job = (Command, mpsc::SyncSender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::SyncSender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::sync_channel::<Job>(16);
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, reply) in jobs {
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread can be started");
        sender
    });
    let (reply, answer) = mpsc::sync_channel(1);
    spawner.send((command, reply)).map_err(std::io::Error::other)?;
    answer.recv().map_err(std::io::Error::other)?
}

/// A running or ended child. Dropping it kills it.
pub struct Process {
    name: String,
    pid: Pid,
    pidfd: OwnedFd,
    log: Log,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid())
    }
}

impl Process {
    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// What it has printed.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Tells of its end without holding on to it.
    #[must_use]
    pub fn ending(&self) -> Ending {
        Ending { name: self.name.clone(), log: self.log.clone(), status: self.status.clone() }
    }

    /// How it ended, or `None` while it runs.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        pidfd_send_signal(&self.pidfd, signal)
            .with_context(|| format!("cannot send {signal:?} to {self:?}"))
    }

    /// SIGSTOP: it holds still, its sockets stay open.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT after [`Process::pause`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let mut status = self.status.clone();
        let ended = tokio::time::timeout(timeout, status.wait_for(Option::is_some)).await;
        match ended {
            Ok(Ok(status)) => status.ok_or_else(|| anyhow!("{self:?} has no status")),
            Ok(Err(_)) => bail!("nobody waits for {self:?}"),
            Err(_) => bail!("{self:?} still runs after {timeout:?}\n{}", self.log.tail(20)),
        }
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When it does not end, which the kernel would have to explain.
    pub async fn kill(&self) -> anyhow::Result<ExitStatus> {
        if self.status().is_none() {
            // It may have ended since.
            let _ = self.signal(Signal::KILL);
        }
        self.wait(Duration::from_secs(10)).await
    }

    /// Sends `signal` and waits for the end; SIGKILL when that takes longer than `grace`.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&self, signal: Signal, grace: Duration) -> anyhow::Result<ExitStatus> {
        if self.status().is_none() {
            let _ = self.signal(signal);
        }
        match self.wait(grace).await {
            Ok(status) => Ok(status),
            Err(late) => {
                self.kill().await?;
                Err(late.context(format!("{} had to be killed", self.name)))
            }
        }
    }
}

/// The end of a [`Process`], to be waited for.
#[derive(Debug, Clone)]
pub struct Ending {
    name: String,
    log: Log,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Ending {
    /// Waits for it, for as long as it takes, and says what happened, with the end of the log.
    pub async fn wait(mut self) -> anyhow::Error {
        let status = self.status.wait_for(Option::is_some).await.ok().and_then(|s| *s);
        let how = status.map_or_else(|| "ended".into(), |s| format!("ended with {s}"));
        anyhow!("{} {how}\n{}", self.name, self.log.tail(20))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status().is_none() {
            let _ = self.signal(Signal::KILL);
        }
    }
}
