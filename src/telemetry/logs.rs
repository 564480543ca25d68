//! Logs: for people on a terminal, JSON lines otherwise (design.md §6), with a level that can be changed at run time.
//!
//! They go to standard error, so that what a command prints on standard output stays machine readable. The libraries under
//! us (HTTP/2 frames, TLS records) speak at `warn` only, at any level, unless the filter names them.

use std::{
    fmt,
    io::IsTerminal,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, registry::LookupSpan, reload};

/// What applies when neither `--log-level` nor `RUST_LOG` says anything.
pub const DEFAULT_LEVEL: &str = "info";

/// No longer filter is taken at run time: the parser's work and the answer stay small.
pub const FILTER_MAX: usize = 1024;

/// Libraries whose `info` and `debug` are about single frames and records; the watcher of Kubernetes' objects warns at each attempt of
/// what `base::object` says once. A later directive for the same target wins.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,rustls=warn,tonic=warn,tower=warn,opentelemetry=warn,\
                     opentelemetry_sdk=warn,opentelemetry_otlp=warn,notify=warn,kube_client=warn,kube_runtime=error";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `text` on a terminal, `json` otherwise.
    #[default]
    Auto,
    /// One readable line for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

/// What the command line says about logs.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// `--log-format`
    pub format: Format,
    /// `--log-level`: a level, or directives as in `RUST_LOG`; it wins over `RUST_LOG`.
    pub level: Option<String>,
}

/// Logs that are set up but not installed.
pub(super) struct Logs {
    json: bool,
    filter: Mutex<Option<EnvFilter>>,
    level: LevelHandle,
    complaint: Option<String>,
}

impl Logs {
    /// Reads the options; `rust_log` is the value of `RUST_LOG`.
    ///
    /// # Errors
    /// A sentence when `--log-level` makes no sense. A bad `RUST_LOG` is only a complaint.
    pub(super) fn new(options: &LogOptions, rust_log: Option<&str>) -> Result<Self, String> {
        let (filter, complaint) = match (&options.level, rust_log) {
            (Some(level), _) => (read_filter(level)?, None),
            (None, Some(directives)) => match EnvFilter::builder().parse(with_quiet(directives)) {
                Ok(filter) => (filter, None),
                Err(error) => (
                    read_filter(DEFAULT_LEVEL)?,
                    Some(format!("RUST_LOG is not a log filter ({error}); the level {DEFAULT_LEVEL} applies")),
                ),
            },
            (None, None) => (read_filter(DEFAULT_LEVEL)?, None),
        };
        let json = match options.format {
            Format::Auto => !std::io::stderr().is_terminal(),
            Format::Text => false,
            Format::Json => true,
        };
        Ok(Self { json, filter: Mutex::new(Some(filter)), level: LevelHandle::detached(), complaint })
    }

    /// The layer that writes, with the filter in front of it. The level handle acts on the layer made last.
    pub(super) fn layer<S, W>(&self, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
        W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
    {
        let filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let (filter, handle) = reload::Layer::new(filter);
        self.level.attach(move |filter| {
            handle.reload(filter).map_err(|error| format!("the log filter cannot be changed now: {error}"))
        });
        let lines = tracing_subscriber::fmt::layer().with_writer(writer);
        if self.json {
            lines.json().flatten_event(true).with_span_list(false).with_ansi(false).with_filter(filter).boxed()
        } else {
            lines.with_ansi(ansi).with_filter(filter).boxed()
        }
    }

    /// Changes the level later.
    pub(super) fn level(&self) -> LevelHandle {
        self.level.clone()
    }

    /// What was wrong but not wrong enough to refuse.
    pub(super) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }
}

/// Whether colours are wanted: on a terminal, and not when `NO_COLOR` is set (no-color.org).
pub(super) fn ansi_wanted(env: &dyn Fn(&str) -> Option<String>) -> bool {
    std::io::stderr().is_terminal() && env("NO_COLOR").is_none()
}

type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Changes the log filter at run time; cheap to clone.
#[derive(Clone)]
pub struct LevelHandle(Arc<Mutex<Option<Apply>>>);

impl LevelHandle {
    /// A handle without a log behind it: it checks what it is given and changes nothing. For tests and for commands that
    /// do not log.
    pub fn detached() -> Self {
        Self(Arc::default())
    }

