//! What a remote may say within tunnelled RTSP: the base64 of a POST, and the frames of a WebSocket
//! (`onvif_uplink::forward::rtsp`). The first byte of the input says into which pieces it is cut.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use onvif_uplink::forward::rtsp::{control::TunnelledControl, websocket::around};
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    runtime,
};

static RUNTIME: LazyLock<runtime::Runtime> =
    LazyLock::new(|| runtime::Builder::new_current_thread().build().expect("a runtime"));

fuzz_target!(|input: &[u8]| {
    let Some((piece, input)) = input.split_first() else { return };
    let pieces = || input.chunks(usize::from(*piece).max(1));
    let whole = TunnelledControl::default().take(input);
    let mut control = TunnelledControl::default();
    let parts: Result<Vec<_>, _> = pieces().map(|piece| control.take(piece)).collect();
    assert_eq!(whole.is_ok(), parts.is_ok(), "pieces change no verdict");
    if let (Ok(whole), Ok(parts)) = (whole, parts) {
        assert_eq!(whole, parts.concat(), "pieces change nothing");
    }
    RUNTIME.block_on(async {
        let (mut framing, mut unframing) = around(io::empty(), io::sink());
        for piece in pieces() {
            unframing.write_all(piece).await.expect("a sink takes everything");
            unframing.flush().await.expect("a sink takes everything");
        }
        let mut answer = Vec::new();
        framing.read_to_end(&mut answer).await.expect("nothing breaks");
        assert!(answer.len() <= 32 * 1024, "what waits for the remote is bounded");
    });
});
