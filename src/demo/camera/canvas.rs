//! The drawing surface of the test picture: three planes (luma and two colour differences) and a few shapes.
//!
//! The picture is drawn in the colours that JPEG codes (JFIF 1.02: YCbCr of ITU-R BT.601, full range), so the encoder
//! converts nothing: the conversion happens once per colour, not once per pixel. Shapes are clipped at the edges, and
//! their rims are blended, so that motion looks smooth.

use std::ops::Range;

use font8x8::legacy::BASIC_LEGACY;

/// Width of the picture in pixels; a multiple of 16, the block that the encoder codes at once.
pub const WIDTH: usize = 640;
/// Height of the picture in pixels.
pub const HEIGHT: usize = 360;

/// Side of one glyph of the font in font pixels.
pub const GLYPH: usize = 8;

/// The setting of [`Canvas::adjust`] that changes nothing.
const NEUTRAL: f64 = 50.0;

/// Full coverage of [`Canvas::blend`].
const OPAQUE: i32 = 256;

/// A colour as JPEG codes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    y: u8,
    cb: u8,
    cr: u8,
}

impl Colour {
    /// Converts from red, green and blue, 0 to 255 each.
    pub fn rgb(r: u8, g: u8, b: u8) -> Self {
        let (y, cb, cr) = jpeg_encoder::rgb_to_ycbcr(r, g, b);
        Self { y, cb, cr }
    }

    /// The colour between `self` (at 0.0) and `other` (at 1.0).
    pub fn mix(self, other: Self, share: f32) -> Self {
        let coverage = coverage(share);
        Self {
            y: between(self.y, other.y, coverage),
            cb: between(self.cb, other.cb, coverage),
            cr: between(self.cr, other.cr, coverage),
        }
    }
}

/// A picture of [`WIDTH`] by [`HEIGHT`] pixels, planes in rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canvas {
    y: Vec<u8>,
    cb: Vec<u8>,
    cr: Vec<u8>,
}

impl Canvas {
    /// A black picture.
    pub fn new() -> Self {
        let pixels = WIDTH * HEIGHT;
        Self { y: vec![0; pixels], cb: vec![128; pixels], cr: vec![128; pixels] }
    }

    /// Brightness of every pixel, row by row.
    pub fn luma(&self) -> &[u8] {
        &self.y
    }

    /// The three planes of one row; `row` is below [`HEIGHT`].
    pub fn row(&self, row: usize) -> [&[u8]; 3] {
        let span = row * WIDTH..(row + 1) * WIDTH;
        [&self.y[span.clone()], &self.cb[span.clone()], &self.cr[span]]
    }

    /// Makes this picture equal to another, without allocating.
    pub fn copy_from(&mut self, other: &Self) {
        self.y.copy_from_slice(&other.y);
        self.cb.copy_from_slice(&other.cb);
        self.cr.copy_from_slice(&other.cr);
    }

