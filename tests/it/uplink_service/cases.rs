//! The cases of the draft device test specification (branch `uplink` of onvif/testspecs), each with the release that it was written
//! for, and the conflict of 1-1-1 with 24.06 behind its switch.

use onvif_uplink::model::status::Status;

use super::{DEVICE_SERVICE, SERVICE, USUAL, delete, post, scene, set};
use crate::support::remote::{Remote, server_certificate, tls};

/// UPLINK-1-1-1: SetUplink with `IPv4:port`, no CertificateID; GetDeviceInformation through it; DeleteUplink drops it.
#[tokio::test]
async fn uplink_1_1_1_connect_and_disconnect_without_authentication() {
    let allow = "    uplinkService: { allowNoAuthentication: true }\n    uplinks:";
    let scene = scene(|text, _| text.replacen("    uplinks:", allow, 1)).await;
    let endpoint = Remote::with(tls(&server_certificate(&scene.site.authority), None, false)).await;
    let address = endpoint.address.to_string();
    // The draft has no policy either; the authority of this test is not one of the system's.
    let more = "<tup:UserLevel>Administrator</tup:UserLevel><tup:CertPathValidationPolicyID>p-camera-1</tup:CertPathValidationPolicyID>";
    let (status, body) = post(&scene.session, SERVICE, &set(&address, more)).await;
    assert_eq!(status, 200, "{body}");
    let session = endpoint.upgrade().await;
    scene.until(&address, Status::Online).await;
    let (status, body) = post(&session, DEVICE_SERVICE, "<tds:GetDeviceInformation/>").await;
    assert!(status == 200 && body.contains("GetDeviceInformationResponse"), "{body}");
    let (status, _) = post(&scene.session, SERVICE, &delete(&address)).await;
    assert_eq!(status, 200);
    session.connection.await.expect("no panic").expect("the connection drops in order");
    scene.stop().await;
}

/// The same since 24.06: an uplink has exactly one authentication.
#[tokio::test]
async fn uplink_1_1_1_without_the_switch_is_the_fault_of_24_06() {
    let scene = scene(|text, _| text).await;
    let (status, body) =
        post(&scene.session, SERVICE, &set("192.0.2.1:8443", "<tup:UserLevel>Administrator</tup:UserLevel>")).await;
    assert!(status == 400 && body.contains("ter:MissingAuthentication"), "{body}");
    scene.stop().await;
}

/// UPLINK-3-1-1: an uplink with the CertificateID of a certificate that the device has; the endpoint looks at its name.
#[tokio::test]
async fn uplink_3_1_1_client_certificate() {
    let scene = scene(|text, _| text).await;
    let endpoint = Remote::start(&scene.site.authority).await;
    let (status, body) = post(&scene.session, SERVICE, &set(&endpoint.remote(), USUAL)).await;
    assert_eq!(status, 200, "{body}");
    let mut stream = endpoint.asked().await;
    let shown = stream.get_ref().1.peer_certificates().expect("a client certificate")[0].clone();
    let issued = std::fs::read(scene.site.path().join("camera-1.crt")).expect("there");
    use rustls::pki_types::pem::PemObject;
    assert_eq!(shown, rustls::pki_types::CertificateDer::from_pem_slice(&issued).expect("PEM"));
    use tokio::io::AsyncWriteExt;
    stream.write_all(crate::support::remote::SWITCH).await.expect("sent");
    let session = crate::support::remote::upgraded(stream).await;
    scene.until(&endpoint.remote(), Status::Online).await;
    assert_eq!(post(&session, DEVICE_SERVICE, "<tds:GetDeviceInformation/>").await.0, 200);
    scene.stop().await;
}

/// The head of UPLINK-3-1-1 and UPLINK-4-1-1: GetServices lists the service, with its capabilities only if they are asked for, and they
/// are those of GetServiceCapabilities.
#[tokio::test]
async fn uplink_4_1_1_services_and_capabilities_are_consistent() {
    let scene = scene(|text, _| text).await;
    let services = |include: &str| {
        format!("<tds:GetServices><tds:IncludeCapability>{include}</tds:IncludeCapability></tds:GetServices>")
    };
    let (status, without) = post(&scene.session, DEVICE_SERVICE, &services("false")).await;
    assert!(
        status == 200 && without.contains("/onvif/uplink_service<") && !without.contains("MaxUplinks"),
        "{without}"
    );
    let (_, with) = post(&scene.session, DEVICE_SERVICE, &services("true")).await;
    let (_, own) = post(&scene.session, SERVICE, "<tup:GetServiceCapabilities/>").await;
    let attributes =
        |body: &str| body.split(" MaxUplinks").nth(1).and_then(|rest| rest.split('>').next()).map(str::to_owned);
    assert!(attributes(&own).is_some());
    assert_eq!(attributes(&with), attributes(&own));
    let (_, capabilities) = post(
        &scene.session,
        DEVICE_SERVICE,
        "<tds:GetCapabilities><tds:Category>All</tds:Category></tds:GetCapabilities>",
    )
    .await;
    assert!(capabilities.contains("/onvif/uplink_service<"), "{capabilities}");
    scene.stop().await;
}

/// A client of the first release: another order, no namespace prefix, and the word of its text.
#[tokio::test]
async fn a_client_of_18_12_sets_and_sees_its_words() {
    let words = "    uplinkService: { onlineStatus: Online }\n    uplinks:";
    let scene = scene(|text, _| text.replacen("    uplinks:", words, 1)).await;
    let endpoint = Remote::start(&scene.site.authority).await;
    // The authority of this test must be trusted; a policy did not exist then and is the configuration's.
    let first = set(&endpoint.remote(), USUAL);
    assert_eq!(post(&scene.session, SERVICE, &first).await.0, 200);
    let _session = endpoint.upgrade().await;
    scene.until(&endpoint.remote(), Status::Online).await;
    assert!(scene.uplinks().await.contains("<tup:Status>Online</tup:Status>"));
    let unknown = "<SetUplink xmlns=\"http://www.onvif.org/ver10/uplink/wsdl\"><Configuration><CertificateID>none</CertificateID>\
                   <Status>Offline</Status><UserLevel>User</UserLevel><RemoteAddress>https://new/</RemoteAddress></Configuration></SetUplink>";
    let (status, body) = post(&scene.session, SERVICE, unknown).await;
    assert!(status == 400 && body.contains("ter:CertificateID<"), "{body}");
    let (status, body) = post(&scene.session, SERVICE, &unknown.replace("none", "c-camera-1")).await;
    assert!(status == 200 && scene.uplinks().await.contains("https://new/"), "{body}");
    scene.stop().await;
}

/// UPLINK-2-1-1 begins with the capability: it is true exactly when video can be carried.
#[tokio::test]
async fn streaming_over_uplink_is_what_forwarding_found_out() {
    let scene = scene(|text, _| text).await;
    let streams = scene
        .sidecar
        .until("a look at the device", |all| {
            all.devices.get("camera-1")?.streaming.as_ref().map(|streaming| streaming.over_uplink())
        })
        .await;
    let (_, body) = post(&scene.session, SERVICE, "<tup:GetServiceCapabilities/>").await;
    assert!(body.contains(&format!("StreamingOverUplink=\"{streams}\"")), "{body}");
    scene.stop().await;
}
