//! How a task goes about its nodes, checked.

use jiff::Timestamp;
use knm_shared::config::Executor;
use serde::Serialize;
use serde_json::Value;

use super::action::Action;
use super::error::FieldError;
use super::submit::{Amount, SubmittedOptions, SubmittedWaves};

/// For the nodes of a wave to become Ready, in seconds.
const READY_TIMEOUT: u32 = 600;

/// Checked options, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Options {
    /// Nodes worked on at a time.
    pub concurrency: u32,
    /// Failed nodes that are put up with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
    /// Of the task's nodes, how many may be unavailable at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<Share>,
    /// In groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waves: Option<Waves>,
    /// No node is started after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Nothing changes in the cluster.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// A failed drain's cordon is taken back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub uncordon_on_failure: bool,
}

/// Groups of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Waves {
    /// Nodes in each.
    pub size: Share,
    /// How long they have to become Ready.
    pub ready_timeout_seconds: u32,
}

/// A part of a task's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u32),
    /// So many in a hundred.
    Percent(u32),
}

impl Share {
    /// Of `total` nodes: rounded down, at least one.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        let part = match self {
            Self::Count(n) => n as usize,
            Self::Percent(p) => total.saturating_mul(p as usize) / 100,
        };
        part.max(1)
    }

    fn parse(field: &str, amount: &Amount) -> Result<Self, FieldError> {
        let fault = |message: &str| FieldError::new(field, message);
        match amount {
            Amount::Count(n) => match u32::try_from(*n) {
                Ok(n) if n > 0 => Ok(Self::Count(n)),
                _ => Err(fault("must be at least 1")),
            },
            Amount::Percent(text) => {
                let number = text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok());
                match number {
                    Some(n @ 1..=100) => Ok(Self::Percent(n)),
                    Some(_) => Err(fault("must be between 1% and 100%")),
                    None => Err(fault("must be a number or a percentage like \"25%\"")),
                }
            }
        }
    }
}

impl Serialize for Share {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(n) => serializer.serialize_u32(*n),
            Self::Percent(p) => serializer.collect_str(&format_args!("{p}%")),
        }
    }
}

impl Options {
    /// Checks what was asked for against the action and the limits of this installation.
    ///
    /// # Errors
    /// Every fault, each with its field.
    pub fn check(
        asked: &SubmittedOptions,
        action: Option<&Action>,
        limits: &Executor,
        now: Timestamp,
    ) -> Result<Self, Vec<FieldError>> {
        let mut faults = Vec::new();
        let concurrency = asked.concurrency.unwrap_or(limits.default_concurrency);
        if concurrency == 0 || concurrency > limits.max_concurrency {
            let most = limits.max_concurrency;
            faults.push(FieldError::new(
                "options.concurrency",
                format!("must be between 1 and {most} (executor.max_concurrency)"),
            ));
        }
        if let Some(action) = action.filter(|a| !a.is_drain()) {
            for (field, given) in [
                ("options.max_unavailable", asked.max_unavailable.is_some()),
                ("options.waves", asked.waves.is_some()),
                ("options.uncordon_on_failure", asked.uncordon_on_failure),
            ] {
                if given {
                    let message = format!("is for drain, not for {}", action.name());
                    faults.push(FieldError::new(field, message));
                }
            }
        }
        if asked.dry_run && asked.waves.is_some() {
            faults.push(FieldError::new(
                "options.waves",
                "contradicts options.dry_run: a dry run has nothing to wait for",
            ));
        }
        if asked.dry_run && asked.max_unavailable.is_some() {
            faults.push(FieldError::new(
                "options.max_unavailable",
                "contradicts options.dry_run: a dry run makes no node unavailable",
            ));
        }
        let not_after = asked.not_after.as_deref().map(|at| deadline(at, now)).transpose();
        let options = Self::assemble(asked, concurrency, not_after, &mut faults);
        if faults.is_empty() { Ok(options) } else { Err(faults) }
    }

    /// From a stored row, which an installation with other limits may have written.
    ///
    /// # Errors
    /// What this release does not understand: to go on without it would be less than was asked for.
    pub fn from_row(stored: &Value, limits: &Executor) -> Result<Self, String> {
        let stored: SubmittedOptions =
            serde_json::from_value(stored.clone()).map_err(|e| e.to_string())?;
        let concurrency = stored.concurrency.unwrap_or(limits.default_concurrency);
        let mut faults = Vec::new();
        let not_after = stored.not_after.as_deref().map(moment).transpose();
        let concurrency = concurrency.clamp(1, limits.max_concurrency);
        let options = Self::assemble(&stored, concurrency, not_after, &mut faults);
        match faults.first() {
            None => Ok(options),
            Some(fault) => Err(format!("{}: {}", fault.field, fault.message)),
        }
    }

