//! Conversations with a mediator, cut anywhere.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::*;
use crate::base::rtsp::Kind;

/// Answers a 401 with the request `AGAIN`, a request `WRONG` of the remote itself, and passes the rest.
struct Scripted;

impl Mediator for Scripted {
    fn remote_says(&mut self, message: Message) -> Passed {
        match message.kind() {
            Kind::Request { method: "WRONG", .. } => Passed::to_remote(Message::response(503, "Own")),
            _ => Passed::to_device(message),
        }
    }

    fn device_says(&mut self, message: Message) -> Passed {
        match message.kind() {
            Kind::Response { status: 401 } => Passed::to_device(Message::request("AGAIN", "*")),
            _ => Passed::to_remote(message),
        }
    }
}

const OK: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 2\r\n\r\nab";
const ASK: &[u8] = b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n";
const AGAIN: &[u8] = b"AGAIN * RTSP/1.0\r\n\r\n";
const WRONG: &[u8] = b"WRONG * RTSP/1.0\r\n\r\n";
const OWN: &[u8] = b"RTSP/1.0 503 Own\r\n\r\n";
/// Its payload looks like a message and like the head of a frame.
const FRAME: &[u8] = b"$\x00\x00\x0fRTSP/1.0 401 $\xff";

type Ends = (FromDevice<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>, ToDevice<WriteHalf<DuplexStream>>);

/// A conversation, and the device's end of its connection, which holds so many bytes.
fn conversation(room: usize, tunnelled: bool) -> (Ends, DuplexStream) {
    let (near, device) = duplex(room);
    let (reader, writer) = split(near);
    let mediated = Mediated::new(Box::new(Scripted), tunnelled);
    let to_device = mediated.to_device();
    to_device.attach(writer);
    ((mediated.to_remote(reader, Bytes::new()), to_device), device)
}

async fn heard(reader: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    reader.read_exact(&mut bytes).await.expect("so much comes");
    bytes
}

#[tokio::test]
async fn an_answer_to_the_device_goes_back_though_the_remote_says_nothing() {
    let ((mut from, _to), mut device) = conversation(1024, false);
    device.write_all(&[FRAME, ASK, OK].concat()).await.expect("room");
    assert_eq!(heard(&mut from, FRAME.len() + OK.len()).await, [FRAME, OK].concat());
    assert_eq!(heard(&mut device, AGAIN.len()).await, AGAIN);
}

#[tokio::test]
async fn an_answer_of_our_own_never_stands_within_a_frame() {
    let ((mut from, mut to), mut device) = conversation(1024, false);
    let (first, second) = FRAME.split_at(7);
    device.write_all(first).await.expect("room");
    assert_eq!(heard(&mut from, first.len()).await, first);
    to.write_all(WRONG).await.expect("taken");
    device.write_all(second).await.expect("room");
    assert_eq!(heard(&mut from, second.len() + OWN.len()).await, [second, OWN].concat());
}

#[tokio::test]
async fn an_answer_of_our_own_wakes_who_waits_for_the_device() {
    let ((mut from, mut to), _device) = conversation(1024, false);
    let (heard, said) = tokio::join!(heard(&mut from, OWN.len()), async {
        tokio::task::yield_now().await;
        to.write_all(WRONG).await
    });
    said.expect("taken");
    assert_eq!(heard, OWN);
}

#[tokio::test]
async fn what_goes_to_the_devices_own_tunnel_is_base64_by_units() {
    let ((mut from, mut to), mut device) = conversation(1024, true);
    to.write_all(&[AGAIN, FRAME].concat()).await.expect("taken");
    to.flush().await.expect("taken");
    device.write_all(&[ASK, OK].concat()).await.expect("room");
    heard(&mut from, OK.len()).await;
    let expected: String = [AGAIN, FRAME, AGAIN].iter().map(|unit| BASE64_STANDARD.encode(unit)).collect();
    assert_eq!(heard(&mut device, expected.len()).await, expected.into_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_does_not_read_holds_the_remote_up() {
    let ((_from, mut to), mut device) = conversation(64, false);
    to.write_all(&AGAIN.repeat(8)).await.expect("taken whole");
    let more = tokio::time::timeout(std::time::Duration::from_secs(60), to.write_all(AGAIN)).await;
    assert!(more.is_err(), "nothing more is taken");
    let (all, more) = tokio::join!(heard(&mut device, AGAIN.len() * 9), async {
        to.write_all(AGAIN).await?;
        to.flush().await
    });
    more.expect("taken");
    assert_eq!(all, AGAIN.repeat(9));
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_does_not_read_its_answers_is_not_heard() {
    let ((mut from, mut to), _device) = conversation(64, false);
    let many = TO_REMOTE_MAX / OWN.len() + 1;
    to.write_all(&WRONG.repeat(many)).await.expect("taken whole");
    let more = tokio::time::timeout(std::time::Duration::from_secs(60), to.write_all(WRONG)).await;
    assert!(more.is_err(), "nothing more is taken");
    let (own, more) = tokio::join!(heard(&mut from, OWN.len() * (many + 1)), to.write_all(WRONG));
    more.expect("taken");
    assert_eq!(own, OWN.repeat(many + 1));
}

#[tokio::test]
async fn what_is_no_rtsp_ends_the_conversation_with_its_reason() {
    let ((mut from, mut to), mut device) = conversation(1024, false);
    device.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("room");
    let error = from.read_u8().await.expect_err("not RTSP");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(to.write_all(b"\x16\x03\x01").await.expect_err("not RTSP").kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_conversation_without_a_way_to_the_device_says_so() {
    let ((_from, mut to), _device) = conversation(64, false);
    to.detach();
    assert!(!to.is_attached());
    assert_eq!(to.write_all(AGAIN).await.expect_err("nowhere").kind(), io::ErrorKind::NotConnected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cuts_change_nothing(units in prop::collection::vec(prop::sample::select(vec![FRAME, OK, ASK, b"\r\n"]), 0..12), piece in 1_usize..40, room in 1_usize..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let ((mut from, mut to), device) = conversation(piece, false);
            let (mut device_reader, mut device_writer) = split(device);
            let said = units.concat();
            let say = async {
                device_writer.write_all(&said).await.expect("room");
                device_writer.shutdown().await.expect("open");
            };
            let hear = async {
                let (mut all, mut buffer) = (Vec::new(), vec![0; room]);
                loop {
                    let count = from.read(&mut buffer).await.expect("sound");
                    if count == 0 {
                        to.flush().await.expect("the device reads");
                        return all;
                    }
                    all.extend_from_slice(&buffer[..count]);
                }
            };
            let asked = units.iter().filter(|unit| **unit == ASK).count();
            let again = async { heard(&mut device_reader, AGAIN.len() * asked).await };
            let ((), all, again) = tokio::join!(say, hear, again);
            let passes = |unit: &&&[u8]| [FRAME, OK].contains(*unit);
            let expected: Vec<u8> = units.iter().filter(passes).copied().flatten().copied().collect();
            assert_eq!(strip_blank(&all), expected);
            assert_eq!(again, AGAIN.repeat(asked));
        });
    }
}

/// Without the empty lines between units; none of the units here has one at its beginning.
fn strip_blank(all: &[u8]) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::new(), all);
    while !rest.is_empty() {
        let unit = [FRAME, OK].into_iter().find(|unit| rest.starts_with(unit));
        match unit {
            Some(unit) => kept.extend_from_slice(unit),
            None => assert!(rest.starts_with(b"\r\n"), "{rest:?}"),
        }
        rest = &rest[unit.map_or(2, <[u8]>::len)..];
    }
    kept
}
