//! What a request is: pure functions, for the handler and for tests of any input.
//!
//! An operation is known by namespace and local name of the one element in the SOAP body, never by path or SOAPAction. Some
//! devices look at an action nevertheless; so one that names another operation than the body must be allowed too where it cannot
//! be taken out (`wsa:Action`), and is taken out where it can (`SOAPAction`, `action` of Content-Type).

use std::fmt;

use http::{HeaderMap, header};

use crate::{
    model::access::{Access, AccessClass, Rights, operations::Operation},
    onvif::soap::{
        Malformed,
        envelope::{self, Envelope},
    },
};

/// The Content-Type of RTSP over HTTP.
const RTSP_TUNNELLED: &str = "application/x-rtsp-tunnelled";

/// What a message asks for: the operation of its body, and what its header says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// For the audit line: `tds:GetUsers`, `{namespace}name`, or a path.
    pub name: String,
    /// The operation of the table; `None` is what nobody has classified.
    pub operation: Option<Operation>,
    /// Its class; `None`: Administrators only.
    pub class: Option<AccessClass>,
}

impl Subject {
    /// Something that has no class.
    pub fn unknown(name: impl Into<String>) -> Self {
        Self { name: name.into(), operation: None, class: None }
    }

    fn of(operation: Operation, access: &Access) -> Self {
        let subscribe = (operation.is_subscribe() && access.subscribe).then_some(AccessClass::ReadMedia);
        Self { name: operation.to_string(), operation: Some(operation), class: operation.class().or(subscribe) }
    }

    /// Whether these rights suffice.
    pub fn allowed(&self, rights: &Rights) -> bool {
        rights.class(self.class) || self.operation.is_some_and(|operation| rights.function(operation))
    }
}

/// All that a message asks for: the operation of its body first, then that of a contradicting `wsa:Action`.
///
/// # Errors
/// [`Malformed`]: for Administrators only.
pub fn subjects<'m>(
    message: &'m [u8],
    charset: Option<&str>,
    access: &Access,
) -> Result<(Envelope<'m>, Vec<Subject>), Malformed> {
    let envelope = envelope::read(message, charset)?;
    let name = &envelope.operation;
    let mut subjects = vec![match Operation::find(&name.namespace, &name.local) {
        Some(operation) => Subject::of(operation, access),
        None => Subject::unknown(format!("{{{}}}{}", name.namespace, name.local)),
    }];
    if let Some(action) = envelope.action.as_deref().map(str::trim)
        && !action.is_empty()
        && !names(action, &name.local)
    {
        subjects.push(match by_action(action) {
            Some(operation) => Subject::of(operation, access),
            None => Subject::unknown(format!("wsa:Action {action}")),
        });
    }
    Ok((envelope, subjects))
}

/// Whether an action is that of an operation with this local name: its last part is the name, with or without `Request`. The
/// specification itself has actions with a slash too much or too little (`…/wsdlGetProfile/`).
pub fn names(action: &str, local: &str) -> bool {
    let last = action.trim_end_matches('/').rsplit(['/', '#', ':']).next().unwrap_or_default();
    fn bare(name: &str) -> &str {
        name.strip_suffix("Request").unwrap_or(name)
    }
    [last, last.strip_prefix("wsdl").unwrap_or(last)].iter().any(|last| bare(last) == bare(local))
}

/// The operation that an action names: `NAMESPACE/Operation` or, with WS-Addressing, `NAMESPACE/PortType/OperationRequest`.
fn by_action(action: &str) -> Option<Operation> {
    let (rest, last) = action.rsplit_once('/')?;
    let above = rest.rsplit_once('/').map_or(rest, |(namespace, _)| namespace);
    let bare = last.strip_suffix("Request").unwrap_or(last);
    [rest, above].iter().find_map(|namespace| {
        Operation::find_action(namespace, last).or_else(|| Operation::find_action(namespace, bare))
    })
}

/// What a Content-Type says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// It is a SOAP message, or may be one.
    pub is_soap: bool,
    /// It is a SOAP message within a multipart (MTOM, SOAP with Attachments).
    pub is_multipart_soap: bool,
    /// `charset`.
    pub charset: Option<String>,
    /// `action` (SOAP 1.2).
    pub action: Option<String>,
}

/// Reads a Content-Type.
pub fn media(value: &str) -> Media {
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut media = Media {
        is_soap: ["application/soap+xml", "text/xml", "application/xml"].contains(&essence.as_str()),
        is_multipart_soap: essence == "multipart/related" || essence == "application/xop+xml",
        ..Media::default()
    };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = Some(value.trim().trim_matches('"').to_owned());
        match name.trim().to_ascii_lowercase().as_str() {
            "charset" => media.charset = value,
            "action" => media.action = value,
            _ => {}
        }
    }
    media
}

/// Whether it is one half of RTSP over HTTP.
pub fn is_rtsp_tunnel(headers: &HeaderMap) -> bool {
    [header::ACCEPT, header::CONTENT_TYPE].iter().any(|name| {
        let values = super::fields::text(headers, name).split([',', ';']);
        values.into_iter().any(|value| value.trim().eq_ignore_ascii_case(RTSP_TUNNELLED))
    })
}

/// The class of an RTSP method (ONVIF Streaming; RFC 2326 §10). `require` holds the request's `Require`: a SETUP that requires
/// the backchannel sends sound to the device.
pub fn rtsp_class(method: &str, require: &str) -> Option<AccessClass> {
    let backchannel = require.contains("/ver20/backchannel");
    match method {
        "SETUP" if backchannel => Some(AccessClass::Actuate),
        "OPTIONS" | "DESCRIBE" | "SETUP" | "PLAY" | "PAUSE" | "TEARDOWN" | "GET_PARAMETER" => {
            Some(AccessClass::ReadMedia)
        }
        "RECORD" | "ANNOUNCE" | "SET_PARAMETER" => Some(AccessClass::Actuate),
        _ => None,
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            Some(class) => write!(f, "{} ({class})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
