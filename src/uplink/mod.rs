//! L5: the uplinks of the sidecar, each kept up by a runner of its own (ONVIF Uplink §5.1 to §5.3).
//!
//! - [`state`]: the life of one uplink as a pure machine.
//! - [`liveness`]: the 30 s rule.
//! - [`session`]: one session, from the grant to its end.
//! - [`runner`]: the machine's driver, one task per uplink on its shard.
//! - [`supervisor`]: owns the runners and applies the difference of two desired sets.
//! - [`report`]: what a runner tells people: status board and log.
//! - [`metrics`], [`measured`]: what it tells machines.

pub mod liveness;
mod look;
pub mod measured;
pub mod metrics;
pub mod parts;
pub mod report;
pub mod runner;
pub mod session;
pub mod state;
pub mod supervisor;
mod waits;

#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
