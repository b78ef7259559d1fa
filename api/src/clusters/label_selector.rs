//! Label selectors: grammar, meaning and error words of `k8s.io/apimachinery/pkg/labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::FromStr;

use super::SelectorError;
use super::syntax::{label_key, label_value};

/// A parsed label selector. The empty one selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

/// A missing key satisfies `NotIn` and `Absent` and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Present,
    Absent,
    GreaterThan(i64),
    LessThan(i64),
}

impl LabelSelector {
    /// Whether every requirement holds.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|r| r.test.holds(labels.get(&r.key).map(String::as_str)))
    }

    /// Whether it selects everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|v| values.contains(v)),
            Self::NotIn(values) => !value.is_some_and(|v| values.contains(v)),
            Self::Present => value.is_some(),
            Self::Absent => value.is_none(),
            Self::GreaterThan(than) => number().is_some_and(|n| n > *than),
            Self::LessThan(than) => number().is_some_and(|n| n < *than),
        }
    }
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(s: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { tokens: lex(s)?.into_iter().peekable() };
        parser.selector().map(Self).map_err(SelectorError)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// One of `, ( ) ! = == != > <`.
    Symbol(&'static str),
    /// A key, a value, or one of the words `in` and `notin`.
    Word(String),
}

impl Token {
    fn text(token: Option<&Self>) -> &str {
        match token {
            Some(Self::Symbol(s)) => s,
            Some(Self::Word(w)) => w,
            None => "",
        }
    }
}

/// Longest first.
const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", ",", "(", ")", ">", "<"];

fn lex(s: &str) -> Result<Vec<Token>, SelectorError> {
    /// More could only be a mistake, and each costs a comparison per node.
    const MAX_LEN: usize = 16 * 1024;
    if s.len() > MAX_LEN {
        return Err(SelectorError(format!("must be no more than {MAX_LEN} bytes")));
    }
    let blank = [' ', '\t', '\r', '\n'];
    let mut tokens = Vec::new();
    let mut rest = s.trim_start_matches(blank);
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let ends = |c: char| blank.contains(&c) || ",()!=<>".contains(c);
            let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        }
        rest = rest.trim_start_matches(blank);
    }
    Ok(tokens)
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.tokens.peek().is_none() {
            return Ok(requirements);
        }
        let starts = |t: Option<&Token>| matches!(t, Some(Token::Word(_) | Token::Symbol("!")));
        if !starts(self.tokens.peek()) {
            let found = Token::text(self.tokens.peek());
            return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
        }
        loop {
            let requirement = self.requirement();
            requirements
                .push(requirement.map_err(|e| format!("unable to parse requirement: {e}"))?);
            match self.tokens.next() {
                None => return Ok(requirements),
                Some(Token::Symbol(",")) if starts(self.tokens.peek()) => {}
                Some(Token::Symbol(",")) => {
                    let found = Token::text(self.tokens.peek());
                    return Err(format!("found '{found}', expected: identifier after ','"));
                }
                other => {
                    let found = Token::text(other.as_ref());
                    return Err(format!("found '{found}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.tokens.next_if_eq(&Token::Symbol("!")).is_some();
        let key = match self.tokens.next() {
            Some(Token::Word(key)) => key,
            other => {
                let found = Token::text(other.as_ref());
                return Err(format!("found '{found}', expected: identifier"));
            }
        };
        label_key(&key).map_err(|e| format!("key: Invalid value: {key:?}: {e}"))?;
        if absent {
            return Ok(Requirement { key, test: Test::Absent });
        }
        let test = if matches!(self.tokens.peek(), None | Some(Token::Symbol(","))) {
            Test::Present
        } else {
            self.test(&key)?
        };
        Ok(Requirement { key, test })
    }

    fn test(&mut self, key: &str) -> Result<Test, String> {
        let operator = self.tokens.next();
        let values = match operator.as_ref().map(|o| Token::text(Some(o))) {
            Some("in" | "notin") => self.values()?,
            Some("=" | "==" | "!=" | ">" | "<") => BTreeSet::from([self.exact_value()?]),
            other => {
                let found = other.unwrap_or_default();
                return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        for value in &values {
            label_value(value)
                .map_err(|e| format!("values[{key}]: Invalid value: {value:?}: {e}"))?;
        }
        let number = || {
            let value = values.first().map_or("", String::as_str);
            value.parse().map_err(|_| {
                format!(
                    "values: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be \
                     an integer"
                )
            })
        };
        Ok(match Token::text(operator.as_ref()) {
            "notin" | "!=" => Test::NotIn(values),
            ">" => Test::GreaterThan(number()?),
            "<" => Test::LessThan(number()?),
            _ => Test::In(values),
        })
    }

    /// `( [value] { "," [value] } )`: an omitted value is the empty one.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        if self.tokens.next_if_eq(&Token::Symbol("(")).is_none() {
            return Err(format!("found '{}' expected: '('", Token::text(self.tokens.peek())));
        }
        if self.tokens.next_if_eq(&Token::Symbol(")")).is_some() {
            return Err(
                "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                    .into(),
            );
        }
        let mut values = BTreeSet::new();
        loop {
            let word = self.tokens.next_if(|t| matches!(t, Token::Word(_)));
            values.insert(word.map_or_else(String::new, |w| Token::text(Some(&w)).to_owned()));
            match self.tokens.next() {
                Some(Token::Symbol(",")) => {}
                Some(Token::Symbol(")")) => return Ok(values),
                other => {
                    let found = Token::text(other.as_ref());
                    return Err(format!("found '{found}', expected: ',' or ')'"));
                }
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, String> {
        match self.tokens.next_if(|t| *t != Token::Symbol(",")) {
            Some(Token::Word(value)) => Ok(value),
            None => Ok(String::new()),
            other => Err(format!("found '{}', expected: identifier", Token::text(other.as_ref()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels() -> BTreeMap<String, String> {
        [("app", "web"), ("zone", "a"), ("empty", ""), ("cpu", "16"), ("in", "notin")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    #[test]
    fn operators_mean_what_kubernetes_says() {
        for (selector, expected) in [
            ("", true),
            ("  ", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web", true),
            ("app=", false),
            ("empty=", true),
            ("empty", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("app in (web, db)", true),
            ("app in (db)", false),
            ("empty in (,x)", true),
            ("app notin (db)", true),
            ("missing notin (db)", true),
            ("app", true),
            ("!app", false),
            ("! missing", true),
            ("app,!missing,zone in (a,b)", true),
            ("app=web,zone=b", false),
            ("cpu>8", true),
            ("cpu > 16", false),
            ("cpu<17", true),
            ("app>1", false),
            ("in in (notin)", true),
            ("example.com/x notin (y)", true),
        ] {
            let parsed: LabelSelector = selector.parse().expect(selector);
            assert_eq!(parsed.matches(&labels()), expected, "{selector}");
        }
    }

    #[test]
    fn errors_say_what_kubernetes_says() {
        for (selector, expected) in [
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a=b,", "found '', expected: identifier after ','"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        ] {
            let error = selector.parse::<LabelSelector>().expect_err(selector);
            assert_eq!(error.to_string(), expected, "{selector}");
        }
        for (selector, part) in [
            ("a in ()", "values set can't be empty"),
            ("a>b", "the value must be an integer"),
            ("a=-", "a valid label must be"),
            ("-a=b", "name part must consist"),
            ("a/b/c", "Invalid value: \"a/b/c\""),
        ] {
            let error = selector.parse::<LabelSelector>().expect_err(selector).to_string();
            assert!(error.contains(part), "{selector}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(s in "[a-z=!,() <>/.-]{0,40}") {
            let _ = s.parse::<LabelSelector>();
        }

        #[test]
        fn equality_agrees_with_the_map(key in "[a-z]{1,3}", value in "[a-z0-9]{1,3}") {
            let labels = BTreeMap::from([(key.clone(), value.clone())]);
            for (selector, expected) in [
                (format!("{key}={value}"), true),
                (format!("{key}!={value}"), false),
                (format!("{key} in ({value},zzzz)"), true),
                (format!("{key} notin ({value})"), false),
                (format!("x{key}"), false),
            ] {
                let parsed: LabelSelector = selector.parse().expect("valid");
                prop_assert_eq!(parsed.matches(&labels), expected, "{}", selector);
            }
        }
    }
}
