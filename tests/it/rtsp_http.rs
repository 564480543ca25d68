//! RTSP over HTTP to a device that carries it itself: what its web service sees on raw connections, and how each end of a
//! conversation is told (ONVIF Uplink, RTSP over HTTP).

use std::time::Duration;

use h2::Reason;
use onvif_uplink::model::streaming::RtspVia;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::support::{
    h2_peer,
    raw_device::{accept, head},
    rtsp::{ANSWER, Post, Scene, ask_get, closed, end_of, get, hear, heard_by, post, scene},
};

const TUNNELLED: &[u8] =
    b"HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\nCache-Control: no-cache\r\n\r\n";

async fn device() -> Scene {
    scene(RtspVia::Auto, true).await
}

/// The device's side of the GET, answered, and the head that it saw.
async fn take_get(scene: &Scene) -> (TcpStream, String) {
    let mut socket = accept(&scene.web).await;
    let head = head(&mut socket).await;
    socket.write_all(TUNNELLED).await.expect("written");
    (socket, head)
}

/// The device's side of the POST, unanswered, and the head that it saw.
async fn take_post(scene: &Scene) -> (TcpStream, String) {
    let mut socket = accept(&scene.web).await;
    let head = head(&mut socket).await;
    (socket, head)
}

/// A conversation that stands: the device's two sockets, and the remote's two streams.
async fn standing(scene: &Scene) -> (TcpStream, TcpStream, h2::RecvStream, Post) {
    let ((down, _), (_, stream)) = tokio::join!(take_get(scene), get(&scene.session, "c1"));
    let ((up, _), sent) = tokio::join!(take_post(scene), post(&scene.session, "c1", None));
    (down, up, stream, sent)
}

#[tokio::test]
async fn the_device_sees_what_players_write_and_bytes_pass_both_ways_at_once() {
    let scene = device().await;
    let ((mut down, asked), (answer, mut stream)) = tokio::join!(take_get(&scene), get(&scene.session, "c1"));
    for line in
        ["GET /cam?x=1 HTTP/1.1", "x-sessioncookie: c1", "Accept: application/x-rtsp-tunnelled", "Pragma: no-cache"]
    {
        assert!(asked.contains(&format!("{line}\r\n")), "{line} in {asked}");
    }
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/x-rtsp-tunnelled");
    assert!(!answer.headers.contains_key("content-length"));
    let ((mut up, posted), mut sent) = tokio::join!(take_post(&scene), post(&scene.session, "c1", None));
    for line in [
        "POST /cam?x=1 HTTP/1.1",
        "x-sessioncookie: c1",
        "Content-Type: application/x-rtsp-tunnelled",
        "Content-Length: 32767",
        "Expires: Sun, 9 Jan 1972 00:00:00 GMT",
    ] {
        assert!(posted.contains(&format!("{line}\r\n")), "{line} in {posted}");
    }
    assert!(!posted.to_ascii_lowercase().contains("chunked"), "{posted}");
    sent.raw("T1BUSU9OUw==");
    assert_eq!(heard_by(&mut up, 12).await, "T1BUSU9OUw==", "as it came, before any answer");
    down.write_all(ANSWER.as_bytes()).await.expect("written");
    assert_eq!(hear(&mut stream, ANSWER.len()).await, ANSWER);
}

#[tokio::test]
async fn a_post_that_comes_first_waits_for_its_get() {
    let scene = device().await;
    let mut sent = post(&scene.session, "c1", None).await;
    sent.raw("QQ==");
    let ((_down, asked), (_, _stream)) = tokio::join!(take_get(&scene), get(&scene.session, "c1"));
    assert!(asked.starts_with("GET "), "{asked}");
    let (mut up, _) = take_post(&scene).await;
    assert_eq!(heard_by(&mut up, 4).await, "QQ==");
}

#[tokio::test(start_paused = true)]
async fn a_post_without_its_get_is_a_408_after_ten_seconds() {
    let scene = device().await;
    let start = Instant::now();
    let (status, sentence) = post(&scene.session, "c1", None).await.answered().await;
    assert_eq!((status, start.elapsed().as_secs()), (408, 10));
    assert!(sentence.contains("x-sessioncookie"), "{sentence}");
}

