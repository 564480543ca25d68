//! Addresses in RTSP messages: request lines inward, Content-Base, Content-Location, RTP-Info and SDP control lines outward
//! (RFC 2326 §C.1.1, §12.14, §12.15, §12.33).
//!
//! A player takes control addresses relative to Content-Base, Content-Location or its own request; absolute ones are used as they
//! stand. So all of them are changed together, or its SETUP would go to an address in the camera's own network.

use super::map::{Map, Outside};
use crate::base::rtsp::{Kind, Message};

/// Gives a request its URI as the device writes it.
pub fn inward(message: &mut Message, map: &Map, outside: &Outside) {
    if let Kind::Request { uri, .. } = message.kind()
        && let Some(inner) = map.inward(uri, outside)
    {
        message.set_uri(&inner);
    }
}

/// Gives an answer addresses that work outside.
pub fn outward(message: &mut Message, map: &Map, outside: &Outside) {
    for name in ["Content-Base", "Content-Location", "Location"] {
        if let Some(outer) = message.field(name).and_then(|address| map.outward(address, outside)) {
            message.set_field(name, &outer);
        }
    }
    if let Some(info) = message.field("RTP-Info").and_then(|info| rtp_info(info, map, outside)) {
        message.set_field("RTP-Info", &info);
    }
    let is_sdp = message.field("Content-Type").is_some_and(|kind| kind.trim_start().starts_with("application/sdp"));
    if is_sdp && let Some(sdp) = std::str::from_utf8(message.body()).ok().and_then(|sdp| session(sdp, map, outside)) {
        message.set_body(sdp);
    }
}

/// `url=rtsp://…;seq=1;rtptime=2, url=…`
fn rtp_info(info: &str, map: &Map, outside: &Outside) -> Option<String> {
    let mut changed = false;
    let streams: Vec<String> = info
        .split(',')
        .map(|stream| {
            let parts: Vec<String> = stream
                .split(';')
                .map(|part| {
                    let Some((name, address)) = part.split_once('=') else { return part.to_owned() };
                    let outer = name.trim().eq_ignore_ascii_case("url").then(|| map.outward(address.trim(), outside));
                    match outer.flatten() {
                        Some(outer) => {
                            changed = true;
                            format!("{name}={outer}")
                        }
                        None => part.to_owned(),
                    }
                })
                .collect();
            parts.join(";")
        })
        .collect();
    changed.then(|| streams.join(","))
}

/// The `a=control:` lines of an SDP; all other lines stay with their own line ends.
fn session(sdp: &str, map: &Map, outside: &Outside) -> Option<String> {
    let mut changed = false;
    let lines = sdp.split_inclusive('\n').map(|line| {
        let text = line.trim_end_matches(['\r', '\n']);
        let outer = text.strip_prefix("a=control:").and_then(|address| map.outward(address.trim(), outside));
        match outer {
            Some(outer) => {
                changed = true;
                format!("a=control:{outer}{}", &line[text.len()..])
            }
            None => line.to_owned(),
        }
    });
    let whole: String = lines.collect();
    changed.then_some(whole)
}
