//! The PTZ service (PTZ Service Specification): one node that turns and zooms; the picture and GetStatus show where it is.

use std::time::Duration;

use quick_xml::escape::escape;

use super::{
    asked::{Asked, date_time, token},
    duration,
    presets::{PRESETS_MAX, Preset},
    soap::{Element, Fault},
    unit::Unit,
};
use crate::demo::camera::optics::{Position, TURN, Vector, ZOOM};

pub(super) const NAMESPACE: &str = "http://www.onvif.org/ver20/ptz/wsdl";
/// Attributes and content of the service's capabilities.
pub(super) const CAPABILITIES: &str = " EFlip=\"false\" Reverse=\"false\" MoveStatus=\"true\" StatusPosition=\"true\">";
const CONFIGURATION: &str = "PTZConfig_1";
const NODE: &str = "PTZNode_1";
/// How long a movement without a timeout goes on; also the most that a timeout may ask for.
const RUN_USUAL: Duration = Duration::from_secs(10);
const RUN_MAX: Duration = Duration::from_secs(60);
/// The generic spaces begin with this.
const SPACES: &str = "http://www.onvif.org/ver10/tptz/";

pub(super) fn answer(unit: &Unit, asked: &Asked<'_>, operation: &str) -> Result<String, Fault> {
    let content = match operation {
        "GetServiceCapabilities" => format!("<tptz:Capabilities{CAPABILITIES}</tptz:Capabilities>"),
        "GetNodes" => node("tptz:PTZNode"),
        "GetNode" => {
            token(asked.need("NodeToken")?, NODE, &["ter:InvalidArgVal", "ter:NoEntity"])?;
            node("tptz:PTZNode")
        }
        "GetConfigurations" => configuration("tptz:PTZConfiguration"),
        "GetCompatibleConfigurations" => {
            asked.profile()?;
            configuration("tptz:PTZConfiguration")
        }
        "GetConfiguration" => {
            token(asked.need("PTZConfigurationToken")?, CONFIGURATION, &["ter:InvalidArgVal", "ter:NoConfig"])?;
            configuration("tptz:PTZConfiguration")
        }
        "GetConfigurationOptions" => {
            token(asked.need("ConfigurationToken")?, CONFIGURATION, &["ter:InvalidArgVal", "ter:NoConfig"])?;
            format!(
                "<tptz:PTZConfigurationOptions><tt:Spaces>{}</tt:Spaces><tt:PTZTimeout><tt:Min>PT0S</tt:Min>\
                 <tt:Max>PT60S</tt:Max></tt:PTZTimeout></tptz:PTZConfigurationOptions>",
                spaces()
            )
        }
        _ => {
            asked.profile()?;
            return moved(unit, asked, operation);
        }
    };
    Ok(format!("<tptz:{operation}Response>{content}</tptz:{operation}Response>"))
}

/// The operations that move the profile's camera or say where it is.
fn moved(unit: &Unit, asked: &Asked<'_>, operation: &str) -> Result<String, Fault> {
    let (optics, arguments) = (&unit.optics, &asked.call.arguments);
    let mut content = String::new();
    match operation {
        "GetStatus" => content = status(unit, asked),
        "GetPresets" => content = presets(unit),
        "ContinuousMove" => {
            let velocity = vector(required(arguments, "Velocity")?, (-1.0, 1.0), (-1.0, 1.0), &INVALID_VELOCITY)?;
            let time = match arguments.value("Timeout") {
                None => RUN_USUAL,
                Some(text) => duration::parse(text).filter(|time| *time <= RUN_MAX).ok_or(Fault::sender(
                    &["ter:InvalidArgVal", "ter:TimeoutNotSupported"],
                    "A movement goes on for a minute at most.",
                ))?,
            };
            optics.run(velocity, time);
        }
        "AbsoluteMove" => {
            let to = vector(required(arguments, "Position")?, TURN, ZOOM, &INVALID_POSITION)?;
            optics.go(to, speed(arguments)?);
        }
        "RelativeMove" => {
            let by = vector(required(arguments, "Translation")?, (-1.0, 1.0), (-1.0, 1.0), &INVALID_TRANSLATION)?;
            let from = optics.state().position;
            let turn = by.turn.map(|(pan, tilt)| (from.pan + pan, from.tilt + tilt));
            optics.go(Vector { turn, zoom: by.zoom.map(|zoom| from.zoom + zoom) }, speed(arguments)?);
        }
        "Stop" => {
            let stops = |name: &str| !matches!(arguments.value(name), Some("false" | "0"));
            optics.stop(stops("PanTilt"), stops("Zoom"));
        }
        "GotoHomePosition" => {
            optics.go(Vector { turn: Some((0.0, 0.0)), zoom: Some(0.0) }, speed(arguments)?);
        }
        "SetHomePosition" => {
            return Err(Fault::receiver(&["ter:Action", "ter:CannotOverwriteHome"], "The home position is fixed."));
        }
        "GotoPreset" => {
            let (_, to) = known_preset(unit, asked)?;
            let to = Vector { turn: Some((to.pan, to.tilt)), zoom: Some(to.zoom) };
            optics.go(to, speed(arguments)?);
        }
        "RemovePreset" => {
            let (number, _) = known_preset(unit, asked)?;
            unit.presets.remove(number);
        }
        "SetPreset" => content = store(unit, asked)?,
        _ => return Err(Fault::not_supported()),
    }
    if !operation.starts_with("Get") {
        unit.journal.note(&date_time(asked.unix_ms), operation);
    }
    Ok(format!("<tptz:{operation}Response>{content}</tptz:{operation}Response>"))
}

