//! One RTSP conversation as a state machine (RFC 2326 §10, appendix A): requests in, responses and video out, no I/O.
//!
//! A session lives on the connection that set it up, as the video is interleaved there. A camera has one picture, so there is
//! one session in a conversation, and an address of the track means the same as one of the presentation.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    jpeg::{NotCarried, Scan},
    rtp::Track,
    sdp,
    station::{SESSION_TIMEOUT, Station},
    transport,
};
use crate::{
    base::{
        digest::Verdict,
        random::random_hex,
        rtsp::{Frame, Kind, Message},
    },
    demo::camera::feed,
};

/// What this camera does.
const METHODS: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN";
/// The product's name and version, as cameras show theirs.
pub const SERVER: &str = concat!("onvif-uplink-camera/", env!("CARGO_PKG_VERSION"));

#[derive(Debug)]
struct Session {
    id: String,
    track: Track,
    playing: bool,
}

/// The state of one conversation.
#[derive(Debug)]
pub struct Conversation {
    station: Arc<Station>,
    session: Option<Session>,
}

/// A refusal: status, reason phrase of RFC 2326 §7.1.1, sentence for people.
struct Refusal(u16, &'static str, &'static str);

const NOT_FOUND: Refusal = Refusal(404, "Not Found", "This camera shows its picture at /stream.");
const NO_SESSION: Refusal =
    Refusal(454, "Session Not Found", "There is no such session on this connection; send SETUP.");

impl Conversation {
    /// At the beginning of a connection.
    pub fn new(station: Arc<Station>) -> Self {
        Self { station, session: None }
    }

