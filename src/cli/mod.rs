//! The command line (design.md §6, fixed: scripts rely on it). Each flag has a twin `ONVIF_UPLINK_…` in the environment,
//! because a sidecar is configured where its pod is written; the flag wins.

mod connect;
mod emulator;
mod gateway;
mod lifecycle;
mod visible;

use std::{ffi::OsString, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{
    ArgAction, ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum, builder::BoolishValueParser,
    error::ErrorKind,
};

pub use self::{
    connect::{Connect, Fetch, FrontAccess},
    emulator::{Camera, CameraAuth, Demo},
    gateway::{Gateway, Identity},
    lifecycle::{GRACE_DEFAULT, Grace, Healthcheck, Lifecycle},
    visible::{Events, Visible},
};
use crate::{
    model::kubernetes::{ConfigMapKey, check_namespace},
    telemetry::logs::{Format, LogOptions},
};

/// Stopped as asked.
pub const EXIT_OK: u8 = 0;
/// Wrong arguments (EX_USAGE).
pub const EXIT_USAGE: u8 = 64;
/// An uplink did not come up in `check --connect`, `connect` found no way to the device, or `healthcheck` was told that the process
/// is not alive or not ready (EX_UNAVAILABLE).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// Something broke that should not, or the asked process did not answer (EX_SOFTWARE).
pub const EXIT_INTERNAL: u8 = 70;
/// The configuration is unusable (EX_CONFIG).
pub const EXIT_CONFIG: u8 = 78;

/// What charts call the namespace of the pod in the environment.
pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
/// Where Secrets lie by default: below the directory where charts mount the configuration.
pub const SECRETS_DIR: &str = "/etc/onvif-uplink/secrets";
/// The longest grace period: Kubernetes' own is seldom more than minutes.
pub const GRACE_MAX: Duration = Duration::from_secs(3600);
/// More shards than any machine needs; a typing error must not start a million threads.
pub const THREADS_MAX: usize = 256;
/// Most seconds by which the emulator's clock may be wrong: ten years.
pub const CLOCK_SKEW_MAX: i64 = 10 * 365 * 86_400;

const EXAMPLES: &str = "\
Examples:
  onvif-uplink demo                          all in one process, no installation
  onvif-uplink check uplinks.yaml            all that is wrong with a document
  onvif-uplink run --config uplinks.yaml     the sidecar beside a camera or NVR
  onvif-uplink check --connect uplinks.yaml  what is in the way of each uplink
  onvif-uplink status                        what a running sidecar does
  onvif-uplink healthcheck --ready           whether it is ready, for probes
  onvif-uplink connect camera-1 22           a port of a device, by the gateway
  onvif-uplink fetch http://gw/camera-1/     one GET through gateway and uplink

Exit codes: 0 stopped as asked, 64 wrong arguments, 69 an uplink did not come up
(check --connect), no way to the device (connect), no good answer (fetch) or not
ready (healthcheck), 70 internal error, 78 configuration unusable.";

/// ONVIF Uplink for cameras and NVRs that do not speak it.
#[derive(Clone, Debug, Parser)]
#[command(name = "onvif-uplink", version, about, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// The sidecar: keep the uplinks of a configuration up and forward their requests to the neighbour
    #[command(after_help = "\
Examples:
  onvif-uplink run --config /etc/onvif-uplink/uplinks.yaml
  ONVIF_UPLINK_CONFIG=uplinks.yaml onvif-uplink run --admin 0.0.0.0:9600
  onvif-uplink run --config uplinks.yaml --onvif 127.0.0.1:8899
  onvif-uplink run --configmap cams/uplinks --secrets api

With --onvif, ONVIF tools beside the device can set its uplinks. With
--configmap and --secrets api, configuration and Secrets come over the API of
Kubernetes.
A bad configuration does not end it: it says so in log, metric and status, and
takes the mended file at once.")]
    Run(Run),
    /// The cloud end: accept uplinks and let ordinary HTTP clients reach the devices behind them
    #[command(after_help = "\
Examples:
  onvif-uplink gateway --listen 0.0.0.0:8443 --cert tls.crt --key tls.key \\
      --client-ca devices.crt --front 127.0.0.1:8800
  curl http://127.0.0.1:8800/camera-1/onvif/device_service
  onvif-uplink gateway --listen 0.0.0.0:8443 --cert tls.crt --key tls.key \\
      --front 127.0.0.1:8800 --token-jwks https://idp.example.com/jwks \\
      --token-issuer https://idp.example.com --token-audience uplink
  onvif-uplink gateway … --rtsp 127.0.0.1:8554
  ffplay -rtsp_transport tcp rtsp://127.0.0.1:8554/camera-1/stream")]
    Gateway(Box<Gateway>),
    /// A TCP port of a device, through its uplink: on standard input and output, or on a local port
    #[command(after_help = "\
Examples:
  onvif-uplink connect camera-1 554 --listen 127.0.0.1:8554
  export ONVIF_UPLINK_GATEWAY=https://gw.example.com
  ssh -o ProxyCommand='onvif-uplink connect nvr-1 22' admin@nvr-1

The sidecar opens only the ports that its configuration lists for the device
(connectPorts); none by default. Without --listen the command ends when the
device closes; with --listen it goes on until it is stopped, and each connection
to the local port is one to the device. Ends with 69 if the gateway, the device
or the port cannot be reached.")]
    Connect(Connect),
    /// One GET through the gateway and an uplink, for images without curl: 0, or 69 and the reason
    #[command(after_help = "\
Examples:
  onvif-uplink fetch http://127.0.0.1:8800/camera-1/snapshot.jpg
  onvif-uplink fetch -o picture.jpg http://127.0.0.1:8800/camera-1/snapshot.jpg
  onvif-uplink fetch --wait 30s --token-file token \\
      https://gw.example.com/camera-1/snapshot.jpg

Prints status, type and length of the answer; redirects are not followed. With
--wait it asks again while the gateway cannot be reached or the device is not
there; a refusal (401, 403) ends it at once. Ends with 69 if there was no good
answer.")]
    Fetch(Fetch),
    /// Validate a configuration: 0, or 78 and each error on its own line, FILE:LINE:COLUMN: path: sentence
    #[command(after_help = "\
Examples:
  onvif-uplink check uplinks.yaml
  onvif-uplink check --connect uplinks.yaml
  onvif-uplink check --print-schema > uplinks.schema.json

With --connect each uplink is walked once through its phases: authorize
(certificate or token), resolve, dial, proxy, TLS, upgrade, preface. The table
says what was tried, what came back and what to do; a clock that is off is
named. The exit code is 0 if all came up, 69 if one did not, 78 if the
configuration is wrong. The device is not asked for anything. A remote that
keeps one session per device may end the one of a running sidecar, which then
dials again.")]
    Check(Check),
    /// Ask a running sidecar for its uplinks
    #[command(after_help = "\
Examples:
  onvif-uplink status
  onvif-uplink status --json | jq '.uplinks[] | select(.status != \"Online\")'")]
    Status(Status),
    /// Ask a running process whether it is alive, for images without a shell: 0, or 69 and the reason
    #[command(after_help = "\
Examples, for an exec probe or the healthcheck of docker-compose:
  onvif-uplink healthcheck
  onvif-uplink healthcheck --ready
  onvif-uplink healthcheck --admin 127.0.0.1:9601

Ends with 0 if the process is alive (with --ready: ready), 69 if it says that it
is not, 70 if it does not answer.")]
    Healthcheck(Healthcheck),
    /// The camera emulator alone
    #[command(after_help = "\
Examples:
  onvif-uplink camera --http 127.0.0.1:8080
  onvif-uplink camera --http 127.0.0.1:8080 --rtsp 127.0.0.1:8554
  ffplay -rtsp_transport tcp rtsp://127.0.0.1:8554/stream")]
    Camera(Camera),
    /// Camera emulator, sidecar and gateway in one process, with a throw-away PKI
    #[command(after_help = "\
Example:
  onvif-uplink demo --front 127.0.0.1:8800

Then open http://127.0.0.1:8800/camera-1/ in a browser and
rtsp://127.0.0.1:8554/camera-1/stream in a player.")]
    Demo(Demo),
}

