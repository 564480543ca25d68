//! Arguments of `onvif-uplink gateway`.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser};

use super::{Grace, Logging, threads};

/// What of a device's certificate names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Identity {
    /// The common name of the subject
    #[default]
    Cn,
    /// The serial number of the certificate
    Serial,
}

/// `onvif-uplink gateway`
#[derive(Clone, Debug, Args)]
pub struct Gateway {
    /// Where devices dial in
    #[arg(long, env = "ONVIF_UPLINK_LISTEN", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Certificate chain of the gateway (PEM)
    #[arg(long, env = "ONVIF_UPLINK_CERT", value_name = "FILE")]
    pub cert: PathBuf,
    /// Its private key (PEM)
    #[arg(long, env = "ONVIF_UPLINK_KEY", value_name = "FILE")]
    pub key: PathBuf,
    /// Authorities that devices' certificates must come from (PEM); with --token-jwks it may be missing
    #[arg(long, env = "ONVIF_UPLINK_CLIENT_CA", value_name = "FILE", required_unless_present = "token_jwks")]
    pub client_ca: Option<PathBuf>,
    /// Take access tokens (JWT) signed by the keys of this JWKS: a file or an https address
    #[arg(long, env = "ONVIF_UPLINK_TOKEN_JWKS", value_name = "FILE|URL", requires_all = ["token_issuer", "token_audience"])]
    pub token_jwks: Option<String>,
    /// Authorities that the address of the JWKS is trusted by (PEM); the system's by default
    #[arg(long, env = "ONVIF_UPLINK_TOKEN_JWKS_CA", value_name = "FILE", requires = "token_jwks")]
    pub token_jwks_ca: Option<PathBuf>,
    /// Issuer that tokens must have
    #[arg(long, env = "ONVIF_UPLINK_TOKEN_ISSUER", value_name = "ISSUER", requires = "token_jwks")]
    pub token_issuer: Option<String>,
    /// Audience that tokens must have
    #[arg(long, env = "ONVIF_UPLINK_TOKEN_AUDIENCE", value_name = "AUDIENCE", requires = "token_jwks")]
    pub token_audience: Option<String>,
    /// Claim of a token that names the device
    #[arg(long, env = "ONVIF_UPLINK_TOKEN_CLAIM", value_name = "CLAIM", default_value = "sub")]
    pub token_claim: String,
    /// Most devices that come up in a second; the rest is told to come back. 0: no limit
    #[arg(long, env = "ONVIF_UPLINK_MAX_UPGRADES_PER_SECOND", value_name = "N", default_value = "500")]
    pub max_upgrades_per_second: u32,
    /// Where ordinary clients reach the devices, as /<device>/<path>
    #[arg(long, env = "ONVIF_UPLINK_FRONT", value_name = "ADDR")]
    pub front: SocketAddr,
    /// What of a device's certificate is its name
    #[arg(long, env = "ONVIF_UPLINK_IDENTITY", value_enum, default_value = "cn")]
    pub identity: Identity,
    /// Serve http://<device>.<SUFFIX>/<path> as well
    #[arg(long, env = "ONVIF_UPLINK_FRONT_DOMAIN", value_name = "SUFFIX")]
    pub front_domain: Option<String>,
    /// File with the token that clients of the front must show, as Bearer or as the password of Basic
    #[arg(long, env = "ONVIF_UPLINK_FRONT_TOKEN_FILE", value_name = "FILE", conflicts_with = "front_open")]
    pub front_token_file: Option<PathBuf>,
    /// Let everybody use a front that is not on loopback
    #[arg(long, env = "ONVIF_UPLINK_FRONT_OPEN", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub front_open: bool,
    /// Where players of plain RTSP reach the devices, as rtsp://ADDR/<device>/<path>; 8554 by custom
    #[arg(long, env = "ONVIF_UPLINK_RTSP", value_name = "ADDR")]
    pub rtsp: Option<SocketAddr>,
    /// Where /livez, /readyz, /metrics and /status are served
    #[arg(long, env = "ONVIF_UPLINK_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:9601")]
    pub admin: SocketAddr,
    /// How long open streams may go on.
    #[command(flatten)]
    pub grace: Grace,
    /// Threads that carry sessions; each session stays on one
    #[arg(long, env = "ONVIF_UPLINK_THREADS", value_name = "N", default_value = "1", value_parser = threads)]
    pub threads: NonZeroUsize,
    /// The log.
    #[command(flatten)]
    pub logging: Logging,
}