    fn assemble(
        asked: &SubmittedOptions,
        concurrency: u32,
        not_after: Result<Option<Timestamp>, FieldError>,
        faults: &mut Vec<FieldError>,
    ) -> Self {
        let mut keep = |result: Result<_, FieldError>| result.map_err(|f| faults.push(f)).ok();
        let max_unavailable = asked
            .max_unavailable
            .as_ref()
            .and_then(|amount| keep(Share::parse("options.max_unavailable", amount)));
        let waves = asked.waves.as_ref().and_then(|waves| {
            let SubmittedWaves { size, ready_timeout_seconds } = waves;
            let size = keep(Share::parse("options.waves.size", size))?;
            let ready_timeout_seconds = ready_timeout_seconds.unwrap_or(READY_TIMEOUT);
            Some(Waves { size, ready_timeout_seconds })
        });
        Self {
            concurrency,
            max_failures: asked.max_failures,
            max_unavailable,
            waves,
            not_after: not_after.map_err(|f| faults.push(f)).unwrap_or_default(),
            dry_run: asked.dry_run,
            uncordon_on_failure: asked.uncordon_on_failure,
        }
    }

    /// As it is stored.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|e| unreachable!("plain data serialises: {e}"))
    }
}

fn deadline(at: &str, now: Timestamp) -> Result<Timestamp, FieldError> {
    let at = moment(at)?;
    if at <= now {
        return Err(FieldError::new("options.not_after", format!("{at} has passed already")));
    }
    Ok(at)
}

fn moment(at: &str) -> Result<Timestamp, FieldError> {
    at.parse().map_err(|_| {
        FieldError::new("options.not_after", "must be a time like 2026-12-01T04:00:00Z (RFC 3339)")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DRAIN: Action = Action::Drain(super::super::submit::DrainParams {
        grace_period_seconds: None,
        timeout_seconds: 0,
        ignore_daemonsets: false,
        delete_emptydir_data: false,
        force: false,
        pod_selector: String::new(),
        disable_eviction: false,
        skip_wait_for_delete_timeout_seconds: 0,
    });

    fn check(action: &Action, asked: &Value) -> Result<Options, Vec<String>> {
        let asked: SubmittedOptions = serde_json::from_value(asked.clone()).expect("options");
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        Options::check(&asked, Some(action), &Executor::default(), now)
            .map_err(|faults| faults.into_iter().map(|f| f.field).collect())
    }

    #[test]
    fn every_fault_names_its_field() {
        let limit = Executor::default().max_concurrency;
        for (options, field) in [
            (json!({"concurrency": 0}), "options.concurrency"),
            (json!({"concurrency": limit + 1}), "options.concurrency"),
            (json!({"max_unavailable": 0}), "options.max_unavailable"),
            (json!({"max_unavailable": -1}), "options.max_unavailable"),
            (json!({"max_unavailable": "0%"}), "options.max_unavailable"),
            (json!({"max_unavailable": "101%"}), "options.max_unavailable"),
            (json!({"max_unavailable": "many"}), "options.max_unavailable"),
            (json!({"waves": {"size": "5"}}), "options.waves.size"),
            (json!({"not_after": "tomorrow"}), "options.not_after"),
            (json!({"not_after": "2025-12-31T23:59:59Z"}), "options.not_after"),
            (json!({"dry_run": true, "waves": {"size": 1}}), "options.waves"),
            (json!({"dry_run": true, "max_unavailable": 1}), "options.max_unavailable"),
        ] {
            assert_eq!(check(&DRAIN, &options), Err(vec![field.to_owned()]), "{options}");
        }
    }

    #[test]
    fn what_is_for_drains_is_refused_elsewhere() {
        let cordon = Action::Cordon;
        for (options, field) in [
            (json!({"max_unavailable": 1}), "options.max_unavailable"),
            (json!({"waves": {"size": 1}}), "options.waves"),
            (json!({"uncordon_on_failure": true}), "options.uncordon_on_failure"),
        ] {
            assert!(check(&DRAIN, &options).is_ok(), "{options}");
            assert_eq!(check(&cordon, &options), Err(vec![field.to_owned()]), "{options}");
        }
    }

    #[test]
    fn what_is_stored_reads_back_as_the_same() {
        let limits = Executor::default();
        for asked in [
            json!({}),
            json!({"concurrency": 3, "max_failures": 0, "max_unavailable": "25%", "waves": {"size": 5}}),
            json!({"not_after": "2026-12-01T04:00:00Z", "dry_run": true}),
            json!({"max_unavailable": 2, "uncordon_on_failure": true}),
        ] {
            let options = check(&DRAIN, &asked).expect("valid");
            assert_eq!(Options::from_row(&options.to_value(), &limits), Ok(options));
        }
        assert!(Options::from_row(&json!({"of_tomorrow": true}), &limits).is_err());
        let more = json!({"concurrency": limits.max_concurrency + 1});
        let clamped = Options::from_row(&more, &limits).expect("valid");
        assert_eq!(clamped.concurrency, limits.max_concurrency);
    }

    #[test]
    fn a_share_is_rounded_down_and_at_least_one() {
        assert_eq!(Share::Percent(25).of(10), 2);
        assert_eq!(Share::Percent(1).of(10), 1);
        assert_eq!(Share::Count(4).of(2), 4);
    }
}
