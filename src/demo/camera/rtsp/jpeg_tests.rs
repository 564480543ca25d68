//! Tests of the payload format: a receiver as RFC 2435 §4 describes it puts the picture together again.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proptest::prelude::*;

use super::{
    super::super::{barcode::Stamp, encode, picture::Painter},
    *,
};

/// The Huffman tables of T.81 Annex K.3.3 as DHT segments hold them: class and number, 16 counts, values.
const DC_LUMA: &[u8] =
    b"\x00\x00\x01\x05\x01\x01\x01\x01\x01\x01\0\0\0\0\0\0\0\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B";
const DC_CHROMA: &[u8] =
    b"\x01\x00\x03\x01\x01\x01\x01\x01\x01\x01\x01\x01\0\0\0\0\0\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B";
const AC_LUMA_COUNTS: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D];
const AC_CHROMA_COUNTS: [u8; 16] = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77];

fn picture() -> Vec<u8> {
    let stamp = Stamp { frame: 42, unix_ms: 1_795_348_800_040 };
    encode::jpeg(Painter::new("camera-1").draw(stamp), stamp).unwrap()
}

/// What a receiver gathers from the payloads of one picture.
#[derive(Debug, PartialEq)]
struct Gathered {
    kind: u8,
    size: (u8, u8),
    tables: Vec<u8>,
    data: Vec<u8>,
}

fn gather(payloads: &[Vec<u8>]) -> Gathered {
    let mut gathered = None;
    for payload in payloads {
        let (header, mut rest) = payload.split_at(MAIN_HEADER);
        let [0, high, middle, low, kind, DYNAMIC_TABLES, width, height] = *header else { panic!("{header:?}") };
        let offset = u32::from_be_bytes([0, high, middle, low]) as usize;
        if offset == 0 {
            assert_eq!(rest[..4], [0, 0, 0, 128]);
            let tables = rest[4..TABLES_HEADER].to_vec();
            rest = &rest[TABLES_HEADER..];
            gathered = Some(Gathered { kind, size: (width, height), tables, data: Vec::new() });
        }
        let gathered = gathered.as_mut().expect("the first payload has offset 0");
        assert_eq!((offset, kind, (width, height)), (gathered.data.len(), gathered.kind, gathered.size));
        gathered.data.extend_from_slice(rest);
    }
    gathered.expect("a payload")
}

fn whole(payload: &Payload<'_>) -> Vec<u8> {
    [&payload.head, payload.data].concat()
}

#[test]
fn the_cameras_picture_comes_together_again() {
    let jpeg = picture();
    let scan = Scan::parse(&jpeg).unwrap();
    let payloads: Vec<Payload<'_>> = scan.payloads(1400).collect();
    assert!(payloads.len() > 5);
    assert!(payloads.iter().all(|payload| payload.len() <= 1400 && !payload.data.is_empty()));
    let marked: Vec<usize> = (0..payloads.len()).filter(|at| payloads[*at].last).collect();
    assert_eq!(marked, [payloads.len() - 1]);
    let gathered = gather(&payloads.iter().map(whole).collect::<Vec<_>>());
    assert_eq!((gathered.kind, gathered.size), (1, (80, 45)));
    assert!(jpeg.ends_with(&gathered.data) && gathered.data.len() > 5_000);
    for table in gathered.tables.chunks(TABLE) {
        assert!(jpeg.windows(TABLE).any(|window| window == table));
    }
    // Finer where the eye sees more: the first entries of a table are those of the largest structures.
    assert_ne!(gathered.tables[..TABLE], gathered.tables[TABLE..]);
}

#[test]
fn the_huffman_tables_are_those_that_a_receiver_assumes() {
    let jpeg = picture();
    let mut rest = &jpeg[2..];
    let mut found = Vec::new();
    while let Some((marker, content, after)) = segment(rest) {
        rest = after;
        match marker {
            0xC4 => found.push(content),
            0xDA => break,
            _ => {}
        }
    }
    assert!(found.contains(&DC_LUMA) && found.contains(&DC_CHROMA), "{found:?}");
    for (class, counts) in [(0x10, AC_LUMA_COUNTS), (0x11, AC_CHROMA_COUNTS)] {
        let head = [&[class], &counts[..]].concat();
        assert!(found.iter().any(|table| table.starts_with(&head) && table.len() == 17 + 162), "{class:#x}");
    }
}

fn encoded(width: u16, height: u16, change: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, 80);
    encoder.set_sampling_factor(SamplingFactor::F_2_1);
    change(&mut encoder);
    let pixels: Vec<u8> = (0..usize::from(width) * usize::from(height) * 3).map(|at| (at * 7 % 256) as u8).collect();
    encoder.encode(&pixels, width, height, ColorType::Rgb).unwrap();
    jpeg
}

#[test]
fn four_two_two_is_type_0_and_odd_sizes_are_rounded_up() {
    let jpeg = encoded(33, 17, |_| {});
    let scan = Scan::parse(&jpeg).unwrap();
    assert_eq!((scan.kind, scan.width, scan.height), (0, 5, 3));
}

#[test]
fn what_the_headers_cannot_say_is_refused_by_name() {
    let reason = |jpeg: &[u8]| Scan::parse(jpeg).unwrap_err().to_string();
    assert!(reason(&encoded(16, 16, |e| e.set_progressive(true))).contains("not baseline"));
    assert!(reason(&encoded(16, 16, |e| e.set_restart_interval(4))).contains("restart"));
    assert!(reason(&encoded(16, 16, |e| e.set_sampling_factor(SamplingFactor::F_1_1))).contains("4:2:0"));
    assert!(reason(&encoded(2048, 8, |_| {})).contains("2040"));
    assert!(reason(b"GIF89a").contains("SOI"));
    let mut grey = Vec::new();
    Encoder::new(&mut grey, 80).encode(&[0; 64], 8, 8, ColorType::Luma).unwrap();
    assert!(reason(&grey).contains("three components"));
}

#[test]
fn a_picture_that_is_cut_anywhere_is_refused_and_never_panics() {
    let jpeg = encoded(16, 16, |_| {});
    for end in 0..jpeg.len() {
        assert!(Scan::parse(&jpeg[..end]).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn any_scan_comes_together_again_whatever_the_room(
        data in prop::collection::vec(any::<u8>(), 1..20_000), room in 0usize..3_000, kind in 0u8..=1
    ) {
        let tables: Vec<u8> = (0..2 * TABLE as u8).collect();
        let (luma, chroma) = tables.split_at(TABLE);
        let scan = Scan { kind, width: 80, height: 45, tables: [luma, chroma], data: &data };
        let payloads: Vec<Vec<u8>> = scan.payloads(room).map(|payload| whole(&payload)).collect();
        let most = room.max(MAIN_HEADER + TABLES_HEADER + 1);
        prop_assert!(payloads.iter().all(|payload| payload.len() <= most));
        prop_assert_eq!(scan.payloads(room).filter(|payload| payload.last).count(), 1);
        prop_assert_eq!(gather(&payloads), Gathered { kind, size: (80, 45), tables, data });
    }

    #[test]
    fn nothing_that_claims_to_be_a_jpeg_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Scan::parse(&[&[0xFF, 0xD8, 0xFF, 0xC0], &bytes[..]].concat());
    }
}
