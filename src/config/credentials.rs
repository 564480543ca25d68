//! The accounts at the device: read, and held against the levels of its uplinks (ONVIF Uplink §5.3: the device grants what comes
//! through an uplink the level of that uplink, so the sidecar must have an account that may as much).

use std::collections::BTreeMap;

use super::{
    context::Context,
    keys,
    reader::{Cursor, Errors, Fields},
    secrets,
};
use crate::model::{
    device::{DeviceAccount, account_for},
    user_level::UserLevel,
};

/// `credentials` of a device.
pub(super) fn accounts(
    fields: &Fields<'_>,
    context: &Context<'_>,
    errors: &mut Errors,
) -> BTreeMap<UserLevel, DeviceAccount> {
    let Some(cursor) = fields.optional("credentials") else { return BTreeMap::new() };
    if !context.served.credentials {
        errors.at(cursor, "credentials at the device are not served by this version; remove the key");
    }
    let mut found = BTreeMap::new();
    for (level, at, entry) in cursor.entries(errors) {
        let level = match UserLevel::parse(level) {
            Ok(level) => Some(level),
            Err(message) => {
                errors.add(at, &entry.path, message);
                None
            }
        };
        let Some(account) = entry.fields(keys::DEVICE_ACCOUNT, errors) else { continue };
        let username = account.required_text("username", errors).and_then(|(text, at)| {
            let checked = username(text);
            errors.keep(at, checked).map(str::to_owned)
        });
        let password_file = secrets::file(&account, "passwordFile", "password", context, errors);
        if let (Some(level), Some(username), Some(password_file)) = (level, username, password_file)
            && found.insert(level, DeviceAccount { username, password_file }).is_some()
        {
            errors.add(at, &entry.path, "this level has an account already, written with or without `onvif:`");
        }
    }
    found
}

/// A name that every scheme can carry: Basic has no colon (RFC 7617 §2), a header field no control characters.
fn username(name: &str) -> Result<&str, String> {
    match name.chars().find(|c| *c == ':' || c.is_control()) {
        Some(':') => Err("a user name has no colon: HTTP Basic could not carry it".to_owned()),
        Some(_) => Err("a user name has no control characters".to_owned()),
        None => Ok(name),
    }
}

/// `passThrough` of a device.
pub(super) fn pass_through(fields: &Fields<'_>, errors: &mut Errors) -> bool {
    let Some(cursor) = fields.optional("passThrough") else { return false };
    if fields.optional("credentials").is_none() {
        errors.at(cursor, "has no meaning without credentials: then everything passes; remove the key");
    }
    cursor.flag(errors).unwrap_or(false)
}

/// Whether one of `accounts`, if there are any, may as much as an uplink of these levels.
pub(super) fn suffice(
    accounts: &BTreeMap<UserLevel, DeviceAccount>,
    levels: &[UserLevel],
    at: &Cursor<'_>,
    errors: &mut Errors,
) {
    if !accounts.is_empty() && account_for(accounts, levels).is_none() {
        let mend = match levels {
            [UserLevel::Role(role)] => format!("add one for `{role}` or for Administrator"),
            _ if levels.iter().any(|level| matches!(level, UserLevel::Role(_))) => {
                "add one for Administrator".to_owned()
            }
            _ => "add one for this level or a higher one".to_owned(),
        };
        errors.at(at, format!("no account under credentials of the device may as much; {mend}"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{
        config::{Served, load},
        model::{address::Scheme, authorization::AuthorizationMode},
    };

    /// The errors of a document with these lines at its device and this level at its uplink.
    fn errors(device: &str, level: &str) -> Vec<String> {
        let text = format!(
            "devices:\n  - name: camera-1\n    http: http://127.0.0.1:80\n{device}    uplinks:\n      - remoteAddress: \
             https://cloud/\n        certificateID: c\n        userLevel: {level}\ncertificates:\n  \
             c: {{ certFile: c, keyFile: k }}\nroles:\n  Guards: {{ functions: [] }}\n"
        );
        let served = Served {
            schemes: vec![Scheme::Https],
            authorization_modes: vec![AuthorizationMode::Mtls],
            credentials: true,
            ..Served::default()
        };
        let loaded = load(&text, Path::new("/etc/uplink"), &served);
        loaded.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    fn accounts(levels: &[&str]) -> String {
        let account = |level: &&str| format!("      {level}: {{ username: u, passwordFile: p }}\n");
        format!("    credentials:\n{}", levels.iter().map(account).collect::<String>())
    }

    #[test]
    fn an_uplink_needs_an_account_that_may_as_much() {
        for (levels, level, mend) in [
            (&["Operator"][..], "User", None),
            (&["User"], "Operator", Some("this level or a higher one")),
            (&["Operator"], "[User, Guards]", Some("add one for Administrator")),
            (&["Operator"], "Guards", Some("`Guards` or for Administrator")),
            (&["Guards", "User"], "Guards", None),
        ] {
            let errors = errors(&accounts(levels), level);
            match mend {
                None => assert_eq!(errors, [""; 0], "{levels:?} {level}"),
                Some(mend) => assert!(errors.len() == 1 && errors[0].contains(mend), "{errors:?}"),
            }
        }
        assert_eq!(errors("", "Operator"), [""; 0], "without accounts everything passes");
    }

    #[test]
    fn what_has_no_meaning_or_cannot_be_sent_is_refused() {
        let pass = "    passThrough: true\n";
        assert_eq!(errors(&format!("{}{pass}", accounts(&["Administrator"])), "User"), [""; 0]);
        assert!(errors(pass, "User")[0].contains("has no meaning without credentials"));
        for name in ["'a:b'", "\"a\\tb\""] {
            let account = accounts(&["User"]).replace("username: u", &format!("username: {name}"));
            let errors = errors(&account, "User");
            assert!(errors.len() == 1 && errors[0].contains("a user name has no"), "{errors:?}");
        }
    }
}
