//! What a support bundle asks: the schema, the server, who is connected, unfinished and failed tasks.
//! Parameters, reasons and values of nodes are left out: they are the users' own.

use tokio_postgres::{Error, GenericClient};

/// Names and statements.
pub const QUESTIONS: [(&str, &str); 7] = [
    (
        "schema",
        "SELECT version, name, applied_on FROM refinery_schema_history ORDER BY version",
    ),
    (
        "server",
        "SELECT version() AS version, pg_is_in_recovery() AS standby,
                pg_notification_queue_usage() AS notification_queue,
                pg_database_size(current_database()) AS bytes,
                (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name IN
                  ('max_connections', 'shared_buffers', 'synchronous_commit',
                   'synchronous_standby_names', 'idle_session_timeout',
                   'idle_in_transaction_session_timeout', 'statement_timeout')) AS settings",
    ),
    (
        "connections",
        "SELECT application_name, state, wait_event, count(*), min(backend_start) AS since
         FROM pg_stat_activity WHERE datname = current_database()
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    ),
    ("clusters", "SELECT name, server, version, updated_at FROM clusters ORDER BY name"),
    ("freezes", "SELECT cluster, created_at FROM freezes ORDER BY cluster"),
    (
        "tasks",
        "SELECT id, cluster, action, status, desired, seq, total, pending, running, succeeded, failed,
                skipped, cancelled, error, attempt, lease_owner, lease_token, lease_expires_at,
                created_at, started_at, updated_at, completed_at
         FROM progress_tasks
         WHERE completed_at IS NULL OR created_at > now() - interval '1 day'
         ORDER BY created_at DESC LIMIT 200",
    ),
    (
        "failures",
        "SELECT t.id AS task, t.action, i.node, i.message, i.attempts, i.finished_at
         FROM (SELECT id, action FROM progress_tasks WHERE status = 'failed'
               ORDER BY created_at DESC LIMIT 20) t
         JOIN progress_items i ON i.task_id = t.id AND i.status = 'failed'
         ORDER BY i.finished_at DESC LIMIT 500",
    ),
];

/// The rows as one JSON text, an array of objects.
///
/// # Errors
/// The statement's.
pub async fn ask(client: &impl GenericClient, sql: &str) -> Result<String, Error> {
    let sql = format!("SELECT coalesce(json_agg(q), '[]')::text FROM ({sql}) q");
    Ok(client.query_typed_one(&sql, &[]).await?.get(0))
}
