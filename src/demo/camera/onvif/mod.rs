//! The camera's ONVIF services: device, media, media2, PTZ, imaging and events, as a small camera of Profile S and T has them.
//!
//! ONVIF Core Specification §8 (device management) and §9 (event handling), Media, Media2, PTZ and Imaging Service
//! Specifications. Every address in an answer begins with [`Addresses`], which a camera builds from what it thinks its own
//! address is. `soap` reads and writes messages; each service is a file of its own; `unit` is what they share: `subscriptions` holds the pull
//! points, `presets` stored positions, `journal` what was done to the camera.
//!
//! What is asked for is done, or refused with the fault of the specification; nothing is accepted and forgotten.

mod asked;
mod device;
mod duration;
mod events;
mod imaging;
mod journal;
mod media;
mod media2;
mod presets;
mod ptz;
mod soap;
mod subscriptions;
mod unit;

use std::sync::Arc;

pub use self::{asked::Addresses, soap::Answer, unit::Facts};
use self::{
    asked::{Asked, FOLDER, SERVICE_SUFFIX, SERVICES, SUBSCRIPTION},
    soap::{Call, Fault},
    unit::Unit,
};
use super::optics::Optics;

/// All services of a camera.
#[derive(Debug)]
pub struct Services(Unit);

impl Services {
    /// Of a camera with these facts that looks through `optics`.
    pub fn new(facts: Facts, optics: Arc<Optics>) -> Self {
        Self(Unit::new(facts, optics))
    }

    /// Whether messages are taken at this path.
    pub fn has(path: &str) -> bool {
        let service = path.strip_prefix(FOLDER).and_then(|rest| rest.strip_suffix(SERVICE_SUFFIX));
        service.is_some_and(|word| SERVICES.contains(&word)) || path.starts_with(SUBSCRIPTION)
    }

    /// Answers one message that came to `path` at this time of day of the camera. Pulling events waits as long as the message
    /// says, a minute at most. Cancel safe: an event that was not handed over is pulled again.
    pub async fn answer(&self, request: &[u8], path: &str, addresses: &Addresses, unix_ms: u64) -> Answer {
        match Call::read(request) {
            Ok(call) => {
                let result = self.perform(&Asked { call: &call, addresses, path, unix_ms }).await;
                Answer::new(result, Some(&call))
            }
            Err(fault) => Answer::new(Err(fault), None),
        }
    }

    /// What was done to the camera, a line each.
    pub fn log(&self) -> String {
        self.0.journal.text()
    }

    async fn perform(&self, asked: &Asked<'_>) -> Result<String, Fault> {
        let (namespace, operation) = asked.call.operation();
        match namespace {
            device::NAMESPACE => device::answer(&self.0, asked, operation),
            media::NAMESPACE => media::answer(asked, operation),
            media2::NAMESPACE => media2::answer(asked, operation),
            ptz::NAMESPACE => ptz::answer(&self.0, asked, operation),
            imaging::NAMESPACE => imaging::answer(&self.0, asked, operation),
            events::NAMESPACE | events::NOTIFICATION => events::answer(&self.0, asked, operation).await,
            _ => Err(Fault::not_supported()),
        }
    }
}

/// The local name of a message's operation; `None` when it has none that can be read.
pub fn operation(request: &[u8]) -> Option<String> {
    Call::read(request).ok().map(|call| call.operation().1.to_owned())
}

/// The answer to a message without the credentials that it needs (ONVIF Core, Generic faults).
pub fn not_authorized() -> Answer {
    Answer::new(Err(Fault::sender(&["ter:NotAuthorized"], "This camera wants a UsernameToken.")), None)
}

#[cfg(test)]
mod services_tests;
#[cfg(test)]
#[path = "soap_tests.rs"]
mod tests;
