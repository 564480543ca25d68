//! The access classes of operations (ONVIF Core, User-based access control, Default Access Policy).

use std::fmt;

/// The class of an operation: what it does to the device, not who may call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessClass {
    /// Allowed before anybody has said who he is.
    PreAuth,
    /// Reads configuration that is no secret.
    ReadSystem,
    /// Reads configuration that is delicate, but no secret.
    ReadSystemSensitive,
    /// Reads secrets: users, keys, logs, backups.
    ReadSystemSecret,
    /// Changes the configuration of the system.
    WriteSystem,
    /// Changes what cannot be changed back.
    Unrecoverable,
    /// Reads media and what describes it.
    ReadMedia,
    /// Acts: moves, switches, changes media.
    Actuate,
}

impl AccessClass {
    /// All classes, in the order of the specification.
    pub const ALL: [Self; 8] = [
        Self::PreAuth,
        Self::ReadSystem,
        Self::ReadSystemSensitive,
        Self::ReadSystemSecret,
        Self::WriteSystem,
        Self::Unrecoverable,
        Self::ReadMedia,
        Self::Actuate,
    ];

    /// The name that the specification prints; also the metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreAuth => "PRE_AUTH",
            Self::ReadSystem => "READ_SYSTEM",
            Self::ReadSystemSensitive => "READ_SYSTEM_SENSITIVE",
            Self::ReadSystemSecret => "READ_SYSTEM_SECRET",
            Self::WriteSystem => "WRITE_SYSTEM",
            Self::Unrecoverable => "UNRECOVERABLE",
            Self::ReadMedia => "READ_MEDIA",
            Self::Actuate => "ACTUATE",
        }
    }

    /// The class of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

impl fmt::Display for AccessClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
