//! The command line is a promise to scripts: every name, default and exit code of design.md §6.

use super::*;

fn read(line: &str) -> Result<Cli, clap::Error> {
    parse(std::iter::once("onvif-uplink").chain(line.split_whitespace()))
}

fn refused(line: &str) -> (u8, String) {
    let error = read(line).expect_err(line);
    (exit_code(&error), error.to_string())
}

const GATEWAY: &str = "gateway --listen 0.0.0.0:8443 --cert c --key k --client-ca a --front";

#[test]
fn every_flag_has_its_twin_in_the_environment() {
    let mut command = Cli::command();
    command.build();
    command.clone().debug_assert();
    let mut flags = 0;
    for sub in command.get_subcommands() {
        for argument in
            sub.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        {
            let Some(long) = argument.get_long() else { continue };
            // Its environment variable is a convention of pods; the flag is only there because clap wants a name for it.
            if long == "termination-grace-period-seconds" {
                continue;
            }
            let twin = format!("ONVIF_UPLINK_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(
                argument.get_env().and_then(|name| name.to_str()),
                Some(twin.as_str()),
                "{} --{long}",
                sub.get_name()
            );
            assert!(argument.get_help().is_some(), "{} --{long} has no help", sub.get_name());
            flags += 1;
        }
    }
    assert!(flags > 25, "{flags}");
}

#[test]
fn the_sidecar_has_the_promised_defaults() {
    let Command::Run(run) = read("run --config u.yaml").expect("valid").command else { panic!("run") };
    assert_eq!((run.config, run.configmap), (Some(PathBuf::from("u.yaml")), None));
    assert_eq!((run.secrets_dir.to_str(), run.secrets), (Some("/etc/onvif-uplink/secrets"), Secrets::Mounted));
    assert_eq!((run.admin.to_string().as_str(), run.grace.period()), ("127.0.0.1:9600", Duration::from_secs(30)));
    assert_eq!((run.threads.get(), run.exit_on_invalid, run.logging.log_format), (1, false, Format::Auto));
    assert!(
        !run.lifecycle.drain_endpoint && !run.lifecycle.ready_requires_uplink,
        "readiness depends on nobody, strangers drain nothing"
    );
    assert_eq!(run.onvif, None, "nothing listens for local tools unless it is asked for");
}

#[test]
fn the_sidecar_has_exactly_one_origin_of_its_configuration() {
    for line in
        ["run", "run --config u --configmap a/b", "run --configmap a", "run --configmap a/b/..", "run --secrets all"]
    {
        assert_eq!(refused(line).0, EXIT_USAGE, "{line}");
    }
    assert!(refused("run --configmap Cams/b").1.contains("no namespace"));
    let neither = refused("run").1;
    assert!(neither.contains("--config <FILE>") && neither.contains("--configmap"), "{neither}");
}

#[cfg(feature = "kubernetes")]
#[test]
fn the_sidecar_can_follow_a_configmap_and_secrets_over_the_api() {
    let Command::Run(run) = read("run --configmap cams/uplinks/u.yaml").expect("valid").command else { panic!("run") };
    assert_eq!(run.configmap.as_ref().map(ToString::to_string).as_deref(), Some("cams/uplinks/u.yaml"));
    assert_eq!(run.secrets_namespace(), None, "Secrets are mounted unless the API is asked for");
    let line = "run --configmap cams/uplinks --secrets api --secrets-dir /run/s";
    let Command::Run(mut run) = read(line).expect("valid").command else { panic!("run") };
    assert_eq!((run.secrets_namespace(), run.secrets_dir.to_str()), (Some("cams"), Some("/run/s")));
    (run.configmap, run.pod_namespace) = (None, None);
    assert!(run.check().expect_err("no namespace").contains("POD_NAMESPACE"));
    run.pod_namespace = Some("Cams".to_owned());
    assert!(run.check().expect_err("no such namespace").contains("no namespace"));
}

#[cfg(not(feature = "kubernetes"))]
#[test]
fn a_program_without_the_api_says_so() {
    for line in ["run --configmap cams/uplinks", "run --config u --secrets api"] {
        let (code, sentence) = refused(line);
        assert!(code == EXIT_USAGE && sentence.contains("without the feature `kubernetes`"), "{sentence}");
    }
}

#[test]
fn all_flags_of_the_sidecar_are_read() {
    let line = "run --config u --admin [::]:1 --onvif 127.0.0.1:8899 --grace-period 2m --threads 4 --exit-on-invalid --log-format json --log-level debug";
    let Command::Run(run) = read(line).expect("valid").command else { panic!("run") };
    assert_eq!((run.admin.to_string().as_str(), run.grace.period()), ("[::]:1", Duration::from_secs(120)));
    assert_eq!((run.threads.get(), run.exit_on_invalid), (4, true));
    assert_eq!(run.onvif.map(|onvif| onvif.to_string()).as_deref(), Some("127.0.0.1:8899"));
    let options = run.logging.options();
    assert_eq!((options.format, options.level.as_deref()), (Format::Json, Some("debug")));
}

#[test]
fn the_gateway_has_the_promised_defaults() {
    let Command::Gateway(gateway) = read(&format!("{GATEWAY} 127.0.0.1:8800")).expect("valid").command else {
        panic!("gateway")
    };
    assert_eq!((gateway.admin.to_string().as_str(), gateway.identity), ("127.0.0.1:9601", Identity::Cn));
    assert_eq!((gateway.front_domain, gateway.front_token_file, gateway.front_open), (None, None, false));
}

