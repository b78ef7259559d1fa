//! What a user may ask to be done: actions with their parameters. What is taken is stored, and read back
//! as the same.
#![no_main]

use knm_api::tasks::{Action, Submission};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(body) = serde_json::from_slice::<Submission>(bytes) else { return };
    match Action::submitted(&body.action, &body.params) {
        Ok(action) => {
            assert!(!action.needs().is_empty());
            assert_eq!(Action::parse(action.name(), &action.params()), Ok(action));
        }
        Err(faults) => assert!(faults.iter().all(|fault| !fault.field.is_empty()), "{faults:?}"),
    }
});
