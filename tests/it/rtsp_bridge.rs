//! RTSP over HTTP to a device that has only an RTSP port: what reaches it, what comes back, and how what is wrong ends its own
//! conversation (ONVIF Uplink, RTSP over HTTP; RFC 2326).

use std::time::Duration;

use h2::Reason;
use onvif_uplink::{
    forward::Limits,
    forward::rtsp::{limits::Times, probe::look, way::Way},
    model::{
        device::LoopbackUrl,
        status::StatusBoard,
        streaming::{RtspVia, Streaming, StreamingWay},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    connect::device,
    device::nobody,
    http,
    raw_device::{accept, head},
    rtsp::{ANSWER, OPTIONS, Post, Scene, closed, end_of, get, hear, heard_by, post, scene},
    sidecar::{Line, Site, document},
};

/// A conversation that stands: the device's socket, and the remote's two streams.
async fn standing(scene: &Scene, cookie: &str) -> (TcpStream, h2::RecvStream, Post) {
    let (socket, (answer, stream)) = tokio::join!(accept(&scene.rtsp), get(&scene.session, cookie));
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["content-type"]),
        (200, &"application/x-rtsp-tunnelled".parse().expect("ASCII"))
    );
    let sent = post(&scene.session, cookie, None).await;
    (socket, stream, sent)
}

#[tokio::test]
async fn requests_frames_and_answers_pass_in_both_directions() {
    let scene = scene(RtspVia::Auto, false).await;
    let (mut socket, mut stream, mut sent) = standing(&scene, "c1").await;
    sent.say(OPTIONS);
    assert_eq!(heard_by(&mut socket, OPTIONS.len()).await, OPTIONS);
    socket.write_all(ANSWER.as_bytes()).await.expect("written");
    assert_eq!(hear(&mut stream, ANSWER.len()).await, ANSWER);
    // Video down, receiver reports and backchannel audio up, a keep-alive between them.
    socket.write_all(b"$\x00\x00\x04vide$\x01\x00\x02sr").await.expect("written");
    assert_eq!(hear(&mut stream, 14).await, "$\0\0\x04vide$\x01\0\x02sr");
    sent.say([&b"$\x01\x00\x02rr$\x02\x00\x05audio"[..], OPTIONS.as_bytes()].concat());
    assert_eq!(heard_by(&mut socket, 15).await, "$\x01\0\x02rr$\x02\0\x05audio");
    assert_eq!(heard_by(&mut socket, OPTIONS.len()).await, OPTIONS);
}

#[tokio::test]
async fn further_posts_go_on_where_the_one_before_ended() {
    let scene = scene(RtspVia::Bridge, true).await;
    let (mut socket, _stream, mut sent) = standing(&scene, "c1").await;
    sent.raw("T1BU");
    sent.end();
    assert_eq!(sent.answered().await.0, 200);
    let mut sent = post(&scene.session, "c1", None).await;
    sent.raw("SU9OUyAqIFJUU1AvMS4wDQoNCg==");
    assert_eq!(heard_by(&mut socket, 22).await, "OPTIONS * RTSP/1.0\r\n\r\n");
}

#[tokio::test]
async fn what_is_wrong_ends_its_own_conversation_with_a_reason_and_nothing_else() {
    let scene = scene(RtspVia::Auto, false).await;
    let (mut other, mut others, mut saying) = standing(&scene, "other").await;
    let lie = "JAAAAWFiYw==";
    for (what, reason) in [
        ("T1BU*E9OUw==", "no base64"),
        ("R0VUIC8gSFRUUC8xLjENCg0K", "not RTSP"),
        ("FgMBAgA=", "not RTSP"),
        (&format!("{lie}T1BUSU9OUyAqIFJUU1AvMS4wDQoNCg=="), "not RTSP"),
    ] {
        let (socket, mut stream, mut sent) = standing(&scene, "c1").await;
        sent.raw(what.to_owned());
        let (status, sentence) = sent.answered().await;
        assert_eq!(status, 400, "{what}");
        assert!(sentence.contains(reason), "{sentence}");
        assert_eq!(end_of(&mut stream).await.expect_err("broken").reason(), Some(Reason::PROTOCOL_ERROR), "{what}");
        closed(socket).await;
    }
    saying.say(OPTIONS);
    assert_eq!(heard_by(&mut other, OPTIONS.len()).await, OPTIONS);
    other.write_all(ANSWER.as_bytes()).await.expect("written");
    assert_eq!(hear(&mut others, ANSWER.len()).await, ANSWER);
}

#[tokio::test]
async fn a_viewer_that_does_not_read_holds_nothing_up_in_the_other_direction() {
    let scene = scene(RtspVia::Auto, false).await;
    let (mut socket, _stream, mut sent) = standing(&scene, "c1").await;
    // Until the remote's window, the share and the sockets are full.
    let video = vec![b'$'; 1 << 20];
    while tokio::time::timeout(Duration::from_millis(200), socket.write_all(&video)).await.is_ok() {}
    sent.say(OPTIONS);
    assert_eq!(heard_by(&mut socket, OPTIONS.len()).await, OPTIONS);
}