    /// Sets the filter: a level (`debug`) or directives (`info,onvif_uplink::transport=trace`).
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text; the old filter stays.
    pub fn set(&self, text: &str) -> Result<(), String> {
        let filter = read_filter(text)?;
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(apply) => apply(filter),
            None => Ok(()),
        }
    }

    fn attach(&self, apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(apply));
    }
}

impl fmt::Debug for LevelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LevelHandle")
    }
}

fn with_quiet(directives: &str) -> String {
    format!("{QUIET},{directives}")
}

/// Reads a filter strictly: a bare word must be a level. The library would take a mistyped `inof` for the name of a module
/// and log nothing else.
fn read_filter(text: &str) -> Result<EnvFilter, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > FILTER_MAX {
        return Err(format!("a log level has 1 to {FILTER_MAX} characters; write one of {}", LEVELS.join(", ")));
    }
    for directive in text.split(',').map(str::trim) {
        let is_bare = !directive.contains(['=', '[', '{']);
        if is_bare && !LEVELS.iter().any(|level| directive.eq_ignore_ascii_case(level)) {
            return Err(format!(
                "`{}` is no log level; write one of {}, or MODULE=LEVEL",
                directive.escape_default(),
                LEVELS.join(", ")
            ));
        }
    }
    EnvFilter::builder()
        .parse(with_quiet(text))
        .map_err(|error| format!("`{}` is not a log filter: {error}", text.escape_default()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("one thread").clone()).expect("UTF-8")
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn options(format: Format, level: Option<&str>) -> LogOptions {
        LogOptions { format, level: level.map(str::to_owned) }
    }

    fn logged(logs: &Logs, ansi: bool, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = logs.layer(ansi, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        lines.text()
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields_and_its_span() {
        let logs = Logs::new(&options(Format::Json, None), None).expect("valid");
        let text = logged(&logs, true, || {
            let _span = tracing::info_span!("session", device = "camera-1").entered();
            tracing::info!(attempt = 2, "connected");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).expect("one JSON object");
        assert_eq!(line["message"], "connected");
        assert_eq!(line["attempt"], 2);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["span"]["device"], "camera-1");
    }

    #[test]
    fn a_text_line_has_colours_only_when_asked() {
        let line = |ansi| {
            let logs = Logs::new(&options(Format::Text, None), None).expect("valid");
            logged(&logs, ansi, || tracing::info!("connected"))
        };
        assert!(line(true).contains('\u{1b}'));
        assert!(!line(false).contains('\u{1b}'));
        assert!(line(false).contains("INFO"), "{}", line(false));
    }

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let events = || {
            tracing::debug!(target: "h2::codec", "frame");
            tracing::debug!("own");
        };
        let logs = Logs::new(&options(Format::Text, Some("debug")), None).expect("valid");
        let text = logged(&logs, false, events);
        assert!(text.contains("own") && !text.contains("frame"), "{text}");
        let logs = Logs::new(&options(Format::Text, Some("debug,h2=debug")), None).expect("valid");
        assert!(logged(&logs, false, events).contains("frame"));
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_a_bad_environment_is_only_a_complaint() {
        let logs = Logs::new(&options(Format::Text, Some("error")), Some("trace")).expect("valid");
        assert_eq!(logged(&logs, false, || tracing::warn!("quiet")), "");
        let logs = Logs::new(&options(Format::Text, None), Some("debug")).expect("valid");
        assert!(logged(&logs, false, || tracing::debug!("heard")).contains("heard"));
        let logs = Logs::new(&options(Format::Text, None), Some("a=b=c")).expect("goes on");
        assert!(logs.complaint().expect("complains").contains("RUST_LOG"));
    }

    #[test]
    fn the_level_changes_at_run_time() {
        let logs = Logs::new(&options(Format::Text, Some("info")), None).expect("valid");
        let level = logs.level();
        let text = logged(&logs, false, || {
            tracing::debug!("before");
            level.set("debug").expect("a level");
            tracing::debug!("after");
        });
        assert!(text.contains("after") && !text.contains("before"), "{text}");
    }

    #[test]
    fn a_mistyped_level_is_refused_with_the_mend() {
        for text in ["inof", "", "info,,", "loud", &"x".repeat(FILTER_MAX + 1), "onvif_uplink=loud"] {
            assert!(LevelHandle::detached().set(text).is_err(), "{text}");
        }
        assert!(LevelHandle::detached().set("inof").expect_err("typo").contains("trace"));
        assert!(LevelHandle::detached().set("warn,onvif_uplink::transport=TRACE").is_ok());
    }
}
