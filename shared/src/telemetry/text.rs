//! `TIME LEVEL: message key=value …`

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The time: RFC 3339, UTC, milliseconds.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

pub(super) struct Text;

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
        write!(writer, "{} {}:", now(), event.metadata().level())?;
        let mut line = Line::default();
        event.record(&mut line);
        // From the event outwards: what is nearer to it wins, as in JSON.
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let Some(formatted) = extensions.get::<FormattedFields<N>>() else { continue };
            for (name, field) in fields(formatted) {
                if !fields(&line.fields).any(|(known, _)| known == name) {
                    line.fields.push_str(field);
                }
            }
        }
        writeln!(writer, " {}{}", line.message, line.fields)
    }
}

/// Takes apart what [`Line`] puts together: each field's name, and all of it with the space before.
fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (name, value) = rest.strip_prefix(' ')?.split_once('=')?;
        let end = match value.strip_prefix('"') {
            Some(quoted) => closing_quote(quoted) + 2,
            None => value.find(' ').unwrap_or(value.len()),
        };
        let (field, after) = rest.split_at((name.len() + 2 + end).min(rest.len()));
        rest = after;
        Some((name, field))
    })
}

/// Where the first quote is that no backslash stands before.
fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    let ends = |c: char| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end
    };
    text.find(ends).unwrap_or(text.len())
}

/// The fields of a span, each with a space before it.
pub(super) struct Fields;

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
