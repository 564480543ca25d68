//! The integration tests: the rooms through their public interfaces, in one binary so that it links once.

mod forward;
mod gateway;
mod linger;
mod metrics;
mod process;
mod quirks;
mod reverse;
mod sidecar;
mod support;
