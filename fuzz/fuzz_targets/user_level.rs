//! What a user level makes of a message, an answer and a path: any bytes (`onvif_uplink::onvif::level`).
//!
//! The first octet chooses; the rest is the input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onvif_uplink::{
    model::{
        access::{Access, Rights, path::canonical},
        user_level::UserLevel,
    },
    onvif::level::{
        addresses::Addresses,
        classify::{media, subjects},
        learn,
    },
};

fuzz_target!(|input: &[u8]| {
    let Some((choice, input)) = input.split_first() else { return };
    match choice % 4 {
        0 => {
            let access = Access::default();
            if let Ok((envelope, subjects)) = subjects(input, None, &access) {
                let operation = &envelope.text[envelope.operation_range.clone()];
                assert!(operation.contains(&envelope.operation.local), "what was classified stands in the message");
                let operator = Rights::of(&[UserLevel::Operator], &access);
                let known = subjects[0].operation.is_some();
                assert!(known || !subjects[0].allowed(&operator), "what is not understood is for Administrators only");
            }
        }
        1 => learn::read(input, &Addresses::default()),
        2 => {
            if let Some(form) = std::str::from_utf8(input).ok().and_then(canonical) {
                assert_eq!(canonical(&form).as_deref(), Some(form.as_str()), "a canonical form is its own");
            }
        }
        _ => {
            let _ = std::str::from_utf8(input).map(media);
        }
    }
});
