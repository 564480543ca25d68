//! RTSP on its way to the device, checked method by method (ONVIF Streaming; RFC 2326 §10).
//!
//! Only the direction to the device is read, which carries requests and now and then sound; video never passes here. What is
//! checked goes on as it came. A chunk that completes a request that is not allowed does not go on, and the stream ends there:
//! so the device never has the whole of one. It is also what makes a tunnel a tunnel: what is not RTSP in its wrapping cannot
//! reach another page of the device.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::base::{
    http::{Body, BodyError},
    rtsp::{Kind, Message, Splitter, Unit},
};

/// Longest head of a WebSocket frame in bytes (RFC 6455 §5.2).
const FRAME_HEAD_MAX: usize = 14;

/// Why a stream ended here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream was ended: {0}")]
pub struct Stopped(String);

/// Whether a request may pass; the sentence says why not.
pub(super) type Check = Arc<dyn Fn(&Message) -> Result<(), String> + Send + Sync>;

/// How RTSP is wrapped.
pub(super) enum Wrapping {
    /// RTSP over HTTP: base64, each piece padded for itself.
    Base64(Vec<u8>),
    /// RTSP over WebSocket.
    WebSocket(WebSocket),
}

impl Wrapping {
    /// Appends what is within `chunk` to `into`.
    fn unwrap(&mut self, chunk: &[u8], into: &mut Vec<u8>) -> Result<(), &'static str> {
        match self {
            Self::Base64(rest) => unwrap_base64(rest, chunk, into),
            Self::WebSocket(state) => state.unwrap(chunk, into),
        }
    }
}

fn unwrap_base64(rest: &mut Vec<u8>, chunk: &[u8], into: &mut Vec<u8>) -> Result<(), &'static str> {
    for byte in chunk.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        rest.push(*byte);
        if rest.len() == 4 {
            STANDARD.decode_vec(&rest[..], into).map_err(|_| "what came is not base64")?;
            rest.clear();
        }
    }
    // The beginning of a quantum is checked when it is whole; what can never be one is refused at once.
    let possible = rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    if possible { Ok(()) } else { Err("what came is not base64") }
}

/// Where a stream of WebSocket frames is.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    head: Vec<u8>,
    /// Of the payload that is under way.
    left: u64,
    mask: [u8; 4],
    masked: usize,
    is_data: bool,
}

impl WebSocket {
    fn unwrap(&mut self, mut chunk: &[u8], into: &mut Vec<u8>) -> Result<(), &'static str> {
        while !chunk.is_empty() {
            if self.left > 0 {
                let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(chunk.len());
                let (payload, rest) = chunk.split_at(take);
                if self.is_data {
                    let unmask = |(at, byte): (usize, &u8)| byte ^ self.mask[(self.masked + at) % 4];
                    into.extend(payload.iter().enumerate().map(unmask));
                }
                self.masked = (self.masked + take) % 4;
                self.left -= take as u64;
                chunk = rest;
            } else {
                self.head.push(chunk[0]);
                chunk = &chunk[1..];
                self.read_head()?;
            }
        }
        Ok(())
    }

    /// Looks whether the head is whole.
    fn read_head(&mut self) -> Result<(), &'static str> {
        let [first, second, rest @ ..] = &self.head[..] else { return Ok(()) };
        if first & 0x70 != 0 {
            return Err("a WebSocket frame is compressed or of an unknown extension");
        }
        let wide = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & 0x80 != 0;
        let mask = if masked { 4 } else { 0 };
        if rest.len() < wide + mask {
            return Ok(());
        }
        debug_assert!(self.head.len() <= FRAME_HEAD_MAX);
        self.left = match wide {
            0 => u64::from(second & 0x7f),
            _ => rest[..wide].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        self.mask = rest[wide..wide + mask].try_into().unwrap_or_default();
        self.masked = 0;
        // Text, binary and their continuations; the others are close, ping and pong.
        self.is_data = first & 0x0f <= 2;
        self.head.clear();
        Ok(())
    }
}

/// A body whose RTSP requests are checked.
pub(super) struct Guard {
    body: Body,
    wrapping: Wrapping,
    splitter: Splitter,
    check: Check,
}

impl Guard {
    pub(super) fn new(body: Body, wrapping: Wrapping, check: Check) -> Self {
        Self { body, wrapping, splitter: Splitter::new(), check }
    }

    fn look(&mut self, chunk: &[u8]) -> Result<(), Stopped> {
        let mut plain = Vec::with_capacity(chunk.len());
        self.wrapping.unwrap(chunk, &mut plain).map_err(|why| Stopped(why.to_owned()))?;
        self.splitter.push(&plain);
        while let Some(unit) = self.splitter.next_unit().map_err(|error| Stopped(error.to_string()))? {
            match unit {
                Unit::Message(message) if matches!(message.kind(), Kind::Request { .. }) => {
                    (self.check)(&message).map_err(Stopped)?;
                }
                Unit::Message(_) | Unit::Frame(_) => {}
            }
        }
        Ok(())
    }
}

impl HttpBody for Guard {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(chunk) = frame.data_ref()
            && let Err(stopped) = self.look(chunk)
        {
            self.body = Body::empty();
            return Poll::Ready(Some(Err(BodyError::Transport(Box::new(stopped)))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
