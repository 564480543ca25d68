//! The document of `/status` (design.md §6): the status board as JSON. Scripts rely on its names; fields are only added.
//!
//! Types of their own, because the model knows no serde and the document must not change when the model does. Remote
//! addresses are shown without their query, which may hold a token.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    base::activity::flow::Picture,
    model::{
        advice,
        failure::Failure,
        status::{DeviceStatus, SessionStatus, Snapshot, UplinkStatus},
        streaming,
        uplink::UplinkKey,
    },
};

/// The whole document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Accepted configuration documents; the same as in `config`.
    pub generation: u64,
    /// The configuration.
    pub config: Config,
    /// Every uplink, in the order of device and address.
    pub uplinks: Vec<Uplink>,
    /// Every device, in the order of names. Missing in the documents of older versions.
    #[serde(default)]
    pub devices: Vec<Device>,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Whether RTSP can be carried to it; `null` until it was looked at.
    pub streaming: Option<Streaming>,
}

/// Whether and how RTSP reaches a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Streaming {
    /// The specification's StreamingOverUplink.
    pub over_uplink: bool,
    /// `http`, `websocket` or `bridge`.
    pub way: Option<String>,
    /// What to do when there is no way.
    pub reason: Option<String>,
}

/// What became of the configuration document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Counts accepted documents; 0 while there was none.
    pub generation: u64,
    /// What is wrong with the newest document, which is not in force then.
    pub errors: Vec<String>,
    /// What is wrong with Secrets that are followed over the API; left out if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// One uplink. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uplink {
    /// Name of the device.
    pub device: String,
    /// Where it dials, without the query.
    pub remote_address: String,
    /// `Offline`, `Connecting` or `Online`.
    pub status: String,
    /// Since when it has this status.
    pub since: String,
    /// Attempts since the last session that lasted.
    pub attempt: u32,
    /// When the next attempt is due.
    pub next_attempt: Option<String>,
    /// Why it is not, or was last not, online.
    pub error: Option<Error>,
    /// What the device does not accept of what the sidecar sends for this uplink.
    #[serde(default)]
    pub device_error: Option<Error>,
    /// End of the client certificate that was used last.
    pub certificate_expiry: Option<String>,
    /// The session, when Online.
    pub session: Option<Session>,
}

/// A failure cause with its sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// How far it came.
    pub phase: String,
    /// The stable label.
    pub cause: String,
    /// The sentence for people.
    pub message: String,
}

/// The counters of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Since when it stands.
    pub since: String,
    /// HTTP/2 streams open now.
    pub streams_open: u64,
    /// Requests since the start.
    pub requests: u64,
    /// Bytes received since the start.
    pub bytes_received: u64,
    /// Bytes sent since the start.
    pub bytes_sent: u64,
    /// What TLS came to.
    pub tls: Tls,
    /// What the remote's flow control gives, and who waits for it; older processes do not tell.
    #[serde(default)]
    pub flow_control: Option<FlowControl>,
}

/// The remote's flow control (RFC 9113 §5.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowControl {
    /// The last that was measured; an upper bound, because the remote's own time is in it.
    pub round_trip_milliseconds: Option<u64>,
    /// Bytes that the remote gives to a stream.
    pub stream_window: u64,
    /// Bytes that the remote gives to the session; the largest that was seen open.
    pub connection_window: u64,
    /// How long streams of each kind have waited, since the start.
    pub blocked_milliseconds: BTreeMap<String, u64>,
    /// The streams that wait now, longest first.
    pub blocked: Vec<Blocked>,
    /// What to do, if something.
    pub advice: Option<String>,
}

/// A stream that waits for the remote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// `request`, `stream`, `websocket`, `rtsp` or `connect`.
    pub kind: String,
    /// Whose window is used up: `stream` or `connection`.
    pub window: String,
    /// Since when it waits.
    pub since: String,
}

/// What TLS came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// For example `TLSv1.3`.
    pub version: String,
    /// For example `TLS13_AES_128_GCM_SHA256`.
    pub cipher: String,
    /// For example `X25519MLKEM768`.
    pub group: String,
    /// Whether it goes on from an earlier session's ticket.
    pub resumed: bool,
}

/// The document of one moment, for [`super::StatusFn`].
pub fn document(snapshot: &Snapshot) -> serde_json::Value {
    let document = Document::from(snapshot);
    serde_json::to_value(document).expect("plain structures with string keys are always JSON")
}

impl From<&Snapshot> for Document {
    fn from(snapshot: &Snapshot) -> Self {
        let config = Config {
            generation: snapshot.config.generation,
            errors: snapshot.config.errors.clone(),
            secrets: snapshot.config.secrets.values().cloned().collect(),
        };
        let uplinks = snapshot.uplinks.iter().map(|(key, uplink)| Uplink::new(key, uplink)).collect();
        let devices = snapshot.devices.iter().map(|(name, device)| Device::new(name, device)).collect();
        Self { generation: config.generation, config, uplinks, devices }
    }
}

