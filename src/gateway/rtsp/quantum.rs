//! Base64 as players send it in RTSP over HTTP: each request encoded for itself, with padding in the midst of the stream, in
//! pieces that end anywhere, and line ends between them (Apple's note on tunnelling RTSP over HTTP).

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{BufMut, Bytes, BytesMut};

/// Four characters make a quantum (RFC 4648 §4).
const QUANTUM: usize = 4;

/// What came is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what came is not base64")]
pub struct NotBase64;

/// Decodes a stream, quantum by quantum.
#[derive(Debug, Default)]
pub struct Decoder {
    quantum: [u8; QUANTUM],
    filled: usize,
}

impl Decoder {
    /// Decodes what is complete; up to three characters wait for the rest of their quantum.
    ///
    /// # Errors
    /// [`NotBase64`]: the stream is of no use from here on.
    pub fn decode(&mut self, piece: &[u8]) -> Result<Bytes, NotBase64> {
        let mut out = BytesMut::with_capacity((piece.len() / QUANTUM + 1) * 3);
        for byte in piece.iter().copied().filter(|byte| !byte.is_ascii_whitespace()) {
            self.quantum[self.filled] = byte;
            self.filled += 1;
            if self.filled == QUANTUM {
                self.filled = 0;
                let mut bytes = [0; 3];
                let length = BASE64_STANDARD.decode_slice(self.quantum, &mut bytes).map_err(|_| NotBase64)?;
                out.put_slice(&bytes[..length]);
            }
        }
        Ok(out.freeze())
    }
}

/// One piece for itself, with its padding.
pub fn encode(bytes: &[u8]) -> Bytes {
    BASE64_STANDARD.encode(bytes).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_that_were_encoded_one_by_one_come_back_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6), cut in 1usize..9
        ) {
            let encoded: Vec<u8> = messages.iter().flat_map(|message| [&encode(message)[..], b"\r\n"].concat()).collect();
            let mut decoder = Decoder::default();
            let decoded: Vec<u8> = encoded.chunks(cut).flat_map(|piece| decoder.decode(piece).expect("base64")).collect();
            prop_assert_eq!(decoded, messages.concat());
        }
    }

    #[test]
    fn garbage_in_the_midst_is_noticed() {
        for garbage in ["REVT!0NS", "RE=T", "====", "\u{e4}bc"] {
            assert_eq!(Decoder::default().decode(garbage.as_bytes()), Err(NotBase64), "{garbage}");
        }
    }
}
