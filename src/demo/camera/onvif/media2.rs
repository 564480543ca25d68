//! The media2 service (Media2 Service Specification): the same profile as of the media service, for clients of Profile T.

use super::{
    asked::{Asked, PROFILE, token},
    media::{self, BIT_RATE, ENCODER_CONFIGURATION, MULTICAST, NAME, SOURCE_CONFIGURATION},
    ptz,
    soap::{Element, Fault},
};
use crate::demo::camera::picture::FRAME_RATE;

pub(super) const NAMESPACE: &str = "http://www.onvif.org/ver20/media/wsdl";
/// JPEG quality as ONVIF counts it.
const QUALITY: u32 = 80;

pub(super) fn answer(asked: &Asked<'_>, operation: &str) -> Result<String, Fault> {
    let content = match operation {
        "GetServiceCapabilities" => {
            format!("<tr2:Capabilities{}</tr2:Capabilities>", capabilities(asked.addresses.rtsp.is_some()))
        }
        "GetProfiles" => profiles(asked)?,
        "GetVideoSourceConfigurations" => {
            asked.optional("ConfigurationToken", SOURCE_CONFIGURATION)?;
            asked.optional("ProfileToken", PROFILE)?;
            media::source("tr2:Configurations")
        }
        "GetVideoEncoderConfigurations" => {
            asked.optional("ConfigurationToken", ENCODER_CONFIGURATION)?;
            asked.optional("ProfileToken", PROFILE)?;
            encoder("tr2:Configurations")
        }
        "GetVideoEncoderConfigurationOptions" => {
            asked.optional("ConfigurationToken", ENCODER_CONFIGURATION)?;
            asked.optional("ProfileToken", PROFILE)?;
            options()
        }
        "GetStreamUri" => {
            asked.profile()?;
            match asked.need("Protocol")? {
                "RtspUnicast" | "RTSP" | "RtspOverHttp" => {
                    format!("<tr2:Uri>{}</tr2:Uri>", asked.addresses.stream()?)
                }
                _ => {
                    return Err(Fault::sender(
                        &["ter:InvalidArgVal", "ter:InvalidStreamSetup"],
                        "The camera streams as RtspUnicast, RTSP or RtspOverHttp.",
                    ));
                }
            }
        }
        "GetSnapshotUri" => {
            asked.profile()?;
            format!("<tr2:Uri>{}</tr2:Uri>", media::snapshot(asked.addresses))
        }
        // Each picture stands for itself: there is nothing to synchronise.
        "SetSynchronizationPoint" => {
            asked.profile()?;
            String::new()
        }
        _ => return Err(Fault::not_supported()),
    };
    Ok(format!("<tr2:{operation}Response>{content}</tr2:{operation}Response>"))
}

/// Attributes and content of the service's capabilities. RTSP over WebSocket is not among them.
pub(super) fn capabilities(rtsp: bool) -> String {
    format!(
        " SnapshotUri=\"true\" Rotation=\"false\"><tr2:ProfileCapabilities MaximumNumberOfProfiles=\"1\" \
         ConfigurationsSupported=\"VideoSource VideoEncoder PTZ\"/>\
         <tr2:StreamingCapabilities RTSPStreaming=\"{rtsp}\" RTPMulticast=\"false\" RTP_RTSP_TCP=\"{rtsp}\"/>"
    )
}

/// The profile with those of its configurations whose types were asked for.
fn profiles(asked: &Asked<'_>) -> Result<String, Fault> {
    let arguments = &asked.call.arguments;
    if let Some(found) = arguments.value("Token") {
        token(found, PROFILE, &["ter:InvalidArgVal", "ter:NoProfile"])?;
    }
    let wanted: Vec<&str> = arguments.all("Type").map(Element::text).collect();
    let configurations: String = [
        ("VideoSource", media::source("tr2:VideoSource")),
        ("VideoEncoder", encoder("tr2:VideoEncoder")),
        ("PTZ", ptz::configuration("tr2:PTZ")),
    ]
    .into_iter()
    .filter(|(name, _)| wanted.contains(&"All") || wanted.contains(name))
    .map(|(_, configuration)| configuration)
    .collect();
    let configurations = if configurations.is_empty() {
        String::new()
    } else {
        format!("<tr2:Configurations>{configurations}</tr2:Configurations>")
    };
    Ok(format!(
        "<tr2:Profiles token=\"{PROFILE}\" fixed=\"true\"><tr2:Name>{NAME}</tr2:Name>{configurations}</tr2:Profiles>"
    ))
}

fn encoder(element: &str) -> String {
    format!(
        "<{element} token=\"{ENCODER_CONFIGURATION}\"><tt:Name>JPEG</tt:Name><tt:UseCount>1</tt:UseCount>\
         <tt:Encoding>JPEG</tt:Encoding>{}<tt:RateControl><tt:FrameRateLimit>{FRAME_RATE}</tt:FrameRateLimit>\
         <tt:BitrateLimit>{BIT_RATE}</tt:BitrateLimit></tt:RateControl>{MULTICAST}<tt:Quality>{QUALITY}</tt:Quality></{element}>",
        media::resolution("tt:Resolution")
    )
}

/// What it could be set to: what it is.
fn options() -> String {
    format!(
        "<tr2:Options FrameRatesSupported=\"{FRAME_RATE}\" ConstantBitRateSupported=\"false\">\
         <tt:Encoding>JPEG</tt:Encoding><tt:QualityRange><tt:Min>{QUALITY}</tt:Min><tt:Max>{QUALITY}</tt:Max></tt:QualityRange>{}\
         <tt:BitrateRange><tt:Min>{BIT_RATE}</tt:Min><tt:Max>{BIT_RATE}</tt:Max></tt:BitrateRange></tr2:Options>",
        media::resolution("tt:ResolutionsAvailable")
    )
}
