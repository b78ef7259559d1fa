//! The audit log. Rows are added and read; there is no statement that changes or removes one.

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, GenericClient, Row};
use uuid::Uuid;

use crate::audit::Record;

type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Longest text of a column that a client has a say in, in characters.
const MAX_TEXT: usize = 1000;
/// Largest `before` or `after`, in bytes of JSON.
const MAX_JSON: usize = 64 * 1024;

/// Adds an entry.
///
/// # Errors
/// The statement's.
pub async fn insert(client: &impl GenericClient, record: &Record) -> Result<(), Error> {
    const SQL: &str = "
        INSERT INTO audit_log (user_id, username, session_id, address, action, target, cluster,
                               result, status, detail, before, after, request_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let params: [Param<'_>; 13] = [
        (&record.user.map(|u| u.0), Type::UUID),
        (&text(&record.username), Type::TEXT),
        (&record.session, Type::UUID),
        (&record.address_text(), Type::TEXT),
        (&record.action, Type::TEXT),
        (&text(&record.target), Type::TEXT),
        (&text(&record.cluster), Type::TEXT),
        (&record.verdict.as_str(), Type::TEXT),
        (&i32::from(record.status), Type::INT4),
        (&text(&record.detail), Type::TEXT),
        (&record.before.as_ref().map(bounded), Type::JSONB),
        (&record.after.as_ref().map(bounded), Type::JSONB),
        (&record.request_id, Type::TEXT),
    ];
    client.execute_typed(SQL, &params).await.map(drop)
}

/// PostgreSQL stores no NUL.
fn text(value: &str) -> String {
    value.chars().filter(|c| *c != '\0').take(MAX_TEXT).collect()
}

/// What is too large to be read in a log is with the task or user that it is of.
fn bounded(value: &Value) -> Value {
    let bytes = value.to_string().len();
    if bytes > MAX_JSON { serde_json::json!({"left_out_bytes": bytes}) } else { json(value) }
}

fn json(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', "")),
        Value::Array(list) => Value::Array(list.iter().map(json).collect()),
        Value::Object(map) => {
            map.iter().map(|(k, v)| (k.replace('\0', ""), json(v))).collect::<Value>()
        }
        other => other.clone(),
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number: rising, with gaps.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub user: Option<Uuid>,
    /// Their name then.
    pub username: String,
    /// With which session or token.
    pub session: Option<Uuid>,
    /// From where.
    pub address: String,
    /// What, in a word.
    pub action: String,
    /// To what.
    pub target: String,
    /// On which cluster.
    pub cluster: String,
    /// `done`, `refused` or `failed`.
    pub result: String,
    /// The HTTP status.
    pub status: i32,
    /// Why not.
    pub detail: String,
    /// How it was.
    pub before: Option<Value>,
    /// How it is.
    pub after: Option<Value>,
    /// Where the log has more.
    pub request_id: String,
}

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this user.
    pub username: Option<String>,
    /// With this word, or a word that begins so if it ends in a dot.
    pub action: Option<String>,
    /// With this result.
    pub result: Option<String>,
    /// About this.
    pub target: Option<String>,
    /// On this cluster.
    pub cluster: Option<String>,
    /// Of this request.
    pub request_id: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// With a lower number.
    pub before: Option<i64>,
}

/// Up to `limit` entries, newest first.
///
/// # Errors
/// The statement's.
pub async fn page(
    client: &impl GenericClient,
    filter: &Filter,
    limit: u32,
) -> Result<Vec<Entry>, Error> {
    const SQL: &str = "
        SELECT id, at, user_id, username, session_id, address, action, target, cluster, result,
               status, detail, before, after, request_id
        FROM audit_log
        WHERE ($1::text IS NULL OR username = $1)
          AND ($2::text IS NULL OR action = $2 OR $2 LIKE '%.' AND starts_with(action, $2))
          AND ($3::text IS NULL OR result = $3) AND ($4::text IS NULL OR target = $4)
          AND ($5::text IS NULL OR cluster = $5) AND ($6::text IS NULL OR request_id = $6)
          AND ($7::timestamptz IS NULL OR at >= $7) AND ($8::timestamptz IS NULL OR at < $8)
          AND ($9::bigint IS NULL OR id < $9)
        ORDER BY id DESC LIMIT $10";
    let params: [Param<'_>; 10] = [
        (&filter.username, Type::TEXT),
        (&filter.action, Type::TEXT),
        (&filter.result, Type::TEXT),
        (&filter.target, Type::TEXT),
        (&filter.cluster, Type::TEXT),
        (&filter.request_id, Type::TEXT),
        (&filter.since, Type::TIMESTAMPTZ),
        (&filter.until, Type::TIMESTAMPTZ),
        (&filter.before, Type::INT8),
        (&i64::from(limit), Type::INT8),
    ];
    Ok(client.query_typed(SQL, &params).await?.iter().map(entry).collect())
}

fn entry(row: &Row) -> Entry {
    Entry {
        id: row.get(0),
        at: row.get(1),
        user: row.get(2),
        username: row.get(3),
        session: row.get(4),
        address: row.get(5),
        action: row.get(6),
        target: row.get(7),
        cluster: row.get(8),
        result: row.get(9),
        status: row.get(10),
        detail: row.get(11),
        before: row.get(12),
        after: row.get(13),
        request_id: row.get(14),
    }
}
