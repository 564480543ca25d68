//! The first request of a player: whose camera it wants and whether it may.
//!
//! A token file of the front counts here too. Players know one way to show it that all of them have, a user name and password
//! in the address, which they send as Basic once they are asked; and all of them keep a query. So the token is the password
//! of Basic (`rtsp://any:TOKEN@gateway/…`) or a parameter of the query (`rtsp://gateway/…?token=TOKEN`). The first leaves no
//! place for credentials of the device, the second does.

use http::{StatusCode, uri::PathAndQuery};

use super::{
    map::{Address, Mapping, without_token},
    up::clean,
};
use crate::{
    base::rtsp::{Kind, Message},
    gateway::{front::Front, route},
};

/// What a player may ask for before it has named a device.
const PUBLIC: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN";

/// What comes of a first request.
#[derive(Debug)]
pub enum Begin {
    /// The gateway answers, and the player may ask again.
    Answer(Message),
    /// It is for a device.
    Device(Box<Wanted>),
}

/// What a player wants.
#[derive(Debug)]
pub struct Wanted {
    /// The name of the device.
    pub device: String,
    /// Whether it came from a host name, in which case does not count.
    pub any_case: bool,
    /// What is asked of the device.
    pub path: PathAndQuery,
    /// Host and port as the player wrote them.
    pub authority: String,
    /// How the addresses of this player are mapped.
    pub map: Mapping,
    /// The request, without what was for the gateway.
    pub request: Message,
}

/// Looks at a request of a player that has no device yet.
pub fn begin(front: &Front, mut request: Message) -> Begin {
    let Kind::Request { method, uri } = request.kind() else {
        return answer(&request, StatusCode::BAD_REQUEST, "a player begins with a request");
    };
    let (address, token) = match front.access.uses_authorization() {
        true => without_token(uri),
        false => (uri.to_owned(), None),
    };
    let shown = token.is_some_and(|token| front.access.is_token(token.expose()))
        || request.fields("Authorization").any(|value| front.access.is_shown(value));
    if front.access.uses_authorization() && !shown {
        return unauthorized(&request);
    }
    if address == "*" && method == "OPTIONS" {
        let mut response = response(&request, StatusCode::OK, "OK");
        response.add_field("Public", PUBLIC);
        return Begin::Answer(response);
    }
    let bad = |sentence| answer(&request, StatusCode::BAD_REQUEST, sentence);
    let Some(parts) = Address::parse(&address) else {
        return bad("write rtsp://GATEWAY/DEVICE/PATH");
    };
    let named = front.suffixes.iter().find_map(|suffix| route::label(parts.host(), suffix));
    let (device, prefix) = match named {
        Some(device) => (Some(device.to_owned()), String::new()),
        None => {
            let segment = parts.rest.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
            (route::decode(segment), format!("/{segment}"))
        }
    };
    let device = match device {
        None => return bad("the name of the device is not valid percent-encoded UTF-8"),
        Some(device) if device.is_empty() => {
            return answer(&request, StatusCode::NOT_FOUND, "which device? Write rtsp://GATEWAY/DEVICE/PATH");
        }
        Some(device) => device,
    };
    let map = Mapping::new(&parts.scheme.to_ascii_lowercase(), parts.authority, &prefix);
    let inner = map.to_device(&address);
    let inner = Address::parse(&inner).map_or("/", |inner| inner.rest);
    let Ok(path) = PathAndQuery::try_from(inner) else { return bad("the path is not valid") };
    let (authority, any_case) = (parts.authority.to_owned(), named.is_some());
    clean(front, &mut request);
    Begin::Device(Box::new(Wanted { device, any_case, path, authority, map, request }))
}

fn unauthorized(request: &Message) -> Begin {
    let sentence = "this gateway needs its token: as the password in the address, or as ?token=";
    let mut response = response(request, StatusCode::UNAUTHORIZED, sentence);
    response.add_field("WWW-Authenticate", "Basic realm=\"onvif-uplink\"");
    Begin::Answer(response)
}

fn answer(request: &Message, status: StatusCode, sentence: &str) -> Begin {
    Begin::Answer(response(request, status, sentence))
}

