//! One stream never stops another: stalled viewers and uploads at both ends, a control request beside video on a slow link, and
//! what one stream makes an end hold.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, client};
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use onvif_uplink::{
    base::{
        activity::{
            Activity,
            flow::{Waiting, Window},
        },
        drain::drain,
        http::{Body, BodyError, Handler, Response, StreamKind},
        io::Direct,
    },
    gateway::{exchange::exchange, session},
    reverse::Limits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::support::{
    answer::{answer, get},
    h2_peer::{collect, serve, session},
};

/// Longer than anything may take in virtual time.
const LONG: Duration = Duration::from_secs(3600);
/// One piece of a picture.
const CHUNK: usize = 16 * 1024;
/// Viewers that do not read.
const STALLED: usize = 64;

/// A body that never ends; counts the bytes that were taken of it.
fn endless(taken: &Arc<AtomicUsize>) -> Body {
    let taken = Arc::clone(taken);
    let piece = Bytes::from(vec![7; CHUNK]);
    Body::new(StreamBody::new(futures_util::stream::poll_fn(move |_| {
        taken.fetch_add(CHUNK, SeqCst);
        std::task::Poll::Ready(Some(Ok::<_, BodyError>(Frame::data(piece.clone()))))
    })))
}

/// A camera: `/video` is MJPEG without an end, everything else a short answer.
fn camera() -> (Arc<dyn Handler>, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let handler = answer(move |request| {
        let mut response = Response::new(Body::full("moved"));
        if request.uri().path() == "/video" {
            response = Response::new(endless(&count));
            let media = http::HeaderValue::from_static("multipart/x-mixed-replace; boundary=b");
            response.headers_mut().insert(http::header::CONTENT_TYPE, media);
        }
        async { response }
    });
    (handler, taken)
}

fn windows(stream: u32, connection: u32) -> client::Builder {
    let mut builder = client::Builder::new();
    builder.initial_window_size(stream).initial_connection_window_size(connection);
    builder
}

/// Opens `/video` and never reads it.
async fn stalled(remote: &mut client::SendRequest<Bytes>) -> RecvStream {
    let (response, _) = remote.send_request(get("/video"), true).expect("open");
    timeout(LONG, response).await.expect("in time").expect("answered").into_body()
}

/// Reads this much.
async fn read(stream: &mut RecvStream, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let chunk = timeout(LONG, stream.data()).await.expect("it goes on").expect("no end").expect("whole");
        stream.flow_control().release_capacity(chunk.len()).expect("just received");
        left = left.saturating_sub(chunk.len());
    }
}

