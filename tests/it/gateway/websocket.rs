//! WebSockets of clients at the front: an Upgrade becomes an extended CONNECT (RFC 8441) and its bytes pass both ways.

use h2::ext::Protocol;

use super::*;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn upgrade(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n{KEY}{fields}\r\n"
    )
}

fn accepted() -> Response<()> {
    Response::new(())
}

#[tokio::test]
async fn an_upgrade_becomes_an_extended_connect_and_bytes_pass_both_ways() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect_with_websockets(&cloud, "camera-1").await;
    let request = upgrade(
        "/camera-1/ws?x=1",
        "Sec-WebSocket-Protocol: a, rtsp.onvif.org\r\nSec-WebSocket-Extensions: permessage-deflate\r\nOrigin: http://localhost\r\n",
    );
    // The first frame comes with the head.
    let mut client = raw(&cloud, &format!("{request}early")).await;
    let (mut request, mut respond) = device.next().await;
    assert_eq!(
        (request.method(), request.uri().path(), request.uri().query()),
        (&http::Method::CONNECT, "/ws", Some("x=1"))
    );
    assert_eq!(request.extensions().get::<Protocol>().map(Protocol::as_str), Some("websocket"));
    let fields = request.headers();
    assert_eq!(
        (&fields["sec-websocket-protocol"], &fields["sec-websocket-version"]),
        (&"a, rtsp.onvif.org".parse().expect("value"), &"13".parse().expect("value"))
    );
    assert_eq!(
        (&fields["sec-websocket-extensions"], &fields["origin"]),
        (&"permessage-deflate".parse().expect("value"), &"http://localhost".parse().expect("value"))
    );
    for gone in ["sec-websocket-key", "upgrade", "connection"] {
        assert!(!fields.contains_key(gone), "{gone}");
    }
    let answer = Response::builder().header("sec-websocket-protocol", "rtsp.onvif.org").body(()).expect("answer");
    let mut send = respond.send_response(answer, false).expect("sent");
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    assert!(answer.contains("\r\nsec-websocket-protocol: rtsp.onvif.org\r\n"), "{answer}");
    assert_eq!(data(request.body_mut()).await.as_deref(), Some(&b"early"[..]));
    send.send_data(Bytes::from_static(b"down"), false).expect("sent");
    assert_eq!(text(&mut client, 4).await, "down");
    client.write_all(b"up").await.expect("open");
    assert_eq!(data(request.body_mut()).await.as_deref(), Some(&b"up"[..]));
}

#[tokio::test]
async fn each_direction_ends_for_itself() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect_with_websockets(&cloud, "camera-1").await;
    let mut client = raw(&cloud, &upgrade("/camera-1/ws", "")).await;
    let (mut request, mut respond) = device.next().await;
    let mut send = respond.send_response(accepted(), false).expect("sent");
    head(&mut client).await;
    client.shutdown().await.expect("open");
    assert_eq!(data(request.body_mut()).await, None, "FIN becomes END_STREAM");
    send.send_data(Bytes::from_static(b"still"), true).expect("the other way is open");
    assert_eq!(whole(client).await, "still");
}

#[tokio::test]
async fn a_device_that_resets_resets_the_client_and_a_client_that_resets_resets_the_stream() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect_with_websockets(&cloud, "camera-1").await;
    let mut client = raw(&cloud, &upgrade("/camera-1/ws", "")).await;
    let (_request, mut respond) = device.next().await;
    let mut send = respond.send_response(accepted(), false).expect("sent");
    head(&mut client).await;
    send.send_reset(h2::Reason::INTERNAL_ERROR);
    let error = timeout(PATIENCE, client.read_u8()).await.expect("in time").expect_err("reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let mut client = raw(&cloud, &upgrade("/camera-1/ws", "")).await;
    let (_request, mut respond) = device.next().await;
    let mut send = respond.send_response(accepted(), false).expect("sent");
    head(&mut client).await;
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("set");
    drop(client);
    assert_eq!(reset_of(&mut send).await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn a_refusal_of_the_device_is_passed_on_with_its_body() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect_with_websockets(&cloud, "camera-1").await;
    let mut client = raw(&cloud, &upgrade("/camera-1/ws", "")).await;
    let (mut request, mut respond) = device.next().await;
    let answer =
        Response::builder().status(401).header("www-authenticate", "Digest realm=\"c\"").body(()).expect("answer");
    let mut send = respond.send_response(answer, false).expect("sent");
    send.send_data(Bytes::from_static(b"who are you?"), true).expect("sent");
    let answer = head(&mut client).await;
    assert!(
        answer.starts_with("HTTP/1.1 401 ") && answer.contains("\r\nwww-authenticate: Digest realm=\"c\"\r\n"),
        "{answer}"
    );
    assert!(text(&mut client, 16).await.contains("who are you?"));
    assert_eq!(data(request.body_mut()).await, None, "the request has ended");
}

#[tokio::test]
async fn a_device_without_rfc_8441_is_501_and_gets_no_request() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut client = raw(&cloud, &upgrade("/camera-1/ws", "")).await;
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    assert!(device.asked.try_recv().is_err());
    let mut client = raw(&cloud, &upgrade("/camera-2/ws", "")).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_page_of_another_site_opens_none_and_half_a_handshake_is_refused() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect_with_websockets(&cloud, "camera-1").await;
    for (request, status) in [
        (upgrade("/camera-1/ws", "Origin: http://evil.example\r\n"), "403"),
        (upgrade("/camera-1/ws", "Origin: http://localhost:1\r\n"), "403"),
        (upgrade("/camera-1/ws", "").replace("localhost", "evil.example"), "403"),
        (upgrade("/camera-1/ws", "").replace(KEY, ""), "400"),
        (upgrade("/camera-1/ws", KEY), "400"),
        (upgrade("/camera-1/ws", "").replace("GET", "POST"), "400"),
        (upgrade("/camera-1/ws", "Content-Length: 1\r\n"), "400"),
        (upgrade("/devices", ""), "404"),
    ] {
        let mut client = raw(&cloud, &request).await;
        let answer = head(&mut client).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
    }
    assert!(device.asked.try_recv().is_err());
}

