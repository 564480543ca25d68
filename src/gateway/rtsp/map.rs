//! The addresses in RTSP, outward to device and back (RFC 2326 §3.2, §12; RFC 4566 §5.13, `a=control`).
//!
//! A player says `rtsp://gateway/<device>/<path>` and the device must hear `rtsp://gateway/<path>`: only the first segment
//! goes. The host stays as the player wrote it, as it does behind a port that a router forwards: devices look at the path,
//! and those that answer with the address that they were asked by (Content-Base) then say one that players reach. Whatever
//! absolute address a device names in its answers, its own on its network mostly, becomes one below the gateway's.
//!
//! What is authenticated end to end stays consistent where it can: with a host name for the device
//! (`rtsp://<device>.<suffix>/<path>`) there is no segment to remove and the request line reaches the device as the player
//! wrote it, which is also the `uri` of its Digest (RFC 7616 §3.4).

use bytes::Bytes;

use crate::base::{
    rtsp::{Kind, Message},
    secret::Secret,
};

/// The parameter of the query that may hold the token of the gateway.
const TOKEN: &str = "token";

/// An absolute address of RTSP, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// For example `rtsp`.
    pub scheme: &'a str,
    /// Host and port, without a user name.
    pub authority: &'a str,
    /// Path and query; begins with `/` or `?`, or is empty.
    pub rest: &'a str,
}

impl<'a> Address<'a> {
    /// Takes an address apart; `None` for what is not absolute or not RTSP.
    pub fn parse(uri: &'a str) -> Option<Self> {
        let (scheme, after) = uri.split_once("://")?;
        if !["rtsp", "rtsps", "rtspu"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        let (authority, rest) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
        let authority = authority.rsplit('@').next().unwrap_or_default();
        (!authority.is_empty()).then_some(Self { scheme, authority, rest })
    }

    /// Host without a port.
    pub fn host(&self) -> &'a str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => self.authority,
        }
    }
}

/// How the addresses of one conversation are mapped.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// What stands before the device's own path outside: scheme, authority and prefix, without a slash at its end.
    outward: String,
    /// `/<device>` as the player wrote it; empty when the host names the device.
    prefix: String,
}

impl Mapping {
    /// For a player that reaches the gateway at `scheme://authority` and names the device by `prefix` (`/<device>`, or empty).
    pub fn new(scheme: &str, authority: &str, prefix: &str) -> Self {
        Self { outward: format!("{scheme}://{authority}{prefix}"), prefix: prefix.to_owned() }
    }

    /// The address of a request as the device shall hear it. What is not below the prefix stays as it is: a control address
    /// that a player made up from what the device said.
    pub fn to_device(&self, uri: &str) -> String {
        let Some(Address { authority, rest, .. }) = Address::parse(uri) else { return uri.to_owned() };
        let inner = rest
            .strip_prefix(self.prefix.as_str())
            .filter(|inner| self.prefix.is_empty() || inner.is_empty() || inner.starts_with(['/', '?']));
        let inner = inner.unwrap_or(rest);
        let slash = if inner.starts_with('/') { "" } else { "/" };
        format!("rtsp://{authority}{slash}{inner}")
    }

    /// Maps what the player sends: the address of a request.
    pub fn request(&self, message: &mut Message) {
        if let Kind::Request { uri, .. } = message.kind()
            && uri != "*"
        {
            let mapped = self.to_device(uri);
            if mapped != uri {
                message.set_uri(&mapped);
            }
        }
    }

    /// Maps what the device sends: the addresses in the fields and the description of a response, that of a request.
    pub fn answer(&self, message: &mut Message) {
        if let Kind::Request { uri, .. } = message.kind()
            && let Some(outward) = self.to_player(uri)
        {
            message.set_uri(&outward);
        }
        for name in ["Content-Base", "Content-Location", "Location"] {
            if let Some(outward) = message.field(name).and_then(|value| self.to_player(value)) {
                message.set_field(name, &outward);
            }
        }
        let info: Vec<String> = message.fields("RTP-Info").map(str::to_owned).collect();
        if !info.is_empty() {
            message.set_field("RTP-Info", &self.rtp_info(&info.join(",")));
        }
        let kind = message.field("Content-Type").unwrap_or_default();
        if kind.trim().to_ascii_lowercase().starts_with("application/sdp")
            && let Some(body) = self.description(message.body())
        {
            message.set_body(body);
        }
    }

