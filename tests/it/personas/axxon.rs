//! AxxonSoft's sample cloud on nghttp2: no upgrade, `host` and no `:authority`, extended CONNECT before our SETTINGS, credentials
//! of its own (quirks Q5, Q8, Q13, Q14).

use onvif_uplink::model::failure::Cause;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{GET_SERVICES, PATIENCE, scene};
use crate::support::{
    device::camera,
    frames::{self, ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame, literal},
    remote::{Remote, Tls, server_certificate, tls},
    sidecar::Site,
};

/// The magic, then SETTINGS with MAX_CONCURRENT_STREAMS 100 and INITIAL_WINDOW_SIZE 1 MiB.
fn preface() -> Vec<u8> {
    let settings = [&[0, 3][..], &100u32.to_be_bytes(), &[0, 4], &(1u32 << 20).to_be_bytes()].concat();
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &settings)].concat()
}

fn post(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let length = GET_SERVICES.len().to_string();
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/onvif/device_service"),
        ("host", "axxon"),
        ("content-type", "application/soap+xml"),
        ("content-length", length.as_str()),
    ];
    let all = [&usual[..], fields].concat();
    let mut request = frame(HEADERS, END_HEADERS, stream, &literal(&all));
    request.extend(frame(DATA, END_STREAM, stream, GET_SERVICES.as_bytes()));
    request
}

/// The whole body of the answer on `stream`, which must be a 200.
async fn answer(connection: &mut Tls, stream: u32) -> String {
    let mut body = Vec::new();
    let read = async {
        loop {
            let next = frames::read(connection).await.expect("the session stands");
            assert_ne!(next.kind, GOAWAY, "{next:?}");
            if next.stream != stream {
                continue;
            }
            match next.kind {
                HEADERS => assert_eq!(next.payload[0], 0x88, "{next:?}"),
                DATA => body.extend(next.payload),
                other => panic!("frame {other}: {:?}", next.payload),
            }
            if next.flags & END_STREAM == END_STREAM {
                return;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("in time");
    String::from_utf8(body).expect("text")
}

#[tokio::test]
async fn axxon_is_served_without_an_upgrade_and_with_a_host_for_an_authority() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, false)).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, &["lab: { handshake: none }"]).await;
    let mut connection = remote.handshake().await.expect("a good handshake");
    connection.write_all(&preface()).await.expect("sent");
    connection.write_all(&post(1, &[])).await.expect("sent");
    assert!(answer(&mut connection, 1).await.contains("GetServicesResponse"));
    // It relays credentials of its clients; they must not break anything (Q14).
    let digest = [("authorization", "Digest username=\"admin\", realm=\"x\", nonce=\"1\", uri=\"/\", response=\"0\"")];
    connection.write_all(&post(3, &digest)).await.expect("sent");
    assert!(answer(&mut connection, 3).await.contains("GetServicesResponse"));
    sidecar.online("camera-1").await;
}

#[tokio::test]
async fn an_extended_connect_before_our_settings_costs_its_stream_only() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, false)).await;
    let device = camera("camera-1").await;
    let _sidecar = scene(&site, &remote, device.address, &["lab: { handshake: none }"]).await;
    let mut connection = remote.handshake().await.expect("a good handshake");
    let connect =
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"), ("host", "axxon")];
    let mut early = preface();
    early.extend(frame(HEADERS, END_HEADERS, 1, &literal(&connect)));
    connection.write_all(&early).await.expect("sent");
    let refused = async {
        loop {
            let next = frames::read(&mut connection).await.expect("the session stands");
            assert_ne!(next.kind, GOAWAY, "{next:?}");
            if next.kind == SETTINGS && next.flags & ACK == 0 {
                connection.write_all(&frame(SETTINGS, ACK, 0, &[])).await.expect("sent");
            }
            if next.stream == 1 && matches!(next.kind, RST_STREAM | HEADERS) {
                assert!(next.kind == RST_STREAM || next.payload[0] != 0x88, "no such stream is served: {next:?}");
                return;
            }
        }
    };
    timeout(PATIENCE, refused).await.expect("in time");
    connection.write_all(&post(3, &[])).await.expect("sent");
    assert!(answer(&mut connection, 3).await.contains("GetServicesResponse"));
}

#[tokio::test]
async fn what_is_no_preface_right_after_tls_is_said_so() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, false)).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, &["lab: { handshake: none }"]).await;
    let mut connection = remote.handshake().await.expect("a good handshake");
    connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("sent");
    sidecar.fails("camera-1", Cause::PrefaceInvalid).await;
}
