//! Both directions of a tunnel, their ends and their breaks, over loopback sockets and in-memory pipes.

use std::io::ErrorKind;

use http_body_util::StreamBody;
use tokio::{
    io::{DuplexStream, ReadHalf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;

/// Longer than anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

type Chunk = Result<Frame<Bytes>, BodyError>;

/// A request body that the test feeds; it ends with the sender.
fn fed() -> (mpsc::UnboundedSender<Chunk>, Body) {
    let (feed, chunks) = mpsc::unbounded_channel();
    let stream = futures_util::stream::unfold(chunks, |mut chunks: mpsc::UnboundedReceiver<Chunk>| async move {
        Some((chunks.recv().await?, chunks))
    });
    (feed, Body::new(StreamBody::new(stream)))
}

fn data(text: &'static str) -> Chunk {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// A tunnel over a loopback socket: the device's socket, the remote's feed, what the remote gets, and the owner.
struct Tcp {
    device: TcpStream,
    feed: mpsc::UnboundedSender<Chunk>,
    answer: Body,
    owner: Arc<Owned>,
}

async fn tcp(early: &'static str) -> Tcp {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("dialed");
    let (device, _) = listener.accept().await.expect("accepted");
    let (reader, writer) = near.into_split();
    let (feed, request) = fed();
    let owner = Arc::new(Owned::default());
    let early = Bytes::from_static(early.as_bytes());
    let end = DeviceEnd { reader, writer, early, broken: Reason::CONNECT_ERROR, permits: Vec::new() };
    let answer = join(end, request, &owner);
    Tcp { device, feed, answer, owner }
}

async fn next(body: &mut Body) -> Option<Result<Bytes, BodyError>> {
    let frame = timeout(PATIENCE, body.frame()).await.expect("in time")?;
    Some(frame.map(|frame| frame.into_data().expect("data only")))
}

async fn text(body: &mut Body) -> Bytes {
    next(body).await.expect("not the end").expect("sound")
}

/// What the device reads until its end or error.
async fn rest(device: &mut TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, device.read_to_end(&mut bytes)).await.expect("in time").map_err(|error| error.kind())?;
    Ok(bytes)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_early_ones_come_first() {
    let mut tunnel = tcp("RTSP/1.0 ").await;
    tunnel.device.write_all(b"200 OK").await.expect("open");
    assert_eq!(text(&mut tunnel.answer).await, "RTSP/1.0 ");
    assert_eq!(text(&mut tunnel.answer).await, "200 OK");
    tunnel.feed.send(data("OPTIONS ")).expect("open");
    tunnel.feed.send(data("*")).expect("open");
    let mut read = [0; 9];
    tunnel.device.read_exact(&mut read).await.expect("nine bytes");
    assert_eq!(&read, b"OPTIONS *");
}

#[tokio::test]
async fn the_end_of_the_remote_is_a_fin_and_the_device_goes_on() {
    let mut tunnel = tcp("").await;
    tunnel.feed.send(data("last")).expect("open");
    drop(tunnel.feed);
    assert_eq!(rest(&mut tunnel.device).await.expect("in good order"), b"last");
    tunnel.device.write_all(b"answer").await.expect("still open");
    assert_eq!(text(&mut tunnel.answer).await, "answer");
    drop(tunnel.device);
    assert!(next(&mut tunnel.answer).await.is_none());
}

#[tokio::test]
async fn the_end_of_the_device_ends_the_answer_and_the_remote_goes_on() {
    let mut tunnel = tcp("").await;
    tunnel.device.shutdown().await.expect("open");
    assert!(next(&mut tunnel.answer).await.is_none());
    drop(tunnel.answer);
    tunnel.feed.send(data("afterwards")).expect("the other direction stands");
    drop(tunnel.feed);
    assert_eq!(rest(&mut tunnel.device).await.expect("in good order"), b"afterwards");
}

#[tokio::test]
async fn an_answer_given_up_is_a_reset_at_the_device() {
    let mut tunnel = tcp("").await;
    drop(tunnel.answer);
    assert_eq!(rest(&mut tunnel.device).await.expect_err("cut"), ErrorKind::ConnectionReset);
    timeout(PATIENCE, tunnel.feed.closed()).await.expect("nobody reads the remote any more");
}

#[tokio::test]
async fn a_request_that_breaks_is_a_reset_at_the_device() {
    let mut tunnel = tcp("").await;
    tunnel.feed.send(Err(BodyError::Reset(Reason::CANCEL))).expect("open");
    // The session drops the answer at the same time.
    tokio::task::yield_now().await;
    drop(tunnel.answer);
    assert_eq!(rest(&mut tunnel.device).await.expect_err("cut"), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_of_the_device_resets_the_stream_with_the_given_reason() {
    let mut tunnel = tcp("").await;
    SockRef::from(&tunnel.device).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(tunnel.device);
    let broken = next(&mut tunnel.answer).await.expect("not an end in good order").expect_err("broken");
    assert!(matches!(broken, BodyError::Reset(Reason::CONNECT_ERROR)), "{broken}");
}

#[tokio::test]
async fn dropping_the_owner_cuts_what_is_left() {
    let mut tunnel = tcp("").await;
    tunnel.device.shutdown().await.expect("open");
    assert!(next(&mut tunnel.answer).await.is_none());
    drop(tunnel.owner);
    assert_eq!(rest(&mut tunnel.device).await.expect_err("cut"), ErrorKind::ConnectionReset);
}

/// The same over a pipe of 64 bytes, for what must not depend on the kernel's buffers.
fn pipe() -> (DuplexStream, mpsc::UnboundedSender<Chunk>, Body, Owned) {
    let (near, device) = tokio::io::duplex(64);
    let (reader, writer): (ReadHalf<DuplexStream>, _) = tokio::io::split(near);
    let (feed, request) = fed();
    let owner = Owned::default();
    let end = DeviceEnd { reader, writer, early: Bytes::new(), broken: Reason::CANCEL, permits: Vec::new() };
    let answer = join(end, request, &owner);
    (device, feed, answer, owner)
}

#[tokio::test(start_paused = true)]
async fn the_remotes_bytes_reach_the_device_while_nobody_reads_the_answer() {
    let (device, feed, _answer, _owner) = pipe();
    let (mut read, mut write) = tokio::io::split(device);
    // The answer's direction is full and never polled.
    assert!(timeout(PATIENCE, write.write_all(&[7; 1000])).await.is_err());
    for _ in 0..100 {
        feed.send(data("keep-alive")).expect("open");
        let mut bytes = [0; 10];
        timeout(PATIENCE, read.read_exact(&mut bytes)).await.expect("in time").expect("ten bytes");
        assert_eq!(&bytes, b"keep-alive");
    }
}

#[tokio::test(start_paused = true)]
async fn the_devices_bytes_reach_the_remote_while_the_device_reads_nothing() {
    let (mut device, feed, mut answer, _owner) = pipe();
    for _ in 0..100 {
        feed.send(Ok(Frame::data(Bytes::from_static(&[1; 1000])))).expect("open");
        device.write_all(b"picture").await.expect("open");
        assert_eq!(text(&mut answer).await, "picture");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_silent_for_a_month_stands() {
    let (mut device, feed, mut answer, _owner) = pipe();
    tokio::time::sleep(Duration::from_secs(30 * 86_400)).await;
    device.write_all(b"alarm").await.expect("open");
    assert_eq!(text(&mut answer).await, "alarm");
    feed.send(data("pong")).expect("open");
    let mut bytes = [0; 4];
    device.read_exact(&mut bytes).await.expect("four bytes");
    assert_eq!(&bytes, b"pong");
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_never_ends_is_cut_some_time_after_the_device_has() {
    let (mut device, feed, mut answer, _owner) = pipe();
    device.shutdown().await.expect("open");
    assert!(next(&mut answer).await.is_none());
    tokio::time::sleep(HALF_CLOSED - Duration::from_secs(1)).await;
    feed.send(data("late")).expect("open");
    tokio::time::sleep(HALF_CLOSED - Duration::from_secs(1)).await;
    assert!(!feed.is_closed(), "the bound counts silence only");
    timeout(Duration::from_secs(2), feed.closed()).await.expect("cut");
}

#[tokio::test(start_paused = true)]
async fn reads_grow_with_what_comes_and_shrink_again() {
    let (mut device, mut near) = tokio::io::duplex(4 * READ_MAX);
    device.write_all(&vec![1; 3 * READ_MAX]).await.expect("room");
    let mut reads = Reads::default();
    let mut largest = 0;
    let mut left = 3 * READ_MAX;
    while left > 0 {
        let read = std::future::poll_fn(|cx| reads.poll(&mut near, cx)).await.expect("open").len();
        largest = largest.max(read);
        left -= read;
    }
    assert_eq!(largest, READ_MAX);
    for _ in 0..8 {
        device.write_all(b"x").await.expect("room");
        assert_eq!(std::future::poll_fn(|cx| reads.poll(&mut near, cx)).await.expect("open"), "x");
    }
    assert_eq!(reads.size, READ_MIN);
}

#[tokio::test]
async fn a_request_that_a_part_in_front_stops_ends_both_directions() {
    let Tcp { mut device, feed, mut answer, owner: _owner } = tcp("").await;
    device.write_all(b"video").await.expect("written");
    assert_eq!(text(&mut answer).await, "video");
    feed.send(Err(BodyError::Length("stopped"))).expect("heard");
    let error = next(&mut answer).await.expect("not the end").expect_err("no good order");
    assert!(matches!(error, BodyError::Reset(Reason::CONNECT_ERROR)), "{error}");
    assert_eq!(rest(&mut device).await, Err(ErrorKind::ConnectionReset));
}
