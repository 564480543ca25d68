//! Tests of the state machine: every method, every refusal.

use super::*;
use crate::{
    base::{digest::Algorithm, secret::Secret},
    demo::camera::rtsp::Options,
};

const STREAM: &str = "rtsp://127.0.0.1:8554/stream";
const INTERLEAVED: &str = "RTP/AVP/TCP;unicast;interleaved=0-1";

fn conversation_with(credentials: Option<(String, Secret)>) -> Conversation {
    let (feed, _) = feed::feed("camera-1");
    let options = Options { listen: ([127, 0, 0, 1], 0).into(), tunnel: false, credentials };
    Conversation::new(Arc::new(Station::new(feed, "camera-1", &options)))
}

fn conversation() -> Conversation {
    conversation_with(None)
}

fn ask(conversation: &mut Conversation, method: &str, uri: &str, fields: &[(&str, &str)]) -> Message {
    let mut request = Message::request(method, uri);
    request.set_field("CSeq", "7");
    fields.iter().for_each(|(name, value)| request.add_field(name, value));
    let (response, _) = conversation.answer(&request, Instant::now());
    assert_eq!(response.field("CSeq"), Some("7"));
    response
}

fn status(response: &Message) -> u16 {
    let Kind::Response { status } = response.kind() else { panic!("{response:?}") };
    status
}

/// A conversation with a session, and the session's name.
fn set_up() -> (Conversation, String) {
    let mut conversation = conversation();
    let response = ask(&mut conversation, "SETUP", &format!("{STREAM}/trackID=0"), &[("Transport", INTERLEAVED)]);
    let session = response.field("Session").expect("a session").to_owned();
    let (id, timeout) = session.split_once(';').expect("a timeout");
    assert_eq!((status(&response), timeout), (200, "timeout=60"));
    (conversation, id.to_owned())
}

#[test]
fn options_lists_what_is_done() {
    let response = ask(&mut conversation(), "OPTIONS", "*", &[]);
    assert_eq!((status(&response), response.field("Public")), (200, Some(METHODS)));
}

#[test]
fn describe_gives_the_description_and_its_base_for_each_spelling_of_the_address() {
    for (uri, expected) in [
        ("rtsp://c:1/stream", "rtsp://c:1/stream/"),
        ("rtsp://c:1/stream/", "rtsp://c:1/stream/"),
        ("RTSP://c:1/stream?profile=1", "RTSP://c:1/stream/"),
        ("rtsp://c:1", "rtsp://c:1/"),
        ("rtsp://c/", "rtsp://c/"),
        ("rtsp://c/stream/trackID=0", "rtsp://c/stream/"),
    ] {
        let response = ask(&mut conversation(), "DESCRIBE", uri, &[("Accept", "application/sdp")]);
        assert_eq!((status(&response), response.field("Content-Base")), (200, Some(expected)), "{uri}");
        assert_eq!(response.field("Content-Type"), Some("application/sdp"));
        assert!(std::str::from_utf8(response.body()).unwrap().starts_with("v=0\r\n"));
        assert_eq!(response.field("Content-Length"), Some(response.body().len().to_string().as_str()));
    }
}

#[test]
fn another_path_is_not_found() {
    for uri in ["rtsp://c/other", "rtsp://c/stream/trackID=1", "rtsp://c/streams", "http://c/stream", "/stream", "*"] {
        for method in ["DESCRIBE", "SETUP", "PLAY"] {
            assert_eq!(status(&ask(&mut conversation(), method, uri, &[])), 404, "{method} {uri}");
        }
    }
}

#[test]
fn a_description_in_another_format_is_not_acceptable() {
    let response = ask(&mut conversation(), "DESCRIBE", STREAM, &[("Accept", "text/html")]);
    assert_eq!(status(&response), 406);
    let response = ask(&mut conversation(), "DESCRIBE", STREAM, &[("Accept", "text/html, application/sdp;q=0.5")]);
    assert_eq!(status(&response), 200);
}

