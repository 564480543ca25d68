//! One change to the uplinks of a device, made in the text of the document: comments, order and all else stay as they are.
//!
//! A lossless parser edits. That nothing else changed is not believed but proved: the text is read again and must be the old tree
//! with the one change. A document that is written in a way that does not allow it (an alias for the list, for example) is
//! refused, never damaged.

use yaml_edit::{Document, Mapping, Sequence, YamlNode};

use super::{
    error::Position,
    node::{self, Node, Value},
};

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Adds an uplink, or changes the one with this RemoteAddress.
    Set(Entry),
    /// Takes the uplink with this RemoteAddress away.
    Delete(String),
}

/// An uplink as SetUplink gives it, in the words of the document. What a document says beyond it (network, TLS, …) stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub remote_address: String,
    /// For mTLS.
    pub certificate_id: Option<String>,
    /// For an access token.
    pub authorization_server: Option<String>,
    /// Levels and roles; at least one.
    pub user_level: Vec<String>,
    /// Whom to trust.
    pub cert_path_validation_policy_id: Option<String>,
    /// The element `Extensions`.
    pub extensions: Option<String>,
}

/// A value of a key that is managed here.
enum New<'e> {
    Text(&'e str),
    List(&'e [String]),
    /// The key goes.
    Absent,
    /// The key stays as it is.
    Kept,
}

impl Entry {
    fn fields(&self) -> [(&'static str, New<'_>); 7] {
        let level = match &self.user_level[..] {
            [one] => New::Text(one),
            several => New::List(several),
        };
        [
            ("remoteAddress", New::Text(&self.remote_address)),
            ("certificateID", optional(&self.certificate_id)),
            ("authorizationServer", optional(&self.authorization_server)),
            ("userLevel", level),
            ("certPathValidationPolicyID", optional(&self.cert_path_validation_policy_id)),
            ("extensions", optional(&self.extensions)),
            // It says where an access token goes, and is an error without one.
            ("tokenIn", if self.authorization_server.is_some() { New::Kept } else { New::Absent }),
        ]
    }
}

fn optional(value: &Option<String>) -> New<'_> {
    value.as_deref().map_or(New::Absent, New::Text)
}

/// Makes the change in `text`, which must be a valid document with this device.
///
/// # Errors
/// Why the document cannot be edited.
pub(super) fn apply(text: &str, device: &str, edit: &Edit) -> Result<String, String> {
    let old = node::parse(text).map_err(|error| error.to_string())?;
    let wanted = change_tree(old, device, edit).ok_or("the document has no such device")?;
    let changed = change_text(text, device, edit)?;
    let read = node::parse(&changed).map_err(|error| format!("the edited document cannot be read: {error}"))?;
    if !same(&wanted, &read) {
        return Err(
            "the uplinks of this device are written with anchors, aliases or merge keys; write them out".to_owned()
        );
    }
    Ok(changed)
}

fn change_text(text: &str, device: &str, edit: &Edit) -> Result<String, String> {
    const NOT_THERE: &str = "the uplinks of this device are written by an alias; write them out";
    let document: Document = text.parse().map_err(|error| format!("the document cannot be edited: {error}"))?;
    let devices = document.as_mapping().and_then(|root| root.get_sequence("devices")).ok_or(NOT_THERE)?;
    let named = |node: &YamlNode| is_text(node.get("name").as_ref(), device);
    let device = devices.values().find(named).and_then(|node| node.as_mapping().cloned()).ok_or(NOT_THERE)?;
    let uplinks = device.get_sequence("uplinks").ok_or(NOT_THERE)?;
    let of = |remote: &str| uplinks.values().position(|node| is_text(node.get("remoteAddress").as_ref(), remote));
    match edit {
        Edit::Delete(remote) => drop(uplinks.remove(of(remote).ok_or(NOT_THERE)?)),
        Edit::Set(entry) => match of(&entry.remote_address) {
            Some(index) => {
                let node = uplinks.get(index);
                write(node.as_ref().and_then(YamlNode::as_mapping).ok_or(NOT_THERE)?, entry);
            }
            None => {
                let new = Mapping::new();
                write(&new, entry);
                uplinks.push(new);
            }
        },
    }
    Ok(document.to_string())
}

fn is_text(node: Option<&YamlNode>, text: &str) -> bool {
    node.and_then(YamlNode::as_scalar).is_some_and(|scalar| scalar.as_string() == text)
}

/// Touches only the keys whose value is another one.
fn write(mapping: &Mapping, entry: &Entry) {
    for (key, new) in entry.fields() {
        match new {
            New::Text(text) if !is_text(mapping.get(key).as_ref(), text) => mapping.set(key, text),
            New::List(texts) if !is_list(mapping.get(key).as_ref(), texts) => {
                let list = Sequence::new_flow();
                texts.iter().for_each(|text| list.push(text.as_str()));
                mapping.set(key, list);
            }
            New::Absent if mapping.contains_key(key) => drop(mapping.remove(key)),
            _ => {}
        }
    }
}

fn is_list(node: Option<&YamlNode>, texts: &[String]) -> bool {
    let Some(list) = node.and_then(YamlNode::as_sequence) else { return false };
    list.len() == texts.len() && list.values().zip(texts).all(|(node, text)| is_text(Some(&node), text))
}

/// The tree as it must be afterwards.
fn change_tree(mut root: Node, device: &str, edit: &Edit) -> Option<Node> {
    let devices = field_mut(&mut root, "devices")?;
    let Value::List(devices) = &mut devices.value else { return None };
    let device = devices.iter_mut().find(|node| has(node, "name", device))?;
    let Value::List(uplinks) = &mut field_mut(device, "uplinks")?.value else { return None };
    match edit {
        Edit::Delete(remote) => {
            let index = uplinks.iter().position(|node| has(node, "remoteAddress", remote))?;
            uplinks.remove(index);
        }
        Edit::Set(entry) => {
            let index = uplinks.iter().position(|node| has(node, "remoteAddress", &entry.remote_address));
            let index = index.unwrap_or_else(|| {
                uplinks.push(node(Value::Map(Vec::new())));
                uplinks.len() - 1
            });
            let Value::Map(fields) = &mut uplinks.get_mut(index)?.value else { return None };
            for (key, new) in entry.fields() {
                let value = match new {
                    New::Kept => continue,
                    New::Absent => None,
                    New::Text(value) => Some(text(value)),
                    New::List(values) => Some(node(Value::List(values.iter().map(|value| text(value)).collect()))),
                };
                fields.retain(|(name, _)| !is(name, key));
                fields.extend(value.map(|value| (text(key), value)));
            }
        }
    }
    Some(root)
}

fn field_mut<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|(name, _)| is(name, key)).map(|(_, value)| value)
}

fn has(node: &Node, key: &str, text: &str) -> bool {
    matches!(&node.value, Value::Map(entries) if entries.iter().any(|(name, value)| is(name, key) && is(value, text)))
}

fn is(node: &Node, text: &str) -> bool {
    matches!(&node.value, Value::Text(found) if found == text)
}

fn node(value: Value) -> Node {
    Node { at: Position::START, value }
}

fn text(text: &str) -> Node {
    node(Value::Text(text.to_owned()))
}

/// Whether two trees say the same, wherever it stands. Keys of a map have no order.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            let has = |(key, value): &(Node, Node)| {
                other.iter().any(|(name, found)| name.value == key.value && same(value, found))
            };
            one.len() == other.len() && one.iter().all(has)
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