/// A response of the gateway itself. Players show the reason and seldom a body, so the sentence is the reason.
pub fn response(request: &Message, status: StatusCode, sentence: &str) -> Message {
    let one_line: String = sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut response = Message::response(status.as_u16(), &one_line);
    if let Some(sequence) = request.field("CSeq") {
        response.add_field("CSeq", sequence);
    }
    response
}

/// The status of RTSP for one of HTTP (RFC 2326 §11): the same numbers, as far as both have them.
pub fn status_of(http: StatusCode) -> StatusCode {
    match http.as_u16() {
        400..=408 | 410 | 413..=415 | 500..=505 => http,
        _ => StatusCode::BAD_GATEWAY,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gateway::{auth::FrontAccess, directory::Directory, metrics::Metrics, pairs::Pairs};

    const TOKEN: &str = "0123456789abcdef";

    fn front(token: bool) -> Front {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("token");
        std::fs::write(&file, TOKEN).expect("written");
        let address = "127.0.0.1:1".parse().expect("address");
        Front {
            access: FrontAccess::new(address, token.then_some(file), false).expect("access"),
            suffixes: vec!["cams.example.com".to_owned()],
            domain: None,
            rtsp: None,
            directory: Arc::new(Directory::default()),
            metrics: Metrics::default(),
            pairs: Arc::new(Pairs::default()),
        }
    }

    fn wanted(front: &Front, uri: &str) -> Result<Box<Wanted>, String> {
        let mut request = Message::request("DESCRIBE", uri);
        request.add_field("CSeq", "7");
        match begin(front, request) {
            Begin::Device(wanted) => Ok(wanted),
            Begin::Answer(answer) => Err(String::from_utf8_lossy(&answer.to_bytes()).into_owned()),
        }
    }

    #[test]
    fn a_device_is_named_by_the_first_segment_or_by_the_host() {
        let front = front(false);
        let by_path = wanted(&front, "rtsp://gw:8554/cam%201/a?x=1").expect("a device");
        assert_eq!((by_path.device.as_str(), by_path.path.as_str(), by_path.any_case), ("cam 1", "/a?x=1", false));
        let by_host = wanted(&front, "rtsp://Cam-1.cams.example.com/a").expect("a device");
        assert_eq!((by_host.device.as_str(), by_host.path.as_str(), by_host.any_case), ("Cam-1", "/a", true));
        assert_eq!(wanted(&front, "rtsp://gw/cam").expect("a device").path.as_str(), "/");
    }

    #[test]
    fn what_names_no_device_is_answered_with_a_sentence_and_its_number() {
        let front = front(false);
        for (uri, status) in [("/cam/a", "400"), ("rtsp://gw", "404"), ("rtsp://gw/%ff/a", "400"), ("*", "400")] {
            let answer = wanted(&front, uri).expect_err(uri);
            assert!(
                answer.starts_with(&format!("RTSP/1.0 {status} ")) && answer.contains("\r\nCSeq: 7\r\n"),
                "{answer}"
            );
        }
    }

    #[test]
    fn with_a_token_file_only_the_token_opens() {
        let front = front(true);
        let refused = wanted(&front, "rtsp://gw/cam/a").expect_err("no token");
        assert!(refused.starts_with("RTSP/1.0 401 ") && refused.contains("WWW-Authenticate: Basic "), "{refused}");
        assert!(wanted(&front, "rtsp://gw/cam/a?token=wrong").is_err());
        let opened = wanted(&front, &format!("rtsp://gw/cam/a?token={TOKEN}")).expect("the token");
        assert_eq!(opened.path.as_str(), "/a");
        assert!(matches!(opened.request.kind(), Kind::Request { uri: "rtsp://gw/cam/a", .. }));
    }

    #[test]
    fn options_for_everything_is_answered_here() {
        let Begin::Answer(answer) = begin(&front(false), Message::request("OPTIONS", "*")) else { panic!("an answer") };
        assert_eq!(answer.field("Public"), Some(PUBLIC));
    }

    #[test]
    fn numbers_that_rtsp_does_not_have_become_502() {
        assert_eq!(status_of(StatusCode::NOT_FOUND), StatusCode::NOT_FOUND);
        assert_eq!(status_of(StatusCode::CONFLICT), StatusCode::BAD_GATEWAY);
        assert_eq!(status_of(StatusCode::OK), StatusCode::BAD_GATEWAY);
    }
}
