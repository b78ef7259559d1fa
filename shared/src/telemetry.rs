//! What a process tells of itself while it runs: its log on standard output, from where the kubelet takes
//! it, as `TIME LEVEL: message key=value …` or one JSON object a line; and, where a collector is
//! configured, its spans.

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{Config, Log, LogFormat};

mod json;
mod otlp;
mod recent;
mod request;
mod text;

pub use otlp::Export;
pub use recent::Recent;
pub use request::{current_request, in_request};

/// Libraries that explain themselves at length below `warn`. A filter that names them wins.
const QUIET: &str = "hyper=warn,hyper_util=warn,h2=warn,tower=warn,tungstenite=warn,\
                     tokio_tungstenite=warn,kube_client=info,kube_runtime=info,mio=warn,opentelemetry=warn";

/// Why logging cannot start. Most of it is about `log.level`, or about being started twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// A single word that is no level.
    #[error(
        "must be error, warn, info, debug, trace or off, or a filter like \"info,knm_api=debug\""
    )]
    Level,
    /// A list that tracing does not understand.
    #[error("is not a filter like \"info,knm_api=debug\": {0}")]
    Filter(String),
    /// Logging is on already.
    #[error("logging has already been started")]
    Started,
    /// `tracing.otlp_endpoint` is of no use.
    #[error("spans cannot be exported: {0}")]
    Export(String),
}

/// The filter that `log.level` stands for.
///
/// # Errors
/// When it is none.
pub fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let level = level.trim();
    let words = ["error", "warn", "info", "debug", "trace", "off"];
    let directives = if level.contains(['=', ',']) {
        level.to_owned()
    } else if words.iter().any(|word| word.eq_ignore_ascii_case(level)) {
        format!("{level},{QUIET}")
    } else {
        return Err(TelemetryError::Level);
    };
    EnvFilter::builder().parse(directives).map_err(|e| TelemetryError::Filter(e.to_string()))
}

/// Starts logging for the whole process.
///
/// # Errors
/// When `log.level` is no filter, or logging is on already.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    install(subscriber(log, std::io::stdout)?)
}

/// Starts logging, and the export of spans if a collector is configured, under this name. Needs to be
/// called within a runtime.
///
/// # Errors
/// See [`init`]; and when the exporter cannot be built.
pub fn start(
    config: &Config,
    service: &'static str,
    version: &'static str,
) -> Result<Export, TelemetryError> {
    begin(config, service, version, lines(&config.log, std::io::stdout))
}

/// Like [`start`], and keeps the lines that say something is wrong.
///
/// # Errors
/// See [`start`].
pub fn start_keeping(
    config: &Config,
    service: &'static str,
    version: &'static str,
    recent: &Recent,
) -> Result<Export, TelemetryError> {
    begin(config, service, version, lines(&config.log, recent::Copying(recent.clone())))
}

fn begin(
    config: &Config,
    service: &'static str,
    version: &'static str,
    lines: Boxed,
) -> Result<Export, TelemetryError> {
    let export = Export::new(&config.tracing, service, version)?;
    let layers = export.layer().into_iter().chain([lines]).collect();
    install(assemble(&config.log, layers)?)?;
    Ok(export)
}

fn install(subscriber: Box<dyn Subscriber + Send + Sync>) -> Result<(), TelemetryError> {
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Started)
}

/// What [`init`] installs, with a writer of one's own.
///
/// # Errors
/// When `log.level` is no filter.
pub fn subscriber<W>(
    log: &Log,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    assemble(log, vec![lines(log, writer)])
}

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

fn lines<W>(log: &Log, writer: W) -> Boxed
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    match log.format {
        LogFormat::Text => lines.event_format(text::Text).fmt_fields(text::Fields).boxed(),
        LogFormat::Json => lines.event_format(json::Json).fmt_fields(JsonFields::new()).boxed(),
    }
}

fn assemble(
    log: &Log,
    layers: Vec<Boxed>,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError> {
    Ok(Box::new(Registry::default().with(layers).with(filter(&log.level)?)))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: &Log, events: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(log, move || writer.clone()).expect("a filter");
        tracing::subscriber::with_default(subscriber, events);
        let bytes = captured.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn text_is_time_level_message_fields() {
        let out = logged(&Log::default(), || {
            let span = tracing::info_span!("task", task = "t-1");
            let _entered = span.enter();
            tracing::info!(host = "db.svc", port = 5432, note = "two words", "It says");
            tracing::error!(error = %"a=b", "line one\nline two");
            tracing::debug!("not shown");
        });
        let lines: Vec<&str> = out.lines().collect();
        let (time, rest) = lines[0].split_once(' ').expect("a time");
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 24, "{time}");
        assert_eq!(rest, "INFO: It says host=db.svc port=5432 note=\"two words\" task=t-1");
        let (_, rest) = lines[1].split_once(' ').expect("a time");
        assert_eq!(rest, "ERROR: line one\\nline two error=\"a=b\" task=t-1");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_field_stands_once_in_a_line_of_text() {
        let request = r#"a b="c\" \\"#;
        let out = logged(&Log::default(), || {
            let _outer =
                tracing::info_span!("http", request_id = request, path = "/a b", task = "outer")
                    .entered();
            let _inner = tracing::info_span!("task", task = "inner").entered();
            tracing::info!(request_id = request, user = "admin", "audit");
            tracing::info!("bare");
        });
        let lines: Vec<&str> = out.lines().filter_map(|l| Some(l.split_once(' ')?.1)).collect();
        let id = format!("request_id={request:?}");
        assert_eq!(
            lines,
            [
                format!(r#"INFO: audit {id} user=admin task=inner path="/a b""#),
                format!(r#"INFO: bare task=inner {id} path="/a b""#),
            ]
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let log = Log { format: LogFormat::Json, ..Log::default() };
        let out = logged(&log, || {
            let span =
                tracing::info_span!("http", request_id = "r-1", user = tracing::field::Empty);
            span.record("user", "admin");
            let _outer = span.enter();
            let _inner = tracing::info_span!("task", task = "t-1", port = 2).entered();
            tracing::warn!(port = 1, up = true, error = %"a\nb", level = "mine", "hello \"you\"");
            tracing::info!("bare");
        });
        let lines: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        assert_eq!(lines.len(), 2);
        let mut first = lines[0].clone();
        let time = first["timestamp"].take();
        assert!(time.as_str().is_some_and(|t| t.ends_with('Z') && t.len() == 24), "{time}");
        // The event's own field wins over the span's, and none over what every line has.
        let expected = serde_json::json!({
            "timestamp": null, "level": "WARN", "target": "knm_shared::telemetry::tests",
            "message": "hello \"you\"", "port": 1, "up": true, "error": "a\nb",
            "request_id": "r-1", "user": "admin", "task": "t-1",
        });
        assert_eq!(first, expected);
        assert_eq!((&lines[1]["message"], &lines[1]["port"]), (&"bare".into(), &2.into()));
        assert!(out.starts_with("{\"timestamp\":"), "{out}");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        for good in ["info", "DEBUG", "off", "info,knm_api=debug", "knm_relay=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["infoo", "", "verbose", "info,knm_api=loud"] {
            assert!(filter(bad).is_err(), "{bad:?}");
        }
    }
}
