//! Process entry: arguments, tracing, runtime, signals, exit codes. The only place that exits or prints.
//!
//! The control plane runs on this thread; what carries bytes has shards of its own. SIGHUP makes the sidecar look at its
//! configuration now.

#![allow(clippy::print_stdout, clippy::print_stderr)] // the one place that talks to whoever started us

use std::{
    future::Future,
    io::{self, Write},
    num::NonZeroU32,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use onvif_uplink::{
    admin::{self, Admin, AdminState, Readiness},
    app::{self, App, Outcome, probe},
    base::{drain::drain, stops::Stops},
    cli::{self, Command},
    demo::{
        self, Demo,
        camera::{Camera, credentials, guard, rtsp},
    },
    gateway::{
        self, Gateway,
        connect::{self, Way},
        fetch::{self, Fetch},
    },
    telemetry::{Telemetry, logs::LevelHandle, metrics::Metrics},
    tls::server::IdentityField,
};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

/// What is still under way after the main future (a blocking file read) may take this long to end.
const RUNTIME_STOP: Duration = Duration::from_secs(1);

/// Threads for file reads and the emulator's pictures; see `base::shard` for why so few.
const BLOCKING_THREADS: usize = 8;

/// Exit code and, if something is to be said on standard error, the sentence.
type Ended = Result<u8, (u8, String)>;

fn main() -> ExitCode {
    let parsed = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Nothing can be done when the terminal is gone; the code still tells.
            let _ = error.print();
            return ExitCode::from(cli::exit_code(&error));
        }
    };
    let ended = match parsed.command {
        Command::Check(arguments) if arguments.connect => block_on(check_connections(&arguments)),
        Command::Check(arguments) => check(&arguments),
        Command::Status(arguments) => block_on(status(&arguments)),
        Command::Healthcheck(arguments) => block_on(healthcheck(&arguments)),
        Command::Run(arguments) => {
            block_on(logged(&arguments.logging.options(), |telemetry| run(&arguments, telemetry)))
        }
        Command::Gateway(arguments) => {
            block_on(logged(&arguments.logging.options(), |telemetry| run_gateway(&arguments, telemetry)))
        }
        Command::Connect(arguments) => {
            block_on(logged(&arguments.logging.options(), |_| async move { run_connect(arguments).await }))
        }
        Command::Fetch(arguments) => block_on(run_fetch(arguments)),
        Command::Camera(arguments) => block_on(logged(&arguments.logging.options(), |_| run_camera(&arguments))),
        Command::Demo(arguments) => {
            block_on(logged(&arguments.demo_log(), |telemetry| run_demo(&arguments, telemetry)))
        }
    };
    ExitCode::from(ended.unwrap_or_else(|(code, sentence)| {
        eprintln!("onvif-uplink: {sentence}");
        code
    }))
}

/// Prints a line for whoever started us. A reader that has gone away (`| head`) is no error.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn block_on(future: impl Future<Output = Ended>) -> Ended {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(internal)?;
    let ended = runtime.block_on(future);
    runtime.shutdown_timeout(RUNTIME_STOP);
    ended
}

fn internal(error: impl ToString) -> (u8, String) {
    (cli::EXIT_INTERNAL, error.to_string())
}

fn usage(sentence: String) -> (u8, String) {
    (cli::EXIT_USAGE, sentence)
}

/// Logs and traces around a command that runs on.
async fn logged<F: Future<Output = Ended>>(
    options: &onvif_uplink::telemetry::logs::LogOptions,
    command: impl FnOnce(TelemetryView) -> F,
) -> Ended {
    let telemetry = Telemetry::start(options).map_err(|sentence| (cli::EXIT_USAGE, sentence))?;
    let ended = command(TelemetryView { level: telemetry.level(), traces: telemetry.exports_traces() }).await;
    telemetry.shutdown().await;
    ended
}

/// What the commands need of telemetry.
struct TelemetryView {
    level: LevelHandle,
    traces: bool,
}

fn check(arguments: &cli::Check) -> Ended {
    if arguments.print_schema {
        say(&format!("{:#}", app::schema()));
        return Ok(cli::EXIT_OK);
    }
    let Some(file) = &arguments.file else { return Err((cli::EXIT_USAGE, "which file?".to_owned())) };
    match app::check(file, &arguments.secrets_dir) {
        Ok(uplinks) => {
            say(&format!("{}: good, {uplinks} uplink(s)", file.display()));
            Ok(cli::EXIT_OK)
        }
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            Ok(cli::EXIT_CONFIG)
        }
    }
}

/// Tables as they come, or one JSON array at the end.
async fn check_connections(arguments: &cli::Check) -> Ended {
    let Some(file) = &arguments.file else { return Err((cli::EXIT_USAGE, "which file?".to_owned())) };
    let proxies = app::Proxies::from_environment(arguments.proxy_credentials_file.clone());
    let mut walks = Vec::new();
    let walked = probe::connect(file, &arguments.secrets_dir, proxies, |walk| {
        if arguments.json {
            walks.push(walk.clone());
        } else {
            say(&walk.text());
        }
    })
    .await;
    match walked {
        Ok(all_came_up) => {
            if arguments.json {
                say(&serde_json::to_string_pretty(&walks).map_err(internal)?);
            }
            Ok(if all_came_up { cli::EXIT_OK } else { cli::EXIT_UNAVAILABLE })
        }
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            Ok(cli::EXIT_CONFIG)
        }
    }
}

