//! The frames of a session as they pass, by their heads (RFC 9113 §4.1); payload is skipped, never copied.
//!
//! The HTTP/2 library counts some things over the whole life of a connection and ends it when they are many: after 100
//! empty DATA frames without END_STREAM, whoever sent them and however long that took. They are legal and mean nothing, so
//! [`Received`] leaves them out before the library sees them. What it counts for good reason is bounded here by rate
//! instead: a session that lasts for weeks has time for many single errors, an attack is many at once. On the way both
//! directions tell [`Flow`] what the peer's windows are.

use std::{io, time::Duration};

use tokio::time::Instant;

use crate::base::activity::flow::Flow;

/// The connection preface of a client (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// A frame's head.
pub const HEAD: usize = 9;
/// The error code in a RST_STREAM.
const CODE: usize = 4;
/// One parameter in SETTINGS: two bytes of name, four of value.
const SETTING: usize = 6;

const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// Empty DATA frames within [`EMPTY_WITHIN`]: a relay of sixty busy streams that ends each chunk with one stays far below.
/// Each costs nine bytes and no memory; what is bounded is the work for nothing.
const EMPTY_MOST: u32 = 65_536;
const EMPTY_WITHIN: Duration = Duration::from_secs(1);
/// Streams that we reset for what the peer did wrong, within [`RESETS_WITHIN`] (CVE-2025-8671): a client behind the remote
/// that errs with each request comes to some in a second. The handler of such a stream is dropped at once.
const RESETS_MOST: u32 = 4096;
const RESETS_WITHIN: Duration = Duration::from_secs(60);

/// Which end of HTTP/2 we are; a client's bytes begin with the preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer sends requests.
    Server,
    /// The peer answers them.
    Client,
}

/// A violation of HTTP/2 that we found ourselves. The kind is the mark, because the library passes on kind and text only.
fn flood(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, sentence)
}

/// The sentence of a flood; `None` for every other error.
pub fn flood_of(error: &io::Error) -> Option<String> {
    (error.kind() == io::ErrorKind::QuotaExceeded).then(|| error.to_string())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn parse([a, b, c, kind, flags, d, e, f, g]: [u8; HEAD]) -> Self {
        Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([d & 0x7f, e, f, g]),
        }
    }

    /// Legal and without any meaning. A padded one has used up window, which only the library can give back.
    fn is_void(self) -> bool {
        self.kind == DATA && self.length == 0 && self.flags & (END_STREAM | PADDED) == 0 && self.stream != 0
    }
}

/// Counts events; too many within a time are too many. The clock is read once in so many.
#[derive(Debug)]
struct Ration {
    most: u32,
    within: Duration,
    seen: u32,
    since: Option<Instant>,
}

impl Ration {
    fn new(most: u32, within: Duration) -> Self {
        Self { most, within, seen: 0, since: None }
    }

    /// Counts one; false when the ration is exceeded.
    fn take(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.seen += 1;
        if self.seen <= self.most {
            return true;
        }
        (self.seen, self.since) = (0, None);
        since.elapsed() >= self.within
    }
}

/// What is read of a payload that passes.
#[derive(Debug)]
enum Note {
    Nothing,
    Setting([u8; SETTING], usize),
    Window([u8; 4], usize),
}

/// What the peer sends.
#[derive(Debug)]
pub struct Received {
    /// A head of which not everything has come.
    held: [u8; HEAD],
    holds: usize,
    /// Bytes of payload, or of the preface, that are still to pass.
    left: usize,
    note: Note,
    empty: Ration,
}

impl Received {
    /// Before the first byte.
    pub fn new(end: End) -> Self {
        let left = if end == End::Server { PREFACE } else { 0 };
        let empty = Ration::new(EMPTY_MOST, EMPTY_WITHIN);
        Self { held: [0; HEAD], holds: 0, left, note: Note::Nothing, empty }
    }

    /// The begin of a head that was kept back; the next bytes for [`Self::pass`] begin with it.
    pub fn held(&self) -> &[u8] {
        &self.held[..self.holds]
    }

    /// Nothing comes any more: what was held has gone its way.
    pub fn end(&mut self) {
        self.holds = 0;
    }

