//! What a device may send to the gateway in place of an upgrade request: any bytes (`onvif_uplink::gateway::upgrade`).
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use onvif_uplink::gateway::upgrade::read;
use tokio::{io, runtime};

static RUNTIME: LazyLock<runtime::Runtime> =
    LazyLock::new(|| runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));

fuzz_target!(|request: &[u8]| {
    let mut stream = io::join(request, io::sink());
    if let Ok(asked) = RUNTIME.block_on(read(&mut stream)) {
        assert!(asked.early.len() < request.len(), "what follows the head is shorter than what came");
    }
});
