//! Cookies, tokens and what proxies say, as any client may write them.
#![no_main]

use http::Request;
use knm_api::http::client::{Edge, Peer};
use knm_api::http::same_origin;
use knm_shared::session::Token;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] = [
    "cookie",
    "authorization",
    "origin",
    "sec-fetch-site",
    "host",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

fuzz_target!(|values: Vec<(u8, Vec<u8>)>| {
    let address = ([127, 0, 0, 1], 1).into();
    let mut request = Request::post("/").extension(Peer { address, tls: false });
    for (name, value) in values {
        request = request.header(NAMES[usize::from(name) % NAMES.len()], value);
    }
    let Ok(request) = request.body(()) else { return };
    let parts = request.into_parts().0;
    let token = Token::from_headers(&parts.headers);
    assert!(token.is_none_or(|token| !token.expose().is_empty() && token.hash().len() == 32));
    for proxies in [&[][..], &["127.0.0.0/8".to_owned()]] {
        let edge = Edge::new(proxies, "https://nodes.example.com").expect("valid");
        let client = edge.client(&parts);
        let _ = same_origin::check(&parts, &client, &edge);
    }
});