    /// The outward form of an absolute address of the device.
    fn to_player(&self, uri: &str) -> Option<String> {
        Address::parse(uri.trim()).map(|address| format!("{}{}", self.outward, address.rest))
    }

    /// `url=rtsp://…;seq=1;rtptime=2,url=…` (RFC 2326 §12.33); some devices quote the address.
    fn rtp_info(&self, value: &str) -> String {
        let part = |part: &str| {
            let Some(uri) = part.trim().strip_prefix("url=") else { return part.to_owned() };
            let bare = uri.trim_matches('"');
            match self.to_player(bare) {
                Some(outward) if bare.len() < uri.len() => format!("url=\"{outward}\""),
                Some(outward) => format!("url={outward}"),
                None => part.to_owned(),
            }
        };
        let streams = value.split(',').map(|stream| stream.split(';').map(part).collect::<Vec<_>>().join(";"));
        streams.collect::<Vec<_>>().join(",")
    }

    /// The description with its absolute control addresses mapped; `None` when there is none.
    fn description(&self, body: &[u8]) -> Option<Bytes> {
        let mut mapped = Vec::with_capacity(body.len());
        let mut changed = false;
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            let text = std::str::from_utf8(line).unwrap_or_default();
            let outward = text.strip_prefix("a=control:").and_then(|uri| self.to_player(uri.trim_end()));
            match outward {
                Some(outward) => {
                    let end = &text[text.trim_end().len()..];
                    mapped.extend_from_slice(format!("a=control:{outward}{end}").as_bytes());
                    changed = true;
                }
                None => mapped.extend_from_slice(line),
            }
        }
        changed.then(|| mapped.into())
    }
}

