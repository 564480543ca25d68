//! The conversations of RTSP over HTTP: two requests with one cookie, in either order (ONVIF Uplink, RTSP over HTTP).
//!
//! A GET makes the conversation, POSTs join it. Its end is the end of both: the device ends its answer, the remote gives
//! one of the two up, or what it says is no RTSP. A POST that ends in good order leaves room for the next one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::task::AtomicWaker;
use http::StatusCode;
use tokio::{
    net::tcp::OwnedWriteHalf,
    sync::{Notify, Semaphore, watch},
    time::{Instant, timeout_at},
};

use super::{control::TunnelledControl, limits::WAITING_MAX, mediated::ToDevice, request::SessionCookie};
use crate::forward::{pool::Permit, target::Refusal};

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order, or given up by the remote.
    Whole,
    /// What the remote said cannot be carried.
    Violated,
    /// The device's connection broke.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The device has not been asked yet: POSTs wait.
    Opening,
    Open,
    Ended(End),
}

/// Where the POSTs of a conversation go. Held by one of them at a time.
pub enum Sink {
    /// Nowhere yet.
    Closed,
    /// To the device's web service, on a connection of its own each.
    Device,
    /// To the device's RTSP port, on the connection that the GET made.
    Bridge(Box<(OwnedWriteHalf, TunnelledControl)>),
    /// To a mediator, and from there on one connection to the device for all of them.
    Mediated(Box<MediatedSink>),
}

/// What the POSTs of a mediated conversation share.
pub struct MediatedSink {
    /// The direction to the device; not attached while the device's web service has not been asked to take it.
    pub to_device: ToDevice<OwnedWriteHalf>,
    /// Decodes and checks what comes.
    pub control: TunnelledControl,
    /// Rights that the connection to the device needs.
    pub permits: Vec<Permit>,
}

impl MediatedSink {
    /// A sink that nothing has gone to.
    pub fn of(to_device: ToDevice<OwnedWriteHalf>) -> Sink {
        Sink::Mediated(Box::new(Self { to_device, control: TunnelledControl::default(), permits: Vec::new() }))
    }
}

/// One conversation.
pub struct Pair {
    state: watch::Sender<State>,
    /// Whoever polls the answer of the GET.
    pub viewer: AtomicWaker,
    posts: AtomicUsize,
    /// What the open POST uses; the next one waits for it.
    pub sink: tokio::sync::Mutex<Sink>,
}

impl Pair {
    fn new() -> Arc<Self> {
        let (viewer, sink) = (AtomicWaker::new(), tokio::sync::Mutex::new(Sink::Closed));
        Arc::new(Self { state: watch::Sender::new(State::Opening), viewer, posts: AtomicUsize::new(0), sink })
    }

    /// The device has been asked: POSTs may go.
    pub fn open(&self) {
        self.state.send_if_modified(|state| {
            let opening = *state == State::Opening;
            if opening {
                *state = State::Open;
            }
            opening
        });
    }

    /// Ends the conversation; the first end counts.
    pub fn end(&self, end: End) {
        let first = self.state.send_if_modified(|state| {
            let first = !matches!(state, State::Ended(_));
            if first {
                *state = State::Ended(end);
            }
            first
        });
        if first {
            self.viewer.wake();
        }
    }

    /// How it has ended, if it has.
    pub fn ended(&self) -> Option<End> {
        match *self.state.borrow() {
            State::Ended(end) => Some(end),
            State::Opening | State::Open => None,
        }
    }

    /// Waits for the end.
    pub async fn end_of(&self) {
        // The sender is part of `self`, so there is no other error than that.
        let _ = self.state.subscribe().wait_for(|state| matches!(state, State::Ended(_))).await;
    }

    /// Whether a POST is open.
    pub fn has_post(&self) -> bool {
        self.posts.load(Relaxed) > 0
    }

    /// Notes an open POST until the result is dropped. Unless it was told that the POST ended in good order, that ends the
    /// conversation: the remote gave it up.
    pub fn post(self: &Arc<Self>) -> OpenPost {
        self.posts.fetch_add(1, Relaxed);
        OpenPost { pair: Arc::clone(self), end: Some(End::Whole) }
    }
}

/// A POST that has joined its conversation.
pub struct OpenPost {
    pair: Arc<Pair>,
    end: Option<End>,
}

impl OpenPost {
    /// What its end means for the conversation; `None` leaves it.
    pub fn ends_with(&mut self, end: Option<End>) {
        self.end = end;
    }
}

impl Drop for OpenPost {
    fn drop(&mut self) {
        self.pair.posts.fetch_sub(1, Relaxed);
        if let Some(end) = self.end {
            self.pair.end(end);
        }
    }
}

/// The conversations of one uplink. How many there can be is bounded by the rights to endless connections, which each needs.
pub struct Pairs {
    open: Mutex<HashMap<SessionCookie, Arc<Pair>>>,
    changed: Notify,
    waiting: Semaphore,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { open: Mutex::default(), changed: Notify::new(), waiting: Semaphore::new(WAITING_MAX) }
    }
}

