//! CONNECT to ports of the device (RFC 9113 §8.5): what is allowed, what passes, how it ends, what it costs the session.

use std::{io::ErrorKind, time::Duration};

use h2::Reason;
use onvif_uplink::forward::Limits;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{
    connect::{Opened, device, open, plain, session_to},
    device::nobody,
    h2_peer::Session,
    http::{self, PATIENCE},
    raw_device::accept,
    remote::Remote,
    sidecar::{Line, Site, document},
};

/// A device whose one allowed port is played by the listener; its web service is the same port.
async fn scene() -> (TcpListener, u16, Session) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let session = session_to(&device("http", address, &[address.port()]), Limits::default()).await;
    (listener, address.port(), session)
}

async fn standing() -> (TcpStream, Opened, Session) {
    let (listener, port, session) = scene().await;
    let (socket, opened) = tokio::join!(accept(&listener), open(&session, plain(&format!("localhost:{port}"))));
    assert_eq!(opened.head.status, 200);
    (socket, opened, session)
}

async fn device_rest(socket: &mut TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("in time").map_err(|error| error.kind())?;
    Ok(bytes)
}

/// The status of a CONNECT and its sentence.
async fn asked(session: &Session, authority: &str) -> (u16, String) {
    let mut opened = open(session, plain(authority)).await;
    let sentence = opened.rest().await.expect("whole");
    (opened.head.status.as_u16(), String::from_utf8_lossy(&sentence).into_owned())
}

#[tokio::test]
async fn bytes_pass_both_ways_whoever_speaks_first() {
    let (mut socket, mut opened, _session) = standing().await;
    socket.write_all(b"SSH-2.0-device\r\n").await.expect("open");
    assert_eq!(opened.hear(16).await, "SSH-2.0-device\r\n");
    opened.say("SSH-2.0-remote\r\n");
    let mut banner = [0; 16];
    socket.read_exact(&mut banner).await.expect("open");
    assert_eq!(&banner, b"SSH-2.0-remote\r\n");
}

#[tokio::test]
async fn each_side_may_end_its_direction_while_the_other_goes_on() {
    let (mut socket, mut opened, _session) = standing().await;
    opened.say("request");
    opened.end();
    assert_eq!(device_rest(&mut socket).await.expect("FIN"), b"request");
    socket.write_all(b"answer").await.expect("still open");
    drop(socket);
    assert_eq!(opened.rest().await.expect("END_STREAM"), "answer");

    let (mut socket, mut opened, _session) = standing().await;
    socket.shutdown().await.expect("open");
    assert_eq!(opened.rest().await.expect("END_STREAM"), "");
    opened.say("afterwards");
    opened.end();
    assert_eq!(device_rest(&mut socket).await.expect("FIN"), b"afterwards");
}

#[tokio::test]
async fn a_reset_of_the_remote_is_one_at_the_device_and_a_broken_connection_a_connect_error() {
    let (mut socket, mut opened, _session) = standing().await;
    opened.send.send_reset(Reason::CANCEL);
    assert_eq!(device_rest(&mut socket).await.expect_err("RST"), ErrorKind::ConnectionReset);

    let (socket, mut opened, _session) = standing().await;
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(socket);
    assert_eq!(opened.reset().await, Reason::CONNECT_ERROR);
}

#[tokio::test]
async fn a_session_that_ends_cuts_its_connections() {
    let (mut socket, opened, session) = standing().await;
    session.remote_connection.abort();
    drop((opened, session.remote));
    assert_eq!(device_rest(&mut socket).await.expect_err("RST"), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn ports_and_hosts_that_are_not_allowed_are_a_403_with_the_reason() {
    let (_listener, port, session) = scene().await;
    for (authority, reason) in [
        ("localhost:1".to_owned(), "not one of the device's connectPorts"),
        (format!("192.0.2.1:{port}"), "only the device itself"),
        (format!("camera-2:{port}"), "only the device itself"),
    ] {
        let (status, sentence) = asked(&session, &authority).await;
        assert_eq!(status, 403, "{authority}");
        assert!(sentence.contains(reason), "{authority}: {sentence}");
    }
    let off = session_to(&device("http", nobody().await, &[]), Limits::default()).await;
    let (status, sentence) = asked(&off, &format!("camera-1:{port}")).await;
    assert_eq!(status, 403);
    assert!(sentence.contains("no connectPorts"), "{sentence}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_502_that_names_it() {
    let free = nobody().await;
    let session = session_to(&device("http", free, &[free.port()]), Limits::default()).await;
    let (status, sentence) = asked(&session, &format!("camera-1:{}", free.port())).await;
    assert_eq!(status, 502);
    assert!(sentence.contains(&format!("port {} of the device", free.port())), "{sentence}");
}

#[tokio::test]
async fn a_content_length_costs_its_stream_only() {
    let (_listener, port, session) = scene().await;
    let mut request = plain(&format!("localhost:{port}"));
    request.headers_mut().insert("content-length", 5.into());
    let mut opened = open(&session, request).await;
    assert_eq!(opened.head.status, 400);
    assert!(String::from_utf8_lossy(&opened.rest().await.expect("whole")).contains("content-length"));
    assert_eq!(asked(&session, "localhost:1").await.0, 403, "the session stands");
}

#[tokio::test]
async fn a_sidecar_serves_the_ports_of_its_configuration_and_counts_the_others() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let text = document(&[Line::new("camera-1", address, remote.remote())]);
    site.write(&text.replace("    uplinks:", &format!("    connectPorts: [{}]\n    uplinks:", address.port())));
    let sidecar = site.start().await;
    let session = remote.upgrade().await;
    let mut requests = session.requests.clone().ready().await.expect("the session stands");
    let (response, _open) = requests.send_request(plain(&format!("camera-1:{}", address.port())), false).expect("sent");
    let (socket, response) = tokio::join!(accept(&listener), timeout(PATIENCE, response));
    assert_eq!(response.expect("in time").expect("answered").status(), 200);
    drop(socket);
    let (refused, _) = session.get(plain("camera-1:23")).await;
    assert_eq!(refused.status, 403);
    let (_, scrape) = http::get(sidecar.admin, "/metrics").await;
    let counted = |line: &&str| line.starts_with("onvif_uplink_connect_refused_total{") && line.ends_with(" 1");
    assert!(scrape.lines().any(|line| counted(&line)), "{scrape}");
}
