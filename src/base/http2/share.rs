//! How much DATA of each stream may wait unsent in one session.
//!
//! What a small answer waits for is what all other streams have queued before it. A fixed small bound per stream keeps
//! that short but slows one stream alone by a third; so a session has one bound for all, divided by the streams that send.
//! A stream that has used its part waits for the next turn that wrote everything out. Measured with 8 bulk streams and a
//! 1 KiB request beside them: the bound is what the p50 of that request is made of.
//!
//! On a slow link the same bytes take longer: 256 KiB are a fifth of a second at 10 Mbit/s. So once the link is what holds
//! a session up, its bound is what the link carries in [`TURN_TIME`], and frames are as small as the parts are. It doubles with
//! every turn that used it and was taken at once.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

/// DATA payload of one frame: with its 9-byte head (RFC 9113 §4.1) it fills one TLS record of 16 384 bytes (RFC 8446 §5.1).
pub const FRAME_PAYLOAD: usize = 16_384 - 9;
/// All streams of a session together have about this much unsent, while the link takes it.
const SESSION_MAX: usize = 16 * FRAME_PAYLOAD;
/// And never less than this: at 1 Mbit/s it is a thirtieth of a second.
const SESSION_MIN: usize = 4096;
/// What a slow link carries in this time may be unsent; a person notices nothing below a tenth of a second in all.
const TURN_TIME: Duration = Duration::from_millis(20);
/// On a link that is not slow one stream has never less than this, or it would wait after each frame.
const STREAM_FRAMES_MIN: usize = 2;
/// On a slow one never less than this: smaller frames would be heads and records for the most part.
const STREAM_MIN: usize = 1024;
/// One stream has never more than this: what a batch of TLS records takes.
pub const STREAM_FRAMES_MAX: usize = 8;

/// The bound that the streams of one session share.
#[derive(Debug)]
pub struct Share {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    turn: u64,
    /// What all streams may queue in a turn.
    bound: usize,
    /// Streams that drew in this turn, and in the turn before: the estimate of how many are sending.
    drawing: usize,
    sending: usize,
    waiting: Vec<Waker>,
    /// Bytes that the session had sent at the last refill.
    sent: u64,
    /// When the link had taken everything after it had held the session up, and what had been sent by then.
    mark: Option<(Instant, u64)>,
}

/// What one stream may still send in this turn.
#[derive(Debug, Default)]
pub struct Allowance {
    turn: Option<u64>,
    left: usize,
    /// Its place among those who wait for the next turn, and for which.
    waits: Option<(u64, usize)>,
}

impl Default for Share {
    fn default() -> Self {
        let (turn, bound, sent) = (0, SESSION_MAX, 0);
        let state = State { turn, bound, drawing: 0, sending: 0, waiting: Vec::new(), sent, mark: None };
        Self { state: Mutex::new(state) }
    }
}

