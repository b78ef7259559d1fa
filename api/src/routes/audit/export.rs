//! The audit log as a file, of any length: written page by page, each read when the client has taken the
//! one before, so that a slow client holds no connection to the database.

use std::sync::Arc;

use futures_util::stream;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use knm_shared::session::Identity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{AuditEntry, AuditQuery, csv, filter};
use crate::auth::AuthError;
use crate::db::audit::{Entry, Filter};
use crate::http::audit::Note;
use crate::http::query::Query;
use crate::http::router::Outcome;
use crate::http::{Problem, Request, Response, boxed, problem};
use crate::routes::State;

/// Entries that are read at a time.
const PAGE: u32 = 1000;
/// Exports at a time.
const AT_ONCE: usize = 4;

/// The exports that are under way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Exports(Arc<Semaphore>);

impl Default for Exports {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    JsonLines,
}

impl Format {
    const fn headers(self) -> [&'static str; 2] {
        match self {
            Self::Csv => ["text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""],
            Self::JsonLines => ["application/jsonl", "attachment; filename=\"audit.jsonl\""],
        }
    }

    const fn head(self) -> &'static str {
        match self {
            Self::Csv => csv::HEAD,
            Self::JsonLines => "",
        }
    }

    fn write(self, text: &mut String, entry: Entry) {
        let entry = AuditEntry::from(entry);
        match self {
            Self::Csv => text.push_str(&csv::line(&entry)),
            Self::JsonLines => {
                // Strings and numbers have a JSON form.
                text.push_str(&serde_json::to_string(&entry).unwrap_or_default());
                text.push('\n');
            }
        }
    }
}

/// Export the audit log
///
/// All entries that the filters let through, newest first, as a file. In CSV, cells that a spreadsheet
/// would run begin with an apostrophe. A file that breaks off is not whole: the connection ends before
/// its last chunk.
#[utoipa::path(
    get, path = "/api/v1/audit/export", tag = "audit",
    params(
        AuditQuery,
        ("format" = Option<String>, Query, description = "`csv` (when left out) or `jsonl`"),
    ),
    responses(
        (status = 200, description = "One entry a line", content(
            (String = "text/csv"), (AuditEntry = "application/jsonl"),
        )),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
        (status = 503, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn export(state: State, request: Request, _identity: Identity) -> Outcome {
    let mut query = Query::new(&request.parts.uri);
    let filter = filter(&mut query);
    let format = match query.text("format").as_deref() {
        None | Some("csv") => Format::Csv,
        Some("jsonl") => Format::JsonLines,
        Some(_) => {
            query.fault("format", "must be csv or jsonl");
            Format::Csv
        }
    };
    query.finish()?;
    let room = Arc::clone(&state.exports.0).try_acquire_owned();
    let room = room.map_err(|_| Problem::unavailable("too many exports are under way"))?;
    // The first page before the head: a database that is away is said in the status.
    let mut export = Export { state, filter, format, _room: room };
    let (first, more) = export.page(format.head().to_owned()).await?;
    let rest = stream::try_unfold(Some(export).filter(|_| more), |export| async move {
        let Some(mut export) = export else { return Ok(None) };
        let (text, more) = export.page(String::new()).await?;
        anyhow::Ok(Some((text, Some(export).filter(|_| more))))
    });
    let all = futures_util::StreamExt::chain(stream::iter([Ok(first)]), rest);
    let frames = futures_util::TryStreamExt::map_ok(all, |text| Frame::data(Bytes::from(text)));
    let mut response = Response::new(boxed(StreamBody::new(frames)));
    let [content_type, disposition] = format.headers();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    let query = request.parts.uri.query().unwrap_or_default();
    Ok(Note::about(query).on_response(response))
}

struct Export {
    state: State,
    filter: Filter,
    format: Format,
    _room: OwnedSemaphorePermit,
}

impl Export {
    /// The next lines, after `text`, and whether more follow.
    async fn page(&mut self, mut text: String) -> Result<(String, bool), AuthError> {
        let entries = self.state.audit.page(&self.filter, PAGE).await?;
        let more = entries.len() == PAGE as usize;
        self.filter.before = entries.last().map(|last| last.id);
        for entry in entries {
            self.format.write(&mut text, entry);
        }
        Ok((text, more))
    }
}