/// Takes the token out of the query of an address, and of what players made of that address by adding the name of a track
/// to its end. The first is the address without it.
pub fn without_token(uri: &str) -> (String, Option<Secret>) {
    let Some((path, query)) = uri.split_once('?') else { return (uri.to_owned(), None) };
    let (mut kept, mut token, mut track) = (Vec::new(), None, "");
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some((TOKEN, value)) => {
                let (value, rest) = value.split_at(value.find('/').unwrap_or(value.len()));
                let mut decoded =
                    url::form_urlencoded::parse(format!("{TOKEN}={}", value.replace('+', "%2B")).as_bytes())
                        .map(|(_, value)| value.into_owned())
                        .collect::<Vec<_>>();
                token = decoded.pop().map(Secret::new);
                track = rest;
            }
            _ => kept.push(pair),
        }
    }
    if token.is_none() {
        return (uri.to_owned(), None);
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    let slash = if path.ends_with('/') && query.is_empty() { track.trim_start_matches('/') } else { track };
    (format!("{path}{query}{slash}"), token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rtsp::{Splitter, Unit};

    fn mapping() -> Mapping {
        Mapping::new("rtsp", "gw:8554", "/cam%201")
    }

    fn message(text: &str) -> Message {
        let mut splitter = Splitter::new();
        splitter.push(text.as_bytes());
        match splitter.next_unit() {
            Ok(Some(Unit::Message(message))) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_segment_of_the_device_goes_from_a_request() {
        let map = mapping();
        assert_eq!(map.to_device("rtsp://gw:8554/cam%201/a/b?x=1&y"), "rtsp://gw:8554/a/b?x=1&y");
        assert_eq!(map.to_device("rtsps://u:p@gw/cam%201"), "rtsp://gw/");
        assert_eq!(map.to_device("rtsp://gw/cam%201?x"), "rtsp://gw/?x");
        assert_eq!(map.to_device("rtsp://gw/cam%2011/a"), "rtsp://gw/cam%2011/a");
        assert_eq!(map.to_device("rtsp://192.168.0.9:554/live/trackID=1"), "rtsp://192.168.0.9:554/live/trackID=1");
        assert_eq!(Mapping::new("rtsp", "cam.local", "").to_device("rtsp://cam.local/a"), "rtsp://cam.local/a");
    }

    #[test]
    fn a_request_for_everything_and_one_that_needs_no_change_stay_as_they_came() {
        for text in ["OPTIONS * RTSP/1.0\r\ncseq:  1\r\n\r\n", "SETUP trackID=1 RTSP/1.0\r\nCSeq: 2\r\n\r\n"] {
            let mut request = message(text);
            mapping().request(&mut request);
            assert_eq!(request.to_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn every_address_that_a_device_names_is_one_below_the_gateway() {
        let body = "v=0\r\na=control:*\r\na=control:rtsp://192.168.0.9/live/trackID=1\r\na=control:trackID=2\r\na=x:rtsp://\r\n";
        let mut answer = message(&format!(
            "RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Base: rtsp://192.168.0.9:554/live/\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        mapping().answer(&mut answer);
        assert_eq!(answer.field("Content-Base"), Some("rtsp://gw:8554/cam%201/live/"));
        let body = "v=0\r\na=control:*\r\na=control:rtsp://gw:8554/cam%201/live/trackID=1\r\na=control:trackID=2\r\na=x:rtsp://\r\n";
        assert_eq!(answer.body(), body.as_bytes());
        assert_eq!(answer.field("content-length"), Some(body.len().to_string().as_str()));
    }

    #[test]
    fn rtp_info_keeps_its_numbers_and_relative_addresses_stay() {
        let mut answer = message(
            "RTSP/1.0 200 OK\r\nRTP-Info: url=rtsp://h/a/1;seq=1;rtptime=2,url=trackID=2;seq=3, url=\"rtsp://h/a/3\";seq=4\r\n\r\n",
        );
        mapping().answer(&mut answer);
        let expected = "url=rtsp://gw:8554/cam%201/a/1;seq=1;rtptime=2,url=trackID=2;seq=3,url=\"rtsp://gw:8554/cam%201/a/3\";seq=4";
        assert_eq!(answer.field("RTP-Info"), Some(expected));
    }

    #[test]
    fn an_answer_without_addresses_is_not_touched() {
        let text = "RTSP/1.0 200 OK\r\nCSeq:4\r\nsession:  12;timeout=60\r\nContent-Type: text/parameters\r\nContent-Length: 3\r\n\r\na:b";
        let mut answer = message(text);
        mapping().answer(&mut answer);
        assert_eq!(answer.to_bytes(), text.as_bytes());
    }

    #[test]
    fn a_token_is_taken_out_wherever_players_leave_it() {
        let taken = |uri: &str| {
            let (uri, token) = without_token(uri);
            (uri, token.map(|token| token.expose().to_owned()))
        };
        let with = |uri: &str| (uri.to_owned(), Some("a/b+c".to_owned()));
        assert_eq!(taken("rtsp://g/c/s?token=a%2Fb+c"), with("rtsp://g/c/s"));
        assert_eq!(taken("rtsp://g/c/s?x=1&token=a%2Fb%2Bc&y=2"), with("rtsp://g/c/s?x=1&y=2"));
        assert_eq!(taken("rtsp://g/c/s?token=a%2Fb+c/trackID=1"), with("rtsp://g/c/s/trackID=1"));
        assert_eq!(taken("rtsp://g/c/s?x=1&token=a%2Fb+c/trackID=1"), with("rtsp://g/c/s?x=1/trackID=1"));
        assert_eq!(taken("rtsp://g/c/s?tokens=1"), ("rtsp://g/c/s?tokens=1".to_owned(), None));
    }

    #[test]
    fn the_host_of_an_address_is_found_with_and_without_port() {
        let host = |uri| Address::parse(uri).map(|address| address.host());
        assert_eq!(host("rtsp://cam.localhost:8554/a"), Some("cam.localhost"));
        assert_eq!(host("RTSP://u:p@[::1]"), Some("[::1]"));
        assert_eq!(host("http://h/"), None);
        assert_eq!(host("rtsp:///a"), None);
    }
}
