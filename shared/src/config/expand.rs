//! `${VAR}` in a string value.
//!
//! `${NAME}` is replaced by the variable, `$$` is one dollar, and any other dollar stands for itself.
//! What a variable contains is not expanded again.

use super::env::Lookup;

/// Why a value cannot be expanded. Says nothing of the value but the name of a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    #[error(
        "environment variable {0} is not set; set it, or write $${{{0}}} if the value is meant literally"
    )]
    Undefined(String),
    #[error(
        "a \"${{\" must be followed by the name of an environment variable and \"}}\"; for a literal \
         dollar write $$"
    )]
    Malformed,
}

/// A value after expansion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Whether any part of it came from the environment.
    pub(super) from_env: bool,
}

pub(super) fn expand(text: &str, env: Lookup<'_>) -> Result<Expanded, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut from_env = false;
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or(ExpandError::Malformed)?;
            if !is_name(name) {
                return Err(ExpandError::Malformed);
            }
            out.push_str(&env(name).ok_or_else(|| ExpandError::Undefined(name.to_owned()))?);
            from_env = true;
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(Expanded { text: out, from_env })
}

fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".into()),
            "NESTED" => Some("${A}$$".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn expands_once_and_only_what_is_written_so() {
        let cases = [
            ("plain", "plain", false),
            ("${A}", "alpha", true),
            ("<${A}|${A}>", "<alpha|alpha>", true),
            ("${NESTED}", "${A}$$", true),
            ("a${EMPTY}b", "ab", true),
            ("$${A}", "${A}", false),
            ("$$${A}", "$alpha", true),
            ("p$ss$", "p$ss$", false),
            ("$A", "$A", false),
        ];
        for (text, expected, from_env) in cases {
            let expected = Expanded { text: expected.into(), from_env };
            assert_eq!(expand(text, &env), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_mistake_names_the_variable_and_nothing_else() {
        assert_eq!(expand("x${B}", &env), Err(ExpandError::Undefined("B".into())));
        for bad in ["${", "${A", "${}", "${A:-hunter2}", "${1A}", "${ A }", "${hun ter2}"] {
            let error = expand(bad, &env).expect_err(bad);
            assert_eq!(error, ExpandError::Malformed, "{bad}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn a_value_whose_dollars_are_doubled_comes_back_as_it_was(text in "\\PC*") {
            let expanded = expand(&text.replace('$', "$$"), &env).expect("no variable in it");
            prop_assert_eq!(expanded, Expanded { text, from_env: false });
        }

        #[test]
        fn no_value_makes_it_panic(text in "[${}A-C_:x]{0,40}") {
            let _ = expand(&text, &env);
        }

        #[test]
        fn what_a_variable_contains_is_left_alone(value in "\\PC*", before in "[^$]*", after in "[^$]*") {
            let lookup = |_: &str| Some(value.clone());
            let expanded = expand(&format!("{before}${{V}}{after}"), &lookup).expect("defined");
            prop_assert_eq!(expanded.text, format!("{before}{value}{after}"));
        }
    }
}
