//! The video track as it stands in the connection: RTP and RTCP in interleaved frames (RFC 3550, RFC 3551, RFC 2326 §10.12).
//!
//! The clock of the track is the number of the picture, so its timestamps are exact whatever the network does. `PLAY` names
//! the timestamp of the first picture before that is drawn; the origin is then chosen to keep the word.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::time::Instant;

use super::{
    super::{barcode::Stamp, picture::FRAME_RATE},
    jpeg::Scan,
};
use crate::base::random::random;

/// Payload type of JPEG (RFC 3551 §6).
pub const PAYLOAD_TYPE: u8 = 26;
/// Ticks of the track's clock in a second (RFC 3551 §5.2).
pub const CLOCK_RATE: u32 = 90_000;
/// The most payload in a packet: what fits an Ethernet frame, as receivers expect also where TCP would carry more.
pub const PAYLOAD_ROOM: usize = 1400;
/// Between two sender reports; RFC 3550 §6.2 has 5 s for small sessions.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(5);

const TICKS_PER_FRAME: u32 = CLOCK_RATE / FRAME_RATE as u32;
const RTP_HEADER: usize = 12;
/// Version 2, no padding, no extension, no contributing sources.
const VERSION: u8 = 0x80;
const SENDER_REPORT: u8 = 200;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
/// Seconds from 1900, where NTP begins, to 1970.
const NTP_OFFSET: u64 = 2_208_988_800;

/// Where the first packet after a `PLAY` is, for the RTP-Info field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its sequence number.
    pub sequence: u16,
    /// Its timestamp.
    pub timestamp: u32,
}

/// The sending end of the track.
#[derive(Debug)]
pub struct Track {
    channels: (u8, u8),
    ssrc: u32,
    sequence: u16,
    packets: u32,
    octets: u32,
    /// Timestamp of the picture number 0.
    origin: u32,
    /// What the next picture must have as its timestamp.
    promised: Option<u32>,
    last: Option<(u32, Instant)>,
    reported: Option<Instant>,
}

impl Track {
    /// A track on these interleaved channels (RTP, RTCP), from random numbers (RFC 3550 §5.1).
    pub fn new(channels: (u8, u8)) -> Self {
        let [a, b, c, d, e, f] = random();
        let (ssrc, sequence) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]));
        let (packets, octets, origin) = (0, 0, u32::from_be_bytes(random()));
        Self { channels, ssrc, sequence, packets, octets, origin, promised: None, last: None, reported: None }
    }

    /// The interleaved channels of RTP and RTCP.
    pub fn channels(&self) -> (u8, u8) {
        self.channels
    }

    /// Moves it to other channels.
    pub fn set_channels(&mut self, channels: (u8, u8)) {
        self.channels = channels;
    }

    /// The synchronisation source.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Promises where the next picture is: at the very beginning somewhere, after a pause as much later as time passed.
    pub fn start(&mut self, now: Instant) -> Start {
        let timestamp = match self.last {
            // A whole number of pictures, at least one: two pictures never have the same timestamp.
            Some((timestamp, at)) => {
                let frames = (now - at).as_millis() as u64 * FRAME_RATE / 1000;
                timestamp.wrapping_add((frames.max(1) as u32).wrapping_mul(TICKS_PER_FRAME))
            }
            None => self.origin,
        };
        self.promised = Some(timestamp);
        Start { sequence: self.sequence, timestamp }
    }

    /// Writes one picture, and a sender report before it when one is due. `cname` names this camera (RFC 3550 §6.5.1).
    pub fn put_picture(&mut self, out: &mut BytesMut, scan: &Scan<'_>, stamp: Stamp, cname: &str, now: Instant) {
        let ticks = (stamp.frame as u32).wrapping_mul(TICKS_PER_FRAME);
        if let Some(promised) = self.promised.take() {
            self.origin = promised.wrapping_sub(ticks);
        }
        let timestamp = self.origin.wrapping_add(ticks);
        if self.reported.is_none_or(|reported| now - reported >= REPORT_INTERVAL) {
            self.reported = Some(now);
            self.put_report(out, timestamp, stamp.unix_ms, cname);
        }
        for payload in scan.payloads(PAYLOAD_ROOM) {
            put_frame_head(out, self.channels.0, RTP_HEADER + payload.len());
            out.put_u8(VERSION);
            out.put_u8(PAYLOAD_TYPE | if payload.last { 0x80 } else { 0 });
            out.put_u16(self.sequence);
            out.put_u32(timestamp);
            out.put_u32(self.ssrc);
            out.put_slice(&payload.head);
            out.put_slice(payload.data);
            self.sequence = self.sequence.wrapping_add(1);
            // Both counters are modulo 2^32 by definition (RFC 3550 §6.4.1).
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(payload.len() as u32);
        }
        self.last = Some((timestamp, now));
    }

    /// A sender report with the source description that RFC 3550 §6.1 demands beside it.
    fn put_report(&self, out: &mut BytesMut, timestamp: u32, unix_ms: u64, cname: &str) {
        let description = description(self.ssrc, cname);
        put_frame_head(out, self.channels.1, 28 + description.len());
        out.put_slice(&[VERSION, SENDER_REPORT, 0, 6]);
        out.put_u32(self.ssrc);
        out.put_u32((unix_ms / 1000 + NTP_OFFSET) as u32);
        out.put_u32((((unix_ms % 1000) << 32) / 1000) as u32);
        out.put_u32(timestamp);
        out.put_u32(self.packets);
        out.put_u32(self.octets);
        out.put_slice(&description);
    }

    /// Says that nothing follows (RFC 3550 §6.6): an empty receiver report must come first in a compound packet.
    pub fn put_goodbye(&self, out: &mut BytesMut) {
        put_frame_head(out, self.channels.1, 16);
        out.put_slice(&[VERSION, SENDER_REPORT + 1, 0, 1]);
        out.put_u32(self.ssrc);
        out.put_slice(&[VERSION | 1, GOODBYE, 0, 1]);
        out.put_u32(self.ssrc);
    }
}

/// `length` is that of one packet made here, far below the 65 535 that the field can say.
fn put_frame_head(out: &mut BytesMut, channel: u8, length: usize) {
    debug_assert!(length <= usize::from(u16::MAX));
    out.put_slice(&[b'$', channel]);
    out.put_u16(length as u16);
}

/// One source with its CNAME, padded with zeros to words: at least one, which ends the list.
fn description(ssrc: u32, cname: &str) -> Vec<u8> {
    let cname = &cname.as_bytes()[..cname.len().min(255)];
    let mut items = vec![1, cname.len() as u8];
    items.extend_from_slice(cname);
    items.resize((items.len() + 1).next_multiple_of(4), 0);
    let words = 1 + items.len() / 4;
    let mut packet = vec![VERSION | 1, SOURCE_DESCRIPTION, 0, words as u8];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend(items);
    packet
}

#[cfg(test)]
#[path = "rtp_tests.rs"]
mod tests;
