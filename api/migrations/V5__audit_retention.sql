-- The one way in which entries of the audit log go: by age. It runs as the owner of the tables, so that the
-- role that serves needs no right to delete, and it leaves alone whatever is younger than 30 days, whoever
-- asks. Returns how many it removed.
--
-- What it names is looked up in the schema of the tables and nowhere else: it is not the caller's to choose.
DO $$
BEGIN
    EXECUTE format($create$
        CREATE FUNCTION audit_log_expire(days integer, batch integer) RETURNS bigint
        LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, %1$I, pg_temp
        AS $body$
            WITH removed AS (
                DELETE FROM %1$I.audit_log WHERE id IN (
                    SELECT id FROM %1$I.audit_log
                    WHERE at < now() - make_interval(days => greatest(days, 30))
                    ORDER BY at
                    LIMIT batch
                    FOR UPDATE SKIP LOCKED
                )
                RETURNING 1
            )
            SELECT count(*) FROM removed
        $body$
    $create$, current_schema());
END
$$;

REVOKE ALL ON FUNCTION audit_log_expire(integer, integer) FROM PUBLIC;
