//! How a process writes its log: `TIME LEVEL: message key=value …`, or one JSON object a line, on
//! standard output, from where the kubelet takes both alike.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Log, LogFormat};

/// Libraries that explain themselves at length below `warn`. A filter that names them wins.
const QUIET: &str = "hyper=warn,hyper_util=warn,h2=warn,tower=warn,tungstenite=warn,\
                     tokio_tungstenite=warn,kube_client=info,kube_runtime=info,mio=warn";

/// Why logging cannot start. All of it is about `log.level`, or about being started twice.
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
    let subscriber = subscriber(log, std::io::stdout)?;
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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.level)?)
        .with_ansi(false)
        .with_writer(writer);
    Ok(match log.format {
        LogFormat::Text => Box::new(builder.event_format(Text).fmt_fields(Fields).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_timer(Utc).finish()),
    })
}

/// RFC 3339, UTC, milliseconds.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        Utc.format_time(&mut writer)?;
        write!(writer, " {}:", event.metadata().level())?;
        let mut line = Line::default();
        event.record(&mut line);
        write!(writer, " {}{}", line.message, line.fields)?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>() {
                writer.write_str(fields)?;
            }
        }
        writeln!(writer)
    }
}

/// The fields of a span, each with a space before it.
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut writer: Writer<'w>,
        fields: R,
    ) -> fmt::Result {
        let mut line = Line::default();
        fields.record(&mut line);
        writer.write_str(&line.fields)
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn add(&mut self, field: &Field, value: &str) {
        // One event is one line, whatever a user or a server put into it.
        if field.name() == "message" {
            self.message = escape_controls(value);
            return;
        }
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
        let bare = !value.is_empty() && value.chars().all(plain);
        let result = match bare {
            true => write!(self.fields, " {}={value}", field.name()),
            false => write!(self.fields, " {}={value:?}", field.name()),
        };
        result.expect("writing to a String cannot fail");
    }
}

fn escape_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
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
    fn json_is_one_object_a_line() {
        let log = Log { format: LogFormat::Json, ..Log::default() };
        let out = logged(&log, || tracing::warn!(port = 1, "hello"));
        let value: serde_json::Value = serde_json::from_str(&out).expect("an object");
        assert_eq!((&value["level"], &value["message"]), (&"WARN".into(), &"hello".into()));
        assert_eq!(value["port"], 1);
        assert!(value["timestamp"].as_str().is_some_and(|t| t.ends_with('Z')), "{value}");
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
