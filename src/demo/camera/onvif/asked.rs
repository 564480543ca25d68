//! A message with what stands around it: where it came to, when, and the addresses that its answer names.

use quick_xml::escape::escape;

use super::soap::{Call, Fault};
use crate::demo::camera::clock;

/// Where every service but the device's is found: a word and this.
pub(super) const SERVICE_SUFFIX: &str = "_service";
pub(super) const FOLDER: &str = "/onvif/";
/// Where a pull point is found, before its number.
pub(super) const SUBSCRIPTION: &str = "/onvif/subscription/";
/// The words of the services' paths.
pub(super) const SERVICES: [&str; 6] = ["device", "media", "media2", "ptz", "imaging", "event"];
/// The ONVIF release that the answers follow, as major and minor.
pub(super) const VERSION: &str = "<tt:Major>18</tt:Major><tt:Minor>12</tt:Minor>";
/// The only video source.
pub(super) const VIDEO_SOURCE: &str = "VideoSource_1";
/// The only profile.
pub(super) const PROFILE: &str = "Profile_1";

/// What the addresses in the answers begin with.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Of the web service, ready to stand in XML: `http://192.168.1.10`.
    pub(super) http: String,
    /// Of the RTSP server, if there is one: `rtsp://192.168.1.10`.
    pub(super) rtsp: Option<String>,
}

impl Addresses {
    /// For a camera known as `host` whose web service is on `port`, none for that of its scheme; so for `rtsp_port`.
    pub fn new(host: &str, port: Option<u16>, rtsp_port: Option<u16>) -> Self {
        let address = |scheme: &str, port: Option<u16>, usual: u16| {
            let host = escape(host);
            match port.filter(|port| *port != usual) {
                Some(port) => format!("{scheme}://{host}:{port}"),
                None => format!("{scheme}://{host}"),
            }
        };
        Self { http: address("http", port, 80), rtsp: rtsp_port.map(|port| address("rtsp", Some(port), 554)) }
    }

    /// The address of a service.
    pub(super) fn service(&self, word: &str) -> String {
        format!("{}{FOLDER}{word}{SERVICE_SUFFIX}", self.http)
    }

    /// Where the stream plays.
    ///
    /// # Errors
    /// The camera runs without its RTSP server.
    pub(super) fn stream(&self) -> Result<String, Fault> {
        let rtsp = self.rtsp.as_ref().ok_or(Fault::receiver(
            &["ter:ActionNotSupported"],
            "This camera emulator runs without its RTSP server; start it with --rtsp.",
        ))?;
        Ok(format!("{rtsp}/stream"))
    }
}

/// One message to the camera, and what stands around it.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) call: &'a Call,
    pub(super) addresses: &'a Addresses,
    /// The path to which it was sent.
    pub(super) path: &'a str,
    /// The camera's time of day in milliseconds since 1970 UTC.
    pub(super) unix_ms: u64,
}

impl Asked<'_> {
    /// The text of a required argument.
    pub(super) fn need(&self, name: &str) -> Result<&str, Fault> {
        self.call.arguments.value(name).ok_or(Fault::sender(&["ter:InvalidArgs"], "An argument is missing."))
    }

    /// Checks that the argument `ProfileToken` is that of the camera's profile.
    pub(super) fn profile(&self) -> Result<(), Fault> {
        token(self.need("ProfileToken")?, PROFILE, &["ter:InvalidArgVal", "ter:NoProfile"])
    }

    /// Checks that the argument `name`, if it is there, is `expected`.
    pub(super) fn optional(&self, name: &str, expected: &str) -> Result<(), Fault> {
        self.call
            .arguments
            .value(name)
            .map_or(Ok(()), |found| token(found, expected, &["ter:InvalidArgVal", "ter:NoConfig"]))
    }
}

pub(super) fn token(found: &str, expected: &str, subcodes: &'static [&'static str]) -> Result<(), Fault> {
    if found == expected { Ok(()) } else { Err(Fault::sender(subcodes, "The camera has nothing of that token.")) }
}

/// A time of day as XML writes it (xs:dateTime in UTC).
pub(super) fn date_time(unix_ms: u64) -> String {
    let at = clock::utc(unix_ms);
    let (hour, minute, second) = at.to_hms();
    let (year, month, day) = at.to_calendar_date();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", u8::from(month), unix_ms % 1000)
}
