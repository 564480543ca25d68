//! What every step of the validation needs: where the document lies and what is served.

use std::path::{Path, PathBuf};

use super::reader::{Cursor, Errors, Fields};
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
}

/// What every step of the validation needs.
pub(super) struct Context<'c> {
    pub(super) base_dir: &'c Path,
    pub(super) served: &'c Served,
}

impl Context<'_> {
    /// A file named by the document; relative to the directory of the document.
    pub(super) fn file(&self, cursor: &Cursor<'_>, errors: &mut Errors) -> Option<PathBuf> {
        cursor.text(errors).map(|text| self.base_dir.join(text))
    }

    /// A file that must be named.
    pub(super) fn required_file(&self, fields: &Fields<'_>, key: &str, errors: &mut Errors) -> Option<PathBuf> {
        self.file(fields.required(key, errors)?, errors)
    }
}
