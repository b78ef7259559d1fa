//! Who is behind a token, and whose session has ended since.

use std::collections::HashMap;

use knm_shared::access::Access;
use knm_shared::session::{self, Identity};
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

    /// What these sessions and tokens may do now; those that have ended are missing.
    ///
    /// # Errors
    /// When there is no answer: the caller asks again later.
    pub async fn access_of(&self, sessions: &[Uuid]) -> Result<HashMap<Uuid, Access>, DbError> {
        let client = self.client().await?;
        let result = timely(session::access_of(&**client, sessions)).await;
        settle(client, result)
    }
}
