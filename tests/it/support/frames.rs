//! HTTP/2 frames as they lie on the wire, for peers that no library plays (RFC 9113 §4, RFC 7541).

use tokio::io::{AsyncRead, AsyncReadExt};

/// DATA.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// The flag END_STREAM of HEADERS and DATA; ACK of SETTINGS and PING has the same bit.
pub const END_STREAM: u8 = 1;
/// The flag ACK.
pub const ACK: u8 = 1;
/// The flag END_HEADERS.
pub const END_HEADERS: u8 = 4;
/// The connection preface with empty SETTINGS (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("short").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Literal fields without indexing, without Huffman (RFC 7541 §6.2.2): every byte goes as it is.
pub fn literal(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A frame that was read.
#[derive(Debug)]
pub struct Read {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream identifier.
    pub stream: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// The next frame; `None` at the end of the connection.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Read> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    let of = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    Some(Read { kind: head[3], flags: head[4], stream: of, payload })
}
