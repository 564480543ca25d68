//! GetServices and GetCapabilities of the device, completed with the uplink service when the device lacks it (ONVIF Core §GetServices):
//! clients look for it there. All else of the answer stays byte for byte.
//!
//! The address has the authority that the device gives its own service in the same answer: so whatever makes the one work outside
//! makes the other work. GetCapabilities knows only the oldest services; later ones stand in its Extension as an element of
//! their own with XAddr.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Uri, header, request::Parts};
use http_body_util::BodyExt;
use quick_xml::escape::escape;

use super::{
    answers::capabilities_element,
    store::Capabilities,
    tree::{self, Element},
};
use crate::{
    base::{
        gather::{Gathered, gather},
        http::{Body, Response, text_response},
    },
    model::access::operations::UPLINK,
    onvif::{level::classify::media, soap::envelope::read},
};

/// Namespace of the device service.
const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
const SCHEMA: &str = "http://www.onvif.org/ver10/schema";
/// The path that is told.
const PATH: &str = "/onvif/uplink_service";
/// Longest answer that is completed, bytes: a device has some twenty services.
const ANSWER_MAX: usize = 256 * 1024;
/// How long an answer may take to come whole.
const DEADLINE: Duration = Duration::from_secs(60);

/// A list of services that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// GetServices, else GetCapabilities.
    services: bool,
    /// IncludeCapability.
    capability: bool,
    /// By which scheme and authority it was asked for.
    asked: String,
}

impl Wanted {
    /// What a request asks for, if it is a list of services. The answer must come unpacked then.
    pub(super) fn of(parts: &mut Parts, message: &[u8], charset: Option<&str>) -> Option<Self> {
        let mentions = |name: &[u8]| message.windows(name.len()).any(|window| window == name);
        if !mentions(b"GetServices") && !mentions(b"GetCapabilities") {
            return None;
        }
        let envelope = read(message, charset).ok()?;
        let operation = tree::operation(&envelope).ok()?;
        let is = |child: &str, values: [&str; 2]| {
            operation.child(DEVICE, child).is_some_and(|found| values.contains(&found.text.trim()))
        };
        let services = operation.name.is(DEVICE, "GetServices");
        let of_all = operation.child(DEVICE, "Category").is_none() || is("Category", ["All", "All"]);
        let capabilities = operation.name.is(DEVICE, "GetCapabilities") && of_all;
        if !services && !capabilities {
            return None;
        }
        parts.headers.remove(header::ACCEPT_ENCODING);
        let asked = asked(&parts.uri, parts.headers.get(header::HOST));
        Some(Self { services, capability: is("IncludeCapability", ["true", "1"]), asked })
    }
}

fn asked(uri: &Uri, host: Option<&HeaderValue>) -> String {
    let host = host.and_then(|value| value.to_str().ok());
    let authority = uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or("127.0.0.1");
    format!("{}://{authority}", uri.scheme_str().unwrap_or("http"))
}

/// The device's answer with the uplink service in it.
pub(super) async fn completed(response: Response, wanted: &Wanted, capabilities: &Capabilities) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let plain = !response.headers().contains_key(header::CONTENT_ENCODING);
    if response.status() != http::StatusCode::OK || !plain || !kind.is_some_and(|kind| media(kind).is_soap) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    match gather(body, ANSWER_MAX, DEADLINE).await {
        Gathered::Whole { bytes, trailers } => {
            let bytes = complete(&bytes, wanted, capabilities).map_or(bytes, Bytes::from);
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            let body = match trailers {
                None => Body::full(bytes),
                Some(trailers) => Body::new(Body::full(bytes).with_trailers(std::future::ready(Some(Ok(trailers))))),
            };
            Response::from_parts(parts, body)
        }
        Gathered::Larger(body) => Response::from_parts(parts, body),
        Gathered::Broken(_) => text_response(http::StatusCode::BAD_GATEWAY, "the device's answer broke"),
        Gathered::Slow => {
            text_response(http::StatusCode::GATEWAY_TIMEOUT, "the device's answer did not come whole in time")
        }
    }
}

