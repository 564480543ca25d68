//! What every step of the validation needs: where the document lies and what is served.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use super::{
    configuration::Secrets,
    reader::{Cursor, Errors},
};
use crate::model::{address::Scheme, authorization::AuthorizationMode};

/// What the registered parts serve. A document that asks for more is refused, so that nothing is silently ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Schemes of RemoteAddress with a transport.
    pub schemes: Vec<Scheme>,
    /// Modes with an authorizer.
    pub authorization_modes: Vec<AuthorizationMode>,
    /// Whether `rtsp` of a device is served.
    pub rtsp: bool,
    /// Whether a device may speak HTTP/2 (`h2c://`).
    pub h2c: bool,
    /// Whether `credentials` of a device are used.
    pub credentials: bool,
    /// Whether `accounts` are used.
    pub accounts: bool,
    /// Where the Secrets lie that `secretName` names: `NAME/KEY` below this directory.
    pub secrets_dir: PathBuf,
}

/// What every step of the validation needs.
pub(super) struct Context<'c> {
    pub(super) base_dir: &'c Path,
    pub(super) served: &'c Served,
    /// The Secrets that were named so far.
    secrets: RefCell<Secrets>,
}

impl<'c> Context<'c> {
    /// No Secret was named yet.
    pub(super) fn new(base_dir: &'c Path, served: &'c Served) -> Self {
        Self { base_dir, served, secrets: RefCell::default() }
    }

    /// A file named by the document; relative to the directory of the document.
    pub(super) fn file(&self, cursor: &Cursor<'_>, errors: &mut Errors) -> Option<PathBuf> {
        cursor.text(errors).map(|text| self.base_dir.join(text))
    }

    /// The file of a key of a Secret; both names were checked.
    pub(super) fn secret(&self, name: &str, key: &str) -> PathBuf {
        self.secrets.borrow_mut().entry(name.to_owned()).or_default().insert(key.to_owned());
        self.served.secrets_dir.join(name).join(key)
    }

    /// All Secrets that were named.
    pub(super) fn into_secrets(self) -> Secrets {
        self.secrets.into_inner()
    }
}
