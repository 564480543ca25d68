//! What remotes may do, beyond the levels: the maps `roles` of the document and `access` of an uplink, the list `paths` of a
//! device (ONVIF Core, User roles; Default Access Policy).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    keys,
    reader::{Cursor, Errors, Fields},
};
use crate::model::{
    access::{Access, AccessClass, PathRule, Refusal, Role, operations::Operation},
    user_level::UserLevel,
};

/// Longest name of a method; WebDAV's longest has 17 letters.
const METHOD_MAX: usize = 20;

/// The custom roles of the document, by name.
pub(super) struct Roles(BTreeMap<String, Role>);

impl Roles {
    /// Reads `roles`.
    pub(super) fn read(document: &Fields<'_>, errors: &mut Errors) -> Self {
        let mut roles = BTreeMap::new();
        let Some(cursor) = document.optional("roles") else { return Self(roles) };
        for (name, at, entry) in cursor.entries(errors) {
            match UserLevel::parse(name) {
                Ok(UserLevel::Role(_)) => {}
                Ok(_) => errors.add(at, &entry.path, format!("`{name}` is built in and cannot be changed")),
                Err(message) => errors.add(at, &entry.path, message),
            }
            let Some(fields) = entry.fields(keys::ROLE, errors) else { continue };
            let mut functions = BTreeSet::new();
            for item in fields.required("functions", errors).map(|list| list.list(errors)).unwrap_or_default() {
                let operation = item.text(errors).and_then(|text| errors.keep(&item, Operation::by_function(text)));
                functions.extend(operation);
            }
            roles.insert(name.to_owned(), Role { functions });
        }
        Self(roles)
    }

    /// The roles that `levels` name.
    fn named(&self, levels: &[(UserLevel, Cursor<'_>)], errors: &mut Errors) -> BTreeMap<String, Role> {
        let mut named = BTreeMap::new();
        for (level, at) in levels {
            let UserLevel::Role(name) = level else { continue };
            match self.0.get(name) {
                Some(role) => drop(named.insert(name.clone(), role.clone())),
                None => errors.at(
                    at,
                    format!(
                        "there is no `{name}` under roles; write Administrator, Operator, User or a role that is there"
                    ),
                ),
            }
        }
        named
    }
}

/// Reads `paths` of a device.
pub(super) fn paths(device: &Fields<'_>, errors: &mut Errors) -> Vec<PathRule> {
    let Some(cursor) = device.optional("paths") else { return Vec::new() };
    cursor.list(errors).iter().filter_map(|item| rule(item, errors)).collect()
}

fn rule(cursor: &Cursor<'_>, errors: &mut Errors) -> Option<PathRule> {
    let fields = cursor.fields(keys::PATH_RULE, errors)?;
    let class = fields.required_text("class", errors).and_then(|(text, at)| {
        let known: Vec<_> = AccessClass::ALL.into_iter().map(AccessClass::as_str).collect();
        let class = AccessClass::parse(text);
        errors.keep(at, class.ok_or_else(|| format!("`{text}` is no access class; write one of {}", known.join(", "))))
    });
    let mut methods = Vec::new();
    for item in fields.optional("methods").map(|list| list.list(errors)).unwrap_or_default() {
        let Some(text) = item.text(errors) else { continue };
        if text.len() > METHOD_MAX || !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
            errors.at(&item, format!("`{text}` is no method; write for example GET or POST"));
        }
        methods.push(text.to_owned());
    }
    let (path, at) = fields.required_text("path", errors)?;
    errors
        .keep(at, PathRule::new(path, class.unwrap_or(AccessClass::Unrecoverable), methods))
        .filter(|_| class.is_some())
}

/// Reads `access` of an uplink with these levels; `paths` are those of its device.
pub(super) fn access(
    uplink: &Fields<'_>,
    levels: &[(UserLevel, Cursor<'_>)],
    paths: &[PathRule],
    roles: &Roles,
    errors: &mut Errors,
) -> Option<Access> {
    let mut access = Access { roles: roles.named(levels, errors), paths: paths.to_vec(), ..Access::default() };
    let Some(cursor) = uplink.optional("access") else { return Some(access) };
    let fields = cursor.fields(keys::ACCESS, errors)?;
    if let Some(at) = fields.optional("refusal") {
        access.refusal = match at.scalar(errors)? {
            "400" => Refusal::BadRequest,
            "401" => Refusal::Unauthorized,
            "403" => Refusal::Forbidden,
            other => {
                errors.at(at, format!("`{other}` is no status for a refusal; write 400, 401 or 403"));
                return None;
            }
        };
    }
    if let Some(at) = fields.optional("subscribe") {
        access.subscribe = at.flag(errors)?;
    }
    Some(access)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
