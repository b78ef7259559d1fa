//! Password hashes: argon2id, off the async threads, a bounded number at a time, on threads of their own.
//! An allocator keeps what each thread has freed: on whatever thread is idle, a flood of logins would leave
//! 19 MiB behind on every one of them.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::credentials::MAX_PASSWORD;

/// OWASP's first choice of small memory: 19 MiB, 2 passes, 1 lane
/// (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A login that has not got its turn by now is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Too many logins at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many people are signing in at the same time")]
pub struct PasswordsBusy;

/// One computation.
type Job = Box<dyn FnOnce() + Send>;

/// Makes and checks hashes. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// As many may wait here as have a turn. The threads end with the last clone.
    jobs: Sender<Job>,
    /// A hash of nothing in particular: checking a password against it takes as long as against a
    /// real one, so that the time of an answer does not tell whether a user exists.
    decoy: Arc<str>,
}

impl Passwords {
    /// With room for `at_once` computations, each of which takes a core and 19 MiB for some 20 ms.
    ///
    /// # Panics
    /// When the system has no room for `at_once` threads.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        let random: [u8; 32] = rand::random();
        let decoy = hash(&random).into();
        let (jobs, waiting) = mpsc::channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..at_once {
            let waiting = Arc::clone(&waiting);
            let next = move || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let work = move || {
                while let Ok(job) = next() {
                    job();
                }
            };
            let named = thread::Builder::new().name("passwords".into());
            named.spawn(work).expect("there is room for a few threads");
        }
        Self { turns: Arc::new(Semaphore::new(at_once)), jobs, decoy }
    }

    /// The hash of a new password, as a PHC string.
    ///
    /// # Errors
    /// [`PasswordsBusy`]
    pub async fn hash(&self, password: String) -> Result<String, PasswordsBusy> {
        let turn = self.turn().await?;
        Ok(self.compute(turn, move || hash(password.as_bytes())).await)
    }

    /// Whether the password is the one behind the hash; without a hash, no, after the same time.
    ///
    /// # Errors
    /// [`PasswordsBusy`]
    pub async fn verify(
        &self,
        password: String,
        expected: Option<String>,
    ) -> Result<bool, PasswordsBusy> {
        let turn = self.turn().await?;
        let decoy = self.decoy.clone();
        let check = move || {
            let known = expected.is_some();
            let hash = expected.as_deref().unwrap_or(&decoy);
            verify(&password, hash) && known
        };
        Ok(self.compute(turn, check).await)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, PasswordsBusy> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        Ok(turn.map_err(|_elapsed| PasswordsBusy)?.expect("the semaphore is never closed"))
    }

    /// The turn ends with the computation, also when whoever asked has gone.
    async fn compute<T: Send + 'static>(
        &self,
        turn: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            let result = work();
            drop(turn);
            // Who has gone needs no answer.
            let _ = answer.send(result);
        });
        self.jobs.send(job).expect("the threads live as long as this");
        answered.await.expect("hashing does not panic")
    }
}

fn argon2id() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("constants within bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &[u8]) -> String {
    let hash: PasswordHash =
        argon2id().hash_password(password).expect("the operating system gives random bytes");
    hash.to_string()
}

/// With the parameters of the hash, which may be another release's.
fn verify(password: &str, hash: &str) -> bool {
    match PasswordHash::new(hash) {
        Ok(hash) => {
            password.len() <= MAX_PASSWORD
                && argon2id().verify_password(password.as_bytes(), &hash).is_ok()
        }
        Err(error) => {
            tracing::error!(%error, "a stored password hash is not a PHC string");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_fits() {
        let passwords = Passwords::new(2);
        let hash = passwords.hash("correct horse".into()).await.expect("room");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify =
            |p: &str, h: Option<&str>| passwords.verify(p.to_owned(), h.map(str::to_owned));
        assert_eq!(verify("correct horse", Some(&hash)).await, Ok(true));
        assert_eq!(verify("wrong", Some(&hash)).await, Ok(false));
        assert_eq!(verify("correct horse", None).await, Ok(false));
        // Whose name is unknown is kept waiting by a hash that costs as much.
        let cost = |hash: &str| hash.rsplitn(3, '$').nth(2).map(str::to_owned);
        assert_eq!(cost(&passwords.decoy), cost(&hash));
        assert_eq!(verify("correct horse", Some("rubbish")).await, Ok(false));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_turn_is_sent_away() {
        let passwords = Passwords::new(1);
        let _held = passwords.turn().await.expect("the first");
        assert_eq!(passwords.verify("x".into(), None).await, Err(PasswordsBusy));
    }
}
