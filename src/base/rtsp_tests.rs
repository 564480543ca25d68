//! Messages and frames cut out of streams, whole and in pieces, right and wrong.

use proptest::prelude::*;

use super::*;

const DESCRIBE: &[u8] =
    b"DESCRIBE rtsp://h/cam RTSP/1.0\r\nCSeq: 2\r\nuser-agent:x\r\nAccept:  application/sdp\r\n\r\n";
const ANSWER: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 4\r\n\r\nv=0\n";

fn all(splitter: &mut Splitter) -> Result<Vec<Unit>, RtspError> {
    std::iter::from_fn(|| splitter.next_unit().transpose()).collect()
}

fn split(bytes: &[u8]) -> Result<Vec<Unit>, RtspError> {
    let mut splitter = Splitter::new();
    splitter.push(bytes);
    all(&mut splitter)
}

fn message(bytes: &[u8]) -> Message {
    match split(bytes).expect("RTSP").remove(0) {
        Unit::Message(message) => message,
        Unit::Frame(_) => panic!("a frame"),
    }
}

#[test]
fn what_is_not_changed_is_written_back_as_it_came() {
    for bytes in [DESCRIBE, ANSWER] {
        assert_eq!(message(bytes).to_bytes(), bytes);
    }
}

#[test]
fn a_request_and_a_response_are_told_apart() {
    assert_eq!(message(DESCRIBE).kind(), Kind::Request { method: "DESCRIBE", uri: "rtsp://h/cam" });
    assert_eq!(message(ANSWER).kind(), Kind::Response { status: 200 });
    assert_eq!(message(b"RTSP/1.0 455 \r\n\r\n").kind(), Kind::Response { status: 455 });
}

#[test]
fn fields_are_found_whatever_their_case() {
    let message = message(DESCRIBE);
    assert_eq!(message.field("cseq"), Some("2"));
    assert_eq!(message.field("User-Agent"), Some("x"));
    assert_eq!(message.field("accept"), Some("application/sdp"));
    assert_eq!(message.field("Session"), None);
}

#[test]
fn a_changed_field_keeps_its_place_and_its_doubles_go() {
    let mut message = message(b"OPTIONS * RTSP/1.0\r\nA: 1\r\nb: 2\r\nB: 3\r\nC: 4\r\n\r\n");
    message.set_field("B", "5");
    message.set_field("D", "6");
    assert!(message.remove_field("a") && !message.remove_field("a"));
    assert_eq!(message.to_bytes(), "OPTIONS * RTSP/1.0\r\nB: 5\r\nC: 4\r\nD: 6\r\n\r\n");
}

#[test]
fn a_value_cannot_bring_a_field_of_its_own() {
    let mut message = Message::response(200, "OK");
    message.add_field("CSeq", "1\r\nEvil: yes");
    assert_eq!(message.to_bytes(), "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n");
}

#[test]
fn a_new_uri_and_a_new_body_leave_the_rest_alone() {
    let mut request = message(DESCRIBE);
    request.set_uri("rtsp://other/x");
    assert!(request.to_bytes().starts_with(b"DESCRIBE rtsp://other/x RTSP/1.0\r\nCSeq: 2\r\nuser-agent:x\r\n"));
    let mut answer = message(ANSWER);
    answer.set_body("longer");
    assert_eq!(answer.to_bytes(), "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 6\r\n\r\nlonger");
}

#[test]
fn frames_and_messages_may_follow_each_other() {
    let frame = Frame::new(1, b"rtcp").expect("small");
    let stream = [DESCRIBE, frame.bytes(), b"\r\n", ANSWER, frame.bytes()].concat();
    let units = split(&stream).expect("RTSP");
    assert_eq!(units.len(), 4);
    assert_eq!(units[1], Unit::Frame(frame.clone()));
    assert_eq!((frame.channel(), frame.payload()), (1, &b"rtcp"[..]));
    assert_eq!(units[2], Unit::Message(message(ANSWER)));
}

#[test]
fn bare_line_feeds_end_lines_too() {
    let message = message(b"OPTIONS * RTSP/1.0\nCSeq: 7\n\n");
    assert_eq!(message.field("CSeq"), Some("7"));
}

#[test]
fn what_is_not_rtsp_is_refused_at_its_first_bytes() {
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"<html>",
        b"DESCRIBE\r\n\r\n",
        b"RTSP/1.0 20x OK\r\n\r\n",
    ] {
        assert!(matches!(split(bytes), Err(RtspError::NotRtsp(_))), "{bytes:?}");
    }
}

#[test]
fn a_head_without_an_end_is_bounded() {
    let mut endless = b"OPTIONS * RTSP/1.0\r\n".to_vec();
    while endless.len() < HEAD_MAX {
        endless.extend_from_slice(b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
    }
    assert_eq!(split(&endless), Err(RtspError::HeadTooLarge));
}

#[test]
fn a_length_that_lies_is_refused() {
    let with = |length: &str| split(format!("OPTIONS * RTSP/1.0\r\n{length}\r\n\r\n").as_bytes());
    assert_eq!(with("Content-Length: x"), Err(RtspError::BadLength));
    assert_eq!(with("Content-Length: 1\r\nContent-Length: 2"), Err(RtspError::BadLength));
    assert_eq!(with("Content-Length: 99999999"), Err(RtspError::BodyTooLarge(99_999_999)));
    assert_eq!(with("Content-Length: 0").expect("none").len(), 1);
}

proptest! {
    #[test]
    fn pieces_make_no_difference(cuts in prop::collection::vec(1usize..40, 1..60), payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let frame = Frame::new(0, &payload).expect("small");
        let stream = [DESCRIBE, frame.bytes(), ANSWER, frame.bytes(), DESCRIBE].concat();
        let (mut splitter, mut units, mut rest) = (Splitter::new(), Vec::new(), &stream[..]);
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            splitter.push(piece);
            units.extend(all(&mut splitter).expect("RTSP"));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(units, split(&stream).expect("RTSP"));
        prop_assert_eq!(splitter.buffered(), 0);
    }

    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut splitter = Splitter::new();
        splitter.push(&bytes);
        while let Ok(Some(unit)) = splitter.next_unit() {
            if let Unit::Message(message) = unit {
                message.kind();
                message.to_bytes();
            }
        }
    }
}
