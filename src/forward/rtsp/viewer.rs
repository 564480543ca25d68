//! The answer to the GET of RTSP over HTTP: what the device says, read as the remote's window opens, until the
//! conversation ends (ONVIF Uplink, RTSP over HTTP).
//!
//! Memory of one viewer: one read of at most [`READ_MAX`](super::super::tunnel::READ_MAX) bytes and the stream's part of the
//! session's share. The bytes are those of the socket, neither copied nor looked at but for how the first of them begin.

use std::{
    io::ErrorKind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http_body::{Body as HttpBody, Frame};
use tokio::{
    io::AsyncRead,
    net::tcp::OwnedWriteHalf,
    time::{Instant, Sleep},
};

use super::{
    control::begins_rtsp,
    pair::{Claim, End},
    way::Way,
};
use crate::{
    base::http::BodyError,
    forward::{pool::Permit, tunnel::Reads},
};

/// For the log.
const NOT_RTSP: &str = "what listens at the RTSP port of the device does not speak RTSP";

/// What the device says within one conversation, as a body. Dropped before its end it ends the conversation.
pub struct Viewer<R> {
    reader: R,
    early: Bytes,
    reads: Reads,
    claim: Claim,
    /// Told when what answers at the RTSP port speaks something else; `None` once the first bytes were RTSP.
    doubt: Option<Arc<Way>>,
    silence: Silence,
    done: bool,
    /// The other half of the connection, when nobody else has it.
    _writer: Option<OwnedWriteHalf>,
    _permits: Vec<Permit>,
}

impl<R: AsyncRead + Unpin> Viewer<R> {
    /// What `reader` says, after `early`. `silence` is how long a conversation may have neither a POST nor a byte.
    pub fn new(reader: R, early: Bytes, claim: Claim, permits: Vec<Permit>, silence: Duration) -> Self {
        let (reads, silence) = (Reads::default(), Silence::new(silence));
        Self { reader, early, reads, claim, doubt: None, silence, done: false, _writer: None, _permits: permits }
    }

    /// Takes nothing for an answer that does not begin as RTSP does, and tells `way`.
    #[must_use]
    pub fn that_must_be_rtsp(mut self, way: Arc<Way>) -> Self {
        self.doubt = Some(way);
        self
    }

    /// Keeps the other half open as long as the conversation.
    #[must_use]
    pub fn keeping(mut self, writer: OwnedWriteHalf) -> Self {
        self._writer = Some(writer);
        self
    }

    fn ended(&mut self, end: End) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.done = true;
        self.claim.pair.end(end);
        Poll::Ready(match end {
            End::Whole => None,
            // The POST's answer has the sentence.
            End::Violated => Some(Err(BodyError::Reset(Reason::PROTOCOL_ERROR))),
            End::Broken => Some(Err(BodyError::Reset(Reason::INTERNAL_ERROR))),
        })
    }

    fn came(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(way) = self.doubt.take()
            && !begins_rtsp(&data)
        {
            way.failed(NOT_RTSP);
            return self.ended(End::Broken);
        }
        self.silence.broken = true;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl<R: AsyncRead + Unpin> HttpBody for Viewer<R> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        this.claim.pair.viewer.register(cx.waker());
        if let Some(end) = this.claim.pair.ended() {
            return this.ended(end);
        }
        this.silence.note();
        if !this.early.is_empty() {
            let early = std::mem::take(&mut this.early);
            return this.came(early);
        }
        match this.reads.poll(&mut this.reader, cx) {
            Poll::Ready(Ok(data)) if data.is_empty() => this.ended(End::Whole),
            Poll::Ready(Ok(data)) => this.came(data),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "the device's connection of a conversation broke");
                if let Some(way) = this.doubt.take_if(|_| error.kind() == ErrorKind::InvalidData) {
                    way.failed(NOT_RTSP);
                }
                this.ended(End::Broken)
            }
            Poll::Pending => {
                let has_post = this.claim.pair.has_post();
                if this.silence.poll_over(has_post, cx).is_pending() {
                    return Poll::Pending;
                }
                tracing::debug!("a conversation had neither a POST nor a byte of the device for too long");
                this.ended(End::Whole)
            }
        }
    }
}

/// How long nothing has come.
struct Silence {
    timer: Pin<Box<Sleep>>,
    most: Duration,
    since: Instant,
    /// Bytes went to the remote since it was last noted.
    broken: bool,
}

impl Silence {
    fn new(most: Duration) -> Self {
        let since = Instant::now();
        Self { timer: Box::pin(tokio::time::sleep(most)), most, since, broken: false }
    }

    /// At the next question of the remote's side, so that the time it took for the bytes before is no silence.
    fn note(&mut self) {
        if std::mem::take(&mut self.broken) {
            self.since = Instant::now();
        }
    }

    /// The timer is not moved with each chunk; it is asked when it rings.
    fn poll_over(&mut self, has_post: bool, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if has_post {
                self.since = now;
            }
            let due = self.since + self.most;
            if due <= now {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
