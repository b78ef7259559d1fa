//! Label and field selectors of lists and tasks.
#![no_main]

use std::collections::BTreeMap;

use knm_api::clusters::{FieldSelector, LabelSelector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    if let Ok(selector) = text.parse::<LabelSelector>() {
        let _ = selector.matches(&labels);
    }
    let _ = text.parse::<FieldSelector>();
});
