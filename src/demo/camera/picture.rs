//! The test picture: a pure function of device name, frame number and time.
//!
//! What stands still (sky, hills, colour bars, clock face, name) is drawn once; a frame copies it and adds what moves: the
//! clock, the second hand, the ball, the numbers and the bar code. Motion everywhere in the upper part makes a frozen or
//! torn stream obvious at a glance, and the milliseconds make delay measurable with a photograph of two screens.

use std::f32::consts::TAU;

use super::{
    barcode::{self, Stamp},
    canvas::{Canvas, Colour, GLYPH, HEIGHT, WIDTH},
};

/// Pictures per second.
pub const FRAME_RATE: u64 = 25;

/// Height of the dark bar with the name.
const HEADER: usize = 36;
/// Where the ball bounces.
const GROUND: f32 = 250.0;
/// First line of the colour bars.
const BARS_TOP: usize = 264;
/// Centre and radius of the clock face.
const DIAL: (f32, f32) = (556.0, 112.0);
const DIAL_RADIUS: f32 = 60.0;
const BALL_RADIUS: f32 = 17.0;
/// Letters of the name that fit into the header beside the frame rate.
const NAME_LETTERS: usize = 28;

/// Draws frame after frame on one canvas.
#[derive(Debug)]
pub struct Painter {
    backdrop: Canvas,
    canvas: Canvas,
}

impl Painter {
    /// Prepares what stands still. Of a long name the first 28 letters are shown.
    pub fn new(name: &str) -> Self {
        let mut backdrop = Canvas::new();
        sky(&mut backdrop);
        hills(&mut backdrop);
        bars(&mut backdrop);
        dial(&mut backdrop);
        backdrop.shade(16, 52, 420, 100, Colour::rgb(10, 24, 56), 0.45);
        backdrop.fill(0, 0, WIDTH, HEADER, Colour::rgb(16, 24, 40));
        let shown: String = name.chars().take(NAME_LETTERS).collect();
        backdrop.text(16, 10, 2, &shown, Colour::rgb(255, 255, 255));
        backdrop.text(WIDTH - 7 * 2 * GLYPH - 8, 10, 2, "25 fps", Colour::rgb(150, 190, 230));
        Self { canvas: backdrop.clone(), backdrop }
    }

    /// Draws one frame. The same stamp gives the same pixels.
    pub fn draw(&mut self, stamp: Stamp) -> &Canvas {
        let canvas = &mut self.canvas;
        canvas.copy_from(&self.backdrop);
        live_lamp(canvas, stamp);
        digits(canvas, stamp);
        hands(canvas, stamp);
        ball(canvas, stamp);
        progress(canvas, stamp);
        barcode::draw(canvas, stamp);
        canvas
    }
}

fn sky(canvas: &mut Canvas) {
    let (zenith, horizon) = (Colour::rgb(28, 72, 150), Colour::rgb(186, 216, 238));
    for row in HEADER..BARS_TOP {
        let share = (row - HEADER) as f32 / (BARS_TOP - HEADER) as f32;
        canvas.fill(0, row, WIDTH, 1, zenith.mix(horizon, share));
    }
}

fn hills(canvas: &mut Canvas) {
    let far = (Colour::rgb(110, 150, 170), 196.0, 14.0, 210.0, 1.1);
    let near = (Colour::rgb(70, 128, 84), 222.0, 12.0, 150.0, 3.9);
    for (colour, base, swing, length, phase) in [far, near] {
        for column in 0..WIDTH {
            let x = column as f32 * TAU / length + phase;
            let top = (base - swing * (x.sin() + 0.4 * (2.3 * x).sin())) as usize;
            canvas.fill(column, top, 1, BARS_TOP - top, colour);
        }
    }
    canvas.fill(0, GROUND as usize, WIDTH, BARS_TOP - GROUND as usize, Colour::rgb(54, 104, 66));
}

