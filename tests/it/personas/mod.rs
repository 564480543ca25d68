//! The cloud ends that are known from the field, as scripted remotes against the real sidecar (shared notes,
//! onvif-uplink.md §2 and §7.2). Each persona does what its original does, and nothing that the original would not.
//!
//! | Persona | Whose | What is particular |
//! |---|---|---|
//! | strict-figure | the two figures of the specification | exact lines, 101, preface, waits for SETTINGS and their ACK; https and wss |
//! | grse | forerunner of the device test tool | TLS 1.2, chops its read at the blank line, device operation to the uplink path, no END_STREAM, needs content-length, CANCEL, GOAWAY |
//! | axxon | AxxonSoft's sample cloud | no upgrade at all, 1 MiB windows, `host` and no `:authority`, extended CONNECT before our SETTINGS, credentials of its own |
//! | videotec | hyper's sample cloud | TLS 1.2, one read, case-sensitive; preface in a write of its own |
//! | bosch | the broker of the first tunnel | `/xxx`, `Host` without port, client certificate, private authority |
//! | hostile | nobody, one hopes | everything else that may come after a dial |

mod axxon;
mod bosch;
mod grse;
mod hostile;
mod strict_figure;
mod videotec;

use std::net::SocketAddr;

use crate::support::{
    remote::Remote,
    sidecar::{Line, Sidecar, Site, document},
};

/// Longer than any wait of a test, shorter than the patience of a person.
const PATIENCE: std::time::Duration = crate::support::http::PATIENCE;

/// A SOAP 1.2 request of the device service.
const GET_SERVICES: &str = "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><GetServices \
    xmlns=\"http://www.onvif.org/ver10/device/wsdl\"><IncludeCapability>false</IncludeCapability></GetServices></s:Body></s:Envelope>";

/// One device, one remote, one sidecar that dials it; `settings` are lines of the uplink, without their indent.
async fn scene(site: &Site, remote: &Remote, device: SocketAddr, settings: &[&str]) -> Sidecar {
    let text = document(&[Line::new("camera-1", device, remote.remote())]);
    let lines: String = settings.iter().map(|line| format!("{line}\n        ")).collect();
    site.write(&text.replace("userLevel:", &format!("{lines}userLevel:")));
    site.start().await
}
