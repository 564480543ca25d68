//! The flags of what shows the product without a camera at hand: the emulator and the demo.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser};
use http::uri::Authority;

use super::{CLOCK_SKEW_MAX, Logging};
use crate::telemetry::logs::LogOptions;

/// How the emulator asks for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CameraAuth {
    /// HTTP Digest with MD5.
    Digest,
    /// HTTP Digest with SHA-256 and MD5.
    DigestSha256,
    /// HTTP Basic.
    Basic,
    /// UsernameToken for ONVIF, HTTP Digest for the rest.
    Wsse,
}

/// `onvif-uplink camera`
#[derive(Clone, Debug, Args)]
pub struct Camera {
    /// Where the emulator serves HTTP
    #[arg(long, env = "ONVIF_UPLINK_HTTP", value_name = "ADDR")]
    pub http: SocketAddr,
    /// Ask for credentials at the web service: file with one line USER:PASSWORD
    #[arg(long, env = "ONVIF_UPLINK_CREDENTIALS_FILE", value_name = "FILE")]
    pub credentials_file: Option<PathBuf>,
    /// How it asks for them
    #[arg(long, env = "ONVIF_UPLINK_AUTH", value_enum, default_value = "digest")]
    pub auth: CameraAuth,
    /// Lock the account after so many wrong passwords in a row, for 5 minutes; never by default
    #[arg(long, env = "ONVIF_UPLINK_LOCK_OUT", value_name = "N", requires = "credentials_file", value_parser = clap::value_parser!(u32).range(1..))]
    pub lock_out: Option<u32>,
    /// Set its clock wrong by so many seconds; positive: ahead
    #[arg(long, env = "ONVIF_UPLINK_CLOCK_SKEW", value_name = "SECONDS", default_value = "0", allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-CLOCK_SKEW_MAX..=CLOCK_SKEW_MAX))]
    pub clock_skew: i64,
    /// Where it serves the same picture by RTSP (JPEG over RTP, interleaved TCP), as /stream
    #[arg(long, env = "ONVIF_UPLINK_RTSP", value_name = "ADDR")]
    pub rtsp: Option<SocketAddr>,
    /// Let players wrap RTSP in HTTP, on the same port
    #[arg(long, env = "ONVIF_UPLINK_RTSP_TUNNEL", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), requires = "rtsp")]
    pub rtsp_tunnel: bool,
    /// Ask players for Digest credentials: file with one line USER:PASSWORD
    #[arg(long, env = "ONVIF_UPLINK_RTSP_CREDENTIALS_FILE", value_name = "FILE", requires = "rtsp")]
    pub rtsp_credentials_file: Option<PathBuf>,
    /// The host, with or without a port, that it takes for its own and names in ONVIF answers, such as 192.168.1.10; the one by which it is asked if not given
    #[arg(long, env = "ONVIF_UPLINK_ADVERTISE", value_name = "HOST", value_parser = own_authority)]
    pub advertise: Option<Authority>,
    /// The log.
    #[command(flatten)]
    pub logging: Logging,
}

fn own_authority(text: &str) -> Result<Authority, String> {
    let authority =
        text.parse::<Authority>().ok().filter(|authority| !text.contains('@') && !authority.host().is_empty());
    authority.ok_or_else(|| {
        "give a host name or an address, with a port if it is not 80: 192.168.1.10 or camera.lan:8080".to_owned()
    })
}

/// `onvif-uplink demo`
#[derive(Clone, Debug, Args)]
pub struct Demo {
    /// Where the demo keeps its PKI and configuration; a temporary directory if not given
    #[arg(long, env = "ONVIF_UPLINK_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Where the browser goes
    #[arg(long, env = "ONVIF_UPLINK_FRONT", value_name = "ADDR", default_value = "127.0.0.1:8800")]
    pub front: SocketAddr,
    /// Where players of RTSP go; the next free port if it is taken
    #[arg(long, env = "ONVIF_UPLINK_RTSP", value_name = "ADDR", default_value = "127.0.0.1:8554")]
    pub rtsp: SocketAddr,
    /// The log.
    #[command(flatten)]
    pub logging: Logging,
}

impl Demo {
    /// The log of the demo, unless asked otherwise: only warnings, and none of what the demo itself tells.
    pub fn demo_log(&self) -> LogOptions {
        let mut options = self.logging.options();
        if options.level.is_none() && std::env::var_os("RUST_LOG").is_none() {
            options.level = Some("warn,onvif_uplink::app=off,onvif_uplink::uplink=off".to_owned());
        }
        options
    }
}
