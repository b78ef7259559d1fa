//! Two roles: one that owns the tables and migrates, and one that the program serves with. The second
//! can add to the audit log, read it, and have what is old removed, and that is all it can do to it.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::{MigrateError, quote};

/// Whether the session's role may make tables where ours are.
pub(super) async fn may_create(client: &Client) -> Result<bool, Error> {
    const SQL: &str = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";
    Ok(client.query_typed_one(SQL, &[]).await?.get(0))
}

/// The version that the schema is at; 0 where there is none.
pub(super) async fn version(client: &Client) -> Result<i32, Error> {
    const THERE: &str = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    const SQL: &str = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    if !client.query_typed_one(THERE, &[]).await?.get::<_, bool>(0) {
        return Ok(0);
    }
    Ok(client.query_typed_one(SQL, &[]).await?.get(0))
}

/// Gives a role what serving takes, on every table that is there now.
pub(super) async fn grant(client: &mut Client, role: &str) -> Result<(), MigrateError> {
    const KNOWN: &str = "
        SELECT r.rolname = current_user, r.rolsuper, current_schema()::text
        FROM pg_roles r WHERE r.rolname = $1";
    let known = client.query_typed_opt(KNOWN, &[(&role, Type::TEXT)]).await?;
    let Some(known) = known else { return Err(MigrateError::NoSuchRole(role.to_owned())) };
    if known.get(0) || known.get(1) {
        return Err(MigrateError::OwnRole(role.to_owned()));
    }
    let (schema, role) = (quote(known.get(2)), quote(role));
    let sql = format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
         REVOKE UPDATE, DELETE, TRUNCATE ON {schema}.audit_log FROM {role};
         REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {schema}.refinery_schema_history FROM {role};
         GRANT EXECUTE ON FUNCTION {schema}.audit_log_expire(integer, integer) TO {role}"
    );
    let transaction = client.transaction().await?;
    transaction.batch_execute(&sql).await?;
    transaction.commit().await?;
    Ok(())
}
