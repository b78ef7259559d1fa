//! The name of the field at fault, and the fault, from what serde says.

/// Joins the path that was reached with the field that only the message names: an unknown or missing
/// one belongs to the parent that the path ends at. Empty when the whole value is at fault.
#[must_use]
pub fn name(path: &str, message: &str) -> String {
    let path = if path == "." { "" } else { path };
    let named = ["unknown field `", "missing field `"]
        .into_iter()
        .find_map(|start| message.strip_prefix(start)?.split_once('`'))
        .map(|(name, _)| name);
    match (path, named) {
        (path, None) => path.to_owned(),
        ("", Some(name)) => name.to_owned(),
        (path, Some(name)) if path == name || path.ends_with(&format!(".{name}")) => {
            path.to_owned()
        }
        (path, Some(name)) => format!("{path}.{name}"),
    }
}

/// What serde says is wrong, without the value that it quotes: that may be a secret in the wrong place.
/// Names of fields stay.
#[must_use]
pub fn fault(message: &str) -> String {
    const NAMES_ONLY: [&str; 4] = [
        "unknown field `",
        "missing field `",
        "duplicate field `",
        "data did not match any variant",
    ];
    if NAMES_ONLY.iter().any(|start| message.starts_with(start)) {
        return message.to_owned();
    }
    // What was expected is ours, and comes last.
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return "invalid value".to_owned();
    };
    let found = found.split(['`', '"']).next().unwrap_or_default();
    let counted = found.starts_with("invalid length ");
    let known = found.is_ascii() && found.starts_with("invalid type: ");
    let found = match found {
        found if counted || known => found,
        found if found.starts_with("unknown variant") => "unknown word",
        _ => "invalid value",
    };
    format!("{}, expected {expected}", found.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_fields_belong_to_where_the_path_ends() {
        for (path, message, field) in [
            (".", "invalid type: string", ""),
            (".", "unknown field `a`, expected b", "a"),
            ("x.a", "unknown field `a`, expected b", "x.a"),
            ("x", "missing field `a`", "x.a"),
            ("x.y[1]", "invalid type: null", "x.y[1]"),
        ] {
            assert_eq!(name(path, message), field, "{path} {message}");
        }
    }

    #[test]
    fn a_fault_quotes_no_value() {
        for (message, expected) in [
            (
                "invalid type: integer `1234`, expected a string",
                "invalid type: integer, expected a string",
            ),
            (
                "invalid type: string \"s3cr3t, expected s3cr3t\", expected struct X",
                "invalid type: string, expected struct X",
            ),
            ("invalid type: null, expected a map", "invalid type: null, expected a map"),
            ("invalid length 2, expected 3 elements", "invalid length 2, expected 3 elements"),
            ("invalid value: integer `-7`, expected u32", "invalid value, expected u32"),
            ("unknown variant `s3cr3t`, expected `a` or `b`", "unknown word, expected `a` or `b`"),
            ("unknown field `x`, expected `a`", "unknown field `x`, expected `a`"),
            ("missing field `a`", "missing field `a`"),
            ("`s3cr3t` is not what it should be", "invalid value"),
        ] {
            assert_eq!(fault(message), expected);
        }
    }
}
