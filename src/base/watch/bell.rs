//! What wakes the watching task.

use tokio::sync::Notify;

/// Wakes the task.
#[derive(Default)]
pub(super) struct Bell {
    /// Something happened in a directory.
    pub(super) event: Notify,
    /// There is a new subscription.
    pub(super) arrival: Notify,
}