    /// Whether pictures are to be sent.
    pub fn is_playing(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.playing)
    }

    /// Whether there is a session.
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Whether an interleaved frame of the player keeps the session alive: receiver reports do (RFC 2326 §12.37 leaves
    /// it open; players that send nothing else exist).
    pub fn is_report(&self, frame: &Frame) -> bool {
        self.session.as_ref().is_some_and(|session| session.track.channels().1 == frame.channel())
    }

    /// Answers a request. The flag says whether it keeps the session alive: all do that were allowed in.
    pub fn answer(&mut self, request: &Message, now: Instant) -> (Message, bool) {
        let Kind::Request { method, uri } = request.kind() else {
            let refusal = Refusal(400, "Bad Request", "This camera asks nothing and takes no responses.");
            return (refuse(&refusal), false);
        };
        let (mut response, good) = match self.challenge(request, method, uri) {
            Some(challenge) => (challenge, false),
            None => (self.perform(request, method, uri, now).unwrap_or_else(|refusal| refuse(&refusal)), true),
        };
        match request.field("CSeq") {
            Some(number) => response.set_field("CSeq", number),
            None => response = refuse(&Refusal(400, "Bad Request", "A request needs a CSeq.")),
        }
        response.set_field("Server", SERVER);
        (response, good)
    }

    /// Writes one picture.
    ///
    /// # Errors
    /// The JPEG is none that the payload format can carry: a defect of the emulator.
    pub fn put_picture(&mut self, out: &mut BytesMut, frame: &feed::Frame, now: Instant) -> Result<(), NotCarried> {
        if let Some(session) = self.session.as_mut().filter(|session| session.playing) {
            let scan = Scan::parse(&frame.jpeg)?;
            session.track.put_picture(out, &scan, frame.stamp, &self.station.name, now);
        }
        Ok(())
    }

    /// Ends the session, if there is one, and says so to the player.
    pub fn end_session(&mut self, out: &mut BytesMut) {
        if let Some(session) = self.session.take() {
            session.track.put_goodbye(out);
        }
    }

    /// The refusal of a request that needs other credentials. `OPTIONS` needs none: players ask before they know.
    fn challenge(&self, request: &Message, method: &str, uri: &str) -> Option<Message> {
        let verifier = self.station.verifier.as_ref().filter(|_| method != "OPTIONS")?;
        let stale = match verifier.verify(request.field("Authorization"), method, uri) {
            Verdict::Granted(_) => return None,
            Verdict::Stale => true,
            Verdict::Missing => false,
            Verdict::Refused(reason) => {
                tracing::debug!(reason, "the camera refused the credentials of a player");
                false
            }
        };
        let mut response = refuse(&Refusal(401, "Unauthorized", "This camera asks for Digest credentials."));
        verifier.challenges(stale).iter().for_each(|value| response.add_field("WWW-Authenticate", value));
        Some(response)
    }

    fn perform(&mut self, request: &Message, method: &str, uri: &str, now: Instant) -> Result<Message, Refusal> {
        if let Some(option) = request.field("Require") {
            let mut response = refuse(&Refusal(551, "Option not supported", "This camera knows no options."));
            response.set_field("Unsupported", option);
            return Ok(response);
        }
        let named = request.field("Session").map(|value| value.split(';').next().unwrap_or_default().trim());
        if named.is_some_and(|named| self.session.as_ref().is_none_or(|session| session.id != named)) {
            return Err(NO_SESSION);
        }
        match method {
            "OPTIONS" => {
                let mut response = self.done();
                response.set_field("Public", METHODS);
                Ok(response)
            }
            "GET_PARAMETER" | "SET_PARAMETER" => self.parameters(request),
            "DESCRIBE" | "SETUP" | "PLAY" | "PAUSE" | "TEARDOWN" if !path(uri).is_some_and(is_camera) => Err(NOT_FOUND),
            "DESCRIBE" => self.describe(request, uri),
            "SETUP" => self.setup(request),
            "PLAY" | "PAUSE" | "TEARDOWN" if named.is_none() => Err(NO_SESSION),
            "PLAY" => self.play(request, uri, now),
            "PAUSE" => {
                self.session.iter_mut().for_each(|session| session.playing = false);
                Ok(self.done())
            }
            "TEARDOWN" => {
                let response = self.done();
                self.session = None;
                Ok(response)
            }
            "ANNOUNCE" | "RECORD" | "REDIRECT" => {
                let mut response = refuse(&Refusal(405, "Method Not Allowed", "This camera only plays."));
                response.set_field("Allow", METHODS);
                Ok(response)
            }
            _ => {
                let mut response = refuse(&Refusal(501, "Not Implemented", "This camera does not know the method."));
                response.set_field("Public", METHODS);
                Ok(response)
            }
        }
    }

    /// 200, with the session if there is one.
    fn done(&self) -> Message {
        let mut response = Message::response(200, "OK");
        if let Some(session) = &self.session {
            response.set_field("Session", &session.id);
        }
        response
    }

    /// Empty ones keep a session alive; this camera has no parameters.
    fn parameters(&self, request: &Message) -> Result<Message, Refusal> {
        if request.body().iter().all(u8::is_ascii_whitespace) {
            return Ok(self.done());
        }
        Err(Refusal(451, "Parameter Not Understood", "This camera has no parameters."))
    }

    fn describe(&self, request: &Message, uri: &str) -> Result<Message, Refusal> {
        let accepted = |value: &str| {
            let kind = value.split(';').next().unwrap_or_default().trim();
            [sdp::CONTENT_TYPE, "application/*", "*/*"].iter().any(|known| kind.eq_ignore_ascii_case(known))
        };
        if request.field("Accept").is_some_and(|field| !field.split(',').any(accepted)) {
            return Err(Refusal(406, "Not Acceptable", "This camera describes itself as application/sdp."));
        }
        let mut response = self.done();
        response.set_field("Content-Base", &format!("{}/", base(uri)));
        response.set_field("Content-Type", sdp::CONTENT_TYPE);
        response.set_field("Cache-Control", "no-cache");
        response.set_body(sdp::describe(&self.station.name));
        Ok(response)
    }

    fn setup(&mut self, request: &Message) -> Result<Message, Refusal> {
        if request.field("Session").is_none() && self.session.is_some() {
            let sentence = "This connection has a session already; name it to change it.";
            return Err(Refusal(455, "Method Not Valid in This State", sentence));
        }
        if self.is_playing() {
            return Err(Refusal(455, "Method Not Valid in This State", "PAUSE before the transport is changed."));
        }
        let offered = request.fields("Transport").find_map(transport::choose);
        let channels = offered.ok_or(Refusal(461, "Unsupported Transport", "This camera has RTP/AVP/TCP only."))?;
        let session = self.session.get_or_insert_with(|| Session {
            id: random_hex::<8>(),
            track: Track::new(channels),
            playing: false,
        });
        session.track.set_channels(channels);
        let (rtp, rtcp) = channels;
        let taken =
            format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp};ssrc={:08X};mode=\"PLAY\"", session.track.ssrc());
        let id = format!("{};timeout={}", session.id, SESSION_TIMEOUT.as_secs());
        let mut response = self.done();
        response.set_field("Session", &id);
        response.set_field("Transport", &taken);
        response.set_field("Cache-Control", "no-cache");
        Ok(response)
    }

    fn play(&mut self, request: &Message, uri: &str, now: Instant) -> Result<Message, Refusal> {
        // Whatever part of a live picture is asked for begins now; times of day would be a recording.
        if request.field("Range").is_some_and(|range| !range.trim_start().to_ascii_lowercase().starts_with("npt")) {
            return Err(Refusal(457, "Invalid Range", "This camera is live: it has no times but npt."));
        }
        let mut response = self.done();
        let Some(session) = &mut self.session else { return Err(NO_SESSION) };
        response.set_field("Range", "npt=now-");
        if !session.playing {
            session.playing = true;
            let start = session.track.start(now);
            let (sequence, timestamp) = (start.sequence, start.timestamp);
            let info = format!("url={}/{};seq={sequence};rtptime={timestamp}", base(uri), sdp::TRACK);
            response.set_field("RTP-Info", &info);
        }
        Ok(response)
    }
}

fn refuse(&Refusal(status, reason, sentence): &Refusal) -> Message {
    let mut response = Message::response(status, reason);
    response.set_field("Content-Type", "text/plain; charset=utf-8");
    response.set_body(format!("{sentence}\n"));
    response
}

/// The response to what is not RTSP, after which the connection ends.
pub fn farewell(sentence: &str) -> Message {
    let mut response = refuse(&Refusal(400, "Bad Request", ""));
    response.set_field("Server", SERVER);
    response.set_field("Connection", "close");
    response.set_body(format!("{sentence}\n"));
    response
}

/// The path of an address without its query and slashes at the end; `None` when it is none of RTSP.
fn path(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    let rest = rest.split('?').next().unwrap_or_default();
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    scheme.eq_ignore_ascii_case("rtsp").then(|| path.trim_end_matches('/'))
}

/// Whether a path without slashes at its end is one of the camera or of its track.
pub fn is_camera(path: &str) -> bool {
    let presentation = path.strip_suffix(sdp::TRACK).and_then(|path| path.strip_suffix('/')).unwrap_or(path);
    matches!(presentation, "" | "/stream")
}

/// The presentation's address without a slash at the end, as the player wrote it.
fn base(uri: &str) -> &str {
    let uri = uri.split('?').next().unwrap_or_default().trim_end_matches('/');
    uri.strip_suffix(sdp::TRACK).unwrap_or(uri).trim_end_matches('/')
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
