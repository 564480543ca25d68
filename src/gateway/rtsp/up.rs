//! From the player to the device: what the gateway needs of a request is taken out, the rest is mapped and encoded for the
//! POST of RTSP over HTTP.
//!
//! Players send a few messages and, every few seconds, a report by RTCP; with a backchannel also audio. All of it is little,
//! so each unit is looked at and encoded for itself, with its padding, as players of RTSP over HTTP do.

use std::{future::ready, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::Stream};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::{
    map::{Mapping, without_token},
    quantum::{Decoder, NotBase64, encode},
};
use crate::{
    base::rtsp::{Kind, Message, RtspError, Splitter, Unit},
    gateway::{
        front::Front,
        tunnel::{READ_MAX, Reader},
    },
};

/// Why the way of a player ended.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// What it sends is not RTSP.
    #[error(transparent)]
    Rtsp(#[from] RtspError),
    /// What it sends in a POST is not base64.
    #[error(transparent)]
    Base64(#[from] NotBase64),
    /// It asks and asks for what it was refused, and reads no answer.
    #[error("the player does not read the answers to its requests")]
    Deaf,
}

/// The way of one conversation to its device.
pub struct Upward {
    front: Arc<Front>,
    map: Mapping,
    splitter: Splitter,
    /// For what comes in base64.
    decoder: Option<Decoder>,
    /// For answers of the gateway itself, where it gives any.
    own: Option<mpsc::Sender<Bytes>>,
}

impl Upward {
    /// The way of a player of plain RTSP, of which `splitter` may hold something already. `own` takes the answers that the
    /// gateway gives in the device's place.
    pub fn plain(front: Arc<Front>, map: Mapping, splitter: Splitter, own: mpsc::Sender<Bytes>) -> Self {
        Self { front, map, splitter, decoder: None, own: Some(own) }
    }

    /// The way of a player whose RTSP comes in base64.
    pub fn encoded(front: Arc<Front>, map: Mapping) -> Self {
        Self { front, map, splitter: Splitter::new(), decoder: Some(Decoder::default()), own: None }
    }

    /// What the device gets of this piece; empty while nothing is complete.
    ///
    /// # Errors
    /// [`Broken`]: the conversation is over.
    pub fn push(&mut self, piece: &[u8]) -> Result<Bytes, Broken> {
        match &mut self.decoder {
            Some(decoder) => self.splitter.push(&decoder.decode(piece)?),
            None => self.splitter.push(piece),
        }
        let mut out = BytesMut::new();
        while let Some(unit) = self.splitter.next_unit()? {
            match unit {
                Unit::Frame(frame) => out.extend_from_slice(&encode(frame.bytes())),
                Unit::Message(message) => {
                    if let Some(request) = self.request(message)? {
                        out.extend_from_slice(&encode(&request.to_bytes()));
                    }
                }
            }
        }
        Ok(out.freeze())
    }

    /// The message as the device gets it; `None` when the gateway has answered it.
    ///
    /// # Errors
    /// [`Broken::Deaf`].
    pub fn request(&mut self, mut message: Message) -> Result<Option<Message>, Broken> {
        clean(&self.front, &mut message);
        if let Some(own) = &self.own
            && !keep_tcp(&mut message)
        {
            own.try_send(refusal(&message).to_bytes()).map_err(|_| Broken::Deaf)?;
            return Ok(None);
        }
        self.map.request(&mut message);
        Ok(Some(message))
    }

    /// The body of a POST: `first`, which is for the device as it is, then what is here already and what `reader` brings.
    pub fn stream(
        mut self,
        first: Bytes,
        reader: Reader,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        let mut first = encode(&first);
        // The empty piece lets out what the splitter holds.
        let here = futures_util::stream::iter([Ok(Bytes::new())]);
        here.chain(ReaderStream::with_capacity(reader, READ_MAX)).filter_map(move |piece| {
            let more = piece.and_then(|piece| {
                self.push(&piece).map_err(|broken| {
                    tracing::info!(%broken, "the conversation of a player ended");
                    std::io::Error::other(broken)
                })
            });
            let first = std::mem::take(&mut first);
            ready(match more {
                Ok(more) if first.is_empty() && more.is_empty() => None,
                Ok(more) if first.is_empty() => Some(Ok(more)),
                Ok(more) => Some(Ok([first, more].concat().into())),
                Err(error) => Some(Err(error)),
            })
        })
    }
}

/// Takes out what is for the gateway: its token in the address, and an `Authorization` that shows it.
pub fn clean(front: &Front, message: &mut Message) {
    if !front.access.uses_authorization() {
        return;
    }
    if let Kind::Request { uri, .. } = message.kind()
        && let (cleaned, Some(_)) = without_token(uri)
    {
        message.set_uri(&cleaned);
    }
    if message.fields("Authorization").any(|value| front.access.is_shown(value)) {
        message.remove_field("Authorization");
    }
}

/// Leaves only transports over this connection in a SETUP: nothing else goes through an uplink. `false` when none is left.
fn keep_tcp(message: &mut Message) -> bool {
    if !matches!(message.kind(), Kind::Request { method: "SETUP", .. }) {
        return true;
    }
    let offered: Vec<&str> = message.fields("Transport").flat_map(|value| value.split(',')).map(str::trim).collect();
    let is_tcp = |transport: &&&str| {
        let mut parts = transport.split(';');
        let profile = parts.next().unwrap_or_default().to_ascii_uppercase();
        profile.ends_with("/TCP") || parts.any(|part| part.trim().to_ascii_lowercase().starts_with("interleaved"))
    };
    let kept: Vec<&str> = offered.iter().filter(is_tcp).copied().collect();
    if kept.len() == offered.len() {
        // None at all is for the device to refuse.
        return true;
    }
    let value = kept.join(",");
    if kept.is_empty() {
        return false;
    }
    message.set_field("Transport", &value);
    true
}

/// RFC 2326 §11.3.12: players then ask again, for TCP.
fn refusal(message: &Message) -> Message {
    let mut answer = Message::response(461, "Unsupported Transport: only RTP/AVP/TCP goes through the gateway");
    answer.add_field("CSeq", message.field("CSeq").unwrap_or("0"));
    if let Some(session) = message.field("Session") {
        answer.add_field("Session", session);
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::gateway::{auth::FrontAccess, directory::Directory, metrics::Metrics, pairs::Pairs};

    const TOKEN: &str = "0123456789abcdef";

    fn front(token: bool) -> Arc<Front> {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("token");
        std::fs::write(&file, TOKEN).expect("written");
        let address: SocketAddr = "127.0.0.1:1".parse().expect("address");
        Arc::new(Front {
            access: FrontAccess::new(address, token.then_some(file), false).expect("access"),
            suffixes: Vec::new(),
            domain: None,
            rtsp: None,
            directory: Arc::new(Directory::default()),
            metrics: Metrics::default(),
            pairs: Arc::new(Pairs::default()),
        })
    }

    fn plain(token: bool) -> (Upward, mpsc::Receiver<Bytes>) {
        let (own, answers) = mpsc::channel(1);
        (Upward::plain(front(token), Mapping::new("rtsp", "gw", "/cam"), Splitter::new(), own), answers)
    }

    fn sent(up: &mut Upward, text: &str) -> String {
        let encoded = up.push(text.as_bytes()).expect("RTSP");
        let decoded = Decoder::default().decode(&encoded).expect("base64");
        String::from_utf8(decoded.to_vec()).expect("text")
    }

    #[test]
    fn a_request_is_mapped_and_encoded_and_frames_pass() {
        let (mut up, _answers) = plain(false);
        assert_eq!(
            sent(&mut up, "PLAY rtsp://gw/cam/a RTSP/1.0\r\nCSeq: 4\r\n\r\n$\x01\0\x02ab"),
            "PLAY rtsp://gw/a RTSP/1.0\r\nCSeq: 4\r\n\r\n$\x01\0\x02ab"
        );
        assert_eq!(sent(&mut up, "TEARDOWN rtsp://gw/c"), "");
    }

    #[test]
    fn a_setup_for_udp_is_answered_here_and_one_that_offers_tcp_too_is_narrowed() {
        let (mut up, mut answers) = plain(false);
        let setup =
            |transport: &str| format!("SETUP rtsp://gw/cam/a RTSP/1.0\r\nCSeq: 3\r\nTransport: {transport}\r\n\r\n");
        assert_eq!(sent(&mut up, &setup("RTP/AVP;unicast;client_port=5000-5001")), "");
        let answer = answers.try_recv().expect("an answer");
        assert!(answer.starts_with(b"RTSP/1.0 461 ") && answer.ends_with(b"\r\nCSeq: 3\r\n\r\n"), "{answer:?}");
        let both = sent(&mut up, &setup("RTP/AVP;unicast;client_port=1-2, RTP/AVP/TCP;unicast;interleaved=0-1"));
        assert!(both.contains("\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"), "{both}");
        assert!(answers.try_recv().is_err());
    }

    #[test]
    fn a_player_that_asks_on_without_reading_is_given_up() {
        let (mut up, _answers) = plain(false);
        let setup = "SETUP rtsp://gw/cam/a RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP\r\n\r\n";
        assert!(up.push(setup.as_bytes()).is_ok());
        assert!(matches!(up.push(setup.as_bytes()), Err(Broken::Deaf)));
    }

    #[test]
    fn the_token_ends_here_and_the_credentials_of_the_device_pass() {
        let (mut up, _answers) = plain(true);
        let basic = encode(format!("x:{TOKEN}").as_bytes());
        let basic = std::str::from_utf8(&basic).expect("text");
        let text = sent(
            &mut up,
            &format!("PLAY rtsp://gw/cam/a?token={TOKEN}&b=1 RTSP/1.0\r\nAuthorization: Basic {basic}\r\n\r\n"),
        );
        assert_eq!(text, "PLAY rtsp://gw/a?b=1 RTSP/1.0\r\n\r\n");
        let digest =
            "PLAY rtsp://gw/cam/a RTSP/1.0\r\nAuthorization: Digest username=\"u\", uri=\"rtsp://gw/cam/a\"\r\n\r\n";
        assert_eq!(sent(&mut up, digest), digest.replacen("gw/cam/a RTSP", "gw/a RTSP", 1));
    }

    #[test]
    fn what_is_not_rtsp_or_not_base64_is_broken() {
        assert!(matches!(plain(false).0.push(b"POST / HTTP/1.1\r\n\r\n"), Err(Broken::Rtsp(_))));
        let mut up = Upward::encoded(front(false), Mapping::new("rtsp", "gw", "/cam"));
        let request = encode(b"OPTIONS rtsp://gw/cam/a RTSP/1.0\r\nCSeq: 1\r\n\r\n");
        assert!(!up.push(&request).expect("good").is_empty());
        assert!(matches!(up.push(b"#garbage"), Err(Broken::Base64(_))));
    }
}
