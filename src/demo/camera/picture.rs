//! The test picture: a pure function of device name, view, frame number and time.
//!
//! What stands still (sky, hills, colour bars, clock face, name) is drawn once for each [`View`]; a frame copies it and adds what
//! moves: the clock, the second hand, the ball, the numbers and the bar code. The hills pan, tilt and zoom, lines say where the
//! camera looks, and image settings change what stands still; what measures (numbers, bar code) always looks the same. Motion everywhere in the upper part makes a frozen or
//! torn stream obvious at a glance, and the milliseconds make delay measurable with a photograph of two screens.

use std::f32::consts::TAU;

use super::{
    barcode::{self, Stamp},
    canvas::{Canvas, Colour, GLYPH, HEIGHT, WIDTH},
    optics::{Position, View},
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

/// Rows by which the hills sink when the camera looks up as far as it can.
const TILT_ROWS: f32 = 100.0;
/// The row that stays where it is when the camera zooms.
const HORIZON: f32 = 180.0;
/// How much larger the hills are at full zoom.
const ZOOM_MAX: f32 = 3.0;

/// Draws frame after frame on one canvas.
#[derive(Debug)]
pub struct Painter {
    name: String,
    view: View,
    backdrop: Canvas,
    canvas: Canvas,
}

impl Painter {
    /// Prepares what stands still, seen from the home position. Of a long name the first 28 letters are shown.
    pub fn new(name: &str) -> Self {
        let (name, view) = (name.chars().take(NAME_LETTERS).collect::<String>(), View::default());
        let backdrop = backdrop(&name, view);
        Self { canvas: backdrop.clone(), backdrop, name, view }
    }

    /// Looks at this from the next frame on.
    pub fn look(&mut self, view: View) {
        if view != self.view {
            self.view = view;
            self.backdrop = backdrop(&self.name, view);
        }
    }

    /// Draws one frame. The same view and stamp give the same pixels.
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

/// What stands still as long as the camera looks at the same.
fn backdrop(name: &str, view: View) -> Canvas {
    let mut canvas = Canvas::new();
    sky(&mut canvas);
    hills(&mut canvas, view.position);
    bars(&mut canvas);
    dial(&mut canvas);
    let image = view.image;
    canvas.adjust(HEADER..barcode::TOP - 8, image.brightness, image.saturation, image.contrast);
    canvas.shade(16, 52, 420, 100, Colour::rgb(10, 24, 56), 0.45);
    canvas.fill(0, 0, WIDTH, HEADER, Colour::rgb(16, 24, 40));
    canvas.text(16, 10, 2, name, Colour::rgb(255, 255, 255));
    canvas.text(WIDTH - 7 * 2 * GLYPH - 8, 10, 2, "25 fps", Colour::rgb(150, 190, 230));
    let Position { pan, tilt, zoom } = view.position;
    let lines = [format!("pan  {pan:+.2}"), format!("tilt {tilt:+.2}"), format!("zoom  {zoom:.2}")];
    for (row, line) in lines.iter().enumerate() {
        canvas.text(330, 106 + 14 * row, 1, line, Colour::rgb(190, 220, 250));
    }
    canvas
}

fn sky(canvas: &mut Canvas) {
    let (zenith, horizon) = (Colour::rgb(28, 72, 150), Colour::rgb(186, 216, 238));
    for row in HEADER..BARS_TOP {
        let share = (row - HEADER) as f32 / (BARS_TOP - HEADER) as f32;
        canvas.fill(0, row, WIDTH, 1, zenith.mix(horizon, share));
    }
}

/// Two ranges of hills as this position shows them: pan moves them by up to the width of the picture.
fn hills(canvas: &mut Canvas, position: Position) {
    let far = (Colour::rgb(110, 150, 170), 196.0, 14.0, 210.0, 1.1);
    let near = (Colour::rgb(70, 128, 84), 222.0, 12.0, 150.0, 3.9);
    let (pan, tilt) = (position.pan as f32 * WIDTH as f32, position.tilt as f32 * TILT_ROWS);
    let scale = 1.0 + position.zoom as f32 * (ZOOM_MAX - 1.0);
    let middle = WIDTH as f32 / 2.0;
    for (colour, base, swing, length, phase) in [far, near] {
        for column in 0..WIDTH {
            let x = ((column as f32 - middle) / scale + middle + pan) * TAU / length + phase;
            let height = base - swing * (x.sin() + 0.4 * (2.3 * x).sin());
            let top = (height - HORIZON).mul_add(scale, HORIZON) + tilt;
            let top = (top as usize).clamp(HEADER, BARS_TOP);
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
    use crate::demo::camera::optics::Image;

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
    fn every_axis_changes_the_hills_and_home_brings_them_back() {
        let stamp = Stamp { frame: 1, unix_ms: NOON };
        let mut painter = Painter::new("camera-1");
        let home = painter.draw(stamp).clone();
        for (pan, tilt, zoom) in [(0.1, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (-1.0, 1.0, 1.0)]
        {
            painter.look(View { position: Position { pan, tilt, zoom }, ..View::default() });
            assert!(differing(&home, painter.draw(stamp), 185..BARS_TOP) > 1000, "{pan} {tilt} {zoom}");
        }
        painter.look(View::default());
        assert_eq!(painter.draw(stamp), &home);
    }

    #[test]
    fn brightness_lightens_the_scene_and_leaves_the_bar_code() {
        let stamp = Stamp { frame: 12_345, unix_ms: NOON };
        let mean = |canvas: &Canvas| {
            let scene = &canvas.luma()[HEADER * WIDTH..BARS_TOP * WIDTH];
            scene.iter().map(|luma| usize::from(*luma)).sum::<usize>() / scene.len()
        };
        let mut painter = Painter::new("camera-1");
        let usual = mean(painter.draw(stamp));
        for (brightness, brighter) in [(100.0, true), (0.0, false)] {
            let image = Image { brightness, ..Image::default() };
            painter.look(View { image, ..View::default() });
            let drawn = painter.draw(stamp);
            assert_eq!(mean(drawn) > usual + 20, brighter);
            assert_eq!(mean(drawn) + 20 < usual, !brighter);
            assert_eq!(barcode::read(drawn.luma(), WIDTH, HEIGHT), Some(stamp));
        }
    }

    #[test]
    fn the_greatest_stamp_is_drawn_like_any_other() {
        let stamp = Stamp { frame: u64::MAX, unix_ms: u64::MAX };
        assert_eq!(barcode::read(Painter::new("").draw(stamp).luma(), WIDTH, HEIGHT), Some(stamp));
    }
}
