//! From the located tree to the desired set: every reference resolved, every error noted (ONVIF Uplink §6.1).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    access::{self, Roles},
    configuration::{Configuration, ConfiguredDevice},
    connection,
    context::Context,
    credentials,
    error::{ConfigError, Position},
    keys,
    node::{EMPTY, Node, Value},
    reader::{Cursor, Errors, Fields},
    references::References,
    service,
};
use crate::model::{
    access::{Access, PathRule},
    address::RemoteAddress,
    addresses::{Addresses, Rewrite},
    authorization::{AccessToken, Authorization, AuthorizationMode, Trust},
    desired::DesiredSet,
    device::{Device, DeviceAccount, DeviceScheme, LoopbackUrl},
    extensions::Extensions,
    lab::Lab,
    network::Network,
    streaming::RtspVia,
    tls_choices::TlsChoices,
    uplink::Uplink,
    uplink_service::UplinkService,
    user_level::UserLevel,
};

/// Longest device name: it is a DNS label of the front's host names (RFC 1035 §2.3.4).
const MAX_NAME: usize = 63;

/// Validates a document.
pub(super) fn validate(root: &Node, context: Context<'_>) -> Result<Configuration, Vec<ConfigError>> {
    let mut errors = Errors::default();
    let root = Cursor::root(root);
    let mut uplinks = Vec::new();
    let mut found = Configuration::default();
    if root.node.value == Value::Null {
        errors.add(Position::START, "", EMPTY);
    } else if let Some(kind) = kubernetes_object(&root) {
        let sentence = format!(
            "this is a {kind} of Kubernetes and no configuration; write what is within its data, beginning with `devices:`"
        );
        errors.add(root.node.at, "", sentence);
    } else if let Some(fields) = root.fields(keys::DOCUMENT, &mut errors) {
        let references = References::read(&fields, &context, &mut errors);
        let roles = Roles::read(&fields, &mut errors);
        [found.certificates, found.policies, found.servers] = references.ids();
        found.accounts = service::accounts(&fields, &context, &mut errors);
        if let Some(devices) = fields.required("devices", &mut errors) {
            let mut names = BTreeMap::new();
            for device in devices.list(&mut errors) {
                let read = read_device(&device, &mut names, (&references, &roles), &context, &mut errors);
                if let Some((device, of_device)) = read {
                    found.devices.push(device);
                    uplinks.extend(of_device);
                }
            }
        }
    }
    match errors.into_sorted() {
        errors if errors.is_empty() => {
            Ok(Configuration { desired: DesiredSet::new(uplinks), secrets: context.into_secrets(), ..found })
        }
        errors => Err(errors),
    }
}

/// The kind of a whole object of Kubernetes, which is what somebody has who took the output of `kubectl get -o yaml` for the document.
fn kubernetes_object<'n>(root: &Cursor<'n>) -> Option<&'n str> {
    let Value::Map(entries) = &root.node.value else { return None };
    let text_of = |wanted: &str| {
        entries.iter().find_map(|(key, node)| match (&key.value, &node.value) {
            (Value::Text(key), Value::Text(text)) if key == wanted => Some(text.as_str()),
            _ => None,
        })
    };
    text_of("apiVersion").and(text_of("kind"))
}

