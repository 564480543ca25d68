//! From pixels to JPEG (ITU-T T.81 baseline), with the stamp in an application segment.
//!
//! The segment APP9 begins with the identifier `onvif-uplink` and a zero byte and goes on in ASCII, for example
//! `frame=42 unix_ms=1795348800000`: a test reads the number of a picture without decoding it.

use jpeg_encoder::{Encoder, EncodingError, ImageBuffer, JpegColorType, SamplingFactor};

use super::{
    barcode::Stamp,
    canvas::{Canvas, HEIGHT, WIDTH},
};

/// Quality of 1 to 100: clear text without visible artefacts at 25 to 30 KiB a picture.
const QUALITY: u8 = 78;
/// What a picture may take before the buffer has to grow; above every picture that the painter draws.
const EXPECTED_BYTES: usize = 48 * 1024;
/// Number and identifier of the application segment.
const SEGMENT: u8 = 9;
const IDENTIFIER: &[u8] = b"onvif-uplink\0";

/// Encodes one picture.
///
/// # Errors
/// Those of the encoder. It has none for a picture of this size in memory; the caller need not rely on that.
pub fn jpeg(canvas: &Canvas, stamp: Stamp) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::with_capacity(EXPECTED_BYTES);
    let mut encoder = Encoder::new(&mut bytes, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let text = format!("frame={} unix_ms={}", stamp.frame, stamp.unix_ms);
    encoder.add_app_segment(SEGMENT, [IDENTIFIER, text.as_bytes()].concat())?;
    encoder.encode_image(Planes(canvas))?;
    Ok(bytes)
}

/// Reads the stamp from a JPEG that this camera made; `None` if it is not one.
pub fn read_stamp(jpeg: &[u8]) -> Option<Stamp> {
    let mut rest = jpeg.strip_prefix(&[0xFF, 0xD8])?;
    // Segments: marker, length of two bytes that counts itself, content (T.81 B.1.1.4); they end where the scan starts.
    while let [0xFF, marker, high, low, after @ ..] = rest
        && *marker != 0xDA
    {
        let length = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(2)?;
        let content = after.get(..length)?;
        if *marker == 0xE0 + SEGMENT
            && let Some(text) = content.strip_prefix(IDENTIFIER)
        {
            let (frame, unix_ms) = std::str::from_utf8(text).ok()?.split_once(' ')?;
            let frame = frame.strip_prefix("frame=")?.parse().ok()?;
            let unix_ms = unix_ms.strip_prefix("unix_ms=")?.parse().ok()?;
            return Some(Stamp { frame, unix_ms });
        }
        rest = &after[length..];
    }
    None
}

/// Hands the planes of a canvas to the encoder row by row.
struct Planes<'a>(&'a Canvas);

impl ImageBuffer for Planes<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        WIDTH as u16
    }

    fn height(&self) -> u16 {
        HEIGHT as u16
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        for (buffer, plane) in buffers.iter_mut().zip(self.0.row(usize::from(y))) {
            buffer.extend_from_slice(plane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::picture::Painter, *};

    const STAMP: Stamp = Stamp { frame: 42, unix_ms: 1_795_348_800_040 };

    fn picture() -> Vec<u8> {
        jpeg(Painter::new("camera-1").draw(STAMP), STAMP).unwrap()
    }

    #[test]
    fn a_picture_is_a_whole_jpeg_of_the_expected_size() {
        let jpeg = picture();
        assert!(jpeg.starts_with(&[0xFF, 0xD8]) && jpeg.ends_with(&[0xFF, 0xD9]));
        assert!((10_000..EXPECTED_BYTES).contains(&jpeg.len()), "{} bytes", jpeg.len());
        // SOF0 with 8 bits per sample and the size of the canvas (T.81 B.2.2).
        let size = [0xFF, 0xC0, 0, 17, 8, (HEIGHT >> 8) as u8, HEIGHT as u8, (WIDTH >> 8) as u8, WIDTH as u8, 3];
        assert!(jpeg.windows(size.len()).any(|window| window == size));
    }

    #[test]
    fn the_stamp_is_read_back_without_decoding() {
        assert_eq!(read_stamp(&picture()), Some(STAMP));
    }

    #[test]
    fn a_stamp_is_never_read_from_a_cut_or_foreign_jpeg() {
        let jpeg = picture();
        let segment = jpeg.windows(IDENTIFIER.len()).position(|window| window == IDENTIFIER).unwrap();
        for end in 0..segment + IDENTIFIER.len() + 10 {
            assert_eq!(read_stamp(&jpeg[..end]), None, "cut at {end}");
        }
        assert_eq!(read_stamp(&[0xFF, 0xD8, 0xFF, 0xE9, 0, 1]), None);
        assert_eq!(read_stamp(b"GIF89a"), None);
    }
}
