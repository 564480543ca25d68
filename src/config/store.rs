//! Changes of the document by the uplink configuration service: what may be changed, and where it is written back to.

pub use super::edit::{Edit, Entry};
use super::{
    Served,
    configuration::{Configuration, ConfiguredDevice},
    source::Document,
};
use crate::{base::http::BoxFuture, model::address::RemoteAddress};

/// Why a change was not made. The document is as it was. The sentences are for the one who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such device any more.
    #[error("the configuration has no device `{0}`")]
    Device(String),
    /// There is no uplink with this RemoteAddress.
    #[error("there is no uplink with this RemoteAddress")]
    Address,
    /// No certificate has this id.
    #[error("there is no certificate with the CertificateID `{0}`")]
    Certificate(String),
    /// No policy has this id.
    #[error("there is no policy with the CertPathValidationPolicyID `{0}`")]
    Policy(String),
    /// No authorization server has this token.
    #[error("there is no authorization server `{0}`")]
    AuthorizationServer(String),
    /// Neither a certificate nor an authorization server.
    #[error("authentication is missing: send CertificateID (mTLS) or AuthorizationServer (access token)")]
    MissingAuthentication,
    /// Both.
    #[error("authentication is ambiguous: send CertificateID or AuthorizationServer, not both")]
    AmbiguousAuthentication,
    /// A scheme without a transport.
    #[error("the scheme of the RemoteAddress is not supported; supported are {0}")]
    Protocol(String),
    /// The device has as many uplinks as it may.
    #[error("the device has as many uplinks as it may ({0}); delete one first, or raise uplinkService.maxUplinks")]
    MaxUplinks(usize),
    /// A value that is none.
    #[error("{0}")]
    Value(String),
    /// Where the document comes from cannot be written, or not now.
    #[error("the configuration cannot be changed: {0}")]
    NotWritable(String),
}

/// Where changes are written back to. Object-safe: a file, a ConfigMap.
pub trait ConfigStore: Send + Sync + 'static {
    /// Makes a change to the uplinks of `device` and returns the new document, which the source tells of as after any edit.
    /// Changes are made one after the other, each on what is there then. Cancel safe: the change is made whole or not at all.
    ///
    /// # Errors
    /// Why it was not made.
    fn change(&self, device: &str, edit: Edit) -> BoxFuture<'static, Result<Document, StoreError>>;
}

/// [`ConfigStore`] for a document that is not changed from here.
#[derive(Clone, Debug)]
pub struct ReadOnly {
    /// Why, and where to change it instead.
    pub sentence: String,
}

impl ConfigStore for ReadOnly {
    fn change(&self, _device: &str, _edit: Edit) -> BoxFuture<'static, Result<Document, StoreError>> {
        Box::pin(std::future::ready(Err(StoreError::NotWritable(self.sentence.clone()))))
    }
}

/// What becomes of a document by a change.
///
/// # Errors
/// Why it is not made; a document with errors is left to whoever is mending it.
pub(super) fn edited(old: &Document, device: &str, edit: &Edit, served: &Served) -> Result<Document, StoreError> {
    let load = |text: &str| super::read(text, &old.base_dir, served);
    let configuration = load(&old.text).map_err(|errors| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        let sentence = format!("{} has errors and is not in force; mend it first ({first})", old.name);
        StoreError::NotWritable(sentence)
    })?;
    check(&configuration, device, edit, served)?;
    let text = super::edit::apply(&old.text, device, edit).map_err(StoreError::NotWritable)?;
    // What is left after the checks are values that the document does not take.
    load(&text)
        .map_err(|errors| StoreError::Value(errors.first().map(|error| error.message.clone()).unwrap_or_default()))?;
    Ok(Document { text, ..old.clone() })
}

/// Whether a configuration may be changed so.
///
/// # Errors
/// The first reason against it.
pub(super) fn check(
    configuration: &Configuration,
    device: &str,
    edit: &Edit,
    served: &Served,
) -> Result<(), StoreError> {
    let of_device = configuration.device(device).ok_or_else(|| StoreError::Device(device.to_owned()))?;
    match edit {
        Edit::Delete(remote) if has(of_device, remote) => Ok(()),
        Edit::Delete(_) => Err(StoreError::Address),
        Edit::Set(entry) => check_entry(configuration, of_device, entry, served),
    }
}

fn check_entry(
    configuration: &Configuration,
    device: &ConfiguredDevice,
    entry: &Entry,
    served: &Served,
) -> Result<(), StoreError> {
    check_address(&entry.remote_address, served)?;
    let known = |ids: &std::collections::BTreeSet<String>, id: &Option<String>| {
        id.as_ref().filter(|id| !ids.contains(*id)).cloned()
    };
    match (&entry.certificate_id, &entry.authorization_server) {
        (Some(_), Some(_)) => return Err(StoreError::AmbiguousAuthentication),
        (None, None) if !device.service.allow_no_authentication => return Err(StoreError::MissingAuthentication),
        _ => {}
    }
    if let Some(id) = known(&configuration.certificates, &entry.certificate_id) {
        return Err(StoreError::Certificate(id));
    }
    if let Some(id) = known(&configuration.policies, &entry.cert_path_validation_policy_id) {
        return Err(StoreError::Policy(id));
    }
    if let Some(id) = known(&configuration.servers, &entry.authorization_server) {
        return Err(StoreError::AuthorizationServer(id));
    }
    if !has(device, &entry.remote_address) && device.uplinks.len() >= device.service.max_uplinks {
        return Err(StoreError::MaxUplinks(device.service.max_uplinks));
    }
    Ok(())
}

fn has(device: &ConfiguredDevice, remote: &str) -> bool {
    device.uplinks.iter().any(|(known, _)| known == remote)
}

fn check_address(text: &str, served: &Served) -> Result<(), StoreError> {
    let schemes = || served.schemes.iter().map(ToString::to_string).collect::<Vec<_>>();
    if let Some((scheme, _)) = text.split_once("://")
        && !schemes().iter().any(|served| served.eq_ignore_ascii_case(scheme))
    {
        return Err(StoreError::Protocol(schemes().join(" ")));
    }
    RemoteAddress::parse(text).map(drop).map_err(StoreError::Value)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