#[test]
fn a_front_for_strangers_must_be_meant() {
    let (code, sentence) = refused(&format!("{GATEWAY} 0.0.0.0:8800"));
    assert!(code == EXIT_USAGE && sentence.contains("--front-token-file"), "{sentence}");
    assert!(read(&format!("{GATEWAY} 0.0.0.0:8800 --front-open")).is_ok());
    assert!(read(&format!("{GATEWAY} 0.0.0.0:8800 --front-token-file t --identity serial")).is_ok());
    assert_eq!(refused(&format!("{GATEWAY} 0.0.0.0:8800 --front-token-file t --front-open")).0, EXIT_USAGE);
}

#[test]
fn a_listener_of_rtsp_for_strangers_must_be_meant_too() {
    let Command::Gateway(gateway) =
        read(&format!("{GATEWAY} 127.0.0.1:8800 --rtsp [::1]:8554")).expect("valid").command
    else {
        panic!("gateway")
    };
    assert_eq!(gateway.rtsp, Some("[::1]:8554".parse().expect("address")));
    let (code, sentence) = refused(&format!("{GATEWAY} 127.0.0.1:8800 --rtsp 0.0.0.0:8554"));
    assert!(code == EXIT_USAGE && sentence.contains("0.0.0.0:8554"), "{sentence}");
    assert!(read(&format!("{GATEWAY} 127.0.0.1:8800 --rtsp 0.0.0.0:8554 --front-token-file t")).is_ok());
}

#[test]
fn connect_takes_a_device_and_a_port_and_listens_on_loopback_only() {
    let Command::Connect(connect) = read("connect camera-1 22").expect("valid").command else { panic!("connect") };
    assert_eq!((connect.device.as_str(), connect.port, connect.listen), ("camera-1", 22, None));
    assert_eq!(connect.gateway.as_str(), "http://127.0.0.1:8800/");
    let line = "connect c 554 --gateway https://gw:1 --gateway-ca ca --token-file t --listen [::1]:0";
    let Command::Connect(connect) = read(line).expect("valid").command else { panic!("connect") };
    assert_eq!(
        (connect.gateway.as_str(), connect.front.gateway_ca, connect.front.token_file),
        ("https://gw:1/", Some("ca".into()), Some("t".into()))
    );
    for line in [
        "connect",
        "connect c",
        "connect c 0",
        "connect c 65536",
        "connect c 22 --gateway gw",
        "connect c 22 --listen 0.0.0.0:1",
    ] {
        assert_eq!(refused(line).0, EXIT_USAGE, "{line}");
    }
    assert!(refused("connect c 22 --listen 192.0.2.1:1").1.contains("loopback"));
}

#[test]
fn the_other_commands_are_read() {
    for line in [
        "check u.yaml",
        "check --print-schema",
        "status",
        "status --admin localhost:9600 --json",
        "healthcheck",
        "healthcheck --admin 0.0.0.0:9600 --ready",
        "camera --http 127.0.0.1:8080",
        "camera --http 127.0.0.1:8080 --advertise 192.168.1.10",
        "camera --http 127.0.0.1:8080 --advertise [fd00::1]:81",
        "camera --http 127.0.0.1:8080 --rtsp 127.0.0.1:8554 --rtsp-tunnel --rtsp-credentials-file f",
        "demo",
        "demo --dir d --front 127.0.0.1:0 --rtsp 127.0.0.1:0",
    ] {
        assert!(read(line).is_ok(), "{line}");
    }
    let Command::Demo(demo) = read("demo").expect("valid").command else { panic!("demo") };
    assert_eq!((demo.front.to_string().as_str(), demo.rtsp.to_string().as_str()), ("127.0.0.1:8800", "127.0.0.1:8554"));
}

#[test]
fn wrong_arguments_end_with_64_and_help_with_0() {
    for line in [
        "",
        "run",
        "fly",
        "run --config u --threads 0",
        "run --config u --threads 257",
        "check",
        "camera",
        "camera --http 127.0.0.1:8080 --rtsp-tunnel",
        "camera --http 127.0.0.1:8080 --advertise http://192.168.1.10/",
        "camera --http 127.0.0.1:8080 --advertise admin@camera",
        "run --config u --admin here",
        "run --config u --termination-grace-period-seconds 30s",
        "run --config u --onvif here",
    ] {
        assert_eq!(refused(line).0, EXIT_USAGE, "{line}");
    }
    for line in [
        "--help",
        "--version",
        "run --help",
        "gateway --help",
        "check --help",
        "status --help",
        "healthcheck --help",
        "connect --help",
        "camera --help",
        "demo --help",
    ] {
        assert_eq!(refused(line).0, EXIT_OK, "{line}");
    }
    assert!(refused("run --help").1.contains("ONVIF_UPLINK_GRACE_PERIOD"));
}

#[test]
fn what_follows_the_flags_in_a_help_fits_a_terminal_of_80_columns() {
    let mut command = Cli::command();
    command.build();
    let helps = std::iter::once(&command).chain(command.get_subcommands());
    let notes: Vec<_> = helps.filter_map(|command| command.get_after_help()).map(ToString::to_string).collect();
    assert_eq!(notes.len(), 1 + command.get_subcommands().count());
    for line in notes.iter().flat_map(|note| note.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn durations_have_a_number_a_unit_and_a_bound() {
    assert_eq!(grace_period("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(grace_period("0s"), Ok(Duration::ZERO));
    assert_eq!(grace_period("1h"), Ok(GRACE_MAX));
    for text in ["", "30", "s", "1.5s", "-1s", "30 s", "3601s", "1d", "99999999999999999999s", "18446744073709551615h"]
    {
        assert!(grace_period(text).is_err(), "{text}");
    }
}
