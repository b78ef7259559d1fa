//! What proxies say of a request in headers of their own.

use http::{HeaderMap, HeaderName};

/// What the nearest proxy has written: the last part of the last line. Text or not: a client that puts
/// bytes into the header does not hide what a proxy appends to them.
#[must_use]
pub fn nearest(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let line = String::from_utf8_lossy(headers.get_all(name).iter().next_back()?.as_bytes());
    line.rsplit(',').next().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_last_part_of_the_last_line_counts() {
        let name = HeaderName::from_static("x-forwarded-proto");
        let of = |lines: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                let line = HeaderValue::from_bytes(line).expect("a header value");
                headers.append(name.clone(), line);
            }
            nearest(&headers, &name)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[b"http"]).as_deref(), Some("http"));
        assert_eq!(of(&[b"https", b"\xff, http "]).as_deref(), Some("http"));
        assert_eq!(of(&[b"https,"]), None);
    }
}
