//! The imaging service (Imaging Service Specification): brightness, saturation and contrast of the picture.

use super::{
    asked::{Asked, VIDEO_SOURCE, date_time, token},
    soap::Fault,
    unit::Unit,
};
use crate::demo::camera::optics::{Image, SETTING};

pub(super) const NAMESPACE: &str = "http://www.onvif.org/ver20/imaging/wsdl";
/// Attributes and content of the service's capabilities.
pub(super) const CAPABILITIES: &str = " ImageStabilization=\"false\">";

pub(super) fn answer(unit: &Unit, asked: &Asked<'_>, operation: &str) -> Result<String, Fault> {
    if operation == "GetServiceCapabilities" {
        return Ok(format!(
            "<timg:{operation}Response><timg:Capabilities{CAPABILITIES}</timg:Capabilities></timg:{operation}Response>"
        ));
    }
    token(asked.need("VideoSourceToken")?, VIDEO_SOURCE, &["ter:InvalidArgVal", "ter:NoSource"])?;
    let content = match operation {
        "GetImagingSettings" => settings(unit.optics.image()),
        "SetImagingSettings" => {
            let image = wanted(asked, unit.optics.image())?;
            unit.optics.set_image(image);
            let Image { brightness, saturation, contrast } = image;
            let line =
                format!("SetImagingSettings: brightness {brightness} saturation {saturation} contrast {contrast}");
            unit.journal.note(&date_time(asked.unix_ms), &line);
            String::new()
        }
        "GetOptions" => {
            let range = |name: &str| {
                format!("<tt:{name}><tt:Min>{}</tt:Min><tt:Max>{}</tt:Max></tt:{name}>", SETTING.0, SETTING.1)
            };
            let ranges: String = ["Brightness", "ColorSaturation", "Contrast"].into_iter().map(range).collect();
            format!("<timg:ImagingOptions>{ranges}</timg:ImagingOptions>")
        }
        // There is no focus to move.
        "GetMoveOptions" => "<timg:MoveOptions/>".to_owned(),
        "GetStatus" => "<timg:Status/>".to_owned(),
        _ => return Err(Fault::not_supported()),
    };
    Ok(format!("<timg:{operation}Response>{content}</timg:{operation}Response>"))
}

fn settings(image: Image) -> String {
    format!(
        "<timg:ImagingSettings><tt:Brightness>{}</tt:Brightness><tt:ColorSaturation>{}</tt:ColorSaturation>\
         <tt:Contrast>{}</tt:Contrast></timg:ImagingSettings>",
        image.brightness, image.saturation, image.contrast
    )
}

/// The settings of a request; those that it does not have stay as they are.
fn wanted(asked: &Asked<'_>, now: Image) -> Result<Image, Fault> {
    let wrong = || Fault::sender(&["ter:InvalidArgVal", "ter:SettingsInvalid"], "A setting is not between 0 and 100.");
    let settings = asked.call.arguments.child("ImagingSettings");
    let settings = settings.ok_or(Fault::sender(&["ter:InvalidArgs"], "ImagingSettings is missing."))?;
    let value = |name: &str, now: f64| match settings.value(name) {
        None => Ok(now),
        Some(text) => {
            let value = text.parse::<f64>().ok().filter(|value| (SETTING.0..=SETTING.1).contains(value));
            value.ok_or_else(wrong)
        }
    };
    Ok(Image {
        brightness: value("Brightness", now.brightness)?,
        saturation: value("ColorSaturation", now.saturation)?,
        contrast: value("Contrast", now.contrast)?,
    })
}
