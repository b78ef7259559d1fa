//! The order in which nodes are listed, and where a page of it ends.

use std::cmp::Ordering;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::view::NodeView;

/// By what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum By {
    #[default]
    Name,
    Status,
    Version,
    Created,
    Ip,
}

/// By what, and which way; nodes that are alike in that come by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Order {
    by: By,
    descending: bool,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (descending, word) = match text.strip_prefix('-') {
            Some(word) => (true, word),
            None => (false, text),
        };
        let by = match word {
            "name" => By::Name,
            "status" => By::Status,
            "version" => By::Version,
            "created" => By::Created,
            "ip" => By::Ip,
            _ => {
                return Err(
                    "must be one of name, status, version, created, ip, with a - in front \
                            for the opposite order"
                        .into(),
                );
            }
        };
        Ok(Self { by, descending })
    }
}

/// A node's place in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    key: String,
    name: String,
}

impl Place {
    /// As a page's `continue`.
    pub(super) fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}\0{}", self.key, self.name))
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|t| String::from_utf8(t).ok());
        let parts = text.as_deref().and_then(|t| t.split_once('\0'));
        let (key, name) = parts.ok_or("must be the value of a page's `continue`")?;
        Ok(Self { key: key.into(), name: name.into() })
    }
}

impl Order {
    /// Where a node stands.
    pub(super) fn place(self, node: &NodeView) -> Place {
        Place { key: node.sort_key(self.by), name: node.name.clone() }
    }

    /// Which of two comes first.
    pub(super) fn compare(self, a: &Place, b: &Place) -> Ordering {
        let by_key = a.key.cmp(&b.key);
        let by_key = if self.descending { by_key.reverse() } else { by_key };
        let by_name = a.name.cmp(&b.name);
        let backwards = self.descending && self.by == By::Name;
        by_key.then(if backwards { by_name.reverse() } else { by_name })
    }
}

impl NodeView {
    /// A text that sorts as what it stands for.
    fn sort_key(&self, by: By) -> String {
        match by {
            By::Name => String::new(),
            // What needs a look comes first.
            By::Status => self.status.iter().map(|word| word.rank()).collect(),
            By::Version => padded(&self.version),
            By::Created => {
                let micros = self.created_at.map_or(0, |t| t.as_microsecond());
                format!("{:020}", i128::from(micros) - i128::from(i64::MIN))
            }
            By::Ip => padded(self.internal_ip.as_deref().unwrap_or_default()),
        }
    }
}

/// Numbers in a text, padded: 10.0.0.9 comes before 10.0.0.10.
fn padded(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\u{1}']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            out.push_str(&format!("{digits:0>20}"));
            digits.clear();
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_numbers() {
        let mut texts = ["v1.30.10", "v1.30.9", "v1.9.0", "10.0.0.10", "10.0.0.9", "", "v1"];
        texts.sort_by_key(|text| padded(text));
        assert_eq!(texts, ["", "10.0.0.9", "10.0.0.10", "v1", "v1.9.0", "v1.30.9", "v1.30.10"]);
    }

    #[test]
    fn places_survive_the_way_out_and_back() {
        let place = Place { key: padded("10.0.0.9"), name: "node-1".into() };
        assert_eq!(place.token().parse(), Ok(place));
        for bad in ["", "!", "bm9kZQ"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        for bad in ["", "-", "age", "--name", "Name"] {
            assert!(bad.parse::<Order>().is_err(), "{bad}");
        }
    }

    #[test]
    fn alike_nodes_come_by_name_whichever_way() {
        let place = |key: &str, name: &str| Place { key: key.into(), name: name.into() };
        for (order, wanted) in [("status", ["a", "b", "c"]), ("-status", ["c", "a", "b"])] {
            let order: Order = order.parse().expect("an order");
            let mut places = [place("0", "b"), place("1", "c"), place("0", "a")];
            places.sort_by(|a, b| order.compare(a, b));
            assert_eq!(places.map(|p| p.name), wanted);
        }
    }
}
