//! What a person does about a [`Cause`]: one sentence each, for `check --connect` and the manual. And what about a session
//! whose streams wait for the remote: for `status`.
//!
//! Apart from the causes themselves, because it speaks to whoever stands before the camera, not to a dashboard.

use std::time::Duration;

use super::failure::Cause;
use crate::base::activity::flow::{Picture, Waited, Window};

/// A wait of this length is no round trip any more: somebody does not read.
const STALLED: Duration = Duration::from_secs(5);
/// Waits for windows are worth a sentence when together they are this part of the session's age …
const NOTABLE: u32 = 10;
/// … and the window is smaller than this: 80 Mbit/s at 100 ms.
const SMALL_WINDOW: u64 = 1024 * 1024;

/// What there is to say of a session of this age whose streams wait, or have waited, for the remote's flow control
/// (RFC 9113 §5.2); `None` when nothing is out of the ordinary.
pub fn on_flow(flow: &Picture, age: Duration) -> Option<String> {
    let stalled = |window| flow.waiting.iter().find(|wait| wait.window == window && wait.lasted >= STALLED);
    if let Some(wait) = stalled(Window::Connection) {
        return Some(format!(
            "the remote has let nothing through on the whole session for {} s, its window of {} for the session is used up; ask its operator for one that is as large as those of its streams together",
            wait.lasted.as_secs(),
            bytes(flow.connection_window),
        ));
    }
    if let Some(wait) = stalled(Window::Stream) {
        return Some(format!(
            "a viewer at the remote has not read its {} for {} s; other streams are not affected, and it goes on when the viewer does",
            wait.kind.as_str(),
            wait.lasted.as_secs(),
        ));
    }
    let sum = |of: fn(&Waited) -> Duration| flow.waited.iter().map(of).sum::<Duration>();
    let (stream, connection) = (sum(|waited| waited.stream), sum(|waited| waited.connection));
    let (window, scope) = if connection > stream {
        (flow.connection_window, "the whole session")
    } else {
        (flow.stream_window, "a stream")
    };
    if window >= SMALL_WINDOW || (stream + connection) * NOTABLE < age || age < STALLED {
        return None;
    }
    let carries = flow.round_trip.map_or_else(String::new, |round_trip| {
        let megabits = window as f64 * 8.0 / round_trip.as_secs_f64() / 1e6;
        format!(": over a round trip of {} ms that carries {megabits:.1} Mbit/s", round_trip.as_millis().max(1))
    });
    Some(format!(
        "the remote gives windows of {} to {scope}{carries}; if video lags, ask its operator for larger ones",
        bytes(window)
    ))
}

/// Whole KiB where there are some.
fn bytes(count: u64) -> String {
    if count < 1024 { format!("{count} bytes") } else { format!("{} KiB", count.div_ceil(1024)) }
}

const REFUSED_BY_DEVICE: &str =
    "put the account's present password into its passwordFile, and see that the device has not locked the account";
const PASSWORD_UNREADABLE: &str = "put the password, one line, where passwordFile says, readable for this process";

