//! Credentials in RTSP, whichever way it takes to the device: the remote shows and sees none, the device gets the account
//! (RFC 2326 §14; ONVIF Uplink, Media Streaming).

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use onvif_uplink::{
    base::watch::FileWatcher,
    device::{account::Account, rtsp::Conversations},
    model::{device::DeviceAccount, status::StatusBoard, streaming::RtspVia},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::support::{
    connect::{Opened, extended, open},
    raw_device::{accept, head},
    rtsp::{Post, Scene, client_frame, get, hear, heard_by, post, say_frame, scene_with},
};

const DESCRIBE: &str = "DESCRIBE rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Basic dGhlaXJz\r\n\r\n";
/// What the device gets of it at first.
const BARE: &str = "DESCRIBE rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\n\r\n";
const CHALLENGE: &str =
    "RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n\r\n";
/// What it gets then: MD5 of RFC 2069, which is without chance, for `admin` with `pw`.
const SHOWN: &str = "DESCRIBE rtsp://h/cam RTSP/1.0\r\nCSeq: 2\r\nAuthorization: Digest username=\"admin\", realm=\"r\", \
                     nonce=\"n\", uri=\"rtsp://h/cam\", response=\"";
const GRANTED: &str = "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 3\r\n\r\nv=0";
/// What the remote gets of it.
const ANSWERED: &str = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 3\r\n\r\nv=0";
const FRAME: &str = "$\0\0\x05video";
const BINARY: u8 = 2;
const NAMED: &[(&str, &str)] = &[
    ("sec-websocket-protocol", "rtsp.onvif.org"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-extensions", "permessage-deflate"),
];

/// A device and an account at it; with the directory of its password.
async fn scene(via: RtspVia, carries_http: bool) -> (Scene, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, "pw").expect("writable");
    let account = DeviceAccount { username: "admin".to_owned(), password_file };
    let account = Account::new("camera-1", &account, &FileWatcher::start(), StatusBoard::new());
    let mediators = Arc::new(Conversations::new(Arc::new(account)));
    (scene_with(via, carries_http, Some(mediators)).await, dir)
}

/// Plays the device: asks, is answered, grants.
async fn ask_and_grant(socket: &mut TcpStream) {
    assert_eq!(heard_by(socket, BARE.len()).await, BARE);
    socket.write_all(CHALLENGE.as_bytes()).await.expect("written");
    let shown = heard_by(socket, SHOWN.len() + 32 + 5).await;
    assert!(shown.starts_with(SHOWN) && shown.ends_with("\"\r\n\r\n"), "{shown}");
    socket.write_all([GRANTED, FRAME].concat().as_bytes()).await.expect("written");
}

#[tokio::test]
async fn a_bridged_pair_shows_the_account_and_hides_the_challenge() {
    let (scene, _dir) = scene(RtspVia::Bridge, false).await;
    let (mut socket, (answer, mut stream)) = tokio::join!(accept(&scene.rtsp), get(&scene.session, "c1"));
    assert_eq!(answer.status, 200);
    let mut sent = post(&scene.session, "c1", None).await;
    sent.say(DESCRIBE);
    // The remote's POST is over when the device asks: the answer goes all the same.
    sent.end();
    assert_eq!(sent.answered().await.0, 200);
    ask_and_grant(&mut socket).await;
    assert_eq!(hear(&mut stream, ANSWERED.len() + FRAME.len()).await, [ANSWERED, FRAME].concat());
    let mut next = post(&scene.session, "c1", None).await;
    next.say("$\0\0\x02rr");
    assert_eq!(heard_by(&mut socket, 6).await, "$\0\0\x02rr");
}

/// Requests to the device's own service: decodes what comes to its POST.
async fn said(socket: &mut TcpStream, count: usize) -> String {
    let encoded = heard_by(socket, count.div_ceil(3) * 4).await;
    String::from_utf8(BASE64_STANDARD.decode(encoded).expect("base64")).expect("text")
}

#[tokio::test]
async fn the_devices_own_tunnel_gets_one_post_that_stays_for_all_of_the_remotes() {
    let (scene, _dir) = scene(RtspVia::Auto, true).await;
    let take_get = async {
        let mut socket = accept(&scene.web).await;
        head(&mut socket).await;
        let answer = "HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n";
        socket.write_all(answer.as_bytes()).await.expect("written");
        socket
    };
    let (mut down, (_, mut stream)) = tokio::join!(take_get, get(&scene.session, "c1"));
    let say = async {
        let mut sent: Post = post(&scene.session, "c1", None).await;
        sent.say(DESCRIBE);
        sent.end();
        assert_eq!(sent.answered().await.0, 200);
    };
    let take_post = async {
        let mut socket = accept(&scene.web).await;
        let asked = head(&mut socket).await;
        assert!(
            asked.starts_with("POST /cam?x=1 HTTP/1.1\r\n") && asked.contains("x-sessioncookie: c1\r\n"),
            "{asked}"
        );
        assert_eq!(said(&mut socket, BARE.len()).await, BARE);
        socket
    };
    let (mut up, ()) = tokio::join!(take_post, say);
    down.write_all(CHALLENGE.as_bytes()).await.expect("written");
    let shown = said(&mut up, SHOWN.len() + 32 + 5).await;
    assert!(shown.starts_with(SHOWN), "{shown}");
    down.write_all([GRANTED, FRAME].concat().as_bytes()).await.expect("written");
    assert_eq!(hear(&mut stream, ANSWERED.len() + FRAME.len()).await, [ANSWERED, FRAME].concat());
    let mut next = post(&scene.session, "c1", None).await;
    next.say("$\0\0\x02rr");
    assert_eq!(said(&mut up, 6).await, "$\0\0\x02rr");
}

#[tokio::test]
async fn a_refusal_of_the_devices_post_is_told_and_another_may_follow() {
    let (scene, _dir) = scene(RtspVia::Auto, true).await;
    let take_get = async {
        let mut socket = accept(&scene.web).await;
        head(&mut socket).await;
        let answer = "HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n";
        socket.write_all(answer.as_bytes()).await.expect("written");
        socket
    };
    let (_down, (_, _stream)) = tokio::join!(take_get, get(&scene.session, "c1"));
    for _ in 0..2 {
        let refuse = async {
            let mut socket = accept(&scene.web).await;
            head(&mut socket).await;
            let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            socket.write_all(answer.as_bytes()).await.expect("written");
        };
        let ((), sent) = tokio::join!(refuse, post(&scene.session, "c1", None));
        assert_eq!(sent.answered().await.0, 503);
    }
}

async fn hears_the_answer_in_frames(opened: &mut Opened) {
    let (mut came, mut rtsp) = (Vec::new(), Vec::new());
    while rtsp.len() < ANSWERED.len() + FRAME.len() {
        came.extend_from_slice(&opened.hear(1).await);
        while let [0x82, length, payload @ ..] = &came[..]
            && payload.len() >= usize::from(*length)
        {
            let end = 2 + usize::from(*length);
            rtsp.extend_from_slice(&came[2..end]);
            came.drain(..end);
        }
    }
    assert_eq!(String::from_utf8(rtsp).expect("text"), [ANSWERED, FRAME].concat());
}

#[tokio::test]
async fn a_bridged_websocket_shows_the_account_too() {
    let (scene, _dir) = scene(RtspVia::Bridge, false).await;
    let request = extended("websocket", "/ws", NAMED);
    let (mut socket, mut opened) = tokio::join!(accept(&scene.rtsp), open(&scene.session, request));
    assert_eq!(opened.head.status, 200);
    say_frame(&mut opened, BINARY, DESCRIBE.as_bytes());
    ask_and_grant(&mut socket).await;
    hears_the_answer_in_frames(&mut opened).await;
}

/// The payload of the next frame that comes to the device, which must be masked.
async fn unmasked(socket: &mut TcpStream) -> String {
    let mut head = [0; 2];
    socket.read_exact(&mut head).await.expect("a frame");
    assert_eq!((head[0], head[1] & 0x80), (0x82, 0x80), "binary and masked");
    let mut length = u16::from(head[1] & 0x7f);
    if length == 126 {
        length = socket.read_u16().await.expect("a length");
    }
    let mut mask = [0; 4];
    socket.read_exact(&mut mask).await.expect("a mask");
    let mut payload = vec![0; usize::from(length)];
    socket.read_exact(&mut payload).await.expect("a payload");
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    String::from_utf8(payload).expect("text")
}

#[tokio::test]
async fn the_devices_own_websocket_is_read_and_written_without_extensions() {
    let (scene, _dir) = scene(RtspVia::Auto, false).await;
    let script = async {
        let mut socket = accept(&scene.web).await;
        let asked = head(&mut socket).await;
        assert!(!asked.to_ascii_lowercase().contains("sec-websocket-extensions"), "{asked}");
        let key = asked.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a key");
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
             Sec-WebSocket-Protocol: rtsp.onvif.org\r\n\r\n"
        );
        socket.write_all(answer.as_bytes()).await.expect("written");
        socket
    };
    let (mut socket, mut opened) = tokio::join!(script, open(&scene.session, extended("websocket", "/ws", NAMED)));
    say_frame(&mut opened, BINARY, DESCRIBE.as_bytes());
    assert_eq!(unmasked(&mut socket).await, BARE);
    socket.write_all(&framed(CHALLENGE)).await.expect("written");
    assert!(unmasked(&mut socket).await.starts_with(SHOWN));
    socket.write_all(&[framed(GRANTED), framed(FRAME)].concat()).await.expect("written");
    hears_the_answer_in_frames(&mut opened).await;
}

/// An unmasked frame, as a server sends it.
fn framed(text: &str) -> Vec<u8> {
    let masked = client_frame(BINARY, text.as_bytes());
    let (head, payload) = masked.split_at(masked.len() - text.len());
    let mut frame = head[..head.len() - 4].to_vec();
    frame[1] &= 0x7f;
    [frame, payload.to_vec()].concat()
}
