//! The answers of the service, with the order of elements of the WSDL of 26.06 (ONVIF Uplink §6).

use std::fmt::Write;

use http::{HeaderValue, Response as HttpResponse, header};
use quick_xml::escape::escape;

use super::store::{Capabilities, Shown};
use crate::{
    base::http::{Body, Response},
    config::store::StoreError,
    model::access::operations::UPLINK,
    onvif::soap::{SOAP_11, SOAP_12, Version, fault::Fault, text::is_character},
};

/// The body of GetServiceCapabilitiesResponse.
pub(super) fn capabilities(capabilities: &Capabilities) -> String {
    format!(
        "<tup:GetServiceCapabilitiesResponse>{}</tup:GetServiceCapabilitiesResponse>",
        capabilities_element(capabilities, "tup:Capabilities", "")
    )
}

/// The element Capabilities, under this name and with these further attributes.
pub(crate) fn capabilities_element(capabilities: &Capabilities, name: &str, more: &str) -> String {
    format!(
        "<{name}{more} MaxUplinks=\"{}\" Protocols=\"{}\" AuthorizationModes=\"{}\" StreamingOverUplink=\"{}\"/>",
        capabilities.max_uplinks,
        escape(capabilities.protocols.join(" ")),
        escape(capabilities.authorization_modes.join(" ")),
        capabilities.streaming_over_uplink,
    )
}

/// The body of GetUplinksResponse.
pub(super) fn uplinks(uplinks: &[Shown]) -> String {
    let mut text = "<tup:GetUplinksResponse>".to_owned();
    for shown in uplinks {
        let entry = &shown.entry;
        let attributes = shown.extensions.as_ref().map(|extensions| extensions.attributes()).unwrap_or_default();
        let space = if attributes.is_empty() { "" } else { " " };
        let _ = write!(text, "<tup:Configuration{space}{attributes}>");
        element(&mut text, "RemoteAddress", Some(&entry.remote_address));
        element(&mut text, "CertificateID", entry.certificate_id.as_deref());
        element(&mut text, "UserLevel", Some(&entry.user_level.join(" ")));
        element(&mut text, "Status", Some(shown.state.as_str()));
        element(&mut text, "CertPathValidationPolicyID", entry.cert_path_validation_policy_id.as_deref());
        element(&mut text, "AuthorizationServer", entry.authorization_server.as_deref());
        element(&mut text, "Error", shown.error.as_deref());
        text.push_str(shown.extensions.as_ref().map(|extensions| extensions.content()).unwrap_or_default());
        text.push_str("</tup:Configuration>");
    }
    text.push_str("</tup:GetUplinksResponse>");
    text
}

fn element(text: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        // A sentence may quote what a remote sent; XML has no control characters.
        let value: String = value.chars().map(|c| if is_character(c) { c } else { '\u{fffd}' }).collect();
        let _ = write!(text, "<tup:{name}>{}</tup:{name}>", escape(value));
    }
}

/// An answer with this body, in the version of the request.
pub(super) fn response(version: Version, body: &str) -> Response {
    let (namespace, kind) = match version {
        Version::Soap12 => (SOAP_12, "application/soap+xml; charset=utf-8"),
        Version::Soap11 => (SOAP_11, "text/xml; charset=utf-8"),
    };
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<env:Envelope xmlns:env=\"{namespace}\" xmlns:tup=\"{UPLINK}\"><env:Body>{body}\
         </env:Body></env:Envelope>\n"
    );
    let length = text.len();
    let mut response = HttpResponse::new(Body::full(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The fault for a change that was not made (ONVIF Uplink §6.3, §6.4; MaxUplinksReached as later drafts have it).
pub(super) fn fault(error: &StoreError) -> Fault {
    let reason = error.to_string();
    match error {
        StoreError::Certificate(_) => Fault::sender(&["InvalidArgVal", "CertificateID"], reason),
        StoreError::Policy(_) => Fault::sender(&["InvalidArgVal", "CertPathValidationPolicyID"], reason),
        StoreError::AuthorizationServer(_) => {
            Fault::sender(&["InvalidArgVal", "AuthorizationServerConfigurationToken"], reason)
        }
        StoreError::Address => Fault::sender(&["InvalidArgVal", "Address"], reason),
        StoreError::Value(_) => Fault::sender(&["InvalidArgVal"], reason),
        StoreError::MissingAuthentication => Fault::sender(&["InvalidArgs", "MissingAuthentication"], reason),
        StoreError::AmbiguousAuthentication => Fault::sender(&["InvalidArgs", "AmbiguousAuthentication"], reason),
        StoreError::Protocol(_) => Fault::sender(&["InvalidArgs", "ProtocolNotSupported"], reason),
        StoreError::MaxUplinks(_) => Fault::receiver(&["Action", "MaxUplinksReached"], reason),
        StoreError::NotWritable(_) | StoreError::Device(_) => Fault::receiver(&["Action"], reason),
    }
}
