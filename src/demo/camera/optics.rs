//! Where the camera looks and how its image is set: what PTZ and imaging move, and what the picture shows.
//!
//! An [`Axis`] is a movement with a beginning; where it stands is computed from the time that has passed, so nothing has to
//! tick. Positions are those of ONVIF's generic spaces: pan and tilt from -1 to 1, zoom from 0 to 1 (PTZ Service Specification,
//! Spatial reference spaces).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Units in a second at full speed: from one end of pan to the other in four seconds.
pub const FULL_SPEED: f64 = 0.5;
/// Bounds of pan and of tilt.
pub const TURN: (f64, f64) = (-1.0, 1.0);
/// Bounds of zoom.
pub const ZOOM: (f64, f64) = (0.0, 1.0);
/// Bounds of each image setting.
pub const SETTING: (f64, f64) = (0.0, 100.0);

/// Where a camera looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position {
    /// To the right, -1 to 1.
    pub pan: f64,
    /// Up, -1 to 1.
    pub tilt: f64,
    /// 0 is wide, 1 is near.
    pub zoom: f64,
}

/// How the image is set, each from 0 to 100; 50 changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Image {
    /// Added to the brightness of each pixel.
    pub brightness: f64,
    /// How much of the colour is left.
    pub saturation: f64,
    /// How far bright and dark are apart.
    pub contrast: f64,
}

impl Default for Image {
    fn default() -> Self {
        Self { brightness: 50.0, saturation: 50.0, contrast: 50.0 }
    }
}

/// Position and image settings at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// Where it looks.
    pub position: Position,
    /// How the image is set.
    pub image: Image,
}

/// One axis on its way from a place to another; at rest when both are the same.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: f64,
    to: f64,
    /// Units in a second, never negative.
    speed: f64,
    since: Instant,
    /// It stops here although it has not arrived.
    until: Option<Instant>,
}

impl Axis {
    fn resting(now: Instant) -> Self {
        Self { from: 0.0, to: 0.0, speed: 0.0, since: now, until: None }
    }

    fn at(&self, now: Instant) -> f64 {
        let end = self.until.map_or(now, |until| until.min(now));
        let way = self.speed * end.saturating_duration_since(self.since).as_secs_f64();
        if self.from < self.to { (self.from + way).min(self.to) } else { (self.from - way).max(self.to) }
    }

    fn is_moving(&self, now: Instant) -> bool {
        self.at(now) != self.to && self.speed > 0.0 && self.until.is_none_or(|until| now < until)
    }

    fn go(&mut self, to: f64, speed: f64, until: Option<Instant>, now: Instant) {
        *self = Self { from: self.at(now), to, speed, since: now, until };
    }

    /// Moves at a share of full speed, -1 to 1, until a bound or the time is reached.
    fn run(&mut self, share: f64, (low, high): (f64, f64), until: Instant, now: Instant) {
        let to = if share < 0.0 { low } else { high };
        self.go(to, share.abs() * FULL_SPEED, Some(until), now);
    }

    fn stop(&mut self, now: Instant) {
        self.go(self.at(now), 0.0, None, now);
    }
}

/// Values for pan and tilt, for zoom, or for both; what is not given stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vector {
    /// Pan and tilt.
    pub turn: Option<(f64, f64)>,
    /// Zoom.
    pub zoom: Option<f64>,
}

/// The position, and whether pan or tilt and zoom are moving.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State {
    /// Where it looks.
    pub position: Position,
    /// Pan or tilt is moving.
    pub turning: bool,
    /// Zoom is moving.
    pub zooming: bool,
}

/// The pan-tilt head, the lens and the sensor. Shared by what moves it and what draws.
#[derive(Debug)]
pub struct Optics(Mutex<Parts>);

#[derive(Debug)]
struct Parts {
    pan: Axis,
    tilt: Axis,
    zoom: Axis,
    image: Image,
}

impl Default for Optics {
    fn default() -> Self {
        let axis = Axis::resting(Instant::now());
        Self(Mutex::new(Parts { pan: axis, tilt: axis, zoom: axis, image: Image::default() }))
    }
}

impl Optics {
    /// What the camera sees now.
    pub fn view(&self) -> View {
        View { position: self.state().position, image: self.image() }
    }

    /// Position and movement now.
    pub fn state(&self) -> State {
        let (parts, now) = (self.parts(), Instant::now());
        State {
            position: Position { pan: parts.pan.at(now), tilt: parts.tilt.at(now), zoom: parts.zoom.at(now) },
            turning: parts.pan.is_moving(now) || parts.tilt.is_moving(now),
            zooming: parts.zoom.is_moving(now),
        }
    }

