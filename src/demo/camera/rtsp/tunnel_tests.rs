//! Tests of wrapping: base64 in pieces, heads, and cookies that are taken or nobody's.

use proptest::prelude::*;

use super::*;

fn decode(text: &str, piece: usize) -> Result<Vec<u8>, &'static str> {
    let mut decoder = Decoder::default();
    text.as_bytes().chunks(piece).try_fold(Vec::new(), |mut all, piece| {
        all.extend_from_slice(&decoder.decode(piece)?);
        Ok(all)
    })
}

#[test]
fn padding_may_stand_between_two_requests() {
    let text = format!("{}{}\r\n{}", STANDARD.encode("a"), STANDARD.encode("bc"), STANDARD.encode("def"));
    for piece in 1..=text.len() {
        assert_eq!(decode(&text, piece), Ok(b"abcdef".to_vec()), "pieces of {piece}");
    }
}

#[test]
fn garbage_is_no_base64() {
    for text in ["QU*D", "Q===", "QQ=A", "=QUJ", "QU D"] {
        assert!(decode(text, 4).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn requests_encoded_each_for_itself_come_out_as_they_went_in(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8), piece in 1usize..40
    ) {
        let text: String = parts.iter().map(|part| STANDARD.encode(part)).collect();
        prop_assert_eq!(decode(&text, piece), Ok(parts.concat()));
    }
}

fn head(text: &str) -> Result<Option<(Head, usize)>, Refusal> {
    parse_head(text.replace('\n', "\r\n").as_bytes())
}

fn refusal(text: &str) -> &'static str {
    match head(text) {
        Err(Refusal(status, _)) => status,
        Ok(_) => panic!("{text}"),
    }
}

#[test]
fn both_halves_are_told_apart_and_what_follows_the_head_is_left() {
    let get = "GET /stream HTTP/1.0\nx-sessioncookie: abc\nAccept: application/x-rtsp-tunnelled\n\n";
    let (head_of_get, length) = head(get).ok().flatten().expect("complete");
    assert!(head_of_get.get && head_of_get.cookie == "abc");
    assert_eq!(length, get.len() + 4);
    let post = "POST / HTTP/1.1\nX-SessionCookie: d\nContent-Type: application/x-rtsp-tunnelled\n\nREVTQ1";
    let (head_of_post, length) = head(post).ok().flatten().expect("complete");
    assert!(!head_of_post.get && head_of_post.cookie == "d");
    assert_eq!(length, post.len() + 4 - 6);
    assert!(head("GET /stream HTTP/1.0\nx-sess").ok().expect("good so far").is_none());
}

#[test]
fn what_is_no_half_of_a_conversation_is_refused() {
    let accept = "Accept: application/x-rtsp-tunnelled\n";
    assert_eq!(refusal(&format!("GET /other HTTP/1.0\nx-sessioncookie: a\n{accept}\n")), "404 Not Found");
    assert_eq!(refusal("GET /stream HTTP/1.0\nx-sessioncookie: a\nAccept: */*\n\n"), "400 Bad Request");
    assert_eq!(refusal(&format!("GET /stream HTTP/1.0\n{accept}\n")), "400 Bad Request");
    assert_eq!(
        refusal(&format!("GET /stream HTTP/1.0\nx-sessioncookie: {}\n{accept}\n", "a".repeat(129))),
        "400 Bad Request"
    );
    assert_eq!(refusal("GET /stream\x01 nonsense\n\n"), "400 Bad Request");
}

#[tokio::test(start_paused = true)]
async fn one_post_at_a_time_is_heard_and_the_next_when_it_has_ended() {
    let tunnels = Arc::new(Tunnels::default());
    let (open, _posted) = tunnels.open("a").expect("free");
    assert!(tunnels.open("a").is_none());
    let first = tunnels.take("a").await;
    assert!(timeout(DEADLINE, tunnels.take("a")).await.is_err());
    let waiting = tunnels.take("a");
    drop(first);
    drop(timeout(DEADLINE, waiting).await.expect("the first gave it back"));
    drop(open);
    assert!(timeout(DEADLINE, tunnels.take("a")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_post_of_a_conversation_that_ended_is_not_joined_to_the_next_one() {
    let tunnels = Arc::new(Tunnels::default());
    let (open, posted) = tunnels.open("a").expect("free");
    let lease = tunnels.take("a").await;
    drop((open, posted));
    let (_open, mut posted) = tunnels.open("a").expect("free again");
    drop(lease);
    let lease = tunnels.take("a").await;
    lease.sender.send(Ok(Bytes::from_static(b"x"))).await.expect("the new one listens");
    assert_eq!(posted.recv().await.expect("a piece").expect("good"), "x");
}

#[tokio::test(start_paused = true)]
async fn a_post_may_come_before_its_get() {
    let tunnels = Arc::new(Tunnels::default());
    let waiting = tunnels.take("a");
    let opening = async {
        tokio::task::yield_now().await;
        tunnels.open("a").expect("free")
    };
    let (lease, _open) = tokio::join!(timeout(DEADLINE, waiting), opening);
    assert!(lease.is_ok());
}
