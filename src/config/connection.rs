//! How an uplink connects beyond address and authorization: its maps `network`, `tls` and `lab`.

use std::{net::IpAddr, num::NonZeroU64};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    context::Context,
    keys,
    reader::{Cursor, Errors, Fields},
};
use crate::model::{
    address::{RemoteAddress, Scheme},
    authorization::{SpkiPin, TokenPlacement},
    lab::{Handshake, Lab},
    network::{Network, ProxyAddress, ProxyChoice, SendQueue, Source},
    tls_choices::{TlsChoices, TlsVersion},
};

/// Longest name of an interface (IFNAMSIZ without its end).
const INTERFACE_MAX: usize = 15;
/// Longest name of a congestion control (TCP_CA_NAME_MAX without its end).
const CONGESTION_CONTROL_MAX: usize = 15;
/// What a kernel can be asked to hold, in bytes; more than any send buffer.
const SEND_QUEUE_MAX: u64 = 64 * 1024 * 1024;
/// The smallest rate that lets HTTP/2 live, in kbit/s: a frame of 16 KiB then takes two seconds.
const RATE_MIN: u64 = 64;
/// 100 Gbit/s, in kbit/s.
const RATE_MAX: u64 = 100_000_000;

/// Reads `network`.
pub(super) fn network(uplink: &Fields<'_>, context: &Context<'_>, errors: &mut Errors) -> Option<Network> {
    let Some(cursor) = uplink.optional("network") else { return Some(Network::default()) };
    let fields = cursor.fields(keys::NETWORK, errors)?;
    let proxy = match fields.optional_text("proxy", errors) {
        None => ProxyChoice::Environment,
        Some(("none", _)) => ProxyChoice::Direct,
        Some((text, at)) => ProxyChoice::Via(errors.keep(at, ProxyAddress::parse(text))?),
    };
    let credentials = fields.optional("proxyCredentialsFile");
    if let Some(at) = credentials
        && !matches!(proxy, ProxyChoice::Via(_))
    {
        errors.at(at, "has no meaning without `proxy`; for the proxy of the environment use --proxy-credentials-file");
    }
    Some(Network {
        proxy,
        proxy_credentials_file: credentials.and_then(|at| context.file(at, errors)),
        source: source(&fields, errors),
        congestion_control: congestion_control(&fields, errors),
        rate_limit: fields
            .optional("maxKilobitsPerSecond")
            .and_then(|at| at.whole(RATE_MIN..=RATE_MAX, errors))
            .and_then(|kilobits| NonZeroU64::new(kilobits * 1000)),
        send_queue: match fields.optional("sendQueueBytes").and_then(|at| at.whole(0..=SEND_QUEUE_MAX, errors)) {
            None => SendQueue::Short,
            Some(0) => SendQueue::Kernel,
            Some(bytes) => SendQueue::Bytes(u32::try_from(bytes).unwrap_or(u32::MAX)),
        },
    })
}

fn source(fields: &Fields<'_>, errors: &mut Errors) -> Option<Source> {
    let address = fields.optional_text("sourceAddress", errors);
    let interface = fields.optional_text("sourceInterface", errors);
    if let (Some(_), Some((_, second))) = (address, interface) {
        errors.at(second, "the source is ambiguous: write sourceAddress or sourceInterface, not both");
    }
    if let Some((text, at)) = address {
        let parsed = text.parse::<IpAddr>().map_err(|_| format!("`{text}` is not an IP address of this host"));
        return errors.keep(at, parsed).map(Source::Address);
    }
    let (name, at) = interface?;
    if name.len() > INTERFACE_MAX || name.contains(['/', ' ']) {
        errors.at(at, format!("`{name}` is not a network interface; its name has at most {INTERFACE_MAX} bytes"));
        return None;
    }
    Some(Source::Interface(name.to_owned()))
}

fn congestion_control(fields: &Fields<'_>, errors: &mut Errors) -> Option<String> {
    let (name, at) = fields.optional_text("congestionControl", errors)?;
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if name.len() > CONGESTION_CONTROL_MAX || !name.chars().all(known) {
        errors.at(at, "is not a congestion control; write the kernel's name, for example bbr or cubic");
        return None;
    }
    Some(name.to_owned())
}

