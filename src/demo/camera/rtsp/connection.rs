//! Moves the bytes of one conversation: requests from the player, responses and pictures to it.
//!
//! The next picture is taken only when the one before has left, so a slow player skips pictures and the camera holds one of
//! them at most. Requests are read all the while; only a player that asks and asks and reads nothing is not heard any more.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    conversation::{Conversation, farewell},
    station::{SESSION_TIMEOUT, Station},
};
use crate::{
    base::{
        drain::Drain,
        rtsp::{Splitter, Unit},
    },
    demo::camera::feed::Viewer,
};

/// What may wait to be sent before no further request is read: one picture and the answers meanwhile.
const OUTPUT_MAX: usize = 128 * 1024;
/// Bytes read at once: requests are small.
const READ_ROOM: usize = 4 * 1024;
/// How long the last bytes to a player may take.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(2);

/// What a connection speaks, with the bytes that were read to know it.
#[derive(Debug)]
pub enum Begin {
    /// RTSP as it is.
    Rtsp(Bytes),
    /// HTTP: one half of a wrapped conversation.
    Http(Bytes),
}

/// Reads as much as tells HTTP from RTSP. Not cancel safe: bytes read are lost.
///
/// # Errors
/// The connection ended, or said nothing for a minute.
pub async fn begin(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Begin> {
    let mut early = BytesMut::with_capacity(READ_ROOM);
    loop {
        let http = [&b"GET "[..], b"POST "];
        if http.iter().any(|word| early.starts_with(word)) {
            return Ok(Begin::Http(early.freeze()));
        }
        if !http.iter().any(|word| word.starts_with(&early)) {
            return Ok(Begin::Rtsp(early.freeze()));
        }
        let read = timeout(SESSION_TIMEOUT, stream.read_buf(&mut early)).await;
        if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// What the player sends: in the connection itself, or in those of its POSTs.
struct Input<R> {
    socket: R,
    posted: Option<mpsc::Receiver<io::Result<Bytes>>>,
}

impl<R: AsyncRead + Unpin> Input<R> {
    /// Appends what came; 0 at the end. Cancel safe.
    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let Some(posted) = &mut self.posted else { return self.socket.read_buf(buffer).await };
        let mut unasked = [0; 512];
        loop {
            tokio::select! {
                came = posted.recv() => {
                    let bytes = came.transpose()?.unwrap_or_default();
                    buffer.extend_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                // Nothing belongs into the GET after its head but its end. live555 (VLC) writes its receiver reports there,
                // as frames that are not encoded: they are passed over.
                read = self.socket.read(&mut unasked) => if read? == 0 {
                    return Ok(0);
                },
            }
        }
    }
}

/// One conversation with what is on its way.
struct Connection<S> {
    input: Input<ReadHalf<S>>,
    writer: WriteHalf<S>,
    /// What was just read; empty between two steps.
    came: BytesMut,
    splitter: Splitter,
    out: BytesMut,
    conversation: Conversation,
    viewer: Option<Viewer>,
    station: Arc<Station>,
    /// When the silent session ends, or the connection without one.
    deadline: Instant,
}

/// Why [`Connection::step`] ends a conversation that did not break.
enum Next {
    On,
    End,
}

/// Holds the conversation on `stream`, of which `early` was read already, until either side ends it. Requests come from
/// `posted` instead if that is given. Aborting it closes the connection.
///
/// # Errors
/// The connection broke, or what came is not RTSP (the player was told).
pub async fn converse<S>(
    stream: S,
    early: Bytes,
    posted: Option<mpsc::Receiver<io::Result<Bytes>>>,
    station: Arc<Station>,
    mut drain: Drain,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (socket, writer) = split(stream);
    let mut connection = Connection {
        input: Input { socket, posted },
        writer,
        came: BytesMut::new(),
        splitter: Splitter::new(),
        out: BytesMut::new(),
        conversation: Conversation::new(Arc::clone(&station)),
        viewer: None,
        station,
        deadline: Instant::now() + SESSION_TIMEOUT,
    };
    let mut ended = connection.take(&early);
    while matches!(ended, Ok(Next::On)) {
        ended = tokio::select! {
            next = connection.step() => next,
            _ = drain.started() => Ok(Next::End),
        };
    }
    connection.conversation.end_session(&mut connection.out);
    connection.say_goodbye().await;
    ended.map(|_| ())
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection<S> {
    /// One thing that happens. Cancel safe.
    async fn step(&mut self) -> io::Result<Next> {
        let idle = self.out.is_empty();
        self.came.reserve(READ_ROOM);
        tokio::select! {
            read = self.input.read(&mut self.came), if self.out.len() < OUTPUT_MAX => {
                if read? == 0 {
                    return Ok(Next::End);
                }
                let came = self.came.split();
                self.take(&came)
            }
            written = self.writer.write_buf(&mut self.out), if !idle => match written? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                _ => Ok(Next::On),
            },
            frame = next_picture(&mut self.viewer), if idle => {
                let Some(frame) = frame else { return Ok(Next::End) };
                self.conversation.put_picture(&mut self.out, &frame, Instant::now()).map_err(io::Error::other)?;
                Ok(Next::On)
            }
            () = sleep_until(self.deadline) => Ok(self.time_out()),
        }
    }

    /// Ends a session in which nothing was asked for too long, and a connection without session. A player learns of the
    /// first from the goodbye of its video, and from 454 if it asks again.
    fn time_out(&mut self) -> Next {
        if !self.conversation.has_session() {
            return Next::End;
        }
        self.conversation.end_session(&mut self.out);
        self.viewer = None;
        self.deadline = Instant::now() + SESSION_TIMEOUT;
        Next::On
    }

    /// Answers what is complete of what came.
    fn take(&mut self, bytes: &[u8]) -> io::Result<Next> {
        self.splitter.push(bytes);
        let now = Instant::now();
        loop {
            let alive = match self.splitter.next_unit() {
                Ok(None) => return Ok(Next::On),
                Ok(Some(Unit::Frame(frame))) => self.conversation.is_report(&frame),
                Ok(Some(Unit::Message(request))) => {
                    let (response, alive) = self.conversation.answer(&request, now);
                    self.out.extend_from_slice(&response.to_bytes());
                    alive
                }
                Err(error) => {
                    let sentence = error.to_string();
                    self.out.extend_from_slice(&farewell(&sentence).to_bytes());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, sentence));
                }
            };
            if alive {
                self.deadline = now + SESSION_TIMEOUT;
            }
            match (self.conversation.is_playing(), &self.viewer) {
                (true, None) => self.viewer = Some(self.station.feed.watch()),
                (false, Some(_)) => self.viewer = None,
                _ => {}
            }
        }
    }

    /// Sends what is left, for a short time: the player may not be there any more.
    async fn say_goodbye(&mut self) {
        let send = async {
            self.writer.write_all_buf(&mut self.out).await?;
            self.writer.shutdown().await
        };
        if !matches!(timeout(GOODBYE_DEADLINE, send).await, Ok(Ok(()))) {
            tracing::trace!("a player did not take the end of its conversation");
        }
    }
}

/// The next picture of the viewer; never without one. Cancel safe.
async fn next_picture(viewer: &mut Option<Viewer>) -> Option<Arc<crate::demo::camera::feed::Frame>> {
    match viewer {
        Some(viewer) => viewer.next().await,
        None => std::future::pending().await,
    }
}
