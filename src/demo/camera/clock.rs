//! The camera's calendar.

use time::OffsetDateTime;

/// Date and time of a moment; 1970 for one that no calendar has.
pub(super) fn utc(unix_ms: u64) -> OffsetDateTime {
    let nanoseconds = i128::from(unix_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
