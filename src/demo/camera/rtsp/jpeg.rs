//! A JPEG as the payload of RTP packets (RFC 2435).
//!
//! What every picture has in common does not travel: a receiver makes the headers anew from type, size and quantisation
//! tables, and takes the Huffman tables from Annex K of T.81. So a picture must be what such headers can say: baseline,
//! three components in one scan, 4:2:2 or 4:2:0, 8-bit tables, no restart markers, at most 2040 by 2040 pixels. The tables
//! travel with every picture (Q = 255), so that a viewer who missed one needs nothing of it for the next.

use std::fmt;

/// Pixels in one unit of the width and height fields.
const SIZE_UNIT: u16 = 8;
/// Bytes of a quantisation table with 8-bit entries.
pub const TABLE: usize = 64;
/// The main JPEG header (RFC 2435 §3.1).
pub const MAIN_HEADER: usize = 8;
/// The quantisation table header with the tables of luma and of both colour differences (§3.1.8).
pub const TABLES_HEADER: usize = 4 + 2 * TABLE;
/// The value of Q that says: the tables are in this picture, and may be others in the next.
pub const DYNAMIC_TABLES: u8 = 255;
/// What the 24-bit fragment offset can address.
const MAX_SCAN: usize = 1 << 24;

/// The parts of a JPEG that travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    /// 0 for 4:2:2, 1 for 4:2:0 (§4.1).
    pub kind: u8,
    /// In units of 8 pixels.
    pub width: u8,
    /// In units of 8 pixels.
    pub height: u8,
    /// Quantisation tables in zigzag order: luma, colour differences.
    pub tables: [&'a [u8]; 2],
    /// The entropy-coded segment with the EOI marker after it.
    pub data: &'a [u8],
}

/// Why a JPEG cannot travel this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCarried(&'static str);

impl fmt::Display for NotCarried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RFC 2435 cannot carry the JPEG: {}", self.0)
    }
}

impl std::error::Error for NotCarried {}

/// What the frame header (SOF0) says.
struct FrameHeader {
    kind: u8,
    width: u8,
    height: u8,
    /// Table numbers of luma and of the colour differences.
    tables: [usize; 2],
}

impl<'a> Scan<'a> {
    /// Finds the parts of a JPEG.
    ///
    /// # Errors
    /// It is broken, or has a feature that the payload format cannot say; the list stands at the head of this file.
    pub fn parse(jpeg: &'a [u8]) -> Result<Self, NotCarried> {
        let mut rest = jpeg.strip_prefix(&[0xFF, 0xD8]).ok_or(NotCarried("it does not begin with SOI"))?;
        let mut frame = None;
        let mut tables = [None; 4];
        loop {
            let (marker, content, after) = segment(rest).ok_or(NotCarried("it ends before its scan"))?;
            rest = after;
            match marker {
                0xC0 => frame = Some(frame_header(content)?),
                0xC1..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return Err(NotCarried("it is not baseline")),
                0xDB => quantisation(content, &mut tables)?,
                0xDD => return Err(NotCarried("it has restart markers")),
                0xDA => break,
                _ => {}
            }
        }
        let FrameHeader { kind, width, height, tables: numbers } = frame.ok_or(NotCarried("it has no frame header"))?;
        let table = |number: usize| tables[number].ok_or(NotCarried("a quantisation table is missing"));
        let tables = [table(numbers[0])?, table(numbers[1])?];
        if rest.len() > MAX_SCAN {
            return Err(NotCarried("its scan is longer than 16 MiB"));
        }
        if !rest.ends_with(&[0xFF, 0xD9]) {
            return Err(NotCarried("it does not end with EOI"));
        }
        Ok(Self { kind, width, height, tables, data: rest })
    }

    /// The payloads of at most `room` bytes each, in order; the last one is marked. `room` is taken as at least what the
    /// headers and one byte of the scan need.
    pub fn payloads(&self, room: usize) -> impl Iterator<Item = Payload<'a>> {
        let room = room.max(MAIN_HEADER + TABLES_HEADER + 1);
        let scan = self.clone();
        let mut offset = 0;
        std::iter::from_fn(move || {
            if offset == scan.data.len() {
                return None;
            }
            let head = scan.head(offset);
            let length = (room - head.len()).min(scan.data.len() - offset);
            let data = &scan.data[offset..offset + length];
            offset += length;
            Some(Payload { head, data, last: offset == scan.data.len() })
        })
    }

    fn head(&self, offset: usize) -> Vec<u8> {
        let [_, high, middle, low] = (offset as u32).to_be_bytes();
        // The type-specific byte is 0: progressively scanned, whole frames.
        let mut head = vec![0, high, middle, low, self.kind, DYNAMIC_TABLES, self.width, self.height];
        if offset == 0 {
            // Must be zero; precision 0: 8-bit entries in both; length.
            head.extend_from_slice(&[0, 0, 0, (2 * TABLE) as u8]);
            head.extend(self.tables.concat());
        }
        head
    }
}

/// The payload of one RTP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The JPEG headers.
    pub head: Vec<u8>,
    /// Part of the scan.
    pub data: &'a [u8],
    /// Whether the picture ends here: the marker bit of RTP.
    pub last: bool,
}

impl Payload<'_> {
    /// Bytes of the payload.
    pub fn len(&self) -> usize {
        self.head.len() + self.data.len()
    }

    /// Whether it has no byte; one of a scan always has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Marker, content and what follows of the segment at the start (T.81 B.1.1.4).
fn segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [0xFF, marker, high, low, after @ ..] = bytes else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(2)?;
    let (content, after) = after.split_at_checked(length)?;
    Some((*marker, content, after))
}

fn frame_header(content: &[u8]) -> Result<FrameHeader, NotCarried> {
    let [8, h1, h0, w1, w0, 3, components @ ..] = content else {
        return Err(NotCarried("it does not have three components of 8 bits"));
    };
    // Number, sampling factors and table of each component (T.81 B.2.2).
    let [_, luma, luma_table, _, 0x11, blue_table, _, 0x11, red_table] = components else {
        return Err(NotCarried("its colour differences are not sampled once a block"));
    };
    let kind = match luma {
        0x21 => 0,
        0x22 => 1,
        _ => return Err(NotCarried("it is neither 4:2:2 nor 4:2:0")),
    };
    if blue_table != red_table || *luma_table > 3 || *blue_table > 3 {
        return Err(NotCarried("its colour differences have tables of their own"));
    }
    let units = |high: u8, low: u8| u8::try_from(u16::from_be_bytes([high, low]).div_ceil(SIZE_UNIT));
    match (units(*w1, *w0), units(*h1, *h0)) {
        (Ok(width @ 1..), Ok(height @ 1..)) => {
            Ok(FrameHeader { kind, width, height, tables: [usize::from(*luma_table), usize::from(*blue_table)] })
        }
        _ => Err(NotCarried("it is larger than 2040 by 2040 pixels, or of no size")),
    }
}

/// Notes the tables of a DQT segment (T.81 B.2.4.1).
fn quantisation<'a>(mut content: &'a [u8], tables: &mut [Option<&'a [u8]>; 4]) -> Result<(), NotCarried> {
    while let [number, after @ ..] = content {
        let (table, after) = after.split_at_checked(TABLE).ok_or(NotCarried("a quantisation table is cut"))?;
        match number {
            0..=3 => tables[usize::from(*number)] = Some(table),
            _ => return Err(NotCarried("a quantisation table has 16-bit entries")),
        }
        content = after;
    }
    Ok(())
}

#[cfg(test)]
#[path = "jpeg_tests.rs"]
mod tests;