#[tokio::test(start_paused = true)]
async fn viewers_that_do_not_read_stop_neither_another_one_nor_a_control_request() {
    let (handler, _) = camera();
    let mut session = session(handler, windows(64 << 10, 16 << 20)).await;
    let mut held = Vec::new();
    for _ in 0..STALLED {
        held.push(stalled(&mut session.remote).await);
    }
    let mut viewer = stalled(&mut session.remote).await;
    read(&mut viewer, 8 << 20).await;
    let (ptz, _) = session.remote.send_request(get("/ptz"), true).expect("open");
    let response = timeout(LONG, ptz).await.expect("not behind the video").expect("answered");
    assert_eq!(collect(response.into_body()).await.expect("whole").0, "moved");
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_does_not_read_makes_the_device_send_its_window_and_no_more() {
    const WINDOW: u32 = 64 << 10;
    let (handler, taken) = camera();
    let mut session = session(handler, windows(WINDOW, 16 << 20)).await;
    let _held = stalled(&mut session.remote).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let taken = taken.load(SeqCst);
    // One piece more, that is in hand and waits.
    assert!((WINDOW as usize..=WINDOW as usize + 2 * CHUNK).contains(&taken), "{taken} bytes were read of the device");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_remote_is_known_by_kind_and_window() {
    let (handler, _) = camera();
    let mut by_stream = session(handler, windows(64 << 10, 16 << 20)).await;
    let mut viewer = stalled(&mut by_stream.remote).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let picture = by_stream.activity.flow().picture();
    let expected = Waiting { kind: StreamKind::Stream, window: Window::Stream, lasted: Duration::from_secs(12) };
    assert_eq!(picture.waiting, [expected]);
    assert_eq!((picture.stream_window, picture.connection_window), (64 << 10, 16 << 20));
    assert!(picture.round_trip.is_some());
    read(&mut viewer, 1 << 20).await;
    drop(viewer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(by_stream.activity.flow().picture().waiting.is_empty(), "a stream that is gone waits no more");

    let (handler, _) = camera();
    let mut by_connection = session(handler, windows(1 << 20, 65_535)).await;
    let _viewer = stalled(&mut by_connection.remote).await;
    let (request, _) = by_connection.remote.send_request(get("/ptz"), true).expect("open");
    tokio::time::sleep(Duration::from_secs(12)).await;
    let waiting = by_connection.activity.flow().picture().waiting;
    assert_eq!(waiting.iter().map(|wait| wait.kind).collect::<Vec<_>>(), [StreamKind::Stream, StreamKind::Request]);
    assert!(waiting.iter().all(|wait| wait.window == Window::Connection), "{waiting:?}");
    drop(request);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_remote_reads_at_once_waits_for_nothing() {
    let (handler, _) = camera();
    let mut session = session(handler, windows(64 << 10, 16 << 20)).await;
    for _ in 0..20 {
        let (ptz, _) = session.remote.send_request(get("/ptz"), true).expect("open");
        collect(ptz.await.expect("answered").into_body()).await.expect("whole");
    }
    let picture = session.activity.flow().picture();
    assert!(picture.waiting.is_empty() && picture.waited.iter().all(|waited| waited.whole().is_zero()), "{picture:?}");
}

#[tokio::test(start_paused = true)]
async fn uploads_that_the_device_does_not_read_stop_no_other() {
    let handler = answer(|request| async move {
        if request.uri().path() == "/stuck" {
            let _held = request.into_body();
            std::future::pending::<()>().await;
            unreachable!("it never reads")
        }
        Response::new(request.into_body())
    });
    let mut session = session(handler, windows(1 << 20, 1 << 20)).await;
    let limits = Limits::default();
    let mut held = Vec::new();
    for _ in 0..STALLED {
        let (response, mut upload) = session.remote.send_request(post("/stuck"), false).expect("open");
        fill(&mut upload, limits.stream_window as usize).await;
        held.push((response, upload));
    }
    let (response, mut upload) = session.remote.send_request(post("/echo"), false).expect("open");
    let echoed = tokio::spawn(async move { collect(response.await.expect("answered").into_body()).await });
    fill(&mut upload, 4 << 20).await;
    upload.send_data(Bytes::new(), true).expect("open");
    let (echoed, _) = timeout(LONG, echoed).await.expect("it goes on").expect("no panic").expect("whole");
    assert_eq!(echoed.len(), 4 << 20);
}

#[test]
fn the_window_of_a_session_holds_all_of_its_streams() {
    let limits = Limits::default();
    assert_eq!(limits.connection_window(), limits.concurrent_streams * limits.stream_window);
    // The bound that docs/operations.md tells.
    assert_eq!(limits.connection_window(), 128 << 20);
}

fn post(path: &str) -> http::Request<()> {
    let mut request = get(path);
    *request.method_mut() = http::Method::POST;
    request
}

/// Sends this much as the windows allow.
async fn fill(upload: &mut h2::SendStream<Bytes>, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        upload.reserve_capacity(left.min(CHUNK));
        if upload.capacity() == 0 {
            let grown = poll_fn(|cx| upload.poll_capacity(cx));
            timeout(LONG, grown).await.expect("the window opens").expect("open").expect("open");
        }
        let size = upload.capacity().min(left);
        upload.send_data(Bytes::from(vec![1; size]), false).expect("open");
        left -= size;
    }
}

/// The gateway's end of a session whose device end serves `handler`.
async fn through_the_gateway(handler: Arc<dyn Handler>) -> (session::Session, [JoinHandle<()>; 2]) {
    let (device, gateway) = tokio::io::duplex(1 << 20);
    let (switch, drained) = drain();
    let served = tokio::spawn(async move {
        let _ = serve(device, Arc::new(Activity::start()), handler, drained).await;
        drop(switch);
    });
    let peer = "192.0.2.1:4000".parse().expect("address");
    let started = session::start(Box::new(Direct(gateway)), Bytes::new(), "camera-1".to_owned(), peer).await;
    let (session, driver) = started.expect("open");
    let driven = tokio::spawn(async move {
        driver.run().await;
    });
    (session, [served, driven])
}

#[tokio::test(start_paused = true)]
async fn at_the_gateway_clients_that_do_not_read_stop_no_other_and_each_holds_no_more_than_its_window() {
    let (handler, taken) = camera();
    let (session, _tasks) = through_the_gateway(handler).await;
    let ask = |path: &str| {
        let request = http::Request::get(format!("http://device{path}")).body(()).expect("valid");
        exchange(&session, request, Body::empty())
    };
    let mut held = Vec::new();
    for _ in 0..STALLED {
        held.push(ask("/video").await.expect("answered"));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let each = taken.load(SeqCst) / STALLED;
    // The bound that docs/operations.md tells; one piece more waits at the device.
    assert!((1 << 20..=(1 << 20) + 2 * CHUNK).contains(&each), "each holds {each} bytes");
    let mut viewer = ask("/video").await.expect("answered").into_body();
    let mut left = 16 << 20;
    while left > 0 {
        let chunk = timeout(LONG, viewer.frame()).await.expect("it goes on").expect("no end").expect("whole");
        left = i64::saturating_sub(left, chunk.into_data().expect("video").len() as i64).max(0);
    }
    let moved = timeout(LONG, ask("/ptz")).await.expect("not behind the video").expect("answered");
    assert_eq!(moved.status(), StatusCode::OK);
    assert_eq!(moved.into_body().collect().await.expect("whole").to_bytes(), "moved");
}

/// Carries bytes at 10 Mbit/s, a packet each 1.2 ms.
async fn thin(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
    let mut packet = [0; 1500];
    while let Ok(length @ 1..) = from.read(&mut packet).await {
        tokio::time::sleep(Duration::from_micros(length as u64 * 8 / 10)).await;
        if to.write_all(&packet[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_slow_link_a_control_request_is_answered_promptly_beside_sixteen_videos_and_a_stalled_one() {
    let (handler, _) = camera();
    // What the link itself queues is short, as the kernel's queue is kept.
    let (device, near) = tokio::io::duplex(8 << 10);
    let (far, remote) = tokio::io::duplex(1 << 20);
    let (switch, drained) = drain();
    tokio::spawn(async move {
        let _ = serve(device, Arc::new(Activity::start()), handler, drained).await;
        drop(switch);
    });
    let ((near_read, near_write), (far_read, far_write)) = (tokio::io::split(near), tokio::io::split(far));
    let _links = [tokio::spawn(thin(near_read, far_write)), tokio::spawn(thin(far_read, near_write))];
    let mut builder = windows(4 << 20, 256 << 20);
    let (mut remote, connection) =
        builder.initial_max_send_streams(100).handshake::<_, Bytes>(remote).await.expect("preface");
    tokio::spawn(connection);
    let _held = stalled(&mut remote).await;
    let mut viewers = Vec::new();
    for _ in 0..16 {
        let mut viewer = stalled(&mut remote).await;
        viewers.push(tokio::spawn(async move { read(&mut viewer, usize::MAX).await }));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let asked = Instant::now();
        let (ptz, _) = remote.send_request(get("/ptz"), true).expect("open");
        collect(ptz.await.expect("answered").into_body()).await.expect("whole");
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(73)).await;
    }
    assert!(slowest <= Duration::from_millis(60), "the slowest of 50 took {slowest:?}");
    viewers.iter().for_each(JoinHandle::abort);
}
