//! What real cloud ends do (shared notes, onvif-uplink.md §2.6): the real sidecar over TLS against scripted remotes.
//!
//! | Quirk | Test |
//! |---|---|
//! | Q1 exact head, one TLS record | `the_upgrade_request_is_exact_and_comes_in_one_tls_record` |
//! | Q2 path and `Host` overridden | personas/bosch.rs; switches: src/config/connection_tests.rs |
//! | Q3 101 minimal, decorated, any case | `a_101_of_any_shape_is_taken`; parser: src/transport/answer_tests.rs |
//! | Q4 nothing before the 101, early bytes kept | `nothing_follows_the_head_before_the_101`, `what_comes_with_the_101_belongs_to_http_2` |
//! | Q5 no handshake, plain TCP | personas/axxon.rs; plain: tls_choices.rs `plain_tcp_is_spoken_to_loopback_only_when_the_lab_says_so` |
//! | Q6 TLS 1.2 only, no client certificate asked, private CA | `a_remote_with_tls_1_2_only_that_asks_for_no_certificate_is_served` |
//! | Q7 bare host and port | `a_bare_address_means_https` |
//! | Q8 `:authority` missing or foreign, `:scheme` http | `the_device_sees_its_own_host_whatever_the_remote_calls_it` |
//! | Q9 an operation on another path | personas/grse.rs; src/onvif/misplaced_tests.rs |
//! | Q10 request without END_STREAM | `a_soap_request_that_never_ends_its_stream_is_answered` |
//! | Q11 content-length on chunked answers | `a_chunked_answer_of_the_device_gets_a_length` |
//! | Q12 CANCEL, GOAWAY, abrupt close; push allowed | `a_cancel_after_the_answer_is_no_error`, `a_goaway_and_an_abrupt_close_are_normal_ends`; push: src/uplink/tests.rs `a_remote_that_allows_push_gets_none` |
//! | Q13 extended CONNECT before our SETTINGS | personas/axxon.rs `an_extended_connect_before_our_settings_costs_its_stream_only` |
//! | Q14 credentials of the remote's client | personas/axxon.rs `axxon_is_served_without_an_upgrade_and_with_a_host_for_an_authority` |
//! | Q15 silent peers live by our PING | src/uplink/tests.rs `a_remote_that_only_answers_pings_stays_connected` (virtual time) |

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request, Version};
use onvif_uplink::model::failure::Cause;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    device::{FakeDevice, camera},
    http::PATIENCE,
    remote::{Remote, SWITCH, answer, server_certificate, tls, upgraded},
    sidecar::{Line, Sidecar, Site},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
/// The connection preface with empty SETTINGS (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// One device, one remote, one sidecar that dials it.
async fn scene(site: &Site, remote: &Remote, device: std::net::SocketAddr) -> Sidecar {
    site.start_with(&[Line::new("camera-1", device, remote.remote())]).await
}

fn request(method: Method, uri: &str) -> http::request::Builder {
    Request::builder().method(method).uri(uri).version(Version::HTTP_2)
}

/// Keeps what was read, so that TLS records can be counted.
struct Recorder(TcpStream, Arc<Mutex<Vec<u8>>>);

impl AsyncRead for Recorder {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.0).poll_read(cx, buf);
        self.1.lock().expect("no panic").extend_from_slice(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// How many TLS records of application data (RFC 5246 §6.2.1) there are.
fn data_records(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        count += usize::from(*kind == 23);
        bytes = &rest[usize::from(u16::from_be_bytes([*high, *low])).min(rest.len())..];
    }
    count
}

#[tokio::test]
async fn the_upgrade_request_is_exact_and_comes_in_one_tls_record() {
    let site = Site::new(&["camera-1"]);
    // With TLS 1.2 nothing but the head is application data.
    let config = tls(&server_certificate(&site.authority), Some(&site.authority), true);
    let remote = Remote::with(Arc::clone(&config)).await;
    let device = camera("camera-1").await;
    let _sidecar = scene(&site, &remote, device.address).await;
    let wire = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder(remote.tcp().await, Arc::clone(&wire));
    let mut stream = TlsAcceptor::from(config).accept(recorder).await.expect("a good handshake");
    let wanted = format!(
        "GET /uplink HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n",
        remote.address
    );
    // Once, as a peer does that takes one read for the head.
    let mut head = [0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut head)).await.expect("in time").expect("read");
    assert_eq!(String::from_utf8_lossy(&head[..length]), wanted);
    assert_eq!(data_records(&wire.lock().expect("no panic")), 1);
}

