//! What the document says of the uplink configuration service: the map `uplinkService` of a device, `extensions` of an uplink, the
//! list `accounts` (ONVIF Uplink §6).

use std::collections::BTreeSet;

use super::{
    context::Context,
    keys,
    reader::{Errors, Fields},
    secrets,
};
use crate::model::{
    extensions::Extensions,
    uplink_service::{Account, OnlineWord, UplinkService},
    user_level::UserLevel,
};

/// Most uplinks of a device; each is a TLS connection of its own.
const MAX_UPLINKS_MAX: u64 = 1000;

/// Reads `uplinkService` of a device.
pub(super) fn uplink_service(device: &Fields<'_>, errors: &mut Errors) -> UplinkService {
    let mut service = UplinkService::default();
    let Some(fields) = device.optional("uplinkService").and_then(|at| at.fields(keys::UPLINK_SERVICE, errors)) else {
        return service;
    };
    if let Some(max) = fields.optional("maxUplinks").and_then(|at| at.whole(1..=MAX_UPLINKS_MAX, errors)) {
        service.max_uplinks = usize::try_from(max).unwrap_or(usize::MAX);
    }
    if let Some((word, at)) = fields.optional_text("onlineStatus", errors) {
        match word {
            "Connected" => service.online_word = OnlineWord::Connected,
            "Online" => service.online_word = OnlineWord::Online,
            _ => errors.at(at, format!("`{word}` is no word for it; write Connected or Online")),
        }
    }
    if let Some(allowed) = fields.optional("allowNoAuthentication").and_then(|at| at.flag(errors)) {
        service.allow_no_authentication = allowed;
    }
    service
}

/// Reads `extensions` of an uplink.
pub(super) fn extensions(uplink: &Fields<'_>, errors: &mut Errors) -> Option<Extensions> {
    let (text, at) = uplink.optional_text("extensions", errors)?;
    errors.keep(at, Extensions::parse(text))
}

/// Reads `accounts`.
pub(super) fn accounts(fields: &Fields<'_>, context: &Context<'_>, errors: &mut Errors) -> Vec<Account> {
    let Some(cursor) = fields.optional("accounts") else { return Vec::new() };
    if !context.served.accounts {
        errors.at(cursor, "accounts are not served by this version; remove the key");
    }
    let (mut names, mut accounts) = (BTreeSet::new(), Vec::new());
    for account in cursor.list(errors) {
        let Some(fields) = account.fields(keys::ACCOUNT, errors) else { continue };
        let name = fields.required_text("username", errors);
        if let Some((name, at)) = name
            && !names.insert(name)
        {
            errors.at(at, format!("there is an account `{name}` already"));
        }
        let level = fields.required_text("level", errors).and_then(|(text, at)| {
            let level = errors.keep(at, UserLevel::parse(text))?;
            if let UserLevel::Role(_) = level {
                errors.at(at, "an account has the level Administrator, Operator or User");
            }
            Some(level)
        });
        let password_file = secrets::file(&fields, "passwordFile", "password", context, errors);
        if let (Some((username, _)), Some(level), Some(password_file)) = (name, level, password_file) {
            accounts.push(Account { username: username.to_owned(), level, password_file });
        }
    }
    accounts
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
