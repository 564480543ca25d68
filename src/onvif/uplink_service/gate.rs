//! Who may call an operation of the service: the access class of the operation against the rights of the caller.

use http::request::Parts;

use crate::{
    base::http::{BoxFuture, Response},
    model::{
        access::{Access, Rights},
        uplink::Uplink,
    },
    onvif::{
        level::{classify::Subject, refuse::Refuser},
        soap::envelope::Envelope,
    },
};

/// Decides about one message.
pub trait Gate: Send + Sync + 'static {
    /// Lets it through, or answers it.
    fn admit<'a>(
        &'a self,
        parts: &'a Parts,
        envelope: &'a Envelope<'a>,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<(), Box<Response>>>;
}

/// What comes through an uplink has the rights of its user level; refusals are answered and told like all others.
pub struct UplinkGate {
    rights: Rights,
    access: Access,
    refuser: Refuser,
}

impl UplinkGate {
    /// For what comes through `uplink`.
    pub fn new(uplink: &Uplink) -> Self {
        Self {
            rights: Rights::of(&uplink.user_level, &uplink.access),
            access: uplink.access.clone(),
            refuser: Refuser::new(uplink),
        }
    }
}

impl Gate for UplinkGate {
    fn admit<'a>(
        &'a self,
        parts: &'a Parts,
        envelope: &'a Envelope<'a>,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<(), Box<Response>>> {
        let allowed = if subject.allowed(&self.rights) {
            Ok(())
        } else {
            let sentence = format!("the user level of this uplink does not allow {subject}");
            Err(self.refuser.operation(parts, subject, &sentence, &self.access, envelope.version))
        };
        Box::pin(std::future::ready(allowed))
    }
}
