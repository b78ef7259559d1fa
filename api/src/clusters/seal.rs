//! Encrypts kubeconfigs at rest: AES-256-GCM with a random nonce, bound to the cluster's name, so that
//! a row's ciphertext is of no use in another row.
//!
//! Layout: one byte of version, 12 bytes of nonce, ciphertext with its tag.

use std::sync::Arc;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knm_shared::config::env;

const VERSION: u8 = 1;
const KEY: usize = 32;
const NONCE: usize = 12;

/// `KNM_ENCRYPTION_KEY` as it must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}: key {number} is not {KEY} bytes in base64; make one with \"openssl rand -base64 {KEY}\"",
    env::ENCRYPTION_KEY
)]
pub struct KeyError {
    number: usize,
}

/// Why something cannot be encrypted or read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no key.
    #[error("{} is not set", env::ENCRYPTION_KEY)]
    NoKey,
    /// None of the keys fits, or the ciphertext was changed.
    #[error(
        "it cannot be decrypted: it was stored with a key that {} does not have",
        env::ENCRYPTION_KEY
    )]
    WrongKey,
}

/// The keys: the first encrypts, all of them decrypt. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: Arc<[Aes256Gcm]>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

impl Keyring {
    /// Reads keys in base64, separated by commas; an empty text is no key.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let read = |(i, part): (usize, &str)| {
            let bytes = STANDARD.decode(part).ok().and_then(|b| <[u8; KEY]>::try_from(b).ok());
            let bytes = bytes.ok_or(KeyError { number: i + 1 })?;
            Ok(Aes256Gcm::new(&Key::<Aes256Gcm>::from(bytes)))
        };
        Ok(Self { keys: parts.enumerate().map(read).collect::<Result<_, _>>()? })
    }

    /// Encrypts a cluster's kubeconfig.
    ///
    /// # Errors
    /// [`SealError::NoKey`]
    pub fn seal(&self, cluster: &str, text: &str) -> Result<Vec<u8>, SealError> {
        let key = self.keys.first().ok_or(SealError::NoKey)?;
        let nonce: [u8; NONCE] = rand::random();
        let payload = Payload { msg: text.as_bytes(), aad: cluster.as_bytes() };
        let sealed = key
            .encrypt(&Nonce::from(nonce), payload)
            .expect("only texts beyond 64 GiB cannot be encrypted");
        Ok([&[VERSION][..], &nonce, &sealed].concat())
    }

    /// Decrypts it.
    ///
    /// # Errors
    /// [`SealError`]
    pub fn open(&self, cluster: &str, sealed: &[u8]) -> Result<String, SealError> {
        if self.keys.is_empty() {
            return Err(SealError::NoKey);
        }
        let Some((&[VERSION], rest)) = sealed.split_first_chunk::<1>() else {
            return Err(SealError::WrongKey);
        };
        let (nonce, msg) = rest.split_first_chunk::<NONCE>().ok_or(SealError::WrongKey)?;
        let nonce = Nonce::from(*nonce);
        let aad = cluster.as_bytes();
        let open = |key: &Aes256Gcm| key.decrypt(&nonce, Payload { msg, aad }).ok();
        let bytes = self.keys.iter().find_map(open).ok_or(SealError::WrongKey)?;
        String::from_utf8(bytes).map_err(|_| SealError::WrongKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        STANDARD.encode([byte; KEY])
    }

    #[test]
    fn what_was_sealed_opens_with_any_key_that_has_it_and_only_for_its_cluster() {
        let old = Keyring::parse(&key(1)).expect("a key");
        let new = Keyring::parse(&format!("{},\n{}", key(2), key(1))).expect("keys");
        let sealed = old.seal("east", "secret").expect("a key");
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_ne!(sealed, old.seal("east", "secret").expect("a key"), "nonces are random");
        assert_eq!(new.open("east", &sealed).as_deref(), Ok("secret"));
        assert_eq!(new.open("west", &sealed), Err(SealError::WrongKey));
        let rotated = new.seal("east", "secret").expect("a key");
        assert_eq!(old.open("east", &rotated), Err(SealError::WrongKey));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(old.open("east", &changed), Err(SealError::WrongKey), "byte {at}");
            assert_eq!(old.open("east", &sealed[..at]), Err(SealError::WrongKey), "{at} bytes");
        }
    }

    #[test]
    fn there_is_no_default_key_and_a_bad_one_is_named() {
        let none = Keyring::parse(" ").expect("no key is fine");
        assert_eq!(none.seal("east", "secret"), Err(SealError::NoKey));
        assert_eq!(none.open("east", &[1; 40]), Err(SealError::NoKey));
        let bad = Keyring::parse(&format!("{},c2hvcnQ=", key(1))).expect_err("too short");
        assert!(bad.to_string().starts_with("KNM_ENCRYPTION_KEY: key 2 is not 32 bytes"), "{bad}");
        assert!(!format!("{:?}", Keyring::parse(&key(7))).contains("7, 7"));
    }
}