/// The eight bars of 75 % that every video engineer knows (ITU-R BT.1729, SMPTE ECR 1-1978).
fn bars(canvas: &mut Canvas) {
    const LEVELS: [(u8, u8, u8); 8] = [
        (191, 191, 191),
        (191, 191, 0),
        (0, 191, 191),
        (0, 191, 0),
        (191, 0, 191),
        (191, 0, 0),
        (0, 0, 191),
        (16, 16, 16),
    ];
    let width = WIDTH / LEVELS.len();
    for (index, (r, g, b)) in LEVELS.into_iter().enumerate() {
        canvas.fill(index * width, BARS_TOP, width, barcode::TOP - 8 - BARS_TOP, Colour::rgb(r, g, b));
    }
}

fn dial(canvas: &mut Canvas) {
    let (x, y) = DIAL;
    canvas.ellipse((x + 2.0, y + 3.0), (DIAL_RADIUS + 3.0, DIAL_RADIUS + 3.0), Colour::rgb(10, 30, 60), 0.35);
    canvas.ellipse((x, y), (DIAL_RADIUS + 2.0, DIAL_RADIUS + 2.0), Colour::rgb(24, 34, 54), 1.0);
    canvas.ellipse((x, y), (DIAL_RADIUS, DIAL_RADIUS), Colour::rgb(248, 250, 252), 1.0);
    for mark in 0..60u8 {
        let hour = mark % 5 == 0;
        let turn = f32::from(mark) / 60.0;
        let inner = if hour { 0.82 } else { 0.91 };
        let width = if hour { 3.0 } else { 1.0 };
        canvas.line(on_dial(turn, inner), on_dial(turn, 0.95), width, Colour::rgb(50, 60, 80));
    }
}

/// The point at `share` of the radius, `turn` of a full turn clockwise from twelve.
fn on_dial(turn: f32, share: f32) -> (f32, f32) {
    let (sin, cos) = (turn * TAU).sin_cos();
    (DIAL.0 + sin * share * DIAL_RADIUS, DIAL.1 - cos * share * DIAL_RADIUS)
}

fn hands(canvas: &mut Canvas, stamp: Stamp) {
    let dark = Colour::rgb(34, 44, 66);
    let turn = |period_ms: u64| (stamp.unix_ms % period_ms) as f32 / period_ms as f32;
    canvas.line(DIAL, on_dial(turn(43_200_000), 0.5), 5.0, dark);
    canvas.line(DIAL, on_dial(turn(3_600_000), 0.76), 3.5, dark);
    let second = turn(60_000);
    let red = Colour::rgb(214, 40, 40);
    canvas.line(on_dial(second + 0.5, 0.18), on_dial(second, 0.9), 2.0, red);
    canvas.ellipse(DIAL, (4.5, 4.5), red, 1.0);
}

/// Blinks once a second, so that even a still picture tells by its lamp and its clock that it is one.
fn live_lamp(canvas: &mut Canvas, stamp: Stamp) {
    let lit = stamp.unix_ms % 1000 < 600;
    let colour = if lit { Colour::rgb(255, 64, 64) } else { Colour::rgb(84, 36, 44) };
    canvas.ellipse(((WIDTH - 140) as f32, 18.0), (6.0, 6.0), colour, 1.0);
}

fn digits(canvas: &mut Canvas, stamp: Stamp) {
    let at = super::clock::utc(stamp.unix_ms);
    let (hour, minute, second) = at.to_hms();
    let clock = format!("{hour:02}:{minute:02}:{second:02}.{:03}", stamp.unix_ms % 1000);
    let date = format!("{} UTC", at.date());
    let white = Colour::rgb(255, 255, 255);
    canvas.text(30, 64, 4, &clock, white);
    canvas.text(30, 108, 2, &date, white);
    canvas.text(30, 130, 2, &format!("frame {}", stamp.frame), Colour::rgb(255, 222, 120));
}

