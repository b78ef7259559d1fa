//! What a new account's name and password must be like.

/// Longest user name, in characters.
const MAX_NAME: usize = 64;
/// Shortest password, in characters (NIST SP 800-63B, 3.1.1.2).
const MIN_PASSWORD: usize = 8;
/// Longest password, in bytes: hashing is not for novels.
pub(super) const MAX_PASSWORD: usize = 1024;

/// What is wrong with a name or password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The name.
    #[error("a user name has 1 to {MAX_NAME} characters, without spaces and control characters")]
    Username,
    /// Too easy to guess.
    #[error("a password has at least {MIN_PASSWORD} characters")]
    PasswordTooShort,
    /// Too much to hash.
    #[error("a password has at most {MAX_PASSWORD} bytes")]
    PasswordTooLong,
}

/// Checks the name of an account to be made.
///
/// # Errors
/// What is wrong.
pub fn check_username(name: &str) -> Result<(), CredentialError> {
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    let good = (1..=MAX_NAME).contains(&name.chars().count()) && name.chars().all(plain);
    if good { Ok(()) } else { Err(CredentialError::Username) }
}

/// Checks a password to be set.
///
/// # Errors
/// What is wrong.
pub fn check_password(password: &str) -> Result<(), CredentialError> {
    if password.chars().count() < MIN_PASSWORD {
        return Err(CredentialError::PasswordTooShort);
    }
    if password.len() > MAX_PASSWORD { Err(CredentialError::PasswordTooLong) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords() {
        for good in ["a", "jane.doe@example.com", "张伟"] {
            assert_eq!(check_username(good), Ok(()), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", "a b", "a\n", "a\0", &long] {
            assert_eq!(check_username(bad), Err(CredentialError::Username), "{bad:?}");
        }
        assert_eq!(check_password("12345678"), Ok(()));
        assert_eq!(check_password("1234567"), Err(CredentialError::PasswordTooShort));
        assert_eq!(check_password(&"x".repeat(1025)), Err(CredentialError::PasswordTooLong));
    }
}