#[tokio::test]
async fn the_device_ends_the_conversation_by_closing() {
    let scene = scene(RtspVia::Auto, false).await;
    let (mut socket, mut stream, sent) = standing(&scene, "c1").await;
    socket.write_all(ANSWER.as_bytes()).await.expect("written");
    drop(socket);
    assert_eq!(hear(&mut stream, ANSWER.len()).await, ANSWER);
    end_of(&mut stream).await.expect("in good order");
    assert_eq!(sent.answered().await.0, 200);
}

#[tokio::test]
async fn a_remote_that_leaves_closes_the_devices_connection() {
    let scene = scene(RtspVia::Auto, false).await;
    let (socket, stream, sent) = standing(&scene, "c1").await;
    drop((stream, sent));
    closed(socket).await;
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_an_answer_and_not_a_silence() {
    let Scene { session, web: _web, rtsp, way } = scene(RtspVia::Bridge, false).await;
    drop(rtsp);
    let (answer, _) = get(&session, "c1").await;
    assert_eq!(answer.status, 503, "it may be starting");
    assert!(tokio::time::timeout(Duration::from_secs(5), way.doubted()).await.is_ok(), "it is to be looked at again");
}

#[tokio::test]
async fn a_port_that_speaks_something_else_ends_the_conversation() {
    let scene = scene(RtspVia::Bridge, false).await;
    let (mut socket, mut stream, _sent) = standing(&scene, "c1").await;
    socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
    assert_eq!(end_of(&mut stream).await.expect_err("broken").reason(), Some(Reason::INTERNAL_ERROR));
}

/// What a probe finds of a device whose web service answers with `web` and whose RTSP port with `rtsp`, if they answer at all.
async fn probed(web: Option<&'static str>, rtsp: Option<&'static str>) -> Streaming {
    async fn script(answer: Option<&'static str>) -> (std::net::SocketAddr, Option<tokio::task::JoinHandle<()>>) {
        let Some(answer) = answer else { return (nobody().await, None) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let script = async move {
            let mut socket = accept(&listener).await;
            head(&mut socket).await;
            socket.write_all(answer.as_bytes()).await.expect("written");
            closed(socket).await;
        };
        (address, Some(tokio::spawn(script)))
    }
    let ((web, web_script), (rtsp, rtsp_script)) = (script(web).await, script(rtsp).await);
    let mut device = device("http", web, &[]);
    device.rtsp = Some(LoopbackUrl::parse(&format!("rtsp://{rtsp}")).expect("loopback"));
    let way = Way::new(&device, StatusBoard::new());
    way.found(look(&way, &Times::default(), &Limits::default()).await);
    for script in [web_script, rtsp_script].into_iter().flatten() {
        script.await.expect("the probe closes after its head");
    }
    way.streaming()
}

#[tokio::test]
async fn a_probe_finds_the_way_and_leaves_nothing_behind() {
    let tunnelled = Some("HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n");
    let page = Some("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000000\r\n\r\n<html>");
    let rtsp = Some("RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n");
    assert_eq!(probed(tunnelled, rtsp).await, Streaming::Way(StreamingWay::Http));
    assert_eq!(probed(page, rtsp).await, Streaming::Way(StreamingWay::Bridge));
    assert_eq!(probed(None, rtsp).await, Streaming::Way(StreamingWay::Bridge));
    assert!(!probed(page, Some("HTTP/1.1 400 Bad Request\r\n\r\n")).await.over_uplink());
    assert!(!probed(None, None).await.over_uplink());
}

#[tokio::test]
async fn the_status_says_how_rtsp_reaches_a_device_and_finds_it_when_it_comes_late() {
    let site = Site::new(&["camera-1"]);
    let (web, rtsp) = (nobody().await, nobody().await);
    let text = document(&[Line::new("camera-1", web, "https://127.0.0.1:1/")]);
    let http = format!("http: http://{web}\n");
    site.write(&text.replace(&http, &format!("{http}    rtsp: rtsp://{rtsp}\n")));
    let sidecar = site.start().await;
    let shown = async |wanted: (bool, Option<&str>)| {
        let found = async {
            loop {
                let status: serde_json::Value =
                    serde_json::from_str(&http::get(sidecar.admin, "/status").await.1).expect("JSON");
                let streaming = &status["devices"][0]["streaming"];
                if (streaming["overUplink"].as_bool(), streaming["way"].as_str()) == (Some(wanted.0), wanted.1) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(http::PATIENCE, found).await.expect("shown in time");
    };
    shown((false, None)).await;
    let listener = TcpListener::bind(rtsp).await.expect("still free");
    let mut socket = accept(&listener).await;
    let mut asked = [0; 18];
    socket.read_exact(&mut asked).await.expect("a probe");
    assert_eq!(&asked, b"OPTIONS * RTSP/1.0");
    socket.write_all(ANSWER.as_bytes()).await.expect("written");
    shown((true, Some("bridge"))).await;
}