fn required<'a>(arguments: &'a Element, name: &str) -> Result<&'a Element, Fault> {
    arguments.child(name).ok_or(Fault::sender(&["ter:InvalidArgs"], "An argument is missing."))
}

const INVALID_VELOCITY: [&str; 2] = ["ter:InvalidArgVal", "ter:InvalidVelocity"];
const INVALID_POSITION: [&str; 2] = ["ter:InvalidArgVal", "ter:InvalidPosition"];
const INVALID_TRANSLATION: [&str; 2] = ["ter:InvalidArgVal", "ter:InvalidTranslation"];
const INVALID_SPEED: [&str; 2] = ["ter:InvalidArgVal", "ter:InvalidSpeed"];

/// A vector in a generic space, its numbers within these bounds.
fn vector(
    element: &Element,
    turn: (f64, f64),
    zoom: (f64, f64),
    subcodes: &'static [&'static str],
) -> Result<Vector, Fault> {
    let number = |part: &Element, name: &str, (low, high): (f64, f64)| {
        let number = part.attribute(name).and_then(|text| text.trim().parse::<f64>().ok());
        // A NaN is in no range.
        let number = number.filter(|number| (low..=high).contains(number));
        number.ok_or(Fault::sender(subcodes, "A coordinate is missing or out of its range."))
    };
    for part in ["PanTilt", "Zoom"].into_iter().filter_map(|name| element.child(name)) {
        let generic = part.attribute("space").is_none_or(|space| space.is_empty() || space.starts_with(SPACES));
        if !generic {
            return Err(Fault::sender(
                &["ter:InvalidArgVal", "ter:SpaceNotSupported"],
                "The space is not a generic one.",
            ));
        }
    }
    let pan_tilt = element.child("PanTilt");
    let pan_tilt = pan_tilt.map(|part| Ok((number(part, "x", turn)?, number(part, "y", turn)?))).transpose()?;
    Ok(Vector { turn: pan_tilt, zoom: element.child("Zoom").map(|part| number(part, "x", zoom)).transpose()? })
}

fn speed(arguments: &Element) -> Result<Vector, Fault> {
    let speed = arguments.child("Speed");
    let speed = speed.map(|speed| vector(speed, (0.0, 1.0), (0.0, 1.0), &INVALID_SPEED)).transpose()?;
    Ok(speed.unwrap_or_default())
}

fn position(element: &str, at: Position) -> String {
    format!(
        "<{element}><tt:PanTilt x=\"{:.4}\" y=\"{:.4}\" space=\"{SPACES}PanTiltSpaces/PositionGenericSpace\"/>\
         <tt:Zoom x=\"{:.4}\" space=\"{SPACES}ZoomSpaces/PositionGenericSpace\"/></{element}>",
        at.pan, at.tilt, at.zoom
    )
}

fn status(unit: &Unit, asked: &Asked<'_>) -> String {
    let state = unit.optics.state();
    let word = |moving: bool| if moving { "MOVING" } else { "IDLE" };
    format!(
        "<tptz:PTZStatus>{}<tt:MoveStatus><tt:PanTilt>{}</tt:PanTilt><tt:Zoom>{}</tt:Zoom></tt:MoveStatus>\
         <tt:UtcTime>{}</tt:UtcTime></tptz:PTZStatus>",
        position("tt:Position", state.position),
        word(state.turning),
        word(state.zooming),
        date_time(asked.unix_ms)
    )
}

fn presets(unit: &Unit) -> String {
    let entry = |(number, preset): (u32, Preset)| {
        let (name, at) = (escape(preset.name), position("tt:PTZPosition", preset.at));
        format!("<tptz:Preset token=\"{number}\"><tt:Name>{name}</tt:Name>{at}</tptz:Preset>")
    };
    unit.presets.list().into_iter().map(entry).collect()
}

/// The preset that the argument `PresetToken` names.
fn known_preset(unit: &Unit, asked: &Asked<'_>) -> Result<(u32, Position), Fault> {
    let number = asked.need("PresetToken")?.parse::<u32>().ok();
    let found = number.and_then(|number| Some((number, unit.presets.position(number)?)));
    found.ok_or(Fault::sender(&["ter:InvalidArgVal", "ter:NoToken"], "The camera has no such preset."))
}

