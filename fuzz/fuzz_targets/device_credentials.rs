//! What a device may say of credentials, and what a remote may put into a message (`onvif_uplink::device`): challenge lists and
//! the answers made of them, the device's time, envelopes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onvif_uplink::{
    base::secret::Secret,
    device::{
        challenge::{Offer, best, next_nonce},
        digest::{Session, Subject},
        envelope::Envelope,
        username_token::read_time,
    },
};

fuzz_target!(|input: &[u8]| {
    read_time(input);
    if let Ok(envelope) = Envelope::read(input) {
        let without = envelope.with(None);
        let again = Envelope::read(without.as_ref()).expect("what is written can be read");
        assert!(!again.has_security(), "nothing of the remote's credentials is left");
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    next_nonce(text);
    let fields = || text.split('\n');
    if let Some(Offer::Digest(challenge)) = best(fields()) {
        let subject = Subject { method: "GET", uri: "/", body: Some(b"") };
        let shown = Session::new(challenge).answer("admin", &Secret::new("secret"), subject);
        assert!(!shown.contains(['\r', '\n']), "{shown}");
    }
});
