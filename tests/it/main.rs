//! The integration tests: the rooms through their public interfaces, in one binary so that it links once.

mod reverse;
mod support;
//! Integration tests: the parts over real loopback sockets.

mod gateway;
