//! The media service (Media Service Specification): one profile of one video source, encoded as JPEG.

use super::{
    asked::{Addresses, Asked, PROFILE, VIDEO_SOURCE, token},
    ptz,
    soap::Fault,
};
use crate::demo::camera::{
    canvas::{HEIGHT, WIDTH},
    picture::FRAME_RATE,
};

pub(super) const NAMESPACE: &str = "http://www.onvif.org/ver10/media/wsdl";
/// The profile's name.
pub(super) const NAME: &str = "mainStream";
pub(super) const SOURCE_CONFIGURATION: &str = "VideoSourceConfig_1";
pub(super) const ENCODER_CONFIGURATION: &str = "VideoEncoder_1";
/// Bit rate in kbit/s that is said of the stream: some 25 KiB a picture.
pub(super) const BIT_RATE: u32 = 6000;
/// JPEG quality as ONVIF counts it.
const QUALITY: u32 = 80;
/// No multicast: an address that is never used.
pub(super) const MULTICAST: &str = "<tt:Multicast><tt:Address><tt:Type>IPv4</tt:Type><tt:IPv4Address>0.0.0.0</tt:IPv4Address>\
     </tt:Address><tt:Port>0</tt:Port><tt:TTL>0</tt:TTL><tt:AutoStart>false</tt:AutoStart></tt:Multicast>";

pub(super) fn answer(asked: &Asked<'_>, operation: &str) -> Result<String, Fault> {
    let content = match operation {
        "GetServiceCapabilities" => {
            format!("<trt:Capabilities{}</trt:Capabilities>", capabilities(asked.addresses.rtsp.is_some()))
        }
        "GetProfiles" => profile("Profiles"),
        "GetProfile" => {
            asked.profile()?;
            profile("Profile")
        }
        "GetVideoSources" => format!(
            "<trt:VideoSources token=\"{VIDEO_SOURCE}\"><tt:Framerate>{FRAME_RATE}</tt:Framerate>{}</trt:VideoSources>",
            resolution("tt:Resolution")
        ),
        "GetVideoSourceConfigurations" | "GetCompatibleVideoSourceConfigurations" => source("trt:Configurations"),
        "GetVideoSourceConfiguration" => {
            configuration(asked, SOURCE_CONFIGURATION)?;
            source("trt:Configuration")
        }
        "GetVideoEncoderConfigurations" | "GetCompatibleVideoEncoderConfigurations" => encoder("trt:Configurations"),
        "GetVideoEncoderConfiguration" => {
            configuration(asked, ENCODER_CONFIGURATION)?;
            encoder("trt:Configuration")
        }
        "GetVideoEncoderConfigurationOptions" => {
            asked.optional("ConfigurationToken", ENCODER_CONFIGURATION)?;
            asked.optional("ProfileToken", PROFILE)?;
            options()
        }
        "GetStreamUri" => stream_uri(asked)?,
        "GetSnapshotUri" => {
            asked.profile()?;
            media_uri(&snapshot(asked.addresses))
        }
        // Each picture stands for itself: there is nothing to synchronise.
        "SetSynchronizationPoint" => {
            asked.profile()?;
            String::new()
        }
        _ => return Err(Fault::not_supported()),
    };
    Ok(format!("<trt:{operation}Response>{content}</trt:{operation}Response>"))
}

/// Attributes and content of the service's capabilities.
pub(super) fn capabilities(rtsp: bool) -> String {
    format!(
        " SnapshotUri=\"true\" Rotation=\"false\"><trt:ProfileCapabilities MaximumNumberOfProfiles=\"1\"/>\
         <trt:StreamingCapabilities RTPMulticast=\"false\" RTP_TCP=\"{rtsp}\" RTP_RTSP_TCP=\"{rtsp}\" NoRTSPStreaming=\"{}\"/>",
        !rtsp
    )
}

/// Where the current picture is.
pub(super) fn snapshot(addresses: &Addresses) -> String {
    format!("{}/snapshot.jpg", addresses.http)
}

