//! The uplink configuration service through the whole sidecar: what is set comes up, what is deleted goes, the file is written back
//! (issue 6, item 4; draft device test specification, UPLINK-1-1-1 to 4-1-1).

mod cases;
mod local;

use std::{net::SocketAddr, time::Duration};

use onvif_uplink::{app::Outcome, model::status::Status};

use crate::support::{
    device::{RunningCamera, camera},
    remote::{Remote, Upgraded, answer},
    sidecar::{Line, Sidecar, Site, document},
};

pub const SOAP: &str = "application/soap+xml; charset=utf-8";
pub const SERVICE: &str = "/onvif/uplink_service";
pub const DEVICE_SERVICE: &str = "/onvif/device_service";
pub const UPLINK: &str = "http://www.onvif.org/ver10/uplink/wsdl";

/// A message with this in its body; `tup` and `tds` are declared.
pub fn message(body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:tup=\"{UPLINK}\" \
         xmlns:tds=\"http://www.onvif.org/ver10/device/wsdl\"><s:Body>{body}</s:Body></s:Envelope>"
    )
}

/// SetUplink with these elements besides RemoteAddress.
pub fn set(remote: &str, more: &str) -> String {
    format!(
        "<tup:SetUplink><tup:Configuration><tup:RemoteAddress>{remote}</tup:RemoteAddress>{more}</tup:Configuration></tup:SetUplink>"
    )
}

pub fn delete(remote: &str) -> String {
    format!("<tup:DeleteUplink><tup:RemoteAddress>{remote}</tup:RemoteAddress></tup:DeleteUplink>")
}

/// Certificate, level and policy as the document of these tests has them.
pub const USUAL: &str = "<tup:CertificateID>c-camera-1</tup:CertificateID><tup:UserLevel>Operator</tup:UserLevel>\
                         <tup:CertPathValidationPolicyID>p-camera-1</tup:CertPathValidationPolicyID>";

/// Posts to the device through a session.
pub async fn post(session: &Upgraded, path: &str, body: &str) -> (u16, String) {
    let message = message(body);
    let request = http::Request::post(format!("https://cloud.example{path}"))
        .header("content-type", SOAP)
        .header("content-length", message.len())
        .body(())
        .expect("valid");
    let mut requests = session.requests.clone().ready().await.expect("the session stands");
    let (response, mut stream) = requests.send_request(request, false).expect("sent");
    stream.send_data(message.into(), true).expect("sent");
    let (parts, body) = answer(response).await;
    assert_eq!(parts.headers["content-length"], body.len().to_string());
    (parts.status.as_u16(), String::from_utf8(body.to_vec()).expect("UTF-8"))
}

/// A sidecar with an Administrator's uplink to `remote`.
pub struct Scene {
    pub site: Site,
    _device: RunningCamera,
    pub remote: Remote,
    pub sidecar: Sidecar,
    pub session: Upgraded,
}

/// `change` edits the document before it is written.
pub async fn scene(change: impl FnOnce(String, SocketAddr) -> String) -> Scene {
    let site = Site::new(&["camera-1"]);
    let (remote, device) = (Remote::start(&site.authority).await, camera("camera-1").await);
    let text = document(&[Line::new("camera-1", device.address, remote.remote())]);
    site.write(&change(text, device.address));
    let sidecar = site.start().await;
    let session = remote.upgrade().await;
    sidecar.online("camera-1").await;
    Scene { site, _device: device, remote, sidecar, session }
}

impl Scene {
    pub fn text(&self) -> String {
        std::fs::read_to_string(self.site.config()).expect("there")
    }

