//! Process entry; written by the operations part.

fn main() {}
