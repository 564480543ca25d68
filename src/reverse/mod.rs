//! L3: the HTTP/2 server on the connection that we dialed (ONVIF Uplink §5.4, §5.5; RFC 9113).
//!
//! After the 101 the roles are reversed: the remote is the HTTP/2 client. [`Reverse::accept`] sends our SETTINGS and
//! waits for the remote's preface; [`Reverse::run`] serves its streams, each as a task on the same thread, until one side
//! ends the session. The `h2` library is used directly, not through hyper: it lets us send 1xx answers, choose reset
//! reasons and budgets, and a bad stream never ends the session.
//!
//! - [`limits`]: every bound with its reason.
//! - [`error`]: how a session ends other than by our own drain.
//! - [`stream`]: one request and its answer.

pub mod error;
pub mod limits;
mod stream;

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, server::Connection};
use tokio::time::{Instant, timeout, timeout_at};

use self::stream::Session;
pub use self::{error::ReverseError, limits::Limits};
use crate::base::{
    activity::Activity,
    drain::Drain,
    http::{Handler, SessionInfo},
    http2::{heads::End, share::Share, turn::Turn},
    io::{SessionIo, TurnStream, split},
    tasks::Tasks,
};

/// How long the last bytes (GOAWAY, close_notify) may take at the end of a session that broke or was cut.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// After a drain in good order the remote's close is waited for, as long as it sends something within this time: the end of
/// a large answer may still be on its way, and window updates that meet a closed socket would destroy it.
const LINGER: Duration = Duration::from_secs(3);

/// A reversed HTTP/2 connection whose remote has sent its preface.
pub struct Reverse {
    connection: Connection<SessionIo, Bytes>,
    turn: Turn,
    share: Arc<Share>,
    activity: Arc<Activity>,
}

impl Reverse {
    /// Sends our SETTINGS at once and waits for the remote's preface; `early` are bytes that came with the 101.
    ///
    /// There is no deadline in here: the 30 s rule of the owner covers it. Cancel safe: dropping the future closes the
    /// connection.
    ///
    /// # Errors
    /// [`ReverseError`]: not a preface, or the connection ended before it.
    pub async fn accept(
        stream: Box<dyn TurnStream>,
        early: Bytes,
        activity: Arc<Activity>,
        limits: &Limits,
    ) -> Result<Self, ReverseError> {
        let (io, handle) = split(stream, early, Arc::clone(&activity), End::Server);
        let share = Arc::new(Share::default());
        let mut turn = Turn::new(handle, Arc::clone(&share));
        let mut handshake = std::pin::pin!(limits.builder().handshake::<_, Bytes>(io));
        let connection = poll_fn(|cx| {
            let polled = handshake.as_mut().poll(cx);
            turn.end(cx).map_err(ReverseError::from_io)?;
            polled.map_err(ReverseError::before_preface)
        })
        .await?;
        Ok(Self { connection, turn, share, activity })
    }

    /// The means to send PINGs on this connection; `None` when it was taken already.
    pub fn pinger(&mut self) -> Option<Pinger> {
        let activity = Arc::clone(&self.activity);
        self.connection.ping_pong().map(|ping_pong| Pinger { ping_pong, activity, sent: None })
    }

    /// Serves until the session ends. When `drain` starts: GOAWAY, no new streams, the open ones finish until the
    /// deadline, then the rest is reset and the connection closed.
    ///
    /// Cancel safety: dropping the future drops the connection and every stream task with it.
    ///
    /// # Errors
    /// [`ReverseError`] when the remote or the network ended the session; `Ok` when our own drain did.
    pub async fn run(
        mut self,
        handler: Arc<dyn Handler>,
        info: SessionInfo,
        mut drain: Drain,
    ) -> Result<(), ReverseError> {
        let (share, activity) = (Arc::clone(&self.share), Arc::clone(&self.activity));
        let session = Session { handler, info, share, activity };
        let mut streams = Tasks::new();
        let draining = tokio::select! {
            biased;
            draining = drain.started() => draining,
            ended = self.serve(&session, &mut streams) => {
                self.close(&mut streams).await;
                return ended;
            }
        };
        self.connection.graceful_shutdown();
        match self.finish(&session, &mut streams, &mut drain, draining.deadline).await {
            Some(_) => {
                let closed = self.close_in_good_order(&mut streams);
                // The deadline may be drawn nearer here too; whoever drained us cuts then.
                let _ = timeout_at(draining.deadline.max(Instant::now() + CLOSE_TIMEOUT), closed).await;
            }
            None => {
                self.connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                self.close(&mut streams).await;
            }
        }
        Ok(())
    }

