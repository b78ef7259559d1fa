//! The configuration file: whatever is in it, it is understood or every fault is named.
#![no_main]

use knm_shared::config::{Config, Secret, load_text};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "s3cret-of-the-database";

fuzz_target!(|text: &str| {
    let env = |name: &str| (name == "DB_PASSWORD").then(|| SECRET.to_owned());
    match load_text(text, &env) {
        Ok(loaded) => {
            let mut config = loaded.config;
            let shown = shows_it(&config);
            config.database.password = Secret::default();
            config.webhook.secret = Secret::default();
            // It is shown only where the file itself names the variable in a field that is none for secrets.
            assert_eq!(shown, shows_it(&config));
        }
        Err(errors) => {
            let text = errors.to_string();
            assert!(!text.is_empty() && !text.contains(SECRET), "{text}");
        }
    }
});

fn shows_it(config: &Config) -> bool {
    format!("{config:?}").contains(SECRET)
}
