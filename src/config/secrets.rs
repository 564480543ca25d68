//! `secretName`: a Secret in the place of files. It lies below the directory of Secrets as kubelet mounts it, `NAME/KEY`, whoever put
//! it there: the chart's volume, or this process from the API (`--secrets api`).

use std::path::PathBuf;

use super::{
    context::Context,
    reader::{Cursor, Errors, Fields},
};
use crate::model::kubernetes::{check_key, check_name};

/// The Secret that a map names instead of the files under `files`, keys of the same map; `None` if it names none, `Some(None)` if
/// what it says is wrong (noted).
pub(super) fn named<'n>(fields: &Fields<'n>, files: &[&str], errors: &mut Errors) -> Option<Option<&'n str>> {
    let Some(at) = fields.optional("secretName") else {
        if let Some(key) = fields.optional("secretKey") {
            errors.at(key, "has no meaning without secretName; remove the key");
        }
        return None;
    };
    if let Some(extra) = files.iter().find_map(|file| fields.optional(file)) {
        errors.at(extra, "stands beside secretName; write the file or the Secret, not both");
        return Some(None);
    }
    let name = at.text(errors).and_then(|text| errors.keep(at, check_name(text)));
    Some(name)
}

/// The file of one value: named under `file_key`, or a key of the Secret that `secretName` names: `secretKey`, else `default_key`.
pub(super) fn file(
    fields: &Fields<'_>,
    file_key: &str,
    default_key: &str,
    context: &Context<'_>,
    errors: &mut Errors,
) -> Option<PathBuf> {
    match named(fields, &[file_key], errors) {
        None => required(fields, file_key, errors).and_then(|at| context.file(at, errors)),
        Some(secret) => {
            let key = key(fields, default_key, errors);
            Some(context.secret(secret?, &key?))
        }
    }
}

/// The value of a key that must be there because no Secret is named.
pub(super) fn required<'f, 'n>(fields: &'f Fields<'n>, file_key: &str, errors: &mut Errors) -> Option<&'f Cursor<'n>> {
    let found = fields.optional(file_key);
    if found.is_none() {
        errors.add(fields.at, &fields.path, format!("`{file_key}` is missing; or write secretName"));
    }
    found
}

/// `secretKey`, or what stands for it if it is missing.
pub(super) fn key(fields: &Fields<'_>, default: &str, errors: &mut Errors) -> Option<String> {
    let Some(at) = fields.optional("secretKey") else { return Some(default.to_owned()) };
    let text = at.text(errors)?;
    errors.keep(at, check_key(text)).map(str::to_owned)
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
