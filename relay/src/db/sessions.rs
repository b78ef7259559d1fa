//! Who is behind a token, and whose session has ended since.

use std::collections::{HashMap, HashSet};

use knm_shared::session::{self, Identity};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{Db, DbError, settle, timely};

impl Db {
    /// The identities behind tokens, by their hashes; only of those that are good.
    ///
    /// # Errors
    /// When there is no answer: the caller refuses then.
    pub async fn identify_all(
        &self,
        hashes: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, Identity>, DbError> {
        let client = self.client().await?;
        let result = timely(session::lookup_all(&**client, hashes)).await;
        settle(client, result)
    }

    /// Which of these sessions and tokens are still good.
    ///
    /// # Errors
    /// When there is no answer: the caller asks again later.
    pub async fn still_good(&self, sessions: &[Uuid]) -> Result<HashSet<Uuid>, DbError> {
        const SQL: &str = "
            SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id
            WHERE s.id = ANY($1) AND s.expires_at > now() AND u.disabled_at IS NULL";
        let client = self.client().await?;
        let params: [(&(dyn ToSql + Sync), Type); 1] = [(&sessions, Type::UUID_ARRAY)];
        let result = timely(client.query_typed(SQL, &params)).await;
        let rows = settle(client, result)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
