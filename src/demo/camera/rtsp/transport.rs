//! The Transport field of `SETUP` (RFC 2326 §12.39): of what the player offers, the camera takes interleaved TCP only.

/// The interleaved channels of RTP and RTCP that the first usable offer asks for; 0 and 1 when it names none. `None` when
/// there is no usable one: UDP, multicast, recording.
pub fn choose(field: &str) -> Option<(u8, u8)> {
    field.split(',').find_map(read)
}

fn read(offer: &str) -> Option<(u8, u8)> {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("RTP/AVP/TCP") {
        return None;
    }
    let mut channels = (0, 1);
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "interleaved" => channels = pair(value)?,
            "multicast" => return None,
            "mode" if !value.trim().trim_matches('"').eq_ignore_ascii_case("PLAY") => return None,
            _ => {}
        }
    }
    Some(channels)
}

/// `0-1`, or `0` for that and the next one.
fn pair(value: &str) -> Option<(u8, u8)> {
    let (first, second) = value.trim().split_once('-').map_or((value.trim(), None), |(a, b)| (a, Some(b)));
    let first: u8 = first.trim().parse().ok()?;
    let second = second.map_or(first.checked_add(1), |text| text.trim().parse().ok())?;
    (first != second).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_usable_offer_is_taken() {
        for (field, expected) in [
            ("RTP/AVP/TCP;unicast;interleaved=0-1", Some((0, 1))),
            ("rtp/avp/tcp; interleaved=4-5 ;mode=\"play\"", Some((4, 5))),
            ("RTP/AVP;unicast;client_port=5000-5001, RTP/AVP/TCP;unicast;interleaved=2-3", Some((2, 3))),
            ("RTP/AVP/TCP;unicast", Some((0, 1))),
            ("RTP/AVP/TCP;interleaved=6", Some((6, 7))),
        ] {
            assert_eq!(choose(field), expected, "{field}");
        }
    }

    #[test]
    fn what_is_not_interleaved_unicast_playing_is_refused() {
        for field in [
            "",
            "RTP/AVP;unicast;client_port=5000-5001",
            "RTP/AVP/UDP;unicast;client_port=5000-5001",
            "RTP/AVP;multicast",
            "RTP/AVP/TCP;multicast",
            "RTP/AVP/TCP;unicast;mode=RECORD",
            "RTP/AVP/TCP;interleaved=1-1",
            "RTP/AVP/TCP;interleaved=256-257",
            "RTP/AVP/TCP;interleaved=255",
            "RTP/AVP/TCP;interleaved=x",
        ] {
            assert_eq!(choose(field), None, "{field}");
        }
    }
}
