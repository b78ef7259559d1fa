//! Label selectors: the grammar, the matching and the error messages of Kubernetes.

use serde_json::Value;

use super::{object::Object, status::quote, syntax};

/// A parsed label selector; all requirements must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// Also holds where the label is missing.
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses the text of a `labelSelector` parameter.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Parser { tokens: tokens(text), position: 0 }.parse()
    }

    /// Reads a `LabelSelector` structure; `None` if it is not a valid one. An empty one matches
    /// everything.
    pub(crate) fn from_object(selector: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut requirements = Vec::new();
        for (key, value) in
            selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten()
        {
            requirements.push(Requirement { key: key.clone(), test: Test::In(vec![text(value)?]) });
        }
        let expressions = selector.get("matchExpressions").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values: Vec<String> = values.filter_map(text).collect();
            let test = match expression.get("operator")?.as_str()? {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Missing,
                _ => return None,
            };
            requirements.push(Requirement { key: text(expression.get("key")?)?, test });
        }
        Some(Self { requirements })
    }

    /// Whether everything matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the object's labels fulfil the selector.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.requirements.iter().all(|requirement| {
            let label = object.label(&requirement.key);
            match &requirement.test {
                Test::Exists => label.is_some(),
                Test::Missing => label.is_none(),
                Test::In(values) => label.is_some_and(|label| values.iter().any(|v| v == label)),
                Test::NotIn(values) => label.is_none_or(|label| values.iter().all(|v| v != label)),
                Test::Greater(bound) => number(label).is_some_and(|label| label > *bound),
                Test::Less(bound) => number(label).is_some_and(|label| label < *bound),
            }
        })
    }
}

fn number(label: Option<&str>) -> Option<i64> {
    label?.parse().ok()
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A word; `in` and `notin` are operators only where one is expected.
    Word(String),
    Symbol(&'static str),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(word) => word,
            Token::Symbol(symbol) => symbol,
            Token::End => "",
        }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", "<", ">"];
    let mut rest = text.trim_start();
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || "=!(),<>".contains(c))
                .unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

impl Parser {
    fn peek(&self) -> Token {
        self.tokens.get(self.position).cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn parse(mut self) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(LabelSelector { requirements }),
                Token::Word(_) | Token::Symbol("!") => {}
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
            let requirement = self
                .requirement()
                .map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            match self.next() {
                Token::End => return Ok(LabelSelector { requirements }),
                Token::Symbol(",") => match self.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => {
                        return Err(format!(
                            "found '{}', expected: identifier after ','",
                            other.text()
                        ));
                    }
                },
                other => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        if let Some(error) = syntax::label_key(&key).first() {
            return Err(format!("key: Invalid value: {}: {error}", quote(&key)));
        }
        if negated {
            return Ok(Requirement { key, test: Test::Missing });
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(Requirement { key, test: Test::Exists });
        }
        let operator = self.next();
        let test = match operator.text() {
            "in" => Test::In(self.values()?),
            "notin" => Test::NotIn(self.values()?),
            "=" | "==" => Test::In(vec![self.exact()?]),
            "!=" => Test::NotIn(vec![self.exact()?]),
            ">" | "<" => {
                let value = self.exact()?;
                let bound = value.parse().map_err(|_| {
                    format!(
                        "values[0]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must \
                         be an integer",
                        quote(&value)
                    )
                })?;
                if operator.text() == ">" { Test::Greater(bound) } else { Test::Less(bound) }
            }
            found => {
                return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        if let Test::In(values) | Test::NotIn(values) = &test {
            for (index, value) in values.iter().enumerate() {
                if let Some(error) = syntax::label_value(value).first() {
                    return Err(format!(
                        "values[{index}][{key}]: Invalid value: {}: {error}",
                        quote(value)
                    ));
                }
            }
        }
        Ok(Requirement { key, test })
    }

    fn exact(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}', expected: '('", open.text()));
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.push(word);
                    match self.next() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => return Ok(values),
                        other => {
                            return Err(format!("found '{}', expected: ',' or ')'", other.text()));
                        }
                    }
                }
                Token::Symbol(",") => values.push(String::new()),
                Token::Symbol(")") => {
                    values.push(String::new());
                    return Ok(values);
                }
                other => {
                    return Err(format!("found '{}', expected: ',', or identifier", other.text()));
                }
            }
        }
    }
}

/// A parsed field selector; all terms must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Parses the text of a `fieldSelector` parameter; the fields are not checked yet.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let parsed = [("!=", false), ("==", true), ("=", true)]
                .into_iter()
                .find_map(|(operator, equal)| Some((term.split_once(operator)?, equal)));
            let Some(((field, value), equal)) = parsed else {
                return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            terms.push(Term { field: field.to_owned(), value: value.to_owned(), equal });
        }
        Ok(Self { terms })
    }

    /// The first field that the kind cannot select by.
    pub(crate) fn unsupported(&self, selectable: &[&str]) -> Option<&str> {
        self.terms.iter().map(|term| term.field.as_str()).find(|field| !selectable.contains(field))
    }

    /// Whether everything matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether the object's fields fulfil the selector.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.terms
            .iter()
            .all(|term| (object.resource().field(object, &term.field) == term.value) == term.equal)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube_sim::resource::Resource;

    fn matches(selector: &str) -> bool {
        let metadata = json!({ "name": "a", "labels": { "zone": "z1", "rank": "7", "": "" } });
        let draft = [("metadata".to_owned(), metadata)].into_iter().collect();
        let object = Object::new(Resource::Nodes, 1, draft);
        LabelSelector::parse(selector).unwrap().matches(&object)
    }

    #[test]
    fn selectors_match_as_in_kubernetes() {
        for yes in [
            "",
            "zone",
            "!none",
            "zone=z1",
            "zone == z1",
            "zone!=z2",
            "none!=z2",
            "zone in (z1,z2)",
            "zone notin (z2)",
            "none notin (z2)",
            "rank>6",
            "rank < 8",
            "zone,rank in (7),!none",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in ["!zone", "none", "zone=z2", "zone!=z1", "zone in (z2,)", "none=", "rank>7"] {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn errors_name_what_was_found() {
        let error = |text| LabelSelector::parse(text).unwrap_err();
        assert_eq!(error("a in (b"), "unable to parse requirement: found '', expected: ',' or ')'");
        assert_eq!(
            error("a b"),
            "unable to parse requirement: found 'b', expected: in, notin, \
                                  =, ==, !=, gt, lt"
        );
        assert_eq!(error("a,"), "found '', expected: identifier after ','");
        assert_eq!(error("a=b c"), "found 'c', expected: ',' or 'end of string'");
        assert_eq!(error("=b"), "found '=', expected: !, identifier, or 'end of string'");
        assert_eq!(
            FieldSelector::parse("metadata.name").unwrap_err(),
            "invalid selector: 'metadata.name'; can't understand 'metadata.name'"
        );
    }
}