fn ball(canvas: &mut Canvas, stamp: Stamp) {
    const CROSSING: u64 = 150; // frames from one side to the other: 6 s
    const BOUNCE: u64 = 30; // frames from ground to ground: 1.2 s
    let step = stamp.frame % (2 * CROSSING);
    let across = step.min(2 * CROSSING - step) as f32 / CROSSING as f32;
    let x = 30.0 + across * (WIDTH as f32 - 60.0);
    let rise = (stamp.frame % BOUNCE) as f32 / BOUNCE as f32;
    let height = 4.0 * rise * (1.0 - rise); // a throw's parabola, 0 to 1
    let y = GROUND - BALL_RADIUS - height * 72.0;
    let shadow = BALL_RADIUS * (1.0 - 0.45 * height);
    canvas.ellipse((x, GROUND + 3.0), (shadow, 4.0), Colour::rgb(16, 44, 26), 0.6 - 0.35 * height);
    canvas.ellipse((x, y), (BALL_RADIUS, BALL_RADIUS), Colour::rgb(226, 88, 24), 1.0);
    canvas.ellipse((x - 3.0, y - 3.0), (BALL_RADIUS * 0.7, BALL_RADIUS * 0.7), Colour::rgb(250, 150, 60), 0.7);
    canvas.ellipse((x - 6.0, y - 7.0), (4.0, 3.0), Colour::rgb(255, 244, 224), 0.9);
}

/// A marker that runs along the foot once a second: a dropped frame is a gap that the eye sees.
fn progress(canvas: &mut Canvas, stamp: Stamp) {
    let slot = WIDTH / FRAME_RATE as usize;
    let at = (stamp.frame % FRAME_RATE) as usize * slot;
    let top = barcode::TOP + barcode::STRIP_HEIGHT;
    canvas.fill(at, top, slot, HEIGHT - top, Colour::rgb(255, 222, 120));
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_795_348_800_000;

    fn differing(one: &Canvas, other: &Canvas, rows: std::ops::Range<usize>) -> usize {
        let span = rows.start * WIDTH..rows.end * WIDTH;
        one.luma()[span.clone()].iter().zip(&other.luma()[span]).filter(|(one, other)| one != other).count()
    }

    #[test]
    fn the_same_stamp_gives_the_same_pixels() {
        let stamp = Stamp { frame: 7, unix_ms: NOON };
        let mut painter = Painter::new("camera-1");
        let first = painter.draw(stamp).clone();
        painter.draw(Stamp { frame: 8, unix_ms: NOON + 40 });
        assert_eq!(painter.draw(stamp), &first);
    }

    #[test]
    fn every_frame_differs_from_the_one_before_in_picture_and_bar_code() {
        let mut painter = Painter::new("camera-1");
        let mut before = painter.draw(Stamp { frame: 0, unix_ms: NOON }).clone();
        for frame in 1..10 {
            let now = painter.draw(Stamp { frame, unix_ms: NOON + 40 * frame });
            assert!(differing(&before, now, HEADER..BARS_TOP) > 100, "frame {frame}");
            assert!(differing(&before, now, barcode::TOP..HEIGHT) > 100, "frame {frame}");
            before = now.clone();
        }
    }

    #[test]
    fn the_bar_code_of_a_whole_picture_is_its_stamp() {
        let stamp = Stamp { frame: 12_345, unix_ms: NOON + 999 };
        let mut painter = Painter::new("camera-1");
        assert_eq!(barcode::read(painter.draw(stamp).luma(), WIDTH, HEIGHT), Some(stamp));
    }

    #[test]
    fn the_name_is_in_the_picture_and_a_long_one_is_cut() {
        let stamp = Stamp { frame: 1, unix_ms: NOON };
        let one = Painter::new("camera-1").draw(stamp).clone();
        let two = Painter::new("camera-2").draw(stamp).clone();
        assert!(differing(&one, &two, 0..HEADER) > 0);
        let long = "x".repeat(NAME_LETTERS);
        let cut = Painter::new(&long).draw(stamp).clone();
        assert_eq!(&cut, Painter::new(&format!("{long}yz")).draw(stamp));
    }

    #[test]
    fn the_greatest_stamp_is_drawn_like_any_other() {
        let stamp = Stamp { frame: u64::MAX, unix_ms: u64::MAX };
        assert_eq!(barcode::read(Painter::new("").draw(stamp).luma(), WIDTH, HEIGHT), Some(stamp));
    }
}