    /// Fills a rectangle; what lies outside the picture is cut off.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
        let (from, to) = (x.min(WIDTH), (x + width).min(WIDTH));
        for row in y.min(HEIGHT)..(y + height).min(HEIGHT) {
            let span = row * WIDTH + from..row * WIDTH + to;
            self.y[span.clone()].fill(colour.y);
            self.cb[span.clone()].fill(colour.cb);
            self.cr[span].fill(colour.cr);
        }
    }

    /// Lays `colour` over one pixel with an opacity of 0.0 to 1.0. Pixels outside the picture are ignored.
    pub fn blend(&mut self, x: i32, y: i32, colour: Colour, opacity: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= WIDTH || y >= HEIGHT {
            return;
        }
        let (at, coverage) = (y * WIDTH + x, coverage(opacity));
        self.y[at] = between(self.y[at], colour.y, coverage);
        self.cb[at] = between(self.cb[at], colour.cb, coverage);
        self.cr[at] = between(self.cr[at], colour.cr, coverage);
    }

    /// Lays a half-transparent rectangle over what is there.
    pub fn shade(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour, opacity: f32) {
        for row in y..y + height {
            for column in x..x + width {
                self.blend(column as i32, row as i32, colour, opacity);
            }
        }
    }

    /// Sets brightness, saturation and contrast of whole rows, 0 to 100 each; 50 changes nothing.
    pub fn adjust(&mut self, rows: Range<usize>, brightness: f64, saturation: f64, contrast: f64) {
        if brightness == NEUTRAL && saturation == NEUTRAL && contrast == NEUTRAL {
            return;
        }
        // Conversion from f64 saturates at 0 and 255.
        let luma: [u8; 256] = std::array::from_fn(|value| {
            ((value as f64 - 128.0) * contrast / NEUTRAL + 128.0 + (brightness - NEUTRAL) * 1.6).round() as u8
        });
        let chroma: [u8; 256] =
            std::array::from_fn(|value| ((value as f64 - 128.0) * saturation / NEUTRAL + 128.0).round() as u8);
        let span = rows.start.min(HEIGHT) * WIDTH..rows.end.min(HEIGHT) * WIDTH;
        for (plane, table) in [(&mut self.y, &luma), (&mut self.cb, &chroma), (&mut self.cr, &chroma)] {
            plane[span.clone()].iter_mut().for_each(|value| *value = table[usize::from(*value)]);
        }
    }

    /// A filled ellipse around (`x`, `y`) with a smooth rim; a disc when both radii are equal.
    pub fn ellipse(&mut self, (x, y): (f32, f32), (rx, ry): (f32, f32), colour: Colour, opacity: f32) {
        for row in (y - ry - 1.0).floor() as i32..=(y + ry + 1.0).ceil() as i32 {
            for column in (x - rx - 1.0).floor() as i32..=(x + rx + 1.0).ceil() as i32 {
                let (dx, dy) = ((column as f32 - x) / rx, (row as f32 - y) / ry);
                let outside = ((dx * dx + dy * dy).sqrt() - 1.0) * rx.min(ry);
                self.blend(column, row, colour, opacity * (0.5 - outside).clamp(0.0, 1.0));
            }
        }
    }

    /// A line with round ends and smooth edges.
    pub fn line(&mut self, from: (f32, f32), to: (f32, f32), width: f32, colour: Colour) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = (dx * dx + dy * dy).max(f32::EPSILON);
        let (left, right) = (from.0.min(to.0) - width, from.0.max(to.0) + width);
        let (top, bottom) = (from.1.min(to.1) - width, from.1.max(to.1) + width);
        for row in top.floor() as i32..=bottom.ceil() as i32 {
            for column in left.floor() as i32..=right.ceil() as i32 {
                let (px, py) = (column as f32 - from.0, row as f32 - from.1);
                let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                let (ox, oy) = (px - along * dx, py - along * dy);
                let outside = (ox * ox + oy * oy).sqrt() - width / 2.0;
                self.blend(column, row, colour, (0.5 - outside).clamp(0.0, 1.0));
            }
        }
    }

    /// Writes one line of text, its upper left corner at (`x`, `y`), each font pixel `scale` pixels wide and high.
    ///
    /// Characters outside ASCII become question marks; what does not fit is cut off. A dark shadow keeps the text
    /// readable on any ground.
    pub fn text(&mut self, x: usize, y: usize, scale: usize, text: &str, colour: Colour) {
        let shadow = scale.div_ceil(2);
        self.glyphs(x + shadow, y + shadow, scale, text, Colour::rgb(10, 16, 28));
        self.glyphs(x, y, scale, text, colour);
    }

    fn glyphs(&mut self, x: usize, y: usize, scale: usize, text: &str, colour: Colour) {
        for (index, character) in text.chars().take(WIDTH / GLYPH).enumerate() {
            let glyph = BASIC_LEGACY.get(character as usize).unwrap_or(&BASIC_LEGACY[usize::from(b'?')]);
            let left = x + index * GLYPH * scale;
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                    self.fill(left + column * scale, y + row * scale, scale, scale, colour);
                }
            }
        }
    }
}

impl Default for Canvas {
    fn default() -> Self {
        Self::new()
    }
}

fn coverage(opacity: f32) -> i32 {
    (opacity.clamp(0.0, 1.0) * OPAQUE as f32) as i32
}

fn between(below: u8, above: u8, coverage: i32) -> u8 {
    let (below, above) = (i32::from(below), i32::from(above));
    // Never leaves 0..=255: it is a weighted mean of two bytes.
    (below + (above - below) * coverage / OPAQUE) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: fn() -> Colour = || Colour::rgb(255, 255, 255);

    #[test]
    fn shapes_beyond_the_edge_are_cut_off() {
        let mut canvas = Canvas::new();
        canvas.fill(WIDTH - 1, HEIGHT - 1, 100, 100, WHITE());
        canvas.ellipse((-5.0, -5.0), (3.0, 3.0), WHITE(), 1.0);
        canvas.line((-50.0, 10.0), (-40.0, 900.0), 4.0, WHITE());
        canvas.text(WIDTH - 4, HEIGHT - 4, 5, "cut", WHITE());
        assert_eq!(canvas.luma()[WIDTH * HEIGHT - 1], 255);
        assert_eq!(canvas.luma()[0], 0);
    }

    #[test]
    fn text_of_foreign_letters_is_drawn_as_question_marks() {
        let (mut foreign, mut marks) = (Canvas::new(), Canvas::new());
        foreign.text(8, 8, 2, "K\u{e4}mera \u{1f4f7}", WHITE());
        marks.text(8, 8, 2, "K?mera ?", WHITE());
        assert_eq!(foreign, marks);
        assert_ne!(foreign, Canvas::new());
    }

    #[test]
    fn image_settings_change_their_rows_only_and_never_overflow() {
        let mut canvas = Canvas::new();
        canvas.fill(0, 0, WIDTH, 20, Colour::rgb(200, 40, 40));
        let before = canvas.clone();
        canvas.adjust(0..10, 50.0, 50.0, 50.0);
        assert_eq!(canvas, before);
        canvas.adjust(0..10, 100.0, 0.0, 100.0);
        assert_eq!(canvas.row(0).map(|plane| plane[0]), [128, 128, 128]);
        assert_eq!(canvas.row(10), before.row(10));
        canvas.adjust(0..HEIGHT + 5, 100.0, 100.0, 100.0);
        canvas.adjust(0..HEIGHT, 100.0, 100.0, 50.0);
        assert_eq!(canvas.row(0)[0][0], 255);
    }

    #[test]
    fn half_an_opacity_gives_half_the_brightness() {
        let mut canvas = Canvas::new();
        canvas.blend(3, 2, WHITE(), 0.5);
        assert_eq!(canvas.luma()[2 * WIDTH + 3], 127);
    }
}
