//! Query parameters: typed, and refused by name when unknown, repeated or malformed.

use std::fmt::Display;
use std::str::FromStr;

use super::{FieldError, Problem};

/// The parameters of one request. Take what is known, then [`finish`](Self::finish).
#[derive(Debug)]
pub struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Query {
    /// Reads the parameters; empty ones count as left out.
    #[must_use]
    pub fn new(uri: &http::Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Self { pairs, errors: Vec::new() }
    }

    /// The text of a parameter.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let (mine, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pairs).into_iter().partition(|(n, _)| n == name);
        self.pairs = rest;
        if mine.len() > 1 {
            self.fault(name, "is given more than once");
        }
        mine.into_iter().next().map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// A parameter of any type that can be read from text.
    pub fn parsed<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(name)?;
        text.parse().map_err(|e: T::Err| self.fault(name, e.to_string())).ok()
    }

    /// A number within bounds.
    pub fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let text = self.text(name)?;
        let number = text.parse().ok().filter(|n| (min..=max).contains(n));
        if number.is_none() {
            self.fault(name, format!("must be a whole number from {min} to {max}"));
        }
        number
    }

    /// `true` or `false`; left out: false.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.text(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.fault(name, "must be true or false");
                false
            }
        }
    }

    /// Notes a fault that the caller has found.
    pub fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(name, message));
    }

    /// Every fault, with the parameters that nobody has asked for.
    ///
    /// # Errors
    /// 422 when there was any.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            self.fault(&name, "unknown parameter");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(q: &str) -> Query {
        Query::new(&format!("/x?{q}").parse().expect("a path"))
    }

    #[test]
    fn values_are_decoded_and_typed() {
        let mut q = query("label_selector=a%20in+(b)&limit=5&mine=true&seq=7&empty=");
        assert_eq!(q.text("label_selector").as_deref(), Some("a in (b)"));
        assert_eq!(q.number("limit", 1, 10), Some(5));
        assert!(q.flag("mine"));
        assert_eq!(q.parsed::<i64>("seq"), Some(7));
        assert_eq!(q.text("empty"), None);
        assert!(q.finish().is_ok());
    }

    #[test]
    fn faults_name_the_parameter() {
        for (text, name) in [
            ("limit=0", "limit"),
            ("limit=x", "limit"),
            ("mine=1", "mine"),
            ("seq=x", "seq"),
            ("limit=1&limit=2", "limit"),
            ("colour=red", "colour"),
        ] {
            let mut q = query(text);
            let _ = (q.number("limit", 1, 10), q.flag("mine"), q.parsed::<i64>("seq"));
            let problem = q.finish().expect_err(text);
            assert_eq!(problem.errors()[0].field, name, "{text}");
        }
    }
}