impl Pairs {
    /// Makes the conversation of a GET; it ends when the result is dropped.
    ///
    /// # Errors
    /// 409: there is one with this cookie. It does not notice.
    pub fn claim(self: &Arc<Self>, cookie: SessionCookie) -> Result<Claim, Refusal> {
        let mut open = self.lock();
        if open.get(&cookie).is_some_and(|pair| pair.ended().is_none()) {
            let sentence = "a GET with this x-sessioncookie is open already; each conversation needs its own cookie";
            return Err(Refusal { status: StatusCode::CONFLICT, sentence });
        }
        let pair = Pair::new();
        open.insert(cookie.clone(), Arc::clone(&pair));
        Ok(Claim { pairs: Arc::clone(self), cookie, pair })
    }

    /// The conversation of a POST. Waits for its GET, and until the GET has asked the device, for at most `patience`.
    ///
    /// # Errors
    /// 408 after `patience`; 503 when too many wait already.
    pub async fn join(&self, cookie: &SessionCookie, patience: Duration) -> Result<Arc<Pair>, Refusal> {
        let deadline = Instant::now() + patience;
        let mut right = None;
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(pair) = self.open_pair(cookie) {
                return Ok(pair);
            }
            if right.is_none() {
                right = Some(self.waiting.try_acquire().map_err(|_| Refusal {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    sentence: "too many POSTs of RTSP over HTTP wait for their GET",
                })?);
            }
            timeout_at(deadline, changed).await.map_err(|_| Refusal {
                status: StatusCode::REQUEST_TIMEOUT,
                sentence: "no GET with the x-sessioncookie of this POST came; RTSP over HTTP needs both",
            })?;
        }
    }

    fn open_pair(&self, cookie: &SessionCookie) -> Option<Arc<Pair>> {
        self.lock().get(cookie).filter(|pair| *pair.state.borrow() == State::Open).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionCookie, Arc<Pair>>> {
        // Nothing panics while it is held.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A conversation in the hands of its GET.
pub struct Claim {
    pairs: Arc<Pairs>,
    cookie: SessionCookie,
    /// The conversation.
    pub pair: Arc<Pair>,
}

impl Claim {
    /// The device has been asked, and POSTs go to `sink`.
    pub async fn open(&self, sink: Sink) {
        *self.pair.sink.lock().await = sink;
        self.pair.open();
        self.pairs.changed.notify_waiters();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.pair.end(End::Whole);
        let mut open = self.pairs.lock();
        if open.get(&self.cookie).is_some_and(|pair| Arc::ptr_eq(pair, &self.pair)) {
            open.remove(&self.cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn cookie(text: &'static str) -> SessionCookie {
        SessionCookie(HeaderValue::from_static(text))
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_joins_its_get_whichever_comes_first() {
        let pairs = Arc::new(Pairs::default());
        let wanted = cookie("a");
        let (early, claim) = tokio::join!(pairs.join(&wanted, PATIENCE), async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            let claim = pairs.claim(cookie("a")).expect("free");
            claim.open(Sink::Device).await;
            claim
        });
        assert!(Arc::ptr_eq(&early.expect("joined"), &claim.pair));
        assert!(Arc::ptr_eq(&pairs.join(&cookie("a"), PATIENCE).await.expect("joined"), &claim.pair));
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_without_its_get_is_told_so_after_its_patience() {
        let pairs = Arc::new(Pairs::default());
        let other = pairs.claim(cookie("b")).expect("free");
        other.open(Sink::Device).await;
        let start = Instant::now();
        assert_eq!(pairs.join(&cookie("a"), PATIENCE).await.err().map(|refusal| refusal.status.as_u16()), Some(408));
        assert_eq!(start.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_posts_wait_and_the_others_are_told_at_once() {
        let pairs = Arc::new(Pairs::default());
        let cookie = cookie("a");
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(pairs.join(&cookie, PATIENCE))).collect();
        for join in &mut waiting {
            assert!(futures_util::poll!(join).is_pending());
        }
        assert_eq!(pairs.join(&cookie, PATIENCE).await.err().map(|refusal| refusal.status.as_u16()), Some(503));
        waiting.pop();
        assert!(futures_util::poll!(Box::pin(pairs.join(&cookie, PATIENCE))).is_pending());
    }

    #[test]
    fn a_second_get_with_one_cookie_is_refused_until_the_first_has_ended() {
        let pairs = Arc::new(Pairs::default());
        let first = pairs.claim(cookie("a")).expect("free");
        assert_eq!(pairs.claim(cookie("a")).err().map(|refusal| refusal.status.as_u16()), Some(409));
        assert_eq!(first.pair.ended(), None);
        first.pair.end(End::Broken);
        let second = pairs.claim(cookie("a")).expect("the first has ended");
        drop(first);
        assert_eq!(pairs.claim(cookie("a")).err().map(|refusal| refusal.status.as_u16()), Some(409));
        drop(second);
        assert!(pairs.lock().is_empty());
    }

    #[test]
    fn a_post_that_is_given_up_ends_the_conversation_and_one_that_ended_well_does_not() {
        let pair = Pair::new();
        let mut post = pair.post();
        assert!(pair.has_post());
        post.ends_with(None);
        drop(post);
        assert_eq!((pair.ended(), pair.has_post()), (None, false));
        drop(pair.post());
        assert_eq!(pair.ended(), Some(End::Whole));
        pair.end(End::Violated);
        assert_eq!(pair.ended(), Some(End::Whole), "the first end counts");
    }
}
