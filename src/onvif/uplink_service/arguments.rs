//! The arguments of SetUplink and DeleteUplink (ONVIF Uplink §6, WSDL 26.06; clients of 18.12 send fewer elements in another order).
//!
//! The order of elements is not checked: it differs between releases. What must be there, may be there once, and what it may be is.

use super::tree::Element;
use crate::{
    config::store::Entry,
    model::{
        access::operations::UPLINK,
        extensions::{ELEMENT, Extensions},
        user_level::UserLevel,
    },
    onvif::soap::fault::Fault,
};

/// Longest value in bytes: a RemoteAddress with a token in its query has some hundred.
const VALUE_MAX: usize = 2048;

/// The Configuration of SetUplink.
///
/// # Errors
/// The fault for what is missing, there twice, or no value.
pub(super) fn set_uplink(operation: &Element<'_>) -> Result<Entry, Fault> {
    let configuration = only(operation, "Configuration")?.ok_or_else(|| missing("Configuration", "SetUplink"))?;
    let optional =
        |name: &str| Ok::<_, Fault>(only(configuration, name)?.map(value).transpose()?.filter(|text| !text.is_empty()));
    let remote_address = optional("RemoteAddress")?.ok_or_else(|| missing("RemoteAddress", "Configuration"))?;
    let levels = optional("UserLevel")?.ok_or_else(|| missing("UserLevel", "Configuration"))?;
    let user_level: Vec<String> = levels.split_whitespace().map(str::to_owned).collect();
    for level in &user_level {
        UserLevel::parse(level).map_err(|sentence| Fault::sender(&["InvalidArgVal"], sentence))?;
    }
    Ok(Entry {
        remote_address,
        certificate_id: optional("CertificateID")?,
        authorization_server: optional("AuthorizationServer")?,
        user_level,
        cert_path_validation_policy_id: optional("CertPathValidationPolicyID")?,
        extensions: extensions(configuration)?,
    })
}

/// The RemoteAddress of DeleteUplink.
///
/// # Errors
/// The fault for what is missing, there twice, or no value.
pub(super) fn delete_uplink(operation: &Element<'_>) -> Result<String, Fault> {
    let address = only(operation, "RemoteAddress")?.map(value).transpose()?.filter(|text| !text.is_empty());
    address.ok_or_else(|| missing("RemoteAddress", "DeleteUplink"))
}

fn missing(name: &str, parent: &str) -> Fault {
    let sentence = format!("{parent} has no {name}, or an empty one (namespace {UPLINK})");
    Fault::sender(&["InvalidArgs"], sentence)
}

/// The one child of this name.
fn only<'e, 't>(parent: &'e Element<'t>, name: &str) -> Result<Option<&'e Element<'t>>, Fault> {
    let mut found = parent.children.iter().filter(|child| child.name.is(UPLINK, name));
    let first = found.next();
    match found.next() {
        Some(_) => Err(Fault::sender(&["InvalidArgs"], format!("{name} is there twice"))),
        None => Ok(first),
    }
}

fn value(element: &Element<'_>) -> Result<String, Fault> {
    let name = &element.name.local;
    let text = element.text.trim();
    if !element.children.is_empty() {
        return Err(Fault::sender(&["InvalidArgs"], format!("{name} holds a text, not elements")));
    }
    if text.len() > VALUE_MAX {
        return Err(Fault::sender(&["InvalidArgVal"], format!("{name} is longer than {VALUE_MAX} bytes")));
    }
    Ok(text.to_owned())
}

/// The elements of Configuration that are of this release; Status and Error are the device's own and ignored (§6.3).
const KNOWN: [&str; 7] = [
    "RemoteAddress",
    "CertificateID",
    "UserLevel",
    "Status",
    "CertPathValidationPolicyID",
    "AuthorizationServer",
    "Error",
];

/// What the Configuration holds beyond them, as one element.
fn extensions(configuration: &Element<'_>) -> Result<Option<String>, Fault> {
    let is_known = |child: &&Element<'_>| !KNOWN.iter().any(|name| child.name.is(UPLINK, name));
    let mut text = format!("<{ELEMENT}");
    for (number, (name, value)) in configuration.attributes.iter().enumerate() {
        let value = quick_xml::escape::escape(value.as_str());
        if name.namespace.is_empty() {
            text.push_str(&format!(" {}=\"{value}\"", name.local));
        } else if name.namespace == XML {
            text.push_str(&format!(" xml:{}=\"{value}\"", name.local));
        } else {
            let namespace = quick_xml::escape::escape(name.namespace.as_str());
            text.push_str(&format!(" xmlns:v{number}=\"{namespace}\" v{number}:{}=\"{value}\"", name.local));
        }
    }
    let mut has_any = !configuration.attributes.is_empty();
    text.push('>');
    for child in configuration.children.iter().filter(is_known) {
        text.push_str(&child.alone());
        has_any = true;
    }
    text.push_str(&format!("</{ELEMENT}>"));
    if !has_any {
        return Ok(None);
    }
    Extensions::parse(&text).map_err(|sentence| Fault::sender(&["InvalidArgVal"], sentence))?;
    Ok(Some(text))
}

/// The namespace of `xml:lang` and its like, which is not declared.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
