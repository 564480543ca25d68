//! The camera's ONVIF services: device, media, media2, PTZ, imaging and events, as a small camera of Profile S and T has them.
//!
//! ONVIF Core Specification §8 (device management) and §9 (event handling), Media, Media2, PTZ and Imaging Service
//! Specifications. Every address in an answer begins with [`Addresses`], which a camera builds from what it thinks its own
//! address is. `soap` reads and writes messages; each service is a file of its own; `subscriptions` holds the pull points,
//! `journal` what was done to the camera.
//!
//! What is asked for is done, or refused with the fault of the specification; nothing is accepted and forgotten.

mod device;
mod duration;
mod events;
mod imaging;
mod journal;
mod media;
mod media2;
mod ptz;
mod soap;
mod subscriptions;

use std::sync::Arc;

use quick_xml::escape::escape;

pub use self::soap::Answer;
use self::{
    journal::Journal,
    ptz::Presets,
    soap::{Call, Fault},
    subscriptions::Subscriptions,
};
use super::optics::Optics;

/// Where every service but the device's is found: a word and this.
const SERVICE_SUFFIX: &str = "_service";
const FOLDER: &str = "/onvif/";
/// Where a pull point is found, before its number.
const SUBSCRIPTION: &str = "/onvif/subscription/";
/// The words of the services' paths.
const SERVICES: [&str; 6] = ["device", "media", "media2", "ptz", "imaging", "event"];
/// The ONVIF release that the answers follow, as major and minor.
const VERSION: &str = "<tt:Major>18</tt:Major><tt:Minor>12</tt:Minor>";
/// The only video source.
const VIDEO_SOURCE: &str = "VideoSource_1";
/// The only profile.
const PROFILE: &str = "Profile_1";

/// What the camera says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Version of its firmware.
    pub firmware: String,
    /// Its serial number.
    pub serial: String,
    /// Its hardware.
    pub hardware: String,
}

/// What the addresses in the answers begin with.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Of the web service, ready to stand in XML: `http://192.168.1.10`.
    http: String,
    /// Of the RTSP server, if there is one: `rtsp://192.168.1.10`.
    rtsp: Option<String>,
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
    fn service(&self, word: &str) -> String {
        format!("{}{FOLDER}{word}{SERVICE_SUFFIX}", self.http)
    }

    /// Where the stream plays.
    ///
    /// # Errors
    /// The camera runs without its RTSP server.
    fn stream(&self) -> Result<String, Fault> {
        let rtsp = self.rtsp.as_ref().ok_or(Fault::receiver(
            &["ter:ActionNotSupported"],
            "This camera emulator runs without its RTSP server; start it with --rtsp.",
        ))?;
        Ok(format!("{rtsp}/stream"))
    }
}

/// One message to the camera, and what stands around it.
#[derive(Debug)]
struct Asked<'a> {
    call: &'a Call,
    addresses: &'a Addresses,
    /// The path to which it was sent.
    path: &'a str,
    /// The camera's time of day in milliseconds since 1970 UTC.
    unix_ms: u64,
}

/// All services of a camera.
#[derive(Debug)]
pub struct Services {
    facts: Facts,
    optics: Arc<Optics>,
    presets: Presets,
    subscriptions: Subscriptions,
    journal: Journal,
}

impl Services {
    /// Of a camera with these facts that looks through `optics`.
    pub fn new(facts: Facts, optics: Arc<Optics>) -> Self {
        Self {
            facts,
            optics,
            presets: Presets::default(),
            subscriptions: Subscriptions::new(),
            journal: Journal::default(),
        }
    }

    /// Whether messages are taken at this path.
    pub fn has(path: &str) -> bool {
        let service = path.strip_prefix(FOLDER).and_then(|rest| rest.strip_suffix(SERVICE_SUFFIX));
        service.is_some_and(|word| SERVICES.contains(&word)) || path.starts_with(SUBSCRIPTION)
    }

    /// Answers one message that came to `path` at this time of day of the camera. Pulling events waits as long as the message
    /// says, a minute at most. Cancel safe: an event that was not handed over is pulled again.
    pub async fn answer(&self, request: &[u8], path: &str, addresses: &Addresses, unix_ms: u64) -> Answer {
        match Call::read(request) {
            Ok(call) => {
                let result = self.perform(&Asked { call: &call, addresses, path, unix_ms }).await;
                Answer::new(result, Some(&call))
            }
            Err(fault) => Answer::new(Err(fault), None),
        }
    }

    /// What was done to the camera, a line each.
    pub fn log(&self) -> String {
        self.journal.text()
    }

    async fn perform(&self, asked: &Asked<'_>) -> Result<String, Fault> {
        let (namespace, operation) = asked.call.operation();
        match namespace {
            device::NAMESPACE => device::answer(self, asked, operation),
            media::NAMESPACE => media::answer(asked, operation),
            media2::NAMESPACE => media2::answer(asked, operation),
            ptz::NAMESPACE => ptz::answer(self, asked, operation),
            imaging::NAMESPACE => imaging::answer(self, asked, operation),
            events::NAMESPACE | events::NOTIFICATION => events::answer(self, asked, operation).await,
            _ => Err(Fault::not_supported()),
        }
    }
}

impl Asked<'_> {
    /// The text of a required argument.
    fn need(&self, name: &str) -> Result<&str, Fault> {
        self.call.arguments.value(name).ok_or(Fault::sender(&["ter:InvalidArgs"], "An argument is missing."))
    }

    /// Checks that the argument `ProfileToken` is that of the camera's profile.
    fn profile(&self) -> Result<(), Fault> {
        token(self.need("ProfileToken")?, PROFILE, &["ter:InvalidArgVal", "ter:NoProfile"])
    }

    /// Checks that the argument `name`, if it is there, is `expected`.
    fn optional(&self, name: &str, expected: &str) -> Result<(), Fault> {
        self.call
            .arguments
            .value(name)
            .map_or(Ok(()), |found| token(found, expected, &["ter:InvalidArgVal", "ter:NoConfig"]))
    }
}

fn token(found: &str, expected: &str, subcodes: &'static [&'static str]) -> Result<(), Fault> {
    if found == expected { Ok(()) } else { Err(Fault::sender(subcodes, "The camera has nothing of that token.")) }
}

/// A time of day as XML writes it (xs:dateTime in UTC).
fn date_time(unix_ms: u64) -> String {
    let at = super::clock::utc(unix_ms);
    let (hour, minute, second) = at.to_hms();
    let (year, month, day) = at.to_calendar_date();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", u8::from(month), unix_ms % 1000)
}

/// The local name of a message's operation; `None` when it has none that can be read.
pub fn operation(request: &[u8]) -> Option<String> {
    Call::read(request).ok().map(|call| call.operation().1.to_owned())
}

/// The answer to a message without the credentials that it needs (ONVIF Core, Generic faults).
pub fn not_authorized() -> Answer {
    Answer::new(Err(Fault::sender(&["ter:NotAuthorized"], "This camera wants a UsernameToken.")), None)
}

#[cfg(test)]
mod services_tests;
#[cfg(test)]
#[path = "soap_tests.rs"]
mod tests;