#[test]
fn setup_takes_interleaved_tcp_and_says_which_channels() {
    let mut conversation = conversation();
    let offers = "RTP/AVP;unicast;client_port=4-5,RTP/AVP/TCP;unicast;interleaved=8-9";
    let response = ask(&mut conversation, "SETUP", STREAM, &[("Transport", offers)]);
    let transport = response.field("Transport").unwrap();
    assert!(transport.starts_with("RTP/AVP/TCP;unicast;interleaved=8-9;ssrc="), "{transport}");
    for offer in ["RTP/AVP;unicast;client_port=4-5", "RTP/AVP/UDP;multicast"] {
        let refused = ask(&mut self::conversation(), "SETUP", STREAM, &[("Transport", offer)]);
        assert_eq!(status(&refused), 461, "{offer}");
        assert_eq!(refused.field("Session"), None);
    }
    assert_eq!(status(&ask(&mut self::conversation(), "SETUP", STREAM, &[])), 461);
}

#[test]
fn play_says_where_the_first_packet_is_and_pause_stops() {
    let (mut conversation, id) = set_up();
    assert!(!conversation.is_playing());
    let response = ask(&mut conversation, "PLAY", STREAM, &[("Session", &id), ("Range", "npt=0.000-")]);
    let info = response.field("RTP-Info").unwrap().to_owned();
    assert!(info.starts_with(&format!("url={STREAM}/trackID=0;seq=")) && info.contains(";rtptime="), "{info}");
    assert_eq!((status(&response), response.field("Range")), (200, Some("npt=now-")));
    assert!(conversation.is_playing());
    // A second PLAY while it plays changes nothing.
    let again = ask(&mut conversation, "PLAY", STREAM, &[("Session", &id)]);
    assert_eq!((status(&again), again.field("RTP-Info")), (200, None));
    assert_eq!(status(&ask(&mut conversation, "PAUSE", STREAM, &[("Session", &format!("{id};timeout=60"))])), 200);
    assert!(!conversation.is_playing() && conversation.has_session());
}

#[test]
fn teardown_ends_the_session_and_its_name() {
    let (mut conversation, id) = set_up();
    let response = ask(&mut conversation, "TEARDOWN", STREAM, &[("Session", &id)]);
    assert_eq!((status(&response), conversation.has_session()), (200, false));
    for method in ["PLAY", "PAUSE", "TEARDOWN", "OPTIONS", "GET_PARAMETER", "SETUP"] {
        assert_eq!(status(&ask(&mut conversation, method, STREAM, &[("Session", &id)])), 454, "{method}");
    }
}

#[test]
fn play_pause_and_teardown_need_the_session_by_name() {
    let (mut conversation, id) = set_up();
    for method in ["PLAY", "PAUSE", "TEARDOWN"] {
        assert_eq!(status(&ask(&mut conversation, method, STREAM, &[])), 454);
        assert_eq!(status(&ask(&mut conversation, method, STREAM, &[("Session", &id[1..])])), 454);
    }
    assert!(conversation.has_session());
}

#[test]
fn a_transport_is_not_changed_while_it_plays_nor_doubled() {
    let (mut conversation, id) = set_up();
    let transport = ("Transport", "RTP/AVP/TCP;interleaved=4-5");
    assert_eq!(status(&ask(&mut conversation, "SETUP", STREAM, &[transport])), 455);
    let changed = ask(&mut conversation, "SETUP", STREAM, &[("Session", &id), transport]);
    assert!(changed.field("Transport").unwrap().contains("interleaved=4-5"));
    ask(&mut conversation, "PLAY", STREAM, &[("Session", &id)]);
    assert_eq!(status(&ask(&mut conversation, "SETUP", STREAM, &[("Session", &id), transport])), 455);
}

#[test]
fn empty_parameters_keep_alive_and_others_are_not_understood() {
    let (mut conversation, id) = set_up();
    for method in ["GET_PARAMETER", "SET_PARAMETER"] {
        let response = ask(&mut conversation, method, STREAM, &[("Session", &id)]);
        assert_eq!((status(&response), response.field("Session")), (200, Some(id.as_str())));
        let mut request = Message::request(method, STREAM);
        request.set_field("CSeq", "1");
        request.set_body("brightness: 11\r\n");
        assert_eq!(status(&conversation.answer(&request, Instant::now()).0), 451);
    }
}