/// Flags of the log; the same for every subcommand that runs on.
#[derive(Clone, Debug, Args)]
pub struct Logging {
    /// How log lines look; auto: text on a terminal, JSON otherwise
    #[arg(long, env = "ONVIF_UPLINK_LOG_FORMAT", value_enum, default_value = "auto")]
    pub log_format: Format,
    /// Level (error, warn, info, debug, trace) or directives as in RUST_LOG, which it overrides
    #[arg(long, env = "ONVIF_UPLINK_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Logging {
    /// The same as telemetry wants it.
    pub fn options(&self) -> LogOptions {
        LogOptions { format: self.log_format, level: self.log_level.clone() }
    }
}

/// `onvif-uplink run`
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("document").args(["config", "configmap"]).required(true)))]
pub struct Run {
    /// Configuration file; watched, it may appear later
    #[arg(long, env = "ONVIF_UPLINK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Configuration in a ConfigMap, followed over the API of Kubernetes; KEY is uplinks.yaml by default
    #[arg(long, env = "ONVIF_UPLINK_CONFIGMAP", value_name = "NAMESPACE/NAME[/KEY]", value_parser = ConfigMapKey::parse)]
    pub configmap: Option<ConfigMapKey>,
    /// Where the Secrets lie that the configuration names, as SECRET/KEY below this directory
    #[arg(long, env = "ONVIF_UPLINK_SECRETS_DIR", value_name = "DIR", default_value = SECRETS_DIR)]
    pub secrets_dir: PathBuf,
    /// How they come there: mounted by the pod, or followed over the API and written to the directory
    #[arg(long, env = "ONVIF_UPLINK_SECRETS", value_enum, default_value = "mounted")]
    pub secrets: Secrets,
    /// Namespace of the pod by the usual name (downward API), for Secrets where --configmap does not name one.
    #[arg(skip = std::env::var(POD_NAMESPACE).ok())]
    pub pod_namespace: Option<String>,
    /// Where /livez, /readyz, /metrics and /status are served
    #[arg(long, env = "ONVIF_UPLINK_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:9600")]
    pub admin: SocketAddr,
    /// Where tools beside the device reach the uplink configuration service, by the accounts of the configuration; off by default
    #[arg(long, env = "ONVIF_UPLINK_ONVIF", value_name = "ADDR")]
    pub onvif: Option<SocketAddr>,
    /// How long open streams may go on.
    #[command(flatten)]
    pub grace: Grace,
    /// Readiness and drain.
    #[command(flatten)]
    pub lifecycle: Lifecycle,
    /// Events, status and write-back.
    #[command(flatten)]
    pub visible: Visible,
    /// Threads that carry uplinks; each uplink stays on one
    #[arg(long, env = "ONVIF_UPLINK_THREADS", value_name = "N", default_value = "1", value_parser = threads)]
    pub threads: NonZeroUsize,
    /// File with USER:PASSWORD for the proxy that HTTPS_PROXY names
    #[arg(long, env = "ONVIF_UPLINK_PROXY_CREDENTIALS_FILE", value_name = "FILE")]
    pub proxy_credentials_file: Option<PathBuf>,
    /// End with 78 when the first configuration is unusable, instead of waiting for a mended one
    #[arg(long, env = "ONVIF_UPLINK_EXIT_ON_INVALID", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub exit_on_invalid: bool,
    /// The log.
    #[command(flatten)]
    pub logging: Logging,
}

