//! Tests of the upgrade against a scripted remote over an in-memory stream.

use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::model::{
    authorization::{AccessToken, AuthorizationServer, ClientAuth, Trust},
    uplink::testing::uplink,
};

const REQUEST: &str =
    "GET /up?site=7 HTTP/1.1\r\nHost: cloud.example:8443\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n";

const REMOTE: &str = "https://cloud.example:8443/up?site=7";

fn ask() -> Ask {
    Ask::native(&uplink(REMOTE), None).expect("valid")
}

async fn request(far: &mut DuplexStream) -> String {
    let mut received = vec![0; 4096];
    let length = far.read(&mut received).await.expect("open");
    String::from_utf8_lossy(&received[..length]).into_owned()
}

/// Plays a remote that answers with `chunks`, each in a write of its own, and then closes or stays silent.
async fn against(chunks: Vec<Vec<u8>>, close: bool) -> Result<Bytes, Failure> {
    let (mut near, mut far) = duplex(64 * 1024);
    let remote_end = async move {
        request(&mut far).await;
        for chunk in chunks {
            if far.write_all(&chunk).await.is_err() {
                return None;
            }
            tokio::task::yield_now().await;
        }
        if close { None } else { Some(far) }
    };
    let ask = ask();
    let (result, _far) = tokio::join!(upgrade(&mut near, &ask, &()), remote_end);
    result
}

fn cause(result: Result<Bytes, Failure>) -> Cause {
    result.expect_err("not switched").cause
}

#[tokio::test(start_paused = true)]
async fn the_whole_request_comes_in_one_read_and_nothing_follows_it() {
    let (mut near, mut far) = duplex(4096);
    let ask = ask();
    let upgraded = upgrade(&mut near, &ask, &());
    let remote_end = async {
        assert_eq!(request(&mut far).await, REQUEST);
        let more = timeout(Duration::from_secs(5), far.read_u8()).await;
        assert!(more.is_err(), "something was sent before the 101");
        far.write_all(b"HTTP/1.1 101 x\r\n\r\n").await.expect("open");
    };
    let (result, ()) = tokio::join!(upgraded, remote_end);
    assert_eq!(result, Ok(Bytes::new()));
}

#[test]
fn a_token_goes_into_the_authorization_header() {
    let head = Ask::native(&uplink(REMOTE), Some(&Secret::new("abc.def"))).expect("valid").head;
    assert!(head.expose().ends_with("\r\nAuthorization: Bearer abc.def\r\n\r\n"));
}

