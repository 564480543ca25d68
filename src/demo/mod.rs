//! L6: what shows the product without a camera at hand: the camera emulator, and the one-process demo around it.
//!
//! Nothing below may import this room (design.md §3).

pub mod camera;
