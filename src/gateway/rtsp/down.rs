//! From the device to the player: the addresses in messages are mapped, video passes by.
//!
//! What comes is a mixture of messages and interleaved frames (RFC 2326 §10.12). Of a frame only the head is read, four bytes
//! that say where the next thing begins; its bytes are passed on as they came, whole runs of frames as one piece and without
//! a copy. Only messages, a handful in an hour, are gathered and rewritten.

use std::collections::VecDeque;

use bytes::Bytes;

use super::map::Mapping;
use crate::base::rtsp::{Kind, Message, RtspError, Splitter, Unit};

/// `$`, channel and length.
const FRAME_HEAD: usize = 4;

/// Where in the stream the next byte stands.
#[derive(Debug)]
enum At {
    /// Before a message or a frame.
    Boundary,
    /// Within the head of a frame, of which so many bytes came.
    Head([u8; FRAME_HEAD], usize),
    /// So many bytes before the end of a frame.
    Payload(usize),
    /// Within a message, which the splitter gathers.
    Message,
}

/// The way of one conversation to its player.
#[derive(Debug)]
pub struct Downward {
    map: Option<Mapping>,
    at: At,
    splitter: Splitter,
    /// Answers of the gateway itself, which must not stand within something of the device.
    own: VecDeque<Bytes>,
}

impl Downward {
    /// At the beginning of a conversation; without `map` nothing is rewritten.
    pub fn new(map: Option<Mapping>) -> Self {
        Self { map, at: At::Boundary, splitter: Splitter::new(), own: VecDeque::new() }
    }

    /// Puts an answer of the gateway into the stream, at the next boundary.
    pub fn put(&mut self, answer: Bytes) {
        self.own.push_back(answer);
    }

    /// Moves what is due now to `out`.
    pub fn due(&mut self, out: &mut Vec<Bytes>) {
        if matches!(self.at, At::Boundary) {
            out.extend(self.own.drain(..));
        }
    }

    /// Takes what came from the device and adds to `out` what the player gets.
    ///
    /// # Errors
    /// [`RtspError`]: what comes from the device is not RTSP; the conversation is over.
    pub fn push(&mut self, mut chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), RtspError> {
        while !chunk.is_empty() {
            let passing = self.pass(&chunk);
            if passing > 0 {
                out.push(chunk.split_to(passing));
            }
            self.due(out);
            let begins = matches!(self.at, At::Boundary) && chunk.first().is_some_and(|byte| *byte != b'$');
            if begins || matches!(self.at, At::Message) {
                chunk = self.gather(&chunk, out)?;
            }
        }
        self.due(out);
        Ok(())
    }

    /// How many of these bytes are of frames and pass on as they are: up to the next message, or to the next boundary when
    /// an answer of the gateway waits for one.
    fn pass(&mut self, chunk: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(rest) = chunk.get(passed..).filter(|rest| !rest.is_empty()) {
            match &mut self.at {
                At::Message => break,
                At::Boundary if rest[0] != b'$' => break,
                At::Boundary if !self.own.is_empty() && passed > 0 => break,
                At::Boundary => self.at = At::Head([0; FRAME_HEAD], 0),
                At::Head(head, came) => {
                    let taken = rest.len().min(FRAME_HEAD - *came);
                    head[*came..*came + taken].copy_from_slice(&rest[..taken]);
                    *came += taken;
                    passed += taken;
                    if *came == FRAME_HEAD {
                        self.at = At::Payload(usize::from(u16::from_be_bytes([head[2], head[3]])));
                    }
                }
                At::Payload(left) => {
                    let taken = rest.len().min(*left);
                    *left -= taken;
                    passed += taken;
                }
            }
            if matches!(self.at, At::Payload(0)) {
                self.at = At::Boundary;
            }
        }
        passed
    }

