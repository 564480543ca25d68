//! What the service needs of the product: the uplinks of one device with their state, and the way to change them.

use crate::{
    base::http::BoxFuture,
    config::store::{Entry, StoreError},
    model::{extensions::Extensions, uplink_service::OnlineWord},
};

/// The capabilities of the service (ONVIF Uplink §6.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How many uplinks the device may have.
    pub max_uplinks: usize,
    /// Schemes of RemoteAddress.
    pub protocols: Vec<String>,
    /// Authorization modes.
    pub authorization_modes: Vec<String>,
    /// Whether media can be streamed through an uplink.
    pub streaming_over_uplink: bool,
}

/// How an uplink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No session and no attempt under way.
    Offline,
    /// An attempt is under way.
    Connecting,
    /// A session stands; how it is called depends on the release that clients know.
    Online(OnlineWord),
}

impl State {
    /// The value of Status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "Offline",
            Self::Connecting => "Connecting",
            Self::Online(OnlineWord::Connected) => "Connected",
            Self::Online(OnlineWord::Online) => "Online",
        }
    }
}

/// An uplink as GetUplinks shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What SetUplink set.
    pub entry: Entry,
    /// What a vendor added.
    pub extensions: Option<Extensions>,
    /// How it is.
    pub state: State,
    /// Why it is not, or was last not, connected: a sentence without secrets.
    pub error: Option<String>,
}

/// The uplinks of one device. Object-safe: the root implements it over configuration, status and write-back.
pub trait UplinkStore: Send + Sync + 'static {
    /// What the service can do.
    fn capabilities(&self) -> Capabilities;

    /// The uplinks in the order of the document.
    fn list(&self) -> Vec<Shown>;

    /// Adds an uplink or changes the one with its RemoteAddress; ends when that is in force.
    ///
    /// # Errors
    /// Why nothing was changed.
    fn set(&self, entry: Entry) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Takes an uplink away; ends when that is in force, while its open streams go on.
    ///
    /// # Errors
    /// Why nothing was changed.
    fn delete(&self, remote_address: String) -> BoxFuture<'static, Result<(), StoreError>>;
}
