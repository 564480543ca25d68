//! RTSP over HTTP of an ordinary player at the front: two connections become two streams of one session.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{rtsp::Conversation, *};

fn half(method: &str, path: &str, host: &str) -> String {
    let (marked, length) = match method {
        "GET" => ("Accept", ""),
        _ => ("Content-Type", "Content-Length: 32767\r\n"),
    };
    format!(
        "{method} {path} HTTP/1.0\r\n{host}x-sessioncookie: abc\r\n{marked}: application/x-rtsp-tunnelled\r\n{length}\r\n"
    )
}

fn base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

const LOCAL: &str = "Host: localhost\r\n";
const DESCRIBE: &str = "DESCRIBE rtsp://localhost:8800/camera-1/live RTSP/1.0\r\nCSeq: 1\r\n\r\n";
const AT_DEVICE: &str = "DESCRIBE rtsp://localhost:8800/live RTSP/1.0\r\nCSeq: 1\r\n\r\n";

/// A player's two connections and the device's ends of them, behind the head of the GET's answer.
async fn tunnel(
    cloud: &Cloud,
    device: &mut Device,
    path: &str,
    host: &str,
) -> (TcpStream, TcpStream, Conversation, String) {
    let mut get = raw(cloud, &half("GET", path, host)).await;
    let post = raw(cloud, &half("POST", path, host)).await;
    let camera = Conversation::accept_any(device).await;
    let answer = head(&mut get).await;
    (get, post, camera, answer)
}

#[tokio::test]
async fn a_get_without_an_end_and_a_post_without_a_length_are_carried_and_mapped() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let (mut get, mut post, mut camera, answer) = tunnel(&cloud, &mut device, "/camera-1/live", LOCAL).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nContent-Type: application/x-rtsp-tunnelled\r\n"), "{answer}");
    for wrong in ["transfer-encoding", "content-length", "x-server-ip-address"] {
        assert!(!answer.to_lowercase().contains(wrong), "{answer}");
    }
    assert_eq!((camera.get.uri().path(), camera.post.uri().path()), ("/live", "/live"));
    let encoded = base64(DESCRIBE);
    let (first, second) = encoded.split_at(33);
    post.write_all(first.as_bytes()).await.expect("open");
    post.write_all(second.as_bytes()).await.expect("open");
    assert_eq!(camera.request().await, AT_DEVICE);
    camera.say(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Base: rtsp://10.0.0.9/live/\r\n\r\n$\0\0\x02ab");
    assert!(head(&mut get).await.contains("\r\nContent-Base: rtsp://localhost/camera-1/live/\r\n"));
    assert_eq!(text(&mut get, 6).await, "$\0\0\x02ab");
    // More than the length that was announced.
    for _ in 0..400 {
        post.write_all(base64(DESCRIBE).as_bytes()).await.expect("open");
        assert_eq!(camera.request().await, AT_DEVICE);
    }
    camera.end();
    assert_eq!(whole(get).await, "");
}

#[tokio::test]
async fn with_a_host_name_every_byte_passes_as_it_is() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let host = "Host: camera-1.localhost:8800\r\n";
    let (mut get, mut post, mut camera, _) = tunnel(&cloud, &mut device, "/live", host).await;
    post.write_all(b"not even base64!").await.expect("open");
    assert_eq!(data(camera.post.body_mut()).await.as_deref(), Some(&b"not even base64!"[..]));
    camera.say(b"RTSP/1.0 200 OK\r\nContent-Base: rtsp://10.0.0.9/live/\r\n\r\n");
    assert!(head(&mut get).await.contains("rtsp://10.0.0.9/live/"));
}

#[tokio::test]
async fn the_post_goes_by_the_session_of_its_get_though_a_newer_one_stands() {
    let cloud = cloud(|_| {});
    let mut old = Device::connect(&cloud, "camera-1").await;
    let mut get = raw(&cloud, &half("GET", "/camera-1/live", LOCAL)).await;
    let (_get, mut respond) = old.next().await;
    let _down = respond.send_response(Response::new(()), false).expect("sent");
    head(&mut get).await;
    let mut new = Device::connect(&cloud, "camera-1").await;
    let _post = raw(&cloud, &half("POST", "/camera-1/live", LOCAL)).await;
    assert_eq!(old.next().await.0.method(), &http::Method::POST);
    assert!(new.asked.try_recv().is_err());
    // Another cookie is another pair.
    let _other = raw(&cloud, &half("GET", "/camera-1/live", LOCAL).replace("abc", "def")).await;
    assert_eq!(new.next().await.0.headers()["x-sessioncookie"], "def");
}

