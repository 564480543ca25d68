//! Single calls of the Kubernetes API: each within a deadline, and what goes wrong as one sentence with its mend.

use std::{future::Future, time::Duration};

use tokio::time::timeout;

use super::object::{Trouble, trouble_of};

/// A call is answered within this, or given up.
pub const CALL_MAX: Duration = Duration::from_secs(10);

/// Waits for the answer of one call, at most [`CALL_MAX`]. Dropped, it leaves the call undecided.
///
/// # Errors
/// What is in the way.
pub async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match timeout(CALL_MAX, call).await {
        Ok(answer) => answer.map_err(|error| trouble_of(&error)),
        Err(_) => Err(Trouble::Silent),
    }
}

/// Whether the same call may succeed a little later with nobody doing anything.
pub fn may_pass(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Forbidden(_) | Trouble::Unauthorized => false,
        Trouble::Answered(code, _) => matches!(code, 408 | 409 | 429 | 500..),
        Trouble::Silent | Trouble::Unreachable(_) => true,
    }
}

/// A sentence that names the mend; `rule` is what the Role in `namespace` must allow.
pub fn sentence(trouble: &Trouble, rule: &str, namespace: &str) -> String {
    match trouble {
        Trouble::Forbidden(message) => format!(
            "the API server forbids it ({message}); the Role of the pod's service account in the namespace {namespace} needs the \
             rule {{{rule}}}"
        ),
        Trouble::Unauthorized => {
            "the API server does not accept the service account's token (401); see whether the token is \
                                  mounted and the service account exists"
                .to_owned()
        }
        Trouble::Answered(429, _) => "the API server has too many requests (429)".to_owned(),
        Trouble::Answered(code, message) => format!("the API server answered {code} ({message})"),
        Trouble::Silent => format!("the API server did not answer within {} s", CALL_MAX.as_secs()),
        Trouble::Unreachable(reason) => format!("the API server cannot be reached ({reason})"),
    }
}
