//! The signature by which a receiver knows that a message is ours, and not an old one.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// HMAC-SHA256 over `timestamp.body`, in hexadecimal.
pub(super) fn sign(secret: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .unwrap_or_else(|_| unreachable!("keys of any length will do"));
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let bytes = mac.finalize().into_bytes();
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_what_others_compute() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let theirs = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(super::sign("key", 1_700_000_000, b"{}"), theirs);
        assert_ne!(super::sign("key", 1_700_000_001, b"{}"), theirs);
    }
}