#[tokio::test]
async fn a_length_that_the_remote_makes_larger_is_believed() {
    let scene = device().await;
    let ((_down, _), (_, _stream)) = tokio::join!(take_get(&scene), get(&scene.session, "c1"));
    let length = u64::from(u32::MAX >> 1);
    let ((_up, posted), _sent) = tokio::join!(take_post(&scene), post(&scene.session, "c1", Some(length)));
    assert!(posted.contains("Content-Length: 2147483647\r\n"), "{posted}");
}

#[tokio::test]
async fn a_post_that_is_full_is_answered_and_the_next_one_goes_on() {
    let scene = device().await;
    let ((mut down, _), (_, mut stream)) = tokio::join!(take_get(&scene), get(&scene.session, "c1"));
    for round in ["first", "second"] {
        let ((mut up, _), mut sent) = tokio::join!(take_post(&scene), post(&scene.session, "c1", Some(8)));
        sent.raw("AAAABBBB");
        assert_eq!(heard_by(&mut up, 8).await, "AAAABBBB", "{round}");
        let (answered, ()) = tokio::join!(sent.answered(), closed(up));
        assert_eq!(answered.0, 200, "{round}");
    }
    down.write_all(ANSWER.as_bytes()).await.expect("written");
    assert_eq!(hear(&mut stream, ANSWER.len()).await, ANSWER, "the conversation goes on");
}

#[tokio::test]
async fn more_bytes_than_announced_cost_their_own_stream_only() {
    let scene = device().await;
    let ((_down, _), (_, mut stream)) = tokio::join!(take_get(&scene), get(&scene.session, "c1"));
    let ((_up, _), mut sent) = tokio::join!(take_post(&scene), post(&scene.session, "c1", Some(4)));
    sent.raw("AAAAB");
    let error = sent.answer.await.expect_err("a violation of HTTP/2");
    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
    end_of(&mut stream).await.expect("the conversation ends in good order");
    let ((_other, _), (answer, _)) = tokio::join!(take_get(&scene), get(&scene.session, "c2"));
    assert_eq!(answer.status, 200, "the session goes on");
}

#[tokio::test]
async fn an_early_answer_to_the_post_does_not_end_the_conversation() {
    let scene = device().await;
    let (mut down, mut up, mut stream, mut sent) = standing(&scene).await;
    up.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await.expect("written");
    up.shutdown().await.expect("open");
    sent.raw("QQ==");
    assert_eq!(heard_by(&mut up, 4).await, "QQ==");
    down.write_all(ANSWER.as_bytes()).await.expect("written");
    assert_eq!(hear(&mut stream, ANSWER.len()).await, ANSWER);
}

#[tokio::test]
async fn a_refusal_of_the_get_goes_back_as_it_is_and_frees_the_cookie() {
    let scene = device().await;
    let script = async {
        let mut socket = accept(&scene.web).await;
        head(&mut socket).await;
        let answer =
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\"\r\nContent-Length: 4\r\n\r\nnope";
        socket.write_all(answer.as_bytes()).await.expect("written");
        socket
    };
    let (_socket, (answer, mut stream)) = tokio::join!(script, get(&scene.session, "c1"));
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["www-authenticate"]),
        (401, &"Digest realm=\"x\"".parse().expect("ASCII"))
    );
    assert_eq!(hear(&mut stream, 4).await, "nope");
    let again = ask_get(&scene.session, "c1", &[("authorization", "Digest y")]).await;
    let ((_down, asked), again) = tokio::join!(take_get(&scene), again);
    assert_eq!(again.expect("answered").status(), 200);
    assert!(asked.contains("Authorization: Digest y\r\n"), "{asked}");
}

#[tokio::test]
async fn a_refusal_of_a_post_is_its_answer_and_another_may_follow() {
    let scene = device().await;
    let (mut down, mut up, mut stream, sent) = standing(&scene).await;
    up.write_all(b"HTTP/1.1 401 x\r\nContent-Length: 2\r\n\r\nno").await.expect("written");
    assert_eq!(sent.answered().await, (401, "no".to_owned()));
    let ((mut up, _), mut sent) = tokio::join!(take_post(&scene), post(&scene.session, "c1", None));
    sent.raw("QQ==");
    assert_eq!(heard_by(&mut up, 4).await, "QQ==");
    down.write_all(ANSWER.as_bytes()).await.expect("written");
    assert_eq!(hear(&mut stream, ANSWER.len()).await, ANSWER);
}