impl Uplink {
    fn new(key: &UplinkKey, uplink: &UplinkStatus) -> Self {
        Self {
            device: key.device.clone(),
            remote_address: key.remote.to_string(),
            status: uplink.status.as_str().to_owned(),
            since: rfc3339(uplink.since),
            attempt: uplink.attempt,
            next_attempt: uplink.next_attempt.map(rfc3339),
            error: uplink.error.as_ref().map(Error::from),
            device_error: uplink.device_error.as_ref().map(Error::from),
            certificate_expiry: uplink.certificate_expiry.map(rfc3339),
            session: uplink.session.as_ref().map(Session::from),
        }
    }
}

impl Device {
    fn new(name: &str, device: &DeviceStatus) -> Self {
        Self { name: name.to_owned(), streaming: device.streaming.as_ref().map(Streaming::from) }
    }
}

impl From<&streaming::Streaming> for Streaming {
    fn from(streaming: &streaming::Streaming) -> Self {
        let (way, reason) = match streaming {
            streaming::Streaming::Way(way) => (Some(way.as_str().to_owned()), None),
            streaming::Streaming::None(reason) => (None, Some((*reason).to_owned())),
        };
        Self { over_uplink: streaming.over_uplink(), way, reason }
    }
}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Self {
        Self {
            phase: failure.phase().as_str().to_owned(),
            cause: failure.cause.as_str().to_owned(),
            message: failure.message.clone(),
        }
    }
}

impl From<&SessionStatus> for Session {
    fn from(session: &SessionStatus) -> Self {
        Self {
            since: rfc3339(session.since),
            streams_open: session.activity.streams_open(),
            requests: session.activity.requests(),
            bytes_received: session.activity.bytes_received(),
            bytes_sent: session.activity.bytes_sent(),
            tls: Tls {
                version: session.tls.version.clone(),
                cipher: session.tls.cipher.clone(),
                group: session.tls.group.clone(),
                resumed: session.tls.resumed,
            },
            flow_control: Some(FlowControl::new(&session.activity.flow().picture(), session.since)),
        }
    }
}

impl FlowControl {
    fn new(flow: &Picture, since: SystemTime) -> Self {
        let now = SystemTime::now();
        // A clock that was set back makes a session young, not a panic.
        let age = now.duration_since(since).unwrap_or_default();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            round_trip_milliseconds: flow.round_trip.map(millis),
            stream_window: flow.stream_window,
            connection_window: flow.connection_window,
            blocked_milliseconds: flow
                .waited
                .iter()
                .map(|waited| (waited.kind.as_str().to_owned(), millis(waited.whole())))
                .collect(),
            blocked: flow
                .waiting
                .iter()
                .map(|wait| Blocked {
                    kind: wait.kind.as_str().to_owned(),
                    window: wait.window.as_str().to_owned(),
                    since: rfc3339(now.checked_sub(wait.lasted).unwrap_or(SystemTime::UNIX_EPOCH)),
                })
                .collect(),
            advice: advice::on_flow(flow, age),
        }
    }
}

/// The last second that RFC 3339 can write; a certificate "without end" (RFC 5280 §4.1.2.5) has it.
const LAST_SECOND: u64 = 253_402_300_799;