#[tokio::test]
async fn nothing_follows_the_head_before_the_101() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address).await;
    let mut stream = remote.asked().await;
    // There is no sign for "nothing comes": half a second is far more than a write that follows at once would need.
    let more = timeout(Duration::from_millis(500), stream.read_u8()).await;
    assert!(more.is_err(), "{more:?}");
    stream.write_all(SWITCH).await.expect("sent");
    let _session = upgraded(stream).await;
    sidecar.online("camera-1").await;
}

#[tokio::test]
async fn a_101_of_any_shape_is_taken() {
    for head in [
        "HTTP/1.1 101 \r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n",
        "HTTP/1.1 101 As You Like It\r\nuPGRADE:H2C-Reverse\r\nServer: x\r\nSet-Cookie: a=b\r\nDate: now\r\n\r\n",
        "HTTP/1.1 101 x\r\nconnection: keep-alive, UPGRADE\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 x\r\nupgrade: h2c-reverse\r\n\r\n",
    ] {
        let site = Site::new(&["camera-1"]);
        let remote = Remote::start(&site.authority).await;
        let device = camera("camera-1").await;
        let sidecar = scene(&site, &remote, device.address).await;
        let _session = upgraded(remote.answer(head.as_bytes()).await).await;
        sidecar.online("camera-1").await;
    }
}

/// The first bytes of an HTTP/2 client, its first request included, and the pipe by which it goes on.
async fn first_words() -> (Vec<u8>, tokio::io::DuplexStream, h2::client::ResponseFuture, tokio::task::JoinHandle<()>) {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let (mut requests, connection) = h2::client::handshake(ours).await.expect("a pipe");
    let head = request(Method::GET, "https://cloud/first").body(()).expect("valid");
    let (response, _) = requests.send_request(head, true).expect("sent");
    let driver = tokio::spawn(async move {
        let _requests = requests;
        // Ends when the test does; how is of no interest.
        let _ = connection.await;
    });
    let mut words = vec![0; 24];
    theirs.read_exact(&mut words).await.expect("a preface");
    loop {
        let mut head = [0; 9];
        theirs.read_exact(&mut head).await.expect("a frame");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        theirs.read_exact(&mut payload).await.expect("a payload");
        words.extend_from_slice(&head);
        words.extend_from_slice(&payload);
        if head[3] == 1 {
            return (words, theirs, response, driver);
        }
    }
}

#[tokio::test]
async fn what_comes_with_the_101_belongs_to_http_2() {
    // All at once; split within the preface; split behind it.
    for split in [None, Some(7), Some(24)] {
        let site = Site::new(&["camera-1"]);
        let remote = Remote::start(&site.authority).await;
        let device = FakeDevice::start().await;
        let _sidecar = scene(&site, &remote, device.address).await;
        let (words, mut pipe, response, _driver) = first_words().await;
        let at = split.unwrap_or(words.len());
        let mut stream = remote.answer(&[SWITCH, &words[..at]].concat()).await;
        if at < words.len() {
            // Our SETTINGS show that the 101 was taken before the rest comes.
            let mut settings = [0; 9];
            stream.read_exact(&mut settings).await.expect("our SETTINGS");
            pipe.write_all(&settings).await.expect("a pipe");
            stream.write_all(&words[at..]).await.expect("sent");
        }
        let _relay = tokio::spawn(async move { copy_bidirectional(&mut pipe, &mut stream).await });
        let (seen, (parts, body)) = tokio::join!(device.answer(OK), answer(response));
        assert!(seen.starts_with("GET /first HTTP/1.1\r\n"), "{seen}");
        assert_eq!((parts.status.as_u16(), &body[..]), (200, &b"ok"[..]));
    }
}

#[tokio::test]
async fn a_remote_with_tls_1_2_only_that_asks_for_no_certificate_is_served() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, true)).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address).await;
    let _session = remote.upgrade().await;
    let status = sidecar.online("camera-1").await;
    assert_eq!(status.session.expect("online").tls.version, "TLSv1.2");
}

#[tokio::test]
async fn a_bare_address_means_https() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, remote.address.to_string())]).await;
    let mut stream = remote.handshake().await.expect("a good handshake");
    let head = crate::support::remote::read_head(&mut stream).await;
    assert!(head.starts_with(&format!("GET / HTTP/1.1\r\nHost: {}\r\n", remote.address)), "{head}");
    stream.write_all(SWITCH).await.expect("sent");
    let _session = upgraded(stream).await;
    sidecar.online("camera-1").await;
}