/// How the Secrets come that the configuration names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Secrets {
    /// Volumes of the pod
    #[default]
    Mounted,
    /// Followed by name over the API of Kubernetes
    Api,
}

impl Run {
    /// The namespace of the Secrets that are followed over the API; `None` if none are.
    pub fn secrets_namespace(&self) -> Option<&str> {
        let of_configmap = self.configmap.as_ref().map(|at| at.namespace.as_str());
        of_configmap.or(self.pod_namespace.as_deref()).filter(|_| self.secrets == Secrets::Api)
    }

    /// What clap cannot say of single flags.
    fn check(&self) -> Result<(), String> {
        self.check_visible()?;
        let api = self.secrets == Secrets::Api;
        if !cfg!(feature = "kubernetes") && (api || self.configmap.is_some()) {
            return Err(
                "this program was built without the feature `kubernetes`; --configmap and --secrets api need it"
                    .to_owned(),
            );
        }
        match (api, self.secrets_namespace()) {
            (true, None) => {
                Err("--secrets api needs a namespace: set POD_NAMESPACE (metadata.namespace by the downward API) or use --configmap"
                    .to_owned())
            }
            (true, Some(namespace)) => check_namespace(namespace).map(drop),
            (false, _) => Ok(()),
        }
    }
}

/// `onvif-uplink check`
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The configuration to validate
    #[arg(value_name = "FILE", required_unless_present = "print_schema")]
    pub file: Option<PathBuf>,
    /// Try each uplink once as well, and say how far it came
    #[arg(long, env = "ONVIF_UPLINK_CONNECT", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), conflicts_with = "print_schema")]
    pub connect: bool,
    /// With --connect: print JSON instead of tables
    #[arg(long, env = "ONVIF_UPLINK_JSON", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), requires = "connect")]
    pub json: bool,
    /// With --connect: file with USER:PASSWORD for the proxy that HTTPS_PROXY names
    #[arg(long, env = "ONVIF_UPLINK_PROXY_CREDENTIALS_FILE", value_name = "FILE")]
    pub proxy_credentials_file: Option<PathBuf>,
    /// Where the Secrets lie that the configuration names, as SECRET/KEY below this directory
    #[arg(long, env = "ONVIF_UPLINK_SECRETS_DIR", value_name = "DIR", default_value = SECRETS_DIR)]
    pub secrets_dir: PathBuf,
    /// Print the JSON Schema of the configuration instead
    #[arg(long, env = "ONVIF_UPLINK_PRINT_SCHEMA", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub print_schema: bool,
}