async fn status(arguments: &cli::Status) -> Ended {
    let answer = admin::ask::status(&arguments.admin, arguments.json).await.map_err(internal)?;
    say(answer.trim_end());
    Ok(cli::EXIT_OK)
}

async fn healthcheck(arguments: &cli::Healthcheck) -> Ended {
    let page = if arguments.ready { admin::ask::READY } else { admin::ask::ALIVE };
    match admin::ask::health(&arguments.admin, page).await.map_err(internal)? {
        Ok(verdict) => {
            say(verdict.trim_end());
            Ok(cli::EXIT_OK)
        }
        Err(sentence) => Err((cli::EXIT_UNAVAILABLE, sentence)),
    }
}

async fn run(arguments: &cli::Run, telemetry: TelemetryView) -> Ended {
    let origin = match (&arguments.config, &arguments.configmap) {
        (_, Some(at)) => app::Origin::ConfigMap(at.clone()),
        (Some(file), None) => app::Origin::File(file.clone()),
        (None, None) => return Err((cli::EXIT_USAGE, "which configuration?".to_owned())),
    };
    let (stops, mut hangup) = (Stops::listen().map_err(internal)?, signal(SignalKind::hangup()).map_err(internal)?);
    let app = App::build(app::Options {
        proxies: app::Proxies::from_environment(arguments.proxy_credentials_file.clone()),
        config: origin.clone(),
        secrets: app::SecretsOrigin {
            dir: arguments.secrets_dir.clone(),
            namespace: arguments.secrets_namespace().map(str::to_owned),
        },
        cluster: app::Cluster::default(),
        admin: arguments.admin,
        onvif: arguments.onvif,
        grace: arguments.grace.period(),
        ready_requires_uplink: arguments.lifecycle.ready_requires_uplink,
        drain_endpoint: arguments.lifecycle.drain_endpoint,
        visible: app::Visible {
            events: arguments.events().map_err(usage)?,
            status: arguments.status_targets().map_err(usage)?,
        },
        write_back: arguments.visible.write_back,
        threads: arguments.threads,
        exit_on_invalid: arguments.exit_on_invalid,
        trace_requests: telemetry.traces,
        level: telemetry.level,
    })
    .await
    .map_err(internal)?;
    tracing::info!(config = %origin, admin = %app.admin_addr(), "sidecar started");
    if let Some(onvif) = app.onvif_addr() {
        tracing::info!(%onvif, "the uplink configuration service listens for local tools");
    }
    let reload_now = app.reload_now();
    let hangups = async {
        while hangup.recv().await.is_some() {
            // A full channel means that it is about to look anyway.
            let _ = reload_now.try_send(());
        }
        std::future::pending().await
    };
    let outcome = stops
        .end(arguments.grace.period(), |drain| async {
            tokio::select! { outcome = app.run(drain) => outcome, never = hangups => never }
        })
        .await;
    tracing::info!("sidecar stopped");
    match outcome {
        Outcome::Stopped => Ok(cli::EXIT_OK),
        Outcome::ConfigurationUnusable => Err((cli::EXIT_CONFIG, "the configuration is unusable".to_owned())),
    }
}

async fn run_gateway(arguments: &cli::Gateway, telemetry: TelemetryView) -> Ended {
    let stops = Stops::listen().map_err(internal)?;
    let gateway = Gateway::build(gateway::Options {
        listen: arguments.listen,
        cert: arguments.cert.clone(),
        key: arguments.key.clone(),
        client_ca: arguments.client_ca.clone(),
        tokens: arguments.token_jwks.clone().map(|jwks| gateway::TokenOptions {
            jwks,
            jwks_ca: arguments.token_jwks_ca.clone(),
            issuer: arguments.token_issuer.clone().unwrap_or_default(),
            audience: arguments.token_audience.clone().unwrap_or_default(),
            claim: arguments.token_claim.clone(),
            proxies: app::Proxies::from_environment(None),
        }),
        max_upgrades: NonZeroU32::new(arguments.max_upgrades_per_second),
        identity: match arguments.identity {
            cli::Identity::Cn => IdentityField::CommonName,
            cli::Identity::Serial => IdentityField::SerialNumber,
        },
        front: arguments.front,
        front_domain: arguments.front_domain.clone(),
        front_token_file: arguments.front_token_file.clone(),
        front_open: arguments.front_open,
        rtsp: arguments.rtsp,
        threads: arguments.threads,
    })
    .map_err(internal)?;
    let mut metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    gateway.register(metrics.product());
    let readiness = Readiness::new();
    let state = AdminState {
        readiness: readiness.clone(),
        metrics: Arc::new(metrics),
        status: gateway.status(),
        level: telemetry.level,
        lifecycle: None,
    };
    let admin = Admin::bind(arguments.admin, Arc::new(state)).await.map_err(internal)?;
    let rtsp = gateway.rtsp_address().map(tracing::field::display);
    tracing::info!(listen = %gateway.listen_address(), rtsp, front = %gateway.front_address(), admin = %admin.local_addr(), "gateway started");
    let (admin_switch, admin_drain) = drain();
    let served = stops
        .end(arguments.grace.period(), |stop| async {
            let work = async {
                let served = gateway.run(stop).await;
                admin_switch.start(RUNTIME_STOP);
                served
            };
            tokio::join!(work, admin.run(admin_drain)).0
        })
        .await;
    tracing::info!("gateway stopped");
    served.map(|()| cli::EXIT_OK).map_err(internal)
}

