//! What everything that serves clients shares: who may come in, which devices there are, what is counted.

use std::sync::Arc;

use super::{auth::FrontAccess, directory::Directory, metrics::Metrics, pairs::Pairs};

/// One for a gateway; its listeners share it.
pub struct Front {
    /// Who may use it.
    pub access: FrontAccess,
    /// Domains under which devices have host names.
    pub suffixes: Vec<String>,
    /// The one that the list of devices links to; without it the links are paths.
    pub domain: Option<String>,
    /// The port of the RTSP listener, if there is one.
    pub rtsp: Option<u16>,
    /// The devices.
    pub directory: Arc<Directory>,
    /// Counters.
    pub metrics: Metrics,
    /// RTSP over HTTP: which session a half goes by.
    pub pairs: Arc<Pairs>,
}