#[tokio::test]
async fn the_end_of_the_devices_answer_ends_both() {
    let scene = device().await;
    let (down, up, mut stream, sent) = standing(&scene).await;
    drop(down);
    end_of(&mut stream).await.expect("in good order");
    assert_eq!(sent.answered().await, (200, String::new()));
    closed(up).await;
}

#[tokio::test]
async fn a_viewer_that_leaves_ends_both_connections() {
    let scene = device().await;
    let (down, up, stream, _sent) = standing(&scene).await;
    drop(stream);
    tokio::join!(closed(down), closed(up));
}

#[tokio::test]
async fn a_post_that_is_given_up_ends_both() {
    let scene = device().await;
    let (down, up, mut stream, mut sent) = standing(&scene).await;
    sent.send.send_reset(Reason::CANCEL);
    end_of(&mut stream).await.expect("in good order");
    tokio::join!(closed(down), closed(up));
}

#[tokio::test]
async fn a_device_that_breaks_the_get_resets_it() {
    let scene = device().await;
    let (down, _up, mut stream, _sent) = standing(&scene).await;
    socket2::SockRef::from(&down).set_linger(Some(Duration::ZERO)).expect("a socket option");
    drop(down);
    assert_eq!(end_of(&mut stream).await.expect_err("broken").reason(), Some(Reason::INTERNAL_ERROR));
}

#[tokio::test]
async fn a_second_get_with_one_cookie_is_refused_and_the_first_does_not_notice() {
    let scene = device().await;
    let (mut down, _up, mut stream, _sent) = standing(&scene).await;
    let (answer, body) = get(&scene.session, "c1").await;
    let (sentence, _) = h2_peer::collect(body).await.expect("whole");
    assert_eq!(answer.status, 409);
    assert!(String::from_utf8_lossy(&sentence).contains("needs its own cookie"), "{sentence:?}");
    down.write_all(ANSWER.as_bytes()).await.expect("written");
    assert_eq!(hear(&mut stream, ANSWER.len()).await, ANSWER);
}

#[tokio::test(start_paused = true)]
async fn a_get_without_post_or_bytes_ends_after_a_minute_and_one_with_bytes_goes_on() {
    let scene = device().await;
    let ((mut down, _), (_, mut stream)) = tokio::join!(take_get(&scene), get(&scene.session, "c1"));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        down.write_all(b"$\0\0\x01x").await.expect("written");
        hear(&mut stream, 5).await;
    }
    let start = Instant::now();
    end_of(&mut stream).await.expect("in good order");
    assert!((55..=65).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(down.read(&mut [0]).await.expect("in good order"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_with_an_open_post_may_be_silent_for_weeks() {
    let scene = device().await;
    let (mut down, mut up, mut stream, mut sent) = standing(&scene).await;
    tokio::time::sleep(Duration::from_secs(20 * 24 * 3600)).await;
    sent.raw("QQ==");
    assert_eq!(heard_by(&mut up, 4).await, "QQ==");
    down.write_all(ANSWER.as_bytes()).await.expect("written");
    assert_eq!(hear(&mut stream, ANSWER.len()).await, ANSWER);
}

#[tokio::test]
async fn a_device_whose_web_service_is_down_is_said_so() {
    let Scene { session, web, way, rtsp: _rtsp } = device().await;
    drop(web);
    let (answer, _) = get(&session, "c1").await;
    assert_eq!(answer.status, 503, "it may be starting");
    assert!(tokio::time::timeout(Duration::from_secs(5), way.doubted()).await.is_ok(), "it is to be looked at again");
}

#[tokio::test]
async fn a_device_that_is_asked_for_rtsp_and_has_a_page_gives_its_page() {
    let scene = scene(RtspVia::Device, false).await;
    let script = async {
        let mut socket = accept(&scene.web).await;
        head(&mut socket).await;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\npage")
            .await
            .expect("written");
        socket
    };
    let (_socket, (answer, mut stream)) = tokio::join!(script, get(&scene.session, "c1"));
    assert_eq!((answer.status.as_u16(), &answer.headers["content-length"]), (200, &"4".parse().expect("ASCII")));
    assert_eq!(hear(&mut stream, 4).await, "page");
}
