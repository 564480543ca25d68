//! Single calls of the Kubernetes API, each within a deadline.

use std::{future::Future, time::Duration};

use tokio::time::timeout;

use super::trouble::Trouble;

/// A call is answered within this, or given up.
pub const CALL_MAX: Duration = Duration::from_secs(10);

/// Waits for the answer of one call, at most [`CALL_MAX`]. Dropped, it leaves the call undecided.
///
/// # Errors
/// What is in the way.
pub async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match timeout(CALL_MAX, call).await {
        Ok(answer) => answer.map_err(|error| Trouble::of(&error)),
        Err(_) => Err(Trouble::Silent(CALL_MAX)),
    }
}
