//! Tests of the track: what a receiver reads of the interleaved frames.

use super::*;
use crate::base::rtsp::{Splitter, Unit};

const TABLE: [u8; 64] = [7; 64];

fn scan(data: &[u8]) -> Scan<'_> {
    Scan { kind: 1, width: 80, height: 45, tables: [&TABLE, &TABLE], data }
}

fn stamp(frame: u64) -> Stamp {
    Stamp { frame, unix_ms: 1_795_348_800_500 }
}

fn frames(out: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut splitter = Splitter::new();
    splitter.push(out);
    let mut frames = Vec::new();
    while let Some(unit) = splitter.next_unit().unwrap() {
        let Unit::Frame(frame) = unit else { panic!("{unit:?}") };
        frames.push((frame.channel(), frame.payload().to_vec()));
    }
    assert_eq!(splitter.buffered(), 0);
    frames
}

fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

fn sent(track: &mut Track, frame: u64, bytes: usize, now: Instant) -> Vec<(u8, Vec<u8>)> {
    let mut out = BytesMut::new();
    track.put_picture(&mut out, &scan(&vec![9; bytes]), stamp(frame), "camera-1", now);
    frames(&out)
}

#[test]
fn packets_of_a_picture_share_a_timestamp_and_count_on() {
    let mut track = Track::new((4, 5));
    let now = Instant::now();
    let start = track.start(now);
    let packets = sent(&mut track, 1000, 5_000, now);
    let (reports, media): (Vec<_>, Vec<_>) = packets.into_iter().partition(|(channel, _)| *channel == 5);
    assert_eq!((reports.len(), media.len()), (1, 4));
    for (index, (channel, packet)) in media.iter().enumerate() {
        let last = index == media.len() - 1;
        assert_eq!((*channel, packet[0], packet[1]), (4, 0x80, if last { 0x80 | 26 } else { 26 }));
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        assert_eq!(sequence, start.sequence.wrapping_add(index as u16));
        assert_eq!((word(packet, 4), word(packet, 8)), (start.timestamp, track.ssrc()));
        assert!(packet.len() <= 12 + PAYLOAD_ROOM);
    }
}

#[test]
fn timestamps_follow_the_number_of_the_picture_also_over_skipped_ones() {
    let mut track = Track::new((0, 1));
    let now = Instant::now();
    let start = track.start(now);
    sent(&mut track, 10, 10, now);
    let next = sent(&mut track, 11, 10, now);
    assert_eq!(word(&next[0].1, 4), start.timestamp.wrapping_add(3600));
    let later = sent(&mut track, 36, 10, now);
    assert_eq!(word(&later[0].1, 4), start.timestamp.wrapping_add(26 * 3600));
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_the_timestamp_is_the_promised_one_and_time_has_passed() {
    let mut track = Track::new((0, 1));
    let began = Instant::now();
    let first = track.start(began);
    sent(&mut track, 0, 10, began);
    let resumed = track.start(began + Duration::from_secs(2));
    assert_eq!(resumed.timestamp, first.timestamp.wrapping_add(2 * CLOCK_RATE));
    assert_eq!(resumed.sequence, first.sequence.wrapping_add(1));
    // The picture comes a little later than the promise; it keeps it all the same.
    let media = sent(&mut track, 53, 10, began + Duration::from_millis(2_120));
    assert_eq!(word(&media[0].1, 4), resumed.timestamp);
    let at_once = track.start(began + Duration::from_millis(2_120));
    assert_eq!(at_once.timestamp, resumed.timestamp.wrapping_add(3600));
}

#[tokio::test(start_paused = true)]
async fn a_report_joins_both_clocks_and_comes_every_five_seconds() {
    let mut track = Track::new((0, 1));
    let began = Instant::now();
    let start = track.start(began);
    let first = sent(&mut track, 0, 2_000, began);
    let report = &first[0].1;
    assert_eq!((first[0].0, &report[..4]), (1, &[0x80, 200, 0, 6][..]));
    assert_eq!((word(report, 4), word(report, 16)), (track.ssrc(), start.timestamp));
    assert_eq!((word(report, 8), word(report, 12)), (((1_795_348_800 + NTP_OFFSET) as u32), 1 << 31));
    assert_eq!((word(report, 20), word(report, 24)), (0, 0));
    // The description: its length in words, the source, CNAME, the end of the list.
    assert_eq!(report[28..], [&[0x81, 202, 0, 4][..], &report[4..8], b"\x01\x08camera-1\0\0"].concat());
    assert_eq!(sent(&mut track, 124, 10, began + Duration::from_millis(4_960)).len(), 1);
    let second = sent(&mut track, 125, 10, began + REPORT_INTERVAL);
    let report = &second[0].1;
    // Two packets of the first picture and one since; each has its JPEG headers, the first of a picture its tables too.
    assert_eq!((second.len(), word(report, 20), word(report, 24)), (2, 3, 2_000 + 10 + 3 * 8 + 2 * 132));
}

#[test]
fn a_goodbye_is_a_compound_packet_of_the_source() {
    let track = Track::new((2, 3));
    let mut out = BytesMut::new();
    track.put_goodbye(&mut out);
    let ssrc = track.ssrc().to_be_bytes();
    let expected = [&[0x80, 201, 0, 1][..], &ssrc, &[0x81, 203, 0, 1], &ssrc].concat();
    assert_eq!(frames(&out), [(3, expected)]);
}