    /// Lets the open streams finish; `None` when the deadline came first. The deadline may be drawn nearer meanwhile.
    async fn finish(
        &mut self,
        session: &Session,
        streams: &mut Tasks,
        drain: &mut Drain,
        mut deadline: Instant,
    ) -> Option<Result<(), ReverseError>> {
        loop {
            tokio::select! {
                ended = timeout_at(deadline, self.serve(session, streams)) => return ended.ok(),
                nearer = drain.nearer_than(deadline) => deadline = nearer.deadline,
            }
        }
    }

    async fn serve(&mut self, session: &Session, streams: &mut Tasks) -> Result<(), ReverseError> {
        poll_fn(|cx| self.poll_serve(session, streams, cx)).await
    }

    /// One turn: take what came, start the streams, write what they queued.
    fn poll_serve(
        &mut self,
        session: &Session,
        streams: &mut Tasks,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ReverseError>> {
        let ended = loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let open = self.activity.stream_opened();
                    let serve = stream::serve(session.clone(), request, respond);
                    streams.spawn("stream", async move {
                        serve.await;
                        drop(open);
                    });
                }
                Poll::Ready(Some(Err(error))) => break Some(Err(ReverseError::from_h2(&error))),
                Poll::Ready(None) => break Some(Err(ReverseError::Closed("the remote closed the connection".into()))),
                Poll::Pending => break None,
            }
        };
        // Ends of streams are noted as they come; an empty set is no event.
        let _ = streams.poll_reap(cx);
        if let Err(error) = self.turn.end(cx) {
            return Poll::Ready(Err(ReverseError::from_io(error)));
        }
        ended.map_or(Poll::Pending, Poll::Ready)
    }

    /// Ends the stream tasks and writes out the last bytes, for at most [`CLOSE_TIMEOUT`].
    async fn close(mut self, streams: &mut Tasks) {
        streams.abort().await;
        let _ = timeout(CLOSE_TIMEOUT, self.farewell()).await;
    }

    /// The same without haste, and waits for the remote's own close; see [`LINGER`].
    async fn close_in_good_order(mut self, streams: &mut Tasks) {
        streams.abort().await;
        self.farewell().await;
        while let Ok(Ok(true)) = timeout(LINGER, poll_fn(|cx| self.turn.poll_discard(cx))).await {}
    }

    /// Writes out what is left and closes our half. Errors are of no interest any more: the session is over either way.
    async fn farewell(&mut self) {
        let _ = poll_fn(|cx| {
            let closed = self.connection.poll_closed(cx);
            let _ = self.turn.end(cx);
            closed
        })
        .await;
        let _ = poll_fn(|cx| self.turn.poll_close(cx)).await;
    }
}

/// Sends PINGs (RFC 9113 §6.7); their ACKs are the sign of life of a silent remote (ONVIF Uplink §5.2).
pub struct Pinger {
    ping_pong: PingPong,
    activity: Arc<Activity>,
    /// When the PING went out whose ACK has not come.
    sent: Option<Instant>,
}

impl Pinger {
    /// Sends one PING and resolves at its ACK. Makes progress only while [`Reverse::run`] is polled too.
    ///
    /// Cancel safe: after a cancelled call the next one waits for the same ACK.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn ping(&mut self) -> Result<(), ReverseError> {
        let sent = match self.sent {
            Some(sent) => sent,
            None => {
                self.ping_pong.send_ping(Ping::opaque()).map_err(|error| ReverseError::from_h2(&error))?;
                *self.sent.insert(Instant::now())
            }
        };
        poll_fn(|cx| self.ping_pong.poll_pong(cx)).await.map_err(|error| ReverseError::from_h2(&error))?;
        self.activity.flow().measured(sent.elapsed());
        self.sent = None;
        Ok(())
    }
}
