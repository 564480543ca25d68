//! The end of a drained session (ONVIF Uplink §5.2 is silent): it waits for the remote's close, but not for ever.

use std::{sync::Arc, time::Duration};

use onvif_uplink::base::{
    activity::Activity,
    drain::{DrainSwitch, drain},
    http::{Body, BoxFuture, Handler, Request, Response},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::{Instant, interval, timeout},
};

use crate::support::h2_peer::serve;

/// Longer than anything may take in virtual time.
const LONG: Duration = Duration::from_secs(3600);
/// No session waits longer than this for the close of a remote that has fallen silent.
const SILENT_MAX: Duration = Duration::from_secs(5);

struct Nothing;

impl Handler for Nothing {
    fn handle(&self, _: Request) -> BoxFuture<'static, Response> {
        Box::pin(async { Response::new(Body::empty()) })
    }
}

/// A drained session whose remote has answered our PING and has seen the end of our half.
async fn drained(grace: Duration) -> (DuplexStream, JoinHandle<()>, DrainSwitch) {
    let (device, mut remote) = tokio::io::duplex(1 << 16);
    let (switch, part) = drain();
    let session = serve(device, Arc::new(Activity::start()), Arc::new(Nothing), part);
    let served = tokio::spawn(async move { session.await.expect("our own drain is no error") });
    remote.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
    // Ours first: SETTINGS; then the session stands and can be drained.
    let mut head = [0; 9];
    remote.read_exact(&mut head).await.expect("SETTINGS");
    let mut payload = vec![0; usize::from(head[2])];
    remote.read_exact(&mut payload).await.expect("SETTINGS");
    switch.start(grace);
    loop {
        remote.read_exact(&mut head).await.expect("a frame");
        let mut payload = vec![0; usize::from(head[2])];
        remote.read_exact(&mut payload).await.expect("a payload");
        if head[3] == 6 && head[4] == 0 {
            remote.write_all(&[&b"\0\0\x08\x06\x01\0\0\0\0"[..], &payload].concat()).await.expect("open");
            break;
        }
    }
    let mut rest = Vec::new();
    timeout(LONG, remote.read_to_end(&mut rest)).await.expect("our half ends").expect("read");
    (remote, served, switch)
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_closes_ends_the_session_at_once() {
    let (remote, served, _switch) = drained(LONG).await;
    let begin = Instant::now();
    drop(remote);
    served.await.expect("no panic");
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_never_closes_is_not_waited_for_long() {
    let (_remote, served, _switch) = drained(LONG).await;
    let begin = Instant::now();
    timeout(LONG, served).await.expect("ends").expect("no panic");
    assert!(begin.elapsed() > Duration::ZERO && begin.elapsed() <= SILENT_MAX, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_goes_on_sending_is_waited_for_until_the_deadline() {
    let grace = Duration::from_secs(60);
    let begin = Instant::now();
    let (mut remote, served, _switch) = drained(grace).await;
    let sender = tokio::spawn(async move {
        let mut clock = interval(Duration::from_secs(1));
        // Window updates of a remote that still reads (RFC 9113 §6.9).
        while remote.write_all(b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01").await.is_ok() {
            clock.tick().await;
        }
    });
    timeout(LONG, served).await.expect("ends").expect("no panic");
    assert!(begin.elapsed() >= grace - SILENT_MAX && begin.elapsed() <= grace + SILENT_MAX, "{:?}", begin.elapsed());
    sender.abort();
}