fn read_device<'n>(
    cursor: &Cursor<'n>,
    names: &mut BTreeMap<&'n str, Position>,
    named: (&References, &Roles),
    context: &Context<'_>,
    errors: &mut Errors,
) -> Option<(ConfiguredDevice, Vec<Uplink>)> {
    let fields = cursor.fields(keys::DEVICE, errors)?;
    let name = fields.required_text("name", errors).and_then(|(name, at)| {
        if let Some(first) = names.insert(name, at.node.at) {
            errors.at(at, format!("the name `{name}` is taken by the device at line {}", first.line));
        }
        let checked = device_name(name);
        errors.keep(at, checked).map(str::to_owned)
    });
    let http =
        fields.required("http", errors).and_then(|at| loopback(at, &[DeviceScheme::Http, DeviceScheme::H2c], errors));
    if let (Some(url), Some(at)) = (http, fields.optional("http"))
        && url.scheme() == DeviceScheme::H2c
        && !context.served.h2c
    {
        errors.at(at, "h2c:// is not served by this version; use http://");
    }
    let rtsp = fields.optional("rtsp").and_then(|at| {
        if !context.served.rtsp {
            errors.at(at, "RTSP is not served by this version; remove the key");
        }
        loopback(at, &[DeviceScheme::Rtsp], errors)
    });
    let rtsp_via = rtsp_via(&fields, errors);
    let connect_ports = fields.optional("connectPorts").map(|at| ports(at, errors)).unwrap_or_default();
    let addresses = addresses(&fields, errors);
    let credentials = credentials::accounts(&fields, context, errors);
    let pass_through = credentials::pass_through(&fields, errors);
    let paths = access::paths(&fields, errors);
    let service = service::uplink_service(&fields, errors);
    let accounts = &credentials;
    let of_device = OfDevice { references: named.0, roles: named.1, paths: &paths, accounts, service, context };
    let list = fields.required("uplinks", errors)?;
    let mut remotes = BTreeMap::new();
    // An uplink is read even if its device is wrong: its own errors are to be seen too.
    let read: Vec<_> =
        list.list(errors).iter().filter_map(|at| read_uplink(at, &mut remotes, &of_device, errors)).collect();
    let (name, http) = name.zip(http)?;
    let device = Device { name, http, rtsp, rtsp_via, connect_ports, addresses, credentials, pass_through };
    let named = |parts: &UplinkParts| (parts.remote.as_configured().to_owned(), parts.extensions.clone());
    let uplinks = read.iter().map(named).collect();
    let complete = |parts: UplinkParts| Uplink {
        device: device.clone(),
        remote: parts.remote,
        authorization: parts.authorization,
        trust: parts.trust,
        user_level: parts.user_level,
        access: parts.access,
        network: parts.network,
        tls: parts.tls,
        lab: parts.lab,
    };
    let complete = read.into_iter().map(complete).collect();
    Some((ConfiguredDevice { device, service, uplinks }, complete))
}

fn device_name(name: &str) -> Result<&str, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() > MAX_NAME || !name.chars().all(allowed) || name.starts_with('-') || name.ends_with('-') {
        return Err(format!(
            "a device name has lower-case letters, digits and inner hyphens, at most {MAX_NAME}, because it becomes part of URLs and host names"
        ));
    }
    Ok(name)
}

fn loopback(cursor: &Cursor<'_>, schemes: &[DeviceScheme], errors: &mut Errors) -> Option<LoopbackUrl> {
    let text = cursor.text(errors)?;
    let url = errors.keep(cursor, LoopbackUrl::parse(text))?;
    if !schemes.contains(&url.scheme()) {
        let names: Vec<_> = schemes.iter().map(|scheme| format!("{}://", scheme.as_str())).collect();
        errors.at(cursor, format!("the scheme must be {}", names.join(" or ")));
        return None;
    }
    Some(url)
}

fn rtsp_via(fields: &Fields<'_>, errors: &mut Errors) -> RtspVia {
    let Some((text, at)) = fields.optional_text("rtspVia", errors) else { return RtspVia::Auto };
    let Some((_, via)) = RtspVia::WORDS.into_iter().find(|(word, _)| *word == text) else {
        errors.at(at, format!("`{text}` is no way for RTSP; write auto, device or bridge"));
        return RtspVia::Auto;
    };
    if via == RtspVia::Bridge && fields.optional("rtsp").is_none() {
        errors.at(at, "the bridge needs the address of the device's RTSP service; set rtsp");
    }
    via
}

fn addresses(fields: &Fields<'_>, errors: &mut Errors) -> Addresses {
    let rewrite = fields.optional_text("rewrite", errors).and_then(|(text, at)| errors.keep(at, Rewrite::parse(text)));
    let ports = fields.optional("httpPorts").map(|at| ports(at, errors)).unwrap_or_default();
    Addresses { rewrite: rewrite.unwrap_or_default(), ports }
}

fn ports(cursor: &Cursor<'_>, errors: &mut Errors) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for item in cursor.list(errors) {
        let Some(port) = item.whole(1..=u64::from(u16::MAX), errors).and_then(|port| u16::try_from(port).ok()) else {
            continue;
        };
        if !ports.insert(port) {
            errors.at(&item, format!("port {port} is named twice"));
        }
    }
    ports
}

/// An uplink without its device.
struct UplinkParts {
    remote: RemoteAddress,
    authorization: Authorization,
    trust: Trust,
    user_level: Vec<UserLevel>,
    access: Access,
    network: Network,
    tls: TlsChoices,
    lab: Lab,
    extensions: Option<Extensions>,
}

/// What all uplinks of a device are read with.
struct OfDevice<'r> {
    references: &'r References,
    roles: &'r Roles,
    paths: &'r [PathRule],
    accounts: &'r BTreeMap<UserLevel, DeviceAccount>,
    service: UplinkService,
    context: &'r Context<'r>,
}

