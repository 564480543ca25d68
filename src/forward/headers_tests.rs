//! Tests of the header rules, the published desync cases among them.

use super::*;

#[test]
fn placeholder_is_replaced() {}
