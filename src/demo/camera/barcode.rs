//! The bar code at the foot of the picture: frame number and time, for programs that see only decoded video.
//!
//! Two rows of 80 black or white cells, each 8 by 16 pixels and aligned to the blocks that JPEG codes, so that any sensible
//! re-encoding and scaling leaves them readable. A row holds 64 bits, highest first, and a CRC-16/CCITT (polynomial
//! 0x1021, start 0xFFFF) over them: the first row the frame number, the second the time in milliseconds since 1970. A row
//! that is all black or all white has a wrong checksum, so a picture of something else is never taken for a number.

use super::canvas::{Canvas, Colour, HEIGHT, WIDTH};

/// Width of a cell in pixels of the full-size picture.
const CELL_WIDTH: usize = 8;
/// Height of a cell in pixels of the full-size picture.
const CELL_HEIGHT: usize = 16;
/// Cells in a row.
const CELLS: usize = WIDTH / CELL_WIDTH;
/// First line of the strip: both rows start on a 16-pixel block.
pub const TOP: usize = 320;
/// Height of the strip in pixels.
pub const STRIP_HEIGHT: usize = 2 * CELL_HEIGHT;

/// What a picture says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the picture since the camera started, 25 a second whether watched or not.
    pub frame: u64,
    /// When it was taken, in milliseconds since 1970 UTC.
    pub unix_ms: u64,
}

/// Draws the strip.
pub fn draw(canvas: &mut Canvas, stamp: Stamp) {
    let (black, white) = (Colour::rgb(0, 0, 0), Colour::rgb(255, 255, 255));
    for (row, value) in [stamp.frame, stamp.unix_ms].into_iter().enumerate() {
        let word = (u128::from(value) << 16) | u128::from(checksum(value));
        for cell in 0..CELLS {
            let colour = if word >> (CELLS - 1 - cell) & 1 == 1 { white } else { black };
            canvas.fill(cell * CELL_WIDTH, TOP + row * CELL_HEIGHT, CELL_WIDTH, CELL_HEIGHT, colour);
        }
    }
}

/// Reads the strip from the brightness of a decoded picture of any size: `luma` holds `width * height` bytes, in rows
/// from the top. `None` when the picture has no intact strip.
pub fn read(luma: &[u8], width: usize, height: usize) -> Option<Stamp> {
    if luma.len() < width.checked_mul(height)? {
        return None;
    }
    let frame = read_row(luma, width, height, 0)?;
    let unix_ms = read_row(luma, width, height, 1)?;
    Some(Stamp { frame, unix_ms })
}

fn read_row(luma: &[u8], width: usize, height: usize, row: usize) -> Option<u64> {
    let centre_y = (TOP + row * CELL_HEIGHT + CELL_HEIGHT / 2) * height / HEIGHT;
    let mut word = 0u128;
    for cell in 0..CELLS {
        let centre_x = (cell * CELL_WIDTH + CELL_WIDTH / 2) * width / WIDTH;
        // The middle of the cell, where neither the neighbours nor the codec's ringing reach.
        let (mut sum, mut count) = (0u32, 0u32);
        for y in centre_y.saturating_sub(1)..=centre_y {
            for x in centre_x.saturating_sub(1)..=centre_x {
                sum += u32::from(*luma.get(y * width + x)?);
                count += 1;
            }
        }
        word = word << 1 | u128::from(sum > 127 * count);
    }
    let value = (word >> 16) as u64;
    (checksum(value) == word as u16).then_some(value)
}

fn checksum(value: u64) -> u16 {
    crc16(&value.to_be_bytes())
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { frame: 0x0123_4567_89AB_CDEF, unix_ms: 1_795_355_999_480 };

    fn drawn() -> Canvas {
        let mut canvas = Canvas::new();
        draw(&mut canvas, STAMP);
        canvas
    }

    #[test]
    fn the_checksum_is_the_published_crc_16_of_the_ccitt() {
        // The check value of CRC-16/IBM-3740 in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc16(b"123456789"), 0x29B1);
    }

    #[test]
    fn what_was_drawn_is_read_back() {
        assert_eq!(read(drawn().luma(), WIDTH, HEIGHT), Some(STAMP));
    }

    #[test]
    fn noise_and_low_contrast_do_not_hide_the_numbers() {
        let worn: Vec<u8> =
            drawn().luma().iter().enumerate().map(|(at, luma)| luma / 3 + 90 + (at * 7919 % 30) as u8).collect();
        assert_eq!(read(&worn, WIDTH, HEIGHT), Some(STAMP));
    }

    #[test]
    fn a_picture_scaled_to_half_is_still_read() {
        let full = drawn();
        let half: Vec<u8> = (0..HEIGHT / 2)
            .flat_map(|y| (0..WIDTH / 2).map(move |x| (x, y)))
            .map(|(x, y)| full.luma()[2 * y * WIDTH + 2 * x])
            .collect();
        assert_eq!(read(&half, WIDTH / 2, HEIGHT / 2), Some(STAMP));
    }

    #[test]
    fn a_flipped_cell_a_blank_or_a_short_picture_is_not_a_number() {
        let mut flipped = drawn();
        flipped.fill(CELL_WIDTH * 20, TOP, CELL_WIDTH, CELL_HEIGHT, Colour::rgb(255, 255, 255));
        flipped.fill(CELL_WIDTH * 21, TOP, CELL_WIDTH, CELL_HEIGHT, Colour::rgb(0, 0, 0));
        assert_ne!(flipped, drawn());
        assert_eq!(read(flipped.luma(), WIDTH, HEIGHT), None);
        assert_eq!(read(Canvas::new().luma(), WIDTH, HEIGHT), None);
        assert_eq!(read(&[255; WIDTH * HEIGHT], WIDTH, HEIGHT), None);
        assert_eq!(read(&[0; 100], WIDTH, HEIGHT), None);
        assert_eq!(read(&[], 0, 0), None);
    }
}
