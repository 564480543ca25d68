//! The frame clock, and how all viewers share what it shows.
//!
//! A picture is drawn and encoded once, 25 times a second, and only while somebody watches. It stands in a slot that holds
//! one picture: a viewer takes what is newest when it is ready for more, so a slow one skips pictures instead of making
//! the camera queue them, and none can slow another.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{
    barcode::Stamp,
    encode,
    optics::Optics,
    picture::{FRAME_RATE, Painter},
};
use crate::base::drain::Drain;

/// Time between two pictures: 40 ms.
pub const FRAME_TIME: Duration = Duration::from_millis(1000 / FRAME_RATE);
/// The separator of the parts of a stream (RFC 2046 §5.1.1).
pub const BOUNDARY: &str = "onvif-uplink-frame";
/// How long a snapshot may wait for its picture: a hundred times what a busy machine takes to draw one.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(5);

/// One encoded picture, in both forms that viewers take. Cheap to share: nothing is copied for a further viewer.
#[derive(Debug)]
pub struct Frame {
    /// Number and time of the picture.
    pub stamp: Stamp,
    /// The JPEG alone.
    pub jpeg: Bytes,
    /// The JPEG as a part of a multipart stream: head, picture, and the separator that ends it. A viewer that got the
    /// separator with the picture need not wait for the next one before it shows this one.
    pub part: Bytes,
}

impl Frame {
    /// Puts an encoded picture into its part.
    pub fn new(stamp: Stamp, jpeg: &[u8]) -> Self {
        let head = format!(
            "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {}\r\nX-Frame: {}\r\n\r\n",
            jpeg.len(),
            timestamp(stamp),
            stamp.frame,
        );
        let tail = separator();
        let mut part = BytesMut::with_capacity(head.len() + jpeg.len() + 2 + tail.len());
        part.put_slice(head.as_bytes());
        part.put_slice(jpeg);
        part.put_slice(b"\r\n");
        part.put_slice(tail.as_bytes());
        let part = part.freeze();
        Self { stamp, jpeg: part.slice(head.len()..head.len() + jpeg.len()), part }
    }
}

/// The line that starts the first part of a stream.
pub fn separator() -> String {
    format!("--{BOUNDARY}\r\n")
}

/// The time of a picture as streaming servers write it in `X-Timestamp`: seconds since 1970 with three decimals.
pub fn timestamp(stamp: Stamp) -> String {
    format!("{}.{:03}", stamp.unix_ms / 1000, stamp.unix_ms % 1000)
}

/// The time of day of this machine in milliseconds since 1970 UTC; 0 for a clock before that.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What the slot holds.
#[derive(Clone, Debug)]
enum Slot {
    /// Nobody watched; the last picture would be stale.
    Dark,
    Shown(Arc<Frame>),
    /// The camera stops; no picture follows.
    Ended,
}

/// The viewers' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    slot: watch::Sender<Slot>,
    wanted: Arc<Notify>,
    optics: Arc<Optics>,
}

/// The camera's end: draws when asked.
#[derive(Debug)]
pub struct Clockwork {
    feed: Feed,
    painter: Painter,
}

/// One who watches. The camera draws as long as there is one.
#[derive(Debug)]
pub struct Viewer {
    slot: watch::Receiver<Slot>,
}

/// A connected pair. `name` is shown in the picture.
pub fn feed(name: &str) -> (Feed, Clockwork) {
    let feed = Feed { slot: watch::Sender::new(Slot::Dark), wanted: Arc::default(), optics: Arc::default() };
    (feed.clone(), Clockwork { feed, painter: Painter::new(name) })
}

impl Feed {
    /// What the pictures are taken with.
    pub fn optics(&self) -> &Arc<Optics> {
        &self.optics
    }

    /// Begins to watch; the first picture is the next one drawn.
    pub fn watch(&self) -> Viewer {
        let slot = self.slot.subscribe();
        // The permit is kept if the clockwork is not waiting yet, so this call is never missed.
        self.wanted.notify_one();
        Viewer { slot }
    }

    /// One current picture, at most two frames old. `None` when the camera stops or draws nothing for 5 s. Cancel safe.
    pub async fn snapshot(&self) -> Option<Arc<Frame>> {
        let mut viewer = self.watch();
        if let Slot::Shown(frame) = &*viewer.slot.borrow() {
            return Some(Arc::clone(frame));
        }
        timeout(SNAPSHOT_DEADLINE, viewer.next()).await.ok().flatten()
    }
}

impl Viewer {
    /// The newest picture that this viewer has not had, as soon as there is one; `None` when the camera stops. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Frame>> {
        loop {
            if matches!(*self.slot.borrow(), Slot::Ended) {
                return None;
            }
            self.slot.changed().await.ok()?;
            if let Slot::Shown(frame) = &*self.slot.borrow_and_update() {
                return Some(Arc::clone(frame));
            }
        }
    }
}