    pub async fn uplinks(&self) -> String {
        let (status, body) = post(&self.session, SERVICE, "<tup:GetUplinks/>").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Waits until the uplink to `remote` has this status.
    pub async fn until(&self, remote: &str, status: Status) {
        let is =
            |(key, uplink): (&onvif_uplink::model::uplink::UplinkKey, &onvif_uplink::model::status::UplinkStatus)| {
                key.remote.as_configured() == remote && uplink.status == status
            };
        self.sidecar.until("the status", |all| all.uplinks.iter().any(is).then_some(())).await;
    }

    pub async fn stop(self) {
        assert_eq!(self.sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
    }
}

#[tokio::test]
async fn what_is_set_comes_up_is_shown_and_goes_when_it_is_deleted() {
    let scene = scene(|text, _| format!("# ours\n{text}# the end\n")).await;
    let other = Remote::start(&scene.site.authority).await;
    let vendor = "<v:Site xmlns:v=\"urn:vendor\" v:no=\"7\">Gate &amp; yard</v:Site>";
    let (status, body) = post(&scene.session, SERVICE, &set(&other.remote(), &format!("{USUAL}{vendor}"))).await;
    assert!(status == 200 && body.contains("SetUplinkResponse"), "{body}");
    // It is in force already: this is what an answer means.
    assert!(scene.uplinks().await.contains(&other.remote()));
    let second = other.upgrade().await;
    scene.until(&other.remote(), Status::Online).await;
    let shown = scene.uplinks().await;
    assert!(shown.contains(vendor) && shown.contains("<tup:Status>Connected</tup:Status>"), "{shown}");
    let text = scene.text();
    assert!(text.starts_with("# ours\n") && text.ends_with("# the end\n") && text.contains("urn:vendor"), "{text}");
    let (status, _) = post(&second, SERVICE, &delete(&other.remote())).await;
    assert_eq!(status, 400, "an Operator may not");
    let (status, body) = post(&scene.session, DEVICE_SERVICE, &delete(&other.remote())).await;
    assert!(status == 200 && body.contains("DeleteUplinkResponse"), "{body}");
    assert!(!scene.uplinks().await.contains(&other.remote()) && !scene.text().contains(&other.remote()));
    second.connection.await.expect("no panic").expect("drained in order");
    scene.stop().await;
}

#[tokio::test]
async fn an_uplink_may_delete_itself_and_still_gets_its_answer() {
    let scene = scene(|text, _| text).await;
    let (status, body) = post(&scene.session, SERVICE, &delete(&scene.remote.remote())).await;
    assert!(status == 200 && body.contains("DeleteUplinkResponse"), "{body}");
    let Scene { session, sidecar, .. } = scene;
    session.connection.await.expect("no panic").expect("drained in order");
    sidecar.until("gone", |all| all.uplinks.is_empty().then_some(())).await;
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
}

#[tokio::test]
async fn an_uplink_that_does_not_come_up_says_why() {
    let scene = scene(|text, _| text).await;
    let gone = format!("https://{}/", crate::support::device::nobody().await);
    assert_eq!(post(&scene.session, SERVICE, &set(&gone, USUAL)).await.0, 200);
    scene
        .sidecar
        .until("a failure", |all| all.uplinks.values().any(|uplink| uplink.error.is_some()).then_some(()))
        .await;
    let shown = scene.uplinks().await;
    assert!(shown.contains("<tup:Error>dial: "), "{shown}");
    scene.stop().await;
}

#[tokio::test]
async fn a_change_of_level_goes_to_the_same_entry_and_keeps_what_the_service_does_not_know() {
    let scene = scene(|text, _| {
        text.replace("        userLevel", "        network: { proxy: none } # direct\n        userLevel")
    })
    .await;
    let remote = scene.remote.remote();
    let (status, _) = post(&scene.session, SERVICE, &set(&remote, USUAL)).await;
    assert_eq!(status, 200);
    let text = scene.text();
    assert!(text.contains("network: { proxy: none } # direct") && text.contains("userLevel: Operator"), "{text}");
    let next = scene.remote.upgrade().await;
    let (status, body) = post(&next, SERVICE, &delete(&remote)).await;
    assert!(status == 400 && body.contains("ter:NotAuthorized"), "the new level counts: {body}");
    scene.stop().await;
}

#[tokio::test]
async fn what_cannot_be_set_leaves_file_and_uplinks_alone() {
    let max = "    uplinkService: { maxUplinks: 1 }\n    uplinks:";
    let scene = scene(|text, _| text.replacen("    uplinks:", max, 1)).await;
    let before = scene.text();
    let level = "<tup:UserLevel>User</tup:UserLevel>";
    for (body, subcode) in [
        (set("https://new/", level), "MissingAuthentication"),
        (set("https://new/", &format!("{level}<tup:CertificateID>none</tup:CertificateID>")), "CertificateID"),
        (
            set("https://new/", &format!("{USUAL}<tup:AuthorizationServer>idp</tup:AuthorizationServer>")),
            "AmbiguousAuthentication",
        ),
        (
            set("https://new/", &format!("{level}<tup:AuthorizationServer>idp</tup:AuthorizationServer>")),
            "AuthorizationServerConfigurationToken",
        ),
        (set("https://new/", &USUAL.replace("p-camera-1", "none")), "CertPathValidationPolicyID"),
        (set("http://new/", USUAL), "ProtocolNotSupported"),
        (set("https://new/", USUAL), "MaxUplinksReached"),
        (set("https://new/", ""), "InvalidArgs"),
        (delete("https://new/"), "Address"),
        (set(&scene.remote.remote(), &USUAL.replace("Operator", "Guards")), "InvalidArgVal"),
    ] {
        let (status, answer) = post(&scene.session, SERVICE, &body).await;
        assert!(status >= 400 && answer.contains(&format!("ter:{subcode}<")), "{subcode}: {answer}");
    }
    assert_eq!(scene.text(), before);
    assert_eq!(scene.sidecar.board.snapshot().config.generation, 1);
    scene.stop().await;
}

#[tokio::test]
async fn a_document_with_errors_and_a_mounted_one_are_not_written() {
    let scene = scene(|text, _| text).await;
    let broken = format!("{}colour: red\n", scene.text());
    scene.site.write(&broken);
    scene.sidecar.until("the errors", |all| (!all.config.errors.is_empty()).then_some(())).await;
    let (status, body) = post(&scene.session, SERVICE, &set("https://new/", USUAL)).await;
    assert!(status == 500 && body.contains("ter:Action") && body.contains("mend it first"), "{body}");
    assert_eq!(scene.text(), broken);
    std::os::unix::fs::symlink("..now", scene.site.path().join("..data")).expect("linked");
    scene.site.write(broken.trim_end_matches("colour: red\n"));
    let (status, body) = post(&scene.session, SERVICE, &set("https://new/", USUAL)).await;
    assert!(status == 500 && body.contains("ConfigMap"), "{body}");
    scene.stop().await;
}
