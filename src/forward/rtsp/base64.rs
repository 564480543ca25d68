//! Base64 as players put it into the POST of a tunnelled conversation (ONVIF Uplink, RTSP over HTTP; RFC 4648 §4).
//!
//! Most players encode each request alone, so padding stands in the middle of the stream, and chunks end anywhere. So quanta of
//! four characters are decoded one after the other, whatever the chunks are; a quantum that is not complete waits for its rest.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

/// Strict but for the bits that the last character of a padded quantum has too many: some encoders leave them set.
const ENGINE: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
/// Characters of one quantum.
const QUANTUM: usize = 4;

/// Where the stream is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Base64Error {
    /// A character that has no place there.
    #[error("near byte {0} it is no base64")]
    Garbage(u64),
    /// The stream ended within a quantum.
    #[error("its base64 ends within a group of four characters")]
    Incomplete,
}

/// Decodes a stream of quanta.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The characters of the quantum that is not complete yet; after each [`Self::decode`] at most three.
    quantum: Vec<u8>,
    /// Bytes that have come, for the error.
    seen: u64,
}

impl Decoder {
    /// Decodes what came next. Line ends and blanks between characters are passed over.
    ///
    /// # Errors
    /// [`Base64Error::Garbage`]; nothing of the stream is of use from there on.
    pub fn decode(&mut self, chunk: &[u8]) -> Result<Vec<u8>, Base64Error> {
        self.seen += chunk.len() as u64;
        self.quantum.extend(chunk.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let whole = self.quantum.len() - self.quantum.len() % QUANTUM;
        let mut decoded = Vec::with_capacity(whole / QUANTUM * 3);
        let mut rest = &self.quantum[..whole];
        while !rest.is_empty() {
            // Padding ends what one call of the library takes.
            let padded = rest.chunks(QUANTUM).position(|quantum| quantum.contains(&b'='));
            let (run, after) = rest.split_at(padded.map_or(rest.len(), |index| (index + 1) * QUANTUM));
            ENGINE.decode_vec(run, &mut decoded).map_err(|_| Base64Error::Garbage(self.seen))?;
            rest = after;
        }
        self.quantum.drain(..whole);
        Ok(decoded)
    }

    /// To be called at the end of the stream.
    ///
    /// # Errors
    /// [`Base64Error::Incomplete`].
    pub fn finish(&self) -> Result<(), Base64Error> {
        if self.quantum.is_empty() { Ok(()) } else { Err(Base64Error::Incomplete) }
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn decode(chunks: &[&str]) -> Result<String, Base64Error> {
        let mut decoder = Decoder::default();
        let mut all = Vec::new();
        for chunk in chunks {
            all.extend(decoder.decode(chunk.as_bytes())?);
        }
        decoder.finish()?;
        Ok(String::from_utf8(all).expect("text"))
    }

    #[test]
    fn padding_in_the_middle_ends_a_request_and_not_the_stream() {
        assert_eq!(decode(&["UExBWQ==VEVBUkRPV04=UExBWQ=="]).as_deref(), Ok("PLAYTEARDOWNPLAY"));
    }

    #[test]
    fn quanta_may_be_cut_and_wrapped_anywhere() {
        assert_eq!(decode(&["U", "ExB", "WQ=", "=\r\nVEVB", " UkRPV04", "=\n"]).as_deref(), Ok("PLAYTEARDOWN"));
    }

    #[test]
    fn what_is_complete_is_decoded_at_once() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(b"UExBW"), Ok(b"PLA".to_vec()));
        assert_eq!(decoder.decode(b"Q=="), Ok(b"Y".to_vec()));
    }

    #[test]
    fn garbage_is_named_with_its_place() {
        assert_eq!(decode(&["UExB", "W\u{1}=="]), Err(Base64Error::Garbage(8)));
        for garbage in ["====", "A===", "A=BC", "UEx*", "UE_-", "=UEx", "U=Ex"] {
            assert!(matches!(decode(&[garbage]), Err(Base64Error::Garbage(_))), "{garbage}");
        }
    }

    #[test]
    fn an_end_within_a_quantum_is_said() {
        assert_eq!(decode(&["UExBW"]), Err(Base64Error::Incomplete));
    }

    proptest! {
        #[test]
        fn any_requests_in_any_pieces_come_out_as_they_went_in(
            requests in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
            piece in 1_usize..40,
        ) {
            let encoded: String = requests.iter().map(|request| BASE64_STANDARD.encode(request)).collect();
            let mut decoder = Decoder::default();
            let mut decoded = Vec::new();
            for chunk in encoded.as_bytes().chunks(piece) {
                decoded.extend(decoder.decode(chunk).expect("base64"));
            }
            prop_assert_eq!(decoder.finish(), Ok(()));
            prop_assert_eq!(decoded, requests.concat());
        }

        #[test]
        fn no_input_panics(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6)) {
            let mut decoder = Decoder::default();
            for chunk in chunks {
                if decoder.decode(&chunk).is_err() {
                    break;
                }
            }
        }
    }
}