/// `onvif-uplink status`
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// Admin address of the sidecar, HOST:PORT
    #[arg(long, env = "ONVIF_UPLINK_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:9600")]
    pub admin: String,
    /// Print the document of /status instead of a table
    #[arg(long, env = "ONVIF_UPLINK_JSON", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub json: bool,
}

/// Reads the arguments, the program's name first.
///
/// # Errors
/// What clap has to say, help and version included: print it with `clap::Error::print`, end with [`exit_code`].
pub fn parse<I, T>(arguments: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = Cli::try_parse_from(arguments)?;
    if let Command::Gateway(gateway) = &cli.command
        && let Some(address) =
            [Some(gateway.front), gateway.rtsp].into_iter().flatten().find(|address| !is_local(address))
        && gateway.front_token_file.is_none()
        && !gateway.front_open
    {
        let sentence = format!(
            "{address} is not on loopback and lets strangers at the cameras; \
             give --front-token-file FILE, or --front-open if that is wanted"
        );
        return Err(Cli::command().error(ErrorKind::MissingRequiredArgument, sentence));
    }
    if let Command::Run(run) = &cli.command {
        run.check().map_err(|sentence| Cli::command().error(ErrorKind::InvalidValue, sentence))?;
    }
    Ok(cli)
}

/// The exit code that belongs to what [`parse`] returned: help and version were asked for, all else is a wrong argument.
pub fn exit_code(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => EXIT_OK,
        _ => EXIT_USAGE,
    }
}

fn is_local(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write an address and a port, for example 127.0.0.1:8554")?;
    if is_local(&address) {
        Ok(address)
    } else {
        Err("whoever reaches the address would reach the device; choose one on loopback".to_owned())
    }
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= THREADS_MAX => Ok(count),
        _ => Err(format!("write a number from 1 to {THREADS_MAX}")),
    }
}

fn grace_period(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration > GRACE_MAX { Err(format!("at most {} s", GRACE_MAX.as_secs())) } else { Ok(duration) }
}

/// Reads `500ms`, `30s`, `2m`, `1h`: a whole number and a unit, nothing else.
fn duration(text: &str) -> Result<Duration, String> {
    const MEND: &str = "write a whole number with a unit, for example 500ms, 30s, 2m or 1h";
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(MEND)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| MEND)?;
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(MEND.to_owned()),
    };
    number.checked_mul(millis_per_unit).map(Duration::from_millis).ok_or_else(|| MEND.to_owned())
}

#[cfg(test)]
mod tests;