/// Reads `tls`.
pub(super) fn tls(uplink: &Fields<'_>, errors: &mut Errors) -> Option<TlsChoices> {
    let Some(cursor) = uplink.optional("tls") else { return Some(TlsChoices::default()) };
    let fields = cursor.fields(keys::TLS, errors)?;
    let mut choices = TlsChoices::default();
    if let Some(at) = fields.optional("minimumVersion") {
        choices.minimum_version = match at.scalar(errors)? {
            "1.2" => TlsVersion::Tls12,
            "1.3" => TlsVersion::Tls13,
            other => {
                errors.at(at, format!("`{other}` is not a version that is spoken; write \"1.2\" or \"1.3\""));
                return None;
            }
        };
    }
    if let Some(at) = fields.optional("postQuantum") {
        choices.post_quantum = at.flag(errors)?;
    }
    Some(choices)
}

/// Reads `lab`.
pub(super) fn lab(uplink: &Fields<'_>, remote: Option<&RemoteAddress>, errors: &mut Errors) -> Option<Lab> {
    let Some(cursor) = uplink.optional("lab") else { return Some(Lab::default()) };
    let fields = cursor.fields(keys::LAB, errors)?;
    let path = fields.optional_text("path", errors);
    if let Some((text, at)) = path
        && (!text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        errors.at(at, "a path begins with `/` and has neither spaces nor other than ASCII characters");
    }
    let host = fields.optional_text("host", errors);
    if let Some((text, at)) = host
        && !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
    {
        errors.at(at, "a host is a name or an address, with its port if wanted");
    }
    let handshake = match fields.optional_text("handshake", errors) {
        None | Some(("upgrade", _)) => Handshake::Upgrade,
        Some(("none", at)) => {
            if remote.is_some_and(|remote| remote.scheme() == Scheme::Wss) {
                errors.at(at, "a WebSocket needs its handshake; use https://");
            }
            Handshake::None
        }
        Some((other, at)) => {
            errors.at(at, format!("`{other}` is not a handshake; write upgrade or none"));
            Handshake::Upgrade
        }
    };
    let mut flag = |key: &str| fields.optional(key).is_some_and(|at| at.flag(errors).unwrap_or_default());
    let (skip_server_verification, plain_tcp) = (flag("skipServerVerification"), flag("plainTcp"));
    if let (true, Some(at), Some(remote)) = (plain_tcp, fields.optional("plainTcp"), remote)
        && !is_loopback(remote)
    {
        errors.at(at, "is for loopback addresses only; an uplink shall be TLS");
    }
    let owned = |text: Option<(&str, &Cursor<'_>)>| text.map(|(text, _)| text.to_owned());
    Some(Lab { path: owned(path), host: owned(host), handshake, skip_server_verification, plain_tcp })
}

/// A name is none: what it resolves to is not known before the dial.
fn is_loopback(remote: &RemoteAddress) -> bool {
    match remote.host() {
        url::Host::Ipv4(ip) => ip.is_loopback(),
        url::Host::Ipv6(ip) => ip.is_loopback(),
        url::Host::Domain(name) => name == "localhost",
    }
}

/// Reads `tokenIn`.
pub(super) fn token_placement(
    uplink: &Fields<'_>,
    remote: Option<&RemoteAddress>,
    errors: &mut Errors,
) -> Option<TokenPlacement> {
    let Some((text, at)) = uplink.optional_text("tokenIn", errors) else { return Some(TokenPlacement::Header) };
    match text {
        "header" => Some(TokenPlacement::Header),
        "query" => {
            if remote.is_some_and(|remote| remote.scheme() != Scheme::Wss) {
                errors.at(at, "the query carries a token only with wss://; write header");
            }
            Some(TokenPlacement::Query)
        }
        other => {
            errors.at(at, format!("`{other}` is no place for a token; write header or query"));
            None
        }
    }
}

/// Reads `pins` of a policy.
pub(super) fn pins(policy: &Fields<'_>, errors: &mut Errors) -> Option<Vec<SpkiPin>> {
    let Some(list) = policy.optional("pins") else { return Some(Vec::new()) };
    let items = list.list(errors);
    let pins: Vec<_> = items.iter().filter_map(|at| pin(at, errors)).collect();
    (pins.len() == items.len()).then_some(pins)
}

fn pin(at: &Cursor<'_>, errors: &mut Errors) -> Option<SpkiPin> {
    let text = at.text(errors)?;
    let hash = text.strip_prefix("sha256/").and_then(|base64| STANDARD.decode(base64).ok());
    let pin = hash.and_then(|hash| hash.try_into().ok()).map(SpkiPin);
    if pin.is_none() {
        errors.at(
            at,
            "is not a pin; write sha256/ and the base64 of the SHA-256 of the SubjectPublicKeyInfo (44 characters)",
        );
    }
    pin
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