    /// Takes a part of a message; what stands behind its end is given back.
    fn gather(&mut self, chunk: &[u8], out: &mut Vec<Bytes>) -> Result<Bytes, RtspError> {
        self.at = At::Message;
        self.splitter.push(chunk);
        match self.splitter.next_unit()? {
            None => {
                if self.splitter.buffered() == 0 {
                    // Empty lines between messages.
                    self.at = At::Boundary;
                }
                Ok(Bytes::new())
            }
            Some(unit) => {
                self.at = At::Boundary;
                match unit {
                    Unit::Message(message) => out.push(self.mapped(message)),
                    // Behind empty lines.
                    Unit::Frame(frame) => out.push(frame.bytes().clone()),
                }
                Ok(self.splitter.take_rest())
            }
        }
    }

    fn mapped(&self, mut message: Message) -> Bytes {
        if let Kind::Response { status } = message.kind()
            && status >= 400
        {
            tracing::debug!(status, "a device refused a request of a player");
        }
        if let Some(map) = &self.map {
            map.answer(&mut message);
        }
        message.to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &str = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Base: rtsp://10.0.0.1/a/\r\n\r\n";
    const MAPPED: &str = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Base: rtsp://gw/cam/a/\r\n\r\n";

    fn frame(payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("short");
        [&[b'$', 0][..], &length.to_be_bytes(), payload].concat()
    }

    fn down() -> Downward {
        Downward::new(Some(Mapping::new("rtsp", "gw", "/cam")))
    }

    fn passed(down: &mut Downward, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| down.push(Bytes::copy_from_slice(piece), &mut out).expect("RTSP"));
        out.concat()
    }

    #[test]
    fn a_run_of_frames_is_one_piece_and_no_copy() {
        let bytes = Bytes::from([frame(b"one"), frame(b""), frame(&[b'$'; 70])].concat());
        let mut out = Vec::new();
        down().push(bytes.clone(), &mut out).expect("frames");
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].as_ptr(), out[0].len()), (bytes.as_ptr(), bytes.len()));
    }

    #[test]
    fn a_message_between_frames_is_mapped_and_nothing_else_changes() {
        let stream = [ANSWER.as_bytes(), &frame(b"RTSP/1.0 200"), ANSWER.as_bytes(), &frame(b"x")].concat();
        let expected = [MAPPED.as_bytes(), &frame(b"RTSP/1.0 200"), MAPPED.as_bytes(), &frame(b"x")].concat();
        assert_eq!(passed(&mut down(), &[&stream]), expected);
    }

    #[test]
    fn an_answer_of_the_gateway_waits_for_the_end_of_a_frame() {
        let (mut down, whole) = (down(), frame(b"payload"));
        let mut out = Vec::new();
        down.push(Bytes::copy_from_slice(&whole[..6]), &mut out).expect("frame");
        down.put(Bytes::from_static(b"OWN"));
        down.due(&mut out);
        assert_eq!(out.concat(), &whole[..6]);
        down.push(Bytes::from([&whole[6..], &whole].concat()), &mut out).expect("frames");
        assert_eq!(out.concat(), [&whole[..], b"OWN", &whole].concat());
        down.put(Bytes::from_static(b"NOW"));
        out.clear();
        down.due(&mut out);
        assert_eq!(out.concat(), b"NOW");
    }

    #[test]
    fn what_is_not_rtsp_ends_the_conversation() {
        let mut out = Vec::new();
        assert!(down().push(Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"), &mut out).is_err());
        assert!(down().push(Bytes::from_static(b"\x00\x01"), &mut out).is_err());
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in prop::collection::vec(1usize..50, 1..40), payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let stream = [&frame(&payload), ANSWER.as_bytes(), b"\r\n", &frame(&payload), &frame(b""), ANSWER.as_bytes()].concat();
            let expected = [&frame(&payload), MAPPED.as_bytes(), &frame(&payload), &frame(b""), MAPPED.as_bytes()].concat();
            let (mut pieces, mut rest) = (Vec::new(), &stream[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(passed(&mut down(), &pieces), expected);
        }
    }
}
