//! The table of `onvif-uplink status`: one line for each uplink; below it its error, and who waits for the remote;
//! configuration errors at the end.

use std::{fmt::Write, time::SystemTime};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::status::{Document, FlowControl, Uplink};

const HEADINGS: [&str; 9] =
    ["DEVICE", "REMOTE", "STATUS", "SINCE", "ATTEMPT", "NEXT TRY", "REQUESTS", "IN/OUT", "CERTIFICATE"];
const COLUMN_GAP: &str = "  ";
/// Streams that wait for less are everyday life: an answer of some size waits a round trip now and then.
const WAIT_SHOWN: i64 = 2;

/// The document for people; `now` is what ages and waits are counted from. Ends with a line end.
pub fn render(document: &Document, now: SystemTime) -> String {
    let mut text = String::new();
    if document.uplinks.is_empty() {
        text.push_str("no uplinks are configured\n");
    } else {
        let rows: Vec<_> = document.uplinks.iter().map(|uplink| row(uplink, now)).collect();
        let widths: [usize; 9] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].chars().count()).chain([HEADINGS[column].len()]).max().unwrap_or_default()
        });
        push_line(&mut text, &HEADINGS.map(str::to_owned), &widths);
        for (uplink, row) in document.uplinks.iter().zip(&rows) {
            push_line(&mut text, row, &widths);
            for error in uplink.error.iter().chain(&uplink.device_error) {
                push(&mut text, &format!("{COLUMN_GAP}{}: {}", error.phase, error.message));
            }
            if let Some(flow) = uplink.session.as_ref().and_then(|session| session.flow_control.as_ref()) {
                waits(flow, now).iter().for_each(|line| push(&mut text, &format!("{COLUMN_GAP}{line}")));
            }
        }
    }
    push(&mut text, &format!("configuration generation {}", document.config.generation));
    if !document.config.errors.is_empty() {
        push(&mut text, "the newest configuration is not in force:");
        document.config.errors.iter().for_each(|error| push(&mut text, &format!("{COLUMN_GAP}{error}")));
    }
    if !document.config.secrets.is_empty() {
        push(&mut text, "Secrets that cannot be used as they are:");
        document.config.secrets.iter().for_each(|error| push(&mut text, &format!("{COLUMN_GAP}{error}")));
    }
    text
}

fn row(uplink: &Uplink, now: SystemTime) -> [String; 9] {
    let dash = || "-".to_owned();
    let session = uplink.session.as_ref();
    [
        printable(&uplink.device),
        printable(&uplink.remote_address),
        printable(&uplink.status),
        seconds_from(now, &uplink.since).map_or_else(dash, |seconds| span(-seconds)),
        uplink.attempt.to_string(),
        uplink.next_attempt.as_deref().and_then(|at| seconds_from(now, at)).map_or_else(
            dash,
            |seconds| match seconds {
                ..=0 => "now".to_owned(),
                _ => format!("in {}", span(seconds)),
            },
        ),
        session.map_or_else(dash, |session| session.requests.to_string()),
        session
            .map_or_else(dash, |session| format!("{} / {}", bytes(session.bytes_received), bytes(session.bytes_sent))),
        uplink.certificate_expiry.as_deref().and_then(|at| seconds_from(now, at)).map_or_else(dash, |seconds| {
            match seconds {
                ..=0 => "expired".to_owned(),
                _ => format!("{} left", span(seconds)),
            }
        }),
    ]
}

/// Who waits for the remote, and what to do about it.
fn waits(flow: &FlowControl, now: SystemTime) -> Vec<String> {
    let lasted = |since: &str| seconds_from(now, since).map_or(0, |seconds| -seconds);
    let long: Vec<_> = flow.blocked.iter().filter(|blocked| lasted(&blocked.since) >= WAIT_SHOWN).collect();
    let mut lines = Vec::new();
    if let Some(first) = long.first() {
        lines.push(format!(
            "{} of its streams {} for the remote, the longest ({}, by the window of the {}) for {}",
            long.len(),
            if long.len() == 1 { "waits" } else { "wait" },
            first.kind,
            first.window,
            span(lasted(&first.since)),
        ));
    }
    lines.extend(flow.advice.clone());
    lines
}

fn push_line(text: &mut String, cells: &[String; 9], widths: &[usize; 9]) {
    let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    push(text, &padded.join(COLUMN_GAP));
}

fn push(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", printable(line).trim_end());
}

/// Messages may quote a remote: control characters would act on the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Seconds from `now` to an RFC 3339 time; negative when it has passed.
fn seconds_from(now: SystemTime, at: &str) -> Option<i64> {
    let at = OffsetDateTime::parse(at, &Rfc3339).ok()?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(at.unix_timestamp().saturating_sub(i64::try_from(now.as_secs()).ok()?))
}