impl Clockwork {
    /// Draws until the drain starts. Aborting it is safe; the viewers then simply get no more pictures.
    pub async fn run(self, mut drain: Drain) {
        let Self { feed, mut painter } = self;
        let started = Instant::now();
        let mut ticks = interval_at(started, FRAME_TIME);
        // After a pause or on a slow machine pictures are left out, never made up for in a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            if feed.slot.receiver_count() == 0 {
                feed.slot.send_replace(Slot::Dark);
                tokio::select! {
                    () = feed.wanted.notified() => continue,
                    _ = drain.started() => break,
                }
            }
            tokio::select! {
                _ = ticks.tick() => {}
                _ = drain.started() => break,
            }
            let frame = started.elapsed().as_millis() as u64 / FRAME_TIME.as_millis() as u64;
            let (stamp, view) = (Stamp { frame, unix_ms: unix_ms() }, feed.optics.view());
            // Some milliseconds of computing: not on the thread that carries other people's bytes.
            let drawn = spawn_blocking(move || {
                painter.look(view);
                let jpeg = encode::jpeg(painter.draw(stamp), stamp);
                (painter, jpeg)
            });
            match drawn.await {
                Ok((returned, Ok(jpeg))) => {
                    painter = returned;
                    feed.slot.send_replace(Slot::Shown(Arc::new(Frame::new(stamp, &jpeg))));
                }
                Ok((_, Err(error))) => {
                    tracing::error!(%error, "the test picture cannot be encoded; the camera shows nothing from now on");
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "drawing the test picture failed; the camera shows nothing from now on");
                    break;
                }
            }
        }
        feed.slot.send_replace(Slot::Ended);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::base::{drain::drain, tasks::Tasks};

    #[tokio::test(start_paused = true)]
    async fn a_viewer_gets_25_pictures_a_second() {
        let (feed, clockwork) = feed("camera-1");
        let (_switch, drain) = drain();
        let mut tasks = Tasks::new();
        tasks.spawn("clockwork", clockwork.run(drain));
        let mut viewer = feed.watch();
        let first = viewer.next().await.unwrap();
        let began = Instant::now();
        for count in 1..=25 {
            assert_eq!(viewer.next().await.unwrap().stamp.frame, first.stamp.frame + count);
        }
        let took = began.elapsed();
        assert!(took.abs_diff(Duration::from_secs(1)) <= Duration::from_millis(2), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn two_viewers_share_one_picture() {
        let (feed, clockwork) = feed("camera-1");
        let (_switch, drain) = drain();
        let mut tasks = Tasks::new();
        tasks.spawn("clockwork", clockwork.run(drain));
        let (mut one, mut two) = (feed.watch(), feed.watch());
        let (one, two) = (one.next().await.unwrap(), two.next().await.unwrap());
        assert!(Arc::ptr_eq(&one, &two));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_drawn_while_nobody_watches_and_the_count_goes_on() {
        let (feed, clockwork) = feed("camera-1");
        let (_switch, drain) = drain();
        let mut tasks = Tasks::new();
        tasks.spawn("clockwork", clockwork.run(drain));
        let before = feed.watch().next().await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(matches!(*feed.slot.borrow(), Slot::Dark));
        let after = feed.watch().next().await.unwrap();
        let passed = after.stamp.frame - before.stamp.frame;
        assert!((249..=252).contains(&passed), "{passed} frames");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_viewer_skips_pictures_and_holds_none_of_them() {
        let (feed, clockwork) = feed("camera-1");
        let (_switch, drain) = drain();
        let mut tasks = Tasks::new();
        tasks.spawn("clockwork", clockwork.run(drain));
        let (mut slow, mut fast) = (feed.watch(), feed.watch());
        let first = slow.next().await.unwrap().stamp.frame;
        let mut seen: Vec<Weak<Frame>> = Vec::new();
        for _ in 0..20 {
            seen.push(Arc::downgrade(&fast.next().await.unwrap()));
        }
        assert_eq!(seen.iter().filter(|frame| frame.strong_count() > 0).count(), 1);
        assert!(slow.next().await.unwrap().stamp.frame >= first + 19);
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_wakes_the_camera_and_is_current() {
        let (feed, clockwork) = feed("camera-1");
        let (_switch, drain) = drain();
        let mut tasks = Tasks::new();
        tasks.spawn("clockwork", clockwork.run(drain));
        tokio::time::sleep(Duration::from_secs(4)).await;
        let frame = feed.snapshot().await.unwrap();
        assert!((100..=101).contains(&frame.stamp.frame), "{}", frame.stamp.frame);
        assert_eq!(encode::read_stamp(&frame.jpeg), Some(frame.stamp));
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_of_a_camera_that_draws_nothing_is_given_up_after_five_seconds() {
        let (feed, _clockwork) = feed("camera-1");
        let began = Instant::now();
        assert!(feed.snapshot().await.is_none());
        assert!(began.elapsed().abs_diff(SNAPSHOT_DEADLINE) <= Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_ends_every_viewer() {
        let (feed, clockwork) = feed("camera-1");
        let (switch, drain) = drain();
        let mut tasks = Tasks::new();
        tasks.spawn("clockwork", clockwork.run(drain));
        let mut viewer = feed.watch();
        assert!(viewer.next().await.is_some());
        switch.start(Duration::from_secs(1));
        tasks.finished().await;
        assert!(viewer.next().await.is_none());
        assert!(viewer.next().await.is_none());
        assert!(feed.watch().next().await.is_none());
        assert!(feed.snapshot().await.is_none());
    }
}
