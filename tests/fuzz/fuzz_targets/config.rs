//! The configuration file: whatever is in it, it is understood or every fault is named.
#![no_main]

use knm_shared::config::load_text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let env = |name: &str| (name == "DB_PASSWORD").then(|| "s3cret-of-the-database".to_owned());
    match load_text(text, &env) {
        Ok(loaded) => assert!(!format!("{:?}", loaded.config).contains("s3cret-of-the-database")),
        Err(errors) => {
            let text = errors.to_string();
            assert!(!text.is_empty() && !text.contains("s3cret-of-the-database"), "{text}");
        }
    }
});
