//! What a remote may answer to the upgrade request: any bytes (`onvif_uplink::transport::upgrade`).
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use onvif_uplink::{
    config::{Served, load},
    model::{address::Scheme, authorization::AuthorizationMode},
    transport::upgrade::{Ask, upgrade},
};
use tokio::{io, runtime};

static RUNTIME: LazyLock<runtime::Runtime> =
    LazyLock::new(|| runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));
const DOCUMENT: &str = "\
devices: [{name: d, http: 'http://127.0.0.1', uplinks: [{remoteAddress: 'https://cloud.example/uplink', certificateID: c, userLevel: User}]}]
certificates: {c: {certFile: c, keyFile: k}}";
static ASK: LazyLock<Ask> = LazyLock::new(|| {
    let served = Served {
        schemes: vec![Scheme::Https],
        authorization_modes: vec![AuthorizationMode::Mtls],
        ..Served::default()
    };
    let set = load(DOCUMENT, std::path::Path::new("/"), &served).expect("valid");
    Ask::native(set.iter().next().expect("one uplink").1, None).expect("no token")
});

fuzz_target!(|answer: &[u8]| {
    let mut stream = io::join(answer, io::sink());
    if let Ok(early) = RUNTIME.block_on(upgrade(&mut stream, &ASK, &())) {
        assert!(early.len() < answer.len(), "what follows the head is shorter than the answer");
    }
});
