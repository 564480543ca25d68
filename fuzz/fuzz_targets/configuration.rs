//! Any text as the configuration document (`onvif_uplink::config::load`).
#![no_main]

use std::{path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use onvif_uplink::{
    config::{Served, load},
    model::{address::Scheme, authorization::AuthorizationMode},
};

/// As much as the validation knows, so that all of it is reached.
static SERVED: LazyLock<Served> = LazyLock::new(|| Served {
    schemes: vec![Scheme::Https],
    authorization_modes: vec![AuthorizationMode::Mtls],
    rtsp: true,
    h2c: true,
    credentials: true,
    accounts: true,
    secrets_dir: "/etc/onvif-uplink/secrets".into(),
});

fuzz_target!(|text: &str| {
    if let Err(errors) = load(text, Path::new("/etc/onvif-uplink"), &SERVED) {
        assert!(!errors.is_empty(), "a refused document has a reason");
        for error in errors {
            let _ = error.to_string();
        }
    }
});