fn configuration(asked: &Asked<'_>, expected: &str) -> Result<(), Fault> {
    token(asked.need("ConfigurationToken")?, expected, &["ter:InvalidArgVal", "ter:NoConfig"])
}

fn profile(element: &str) -> String {
    format!(
        "<trt:{element} token=\"{PROFILE}\" fixed=\"true\"><tt:Name>{NAME}</tt:Name>{}{}{}</trt:{element}>",
        source("tt:VideoSourceConfiguration"),
        encoder("tt:VideoEncoderConfiguration"),
        ptz::configuration("tt:PTZConfiguration")
    )
}

/// The video source configuration: all of the picture.
pub(super) fn source(element: &str) -> String {
    format!(
        "<{element} token=\"{SOURCE_CONFIGURATION}\"><tt:Name>whole picture</tt:Name><tt:UseCount>1</tt:UseCount>\
         <tt:SourceToken>{VIDEO_SOURCE}</tt:SourceToken>\
         <tt:Bounds x=\"0\" y=\"0\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/></{element}>"
    )
}

/// Width and height of the picture.
pub(super) fn resolution(element: &str) -> String {
    format!("<{element}><tt:Width>{WIDTH}</tt:Width><tt:Height>{HEIGHT}</tt:Height></{element}>")
}

fn encoder(element: &str) -> String {
    format!(
        "<{element} token=\"{ENCODER_CONFIGURATION}\"><tt:Name>JPEG</tt:Name><tt:UseCount>1</tt:UseCount>\
         <tt:Encoding>JPEG</tt:Encoding>{}<tt:Quality>{QUALITY}</tt:Quality><tt:RateControl>\
         <tt:FrameRateLimit>{FRAME_RATE}</tt:FrameRateLimit><tt:EncodingInterval>1</tt:EncodingInterval>\
         <tt:BitrateLimit>{BIT_RATE}</tt:BitrateLimit></tt:RateControl>{MULTICAST}\
         <tt:SessionTimeout>PT60S</tt:SessionTimeout></{element}>",
        resolution("tt:Resolution")
    )
}

/// What it could be set to: what it is.
fn options() -> String {
    format!(
        "<trt:Options><tt:QualityRange><tt:Min>{QUALITY}</tt:Min><tt:Max>{QUALITY}</tt:Max></tt:QualityRange><tt:JPEG>{}\
         <tt:FrameRateRange><tt:Min>{FRAME_RATE}</tt:Min><tt:Max>{FRAME_RATE}</tt:Max></tt:FrameRateRange>\
         <tt:EncodingIntervalRange><tt:Min>1</tt:Min><tt:Max>1</tt:Max></tt:EncodingIntervalRange></tt:JPEG></trt:Options>",
        resolution("tt:ResolutionsAvailable")
    )
}

/// The stream's address. Every unicast transport gets the same: players choose theirs when they set up the stream.
fn stream_uri(asked: &Asked<'_>) -> Result<String, Fault> {
    asked.profile()?;
    let setup = asked.call.arguments.child("StreamSetup");
    let setup = setup.ok_or(Fault::sender(&["ter:InvalidArgs"], "StreamSetup is missing."))?;
    let protocol = setup.child("Transport").and_then(|transport| transport.value("Protocol"));
    match (setup.value("Stream"), protocol) {
        (Some("RTP-Unicast"), Some("UDP" | "TCP" | "RTSP" | "HTTP")) => Ok(media_uri(&asked.addresses.stream()?)),
        _ => Err(Fault::sender(
            &["ter:InvalidArgVal", "ter:InvalidStreamSetup"],
            "The camera streams by unicast over UDP, TCP, RTSP or HTTP.",
        )),
    }
}

fn media_uri(uri: &str) -> String {
    format!(
        "<trt:MediaUri><tt:Uri>{uri}</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect>\
         <tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT0S</tt:Timeout></trt:MediaUri>"
    )
}