impl Cause {
    /// What to do, in the imperative, without a full stop.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NameNotResolved => {
                "check the host in remoteAddress for typing errors, and the DNS server of this host"
            }
            Self::ResolveTimeout => "check that this host reaches its DNS server",
            Self::ConnectionRefused => "check the port in remoteAddress, and that the cloud service runs",
            Self::DialTimeout => "have the site's firewall let this host out to that address and port, or set a proxy",
            Self::Unreachable => "check cable, address and default route of this host, then the site's firewall",
            Self::SourceUnavailable => "set network.source to an address or interface that this host has, or remove it",
            Self::ProxyUnreachable => "check the proxy's address, and that this host may reach it",
            Self::ProxyTimeout => "ask whoever runs the proxy; it took the connection and fell silent",
            Self::ProxyAuthentication => "check the proxy's credentials file",
            Self::ProxyRefused => "ask whoever runs the proxy to let this host through to the remote's host and port",
            Self::ProxyInvalid => "check scheme and port of the proxy: http, https or socks5",
            Self::ServerCertificateExpired => {
                "check this host's clock; if it is right, the cloud must renew its certificate"
            }
            Self::ServerCertificateNotYetValid => "set this host's clock",
            Self::ServerNameMismatch => "use one of the names in the certificate as the host of remoteAddress",
            Self::ServerUntrusted => {
                "put the authority that issued the remote's certificate into trustAnchorFiles; if it is none you know, something intercepts the connection"
            }
            Self::ServerCertificateRevoked => {
                "do not connect; ask the cloud's operator why the certificate was revoked"
            }
            Self::ServerPinMismatch => {
                "if the cloud announced a new key, add its pin; otherwise something intercepts the connection"
            }
            Self::ServerCertificateInvalid => "show the certificate to the cloud's operator",
            Self::ClientCertificateRefused => {
                "have the cloud accept this device's certificate, or use the one that it issued"
            }
            Self::TlsHandshakeFailed => "check that the port speaks TLS, and the minimum version in tls",
            Self::TlsTimeout => "check that the port speaks TLS, and that no firewall holds TLS back",
            Self::CredentialUnreadable => "put the file where the configuration says, readable for this process",
            Self::CredentialInvalid => "replace the file with a good one in PEM form",
            Self::KeyMismatch => "replace certificate and key together",
            Self::ClientCertificateExpired => "issue a new certificate for this device",
            Self::ClientCertificateNotYetValid => "set this host's clock",
            Self::AuthorizationServerUnreachable => "check serverUri, its trust policy, and the firewall",
            Self::MetadataInvalid => "check serverUri: it must be the issuer, whose metadata this host reads",
            Self::TokenRefused => "check clientID, secret or key, and scope with whoever runs the authorization server",
            Self::TokenInvalid => "ask whoever runs the authorization server; its answer is not what RFC 6749 says",
            Self::ClockSkew => "set this host's clock, best by NTP",
            Self::Unauthorized => "register this device with the cloud, or use the certificate or token that it issued",
            Self::Redirected => "if the new address is to be trusted, write it into remoteAddress",
            Self::RemoteBusy => "nothing; the uplink comes back when the remote asked it to",
            Self::UpgradeRefused => "check the path in remoteAddress",
            Self::UpgradeMalformed => "check that the address is that of an uplink service",
            Self::UpgradeHeadTooLarge => "check that the address is that of an uplink service",
            Self::WebSocketSubprotocol => "check that the path is that of the uplink service",
            Self::UpgradeTimeout => "ask the cloud's operator; the remote took the request and fell silent",
            Self::UpgradeClosed => "check the path in remoteAddress and that the cloud knows this device",
            Self::PrefaceTimeout => "ask the cloud's operator; the remote agreed to HTTP/2 and sent none",
            Self::PrefaceInvalid => "ask the cloud's operator; the remote agreed to HTTP/2 and sent something else",
            Self::Silent => "check the link for losses, and firewalls for idle timeouts",
            Self::NetworkChanged => "nothing; the uplink dials from the new address at once",
            Self::ClosedByRemote => "nothing if it stays rare; otherwise ask the cloud's operator",
            Self::ConnectionReset => "nothing if it stays rare; otherwise look for a firewall that cuts connections",
            Self::ProtocolViolation => "report the sentence to the cloud's operator",
            Self::WebSocketViolation => {
                "report the sentence to the cloud's operator; proxies in between may do this too"
            }
            Self::DeviceCredentialsRefused => REFUSED_BY_DEVICE,
            Self::DeviceCredentialsUnreadable => PASSWORD_UNREADABLE,
            Self::DeviceAuthenticationUnknown => "switch HTTP Digest authentication on at the device",
            Self::Drained => "nothing; it was asked for",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::activity::{Activity, flow::Waiting};

    fn picture(waiting: &[(Window, u64)], waited: [u64; 2], windows: [u64; 2]) -> Picture {
        let mut picture = Activity::start().flow().picture();
        let kind = picture.waited[1].kind;
        let lasting = |(window, seconds): &(Window, u64)| Waiting {
            kind,
            window: *window,
            lasted: Duration::from_secs(*seconds),
        };
        picture.waiting = waiting.iter().map(lasting).collect();
        picture.waited[1].stream = Duration::from_secs(waited[0]);
        picture.waited[1].connection = Duration::from_secs(waited[1]);
        [picture.stream_window, picture.connection_window] = windows;
        picture.round_trip = Some(Duration::from_millis(80));
        picture
    }

    #[test]
    fn a_session_whose_streams_flow_needs_no_advice() {
        let age = Duration::from_secs(100);
        assert_eq!(on_flow(&picture(&[(Window::Stream, 1)], [9, 0], [65_535; 2]), age), None);
        assert_eq!(on_flow(&picture(&[], [90, 0], [SMALL_WINDOW; 2]), age), None, "the window is large enough");
    }

    #[test]
    fn small_windows_are_told_with_what_they_carry() {
        let advice = on_flow(&picture(&[], [60, 10], [65_535, 1 << 20]), Duration::from_secs(100)).expect("advice");
        assert!(
            advice.contains("windows of 64 KiB to a stream: over a round trip of 80 ms that carries 6.6 Mbit/s"),
            "{advice}"
        );
        let advice = on_flow(&picture(&[], [10, 60], [1 << 20, 65_535]), Duration::from_secs(100)).expect("advice");
        assert!(advice.contains("windows of 64 KiB to the whole session"), "{advice}");
    }

    #[test]
    fn who_does_not_read_is_told_apart_from_a_remote_that_takes_nothing() {
        let age = Duration::from_secs(100);
        let advice = on_flow(&picture(&[(Window::Stream, 12)], [12, 0], [1 << 20; 2]), age).expect("advice");
        assert!(advice.starts_with("a viewer at the remote has not read its stream for 12 s"), "{advice}");
        let both = [(Window::Stream, 90), (Window::Connection, 12)];
        let advice = on_flow(&picture(&both, [90, 12], [1 << 20, 65_535]), age).expect("advice");
        assert!(advice.starts_with("the remote has let nothing through on the whole session for 12 s"), "{advice}");
    }
}
