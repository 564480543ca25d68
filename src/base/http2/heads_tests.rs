//! Heads in any cut of the bytes.

use super::*;
use crate::base::activity::Activity;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn void() -> Vec<u8> {
    frame(DATA, 0, 1, &[])
}

/// Lets `bytes` pass in pieces of `piece` bytes, as a reader would.
fn passed(received: &mut Received, bytes: &[u8], piece: usize, flow: &Flow) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut buffer = [received.held(), piece].concat();
        let kept = received.pass(&mut buffer, flow).expect("no flood");
        out.extend(&buffer[..kept]);
    }
    out
}

#[test]
fn void_frames_are_left_out_and_everything_else_passes_in_any_cut() {
    let kept = [
        frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
        frame(DATA, 0, 1, b"picture"),
        frame(DATA, END_STREAM, 1, &[]),
        frame(DATA, PADDED, 3, &[2, 0, 0]),
        frame(DATA, PADDED, 3, &[]),
        frame(DATA, 0, 0, &[]),
        frame(1, 4, 5, &[0; 40]),
    ];
    let with: Vec<u8> = kept.iter().flat_map(|frame| [void(), frame.clone(), void()].concat()).collect();
    let activity = Activity::start();
    for piece in 1..with.len() {
        let mut received = Received::new(End::Client);
        assert_eq!(passed(&mut received, &with, piece, activity.flow()), kept.concat(), "pieces of {piece}");
        assert!(received.held().is_empty());
    }
}

#[test]
fn the_preface_is_no_frame() {
    let activity = Activity::start();
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), void(), frame(SETTINGS, ACK, 0, &[])].concat();
    for piece in 1..bytes.len() {
        let mut received = Received::new(End::Server);
        let passed = passed(&mut received, &bytes, piece, activity.flow());
        assert_eq!(passed, [&bytes[..PREFACE], &bytes[PREFACE + HEAD..]].concat());
    }
}

#[test]
fn a_head_that_is_cut_off_is_held() {
    let activity = Activity::start();
    let mut received = Received::new(End::Client);
    assert!(passed(&mut received, &void()[..5], 5, activity.flow()).is_empty());
    assert_eq!(received.held(), &void()[..5]);
}

#[test]
fn windows_of_the_peer_are_read_in_any_cut() {
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9, 0, 4, 0, 2, 0, 0, 0, 5, 0, 0, 0x40, 0]);
    let bytes = [
        settings,
        frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
        frame(WINDOW_UPDATE, 0, 1, &[0, 9, 0, 0]),
        frame(SETTINGS, ACK, 0, &[]),
    ];
    let bytes = bytes.concat();
    for piece in 1..bytes.len() {
        let activity = Activity::start();
        passed(&mut Received::new(End::Client), &bytes, piece, activity.flow());
        let picture = activity.flow().picture();
        assert_eq!((picture.stream_window, picture.connection_window), (0x2_0000, 65_535 + 0x1_0000));
        assert!(picture.round_trip.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn void_frames_may_come_for_ever_but_not_all_at_once() {
    let activity = Activity::start();
    let mut received = Received::new(End::Client);
    let lot = void().repeat(EMPTY_MOST as usize);
    for _ in 0..4 {
        passed(&mut received, &lot, lot.len(), activity.flow());
        tokio::time::advance(EMPTY_WITHIN).await;
    }
    let error = received.pass(&mut void().repeat(2 * EMPTY_MOST as usize + 2), activity.flow()).expect_err("a flood");
    assert!(flood_of(&error).is_some_and(|sentence| sentence.contains("empty DATA frames")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn resets_for_the_peers_errors_have_a_rate_and_our_own_none() {
    let activity = Activity::start();
    let mut sent = Sent::new(End::Server);
    let ours = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]).repeat(3 * RESETS_MOST as usize);
    sent.pass(&ours, activity.flow()).expect("CANCEL is our own");
    let errors = frame(RST_STREAM, 0, 1, &[0, 0, 0, 1]).repeat(RESETS_MOST as usize);
    for _ in 0..4 {
        sent.pass(&errors, activity.flow()).expect("rare");
        tokio::time::advance(RESETS_WITHIN).await;
    }
    sent.pass(&errors, activity.flow()).expect("the first lot");
    let error = sent.pass(&errors.repeat(2), activity.flow()).expect_err("a flood");
    assert!(flood_of(&error).is_some_and(|sentence| sentence.contains("reset more than")), "{error}");
}

#[test]
fn data_that_is_sent_uses_up_the_connection_in_any_cut() {
    let bytes = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(1, 4, 1, &[0; 30]),
        frame(DATA, 0, 1, &[7; 65_000]),
        frame(RST_STREAM, 0, 3, &[0, 0, 0, 1]),
        frame(DATA, END_STREAM, 1, &[7; 535]),
    ];
    let bytes = bytes.concat();
    for piece in [1, 2, 5, 13, 64, 1000, bytes.len()] {
        let activity = Activity::start();
        let mut sent = Sent::new(End::Client);
        bytes.chunks(piece).for_each(|piece| sent.pass(piece, activity.flow()).expect("no flood"));
        let _stall = activity.flow().stall(crate::base::http::StreamKind::Stream);
        let window = activity.flow().picture().waiting[0].window;
        assert_eq!(window, crate::base::activity::flow::Window::Connection, "pieces of {piece}");
    }
}
