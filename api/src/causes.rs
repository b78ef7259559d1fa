//! Errors as one line of text. Some libraries' messages contain their cause's, others leave it to
//! their source: neither should be missing, nor be there twice.

use std::error::Error;

/// The error's message, and those of its causes that it does not contain.
#[must_use]
pub fn text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let part = e.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen: {0}")]
    struct Repeats(#[source] std::io::Error);

    #[test]
    fn nothing_is_missing_and_nothing_is_there_twice() {
        let taken = || std::io::Error::other("address in use");
        let error = anyhow::Error::new(Repeats(taken())).context("starting");
        assert_eq!(super::text(error.as_ref()), "starting: cannot listen: address in use");
        let error = anyhow::Error::new(taken()).context("starting");
        assert_eq!(super::text(error.as_ref()), "starting: address in use");
    }
}