/// Stores where it looks now, under a new token or that of a preset that is there.
fn store(unit: &Unit, asked: &Asked<'_>) -> Result<String, Fault> {
    let known = match asked.call.arguments.value("PresetToken") {
        Some(_) => Some(known_preset(unit, asked)?.0),
        None => None,
    };
    let name = asked.call.arguments.value("PresetName");
    let number = unit.presets.store(known, name, unit.optics.state().position).ok_or(Fault::receiver(
        &["ter:Action", "ter:TooManyPresets"],
        "The camera has room for no more presets; remove one.",
    ))?;
    Ok(format!("<tptz:PresetToken>{number}</tptz:PresetToken>"))
}

/// The configuration of the only node.
pub(super) fn configuration(element: &str) -> String {
    format!(
        "<{element} token=\"{CONFIGURATION}\"><tt:Name>PTZ</tt:Name><tt:UseCount>1</tt:UseCount>\
         <tt:NodeToken>{NODE}</tt:NodeToken>\
         <tt:DefaultAbsolutePantTiltPositionSpace>{SPACES}PanTiltSpaces/PositionGenericSpace</tt:DefaultAbsolutePantTiltPositionSpace>\
         <tt:DefaultAbsoluteZoomPositionSpace>{SPACES}ZoomSpaces/PositionGenericSpace</tt:DefaultAbsoluteZoomPositionSpace>\
         <tt:DefaultRelativePanTiltTranslationSpace>{SPACES}PanTiltSpaces/TranslationGenericSpace</tt:DefaultRelativePanTiltTranslationSpace>\
         <tt:DefaultRelativeZoomTranslationSpace>{SPACES}ZoomSpaces/TranslationGenericSpace</tt:DefaultRelativeZoomTranslationSpace>\
         <tt:DefaultContinuousPanTiltVelocitySpace>{SPACES}PanTiltSpaces/VelocityGenericSpace</tt:DefaultContinuousPanTiltVelocitySpace>\
         <tt:DefaultContinuousZoomVelocitySpace>{SPACES}ZoomSpaces/VelocityGenericSpace</tt:DefaultContinuousZoomVelocitySpace>\
         <tt:DefaultPTZSpeed><tt:PanTilt x=\"1\" y=\"1\" space=\"{SPACES}PanTiltSpaces/GenericSpeedSpace\"/>\
         <tt:Zoom x=\"1\" space=\"{SPACES}ZoomSpaces/ZoomGenericSpeedSpace\"/></tt:DefaultPTZSpeed>\
         <tt:DefaultPTZTimeout>PT{}S</tt:DefaultPTZTimeout></{element}>",
        RUN_USUAL.as_secs()
    )
}

fn node(element: &str) -> String {
    format!(
        "<{element} token=\"{NODE}\" FixedHomePosition=\"true\"><tt:Name>PTZ</tt:Name><tt:SupportedPTZSpaces>{}</tt:SupportedPTZSpaces>\
         <tt:MaximumNumberOfPresets>{PRESETS_MAX}</tt:MaximumNumberOfPresets><tt:HomeSupported>true</tt:HomeSupported></{element}>",
        spaces()
    )
}

/// The generic spaces in the order of the schema.
fn spaces() -> String {
    let range = |axis: &str, (low, high): (f64, f64)| {
        format!("<tt:{axis}Range><tt:Min>{low}</tt:Min><tt:Max>{high}</tt:Max></tt:{axis}Range>")
    };
    let space = |(element, uri, ranges): (&str, &str, String)| {
        format!("<tt:{element}><tt:URI>{SPACES}{uri}</tt:URI>{ranges}</tt:{element}>")
    };
    let both = |bounds| range("X", bounds) + &range("Y", bounds);
    let (unit, share) = ((-1.0, 1.0), (0.0, 1.0));
    [
        ("AbsolutePanTiltPositionSpace", "PanTiltSpaces/PositionGenericSpace", both(TURN)),
        ("AbsoluteZoomPositionSpace", "ZoomSpaces/PositionGenericSpace", range("X", ZOOM)),
        ("RelativePanTiltTranslationSpace", "PanTiltSpaces/TranslationGenericSpace", both(unit)),
        ("RelativeZoomTranslationSpace", "ZoomSpaces/TranslationGenericSpace", range("X", unit)),
        ("ContinuousPanTiltVelocitySpace", "PanTiltSpaces/VelocityGenericSpace", both(unit)),
        ("ContinuousZoomVelocitySpace", "ZoomSpaces/VelocityGenericSpace", range("X", unit)),
        ("PanTiltSpeedSpace", "PanTiltSpaces/GenericSpeedSpace", range("X", share)),
        ("ZoomSpeedSpace", "ZoomSpaces/ZoomGenericSpeedSpace", range("X", share)),
    ]
    .into_iter()
    .map(space)
    .collect()
}
