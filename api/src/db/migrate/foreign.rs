//! Tables of another program that have the names of ours. The program this one replaces used the
//! same database and the same table names.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{MigrateError, quote};

/// What `--adopt` puts before a name.
pub(super) const PREFIX: &str = "legacy_";

/// Names that this release or a later one uses.
const OURS: [&str; 7] =
    ["audit_log", "clusters", "progress_items", "progress_tasks", "sessions", "templates", "users"];

/// The relations in the way: those with our names in a database where our migrations never ran, or
/// a `progress_tasks` that cannot be ours whatever the history says.
pub(super) async fn tables(client: &Client) -> Result<Vec<String>, MigrateError> {
    const SQL: &str = "
        SELECT c.relname::text FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace
          AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND c.relname::text = ANY ($1)
          AND (to_regclass(quote_ident(current_schema()) || '.refinery_schema_history') IS NULL
               OR c.relname = 'progress_tasks' AND NOT EXISTS (
                   SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
                   AND a.attname = 'lease_token' AND NOT a.attisdropped))
        ORDER BY c.relname";
    let names: Vec<&str> = OURS.to_vec();
    let rows = client.query_typed(SQL, &[(&names, Type::TEXT_ARRAY)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Renames the tables and their indexes (whose names are the schema's, not the table's), all or none.
pub(super) async fn rename(
    client: &mut Client,
    tables: Vec<String>,
) -> Result<Vec<(String, String)>, MigrateError> {
    const INDEXES: &str = "
        SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        WHERE x.indrelid = quote_ident($1)::regclass AND NOT starts_with(i.relname::text, $2)";
    let transaction = client.transaction().await?;
    let mut renamed = Vec::new();
    for table in tables {
        let rows = transaction
            .query_typed(INDEXES, &[(&table, Type::TEXT), (&PREFIX, Type::TEXT)])
            .await?;
        for index in rows.iter().map(|row| row.get::<_, String>(0)) {
            let sql = format!("ALTER INDEX {} RENAME TO {}", quote(&index), quote(&legacy(&index)));
            transaction.batch_execute(&sql).await?;
        }
        let taken = legacy(&table);
        let exists = transaction
            .query_typed_one(
                "SELECT to_regclass(quote_ident($1)) IS NOT NULL",
                &[(&taken, Type::TEXT)],
            )
            .await?;
        if exists.get(0) {
            return Err(MigrateError::AdoptedBefore { table, taken });
        }
        // Renames views and foreign tables too.
        let sql = format!("ALTER TABLE {} RENAME TO {}", quote(&table), quote(&taken));
        transaction.batch_execute(&sql).await?;
        renamed.push((table, taken));
    }
    transaction.commit().await?;
    Ok(renamed)
}

fn legacy(name: &str) -> String {
    format!("{PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_cannot_break_out() {
        assert_eq!(quote(&legacy("a\"; DROP TABLE x; --")), "\"legacy_a\"\"; DROP TABLE x; --\"");
    }
}
