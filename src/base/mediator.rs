//! The seam between whoever carries RTSP to a device and whoever may change it on the way (RFC 2326; ONVIF Streaming).
//!
//! What carries (bridge, tunnel) cuts both directions into units, hands over the messages, and sends what comes back; frames
//! of RTP never pass here. What changes messages (credentials) does not know how they travel.

use super::{http::BoxFuture, rtsp::Message};

/// What to send in place of a message. Nothing at all, when it was for the mediator.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// To the device.
    pub to_device: Option<Message>,
    /// To the remote.
    pub to_remote: Option<Message>,
}

impl Passed {
    /// One message to the device.
    pub fn to_device(message: Message) -> Self {
        Self { to_device: Some(message), to_remote: None }
    }

    /// One message to the remote.
    pub fn to_remote(message: Message) -> Self {
        Self { to_device: None, to_remote: Some(message) }
    }
}

/// Stands in one conversation. The messages of each direction are handed over in their order.
pub trait Mediator: Send {
    /// A message came from the remote.
    fn remote_says(&mut self, message: Message) -> Passed;

    /// A message came from the device.
    fn device_says(&mut self, message: Message) -> Passed;
}

/// Gives each conversation its mediator.
pub trait Mediators: Send + Sync + 'static {
    /// One for a new conversation; cancel safe.
    fn conversation(&self) -> BoxFuture<'static, Box<dyn Mediator>>;
}
