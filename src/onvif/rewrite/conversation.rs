//! Addresses within a conversation of RTSP: the camera hears its own, the remote the one that it used.
//!
//! Stands around the mediator of credentials, if there is one: Digest covers the address that the camera reads. A remote that
//! answers the camera's challenge itself has signed the address that it wrote; its requests keep it.

use std::sync::Arc;

use super::{
    map::{Map, Outside},
    rtsp,
};
use crate::base::{
    http::BoxFuture,
    mediator::{Mediator, Mediators, Passed},
    rtsp::{Kind, Message},
};

/// Conversations whose addresses are changed.
pub struct Conversations {
    inner: Option<Arc<dyn Mediators>>,
    map: Arc<Map>,
}

impl Conversations {
    /// Around `inner`.
    pub fn new(inner: Option<Arc<dyn Mediators>>, map: Arc<Map>) -> Self {
        Self { inner, map }
    }
}

impl Mediators for Conversations {
    fn conversation(&self) -> BoxFuture<'static, Box<dyn Mediator>> {
        let (inner, map) = (self.inner.clone(), Arc::clone(&self.map));
        Box::pin(async move {
            let inner = match inner {
                Some(inner) => Some(inner.conversation().await),
                None => None,
            };
            Box::new(Conversation { inner, map, outside: None }) as Box<dyn Mediator>
        })
    }
}

struct Conversation {
    inner: Option<Box<dyn Mediator>>,
    map: Arc<Map>,
    /// How the remote names the device in its requests.
    outside: Option<Outside>,
}

impl Conversation {
    fn outward(&self, mut passed: Passed) -> Passed {
        if let (Some(message), Some(outside)) = (&mut passed.to_remote, &self.outside) {
            rtsp::outward(message, &self.map, outside);
        }
        passed
    }
}

impl Mediator for Conversation {
    fn remote_says(&mut self, mut message: Message) -> Passed {
        if let Kind::Request { uri, .. } = message.kind()
            && let Some(outside) = self.map.outside_of_rtsp(uri)
        {
            self.outside = Some(outside);
        }
        let signed = self.inner.is_none() && message.field("Authorization").is_some();
        if let Some(outside) = self.outside.as_ref().filter(|_| !signed) {
            rtsp::inward(&mut message, &self.map, outside);
        }
        let passed = match &mut self.inner {
            Some(inner) => inner.remote_says(message),
            None => Passed::to_device(message),
        };
        self.outward(passed)
    }

    fn device_says(&mut self, message: Message) -> Passed {
        let passed = match &mut self.inner {
            Some(inner) => inner.device_says(message),
            None => Passed::to_remote(message),
        };
        self.outward(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::addresses::{Addresses, Rewrite};

    async fn conversation(rewrite: Rewrite) -> Box<dyn Mediator> {
        let map = Map::new(&Addresses { rewrite, ..Addresses::default() }, 80);
        Conversations::new(None, Arc::new(map)).conversation().await
    }

    fn described() -> Message {
        let mut answer = Message::response(200, "OK");
        answer.add_field("Content-Base", "rtsp://192.168.1.10:554/live/");
        answer
    }

    fn request(method: &str, uri: &str) -> Message {
        Message::request(method, uri)
    }

    fn uri(passed: Passed) -> String {
        let message = passed.to_device.expect("to the device");
        match message.kind() {
            Kind::Request { uri, .. } => uri.to_owned(),
            Kind::Response { .. } => panic!("a response"),
        }
    }

    #[tokio::test]
    async fn a_control_address_comes_back_to_the_camera_as_it_wrote_it() {
        let mut conversation = conversation(Rewrite::Authority).await;
        assert_eq!(uri(conversation.remote_says(request("DESCRIBE", "rtsp://cloud/live"))), "rtsp://cloud/live");
        let answer = conversation.device_says(described()).to_remote.expect("to the remote");
        assert_eq!(answer.field("Content-Base"), Some("rtsp://cloud/live/"));
        let setup = request("SETUP", "rtsp://cloud/live/trackID=1");
        assert_eq!(uri(conversation.remote_says(setup)), "rtsp://192.168.1.10:554/live/trackID=1");
    }

    #[tokio::test]
    async fn an_address_that_the_remote_has_signed_stays() {
        let mut conversation = conversation(Rewrite::Authority).await;
        conversation.remote_says(request("DESCRIBE", "rtsp://cloud/live"));
        conversation.device_says(described());
        let mut setup = request("SETUP", "rtsp://cloud/live/trackID=1");
        setup.add_field("Authorization", "Digest uri=\"rtsp://cloud/live/trackID=1\"");
        assert_eq!(uri(conversation.remote_says(setup)), "rtsp://cloud/live/trackID=1");
    }

    #[tokio::test]
    async fn what_has_no_address_passes() {
        let mut conversation = conversation(Rewrite::Authority).await;
        assert_eq!(uri(conversation.remote_says(request("OPTIONS", "*"))), "*");
        assert!(conversation.device_says(described()).to_remote.is_some());
    }
}