#[tokio::test]
async fn the_token_of_the_front_is_asked_for_and_stays_here() {
    let dir = tempfile::tempdir().expect("directory");
    let cloud = cloud(|options| options.front_token_file = Some(with_token(&dir)));
    let mut device = Device::connect_with_websockets(&cloud, "camera-1").await;
    let mut client = raw(&cloud, &upgrade("/camera-1/ws", "")).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 401 "));
    let mut client = raw(&cloud, &upgrade("/camera-1/ws", &format!("Authorization: Bearer {TOKEN}\r\n"))).await;
    let (request, mut respond) = device.next().await;
    assert!(!request.headers().contains_key("authorization"));
    let _send = respond.send_response(accepted(), false).expect("sent");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn an_extended_connect_of_an_http2_client_goes_on_as_it_is() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect_with_websockets(&cloud, "camera-1").await;
    let tcp = TcpStream::connect(cloud.front).await.expect("connected");
    let (sender, connection) = h2::client::handshake(tcp).await.expect("preface");
    let _driver = tokio::spawn(connection);
    let mut sender = sender.ready().await.expect("ready");
    timeout(PATIENCE, async {
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await
        }
    })
    .await
    .expect("announced");
    let mut request = Request::connect("http://localhost/camera-1/ws").body(()).expect("request");
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let (response, mut send) = sender.send_request(request, false).expect("sent");
    let (mut asked, mut respond) = device.next().await;
    assert_eq!(asked.extensions().get::<Protocol>().map(Protocol::as_str), Some("websocket"));
    let mut down = respond.send_response(accepted(), false).expect("sent");
    let response = timeout(PATIENCE, response).await.expect("in time").expect("answer");
    assert_eq!(response.status(), 200);
    send.send_data(Bytes::from_static(b"up"), true).expect("sent");
    assert_eq!(data(asked.body_mut()).await.as_deref(), Some(&b"up"[..]));
    assert_eq!(data(asked.body_mut()).await, None);
    down.send_data(Bytes::from_static(b"down"), true).expect("sent");
    let mut body = response.into_body();
    assert_eq!(data(&mut body).await.as_deref(), Some(&b"down"[..]));
    assert_eq!(data(&mut body).await, None);
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_stop_its_own_direction() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect_with_websockets(&cloud, "camera-1").await;
    let mut client = raw(&cloud, &upgrade("/camera-1/ws", "")).await;
    let (mut request, mut respond) = device.next().await;
    let mut send = respond.send_response(accepted(), false).expect("sent");
    head(&mut client).await;
    loop {
        send.reserve_capacity(64 * 1024);
        // A second without room on loopback is a window that stays shut.
        let room = timeout(Duration::from_secs(1), std::future::poll_fn(|cx| send.poll_capacity(cx))).await;
        let Ok(room) = room else { break };
        send.send_data(Bytes::from(vec![0; room.expect("open").expect("good")]), false).expect("sent");
    }
    client.write_all(b"still here").await.expect("open");
    assert_eq!(data(request.body_mut()).await.as_deref(), Some(&b"still here"[..]));
}

#[tokio::test]
async fn a_drain_lets_a_websocket_go_on_to_its_deadline() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect_with_websockets(&cloud, "camera-1").await;
    let mut client = raw(&cloud, &upgrade("/camera-1/ws", "")).await;
    let (_request, mut respond) = device.next().await;
    let mut send = respond.send_response(accepted(), false).expect("sent");
    head(&mut client).await;
    cloud.switch.start(Duration::from_millis(500));
    send.send_data(Bytes::from_static(b"within"), false).expect("sent");
    assert_eq!(text(&mut client, 6).await, "within");
    timeout(PATIENCE, cloud.run).await.expect("at the deadline").expect("joined").expect("in good order");
    let ended = timeout(PATIENCE, client.read_u8()).await.expect("in time");
    assert!(ended.is_err());
}
