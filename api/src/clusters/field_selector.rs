//! Field selectors on nodes. The API server supports exactly two fields there: `metadata.name` and
//! `spec.unschedulable` (<https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/>).

use std::str::FromStr;

use k8s_openapi::api::core::v1::Node;

use super::SelectorError;

/// A parsed field selector. The empty one selects every node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: Field,
    negated: bool,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Unschedulable,
}

impl FieldSelector {
    /// Whether every term holds for the node.
    #[must_use]
    pub fn matches(&self, node: &Node) -> bool {
        self.0.iter().all(|term| {
            let equal = match term.field {
                Field::Name => node.metadata.name.as_deref() == Some(&term.value),
                Field::Unschedulable => {
                    let is = node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
                    term.value == if is { "true" } else { "false" }
                }
            };
            equal != term.negated
        })
    }

    /// Whether it selects every node.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for FieldSelector {
    type Err = SelectorError;

    fn from_str(s: &str) -> Result<Self, SelectorError> {
        s.split(',')
            .filter(|term| !term.is_empty())
            .map(parse_term)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn parse_term(term: &str) -> Result<Term, SelectorError> {
    // The first operator from the left, the longest at its place.
    let at = term
        .find(['=', '!'])
        .filter(|at| term[*at..].starts_with(['=']) || term[*at..].starts_with("!="));
    let Some(at) = at else {
        return Err(SelectorError(format!(
            "invalid selector: '{term}'; can't understand '{term}'"
        )));
    };
    let (field, rest) = term.split_at(at);
    let (negated, value) = if let Some(value) = rest.strip_prefix("!=") {
        (true, value)
    } else {
        (false, rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')).unwrap_or(rest))
    };
    let field = match field {
        "metadata.name" => Field::Name,
        "spec.unschedulable" => Field::Unschedulable,
        other => {
            return Err(SelectorError(format!(
                "field label not supported: {other} (nodes know metadata.name and spec.unschedulable)"
            )));
        }
    };
    Ok(Term { field, negated, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn node(name: &str, unschedulable: Option<bool>) -> Node {
        Node {
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            spec: Some(NodeSpec { unschedulable, ..NodeSpec::default() }),
            status: None,
        }
    }

    #[test]
    fn terms_are_joined_by_and() {
        let a = node("a", None);
        let b = node("b", Some(true));
        for (selector, on_a, on_b) in [
            ("", true, true),
            ("metadata.name=a", true, false),
            ("metadata.name==a", true, false),
            ("metadata.name!=a", false, true),
            ("spec.unschedulable=true", false, true),
            ("spec.unschedulable=false", true, false),
            ("metadata.name=b,spec.unschedulable!=false", false, true),
            ("metadata.name=a,spec.unschedulable=true", false, false),
        ] {
            let parsed: FieldSelector = selector.parse().expect(selector);
            assert_eq!((parsed.matches(&a), parsed.matches(&b)), (on_a, on_b), "{selector}");
        }
    }

    #[test]
    fn what_the_api_server_refuses_is_refused() {
        for bad in ["metadata.name", "spec.podCIDR=x", "=a", "metadata.name!a"] {
            assert!(bad.parse::<FieldSelector>().is_err(), "{bad}");
        }
    }
}
