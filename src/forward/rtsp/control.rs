//! What the remote says on its way to a plain RTSP port: whole messages and whole interleaved frames, or the end of the
//! conversation with a reason (RFC 2326 §4, §10.12). The other direction, which carries the video, is not looked at.
//!
//! A message goes out as it came; only empty lines between messages are left out, which mean nothing. A frame that lies about its
//! length shows when the next thing begins: nothing of what follows reaches the device.

use bytes::{Bytes, BytesMut};

use super::base64::{Base64Error, Decoder};
use crate::base::rtsp::{Kind, Message, RtspError, Splitter, Unit};

/// Why what the remote says cannot be carried on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The POST's body is no base64.
    #[error("the body of the POST is not RTSP in base64: {0}")]
    Base64(#[from] Base64Error),
    /// Neither a message nor a frame, or one over its bound.
    #[error("{0}")]
    Rtsp(#[from] RtspError),
    /// The WebSocket around it.
    #[error("the WebSocket that carries RTSP was misused: {0}")]
    WebSocket(String),
}

/// The direction to the device of one conversation.
#[derive(Debug, Default)]
pub struct Control {
    splitter: Splitter,
}

impl Control {
    /// Takes what came next and gives what the device may have now.
    ///
    /// # Errors
    /// [`RtspError`]: the conversation is over. What was whole before is lost with it.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Bytes, RtspError> {
        self.splitter.push(bytes);
        let mut whole = BytesMut::new();
        let mut only = Bytes::new();
        while let Some(unit) = self.splitter.next_unit()? {
            let bytes = match unit {
                Unit::Message(message) => {
                    is_plain(&message)?;
                    message.to_bytes()
                }
                Unit::Frame(frame) => frame.bytes().clone(),
            };
            // One at a time is the rule, and then nothing is copied.
            if only.is_empty() && whole.is_empty() {
                only = bytes;
                continue;
            }
            whole.extend_from_slice(&std::mem::take(&mut only));
            whole.extend_from_slice(&bytes);
        }
        Ok(if whole.is_empty() { only } else { whole.freeze() })
    }
}

/// Methods are written in capitals, those of vendors too (RFC 2326 §6.1). Small letters are the rest of a frame whose length was
/// a lie, in front of the next request.
fn is_plain(message: &Message) -> Result<(), RtspError> {
    match message.kind() {
        Kind::Request { method, .. } if method.bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Err(RtspError::NotRtsp("a method has small letters, as after a frame with a wrong length"))
        }
        Kind::Request { .. } | Kind::Response { .. } => Ok(()),
    }
}

/// The same in the base64 of POSTs. State goes on from one POST to the next: a player may cut anywhere.
#[derive(Debug, Default)]
pub struct TunnelledControl {
    decoder: Decoder,
    control: Control,
}

impl TunnelledControl {
    /// Takes what came next and gives what the device may have now.
    ///
    /// # Errors
    /// [`Violation`]: the conversation is over.
    pub fn take(&mut self, chunk: &[u8]) -> Result<Bytes, Violation> {
        let decoded = self.decoder.decode(chunk)?;
        Ok(self.control.take(&decoded)?)
    }
}

/// Whether the first bytes of an answer can be RTSP: a status line, a request of the device or a frame.
pub fn begins_rtsp(bytes: &[u8]) -> bool {
    let status = b"RTSP/";
    let length = bytes.len().min(status.len());
    match bytes.first() {
        None | Some(b'$' | b'\r' | b'\n') => true,
        Some(b'H') => false,
        Some(b'R') => bytes[..length] == status[..length] || bytes.starts_with(b"RE"),
        Some(byte) => byte.is_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";

    #[test]
    fn messages_and_frames_go_on_as_they_came_and_only_whole() {
        let mut control = Control::default();
        let all = [OPTIONS, b"$\x00\x00\x03abc", OPTIONS].concat();
        assert_eq!(control.take(&all[..20]).expect("a part"), "");
        assert_eq!(control.take(&all[20..]).expect("the rest"), all);
    }

    #[test]
    fn a_frame_that_lies_about_its_length_ends_the_conversation_at_what_follows() {
        let mut control = Control::default();
        for payload in [&b"abc"[..], b"a\x80\x60"] {
            let short = [&b"$\x00\x00\x01"[..], payload, OPTIONS].concat();
            assert!(matches!(control.take(&short), Err(RtspError::NotRtsp(_))), "{payload:?}");
            control = Control::default();
        }
    }

    #[test]
    fn what_is_no_rtsp_is_refused_at_its_first_bytes() {
        assert!(matches!(Control::default().take(b"\x16\x03\x01"), Err(RtspError::NotRtsp(_))));
    }

    #[test]
    fn a_request_may_be_spread_over_posts_and_quanta() {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let encoded = BASE64_STANDARD.encode(OPTIONS);
        let mut control = TunnelledControl::default();
        let (first, second) = encoded.as_bytes().split_at(13);
        assert_eq!(control.take(first).expect("a part"), "");
        assert_eq!(control.take(second).expect("the rest"), OPTIONS);
    }

    /// Pieces of what is RTSP and of what is not.
    fn said() -> impl Strategy<Value = Vec<u8>> {
        let unit = prop_oneof![
            Just(OPTIONS.to_vec()),
            Just(b"$\x00\x00\x03abc".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"PLAY * RTSP/1.0\r\nContent-Length: 2\r\n\r\nab".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(unit, 0..6).prop_map(|units| units.concat())
    }

    proptest! {
        #[test]
        fn pieces_change_neither_what_goes_on_nor_the_verdict(said in said(), piece in 1_usize..30) {
            let whole = Control::default().take(&said);
            let mut control = Control::default();
            let parts: Result<Vec<_>, _> = said.chunks(piece).map(|piece| control.take(piece)).collect();
            prop_assert_eq!(whole.is_ok(), parts.is_ok());
            if let (Ok(whole), Ok(parts)) = (whole, parts) {
                prop_assert_eq!(whole, parts.concat());
            }
        }
    }

    #[test]
    fn an_answer_that_is_no_rtsp_is_known_by_how_it_begins() {
        for good in [&b"RTSP/1.0 200 OK"[..], b"RT", b"$\0\0\x04", b"OPTIONS *", b"REDIRECT", b"\r\nRTSP"] {
            assert!(begins_rtsp(good), "{good:?}");
        }
        for bad in [&b"HTTP/1.1 400"[..], b"SSH"[..2].as_ref(), b"\x15\x03", b"<html>", b"RTMP"] {
            assert_eq!(begins_rtsp(bad), bad == b"SS", "{bad:?}");
        }
    }
}
