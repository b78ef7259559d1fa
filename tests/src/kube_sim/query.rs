//! Query strings.

/// The decoded parameters of a request, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Decodes the part of a URI after the question mark.
    pub(crate) fn parse(text: &str) -> Self {
        let parameters = text
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (decode(name), decode(value))
            })
            .collect();
        Self { parameters }
    }

    /// The first value of a parameter; an empty one counts as missing.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = name.to_owned();
        self.parameters.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean parameter.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true" | "True" | "t"))
    }

    /// A numeric parameter; what is not a number counts as missing.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

/// Undoes percent-encoding; a plus is a space.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => match tail {
                [high, low, after @ ..] => {
                    let digit = |b: &u8| char::from(*b).to_digit(16);
                    match digit(high).zip(digit(low)) {
                        Some((high, low)) => {
                            // Two hexadecimal digits make at most 255.
                            bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                            rest = after;
                        }
                        None => bytes.push(b'%'),
                    }
                }
                _ => bytes.push(b'%'),
            },
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
