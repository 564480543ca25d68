//! WS-Security UsernameToken (OASIS UsernameToken Profile 1.0; ONVIF Core, Authentication) and the device's clock.
//!
//! A token is good only near the time that the device believes it is, often 5 s. So it is made in the device's time: how far
//! the clocks are apart is asked with GetSystemDateAndTime, which needs no credentials.

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use quick_xml::{escape::escape, events::Event, reader::Reader};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time, macros::format_description};

use crate::base::secret::Secret;

/// Namespace of the header block.
pub const SECURITY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const UTILITY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const DIGEST_TYPE: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
const BASE64_TYPE: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";
/// Bytes of a nonce. Some devices refuse long ones.
const NONCE_BYTES: usize = 16;
/// Elements that are read of an answer about the time; a real one has some thirty.
const EVENTS_MAX: usize = 500;

/// A whole header block for one message, at this time of the device.
pub fn security(username: &str, password: &Secret, device_time: SystemTime) -> String {
    let mut nonce = [0; NONCE_BYTES];
    // The system's random numbers do not fail after the start; the time alone still makes each second's token another.
    let _ = SystemRandom::new().fill(&mut nonce);
    with_nonce(username, password, &created(device_time), &nonce)
}

fn with_nonce(username: &str, password: &Secret, created: &str, nonce: &[u8]) -> String {
    let mut hashed = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    [nonce, created.as_bytes(), password.expose().as_bytes()].into_iter().for_each(|part| hashed.update(part));
    let (hash, nonce) = (STANDARD.encode(hashed.finish()), STANDARD.encode(nonce));
    format!(
        "<wsse:Security xmlns:wsse=\"{SECURITY}\" xmlns:wsu=\"{UTILITY}\"><wsse:UsernameToken>\
         <wsse:Username>{}</wsse:Username><wsse:Password Type=\"{DIGEST_TYPE}\">{hash}</wsse:Password>\
         <wsse:Nonce EncodingType=\"{BASE64_TYPE}\">{nonce}</wsse:Nonce><wsu:Created>{created}</wsu:Created>\
         </wsse:UsernameToken></wsse:Security>",
        escape(username)
    )
}

/// Whole seconds: some devices refuse fractions.
fn created(time: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    OffsetDateTime::from(time).format(format).unwrap_or_default()
}

/// How far a device's clock is from ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffset {
    /// Seconds to add to our time.
    seconds: i64,
}

impl ClockOffset {
    /// From the device's time and ours at the same moment.
    pub fn between(device: SystemTime, ours: SystemTime) -> Self {
        Self { seconds: crate::base::clock::offset_seconds(device, ours) }
    }

    /// The device's time at a moment of ours.
    pub fn apply(self, ours: SystemTime) -> SystemTime {
        let amount = Duration::from_secs(self.seconds.unsigned_abs());
        let moved = if self.seconds < 0 { ours.checked_sub(amount) } else { ours.checked_add(amount) };
        moved.unwrap_or(ours)
    }

    /// Whether two measurements differ by more than what rounding makes.
    pub fn differs(self, other: Self) -> bool {
        self.seconds.abs_diff(other.seconds) > 1
    }
}

/// The request that asks a device for its time.
pub const ASK_TIME: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><s:Envelope \
    xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><GetSystemDateAndTime \
    xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></s:Body></s:Envelope>";

