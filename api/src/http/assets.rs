//! The built web UI, in memory: what is not in its folder at the start cannot be asked for, so that no
//! path leads out of it. Files that the build has compressed (`FILE.br`, `FILE.gz`) are sent as they are.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Response, full};

/// The page that everything begins with.
const INDEX: &str = "index.html";
/// More than this is not a web UI.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Folders within folders.
const MAX_DEPTH: usize = 8;
/// Files in here have a hash in their name: what a name means never changes.
const HASHED: &str = "assets/";

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AssetsError {
    /// It or something in it cannot be read.
    #[error("api.web_dir: cannot read {}: {source}", .path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not the built UI.
    #[error("api.web_dir: {} holds no {INDEX}; build the UI (npm run build in api/web) and name its dist folder", .0.display())]
    NoIndex(PathBuf),
    /// It is something else altogether.
    #[error("api.web_dir: {} is not a web UI: it holds more than {MAX_BYTES} bytes, or folders nested too deeply", .0.display())]
    TooLarge(PathBuf),
}

#[derive(Debug)]
struct Asset {
    content_type: &'static str,
    plain: Bytes,
    /// By content coding; the better one first.
    packed: Vec<(&'static str, Bytes)>,
    /// Without one, the name says it all.
    etag: Option<HeaderValue>,
}

/// The files of a UI by their path, without the first slash.
#[derive(Debug)]
pub struct Assets {
    files: HashMap<String, Asset>,
}

impl Assets {
    /// Reads a folder. Hidden files are left out; links are not followed.
    ///
    /// # Errors
    /// When it is not a readable folder with the page that everything begins with.
    pub fn load(dir: &Path) -> Result<Self, AssetsError> {
        let mut found = BTreeMap::new();
        let mut bytes = 0;
        read(dir, dir, 0, &mut bytes, &mut found)?;
        if !found.contains_key(INDEX) {
            return Err(AssetsError::NoIndex(dir.into()));
        }
        let mut files = HashMap::new();
        for (name, plain) in &found {
            let packed_form =
                |ending: &str| name.strip_suffix(ending).is_some_and(|of| found.contains_key(of));
            if packed_form(".br") || packed_form(".gz") {
                continue;
            }
            let packed = [("br", ".br"), ("gzip", ".gz")]
                .into_iter()
                .filter_map(|(coding, ending)| {
                    Some((coding, found.get(&format!("{name}{ending}"))?.clone()))
                })
                .collect();
            let etag = (!name.starts_with(HASHED)).then(|| etag(plain));
            let content_type = content_type(name);
            files.insert(name.clone(), Asset { content_type, plain: plain.clone(), packed, etag });
        }
        Ok(Self { files })
    }

    /// A file by its path, if there is one; only those whose name says what is in them are kept by
    /// browsers without asking again.
    #[must_use]
    pub fn get(&self, path: &str, request: &HeaderMap) -> Option<Response> {
        Some(self.files.get(path)?.answer(request))
    }

