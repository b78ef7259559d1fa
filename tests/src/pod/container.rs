//! One container of a pod: a process that can be stopped and started again on the same ports.

use std::fmt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use crate::api::Api;
use crate::process::{Log, Process, Spec};

/// A container. Its log goes on over restarts.
pub struct Container {
    spec: Spec,
    log: Log,
    port: u16,
    admin_port: u16,
    process: Option<Process>,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec.name())
    }
}

impl Container {
    pub(super) fn new(spec: Spec, log: Log, port: u16, admin_port: u16) -> Self {
        Self { spec, log, port, admin_port, process: None }
    }

    /// `host:port` of what it serves to users.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` of probes and metrics.
    #[must_use]
    pub fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }

    /// What it prints.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Starts it; returns before it is ready.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.process.as_ref().is_some_and(|p| p.status().is_none()) {
            bail!("{self:?} runs already");
        }
        self.process = Some(self.spec.spawn(&self.log)?);
        Ok(())
    }

    /// Starts it if it was running and has ended by itself.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_if_ended(&mut self) -> anyhow::Result<()> {
        match &self.process {
            Some(process) if process.status().is_some() => self.start(),
            _ => Ok(()),
        }
    }

    /// The process.
    ///
    /// # Errors
    /// When it has not been started.
    pub fn process(&self) -> anyhow::Result<&Process> {
        self.process.as_ref().with_context(|| format!("{self:?} has not been started"))
    }

    /// SIGKILL; waits for the end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// A signal, then waits for the end; `None` when it did not run.
    ///
    /// # Errors
    /// When it had to be killed after `grace`.
    pub async fn stop(
        &mut self,
        signal: Signal,
        grace: Duration,
    ) -> anyhow::Result<Option<ExitStatus>> {
        match self.process.take() {
            Some(process) => process.stop(signal, grace).await.map(Some),
            None => Ok(None),
        }
    }

    /// GET on the admin port.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn admin(&self, path: &str) -> anyhow::Result<crate::api::Answer> {
        Api::new(format!("http://{}", self.admin_address())).get(path).await
    }

    /// Asks the admin port until it says 200, as the kubelet does, only more often.
    ///
    /// # Errors
    /// When the process ends, or after `timeout`; with the end of its log.
    pub async fn probe(&self, path: &str, timeout: Duration) -> anyhow::Result<()> {
        let process = self.process()?;
        let asking = async {
            while !self.admin(path).await.is_ok_and(|answer| answer.status.is_success()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            asked = tokio::time::timeout(timeout, asking) => asked.map_err(|_| {
                let tail = self.log.tail(30);
                anyhow::anyhow!("{self:?} does not answer {path} with 200 after {timeout:?}\n{tail}")
            }),
            ended = process.wait(timeout * 2) => {
                bail!("{self:?} ended ({})\n{}", ended?, self.log.tail(30));
            }
        }
    }

    /// Waits for a line with `phrase` in its log, past ones included.
    ///
    /// # Errors
    /// When the process ends without it, or after `timeout`; with the end of the log.
    pub async fn says(&self, phrase: &str, timeout: Duration) -> anyhow::Result<Arc<str>> {
        let ending = self.process()?.ending();
        tokio::select! {
            biased;
            line = self.log.wait_for(phrase, timeout) => line,
            ended = ending.wait() => {
                self.log.wait_for(phrase, Duration::ZERO).await.map_err(|_| ended)
            }
        }
    }

    /// The value of a metric without labels, or the sum over its labels.
    ///
    /// # Errors
    /// When the admin port does not answer or has no such metric.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.admin("/metrics").await?.text();
        let mut values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let labels = rest.starts_with('{') || rest.starts_with(' ');
            labels.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        });
        let first = values.next().with_context(|| format!("{self:?} has no metric {name}"))?;
        Ok(first + values.sum::<f64>())
    }
}
