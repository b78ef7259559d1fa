//! What any role of the database may say on the progress channel. What is understood is said again in the
//! same words.
#![no_main]

use knm_shared::notification::{Notification, Revocation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &str| {
    if let Ok(note) = Notification::decode(payload) {
        let again = Notification::decode(&note.encode()).expect("own payloads decode");
        assert_eq!((again.task, again.seq, again.counts), (note.task, note.seq, note.counts));
    }
    let _ = serde_json::from_str::<Revocation>(payload);
});
