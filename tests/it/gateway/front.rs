//! The front as browsers, HTTP/2 clients and slow readers use it.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;

#[tokio::test]
async fn a_client_that_begins_with_http2_is_served() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let tcp = TcpStream::connect(cloud.front).await.expect("connected");
    let (sender, connection) = h2::client::handshake(tcp).await.expect("preface");
    let _driver = tokio::spawn(connection);
    let mut sender = sender.ready().await.expect("ready");
    let request = Request::post("http://localhost/camera-1/up").body(()).expect("request");
    let (response, mut body) = sender.send_request(request, false).expect("sent");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().expect("value"));
    body.send_data(Bytes::from_static(b"up"), false).expect("sent");
    body.send_trailers(trailers).expect("sent");
    let (mut request, mut respond) = device.next().await;
    assert_eq!(request.body_mut().data().await.expect("data").expect("good"), "up");
    let trailers = request.body_mut().trailers().await.expect("good").expect("trailers");
    assert_eq!(trailers["x-sum"], "7");
    respond.send_response(Response::new(()), true).expect("sent");
    let response = timeout(PATIENCE, response).await.expect("in time").expect("answer");
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn trailers_of_a_chunked_upload_reach_the_device() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let client = raw(
        &cloud,
        "POST /camera-1/up HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum\r\n\r\n2\r\nup\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    .await;
    let (mut request, mut respond) = device.next().await;
    assert_eq!(request.body_mut().data().await.expect("data").expect("good"), "up");
    let trailers = request.body_mut().trailers().await.expect("good").expect("trailers");
    assert_eq!(trailers["x-sum"], "7");
    respond.send_response(Response::new(()), true).expect("sent");
    assert!(whole(client).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_browser_is_asked_for_a_password_and_then_let_in() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).expect("written");
    let cloud = cloud(|options| options.front_token_file = Some(file));
    let refused = get(&cloud, "/devices", "Accept: text/html\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.contains("www-authenticate: Basic realm="), "{refused}");
    let pair = BASE64_STANDARD.encode(format!("anybody:{TOKEN}"));
    let shown = get(&cloud, "/devices", &format!("Accept: text/html\r\nAuthorization: Basic {pair}\r\n")).await;
    assert!(shown.starts_with("HTTP/1.1 200 ") && shown.contains("<h1>Devices</h1>"), "{shown}");
}

#[tokio::test]
async fn a_body_waits_for_the_100_of_the_device() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut client = raw(
        &cloud,
        "POST /camera-1/up HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\n\
         Content-Length: 4\r\n\r\n",
    )
    .await;
    let (mut request, mut respond) = device.next().await;
    respond.send_informational(Response::builder().status(100).body(()).expect("answer")).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, client.read_u8()).await.expect("in time").expect("open"));
    }
    assert!(head.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&head));
    client.write_all(b"body").await.expect("sent");
    assert_eq!(request.body_mut().data().await.expect("data").expect("good"), "body");
    respond.send_response(Response::new(()), true).expect("sent");
    assert!(whole(client).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_offered_h2c_upgrade_is_passed_over() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let client = raw(
        &cloud,
        "GET /camera-1/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
    )
    .await;
    let (request, mut respond) = device.next().await;
    assert!(!request.headers().contains_key("http2-settings"));
    respond.send_response(Response::new(()), true).expect("sent");
    assert!(whole(client).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_device_that_is_away_is_a_page_in_a_browser_and_a_sentence_elsewhere() {
    let cloud = cloud(|_| {});
    let device = Device::connect(&cloud, "camera-1").await;
    device._task.abort();
    timeout(PATIENCE, async { while !devices(&cloud).await.is_empty() {} }).await.expect("left");
    let page = get(&cloud, "/camera-1/", "Accept: text/html,*/*;q=0.8\r\n").await;
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("content-type: text/html"), "{page}");
    assert!(page.contains("<p>The device camera-1 is not connected now"), "{page}");
    let text = get(&cloud, "/camera-1/", "Accept: */*\r\n").await;
    assert!(text.contains("content-type: text/plain") && !text.contains("<p>"), "{text}");
    let list = get(&cloud, "/devices", "Accept: text/html\r\n").await;
    assert!(list.contains("Not connected now") && list.contains("</i>camera-1<td>"), "{list}");
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_device() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let _client = raw(&cloud, "GET /camera-1/big HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut body = device.next().await.1.send_response(Response::new(()), false).expect("sent");
    let mut sent = 0;
    loop {
        body.reserve_capacity(64 * 1024);
        let capacity = std::future::poll_fn(|cx| body.poll_capacity(cx));
        // A second without room on loopback is a window that stays shut.
        let Ok(room) = timeout(Duration::from_secs(1), capacity).await else { break };
        let room = room.expect("open").expect("good");
        body.send_data(Bytes::from(vec![0; room]), false).expect("sent");
        sent += room;
        assert!(sent < 64 * 1024 * 1024, "nothing holds the download back");
    }
    assert!(sent > 0);
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_download_resets_the_stream_at_once() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut client = raw(&cloud, "GET /camera-1/big HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut body = device.next().await.1.send_response(Response::new(()), false).expect("sent");
    body.send_data(Bytes::from_static(b"some"), false).expect("sent");
    let mut seen = Vec::new();
    while !seen.ends_with(b"some\r\n") {
        seen.push(timeout(PATIENCE, client.read_u8()).await.expect("in time").expect("open"));
    }
    drop(client);
    let reset = timeout(Duration::from_secs(2), std::future::poll_fn(|cx| body.poll_reset(cx))).await;
    assert_eq!(reset.expect("at once").expect("reset"), h2::Reason::CANCEL);
}

#[tokio::test]
async fn an_early_answer_is_whole_though_the_device_then_stops_the_upload() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut client =
        raw(&cloud, "POST /camera-1/up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\npart").await;
    let (request, mut respond) = device.next().await;
    let answer = Response::builder().status(413).header("content-length", "8").body(()).expect("answer");
    let mut body = respond.send_response(answer, false).expect("sent");
    body.send_data(Bytes::from_static(b"too much"), true).expect("sent");
    // With the request dropped unread the library sends RST_STREAM with NO_ERROR behind the answer (RFC 9113 §8.1).
    drop((request, body));
    let mut seen = Vec::new();
    while !seen.ends_with(b"too much") {
        seen.push(timeout(PATIENCE, client.read_u8()).await.expect("in time").expect("open"));
    }
    assert!(seen.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&seen));
}
