//! What a remote may do: access classes, levels, roles and path rules (ONVIF Core, User-based access control, Default Access
//! Policy, User roles).
//!
//! Plain values; whether a request is allowed is decided by the ONVIF room with the [`Rights`] that an uplink's levels give.

mod class;
pub mod operations;
pub mod path;

use std::collections::{BTreeMap, BTreeSet};

pub use class::AccessClass;
use operations::Operation;
pub use path::PathRule;

use super::user_level::UserLevel;

/// A custom role (25.12, UserRole): the operations that it may call, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Role {
    /// Its Functions.
    pub functions: BTreeSet<Operation>,
}

/// How a refusal looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// HTTP 400 with env:Sender/ter:NotAuthorized: no challenge, because none could be answered.
    #[default]
    BadRequest,
    /// 401 with a challenge of HTTP Digest that no password satisfies, for clients that know nothing else.
    Unauthorized,
    /// 403.
    Forbidden,
}

/// What an uplink's configuration says about access, besides its levels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// The custom roles that its levels name.
    pub roles: BTreeMap<String, Role>,
    /// The paths of its device that are allowed by rule; the first rule that matches counts.
    pub paths: Vec<PathRule>,
    /// How a refusal looks.
    pub refusal: Refusal,
    /// Whether `Subscribe` (WS-BaseNotification) counts as READ_MEDIA. It makes the device post to an address of the caller's
    /// choosing; when it is off only Administrators may.
    pub subscribe: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self { roles: BTreeMap::new(), paths: Vec::new(), refusal: Refusal::default(), subscribe: true }
    }
}

/// What the levels and roles of an uplink allow together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    everything: bool,
    classes: BTreeSet<AccessClass>,
    functions: BTreeSet<Operation>,
}

impl Rights {
    /// The union of what these levels and roles allow by the default access policy. A role that `access` does not have gives
    /// nothing (validation refuses such documents before).
    pub fn of(levels: &[UserLevel], access: &Access) -> Self {
        let mut rights = Self::default();
        // Nobody needs a right for what needs no authentication.
        rights.classes.insert(AccessClass::PreAuth);
        for level in levels {
            match level {
                UserLevel::Administrator => rights.everything = true,
                UserLevel::Operator => rights.classes.extend(OPERATOR),
                UserLevel::User => rights.classes.extend(USER),
                UserLevel::Role(name) => {
                    let functions = access.roles.get(name).map(|role| &role.functions);
                    rights.functions.extend(functions.into_iter().flatten().copied());
                }
            }
        }
        if rights.everything {
            rights.classes.extend(AccessClass::ALL);
        }
        rights
    }

    /// Whether all is allowed, also what nobody has classified.
    pub fn everything(&self) -> bool {
        self.everything
    }

    /// Whether what is of this class is allowed. `None` is what has no class: Administrators only.
    pub fn class(&self, class: Option<AccessClass>) -> bool {
        self.everything || class.is_some_and(|class| self.classes.contains(&class))
    }

    /// Whether a role names this operation.
    pub fn function(&self, operation: Operation) -> bool {
        self.everything || self.functions.contains(&operation)
    }
}

/// The default access policy: Administrators may everything.
const OPERATOR: [AccessClass; 4] =
    [AccessClass::ReadSystem, AccessClass::ReadSystemSensitive, AccessClass::ReadMedia, AccessClass::Actuate];
const USER: [AccessClass; 2] = [AccessClass::ReadSystem, AccessClass::ReadMedia];

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(levels: &[UserLevel]) -> Vec<&'static str> {
        let rights = Rights::of(levels, &Access::default());
        AccessClass::ALL.into_iter().filter(|class| rights.class(Some(*class))).map(AccessClass::as_str).collect()
    }

    #[test]
    fn levels_allow_what_the_default_access_policy_says() {
        assert_eq!(allowed(&[UserLevel::Administrator]).len(), 8);
        let operator = ["PRE_AUTH", "READ_SYSTEM", "READ_SYSTEM_SENSITIVE", "READ_MEDIA", "ACTUATE"];
        assert_eq!(allowed(&[UserLevel::Operator]), operator);
        assert_eq!(allowed(&[UserLevel::User]), ["PRE_AUTH", "READ_SYSTEM", "READ_MEDIA"]);
        assert_eq!(allowed(&[UserLevel::Role("nobody".into())]), ["PRE_AUTH"]);
    }

    #[test]
    fn what_has_no_class_is_for_administrators_only() {
        let of = |level: UserLevel| Rights::of(&[level], &Access::default()).class(None);
        assert!(of(UserLevel::Administrator));
        assert!(!of(UserLevel::Operator) && !of(UserLevel::User) && !of(UserLevel::Role("x".into())));
    }

    #[test]
    fn a_role_adds_its_functions_to_the_levels_beside_it() {
        let reboot = Operation::by_function("tds:SystemReboot").expect("known");
        let role = Role { functions: BTreeSet::from([reboot]) };
        let access = Access { roles: BTreeMap::from([("Janitors".to_owned(), role)]), ..Access::default() };
        let rights = Rights::of(&[UserLevel::User, UserLevel::Role("Janitors".into())], &access);
        assert!(rights.function(reboot) && rights.class(Some(AccessClass::ReadMedia)));
        assert!(!rights.class(Some(AccessClass::Unrecoverable)) && !rights.everything());
        assert!(!Rights::of(&[UserLevel::Operator], &access).function(reboot));
    }

    #[test]
    fn the_names_of_the_classes_are_read_as_they_are_printed() {
        for class in AccessClass::ALL {
            assert_eq!(AccessClass::parse(class.as_str()), Some(class));
        }
        assert_eq!(AccessClass::parse("READ MEDIA"), None);
    }
}