impl Share {
    /// Bytes that the stream may send now; waits for the next refill when it has none left.
    pub fn poll_allowance(&self, allowance: &mut Allowance, cx: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.lock();
        let turn = state.turn;
        if allowance.turn != Some(turn) {
            state.drawing += 1;
            // The begin of an answer is not held back: a short one goes out whole.
            let at_least = if allowance.turn.is_none() { FRAME_PAYLOAD } else { 0 };
            allowance.left = state.part().max(at_least);
            allowance.turn = Some(turn);
        }
        if allowance.left > 0 {
            return Poll::Ready(allowance.left);
        }
        match allowance.waits.filter(|(of, _)| *of == turn) {
            Some((_, place)) => state.waiting[place].clone_from(cx.waker()),
            None => {
                allowance.waits = Some((turn, state.waiting.len()));
                state.waiting.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }

    /// Begins the next turn. To be called when everything that was queued has been written out; `sent` is what the session has
    /// sent by now, `blocked` whether the link did not take it at once.
    pub fn refill(&self, sent: u64, blocked: bool) {
        let mut state = self.lock();
        if blocked {
            state.measure(sent);
        } else {
            state.grow(sent);
        }
        state.sent = sent;
        if state.drawing == 0 && state.waiting.is_empty() {
            // Nobody sends: time that passes says nothing of the link.
            (state.sending, state.mark) = (0, None);
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

impl State {
    /// What one of the streams that send has of the bound.
    fn part(&self) -> usize {
        let part = self.bound / self.sending.max(self.drawing);
        if self.bound >= SESSION_MAX {
            (part / FRAME_PAYLOAD).clamp(STREAM_FRAMES_MIN, STREAM_FRAMES_MAX) * FRAME_PAYLOAD
        } else {
            part.clamp(STREAM_MIN, STREAM_FRAMES_MAX * FRAME_PAYLOAD)
        }
    }

    /// The link held the session up: it carries what went since it last did so.
    fn measure(&mut self, sent: u64) {
        let now = Instant::now();
        if let Some((since, before)) = self.mark.replace((now, sent)) {
            let micros = now.duration_since(since).as_micros().max(1);
            let bytes = u128::from(sent - before) * TURN_TIME.as_micros() / micros;
            self.bound = usize::try_from(bytes).unwrap_or(SESSION_MAX).clamp(SESSION_MIN, SESSION_MAX);
        }
    }

    /// The link took everything at once; if that was about as much as it might be, more may be tried.
    fn grow(&mut self, sent: u64) {
        if self.bound < SESSION_MAX && (sent - self.sent) as usize >= self.bound / 2 {
            self.bound = (self.bound * 2).min(SESSION_MAX);
        }
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
        share.refill(0, false);
        assert!(streams.iter_mut().all(|stream| draw(&share, stream) == Some(STREAM_FRAMES_MIN)));
    }

    #[test]
    fn a_stream_that_used_its_part_waits_for_the_next_turn() {
        let share = Share::default();
        let mut stream = Allowance::default();
        let bytes = draw(&share, &mut stream).expect("first") * FRAME_PAYLOAD;
        stream.used(bytes);
        assert_eq!(draw(&share, &mut stream), None);
        share.refill(0, false);
        assert!(draw(&share, &mut stream).is_some());
    }

    /// A session over a link of so many bytes in a second, on which `streams` always have something to send.
    async fn saturated(share: &Share, streams: &mut [Allowance], rate: u64, sent: &mut u64, turns: u32) {
        for _ in 0..turns {
            let before = *sent;
            for stream in streams.iter_mut() {
                let bytes = match share.poll_allowance(stream, &mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(bytes) => bytes,
                    Poll::Pending => panic!("each turn gives something"),
                };
                stream.used(bytes);
                *sent += bytes as u64;
            }
            tokio::time::advance(Duration::from_micros((*sent - before) * 1_000_000 / rate)).await;
            share.refill(*sent, true);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_slow_link_a_turn_is_short_whatever_the_number_of_streams() {
        let rate = 10_000_000 / 8;
        for streams in [1, 4, 16] {
            let share = Share::default();
            let mut streams: Vec<_> = (0..streams).map(|_| Allowance::default()).collect();
            let mut sent = 0;
            saturated(&share, &mut streams, rate, &mut sent, 4).await;
            let start = Instant::now();
            saturated(&share, &mut streams, rate, &mut sent, 1).await;
            assert!(start.elapsed() <= TURN_TIME * 11 / 10, "{} streams: {:?}", streams.len(), start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_bound_of_a_link_that_is_slow_no_more_comes_back_within_a_few_turns() {
        let share = Share::default();
        let mut stream = [Allowance::default()];
        let mut sent = 0;
        saturated(&share, &mut stream, 1_000_000, &mut sent, 4).await;
        for _ in 0..6 {
            let bytes = share.poll_allowance(&mut stream[0], &mut Context::from_waker(Waker::noop()));
            let Poll::Ready(bytes) = bytes else { panic!("each turn gives something") };
            stream[0].used(bytes);
            sent += bytes as u64;
            share.refill(sent, false);
        }
        assert_eq!(draw(&share, &mut stream[0]), Some(STREAM_FRAMES_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn the_begin_of_an_answer_is_not_held_back_on_a_slow_link() {
        let share = Share::default();
        let mut streams: Vec<_> = (0..16).map(|_| Allowance::default()).collect();
        saturated(&share, &mut streams, 125_000, &mut 0, 4).await;
        assert_eq!(draw(&share, &mut streams[0]), Some(0), "less than a frame");
        assert_eq!(draw(&share, &mut Allowance::default()), Some(1));
    }

    #[test]
    fn who_waits_is_woken_once_by_the_waker_that_it_had_last() {
        struct Count(std::sync::atomic::AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let share = Share::default();
        let mut stream = Allowance::default();
        let bytes = draw(&share, &mut stream).expect("first") * FRAME_PAYLOAD;
        stream.used(bytes);
        let count = std::sync::Arc::new(Count(0.into()));
        let waker = Waker::from(std::sync::Arc::clone(&count));
        for waker in [Waker::noop(), &waker, &waker] {
            assert!(share.poll_allowance(&mut stream, &mut Context::from_waker(waker)).is_pending());
        }
        share.refill(0, false);
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