#[test]
fn a_token_with_a_line_end_is_refused_without_being_shown() {
    let failure = Ask::native(&uplink(REMOTE), Some(&Secret::new("abc\r\nX: y"))).expect_err("smuggles");
    assert_eq!(failure.cause, Cause::CredentialInvalid);
    assert!(!failure.message.contains("abc"));
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_the_101_belong_to_http_2_however_they_were_split() {
    let answer = b"HTTP/1.1 101 x\r\nUpgrade: h2c-reverse\r\n\r\nPRI * HTTP/2.0";
    for at in 1..answer.len() {
        let early = against(vec![answer[..at].to_vec(), answer[at..].to_vec()], false).await.expect("switched");
        assert!(b"PRI * HTTP/2.0".starts_with(&early[..]), "{at}: {early:?}");
    }
    let early = against(vec![answer.to_vec()], false).await.expect("switched");
    assert_eq!(&early[..], b"PRI * HTTP/2.0");
}

#[tokio::test(start_paused = true)]
async fn informational_answers_are_skipped_up_to_a_bound() {
    let info = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let switched = b"HTTP/1.1 101 x\r\n\r\nPRI".to_vec();
    let early = against(vec![info.repeat(INFORMATIONAL_MAX), switched], false).await;
    assert_eq!(early, Ok(Bytes::from_static(b"PRI")));
    assert_eq!(cause(against(vec![info.repeat(INFORMATIONAL_MAX + 1)], false).await), Cause::UpgradeMalformed);
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_timeout_and_so_is_a_head_that_drips() {
    assert_eq!(cause(against(Vec::new(), false).await), Cause::UpgradeTimeout);
    assert_eq!(cause(against(vec![b"HTTP/1.1 101".to_vec()], false).await), Cause::UpgradeTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_close_before_the_end_of_the_head_is_named() {
    for chunks in [Vec::new(), vec![b"HTTP/1.1 101 Swi".to_vec()]] {
        assert_eq!(cause(against(chunks, true).await), Cause::UpgradeClosed);
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_and_endless_heads_are_named() {
    assert_eq!(cause(against(vec![b"\x15\x03\x01garbage".to_vec()], false).await), Cause::UpgradeMalformed);
    let endless = [b"HTTP/1.1 101 x\r\nA: ".to_vec(), vec![b'a'; 40_000]].concat();
    assert_eq!(cause(against(vec![endless], false).await), Cause::UpgradeHeadTooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_text_body_goes_into_the_sentence_even_when_it_comes_late() {
    let head = b"HTTP/1.1 403 x\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n".to_vec();
    let failure = against(vec![head, b"unknown device".to_vec()], false).await.expect_err("refused");
    assert_eq!(failure.cause, Cause::Unauthorized);
    assert!(failure.message.contains("`unknown device`"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_does_not_hold_the_failure_up() {
    let began = tokio::time::Instant::now();
    let head = b"HTTP/1.1 500 x\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n".to_vec();
    assert_eq!(cause(against(vec![head], false).await), Cause::UpgradeRefused);
    assert_eq!(began.elapsed(), EXCERPT);
}

proptest! {
    #[test]
    fn any_bytes_in_any_split_give_the_same_cause(
        start in prop_oneof![Just(&b""[..]), Just(&b"HTTP/1.1 "[..]), Just(&b"HTTP/1.1 101 x\r\nUpgrade: "[..]), Just(&b"HTTP/1.1 503 x\r\n"[..])],
        rest in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b':')], 0..200),
        sizes in proptest::collection::vec(1_usize..40, 1..20),
    ) {
        let bytes = [start, &rest[..]].concat();
        let mut split = Vec::new();
        let (mut left, mut sizes) = (&bytes[..], sizes.iter().cycle());
        while !left.is_empty() {
            let size = sizes.next().map_or(left.len(), |size| left.len().min(*size));
            split.push(left[..size].to_vec());
            left = &left[size..];
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
        let whole = runtime.block_on(against(vec![bytes.clone()], true)).map(|_| ()).map_err(|failure| failure.cause);
        let parts = runtime.block_on(against(split, true)).map(|_| ()).map_err(|failure| failure.cause);
        prop_assert_eq!(whole, parts);
    }
}

/// A remote that answers a WebSocket request; `fields` may name the right accept as `@`.
async fn websocket_against(fields: &str) -> Result<Bytes, Failure> {
    let (mut near, mut far) = duplex(64 * 1024);
    let ask = Ask::websocket(&uplink("wss://cloud.example/up"), None).expect("valid");
    let remote_end =
        async {
            let request = request(&mut far).await;
            assert!(request.starts_with(
                "GET /up HTTP/1.1\r\nHost: cloud.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            ));
            assert!(request.contains("\r\nSec-WebSocket-Version: 13\r\n"));
            assert!(request.contains("\r\nSec-WebSocket-Protocol: h2c-reverse\r\n"));
            let key =
                request.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a key");
            let fields = fields.replace('@', &websocket::accept_key(key));
            far.write_all(format!("HTTP/1.1 101 x\r\n{fields}\r\nearly").as_bytes()).await.expect("open");
        };
    tokio::join!(upgrade(&mut near, &ask, &()), remote_end).0
}

const ACCEPTED: &str = "Upgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: @\r\n";

#[tokio::test(start_paused = true)]
async fn a_websocket_with_the_subprotocol_is_taken_with_what_came_behind_it() {
    let early = websocket_against(&format!("{ACCEPTED}Sec-WebSocket-Protocol: h2c-reverse\r\n")).await;
    assert_eq!(early.expect("switched"), "early");
}

#[tokio::test(start_paused = true)]
async fn a_websocket_without_the_subprotocol_or_with_another_has_a_cause_of_its_own() {
    assert_eq!(cause(websocket_against(ACCEPTED).await), Cause::WebSocketSubprotocol);
    let other = websocket_against(&format!("{ACCEPTED}Sec-WebSocket-Protocol: chat\r\n")).await.expect_err("another");
    assert_eq!(other.cause, Cause::WebSocketSubprotocol);
    assert!(other.message.contains("`chat`"), "{other}");
}

#[tokio::test(start_paused = true)]
async fn a_101_that_is_no_answer_to_our_key_is_refused() {
    for fields in [
        "Upgrade: websocket\r\nSec-WebSocket-Protocol: h2c-reverse\r\n".to_owned(),
        "Upgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\nSec-WebSocket-Protocol: h2c-reverse\r\n".to_owned(),
        "Upgrade: h2c-reverse\r\nSec-WebSocket-Accept: @\r\nSec-WebSocket-Protocol: h2c-reverse\r\n".to_owned(),
        format!("{ACCEPTED}Sec-WebSocket-Protocol: h2c-reverse\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"),
    ] {
        assert_eq!(cause(websocket_against(&fields).await), Cause::UpgradeMalformed, "{fields}");
    }
}

#[test]
fn the_lab_switches_change_target_and_host_and_nothing_else() {
    let mut uplink = uplink(REMOTE);
    uplink.lab.path = Some("/xxx".to_owned());
    uplink.lab.host = Some("cloud".to_owned());
    let head = Ask::native(&uplink, None).expect("valid").head;
    assert_eq!(
        head.expose(),
        "GET /xxx HTTP/1.1\r\nHost: cloud\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n"
    );
}

fn with_token(remote: &str, placement: TokenPlacement) -> Uplink {
    let mut uplink = uplink(remote);
    let server = AuthorizationServer {
        id: "idp".to_owned(),
        server_uri: "https://idp.example/".parse().expect("valid"),
        client_id: "x".to_owned(),
        client_auth: ClientAuth::SecretBasic { secret_file: "s".into() },
        scopes: Vec::new(),
        audience: None,
        trust: Trust::SystemRoots,
    };
    uplink.authorization = Authorization::AccessToken(Box::new(AccessToken { server, placement }));
    uplink
}

#[test]
fn a_token_in_the_query_is_encoded_appended_and_not_in_the_header() {
    for (remote, target) in [
        ("wss://cloud/up", "GET /up?access_token=a.b%2Bc%3D HTTP/1.1"),
        ("wss://cloud/up?site=7", "GET /up?site=7&access_token=a.b%2Bc%3D HTTP/1.1"),
    ] {
        let ask =
            Ask::websocket(&with_token(remote, TokenPlacement::Query), Some(&Secret::new("a.b+c="))).expect("valid");
        assert!(ask.head.expose().starts_with(target), "{}", ask.head.expose());
        assert!(!ask.head.expose().contains("Authorization"));
        assert!(!format!("{ask:?}").contains("a.b"), "never shown");
    }
    let ask = Ask::websocket(&with_token("wss://cloud/up", TokenPlacement::Header), Some(&Secret::new("a.b")))
        .expect("valid");
    assert!(ask.head.expose().contains("\r\nAuthorization: Bearer a.b\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_a_remote_whose_clock_differs_says_so() {
    let answer = b"HTTP/1.1 401 No\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n".to_vec();
    let failure = against(vec![answer], true).await.expect_err("refused");
    assert_eq!(failure.cause, Cause::Unauthorized);
    assert!(failure.message.contains("this clock is") && failure.message.contains("ahead of"), "{failure}");
}
