//! Arguments around the life of the process in a pod or container: readiness, drain, grace period and the health probe.

use std::time::Duration;

use clap::{ArgAction, Args, builder::BoolishValueParser};

use super::{GRACE_MAX, grace_period};

/// The grace period when nobody says anything.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// So much of the pod's termination grace period is left for what comes after the drain.
const TERMINATION_MARGIN_SECONDS: u64 = 5;
/// A termination grace period that is not longer has no margin to give.
const TERMINATION_SHORT_SECONDS: u64 = 10;

/// How long open streams may go on after a stop.
#[derive(Clone, Debug, Args)]
pub struct Grace {
    /// How long open streams may go on after a stop, for example 30s, 2m or 500ms [default: 30s, or what TERMINATION_GRACE_PERIOD_SECONDS says, less 5 s if that is above 10]
    #[arg(long, env = "ONVIF_UPLINK_GRACE_PERIOD", value_name = "DURATION", value_parser = grace_period)]
    pub grace_period: Option<Duration>,
    /// The pod's terminationGracePeriodSeconds; Kubernetes cannot tell it by itself
    #[arg(
        id = "termination_grace_period_seconds",
        env = "TERMINATION_GRACE_PERIOD_SECONDS",
        value_name = "SECONDS",
        hide = true,
        long = "termination-grace-period-seconds"
    )]
    pub termination: Option<u64>,
}

impl Grace {
    /// The period in force: the flag or its twin wins, then what the pod's own period leaves, then [`GRACE_DEFAULT`].
    pub fn period(&self) -> Duration {
        let of_pod = |seconds: u64| {
            let margin = if seconds > TERMINATION_SHORT_SECONDS { TERMINATION_MARGIN_SECONDS } else { 0 };
            Duration::from_secs(seconds - margin).min(GRACE_MAX)
        };
        self.grace_period.or_else(|| self.termination.map(of_pod)).unwrap_or(GRACE_DEFAULT)
    }
}

/// When the sidecar counts as ready, and who may make it drain.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Lifecycle {
    /// Ready only while at least one uplink is Online; without it readiness does not depend on uplinks
    #[arg(long, env = "ONVIF_UPLINK_READY_REQUIRES_UPLINK", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub ready_requires_uplink: bool,
    /// Serve /drain on the admin listener for a preStop hook; whoever reaches the listener can then end all uplinks
    #[arg(long, env = "ONVIF_UPLINK_DRAIN_ENDPOINT", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub drain_endpoint: bool,
}

/// `onvif-uplink healthcheck`
#[derive(Clone, Debug, Args)]
pub struct Healthcheck {
    /// Admin address of the process, HOST:PORT; 0.0.0.0 and [::] stand for this machine
    #[arg(long, env = "ONVIF_UPLINK_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:9600")]
    pub admin: String,
    /// Ask /readyz instead of /livez
    #[arg(long, env = "ONVIF_UPLINK_READY", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub ready: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(grace_period: Option<u64>, termination: Option<u64>) -> u64 {
        Grace { grace_period: grace_period.map(Duration::from_secs), termination }.period().as_secs()
    }

    #[test]
    fn the_flag_wins_over_the_pods_period_of_which_five_seconds_are_left() {
        assert_eq!(period(None, None), 30);
        assert_eq!(period(Some(7), Some(60)), 7);
        assert_eq!(period(None, Some(60)), 55);
        assert_eq!(period(None, Some(11)), 6);
    }

    #[test]
    fn a_short_period_of_the_pod_is_taken_whole_and_a_long_one_is_bounded() {
        assert_eq!(period(None, Some(10)), 10);
        assert_eq!(period(None, Some(0)), 0);
        assert_eq!(period(None, Some(u64::MAX)), GRACE_MAX.as_secs());
    }
}
