//! Tests of media, media2, PTZ, imaging and events, each through whole messages and in the time of one camera.

use std::time::Duration;

use tokio::time::advance;

use super::*;

const NOON: u64 = 1_795_348_800_000;
const MEDIA: &str = "http://www.onvif.org/ver10/media/wsdl";
const MEDIA2: &str = "http://www.onvif.org/ver20/media/wsdl";
const PTZ: &str = "http://www.onvif.org/ver20/ptz/wsdl";
const IMAGING: &str = "http://www.onvif.org/ver20/imaging/wsdl";
const EVENTS: &str = "http://www.onvif.org/ver10/events/wsdl";
const NOTIFICATION: &str = "http://docs.oasis-open.org/wsn/b-2";

struct Camera {
    services: Services,
    addresses: Addresses,
}

fn camera() -> Camera {
    let facts = Facts {
        manufacturer: "Maker".to_owned(),
        model: "Model".to_owned(),
        firmware: "1".to_owned(),
        serial: "camera-1".to_owned(),
        hardware: "none".to_owned(),
        user: "admin".to_owned(),
    };
    Camera {
        services: Services::new(facts, Arc::default()),
        addresses: Addresses::new("192.168.1.10", None, Some(554)),
    }
}

impl Camera {
    async fn at(&self, path: &str, namespace: &str, operation: &str, arguments: &str) -> Answer {
        let message = format!(
            "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body><{operation} xmlns=\"{namespace}\">\
             {arguments}</{operation}></e:Body></e:Envelope>"
        );
        self.services.answer(message.as_bytes(), path, &self.addresses, NOON).await
    }

    /// The answer to an operation that is performed.
    async fn ask(&self, namespace: &str, operation: &str, arguments: &str) -> String {
        let answer = self.at("/onvif/device_service", namespace, operation, arguments).await;
        assert_eq!(answer.status, 200, "{}", answer.xml);
        answer.xml
    }

    /// The last subcode of an operation that is refused.
    async fn refused(&self, namespace: &str, operation: &str, arguments: &str) -> String {
        let answer = self.at("/onvif/device_service", namespace, operation, arguments).await;
        assert_ne!(answer.status, 200, "{}", answer.xml);
        texts(&answer.xml, "env:Value").pop().unwrap().to_owned()
    }

    async fn ptz(&self, operation: &str, arguments: &str) -> String {
        self.ask(PTZ, operation, &format!("<ProfileToken>Profile_1</ProfileToken>{arguments}")).await
    }

    /// Pan, tilt and zoom, and whether it turns.
    async fn status(&self) -> (f64, f64, f64, bool) {
        let xml = self.ptz("GetStatus", "").await;
        let number = |after: &str| -> f64 {
            let rest = xml.split(after).nth(1).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let turning = texts(&xml, "tt:PanTilt").contains(&"MOVING");
        (number("PanTilt x=\""), number(" y=\""), number("Zoom x=\""), turning)
    }

    /// Opens a pull point and returns its path.
    async fn subscribe(&self, arguments: &str) -> String {
        let xml = self.ask(EVENTS, "CreatePullPointSubscription", arguments).await;
        texts(&xml, "wsa:Address")[0].strip_prefix("http://192.168.1.10").unwrap().to_owned()
    }

    async fn pull(&self, path: &str, timeout: &str) -> Answer {
        let arguments = format!("<Timeout>{timeout}</Timeout><MessageLimit>10</MessageLimit>");
        self.at(path, EVENTS, "PullMessages", &arguments).await
    }
}

/// The texts of all elements of this name that have no elements in them.
fn texts<'x>(xml: &'x str, name: &str) -> Vec<&'x str> {
    let open = format!("<{name}>");
    xml.split(open.as_str()).skip(1).map(|rest| rest.split('<').next().unwrap()).collect()
}

const RTSP_SETUP: &str = "<StreamSetup><Stream>RTP-Unicast</Stream><Transport><Protocol>RTSP</Protocol></Transport></StreamSetup>\
                          <ProfileToken>Profile_1</ProfileToken>";

