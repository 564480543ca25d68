//! What the uplink configuration service of a device is configured with, and who may use it locally (ONVIF Uplink §6, §6.5).

use std::path::PathBuf;

use super::user_level::UserLevel;

/// MaxUplinks of a device whose configuration does not say.
pub const MAX_UPLINKS: usize = 16;

/// The word for an uplink that stands: the text said Online from 18.12 to 25.12, the WSDL always said Connected, and since 26.06
/// both do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnlineWord {
    /// The WSDL, and 26.06.
    #[default]
    Connected,
    /// The text of older releases.
    Online,
}

/// The service of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UplinkService {
    /// The capability MaxUplinks: how many uplinks the device may have.
    pub max_uplinks: usize,
    /// What GetUplinks calls an uplink that stands.
    pub online_word: OnlineWord,
    /// Whether an uplink may have no authorization (before 24.06; the draft case UPLINK-1-1-1).
    pub allow_no_authentication: bool,
}

impl Default for UplinkService {
    fn default() -> Self {
        Self { max_uplinks: MAX_UPLINKS, online_word: OnlineWord::default(), allow_no_authentication: false }
    }
}

/// An account of the local ONVIF listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub username: String,
    /// Administrator, Operator or User.
    pub level: UserLevel,
    /// File that holds the password.
    pub password_file: PathBuf,
}
