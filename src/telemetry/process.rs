//! What the operating system knows about this process, read from /proc at each scrape: memory, descriptors, threads, CPU
//! time and start. The names are Prometheus' own for processes, so that existing dashboards work.
//!
//! Where /proc is missing or reads differently a metric is left out: no number is better than a wrong one.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Ticks of /proc/self/stat per second: USER_HZ, fixed at 100 in Linux' interface to user space on every architecture
/// that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads /proc at each scrape.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            let metric = ConstCounter::new(seconds);
            let help = "User and system CPU time spent.";
            metric.encode(encoder.encode_descriptor(
                "process_cpu",
                help,
                Some(&Unit::Seconds),
                metric_type(&metric),
            )?)?;
        }
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|stat| field(&stat, "btime"));
        let started = boot.zip(start_ticks(&stat)).map(|(boot, ticks)| boot as f64 + ticks / TICKS_PER_SECOND);
        let gauges: [(&str, &str, Option<Unit>, Option<f64>); 5] = [
            ("process_start_time", "Start of the process since the Unix epoch.", Some(Unit::Seconds), started),
            ("process_resident_memory", "Resident memory.", Some(Unit::Bytes), resident_bytes(&status)),
            ("process_open_fds", "Open file descriptors.", None, open_descriptors()),
            ("process_max_fds", "File descriptors that may be open.", None, max_descriptors()),
            ("process_threads", "Threads.", None, field(&status, "Threads:").map(|count| count as f64)),
        ];
        for (name, help, unit, value) in gauges {
            if let Some(value) = value {
                let metric = ConstGauge::new(value);
                metric.encode(encoder.encode_descriptor(name, help, unit.as_ref(), metric_type(&metric))?)?;
            }
        }
        Ok(())
    }
}

fn metric_type(metric: &impl EncodeMetric) -> prometheus_client::metrics::MetricType {
    metric.metric_type()
}

/// The first number behind a keyword at the start of a line.
fn field(text: &str, keyword: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(keyword))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
}

fn resident_bytes(status: &str) -> Option<f64> {
    field(status, "VmRSS:").map(|kibibytes| (kibibytes * 1024) as f64)
}

/// Field number `index` of /proc/self/stat, counted from 1 as in proc(5). The command name in field 2 may hold spaces and
/// parentheses; the last `)` ends it.
fn stat_field(stat: &str, index: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(index.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_ticks(stat: &str) -> Option<f64> {
    stat_field(stat, 22)
}

fn open_descriptors() -> Option<f64> {
    // Reading the directory opens one itself.
    fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64)
}

fn max_descriptors() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    field(&limits, "Max open files").map(|limit| limit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 8800 1000 200 184467";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(start_ticks(stat), Some(8800.0));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        assert_eq!(resident_bytes("VmRSS:\t    2048 kB\n"), Some(2_097_152.0));
        assert_eq!(field("Max open files            1024                 4096   files", "Max open files"), Some(1024));
    }
}
