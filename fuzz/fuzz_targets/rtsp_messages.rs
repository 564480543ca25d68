//! Streams of RTSP from a player or a device, and the addresses in their messages (`onvif_uplink::base::rtsp`,
//! `onvif_uplink::onvif::rewrite::rtsp`). The first byte of the input says into which pieces it is cut.
#![no_main]

use http::{HeaderMap, Uri};
use libfuzzer_sys::fuzz_target;
use onvif_uplink::{
    base::rtsp::{BODY_MAX, HEAD_MAX, Message, RtspError, Splitter, Unit},
    model::addresses::{Addresses, Rewrite},
    onvif::rewrite::{
        map::{Map, Outside},
        rtsp::{inward, outward},
    },
};

fuzz_target!(|input: &[u8]| {
    let Some((piece, input)) = input.split_first() else { return };
    let (whole, verdict) = units([input]);
    let pieces = units(input.chunks(usize::from(*piece).max(1)));
    assert_eq!((&whole, &verdict), (&pieces.0, &pieces.1), "pieces change nothing");
    let map = Map::new(&Addresses { rewrite: Rewrite::Authority, ..Addresses::default() }, 80);
    let outside = Outside::of(&Uri::from_static("https://cloud.example/"), &HeaderMap::new(), "cloud.example");
    for unit in whole {
        let Unit::Message(message) = unit else { continue };
        // Each line may have ended with a line feed only, and get one byte more.
        assert!(message.length() <= 2 * HEAD_MAX + BODY_MAX, "what is written is bounded");
        assert_eq!(again(&message), message, "what is written is read as the same");
        for change in [inward, outward] {
            let mut changed = message.clone();
            change(&mut changed, &map, &outside);
            assert_eq!(again(&changed), changed, "nothing is smuggled in with an address");
        }
    }
});

/// The units of a stream that comes in these pieces, and what ended it early.
fn units<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Unit>, Option<RtspError>) {
    let (mut splitter, mut units) = (Splitter::new(), Vec::new());
    for piece in pieces {
        splitter.push(piece);
        loop {
            match splitter.next_unit() {
                Ok(Some(unit)) => units.push(unit),
                Ok(None) => break,
                Err(error) => return (units, Some(error)),
            }
        }
    }
    (units, None)
}

/// The message after it has been written and read.
fn again(message: &Message) -> Message {
    match units([&message.to_bytes()[..]]) {
        (mut units, None) if units.len() == 1 => match units.remove(0) {
            Unit::Message(message) => message,
            Unit::Frame(_) => panic!("a message became a frame"),
        },
        other => panic!("a message became {other:?}"),
    }
}
