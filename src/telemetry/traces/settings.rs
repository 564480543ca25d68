//! What the export of traces takes from outside, and its one bound.

use std::time::Duration;

/// The flush at the end takes no longer: it stands between a pod and its end.
pub const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Where a variable of the environment is looked up; tests give their own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;