    /// The image settings.
    pub fn image(&self) -> Image {
        self.parts().image
    }

    /// Changes the image settings; each stays within its bounds.
    pub fn set_image(&self, image: Image) {
        let bounded = |value: f64| value.clamp(SETTING.0, SETTING.1);
        self.parts().image = Image {
            brightness: bounded(image.brightness),
            saturation: bounded(image.saturation),
            contrast: bounded(image.contrast),
        };
    }

    /// Moves at a share of full speed, -1 to 1 each, for at most `time`; bounds stop it earlier.
    pub fn run(&self, velocity: Vector, time: Duration) {
        let (mut parts, now) = (self.parts(), Instant::now());
        let until = now + time;
        if let Some((pan, tilt)) = velocity.turn {
            parts.pan.run(pan, TURN, until, now);
            parts.tilt.run(tilt, TURN, until, now);
        }
        if let Some(zoom) = velocity.zoom {
            parts.zoom.run(zoom, ZOOM, until, now);
        }
    }

    /// Goes to a position, which is brought within the bounds, at a share of full speed, 0 to 1.
    pub fn go(&self, to: Vector, speed: Vector) {
        let (mut parts, now) = (self.parts(), Instant::now());
        let (pan_speed, tilt_speed) = speed.turn.unwrap_or((1.0, 1.0));
        if let Some((pan, tilt)) = to.turn {
            parts.pan.go(pan.clamp(TURN.0, TURN.1), pan_speed * FULL_SPEED, None, now);
            parts.tilt.go(tilt.clamp(TURN.0, TURN.1), tilt_speed * FULL_SPEED, None, now);
        }
        if let Some(zoom) = to.zoom {
            parts.zoom.go(zoom.clamp(ZOOM.0, ZOOM.1), speed.zoom.unwrap_or(1.0) * FULL_SPEED, None, now);
        }
    }

    /// Stops where it is.
    pub fn stop(&self, turn: bool, zoom: bool) {
        let (mut parts, now) = (self.parts(), Instant::now());
        if turn {
            parts.pan.stop(now);
            parts.tilt.stop(now);
        }
        if zoom {
            parts.zoom.stop(now);
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        // Nothing that holds it can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const fn turn(pan: f64, tilt: f64) -> Vector {
        Vector { turn: Some((pan, tilt)), zoom: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_movement_goes_on_with_time_and_ends_at_its_own_end() {
        let optics = Optics::default();
        optics.run(turn(0.5, -0.5), Duration::from_secs(2));
        advance(Duration::from_secs(1)).await;
        let state = optics.state();
        assert!((state.position.pan - 0.25).abs() < 0.01 && (state.position.tilt + 0.25).abs() < 0.01, "{state:?}");
        assert!(state.turning && !state.zooming);
        advance(Duration::from_secs(9)).await;
        let state = optics.state();
        assert!((state.position.pan - 0.5).abs() < 0.01 && !state.turning, "{state:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_stops_a_movement_and_so_does_stop() {
        let optics = Optics::default();
        optics.run(Vector { turn: Some((1.0, 0.0)), zoom: Some(1.0) }, Duration::from_secs(60));
        advance(Duration::from_secs(1)).await;
        optics.stop(false, true);
        advance(Duration::from_secs(10)).await;
        let state = optics.state();
        assert_eq!((state.position.pan, state.turning), (1.0, false));
        assert!((state.position.zoom - 0.5).abs() < 0.01 && !state.zooming, "{state:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_position_is_reached_exactly_and_one_beyond_the_bounds_is_the_bound() {
        let optics = Optics::default();
        optics.go(Vector { turn: Some((-0.3, 7.0)), zoom: Some(0.1) }, Vector::default());
        assert!(optics.state().turning && optics.state().zooming);
        advance(Duration::from_secs(5)).await;
        let expected = Position { pan: -0.3, tilt: 1.0, zoom: 0.1 };
        assert_eq!(optics.state(), State { position: expected, turning: false, zooming: false });
    }

    #[tokio::test(start_paused = true)]
    async fn image_settings_stay_within_their_bounds() {
        let optics = Optics::default();
        optics.set_image(Image { brightness: 300.0, saturation: -1.0, contrast: 20.0 });
        assert_eq!(optics.view().image, Image { brightness: 100.0, saturation: 0.0, contrast: 20.0 });
    }
}
