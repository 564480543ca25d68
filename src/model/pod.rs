//! The pod around the process, as the downward API names it, and where its status may be written.

/// The pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace (`metadata.namespace`).
    pub namespace: String,
    /// Its name (`metadata.name`).
    pub name: String,
    /// What tells it from a later one of the same name (`metadata.uid`).
    pub uid: String,
}

/// An object that the status is written into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusTarget {
    /// A ConfigMap of its own.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An annotation of the pod.
    Annotation(Pod),
}
