//! Integration tests: the parts over real loopback sockets.

mod gateway;