#[test]
fn every_service_is_found_where_it_is_listed() {
    for word in SERVICES {
        assert!(Services::has(&format!("/onvif/{word}_service")), "{word}");
    }
    assert!(!Services::has("/onvif/doorcontrol_service") && !Services::has("/onvif/"));
}

#[tokio::test(start_paused = true)]
async fn both_media_services_give_the_same_addresses() {
    let camera = camera();
    for (namespace, arguments) in
        [(MEDIA, RTSP_SETUP), (MEDIA2, "<Protocol>RTSP</Protocol><ProfileToken>Profile_1</ProfileToken>")]
    {
        let prefix = if namespace == MEDIA { "tt:Uri" } else { "tr2:Uri" };
        let stream = camera.ask(namespace, "GetStreamUri", arguments).await;
        assert_eq!(texts(&stream, prefix), ["rtsp://192.168.1.10/stream"]);
        let snapshot = camera.ask(namespace, "GetSnapshotUri", "<ProfileToken>Profile_1</ProfileToken>").await;
        assert_eq!(texts(&snapshot, prefix), ["http://192.168.1.10/snapshot.jpg"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_is_not_there_and_a_stream_that_is_not_offered_are_refused() {
    let mut camera = camera();
    assert_eq!(camera.refused(MEDIA, "GetProfile", "<ProfileToken>Profile_2</ProfileToken>").await, "ter:NoProfile");
    assert_eq!(camera.refused(PTZ, "GetStatus", "<ProfileToken/>").await, "ter:NoProfile");
    assert_eq!(camera.refused(PTZ, "GetStatus", "").await, "ter:InvalidArgs");
    let multicast = RTSP_SETUP.replace("RTP-Unicast", "RTP-Multicast");
    assert_eq!(camera.refused(MEDIA, "GetStreamUri", &multicast).await, "ter:InvalidStreamSetup");
    camera.addresses = Addresses::new("192.168.1.10", None, None);
    assert_eq!(camera.refused(MEDIA, "GetStreamUri", RTSP_SETUP).await, "ter:ActionNotSupported");
}

#[tokio::test(start_paused = true)]
async fn media2_gives_the_configurations_that_were_asked_for() {
    let camera = camera();
    assert!(!camera.ask(MEDIA2, "GetProfiles", "").await.contains("Configurations"));
    let some = camera.ask(MEDIA2, "GetProfiles", "<Type>VideoEncoder</Type>").await;
    assert!(some.contains("<tr2:VideoEncoder ") && !some.contains("<tr2:PTZ "), "{some}");
    let all = camera.ask(MEDIA2, "GetProfiles", "<Token>Profile_1</Token><Type>All</Type>").await;
    assert!(all.contains("<tr2:VideoEncoder ") && all.contains("<tr2:PTZ "), "{all}");
}

#[tokio::test(start_paused = true)]
async fn a_continuous_move_is_seen_in_the_status_until_it_is_stopped() {
    let camera = camera();
    let velocity = "<Velocity><PanTilt x=\"0.5\" y=\"-0.5\"/></Velocity><Timeout>PT30S</Timeout>";
    camera.ptz("ContinuousMove", velocity).await;
    advance(Duration::from_secs(1)).await;
    assert_eq!(camera.status().await, (0.25, -0.25, 0.0, true));
    camera.ptz("Stop", "<PanTilt>true</PanTilt><Zoom>true</Zoom>").await;
    advance(Duration::from_secs(5)).await;
    assert_eq!(camera.status().await, (0.25, -0.25, 0.0, false));
    camera.ptz("GotoHomePosition", "").await;
    advance(Duration::from_secs(5)).await;
    assert_eq!(camera.status().await, (0.0, 0.0, 0.0, false));
}

#[tokio::test(start_paused = true)]
async fn positions_are_absolute_relative_or_stored() {
    let camera = camera();
    camera.ptz("AbsoluteMove", "<Position><PanTilt x=\"0.5\" y=\"0.25\"/><Zoom x=\"0.75\"/></Position>").await;
    advance(Duration::from_secs(9)).await;
    let stored = camera.ptz("SetPreset", "<PresetName>the &lt;gate&gt;</PresetName>").await;
    assert_eq!(texts(&stored, "tptz:PresetToken"), ["1"]);
    camera.ptz("RelativeMove", "<Translation><PanTilt x=\"-1\" y=\"0\"/></Translation>").await;
    advance(Duration::from_secs(9)).await;
    assert_eq!(camera.status().await, (-0.5, 0.25, 0.75, false));
    let list = camera.ptz("GetPresets", "").await;
    assert!(list.contains("token=\"1\"><tt:Name>the &lt;gate&gt;<"), "{list}");
    camera.ptz("GotoPreset", "<PresetToken>1</PresetToken>").await;
    advance(Duration::from_secs(9)).await;
    assert_eq!(camera.status().await, (0.5, 0.25, 0.75, false));
    camera.ptz("RemovePreset", "<PresetToken>1</PresetToken>").await;
    let gone = "<ProfileToken>Profile_1</ProfileToken><PresetToken>1</PresetToken>";
    assert_eq!(camera.refused(PTZ, "GotoPreset", gone).await, "ter:NoToken");
}

#[tokio::test(start_paused = true)]
async fn presets_have_a_bound_and_one_that_is_there_can_be_stored_anew() {
    let camera = camera();
    for _ in 0..32 {
        camera.ptz("SetPreset", "").await;
    }
    let one_more = "<ProfileToken>Profile_1</ProfileToken>";
    assert_eq!(camera.refused(PTZ, "SetPreset", one_more).await, "ter:TooManyPresets");
    let again = camera.ptz("SetPreset", "<PresetToken>7</PresetToken>").await;
    assert_eq!(texts(&again, "tptz:PresetToken"), ["7"]);
}

#[tokio::test(start_paused = true)]
async fn numbers_out_of_range_move_nothing() {
    let camera = camera();
    for (operation, arguments, subcode) in [
        ("ContinuousMove", "<Velocity><PanTilt x=\"1.5\" y=\"0\"/></Velocity>", "ter:InvalidVelocity"),
        ("ContinuousMove", "<Velocity><PanTilt x=\"NaN\" y=\"0\"/></Velocity>", "ter:InvalidVelocity"),
        ("ContinuousMove", "<Velocity><PanTilt x=\"1\"/></Velocity>", "ter:InvalidVelocity"),
        ("ContinuousMove", "", "ter:InvalidArgs"),
        ("ContinuousMove", "<Velocity><Zoom x=\"1\"/></Velocity><Timeout>PT2M</Timeout>", "ter:TimeoutNotSupported"),
        ("AbsoluteMove", "<Position><Zoom x=\"inf\"/></Position>", "ter:InvalidPosition"),
        ("AbsoluteMove", "<Position><Zoom x=\"1\" space=\"urn:degrees\"/></Position>", "ter:SpaceNotSupported"),
        ("RelativeMove", "<Translation><PanTilt x=\"-9\" y=\"0\"/></Translation>", "ter:InvalidTranslation"),
        ("GotoHomePosition", "<Speed><Zoom x=\"-1\"/></Speed>", "ter:InvalidSpeed"),
        ("SetHomePosition", "", "ter:CannotOverwriteHome"),
        ("GotoPreset", "<PresetToken>x</PresetToken>", "ter:NoToken"),
        ("GeoMove", "", "ter:ActionNotSupported"),
    ] {
        let arguments = format!("<ProfileToken>Profile_1</ProfileToken>{arguments}");
        assert_eq!(camera.refused(PTZ, operation, &arguments).await, subcode, "{operation} {arguments}");
    }
    advance(Duration::from_secs(1)).await;
    assert_eq!(camera.status().await, (0.0, 0.0, 0.0, false));
}

#[tokio::test(start_paused = true)]
async fn image_settings_are_kept_and_those_that_are_left_out_stay() {
    let camera = camera();
    let source = "<VideoSourceToken>VideoSource_1</VideoSourceToken>";
    let set = format!("{source}<ImagingSettings><Brightness>80</Brightness></ImagingSettings>");
    camera.ask(IMAGING, "SetImagingSettings", &set).await;
    let settings = camera.ask(IMAGING, "GetImagingSettings", source).await;
    assert_eq!((texts(&settings, "tt:Brightness"), texts(&settings, "tt:Contrast")), (vec!["80"], vec!["50"]));
    assert!(camera.services.log().contains("brightness 80"));
    let bad = format!("{source}<ImagingSettings><Contrast>101</Contrast></ImagingSettings>");
    assert_eq!(camera.refused(IMAGING, "SetImagingSettings", &bad).await, "ter:SettingsInvalid");
    let other = "<VideoSourceToken>VideoSource_2</VideoSourceToken>";
    assert_eq!(camera.refused(IMAGING, "GetImagingSettings", other).await, "ter:NoSource");
}

#[tokio::test(start_paused = true)]
async fn a_pull_waits_for_the_next_motion_and_says_when_it_was() {
    let camera = camera();
    let path = camera.subscribe("<InitialTerminationTime>PT5M</InitialTerminationTime>").await;
    let first = camera.pull(&path, "PT1S").await.xml;
    assert!(first.contains("PropertyOperation=\"Initialized\"") && first.contains("Value=\"false\""), "{first}");
    let second = camera.pull(&path, "PT60S").await.xml;
    assert!(second.contains("PropertyOperation=\"Changed\"") && second.contains("Value=\"true\""), "{second}");
    // Timers have milliseconds; a pull prolongs the pull point.
    assert!(texts(&second, "tev:CurrentTime")[0].starts_with("2026-11-22T12:00:05.00"), "{second}");
    assert!(texts(&second, "tev:TerminationTime")[0].starts_with("2026-11-22T12:05:05.00"), "{second}");
    assert!(second.contains("UtcTime=\"2026-11-22T12:00:05.00"), "{second}");
}

#[tokio::test(start_paused = true)]
async fn a_pull_point_is_renewed_ended_and_then_unknown() {
    let camera = camera();
    let path = camera.subscribe("").await;
    let renewed =
        camera.at(&path, NOTIFICATION, "Renew", "<TerminationTime>2026-11-22T12:10:00Z</TerminationTime>").await;
    assert_eq!(texts(&renewed.xml, "wsnt:TerminationTime"), ["2026-11-22T12:10:00.000Z"]);
    let past = camera.at(&path, NOTIFICATION, "Renew", "<TerminationTime>2020-01-01T00:00:00Z</TerminationTime>").await;
    assert!(past.xml.contains("wsnt:UnacceptableTerminationTimeFault"), "{}", past.xml);
    assert_eq!(camera.at(&path, EVENTS, "SetSynchronizationPoint", "").await.status, 200);
    assert_eq!(camera.at(&path, NOTIFICATION, "Unsubscribe", "").await.status, 200);
    for answer in [camera.pull(&path, "PT1S").await, camera.at(&path, NOTIFICATION, "Unsubscribe", "").await] {
        assert!(answer.status == 400 && answer.xml.contains("wsrf-rw:ResourceUnknownFault"), "{}", answer.xml);
    }
    assert!(camera.pull("/onvif/subscription/x", "PT1S").await.xml.contains("wsrf-rw:ResourceUnknownFault"));
}

#[tokio::test(start_paused = true)]
async fn filters_that_would_not_be_obeyed_and_wrong_times_are_refused() {
    let camera = camera();
    let topic = |text: &str| format!("<Filter><TopicExpression>{text}</TopicExpression></Filter>");
    for good in ["tns1:VideoSource/MotionAlarm", "tns1:VideoSource//.", "a:B/C | tns1:VideoSource/tns1:MotionAlarm"] {
        camera.subscribe(&topic(good)).await;
    }
    for (arguments, subcode) in [
        (topic("tns1:RuleEngine//."), "wsnt:InvalidFilterFault"),
        (topic("tns1:VideoSource"), "wsnt:InvalidFilterFault"),
        ("<Filter><MessageContent>x</MessageContent></Filter>".to_owned(), "wsnt:InvalidMessageContentExpressionFault"),
        (
            "<InitialTerminationTime>soon</InitialTerminationTime>".to_owned(),
            "wsnt:UnacceptableInitialTerminationTimeFault",
        ),
    ] {
        assert_eq!(camera.refused(EVENTS, "CreatePullPointSubscription", &arguments).await, subcode, "{arguments}");
    }
    let path = camera.subscribe("").await;
    assert!(camera.pull(&path, "never").await.xml.contains("ter:InvalidArgVal"));
}
