//! The name of the field at fault, from what serde says.

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
}