/// The answer with the service, or `None` if it has it already or is none of these.
fn complete(answer: &[u8], wanted: &Wanted, capabilities: &Capabilities) -> Option<String> {
    let whole = std::str::from_utf8(answer).ok()?;
    let envelope = read(answer, None).ok()?;
    let operation = tree::operation(&envelope).ok()?;
    let (at, new) = if wanted.services {
        in_services(&operation, wanted, capabilities)?
    } else {
        in_capabilities(&operation, wanted)?
    };
    // Ranges are without a byte order mark.
    let at = at + (whole.len() - envelope.text.len());
    Some(format!("{}{new}{}", whole.get(..at)?, whole.get(at..)?))
}

fn in_services(operation: &Element<'_>, wanted: &Wanted, capabilities: &Capabilities) -> Option<(usize, String)> {
    if !operation.name.is(DEVICE, "GetServicesResponse") {
        return None;
    }
    let of = |namespace: &str| {
        operation
            .children
            .iter()
            .find(|service| service.child(DEVICE, "Namespace").is_some_and(|found| found.text.trim() == namespace))
    };
    if of(UPLINK).is_some() {
        return None;
    }
    let address = address(of(DEVICE).and_then(|service| service.child(DEVICE, "XAddr")), wanted);
    let capability = if wanted.capability {
        let element = capabilities_element(capabilities, "tup:Capabilities", &format!(" xmlns:tup=\"{UPLINK}\""));
        format!("<tds:Capabilities>{element}</tds:Capabilities>")
    } else {
        String::new()
    };
    let service = format!(
        "<tds:Service xmlns:tds=\"{DEVICE}\"><tds:Namespace>{UPLINK}</tds:Namespace><tds:XAddr>{address}</tds:XAddr>{capability}\
         <tds:Version><tt:Major xmlns:tt=\"{SCHEMA}\">26</tt:Major><tt:Minor xmlns:tt=\"{SCHEMA}\">6</tt:Minor></tds:Version></tds:Service>"
    );
    Some((operation.end_tag()?, service))
}

fn in_capabilities(operation: &Element<'_>, wanted: &Wanted) -> Option<(usize, String)> {
    if !operation.name.is(DEVICE, "GetCapabilitiesResponse") {
        return None;
    }
    let all = operation.child(DEVICE, "Capabilities")?;
    let device = all.child(SCHEMA, "Device").and_then(|device| device.child(SCHEMA, "XAddr"));
    let address = address(device, wanted);
    let uplink = format!("<tup:Uplink xmlns:tup=\"{UPLINK}\"><tup:XAddr>{address}</tup:XAddr></tup:Uplink>");
    match all.child(SCHEMA, "Extension") {
        Some(extension) if extension.child(UPLINK, "Uplink").is_some() => None,
        // What is not of the schema comes first there.
        Some(extension) => Some((start_tag_end(extension)?, uplink)),
        None => Some((all.end_tag()?, format!("<tt:Extension xmlns:tt=\"{SCHEMA}\">{uplink}</tt:Extension>"))),
    }
}

/// Where the content of an element begins.
fn start_tag_end(element: &Element<'_>) -> Option<usize> {
    element.end_tag()?;
    let Range { start, .. } = element.range;
    // A `>` may stand in the value of an attribute.
    let mut quote = None;
    element.raw.char_indices().find_map(|(at, c)| match (quote, c) {
        (None, '>') => Some(start + at + 1),
        (None, '"' | '\'') => {
            quote = Some(c);
            None
        }
        (Some(open), _) if open == c => {
            quote = None;
            None
        }
        _ => None,
    })
}

/// The address of the service beside that of the device service, if the answer has that.
fn address(device: Option<&Element<'_>>, wanted: &Wanted) -> String {
    let own = device.and_then(|xaddr| {
        let (scheme, rest) = xaddr.text.trim().split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())?;
        Some(format!("{scheme}://{authority}"))
    });
    escape(format!("{}{PATH}", own.unwrap_or_else(|| wanted.asked.clone()))).into_owned()
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
