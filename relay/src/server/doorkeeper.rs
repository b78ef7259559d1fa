//! Who is behind a token: asked for everybody at the door in one question, and then for everybody who
//! has come meanwhile in the next. When a relay dies, all its clients come to another at once; a
//! question for each of them would take turns on the few connections that the relay has.

use std::sync::{Mutex, PoisonError};

use knm_shared::session::{Identity, Token};
use tokio::sync::oneshot;

use crate::db::Db;

/// The database does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Away;

type Answer = Result<Option<Identity>, Away>;

struct Waiting {
    hash: Vec<u8>,
    answer: oneshot::Sender<Answer>,
}

/// Asks. Whoever's turn it is asks for all who wait; no token is answered by a question that was put
/// before it came, so that a revoked session is not let in.
pub(super) struct Doorkeeper {
    db: Db,
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Doorkeeper")
    }
}

impl Doorkeeper {
    pub(super) fn new(db: Db) -> Self {
        Self { db, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity behind a token, if it is good. As many wait as there are connections that have not
    /// become WebSockets yet, which the server limits.
    pub(super) async fn identify(&self, token: &Token) -> Answer {
        let hash = token.hash();
        loop {
            let (answer, mut answered) = oneshot::channel();
            self.waiting().push(Waiting { hash: hash.clone(), answer });
            tokio::select! {
                biased;
                answer = &mut answered => match answer {
                    Ok(answer) => return answer,
                    // Whoever asked for us has hung up before the answer came.
                    Err(_) => continue,
                },
                _turn = self.turn.lock() => {
                    // Ours may have been answered with the last question.
                    if let Ok(answer) = answered.try_recv() {
                        return answer;
                    }
                    self.ask().await;
                    if let Ok(answer) = answered.try_recv() {
                        return answer;
                    }
                }
            }
        }
    }

    async fn ask(&self) {
        let all = std::mem::take(&mut *self.waiting());
        let hashes: Vec<Vec<u8>> = all.iter().map(|w| w.hash.clone()).collect();
        let identities = self.db.identify_all(&hashes).await;
        if let Err(error) = &identities {
            tracing::debug!(%error, waiting = all.len(), "cannot check sessions");
        }
        for Waiting { hash, answer } in all {
            let found = identities.as_ref().map(|i| i.get(&hash).cloned()).map_err(|_| Away);
            // Who has hung up needs no answer.
            let _ = answer.send(found);
        }
    }
}