async fn run_connect(arguments: cli::Connect) -> Ended {
    let stops = Stops::listen().map_err(internal)?;
    let way = Way::new(connect::Options {
        device: arguments.device,
        port: arguments.port,
        gateway: arguments.gateway,
        gateway_ca: arguments.front.gateway_ca,
        token_file: arguments.front.token_file,
        proxies: app::Proxies::from_environment(None),
    })
    .map_err(|sentence| (cli::EXIT_USAGE, sentence))?;
    let unavailable = |sentence| (cli::EXIT_UNAVAILABLE, sentence);
    match arguments.listen {
        None => stops.end(RUNTIME_STOP, |stop| way.stdio(stop)).await.map_err(unavailable)?,
        Some(address) => {
            let listener = way.bind(address).await.map_err(unavailable)?;
            say(&format!("{} listens on {}", way.target(), listener.local_addr().map_err(internal)?));
            stops.end(RUNTIME_STOP, |stop| way.listen(listener, stop)).await;
        }
    }
    Ok(cli::EXIT_OK)
}

async fn run_fetch(arguments: cli::Fetch) -> Ended {
    let fetch = Fetch::new(fetch::Options {
        url: arguments.url,
        gateway_ca: arguments.front.gateway_ca,
        token_file: arguments.front.token_file,
        proxies: app::Proxies::from_environment(None),
        output: arguments.output,
        wait: arguments.wait,
        timeout: arguments.timeout,
    })
    .map_err(usage)?;
    let fetched = fetch.run().await.map_err(|sentence| (cli::EXIT_UNAVAILABLE, sentence))?;
    if fetched.is_on_standard_output {
        eprintln!("{fetched}")
    } else {
        say(&fetched.to_string())
    }
    Ok(cli::EXIT_OK)
}

async fn run_camera(arguments: &cli::Camera) -> Ended {
    let stops = Stops::listen().map_err(internal)?;
    let mut camera =
        Camera::bind(arguments.http).await.map_err(|error| internal(format!("{}: {error}", arguments.http)))?;
    if let Some(authority) = &arguments.advertise {
        camera = camera.advertising(authority.clone());
    }
    if let Some(file) = &arguments.credentials_file {
        let account = credentials::read(file).map_err(|sentence| (cli::EXIT_USAGE, sentence))?;
        let scheme = match arguments.auth {
            cli::CameraAuth::Digest => guard::Scheme::Digest,
            cli::CameraAuth::DigestSha256 => guard::Scheme::DigestSha256,
            cli::CameraAuth::Basic => guard::Scheme::Basic,
            cli::CameraAuth::Wsse => guard::Scheme::UsernameToken,
        };
        camera = camera.guarded(guard::Options { account, scheme, lock_out: arguments.lock_out });
    }
    camera = camera.with_clock_skew(arguments.clock_skew);
    if let Some(listen) = arguments.rtsp {
        let file = arguments.rtsp_credentials_file.as_deref();
        let credentials = file.map(credentials::read).transpose().map_err(|sentence| (cli::EXIT_USAGE, sentence))?;
        let options = rtsp::Options { listen, tunnel: arguments.rtsp_tunnel, credentials };
        camera = camera.with_rtsp(options).await.map_err(|error| internal(format!("{listen}: {error}")))?;
    }
    let rtsp = camera.rtsp_addr().map(tracing::field::display);
    tracing::info!(http = %camera.http_addr(), rtsp, "camera emulator started");
    stops.end(RUNTIME_STOP, |drain| camera.run(drain)).await;
    Ok(cli::EXIT_OK)
}

async fn run_demo(arguments: &cli::Demo, telemetry: TelemetryView) -> Ended {
    let stops = Stops::listen().map_err(internal)?;
    let dir = arguments.dir.clone().unwrap_or_else(|| std::env::temp_dir().join("onvif-uplink-demo"));
    let options = demo::Options { dir, front: arguments.front, rtsp: arguments.rtsp, level: telemetry.level };
    let demo = Demo::build(options).await.map_err(internal)?;
    say(&demo.welcome());
    let ran = stops.end(RUNTIME_STOP, |drain| demo.run(drain, say)).await;
    ran.map(|()| cli::EXIT_OK).map_err(internal)
}
