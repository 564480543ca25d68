//! Tests of the upgrade against a scripted remote over an in-memory stream.

use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};

use super::*;

const REQUEST: &str =
    "GET /up?site=7 HTTP/1.1\r\nHost: cloud.example:8443\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n";

fn remote() -> RemoteAddress {
    RemoteAddress::parse("https://cloud.example:8443/up?site=7").expect("valid")
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
    let address = remote();
    let (result, _far) = tokio::join!(upgrade(&mut near, &address, None), remote_end);
    result
}

fn cause(result: Result<Bytes, Failure>) -> Cause {
    result.expect_err("not switched").cause
}

#[tokio::test(start_paused = true)]
async fn the_whole_request_comes_in_one_read_and_nothing_follows_it() {
    let (mut near, mut far) = duplex(4096);
    let address = remote();
    let upgraded = upgrade(&mut near, &address, None);
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
    let head = request_head(&remote(), Some(&Secret::new("abc.def"))).expect("valid");
    assert!(head.expose().ends_with("\r\nAuthorization: Bearer abc.def\r\n\r\n"));
}

#[test]
fn a_token_with_a_line_end_is_refused_without_being_shown() {
    let failure = request_head(&remote(), Some(&Secret::new("abc\r\nX: y"))).expect_err("smuggles");
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
