//! What a remote may answer to the upgrade request: any bytes (`onvif_uplink::transport::upgrade`).
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use onvif_uplink::{model::address::RemoteAddress, transport::upgrade::upgrade};
use tokio::{io, runtime};

static RUNTIME: LazyLock<runtime::Runtime> =
    LazyLock::new(|| runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));
static REMOTE: LazyLock<RemoteAddress> =
    LazyLock::new(|| RemoteAddress::parse("https://cloud.example/uplink").expect("valid"));

fuzz_target!(|answer: &[u8]| {
    let mut stream = io::join(answer, io::sink());
    if let Ok(early) = RUNTIME.block_on(upgrade(&mut stream, &REMOTE, None)) {
        assert!(early.len() < answer.len(), "what follows the head is shorter than the answer");
    }
});