/// UTCDateTime of a GetSystemDateAndTimeResponse; `None` when there is none, or no such time.
pub fn read_time(answer: &[u8]) -> Option<SystemTime> {
    let mut reader = Reader::from_str(std::str::from_utf8(answer).ok()?);
    let (mut path, mut numbers) = (Vec::<String>::new(), [None; 6]);
    for _ in 0..EVENTS_MAX {
        match reader.read_event().ok()? {
            Event::Start(element) => path.push(element.local_name().as_ref().to_owned()),
            Event::End(_) => drop(path.pop()),
            Event::Text(text) => {
                let names = ["Year", "Month", "Day", "Hour", "Minute", "Second"];
                let place = path.last().and_then(|name| names.iter().position(|known| known == name));
                if let Some(place) = place.filter(|_| path.iter().any(|name| name == "UTCDateTime")) {
                    numbers[place] = text.xml10_content().trim().parse::<u16>().ok();
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let [year, month, day, hour, minute, second] = numbers;
    let small = |number: Option<u16>| number.and_then(|number| u8::try_from(number).ok());
    let month = time::Month::try_from(small(month)?).ok()?;
    let date = Date::from_calendar_date(i32::from(year?), month, small(day)?).ok()?;
    // A leap second is told as 60 by some clocks.
    let time = Time::from_hms(small(hour)?, small(minute)?, small(second)?.min(59)).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_digest_is_that_of_the_example_of_onvif() {
        // ONVIF Application Programmer's Guide 1.0, §6.1.1.3.
        let nonce = STANDARD.decode("LKqI6G/AikKCQrN0zqZFlg==").expect("base64");
        let block = with_nonce("user", &Secret::new("userpassword"), "2010-09-16T07:50:45Z", &nonce);
        assert!(block.contains(">tuOSpGlFlIXsozq4HFNeeGeFLEI=</wsse:Password>"), "{block}");
        assert!(block.contains(">LKqI6G/AikKCQrN0zqZFlg==</wsse:Nonce>"));
        assert!(!block.contains("userpassword"));
    }

    #[test]
    fn names_are_escaped_and_times_have_whole_seconds() {
        let block = security("a<b", &Secret::new("p"), at(1_750_000_000) + Duration::from_millis(700));
        assert!(block.contains("<wsse:Username>a&lt;b</wsse:Username>"), "{block}");
        assert!(block.contains("<wsu:Created>2025-06-15T15:06:40Z</wsu:Created>"), "{block}");
        assert_ne!(block, security("a<b", &Secret::new("p"), at(1_750_000_000)));
    }

    fn answer(utc: &str) -> String {
        format!(
            "<e:Envelope xmlns:e=\"urn:e\"><e:Body><R><S><t:LocalDateTime xmlns:t=\"urn:t\"><t:Date><t:Year>1999</t:Year>\
             </t:Date></t:LocalDateTime><t:UTCDateTime xmlns:t=\"urn:t\">{utc}</t:UTCDateTime></S></R></e:Body></e:Envelope>"
        )
    }

    fn time(hour: &str, second: &str) -> String {
        format!(
            "<t:Time><t:Hour>{hour}</t:Hour><t:Minute>6</t:Minute><t:Second>{second}</t:Second></t:Time>\
             <t:Date><t:Year>2025</t:Year><t:Month>6</t:Month><t:Day>15</t:Day></t:Date>"
        )
    }

    #[test]
    fn the_time_of_a_device_is_read_in_utc() {
        let read = |utc: String| read_time(answer(&utc).as_bytes());
        assert_eq!(read(time("15", "40")), Some(at(1_750_000_000)));
        assert_eq!(read(time(" 15 ", "60")), Some(at(1_750_000_019)));
        for wrong in [time("25", "0"), time("", "0"), time("-1", "0"), String::new()] {
            assert_eq!(read(wrong.clone()), None, "{wrong}");
        }
        assert_eq!(read_time(b"not XML <"), None);
        assert_eq!(read_time(&[0xff, 0xfe]), None);
    }

    #[test]
    fn the_offset_brings_our_time_to_the_device() {
        let ahead = ClockOffset::between(at(5000), at(1000));
        assert_eq!(ahead.apply(at(2000)), at(6000));
        assert_eq!(ClockOffset::between(at(1000), at(5000)).apply(at(6000)), at(2000));
        assert!(!ahead.differs(ClockOffset::between(at(5001), at(1000))));
        assert!(ahead.differs(ClockOffset::between(at(5002), at(1000))));
    }
}