#[tokio::test]
async fn a_player_that_closes_its_get_gives_the_stream_up() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let (get, _post, mut camera, _) = tunnel(&cloud, &mut device, "/camera-1/live", LOCAL).await;
    drop(get);
    assert_eq!(camera.given_up().await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn garbage_in_the_post_ends_its_own_stream() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let (_get, mut post, mut camera, _) = tunnel(&cloud, &mut device, "/camera-1/live", LOCAL).await;
    post.write_all(b"REVT!!!!").await.expect("open");
    let broken = timeout(PATIENCE, camera.post.body_mut().data()).await.expect("in time").expect("a reset");
    assert_eq!(broken.expect_err("reset").reason(), Some(h2::Reason::CANCEL));
    let other = raw(&cloud, "GET /camera-1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    device.next().await.1.send_response(Response::new(()), true).expect("the session lives");
    assert!(whole(other).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn refusals_are_whole_answers() {
    let cloud = cloud(|_| {});
    let unknown = whole(raw(&cloud, &half("GET", "/camera-1/live", LOCAL)).await).await;
    assert!(unknown.starts_with("HTTP/1.0 404 ") && unknown.ends_with("has connected to this gateway\n"), "{unknown}");
    let foreign = whole(raw(&cloud, &half("GET", "/camera-1/live", "Host: evil.example\r\n")).await).await;
    assert!(foreign.starts_with("HTTP/1.0 403 "), "{foreign}");
    let mut device = Device::connect(&cloud, "camera-1").await;
    // A player that names no host is no browser.
    let refused = raw(&cloud, &half("GET", "/camera-1/live", "")).await;
    let answer = Response::builder().status(404).header("x-server-ip-address", "10.0.0.9").body(()).expect("answer");
    let mut send = device.next().await.1.send_response(answer, false).expect("sent");
    send.send_data(Bytes::from_static(b"no such stream"), true).expect("sent");
    let refused = whole(refused).await;
    assert!(refused.starts_with("HTTP/1.0 404 ") && refused.ends_with("\r\n\r\nno such stream"), "{refused}");
    assert!(!refused.to_lowercase().contains("x-server-ip-address"), "{refused}");
}

#[tokio::test]
async fn the_token_counts_as_basic_and_in_the_query_and_goes_no_further() {
    let dir = tempfile::tempdir().expect("directory");
    let cloud = cloud(|options| options.front_token_file = Some(with_token(&dir)));
    let mut device = Device::connect(&cloud, "camera-1").await;
    let refused = whole(raw(&cloud, &half("GET", "/camera-1/live", LOCAL)).await).await;
    assert!(
        refused.starts_with("HTTP/1.0 401 ") && refused.contains("\r\nWww-Authenticate: Basic realm="),
        "{refused}"
    );
    let pair = base64(&format!("x:{TOKEN}"));
    let basic = format!("{LOCAL}Authorization: Basic {pair}\r\n");
    let _get = raw(&cloud, &half("GET", "/camera-1/live", &basic)).await;
    assert!(!device.next().await.0.headers().contains_key("authorization"));
    let _get = raw(&cloud, &half("GET", &format!("/camera-1/live?a=1&token={TOKEN}"), LOCAL)).await;
    assert_eq!(device.next().await.0.uri().path_and_query().expect("path").as_str(), "/live?a=1");
}

#[tokio::test]
async fn a_player_that_waits_for_100_gets_it_and_an_answer_to_the_post_at_its_end() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut post = raw(&cloud, &half("POST", "/camera-1/live", &format!("{LOCAL}Expect: 100-continue\r\n"))).await;
    assert!(head(&mut post).await.starts_with("HTTP/1.1 100 "));
    let (mut request, mut respond) = device.next().await;
    assert!(!request.headers().contains_key("expect"));
    post.write_all(base64(DESCRIBE).as_bytes()).await.expect("open");
    assert!(data(request.body_mut()).await.is_some());
    post.shutdown().await.expect("open");
    assert_eq!(data(request.body_mut()).await, None);
    let answer = Response::builder().status(408).body(()).expect("answer");
    respond.send_response(answer, true).expect("sent");
    assert!(whole(post).await.starts_with("HTTP/1.0 408 "));
}
