//! Arguments of `onvif-uplink connect`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use url::Url;

use super::{Logging, loopback};

/// `onvif-uplink connect`
#[derive(Clone, Debug, Args)]
pub struct Connect {
    /// The device by its name at the gateway
    #[arg(value_name = "DEVICE")]
    pub device: String,
    /// The port of the device
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Front of the gateway, http://HOST:PORT or https://HOST[:PORT]
    #[arg(long, env = "ONVIF_UPLINK_GATEWAY", value_name = "URL", default_value = "http://127.0.0.1:8800")]
    pub gateway: Url,
    /// Authorities that an https gateway is trusted by (PEM); the system's by default
    #[arg(long, env = "ONVIF_UPLINK_GATEWAY_CA", value_name = "FILE")]
    pub gateway_ca: Option<PathBuf>,
    /// File with the token of the gateway's front
    #[arg(long, env = "ONVIF_UPLINK_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Take connections here, on loopback, instead of standard input and output; port 0 takes a free one
    #[arg(long, env = "ONVIF_UPLINK_LISTEN", value_name = "ADDR", value_parser = loopback)]
    pub listen: Option<SocketAddr>,
    /// The log.
    #[command(flatten)]
    pub logging: Logging,
}
