//! The bounds of forwarding, each reached and each mended (issue 3 items 4 and "bad input"). Time is virtual: a wait ends only
//! when nothing else in the runtime can move, so "it stands still" is observed and not hoped for.

use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use onvif_uplink::{
    base::http::{Body, BodyError, Handler, Request},
    forward::Limits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::support::raw_device::{accept, device, get, handler_for, head, text};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MJPEG: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\npart";

/// A request whose body the test feeds.
fn upload() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, BodyError>>, Request) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let body = Body::new(StreamBody::new(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))));
    (sender, http::Request::post("/up").body(body).expect("valid"))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BodyError> {
    Ok(Frame::data(Bytes::from(text)))
}

async fn serve_one(listener: &TcpListener, answer: &[u8]) -> TcpStream {
    let mut socket = accept(listener).await;
    head(&mut socket).await;
    socket.write_all(answer).await.expect("written");
    socket
}

#[tokio::test(start_paused = true)]
async fn a_device_that_stops_reading_stops_the_upload_and_gets_all_of_it_when_it_resumes() {
    const CHUNK: usize = 65_536;
    const CHUNKS: usize = 512;
    let (listener, handler) = device(Limits::default()).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let chunks = (0..CHUNKS).map(move |_| {
        count.fetch_add(1, Relaxed);
        Ok::<_, BodyError>(Frame::data(Bytes::from_static(&[0; CHUNK])))
    });
    let body = Body::new(StreamBody::new(futures_util::stream::iter(chunks)));
    let request = http::Request::post("/fw").header("content-length", CHUNK * CHUNKS).body(body).expect("valid");
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        sleep(Duration::from_secs(10)).await;
        let stopped_at = taken.load(Relaxed);
        sleep(Duration::from_secs(100)).await;
        assert_eq!(taken.load(Relaxed), stopped_at, "the body is not polled while the device does not read");
        assert!(stopped_at < CHUNKS / 2, "{stopped_at} chunks were taken");
        let (mut read, mut buffer) = (0, vec![0; CHUNK]);
        while read < CHUNK * CHUNKS {
            read += socket.read(&mut buffer).await.expect("sound");
        }
        socket.write_all(OK).await.expect("written");
        assert_eq!(read, CHUNK * CHUNKS);
        socket
    };
    let (response, _socket) = tokio::join!(handler.handle(request), script);
    assert_eq!(text(response).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_serves_again_and_is_closed_when_its_time_is_over() {
    let (listener, handler) = device(Limits::default()).await;
    let (response, mut socket) = tokio::join!(handler.handle(get("/")), serve_one(&listener, OK));
    assert_eq!(text(response).await, "ok");
    sleep(Duration::from_secs(3)).await;
    let again = async {
        assert!(head(&mut socket).await.starts_with("GET /again "), "the same connection");
        socket.write_all(OK).await.expect("written");
    };
    let (response, ()) = tokio::join!(handler.handle(get("/again")), again);
    assert_eq!(text(response).await, "ok");
    let idle_since = Instant::now();
    assert_eq!(socket.read(&mut [0]).await.expect("in good order"), 0, "the reaper closed it");
    assert!((3900..=4100).contains(&idle_since.elapsed().as_millis()), "{:?}", idle_since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn more_idle_connections_than_the_bound_are_closed_at_once() {
    let (listener, handler) = device(Limits { idle: 1, ..Limits::default() }).await;
    let script = async {
        let mut sockets = (accept(&listener).await, accept(&listener).await);
        for socket in [&mut sockets.0, &mut sockets.1] {
            head(socket).await;
            socket.write_all(OK).await.expect("written");
        }
        sockets
    };
    let both = async { tokio::join!(handler.handle(get("/a")), handler.handle(get("/b"))) };
    let ((a, b), (mut first, mut second)) = tokio::join!(both, script);
    let at = Instant::now();
    assert_eq!(tokio::join!(text(a), text(b)), ("ok".to_owned(), "ok".to_owned()));
    let (mut one, mut two) = ([0], [0]);
    tokio::select! {
        end = first.read(&mut one) => assert_eq!(end.expect("in good order"), 0),
        end = second.read(&mut two) => assert_eq!(end.expect("in good order"), 0),
    }
    assert!(at.elapsed() < Duration::from_secs(1), "not the idle time");
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_connection_cap_waits_and_then_is_told_to_come_back() {
    let (listener, handler) = device(Limits { connections: 1, endless: 1, ..Limits::default() }).await;
    let (video, _socket) = tokio::join!(handler.handle(get("/mjpeg")), serve_one(&listener, MJPEG));
    let at = Instant::now();
    let busy = handler.handle(get("/")).await;
    assert_eq!((busy.status().as_u16(), &busy.headers()["retry-after"]), (503, &http::HeaderValue::from(1)));
    assert_eq!(at.elapsed().as_secs(), 5);
    let waiting = handler.handle(get("/"));
    let release = async {
        sleep(Duration::from_secs(1)).await;
        drop(video);
        serve_one(&listener, OK).await
    };
    let (response, _socket) = tokio::join!(waiting, release);
    assert_eq!(text(response).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn endless_answers_leave_room_for_control_requests() {
    let (listener, handler) = device(Limits { connections: 2, endless: 1, ..Limits::default() }).await;
    let (video, _first) = tokio::join!(handler.handle(get("/mjpeg")), serve_one(&listener, MJPEG));
    let (refused, _second) = tokio::join!(handler.handle(get("/mjpeg")), serve_one(&listener, MJPEG));
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &http::HeaderValue::from(1)));
    assert!(text(refused).await.contains("endless"));
    let (control, mut third) = tokio::join!(handler.handle(get("/ptz")), serve_one(&listener, OK));
    assert_eq!(text(control).await, "ok");
    drop(video);
    let kept_alive = async {
        head(&mut third).await;
        third.write_all(MJPEG).await.expect("written");
    };
    let (video, ()) = tokio::join!(handler.handle(get("/mjpeg")), kept_alive);
    assert_eq!(video.status(), 200, "the place is free again");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_still_down_after_its_start_is_a_502() {
    let (listener, handler) = device(Limits::default()).await;
    drop(listener);
    assert_eq!(handler.handle(get("/")).await.status(), 503);
    sleep(Duration::from_secs(31)).await;
    let response = handler.handle(get("/")).await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (502, &http::HeaderValue::from(2)));
}

#[tokio::test(start_paused = true)]
async fn a_device_whose_backlog_is_full_is_a_504_within_the_connect_deadline() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("valid");
    socket.bind(&any.into()).expect("loopback");
    socket.listen(0).expect("listens");
    let address = socket.local_addr().expect("bound").as_socket().expect("IPv4");
    let mut fill = Vec::new();
    while let Ok(held) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        fill.push(held);
        assert!(fill.len() < 64, "the backlog never fills");
    }
    let at = Instant::now();
    let response = handler_for(address, Limits::default()).handle(get("/")).await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (504, &http::HeaderValue::from(2)));
    assert_eq!(at.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_pauses_its_upload_is_not_a_silent_device() {
    let limits = Limits { head: Duration::from_secs(10), upload: Duration::from_secs(60), ..Limits::default() };
    let (listener, handler) = device(limits).await;
    let (sender, request) = upload();
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        for part in ["a", "b"] {
            sender.send(data(part)).expect("read");
            sleep(Duration::from_secs(50)).await;
        }
        drop(sender);
        (socket, Instant::now())
    };
    let (response, (_socket, ended)) = tokio::join!(handler.handle(request), script);
    assert_eq!(response.status(), 504, "now the device owes the answer");
    assert_eq!(ended.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_never_finishes_its_upload_is_a_408_and_gives_the_connection_back() {
    let limits = Limits { head: Duration::from_secs(10), upload: Duration::from_secs(60), ..Limits::default() };
    let (listener, handler) = device(limits).await;
    let (sender, request) = upload();
    sender.send(data("half")).expect("room");
    let at = Instant::now();
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        let mut rest = String::new();
        socket.read_to_string(&mut rest).await.expect("closed in good order");
        assert_eq!(rest, "4\r\nhalf\r\n", "no end of the body: the device sees an incomplete request");
    };
    let (response, ()) = tokio::join!(handler.handle(request), script);
    assert_eq!((response.status().as_u16(), at.elapsed().as_secs()), (408, 60));
}

/// A log that the test reads.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn count(&self, part: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().expect("one thread")).matches(part).count()
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_has_one_line_per_change_of_the_device_and_none_for_what_remotes_do() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (listener, handler) = device(Limits::default()).await;
    let address = listener.local_addr().expect("bound");
    drop(listener);
    for _ in 0..3 {
        assert_eq!(handler.handle(get("/")).await.status(), 503);
    }
    assert_eq!(lines.count("does not accept connections"), 1);
    let listener = TcpListener::bind(address).await.expect("free again");
    for _ in 0..2 {
        let (response, socket) = tokio::join!(handler.handle(get("/")), serve_one(&listener, OK));
        assert_eq!(text(response).await, "ok");
        drop(socket);
    }
    assert_eq!(lines.count("answers again"), 1);
    let (sender, request) = upload();
    sender.send(Err(BodyError::Reset(h2::Reason::CANCEL))).expect("room");
    let script = async {
        let mut socket = accept(&listener).await;
        let mut seen = String::new();
        socket.read_to_string(&mut seen).await.expect("closed");
        assert!(!seen.contains("0\r\n\r\n"), "an abandoned upload is not a complete one");
    };
    let (_, ()) = tokio::join!(handler.handle(request), script);
    assert_eq!(lines.count("WARN"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_the_upload_survives_the_reset_that_follows_it() {
    let (listener, handler) = device(Limits::default()).await;
    let body = Bytes::from_static(&[0; 4 << 20]);
    let request = http::Request::post("/fw").body(Body::full(body)).expect("valid");
    let script = async {
        let mut socket = accept(&listener).await;
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge").await.expect("written");
        // Unread bytes are left in the socket: the kernel answers the close with a reset.
        drop(socket);
    };
    let (response, ()) = tokio::join!(handler.handle(request), script);
    assert_eq!(response.status(), 413);
    assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "large");
}