#[tokio::test]
async fn the_device_sees_its_own_host_whatever_the_remote_calls_it() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = FakeDevice::start().await;
    let _sidecar = scene(&site, &remote, device.address).await;
    let session = remote.upgrade().await;
    for (uri, host) in [
        ("https://0.0.0.0:7555/a", None),
        ("http://0.0.0.0:7555/a", None),
        ("https://camera-1.cloud.example/a", Some("another.example")),
    ] {
        let mut head = request(Method::GET, uri);
        if let Some(host) = host {
            head = head.header("host", host);
        }
        let (seen, (parts, _)) = tokio::join!(device.answer(OK), session.get(head.body(()).expect("valid")));
        assert_eq!(parts.status, 200);
        assert!(seen.starts_with("GET /a HTTP/1.1\r\n"), "{seen}");
        let hosts: Vec<&str> = seen.lines().filter(|line| line.to_ascii_lowercase().starts_with("host:")).collect();
        assert_eq!(hosts, [format!("Host: {}", device.address)], "{uri}");
    }
    // No :authority at all, and `host` instead; a client library does not send that, so by hand.
    drop(session);
    let mut stream = remote.answer(&[SWITCH, PREFACE].concat()).await;
    // :method GET, :scheme https, :path /, host: x (RFC 7541, static table 2, 7, 4 and name 38).
    stream.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x66\x01x").await.expect("sent");
    stream.flush().await.expect("sent");
    let seen = device.answer(OK).await;
    assert!(seen.contains(&format!("\r\nHost: {}\r\n", device.address)), "{seen}");
}

#[tokio::test]
async fn a_soap_request_that_never_ends_its_stream_is_answered() {
    const BODY: &str = "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><GetServices \
        xmlns=\"http://www.onvif.org/ver10/device/wsdl\"><IncludeCapability>false</IncludeCapability></GetServices></s:Body></s:Envelope>";
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let _sidecar = scene(&site, &remote, device.address).await;
    let session = remote.upgrade().await;
    let head = request(Method::POST, "https://0.0.0.0:7555/onvif/device_service")
        .header("content-type", "application/soap+xml; charset=utf-8")
        .header("content-length", BODY.len())
        .body(())
        .expect("valid");
    let mut requests = session.requests.clone().ready().await.expect("the session stands");
    let (response, mut body) = requests.send_request(head, false).expect("sent");
    body.send_data(Bytes::from_static(BODY.as_bytes()), false).expect("sent");
    let (parts, services) = answer(response).await;
    assert_eq!(parts.status, 200);
    assert_eq!(parts.headers["content-length"], services.len().to_string());
    assert!(String::from_utf8_lossy(&services).contains("GetServicesResponse"));
    let reset = timeout(PATIENCE, std::future::poll_fn(|cx| body.poll_reset(cx))).await.expect("in time");
    assert_eq!(reset.expect("the session stands"), Reason::NO_ERROR);
}

#[tokio::test]
async fn a_chunked_answer_of_the_device_gets_a_length() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = FakeDevice::start().await;
    let _sidecar = scene(&site, &remote, device.address).await;
    let session = remote.upgrade().await;
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let head = request(Method::POST, "https://cloud/x").header("content-length", 0).body(()).expect("valid");
    let (_, (parts, body)) = tokio::join!(device.answer(chunked), session.get(head));
    assert_eq!(parts.headers["content-length"], "7");
    assert_eq!(&body[..], b"abcdefg");
}

#[tokio::test]
async fn a_cancel_after_the_answer_is_no_error() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address).await;
    let session = remote.upgrade().await;
    let before = sidecar.online("camera-1").await;
    for _ in 0..3 {
        let head = request(Method::POST, "https://cloud/firmware").header("content-length", 3).body(()).expect("valid");
        let mut requests = session.requests.clone().ready().await.expect("the session stands");
        let (response, mut body) = requests.send_request(head, false).expect("sent");
        body.send_data(Bytes::from_static(b"abc"), false).expect("sent");
        let response = timeout(PATIENCE, response).await.expect("in time").expect("answered");
        assert_eq!(response.status(), 200);
        body.send_reset(Reason::CANCEL);
    }
    let (parts, _) = session.get(request(Method::GET, "https://cloud/").body(()).expect("valid")).await;
    assert_eq!(parts.status, 200);
    assert_eq!(sidecar.now("camera-1").since, before.since);
}

#[tokio::test]
async fn a_goaway_and_an_abrupt_close_are_normal_ends() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address).await;
    let session = remote.upgrade().await;
    sidecar.online("camera-1").await;
    // The library says GOAWAY and closes when nobody holds its sender any more.
    drop(session.requests);
    sidecar.fails("camera-1", Cause::ClosedByRemote).await;
    session.connection.await.expect("no panic").expect("a normal end on the other side too");

    let mut stream = remote.answer(&[SWITCH, PREFACE].concat()).await;
    sidecar.online("camera-1").await;
    // The end of TCP without the close_notify of TLS.
    stream.get_mut().0.shutdown().await.expect("shut down");
    sidecar.fails("camera-1", Cause::ClosedByRemote).await;
}
