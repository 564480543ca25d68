//! Times in sentences, and the clocks of others: the `Date` of an answer, and how far it is from ours (RFC 9110 §5.6.7,
//! §6.6.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

/// A time as it stands in sentences: RFC 3339, UTC, whole seconds.
pub fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// Reads an HTTP date in the form that is sent today.
pub fn http_date(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc2822).ok().map(SystemTime::from)
}

/// `theirs` less `ours` in seconds: positive when ours is behind.
pub fn offset_seconds(theirs: SystemTime, ours: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match theirs.duration_since(ours) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}

/// `this clock is 1 h 2 min behind that of SERVER`.
pub fn spoken(offset_seconds: i64, server: &str) -> String {
    let seconds = offset_seconds.unsigned_abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let amount = match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    };
    let direction = if offset_seconds >= 0 { "behind" } else { "ahead of" };
    format!("this clock is {amount} {direction} that of {server}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_has_its_sign_and_is_spoken() {
        let ours = http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let theirs = http_date("Sun, 06 Nov 1994 09:51:38 GMT").expect("a date");
        assert_eq!(offset_seconds(theirs, ours), 3721);
        assert_eq!(spoken(3721, "cloud"), "this clock is 1 h 2 min behind that of cloud");
        assert_eq!(spoken(-90_000, "cloud"), "this clock is 1 d 1 h ahead of that of cloud");
        assert_eq!(spoken(-7, "cloud"), "this clock is 7 s ahead of that of cloud");
        assert_eq!(http_date("yesterday"), None);
    }
}