fn read_uplink<'n>(
    cursor: &Cursor<'n>,
    remotes: &mut BTreeMap<&'n str, Position>,
    of_device: &OfDevice<'_>,
    errors: &mut Errors,
) -> Option<UplinkParts> {
    let OfDevice { references, roles, paths, accounts, context, .. } = *of_device;
    let fields = cursor.fields(keys::UPLINK, errors)?;
    let remote = fields.required_text("remoteAddress", errors).and_then(|(text, at)| {
        if let Some(first) = remotes.insert(text, at.node.at) {
            errors.at(at, format!("this device has an uplink to it already, at line {}", first.line));
        }
        let remote = errors.keep(at, RemoteAddress::parse(text))?;
        if !context.served.schemes.contains(&remote.scheme()) {
            let served: Vec<_> = context.served.schemes.iter().map(|scheme| format!("{scheme}://")).collect();
            let served = served.join(" or ");
            errors.at(at, format!("{}:// is not served by this version; use {served}", remote.scheme()));
        }
        Some(remote)
    });
    let authorization = authorization(&fields, remote.as_ref(), of_device, errors);
    let trust = references.trust(&fields, errors);
    let level_at = fields.required("userLevel", errors);
    let levels = level_at.and_then(|at| user_levels(at, errors));
    if let (Some(levels), Some(at)) = (&levels, level_at) {
        let levels: Vec<_> = levels.iter().map(|(level, _)| level.clone()).collect();
        credentials::suffice(accounts, &levels, at, errors);
    }
    let access = access::access(&fields, levels.as_deref().unwrap_or_default(), paths, roles, errors);
    let network = connection::network(&fields, context, errors);
    let tls = connection::tls(&fields, errors);
    let lab = connection::lab(&fields, remote.as_ref(), errors);
    let extensions = service::extensions(&fields, errors);
    Some(UplinkParts {
        remote: remote?,
        authorization: authorization?,
        trust: trust?,
        user_level: levels?.into_iter().map(|(level, _)| level).collect(),
        access: access?,
        network: network?,
        tls: tls?,
        lab: lab?,
        extensions,
    })
}

fn authorization(
    fields: &Fields<'_>,
    remote: Option<&RemoteAddress>,
    of_device: &OfDevice<'_>,
    errors: &mut Errors,
) -> Option<Authorization> {
    let OfDevice { references, context, service, .. } = *of_device;
    let chosen = match (fields.optional("certificateID"), fields.optional("authorizationServer")) {
        (None, None) if service.allow_no_authentication => Authorization::Unauthenticated,
        (None, None) => {
            let message = "authentication is missing: write certificateID (mTLS) or authorizationServer (access token)";
            errors.add(fields.at, &fields.path, message);
            return None;
        }
        (Some(_), Some(second)) => {
            let message = "authentication is ambiguous: write certificateID or authorizationServer, not both";
            errors.at(second, message);
            return None;
        }
        (Some(certificate), None) => {
            not_served(certificate, AuthorizationMode::Mtls, context, errors);
            if let Some(extra) = fields.optional("tokenIn") {
                errors.at(extra, "has no meaning with certificateID; remove the key");
            }
            Authorization::Mtls(references.certificate(certificate, errors)?)
        }
        (None, Some(server)) => {
            not_served(server, AuthorizationMode::AccessToken, context, errors);
            let placement = connection::token_placement(fields, remote, errors);
            let server = references.server(server, errors);
            Authorization::AccessToken(Box::new(AccessToken { server: server?, placement: placement? }))
        }
    };
    Some(chosen)
}

fn not_served(cursor: &Cursor<'_>, mode: AuthorizationMode, context: &Context<'_>, errors: &mut Errors) {
    if !context.served.authorization_modes.contains(&mode) {
        let served: Vec<_> = context.served.authorization_modes.iter().map(|mode| mode.as_str()).collect();
        let message =
            format!("authorization by {} is not served by this version; use {}", mode.as_str(), served.join(" or "));
        errors.at(cursor, message);
    }
}

/// The levels with their places.
fn user_levels<'n>(cursor: &Cursor<'n>, errors: &mut Errors) -> Option<Vec<(UserLevel, Cursor<'n>)>> {
    let items = match &cursor.node.value {
        Value::List(items) if items.is_empty() => {
            errors.at(cursor, "names no level; write Administrator, Operator, User or a role");
            return None;
        }
        Value::List(_) => cursor.list(errors),
        _ => vec![cursor.clone()],
    };
    let mut levels = Vec::new();
    for item in &items {
        let level = item.text(errors).and_then(|text| errors.keep(item, UserLevel::parse(text)));
        if let Some(level) = level {
            if levels.iter().any(|(known, _)| *known == level) {
                errors.at(item, format!("`{level}` is named twice"));
            }
            levels.push((level, item.clone()));
        }
    }
    (levels.len() == items.len()).then_some(levels)
}