#[test]
fn what_the_camera_does_not_do_is_told_apart() {
    let mut conversation = conversation();
    for method in ["ANNOUNCE", "RECORD", "REDIRECT"] {
        let response = ask(&mut conversation, method, STREAM, &[]);
        assert_eq!((status(&response), response.field("Allow")), (405, Some(METHODS)));
    }
    assert_eq!(status(&ask(&mut conversation, "BREW", STREAM, &[])), 501);
    let required = ask(&mut conversation, "SETUP", STREAM, &[("Require", "www.onvif.org/ver20/backchannel")]);
    assert_eq!((status(&required), required.field("Unsupported")), (551, Some("www.onvif.org/ver20/backchannel")));
    let (mut playing, id) = set_up();
    let recorded = ask(&mut playing, "PLAY", STREAM, &[("Session", &id), ("Range", "clock=20260101T000000Z-")]);
    assert_eq!((status(&recorded), playing.is_playing()), (457, false));
}

#[test]
fn a_request_without_a_number_and_a_response_are_bad() {
    let mut conversation = conversation();
    let (response, _) = conversation.answer(&Message::request("OPTIONS", "*"), Instant::now());
    assert_eq!((status(&response), response.field("CSeq")), (400, None));
    let (response, alive) = conversation.answer(&Message::response(200, "OK"), Instant::now());
    assert_eq!((status(&response), alive), (400, false));
}

/// Credentials for a challenge, as players without qop write them.
fn answer_to(challenge: &str, algorithm: Algorithm, password: &str, method: &str) -> String {
    let part = |name: &str| {
        let rest = challenge.split(&format!("{name}=\"")).nth(1).expect(name);
        rest.split('"').next().expect(name).to_owned()
    };
    let (realm, nonce) = (part("realm"), part("nonce"));
    let (a1, a2) =
        (algorithm.hash(&format!("admin:{realm}:{password}")), algorithm.hash(&format!("{method}:{STREAM}")));
    let response = algorithm.hash(&format!("{a1}:{nonce}:{a2}"));
    let name = if algorithm == Algorithm::Md5 { "MD5" } else { "SHA-256" };
    format!(
        "Digest username=\"admin\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{STREAM}\", response=\"{response}\", \
         algorithm={name}"
    )
}

fn guarded() -> Conversation {
    conversation_with(Some(("admin".to_owned(), Secret::new("pw"))))
}

fn challenges(response: &Message) -> Vec<String> {
    response.fields("WWW-Authenticate").map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn with_credentials_nothing_but_options_is_answered_unasked() {
    let mut conversation = guarded();
    assert_eq!(status(&ask(&mut conversation, "OPTIONS", STREAM, &[])), 200);
    for method in ["DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER", "BREW"] {
        let response = ask(&mut conversation, method, STREAM, &[]);
        assert_eq!((status(&response), challenges(&response).len()), (401, 2), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn both_algorithms_are_let_in_and_a_wrong_password_is_not() {
    let mut conversation = guarded();
    let challenged = challenges(&ask(&mut conversation, "DESCRIBE", STREAM, &[]));
    for (challenge, algorithm) in challenged.iter().zip([Algorithm::Sha256, Algorithm::Md5]) {
        let good = answer_to(challenge, algorithm, "pw", "DESCRIBE");
        assert_eq!(status(&ask(&mut conversation, "DESCRIBE", STREAM, &[("Authorization", &good)])), 200);
        let wrong = answer_to(challenge, algorithm, "other", "DESCRIBE");
        let refused = ask(&mut conversation, "DESCRIBE", STREAM, &[("Authorization", &wrong)]);
        assert_eq!(status(&refused), 401);
        assert!(!challenges(&refused)[0].contains("stale"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_nonce_is_stale_and_its_request_keeps_nothing_alive() {
    let mut conversation = guarded();
    let challenge = challenges(&ask(&mut conversation, "DESCRIBE", STREAM, &[])).remove(1);
    tokio::time::advance(std::time::Duration::from_secs(300)).await;
    let mut request = Message::request("DESCRIBE", STREAM);
    request.set_field("CSeq", "2");
    request.set_field("Authorization", &answer_to(&challenge, Algorithm::Md5, "pw", "DESCRIBE"));
    let (response, alive) = conversation.answer(&request, Instant::now());
    assert_eq!((status(&response), alive), (401, false));
    assert!(challenges(&response).iter().all(|challenge| challenge.ends_with("stale=true")));
}