    /// The page that everything begins with.
    ///
    /// # Panics
    /// Never: there is none without it.
    #[must_use]
    pub fn index(&self, request: &HeaderMap) -> Response {
        self.get(INDEX, request).expect("no folder without the page is loaded")
    }
}

impl Asset {
    fn answer(&self, request: &HeaderMap) -> Response {
        let known = self.etag.as_ref().is_some_and(|etag| {
            let asked =
                request.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
            asked
                .split(',')
                .any(|tag| tag.trim().trim_start_matches("W/").as_bytes() == etag.as_bytes())
        });
        let packed = self.packed.iter().find(|(coding, _)| accepts(request, coding));
        let body = packed.map_or(&self.plain, |(_, bytes)| bytes);
        let mut response = Response::new(full(if known { Bytes::new() } else { body.clone() }));
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        match &self.etag {
            Some(etag) => {
                // Weak: the packed forms are other bytes of the same content.
                let weak = format!("W/{}", etag.to_str().unwrap_or_default());
                headers.insert(ETAG, weak.parse().expect("hexadecimal digits in quotes"));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            }
            None => {
                let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
                headers.insert(CACHE_CONTROL, forever);
            }
        }
        if !known {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            if let Some((coding, _)) = packed {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
        }
        response
    }
}

fn read(
    root: &Path,
    dir: &Path,
    depth: usize,
    bytes: &mut u64,
    found: &mut BTreeMap<String, Bytes>,
) -> Result<(), AssetsError> {
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |source| AssetsError::Io { path, source }
    };
    if depth > MAX_DEPTH {
        return Err(AssetsError::TooLarge(root.into()));
    }
    for entry in std::fs::read_dir(dir).map_err(fault(dir))? {
        let entry = entry.map_err(fault(dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(fault(&path))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_dir() {
            read(root, &path, depth + 1, bytes, found)?;
        } else if kind.is_file() {
            *bytes += entry.metadata().map_err(fault(&path))?.len();
            if *bytes > MAX_BYTES {
                return Err(AssetsError::TooLarge(root.into()));
            }
            let name = path.strip_prefix(root).ok().and_then(Path::to_str);
            // A name that is not text is in no URL.
            let Some(name) = name else { continue };
            found.insert(name.to_owned(), std::fs::read(&path).map_err(fault(&path))?.into());
        }
    }
    Ok(())
}

fn etag(bytes: &[u8]) -> HeaderValue {
    use std::fmt::Write as _;
    let mut text = String::from("\"");
    for byte in &Sha256::digest(bytes)[..12] {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    HeaderValue::from_str(&text).expect("hexadecimal digits in quotes")
}

/// RFC 9110, section 12.5.3; a quality of 0 is a refusal.
fn accepts(request: &HeaderMap, coding: &str) -> bool {
    let listed = request.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    listed.flat_map(|list| list.split(',')).any(|part| {
        let mut words = part.split(';').map(str::trim);
        let named = words.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
        let refused = words
            .filter_map(|word| word.strip_prefix("q="))
            .any(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        named && !refused
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("json" | "map" | "webmanifest") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> PathBuf {
        let dir = knm_tests::scratch::dir("assets").expect("a folder");
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        dir
    }

    fn request(headers: &[(&'static str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), value.parse().expect("a value"))
        };
        headers.iter().map(header).collect()
    }

    async fn text(response: Response) -> String {
        let bytes = response.into_body().collect().await.expect("in memory").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn the_best_form_that_the_client_takes_is_sent() {
        let dir = folder(&[
            ("index.html", "page"),
            ("assets/a-1.js", "plain"),
            ("assets/a-1.js.br", "brotli"),
            ("assets/a-1.js.gz", "gzip"),
        ]);
        let assets = Assets::load(&dir).expect("a UI");
        for (accept, body) in [
            ("", "plain"),
            ("gzip", "gzip"),
            ("gzip, deflate, br, zstd", "brotli"),
            ("br;q=0, gzip;q=0.5", "gzip"),
            ("identity", "plain"),
        ] {
            let request = request(&[("accept-encoding", accept)]);
            let response = assets.get("assets/a-1.js", &request).expect("there");
            assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
            assert_eq!(response.headers()[VARY], "Accept-Encoding");
            assert_eq!(text(response).await, body, "{accept}");
        }
    }

    #[tokio::test]
    async fn the_page_is_asked_for_again_each_time() {
        let dir = folder(&[("index.html", "page")]);
        let assets = Assets::load(&dir).expect("a UI");
        let first = assets.index(&request(&[]));
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        let etag = first.headers()[ETAG].to_str().expect("text").to_owned();
        let again = assets.index(&request(&[("if-none-match", &etag)]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(text(again).await, "");
        assert_eq!(assets.index(&request(&[("if-none-match", "\"other\"")])).status(), 200);
    }

    #[test]
    fn nothing_outside_can_be_asked_for() {
        let dir = folder(&[("ui/index.html", "page"), ("ui/.env", "secret"), ("secret", "secret")]);
        std::os::unix::fs::symlink(dir.join("secret"), dir.join("ui/link")).expect("a link");
        let assets = Assets::load(&dir.join("ui")).expect("a UI");
        for path in
            ["../secret", "/etc/passwd", ".env", "link", "assets/../../secret", "", "%2e%2e/secret"]
        {
            assert!(assets.get(path, &request(&[])).is_none(), "{path}");
        }
    }

    #[test]
    fn what_is_not_a_ui_is_refused_with_what_to_do() {
        let dir = folder(&[("readme.txt", "")]);
        let error = Assets::load(&dir).expect_err("no page").to_string();
        assert!(error.contains("npm run build"), "{error}");
        let error = Assets::load(&dir.join("nowhere")).expect_err("no folder").to_string();
        assert!(error.contains("api.web_dir"), "{error}");
    }
}
