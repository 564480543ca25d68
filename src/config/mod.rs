//! L2: the configuration document: read, validated, watched (design: one YAML document in the specification's words).
//!
//! [`load`] turns a text into the desired set or into all of its errors; [`source::ConfigSource`] says where texts come from.

mod access;
#[cfg(feature = "kubernetes")]
pub mod configmap;
mod configuration;
mod connection;
mod context;
mod credentials;
mod edit;
pub mod error;
pub mod file;
mod keys;
mod node;
mod raw;
mod reader;
mod references;
mod secrets;
mod service;
pub mod source;
pub mod store;
#[cfg(feature = "kubernetes")]
pub mod store_configmap;
mod store_file;
mod validate;

use std::path::Path;

pub use configuration::{Configuration, ConfiguredDevice, Secrets};
pub use context::Served;
pub use error::ConfigError;
pub use store_file::FileStore;

use crate::model::desired::DesiredSet;

/// Largest document: the bound of a ConfigMap (1 MiB).
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// The uplinks that a document asks for; as [`read`].
///
/// # Errors
/// Everything that is wrong, in the order of the document; at least one entry.
pub fn load(text: &str, base_dir: &Path, served: &Served) -> Result<DesiredSet, Vec<ConfigError>> {
    read(text, base_dir, served).map(|configuration| configuration.desired)
}

/// Reads and validates a document. Relative file names are relative to `base_dir`, the directory of the document.
///
/// # Errors
/// Everything that is wrong, in the order of the document; at least one entry.
pub fn read(text: &str, base_dir: &Path, served: &Served) -> Result<Configuration, Vec<ConfigError>> {
    if text.len() > MAX_DOCUMENT_BYTES {
        let message = format!("the document is larger than {MAX_DOCUMENT_BYTES} bytes");
        return Err(vec![ConfigError::new(error::Position::START, "", message)]);
    }
    let root = node::parse(text).map_err(|error| vec![error])?;
    validate::validate(&root, context::Context::new(base_dir, served))
}

/// The JSON Schema (draft 2020-12) of the document.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::Document).into()
}

#[cfg(test)]
mod tests;
