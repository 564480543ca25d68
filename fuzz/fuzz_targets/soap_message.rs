//! A SOAP message of either side: the envelope, the token in its header, and the addresses in it (`onvif_uplink::onvif::soap`,
//! `onvif_uplink::onvif::local::username_token`, `onvif_uplink::onvif::rewrite`).
#![no_main]

use http::{HeaderMap, Uri};
use libfuzzer_sys::fuzz_target;
use onvif_uplink::{
    model::addresses::{Addresses, Rewrite},
    onvif::{
        local::username_token::UsernameToken,
        rewrite::{
            map::{Map, Outside},
            places::{Place, Way, find, replace},
        },
        soap::envelope::{Envelope, read},
    },
};

fuzz_target!(|input: &[u8]| {
    if let Ok(envelope) = read(input, None) {
        assert_ranges(&envelope);
        UsernameToken::of(&envelope);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let map = Map::new(&Addresses { rewrite: Rewrite::Authority, ports: [8081].into() }, 80);
    let outside = Outside::of(&Uri::from_static("https://cloud.example/"), &HeaderMap::new(), "cloud.example");
    for way in [Way::Answer, Way::Request] {
        let Some(places) = find(text, way) else { continue };
        assert_order(text, &places);
        assert_eq!(replace(text, &places, |_| None), None, "nothing is changed without an address");
        let changed = replace(text, &places, |address| match way {
            Way::Answer => map.outward(address, &outside),
            Way::Request => map.inward(address, &outside),
        });
        if let Some(changed) = changed {
            let again = find(&changed, way).expect("what is written can be read");
            assert_eq!(again.len(), places.len(), "an address stays one address");
        }
    }
});

/// Header, body and operation stand in the text, one within or behind the other.
fn assert_ranges(envelope: &Envelope<'_>) {
    let text = &envelope.text;
    assert!(text[envelope.operation_range.clone()].contains(&envelope.operation.local));
    assert!(envelope.body.start < envelope.operation_range.start && envelope.operation_range.end < envelope.body.end);
    let header = envelope.header.clone().unwrap_or(envelope.start.end..envelope.start.end);
    assert!(envelope.start.end <= header.start && header.end <= envelope.body.start && envelope.body.end <= text.len());
    for block in &envelope.blocks {
        assert!(header.start < block.range.start && block.range.end < header.end, "{block:?}");
        assert!(text[block.range.clone()].contains(&block.name.local));
    }
}

/// Places do not overlap and stand in the text in their order.
fn assert_order(text: &str, places: &[Place]) {
    let mut end = 0;
    for Place { range, .. } in places {
        assert!(end <= range.start && range.start < range.end && text.get(range.clone()).is_some(), "{range:?}");
        end = range.end;
    }
}
