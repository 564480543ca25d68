//! How much DATA of each stream may wait unsent in one session.
//!
//! What a small answer waits for is what all other streams have queued before it. A fixed small bound per stream keeps
//! that short but slows one stream alone by a third; so a session has one bound for all, divided by the streams that send.
//! A stream that has used its part waits for the next turn that wrote everything out. Measured with 8 bulk streams and a
//! 1 KiB request beside them: the bound is what the p50 of that request is made of.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// DATA payload of one frame: with its 9-byte head (RFC 9113 §4.1) it fills one TLS record of 16 384 bytes (RFC 8446 §5.1).
pub const FRAME_PAYLOAD: usize = 16_384 - 9;
/// All streams of a session together have about this much unsent.
const SESSION_FRAMES: usize = 16;
/// One stream has never less than this, or it would wait after each frame.
const STREAM_FRAMES_MIN: usize = 2;
/// One stream has never more than this: what a batch of TLS records takes.
pub const STREAM_FRAMES_MAX: usize = 8;

/// The bound that the streams of one session share.
#[derive(Debug, Default)]
pub struct Share {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    turn: u64,
    /// Streams that drew in this turn, and in the turn before: the estimate of how many are sending.
    drawing: usize,
    sending: usize,
    waiting: Vec<Waker>,
}

/// What one stream may still send in this turn.
#[derive(Debug, Default)]
pub struct Allowance {
    turn: Option<u64>,
    left: usize,
}

impl Share {
    /// Bytes that the stream may send now; waits for the next refill when it has none left.
    pub fn poll_allowance(&self, allowance: &mut Allowance, cx: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.lock();
        if allowance.turn != Some(state.turn) {
            allowance.turn = Some(state.turn);
            state.drawing += 1;
            let streams = state.sending.max(state.drawing);
            allowance.left = (SESSION_FRAMES / streams).clamp(STREAM_FRAMES_MIN, STREAM_FRAMES_MAX) * FRAME_PAYLOAD;
        }
        if allowance.left > 0 {
            return Poll::Ready(allowance.left);
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Begins the next turn. To be called when everything that was queued has been written out.
    pub fn refill(&self) {
        let mut state = self.lock();
        if state.drawing == 0 && state.waiting.is_empty() {
            state.sending = 0;
            return;
        }
        state.turn += 1;
        state.sending = state.drawing;
        state.drawing = 0;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Held for a few instructions that cannot panic; a session whose task panicked is gone anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allowance {
    /// Notes `bytes` handed to the library.
    pub fn used(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(share: &Share, allowance: &mut Allowance) -> Option<usize> {
        match share.poll_allowance(allowance, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(bytes) => Some(bytes / FRAME_PAYLOAD),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_stream_alone_may_fill_a_batch() {
        let share = Share::default();
        assert_eq!(draw(&share, &mut Allowance::default()), Some(STREAM_FRAMES_MAX));
    }

    #[test]
    fn many_streams_have_two_frames_each() {
        let share = Share::default();
        let mut streams: Vec<_> = (0..20).map(|_| Allowance::default()).collect();
        streams.iter_mut().for_each(|stream| assert!(draw(&share, stream).is_some()));
        share.refill();
        assert!(streams.iter_mut().all(|stream| draw(&share, stream) == Some(STREAM_FRAMES_MIN)));
    }

    #[test]
    fn a_stream_that_used_its_part_waits_for_the_next_turn() {
        let share = Share::default();
        let mut stream = Allowance::default();
        let bytes = draw(&share, &mut stream).expect("first") * FRAME_PAYLOAD;
        stream.used(bytes);
        assert_eq!(draw(&share, &mut stream), None);
        share.refill();
        assert!(draw(&share, &mut stream).is_some());
    }
}
