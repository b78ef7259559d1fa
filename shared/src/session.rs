//! Who is behind a token: the lookup that api and relay share.
//!
//! Tokens are opaque random values; the database knows only their SHA-256. They travel in the cookie
//! [`COOKIE`] or as `Authorization: Bearer`, never in a URL.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE as COOKIE_HEADER};
use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use crate::access::{Access, Reach};
use crate::ids::UserId;

/// The session cookie's name.
pub const COOKIE: &str = "knm_session";

/// What a user may do, from little to all; which action takes which is [`crate::access`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// And labels, annotates, taints, cordons, uncordons.
    Operator,
    /// And drains, manages clusters and users.
    Admin,
}

impl Role {
    /// The word in rows and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|r| r.as_str() == word)
    }
}

/// A live session or personal token and its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The row in `sessions`.
    pub session: Uuid,
    /// Whose it is.
    pub user: UserId,
    /// The name to show.
    pub username: String,
    /// What its user may do, and no more than the token may.
    pub access: Access,
}

impl Identity {
    /// The role in the installation as a whole, to show.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.access.role
    }
}

/// A secret as a client holds it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token that this process has just made.
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The token of a request: its bearer token, else its session cookie.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        bearer(headers).or_else(|| cookie(headers)).map(|t| Self(t.to_owned()))
    }

    /// Whether a request names its token itself, which no browser does of its own accord.
    #[must_use]
    pub fn is_bearer(headers: &HeaderMap) -> bool {
        bearer(headers).is_some()
    }

    /// Whether a request carries a session cookie, which a browser sends wherever a page tells it to.
    #[must_use]
    pub fn is_cookie(headers: &HeaderMap) -> bool {
        cookie(headers).is_some()
    }

    /// What the database knows of it.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0.as_bytes()).to_vec()
    }

    /// The secret itself, to hand to its owner once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|t| !t.is_empty())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE_HEADER)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && !value.is_empty())
        .map(|(_, value)| value)
}

/// The identity behind a token, or `None` when it is unknown, expired, revoked or its user disabled.
/// Sessions slide: the caller in the api prolongs them, the relay only looks.
///
/// # Errors
/// When the database does not answer; the caller must refuse then.
pub async fn lookup(
    client: &impl GenericClient,
    token: &Token,
) -> Result<Option<Identity>, tokio_postgres::Error> {
    let sql = format!("{LIVE} AND s.token_hash = $1");
    let hash = token.hash();
    let row = client.query_typed_opt(&sql, &[(&hash, Type::BYTEA)]).await?;
    Ok(row.and_then(|row| identity(&row)))
}

/// Every live session and token, with its user and the clusters that they are bound to.
const LIVE: &str = "
    SELECT s.id, u.id, u.username, u.role, s.token_hash, u.every_cluster,
           ARRAY(SELECT c.cluster FROM user_clusters c WHERE c.user_id = u.id ORDER BY c.cluster),
           ARRAY(SELECT c.role FROM user_clusters c WHERE c.user_id = u.id ORDER BY c.cluster),
           s.role
    FROM sessions s JOIN users u ON u.id = s.user_id
    WHERE s.expires_at > now() AND u.disabled_at IS NULL";

/// [`lookup`] of many tokens by their [`Token::hash`], in one question. What is missing from the answer
/// is not good.
///
/// # Errors
/// When the database does not answer; the caller must refuse then.
pub async fn lookup_all(
    client: &impl GenericClient,
    hashes: &[Vec<u8>],
) -> Result<HashMap<Vec<u8>, Identity>, tokio_postgres::Error> {
    let sql = format!("{LIVE} AND s.token_hash = ANY($1)");
    let rows = client.query_typed(&sql, &[(&hashes, Type::BYTEA_ARRAY)]).await?;
    Ok(rows.iter().filter_map(|row| Some((row.get(4), identity(row)?))).collect())
}

/// What the sessions and tokens of these ids may do now; those that have ended are missing.
///
/// # Errors
/// When the database does not answer.
pub async fn access_of(
    client: &impl GenericClient,
    sessions: &[Uuid],
) -> Result<HashMap<Uuid, Access>, tokio_postgres::Error> {
    let sql = format!("{LIVE} AND s.id = ANY($1)");
    let rows = client.query_typed(&sql, &[(&sessions, Type::UUID_ARRAY)]).await?;
    Ok(rows.iter().filter_map(identity).map(|i| (i.session, i.access)).collect())
}

/// What cannot be understood, a later release's role say, is no identity.
fn identity(row: &Row) -> Option<Identity> {
    let reach = if row.get(5) {
        Reach::Everywhere
    } else {
        let (clusters, roles): (Vec<String>, Vec<&str>) = (row.get(6), row.get(7));
        let known = clusters.into_iter().zip(roles).map(|(c, r)| Some((c, Role::from_word(r)?)));
        Reach::Only(Arc::new(known.collect::<Option<BTreeMap<_, _>>>()?))
    };
    let access = Access { role: Role::from_word(row.get(3))?, reach };
    let access = match row.get::<_, Option<&str>>(8) {
        None => access,
        Some(most) => access.capped(Role::from_word(most)?),
    };
    Some(Identity { session: row.get(0), user: UserId(row.get(1)), username: row.get(2), access })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header value"));
        headers
    }

    #[test]
    fn a_bearer_token_wins_over_the_cookie() {
        let mut both = headers(COOKIE_HEADER, "a=b; knm_session=fromcookie");
        assert_eq!(Token::from_headers(&both).expect("cookie").expose(), "fromcookie");
        both.insert(AUTHORIZATION, "bearer fromheader".parse().expect("a value"));
        assert_eq!(Token::from_headers(&both).expect("bearer").expose(), "fromheader");
    }

    #[test]
    fn what_is_no_token_is_none() {
        for cookie in ["", "knm_session=", "xknm_session=a", "knm_session"] {
            assert!(Token::from_headers(&headers(COOKIE_HEADER, cookie)).is_none(), "{cookie:?}");
        }
        for value in ["Bearer", "Bearer ", "Basic abc"] {
            assert!(Token::from_headers(&headers(AUTHORIZATION, value)).is_none(), "{value:?}");
        }
    }

    proptest! {
        /// Whatever a client sends, at most one token comes of it, and that is a part of what it sent.
        #[test]
        fn a_token_is_what_was_sent(value in "[ -~]{0,80}", tail in "[a-zA-Z0-9;= _-]{0,40}") {
            for value in [value, format!("knm_session={tail}"), format!("Bearer {tail}")] {
                for name in [COOKIE_HEADER, AUTHORIZATION] {
                    let headers = headers(name, &value);
                    let token = Token::from_headers(&headers);
                    prop_assert!(token.as_ref().is_none_or(|t| value.contains(t.expose())));
                    prop_assert!(token.as_ref().is_none_or(|t| !t.expose().is_empty()));
                    let (bearer, cookie) = (Token::is_bearer(&headers), Token::is_cookie(&headers));
                    prop_assert_eq!(token.is_some(), bearer || cookie);
                }
            }
        }
    }

    #[test]
    fn debugging_a_token_does_not_show_it() {
        assert!(!format!("{:?}", Token::new("s3cret".into())).contains("s3cret"));
    }
}
