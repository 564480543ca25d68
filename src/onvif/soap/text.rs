//! The characters of a message: UTF-8 or UTF-16, by byte order mark, declaration or its first octets (XML 1.0 appendix F).
//!
//! What Content-Type and the XML declaration say must be what is there. A device that believed another of the three than we do
//! would read another message.

use std::borrow::Cow;

use super::Malformed;

/// How the characters were encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    Utf8,
    /// UTF-16, low octet first.
    Utf16Le,
    /// UTF-16, high octet first.
    Utf16Be,
}

impl Encoding {
    /// Whether a name of Content-Type or of an XML declaration means this encoding of this text.
    pub(super) fn is_named(self, name: &str, text: &str) -> bool {
        let is = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        match self {
            // Where all is ASCII these are the same octets.
            Self::Utf8 => is(&["utf-8", "utf8"]) || (is(&["us-ascii", "ascii", "iso-8859-1"]) && text.is_ascii()),
            Self::Utf16Le => is(&["utf-16", "utf-16le"]),
            Self::Utf16Be => is(&["utf-16", "utf-16be"]),
        }
    }
}

/// The text of a message without its byte order mark, borrowed where it is UTF-8. `charset` is that of Content-Type.
///
/// # Errors
/// It is not what it says, or neither UTF-8 nor UTF-16, or holds characters that XML does not have.
pub fn decode<'m>(message: &'m [u8], charset: Option<&str>) -> Result<(Cow<'m, str>, Encoding), Malformed> {
    let (encoding, octets) = match message {
        [0xef, 0xbb, 0xbf, rest @ ..] => (Encoding::Utf8, rest),
        [0xff, 0xfe, rest @ ..] => (Encoding::Utf16Le, rest),
        [0xfe, 0xff, rest @ ..] => (Encoding::Utf16Be, rest),
        [b'<', 0, ..] => (Encoding::Utf16Le, message),
        [0, b'<', ..] => (Encoding::Utf16Be, message),
        _ => (Encoding::Utf8, message),
    };
    let text = match encoding {
        Encoding::Utf8 => {
            let text = std::str::from_utf8(octets).map_err(|_| Malformed::WellFormed("the message is not UTF-8"))?;
            Cow::Borrowed(text)
        }
        Encoding::Utf16Le => Cow::Owned(utf16(octets, u16::from_le_bytes)?),
        Encoding::Utf16Be => Cow::Owned(utf16(octets, u16::from_be_bytes)?),
    };
    if charset.is_some_and(|charset| !encoding.is_named(charset, &text)) {
        return Err(Malformed::WellFormed("the message is not encoded as its Content-Type says"));
    }
    if !text.chars().all(is_character) {
        return Err(Malformed::WellFormed("the message holds a character that XML does not allow"));
    }
    Ok((text, encoding))
}

fn utf16(octets: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Malformed> {
    const BROKEN: Malformed = Malformed::WellFormed("the message is not UTF-16");
    let (pairs, []) = octets.as_chunks::<2>() else { return Err(BROKEN) };
    char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect::<Result<_, _>>().map_err(|_| BROKEN)
}

/// Whether XML has this character (XML 1.0 §2.2, Char).
pub fn is_character(c: char) -> bool {
    match c {
        ' '..='\u{d7ff}' | '\t' | '\n' | '\r' => true,
        _ => ('\u{e000}'..='\u{fffd}').contains(&c) || c >= '\u{10000}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "<a>é\u{1f4f7}</a>";

    fn utf16(mark: bool, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        mark.then_some(0xfeff).into_iter().chain(TEXT.encode_utf16()).flat_map(unit).collect()
    }

    #[test]
    fn utf_8_and_utf_16_are_read_with_and_without_a_byte_order_mark() {
        for (message, encoding) in [
            (TEXT.as_bytes().to_vec(), Encoding::Utf8),
            (format!("\u{feff}{TEXT}").into_bytes(), Encoding::Utf8),
            (utf16(true, u16::to_le_bytes), Encoding::Utf16Le),
            (utf16(false, u16::to_le_bytes), Encoding::Utf16Le),
            (utf16(true, u16::to_be_bytes), Encoding::Utf16Be),
            (utf16(false, u16::to_be_bytes), Encoding::Utf16Be),
        ] {
            assert_eq!(decode(&message, None), Ok((TEXT.into(), encoding)));
        }
    }

    #[test]
    fn what_content_type_says_must_be_what_is_there() {
        let le = utf16(true, u16::to_le_bytes);
        assert!(decode(&le, Some("UTF-16")).is_ok() && decode(&le, Some("utf-16le")).is_ok());
        assert!(decode(TEXT.as_bytes(), Some("utf-8")).is_ok() && decode(b"<a/>", Some("ISO-8859-1")).is_ok());
        for (message, charset) in [
            (&le[..], "utf-8"),
            (&le, "utf-16be"),
            (TEXT.as_bytes(), "utf-16"),
            (TEXT.as_bytes(), "iso-8859-1"),
            (b"<a/>", "utf-7"),
            (b"<a/>", ""),
        ] {
            assert!(decode(message, Some(charset)).is_err(), "{charset}");
        }
    }

    #[test]
    fn broken_octets_and_forbidden_characters_are_refused() {
        let cases: [&[u8]; 7] = [
            b"<a>\xff</a>",
            b"<a>\xc0\xbc</a>",
            b"<a>\0</a>",
            b"<a>\x0b</a>",
            "<a>\u{fffe}</a>".as_bytes(),
            b"\xff\xfe<\0a",
            b"\xff\xfe<\0\x00\xd8",
        ];
        for message in cases {
            assert!(decode(message, None).is_err(), "{message:?}");
        }
    }
}
