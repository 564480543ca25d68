//! One turn of an HTTP/2 connection: the library has been polled, now what it queued is written out, and when all of it
//! went, the streams may queue their next share.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use super::share::Share;
use crate::base::io::TurnHandle;

/// Ends the turns of one connection.
pub struct Turn {
    handle: TurnHandle,
    share: Arc<Share>,
    /// The link has not taken everything since the last refill.
    blocked: bool,
}

impl Turn {
    /// Takes the driver's half of the stream and the bound that the connection's pumps share.
    pub fn new(handle: TurnHandle, share: Arc<Share>) -> Self {
        Self { handle, share, blocked: false }
    }

    /// To be called after each poll of the connection. Registers for the peer's next readiness when it takes no more.
    ///
    /// # Errors
    /// Those of the connection below.
    pub fn end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.handle.poll_turn(cx) {
            Poll::Ready(Ok(())) => {
                self.share.refill(self.handle.bytes_sent(), std::mem::take(&mut self.blocked));
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => {
                self.blocked = true;
                Ok(())
            }
        }
    }

    /// Writes out everything and closes; see [`TurnHandle::poll_close`].
    ///
    /// # Errors
    /// Those of the connection below.
    pub fn poll_close(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.poll_close(cx)
    }

    /// Throws away what the peer still sends; see [`TurnHandle::poll_discard`].
    ///
    /// # Errors
    /// Those of the connection below.
    pub fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.handle.poll_discard(cx)
    }
}
