//! What a client may say over its WebSocket.
#![no_main]

use knm_relay::protocol::ClientMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = ClientMessage::parse(text) {
        // It is shown to the client.
        assert!(!error.to_string().is_empty());
    }
});
