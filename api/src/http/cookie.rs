//! The session cookie.

use std::time::Duration;

use http::HeaderValue;
use knm_shared::session::{COOKIE, Token};

/// `Set-Cookie` for a new session. `secure` where the browser came over TLS: without it, the browser
/// would not send the cookie back over plain HTTP.
///
/// # Panics
/// Never: tokens are made of URL-safe characters.
#[must_use]
pub fn set(token: &Token, max_age: Duration, secure: bool) -> HeaderValue {
    build(token.expose(), max_age, secure)
}

/// `Set-Cookie` that makes the browser forget the session.
#[must_use]
pub fn clear(secure: bool) -> HeaderValue {
    build("", Duration::ZERO, secure)
}

fn build(value: &str, max_age: Duration, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let age = max_age.as_secs();
    let text =
        format!("{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    let mut header = HeaderValue::from_str(&text).expect("tokens are URL-safe characters");
    header.set_sensitive(true);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes() {
        let cookie = set(&Token::new("abc".into()), Duration::from_secs(60), true);
        assert_eq!(
            cookie,
            "knm_session=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        assert!(!clear(false).to_str().expect("ascii").contains("Secure"));
        assert!(clear(false).to_str().expect("ascii").contains("Max-Age=0"));
    }
}
