//! What Kubernetes accepts as a label key and as a label value, in its own words
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>,
//! `k8s.io/apimachinery/pkg/util/validation`).

const MAX_NAME: usize = 63;
const MAX_PREFIX: usize = 253;

const NAME_MESSAGE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', \
     and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
     '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric \
     characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
     'MyValue',  or 'my_value',  or '12345', regex used for validation is \
     '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const PREFIX_MESSAGE: &str = "prefix part a lowercase RFC 1123 subdomain must consist of lower \
     case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
     character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Checks a qualified name: `name` or `prefix/name`.
///
/// # Errors
/// What is wrong with it.
pub fn label_key(key: &str) -> Result<(), String> {
    let name = match key.split_once('/') {
        None => key,
        Some((_, rest)) if rest.contains('/') => {
            return Err(format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')",
                NAME_MESSAGE.trim_start_matches("name part ")
            ));
        }
        Some(("", _)) => return Err("prefix part must be non-empty".into()),
        Some((prefix, _)) if prefix.len() > MAX_PREFIX => {
            return Err(format!("prefix part must be no more than {MAX_PREFIX} characters"));
        }
        Some((prefix, _)) if !is_subdomain(prefix) => return Err(PREFIX_MESSAGE.into()),
        Some((_, name)) => name,
    };
    if name.is_empty() {
        return Err("name part must be non-empty".into());
    }
    if name.len() > MAX_NAME {
        return Err(format!("name part must be no more than {MAX_NAME} characters"));
    }
    if is_name(name) { Ok(()) } else { Err(NAME_MESSAGE.into()) }
}

/// Checks a label's value.
///
/// # Errors
/// What is wrong with it.
pub fn label_value(value: &str) -> Result<(), String> {
    if value.len() > MAX_NAME {
        return Err(format!("must be no more than {MAX_NAME} characters"));
    }
    if value.is_empty() || is_name(value) { Ok(()) } else { Err(VALUE_MESSAGE.into()) }
}

fn is_name(s: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = s.as_bytes();
    bytes.iter().copied().all(inner) && ends(bytes.first()) && ends(bytes.last())
}

fn is_subdomain(s: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    s.split('.').map(str::as_bytes).all(|part| {
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        part.iter().all(inner) && edge(part.first()) && edge(part.last())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let long = "a".repeat(63);
        let domain = format!("{}/x", vec!["a".repeat(62); 4].join("."));
        for good in ["a", "A_b.c-9", "example.com/Name", "a.b-c/9", &long, &domain] {
            assert_eq!(label_key(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(64);
        for (bad, what) in [
            ("", "name part must be non-empty"),
            ("/a", "prefix part must be non-empty"),
            ("a/", "name part must be non-empty"),
            ("a/b/c", "optional DNS subdomain prefix"),
            ("A/b", "prefix part a lowercase"),
            ("a..b/c", "prefix part a lowercase"),
            ("-a", "name part must consist"),
            ("a b", "name part must consist"),
            ("é", "name part must consist"),
            (too_long.as_str(), "no more than 63"),
        ] {
            let error = label_key(bad).expect_err(bad);
            assert!(error.contains(what), "{bad}: {error}");
        }
        let long_prefix = format!("{}/x", vec!["a".repeat(63); 4].join("."));
        assert!(label_key(&long_prefix).expect_err("too long").contains("no more than 253"));
    }

    #[test]
    fn values() {
        for good in ["", "a", "My_value.9"] {
            assert_eq!(label_value(good), Ok(()), "{good}");
        }
        for bad in ["-", "a-", " ", "a/b", "ä"] {
            assert!(label_value(bad).is_err(), "{bad}");
        }
        assert!(label_value(&"a".repeat(64)).is_err());
    }
}