    /// Lets `bytes`, that begin with [`Self::held`], pass: what stays is moved to the front, its length returned.
    ///
    /// # Errors
    /// A flood, see [`flood_of`].
    pub fn pass(&mut self, bytes: &mut [u8], flow: &Flow) -> io::Result<usize> {
        self.holds = 0;
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            let mut length = self.left.min(bytes.len() - at);
            if length > 0 {
                self.left -= length;
                self.note(&bytes[at..at + length], flow);
            } else {
                let rest = &bytes[at..];
                let Some(head) = rest.first_chunk() else {
                    self.held[..rest.len()].copy_from_slice(rest);
                    self.holds = rest.len();
                    break;
                };
                let head = Head::parse(*head);
                if head.is_void() {
                    self.count_void()?;
                    at += HEAD;
                    continue;
                }
                length = HEAD;
                self.begin(head, flow);
            }
            if kept != at {
                bytes.copy_within(at..at + length, kept);
            }
            at += length;
            kept += length;
        }
        Ok(kept)
    }

    fn count_void(&mut self) -> io::Result<()> {
        if self.empty.take() {
            return Ok(());
        }
        Err(flood(format!(
            "the peer sent more than {EMPTY_MOST} empty DATA frames within {} s",
            EMPTY_WITHIN.as_secs()
        )))
    }

    fn begin(&mut self, head: Head, flow: &Flow) {
        self.left = head.length;
        self.note = match (head.kind, head.flags & ACK) {
            (SETTINGS, ACK) => {
                flow.settings_acknowledged();
                Note::Nothing
            }
            (SETTINGS, _) => Note::Setting([0; SETTING], 0),
            (WINDOW_UPDATE, _) if head.stream == 0 && head.length == 4 => Note::Window([0; 4], 0),
            _ => Note::Nothing,
        };
    }

    fn note(&mut self, payload: &[u8], flow: &Flow) {
        match &mut self.note {
            Note::Nothing => {}
            Note::Setting(setting, have) => {
                for byte in payload {
                    setting[*have] = *byte;
                    *have = (*have + 1) % SETTING;
                    if let ([name @ .., a, b, c, d], 0) = (*setting, *have)
                        && name == INITIAL_WINDOW_SIZE
                    {
                        flow.stream_window(u32::from_be_bytes([a, b, c, d]));
                    }
                }
            }
            Note::Window(update, have) => {
                let to = *have + payload.len();
                update[*have..to].copy_from_slice(payload);
                *have = to;
                if to == update.len() {
                    flow.connection_update(u32::from_be_bytes(*update) & 0x7fff_ffff);
                }
            }
        }
    }
}

/// What we send.
#[derive(Debug)]
pub struct Sent {
    /// A head, and the error code behind it if it is that of a reset.
    seen: [u8; HEAD + CODE],
    have: usize,
    left: usize,
    resets: Ration,
}

impl Sent {
    /// Before the first byte.
    pub fn new(end: End) -> Self {
        let left = if end == End::Client { PREFACE } else { 0 };
        Self { seen: [0; HEAD + CODE], have: 0, left, resets: Ration::new(RESETS_MOST, RESETS_WITHIN) }
    }

    /// Notes what has been written.
    ///
    /// # Errors
    /// A flood, see [`flood_of`]: the peer made us reset too many streams.
    pub fn pass(&mut self, mut bytes: &[u8], flow: &Flow) -> io::Result<()> {
        while !bytes.is_empty() {
            let payload = self.left.min(bytes.len());
            self.left -= payload;
            bytes = &bytes[payload..];
            let wanted = self.wanted().min(bytes.len());
            self.seen[self.have..self.have + wanted].copy_from_slice(&bytes[..wanted]);
            self.have += wanted;
            bytes = &bytes[wanted..];
            if self.left == 0 && self.have >= HEAD && self.wanted() == 0 {
                self.note(flow)?;
            }
        }
        Ok(())
    }

    /// How much of the head, or of the code behind it, is missing.
    fn wanted(&self) -> usize {
        let whole = if self.have >= HEAD && self.seen[3] == RST_STREAM { HEAD + CODE } else { HEAD };
        whole - self.have
    }

    fn note(&mut self, flow: &Flow) -> io::Result<()> {
        let [head @ .., _, _, _, _] = self.seen;
        let head = Head::parse(head);
        self.left = head.length.saturating_sub(self.have - HEAD);
        self.have = 0;
        match head.kind {
            DATA => flow.data_sent(head.length),
            RST_STREAM if self.is_the_peers_fault() && !self.resets.take() => {
                return Err(flood(format!(
                    "the peer made us reset more than {RESETS_MOST} streams within {} s",
                    RESETS_WITHIN.as_secs()
                )));
            }
            _ => {}
        }
        Ok(())
    }

    /// PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM (RFC 9113 §7): what the library says
    /// to a peer that went wrong. Our own resets have other codes.
    fn is_the_peers_fault(&self) -> bool {
        matches!(self.seen[HEAD..], [0, 0, 0, 1 | 3 | 5 | 6 | 7])
    }
}

#[cfg(test)]
#[path = "heads_tests.rs"]
mod tests;
