//! Arguments of `onvif-uplink connect` and `onvif-uplink fetch`: what an operator does through the gateway's front.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use url::Url;

use super::{Logging, duration, loopback};

/// How a front is trusted and what it wants.
#[derive(Clone, Debug, Args)]
pub struct FrontAccess {
    /// Authorities that an https gateway is trusted by (PEM); the system's by default
    #[arg(long, env = "ONVIF_UPLINK_GATEWAY_CA", value_name = "FILE")]
    pub gateway_ca: Option<PathBuf>,
    /// File with the token of the gateway's front
    #[arg(long, env = "ONVIF_UPLINK_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

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
    /// Trust and token.
    #[command(flatten)]
    pub front: FrontAccess,
    /// Take connections here, on loopback, instead of standard input and output; port 0 takes a free one
    #[arg(long, env = "ONVIF_UPLINK_LISTEN", value_name = "ADDR", value_parser = loopback)]
    pub listen: Option<SocketAddr>,
    /// The log.
    #[command(flatten)]
    pub logging: Logging,
}

/// `onvif-uplink fetch`
#[derive(Clone, Debug, Args)]
pub struct Fetch {
    /// Address at the gateway's front, http://HOST:PORT/DEVICE/PATH
    #[arg(value_name = "URL")]
    pub url: Url,
    /// Trust and token.
    #[command(flatten)]
    pub front: FrontAccess,
    /// Write the body here; - is standard output [default: it is only counted]
    #[arg(long, short, env = "ONVIF_UPLINK_OUTPUT", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Ask again for so long while there is no good answer
    #[arg(long, env = "ONVIF_UPLINK_WAIT", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub wait: Duration,
    /// How long one attempt may take, its last byte included
    #[arg(long, env = "ONVIF_UPLINK_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}