/// A span of seconds by its largest unit and the next: `47s`, `3m 5s`, `2h 10m`, `12d 4h`.
fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// Bytes in binary units with one decimal.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000)
    }

    #[test]
    fn columns_are_aligned_and_errors_stand_below_their_uplink() {
        let document = serde_json::from_value(json!({
            "generation": 3,
            "config": { "generation": 3, "errors": ["uplinks.yaml:4:7: devices[0].http: is missing"] },
            "uplinks": [
                { "device": "camera-1", "remoteAddress": "https://cloud:8443/uplink", "status": "Online",
                  "since": "2025-06-15T14:56:35Z", "attempt": 1, "nextAttempt": null, "error": null,
                  "certificateExpiry": "2025-06-27T19:06:40Z",
                  "session": { "since": "2025-06-15T14:56:35Z", "streamsOpen": 1, "requests": 12, "bytesReceived": 900,
                               "bytesSent": 3_250_586, "tls": { "version": "", "cipher": "", "group": "", "resumed": false } } },
                { "device": "gate", "remoteAddress": "https://b/", "status": "Offline", "since": "2025-06-15T15:06:30Z",
                  "attempt": 4, "nextAttempt": "2025-06-15T15:06:52Z", "certificateExpiry": "2025-06-01T00:00:00Z",
                  "deviceError": { "phase": "device", "cause": "device-credentials-refused", "message": "it refused `admin`" },
                  "error": { "phase": "dial", "cause": "connection-refused", "message": "nothing\u{1b}[2J listens at b:443" },
                  "session": null },
            ],
        }))
        .expect("a document");
        let expected = "\
DEVICE    REMOTE                     STATUS   SINCE   ATTEMPT  NEXT TRY  REQUESTS  IN/OUT           CERTIFICATE
camera-1  https://cloud:8443/uplink  Online   10m 5s  1        -         12        900 B / 3.1 MiB  12d 4h left
gate      https://b/                 Offline  10s     4        in 12s    -         -                expired
  dial: nothing?[2J listens at b:443
  device: it refused `admin`
configuration generation 3
the newest configuration is not in force:
  uplinks.yaml:4:7: devices[0].http: is missing
";
        assert_eq!(render(&document, now()), expected);
    }

    #[test]
    fn streams_that_wait_for_the_remote_stand_below_their_uplink_with_the_advice() {
        let document = serde_json::from_value(json!({
            "generation": 1, "config": { "generation": 1, "errors": [] },
            "uplinks": [
                { "device": "c", "remoteAddress": "https://r/", "status": "Online", "since": "2025-06-15T14:56:35Z",
                  "attempt": 1, "nextAttempt": null, "error": null, "certificateExpiry": null,
                  "session": { "since": "2025-06-15T14:56:35Z", "streamsOpen": 3, "requests": 12, "bytesReceived": 900,
                               "bytesSent": 0, "tls": { "version": "", "cipher": "", "group": "", "resumed": false },
                               "flowControl": {
                                   "roundTripMilliseconds": 80, "streamWindow": 65535, "connectionWindow": 65535,
                                   "blockedMilliseconds": {}, "advice": "ask its operator",
                                   "blocked": [
                                       { "kind": "rtsp", "window": "stream", "since": "2025-06-15T15:06:00Z" },
                                       { "kind": "stream", "window": "stream", "since": "2025-06-15T15:06:37Z" },
                                       { "kind": "request", "window": "stream", "since": "2025-06-15T15:06:39Z" },
                                   ] } } },
            ],
        }));
        let text = render(&document.expect("a document"), now());
        let below: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            below,
            [
                "  2 of its streams wait for the remote, the longest (rtsp, by the window of the stream) for 40s",
                "  ask its operator",
                "configuration generation 1",
            ]
        );
    }

    #[test]
    fn without_uplinks_there_is_a_sentence() {
        let document = serde_json::from_value(json!({
            "generation": 0, "config": { "generation": 0, "errors": [] }, "uplinks": [],
        }));
        assert_eq!(
            render(&document.expect("a document"), now()),
            "no uplinks are configured\nconfiguration generation 0\n"
        );
    }

    #[test]
    fn spans_and_sizes_use_the_unit_that_a_person_would() {
        assert_eq!([span(-3), span(59), span(3600), span(90_000)], ["0s", "59s", "1h 0m", "1d 1h"]);
        assert_eq!([bytes(0), bytes(1023), bytes(1024), bytes(u64::MAX)], ["0 B", "1023 B", "1.0 KiB", "16384.0 PiB"]);
    }
}
