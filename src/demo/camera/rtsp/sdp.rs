//! What `DESCRIBE` answers (RFC 8866; RFC 2326 appendix C): one video track of JPEG, live, with relative control addresses.
//!
//! Relative, so that a description that travels through a gateway under another address stays true.

use super::{
    super::{
        canvas::{HEIGHT, WIDTH},
        picture::FRAME_RATE,
    },
    rtp::{CLOCK_RATE, PAYLOAD_TYPE},
};

/// The media type of a description.
pub const CONTENT_TYPE: &str = "application/sdp";
/// The last part of the track's address.
pub const TRACK: &str = "trackID=0";

/// The description of the camera of this name.
pub fn describe(name: &str) -> String {
    let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
    let name = if name.is_empty() { "-" } else { &name };
    format!(
        "v=0\r\n\
         o=- 1 1 IN IP4 0.0.0.0\r\n\
         s={name}\r\n\
         c=IN IP4 0.0.0.0\r\n\
         t=0 0\r\n\
         a=control:*\r\n\
         a=range:npt=now-\r\n\
         m=video 0 RTP/AVP {PAYLOAD_TYPE}\r\n\
         a=rtpmap:{PAYLOAD_TYPE} JPEG/{CLOCK_RATE}\r\n\
         a=framerate:{FRAME_RATE}\r\n\
         a=framesize:{PAYLOAD_TYPE} {WIDTH}-{HEIGHT}\r\n\
         a=x-dimensions:{WIDTH},{HEIGHT}\r\n\
         a=control:{TRACK}\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_one_jpeg_track_and_no_line_of_the_names_making() {
        let text = describe("porch\r\na=evil");
        assert!(text.contains("\r\ns=porcha=evil\r\n") && text.contains("\r\nm=video 0 RTP/AVP 26\r\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("m=")).count(), 1);
        assert!(text.lines().all(|line| line.as_bytes()[1] == b'='), "{text}");
        assert!(describe("").contains("\r\ns=-\r\n"));
    }
}