/// RFC 3339 in UTC, cut to milliseconds; a time outside the years 1970 to 9999 is written as the nearest one inside.
pub fn rfc3339(at: SystemTime) -> String {
    let since_epoch =
        at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(Duration::from_secs(LAST_SECOND));
    let nanos = i128::from(since_epoch.as_secs()) * 1_000_000_000 + i128::from(since_epoch.subsec_millis()) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .expect("years 1970 to 9999 have an RFC 3339 form")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        base::activity::Activity,
        model::{
            address::RemoteAddress,
            failure::Cause,
            status::{ConfigStatus, Status, TlsFacts},
        },
    };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_750_000_000_000 + seconds * 1000)
    }

    fn snapshot(uplink: UplinkStatus) -> Snapshot {
        let remote = RemoteAddress::parse("wss://cloud:8443/uplink?access_token=secret").expect("valid");
        Snapshot {
            config: ConfigStatus {
                generation: 3,
                errors: vec!["a.yaml:1:2: devices: is empty".to_owned()],
                secrets: BTreeMap::new(),
            },
            uplinks: [(UplinkKey { device: "camera-1".to_owned(), remote }, uplink)].into(),
            devices: [("camera-1".to_owned(), DeviceStatus::default())].into(),
        }
    }

    #[tokio::test]
    async fn an_uplink_that_is_online_has_a_session() {
        let activity = Arc::new(Activity::start());
        activity.received(10);
        activity.sent(20);
        activity.flow().measured(Duration::from_millis(80));
        let _stream = activity.stream_opened();
        let tls =
            TlsFacts { version: "TLSv1.3".to_owned(), cipher: "C".to_owned(), group: "G".to_owned(), resumed: true };
        let mut uplink = UplinkStatus::new();
        (uplink.status, uplink.since, uplink.attempt) = (Status::Online, at(0), 1);
        uplink.certificate_expiry = Some(at(60));
        uplink.session = Some(SessionStatus { since: at(0), activity, tls });
        assert_eq!(
            document(&snapshot(uplink)),
            json!({
                "generation": 3,
                "config": { "generation": 3, "errors": ["a.yaml:1:2: devices: is empty"] },
                "uplinks": [{
                    "device": "camera-1", "remoteAddress": "wss://cloud:8443/uplink", "status": "Online",
                    "since": "2025-06-15T15:06:40Z", "attempt": 1, "nextAttempt": null, "error": null,
                    "deviceError": null, "certificateExpiry": "2025-06-15T15:07:40Z",
                    "session": {
                        "since": "2025-06-15T15:06:40Z", "streamsOpen": 1, "requests": 1, "bytesReceived": 10,
                        "bytesSent": 20, "tls": { "version": "TLSv1.3", "cipher": "C", "group": "G", "resumed": true },
                        "flowControl": {
                            "roundTripMilliseconds": 80, "streamWindow": 65535, "connectionWindow": 65535,
                            "blockedMilliseconds": { "request": 0, "stream": 0, "websocket": 0, "rtsp": 0, "connect": 0 },
                            "blocked": [], "advice": null,
                        },
                    },
                }],
                "devices": [{ "name": "camera-1", "streaming": null }],
            })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_the_remote_is_told_with_what_to_do() {
        let activity = Arc::new(Activity::start());
        let _stall = activity.flow().stall(crate::base::http::StreamKind::Stream);
        tokio::time::advance(Duration::from_secs(12)).await;
        let mut uplink = UplinkStatus::new();
        let tls = TlsFacts::default();
        uplink.session = Some(SessionStatus { since: SystemTime::now(), activity: Arc::clone(&activity), tls });
        let document = document(&snapshot(uplink));
        let flow = &document["uplinks"][0]["session"]["flowControl"];
        assert_eq!(flow["blockedMilliseconds"]["stream"], 12_000);
        assert_eq!((&flow["blocked"][0]["kind"], &flow["blocked"][0]["window"]), (&json!("stream"), &json!("stream")));
        assert!(flow["advice"].as_str().is_some_and(|advice| advice.contains("has not read")), "{flow}");
    }

    #[test]
    fn an_uplink_that_is_offline_says_why_and_when_it_tries_again() {
        let mut uplink = UplinkStatus::new();
        (uplink.since, uplink.attempt, uplink.next_attempt) = (at(0), 4, Some(at(30)));
        uplink.error = Some(Failure::new(Cause::ConnectionRefused, "nothing listens at cloud:8443"));
        let document = document(&snapshot(uplink));
        let uplink = &document["uplinks"][0];
        assert_eq!(
            uplink["error"],
            json!({ "phase": "dial", "cause": "connection-refused", "message": "nothing listens at cloud:8443" })
        );
        assert_eq!((&uplink["nextAttempt"], &uplink["session"]), (&json!("2025-06-15T15:07:10Z"), &json!(null)));
        assert!(!document.to_string().contains("secret"));
    }

    #[test]
    fn a_device_says_how_rtsp_reaches_it_or_what_to_do() {
        let mut snapshot = snapshot(UplinkStatus::new());
        let mut shown = |streaming| {
            snapshot.devices.get_mut("camera-1").expect("there").streaming = Some(streaming);
            document(&snapshot)["devices"][0]["streaming"].clone()
        };
        let bridge = shown(streaming::Streaming::Way(streaming::StreamingWay::Bridge));
        assert_eq!(bridge, json!({ "overUplink": true, "way": "bridge", "reason": null }));
        let none = shown(streaming::Streaming::None("set `rtsp`"));
        assert_eq!(none, json!({ "overUplink": false, "way": null, "reason": "set `rtsp`" }));
    }

    #[test]
    fn times_that_rfc_3339_cannot_write_are_the_nearest_ones() {
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(at(0) + Duration::from_secs(400_000_000_000)), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(at(0) + Duration::from_micros(120_900)), "2025-06-15T15:06:40.12Z");
    }

    #[test]
    fn a_secret_that_cannot_be_had_is_told_and_the_key_is_left_out_otherwise() {
        let secrets = BTreeMap::from([("s".to_owned(), "Secret cams/s: there is no such Secret".to_owned())]);
        let config = ConfigStatus { secrets, ..ConfigStatus::default() };
        let document = document(&Snapshot { config, ..Snapshot::default() });
        assert_eq!(document["config"]["secrets"], serde_json::json!(["Secret cams/s: there is no such Secret"]));
        assert!(super::document(&Snapshot::default())["config"].get("secrets").is_none());
    }
}
