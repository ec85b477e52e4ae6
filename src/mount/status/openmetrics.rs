//! The status for Prometheus: the text format of OpenMetrics 1.0, with counters and gauges only, so
//! that readers of Prometheus' older text format understand it, too.

use std::fmt::{Display, Write};

use super::{StatusContent, lossy};
use crate::remote::ProblemKind;
use crate::vfs::{Direction, Stage};

/// The line that ends an exposition.
const END: &str = "# EOF\n";

/// Builds the exposition of one mount.
struct Exposition {
    text: String,
    /// The labels of the mount, without braces.
    mount: String,
}

/// The type of a metric.
#[derive(Clone, Copy)]
enum MetricType {
    Counter,
    Gauge,
}

/// Returns the metrics of one mount, with the line that ends them.
pub(super) fn of(status: &StatusContent<'_>) -> String {
    let (identity, report) = (status.identity, status.report);
    // Two mounts can have the same place and source: one that is unmounted may still store files.
    let pid = std::process::id().to_string();
    let mount = labels(&[
        ("mountpoint", &lossy(&identity.mountpoint)),
        ("source", &identity.source),
        ("pid", &pid),
    ]);
    let mut metrics = Exposition {
        text: String::new(),
        mount,
    };
    let host = format!("{}:{}", identity.host, identity.port);
    let version = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("server", &host),
        ("user", &identity.user),
    ];
    metrics.family(
        "ftpfs_mount_info",
        MetricType::Gauge,
        "The mount; always 1.",
    );
    metrics.sample("ftpfs_mount_info", &version, 1);
    server(&mut metrics, status);
    totals(&mut metrics, status);
    let connections = report.connections;
    metrics.family(
        "ftpfs_connections",
        MetricType::Gauge,
        "Connections to the server.",
    );
    for (state, count) in [
        ("in_use", connections.leased),
        ("idle", connections.open.saturating_sub(connections.leased)),
    ] {
        metrics.sample("ftpfs_connections", &[("state", state)], count);
    }
    metrics.gauge(
        "ftpfs_connections_limit",
        "Maximum number of connections.",
        connections.limit,
    );
    transfers(&mut metrics, status);
    metrics.gauge(
        "ftpfs_cache_directories",
        "Directories in the listing cache.",
        report.cache.directories,
    );
    metrics.gauge(
        "ftpfs_cache_names",
        "Names in the listing cache.",
        report.cache.names,
    );
    metrics.gauge(
        "ftpfs_cache_bytes",
        "Memory of the listing cache in bytes.",
        report.cache.bytes,
    );
    metrics.gauge(
        "ftpfs_cache_limit_bytes",
        "Maximum memory of the listing cache in bytes.",
        report.cache_limit,
    );
    metrics.gauge(
        "ftpfs_spool_bytes",
        "Bytes of written files on the local disk.",
        report.spool,
    );
    uploads(&mut metrics, status);
    metrics.gauge(
        "ftpfs_leftovers",
        "Temporary names that remain to be cleaned up on the server.",
        report.leftovers.len(),
    );
    metrics.gauge(
        "ftpfs_incomplete_listings",
        "Directories whose listings could not be fully parsed.",
        report.incomplete.directories,
    );
    metrics.text.push_str(END);
    metrics.text
}

/// The state of the server and of the mount.
fn server(metrics: &mut Exposition, status: &StatusContent<'_>) {
    let report = status.report;
    metrics.gauge(
        "ftpfs_up",
        "Whether the last attempt to open a session with the server succeeded.",
        u8::from(report.problem.is_none()),
    );
    metrics.family(
        "ftpfs_problem",
        MetricType::Gauge,
        "Whether the server has this problem.",
    );
    let current = report.problem.as_ref().map(|problem| problem.kind);
    for kind in ProblemKind::ALL {
        let is_current = u8::from(current == Some(kind));
        metrics.sample("ftpfs_problem", &[("kind", kind.name())], is_current);
    }
    let lasting = report
        .problem
        .as_ref()
        .map_or(0.0, |problem| problem.lasting.as_secs_f64());
    metrics.gauge(
        "ftpfs_problem_seconds",
        "Time since the server has its problem, in seconds; 0 without one.",
        lasting,
    );
    metrics.gauge(
        "ftpfs_offline",
        "Whether the mount works without the server, which cannot be reached.",
        u8::from(report.offline.is_some()),
    );
    metrics.gauge(
        "ftpfs_uptime_seconds",
        "Time since the mount started, in seconds.",
        report.uptime.as_secs_f64(),
    );
    metrics.gauge(
        "ftpfs_unmounted",
        "Whether it is unmounted and still storing files.",
        u8::from(status.is_ending),
    );
}

fn totals(metrics: &mut Exposition, status: &StatusContent<'_>) {
    let totals = &status.report.totals;
    metrics.counter(
        "ftpfs_received_bytes",
        "Bytes received on data connections, including listings.",
        totals.received,
    );
    metrics.counter(
        "ftpfs_sent_bytes",
        "Bytes sent on data connections.",
        totals.sent,
    );
    metrics.counter("ftpfs_requests", "Requests of the kernel.", totals.requests);
    metrics.counter(
        "ftpfs_requests_waited",
        "Requests that had to wait, mostly for the server.",
        totals.waited,
    );
    metrics.counter(
        "ftpfs_requests_failed",
        "Requests that failed because of the server, the network or the disk.",
        totals.failed,
    );
    metrics.counter(
        "ftpfs_cache_hits",
        "Names and listings that came from the cache.",
        totals.cache_hits,
    );
    metrics.counter(
        "ftpfs_cache_misses",
        "Names and listings that the server had to answer.",
        totals.cache_misses,
    );
    metrics.counter(
        "ftpfs_round_trips",
        "How often commands were sent; those sent together count once.",
        totals.round_trips,
    );
    metrics.counter(
        "ftpfs_retries",
        "Steps and transfers that were repeated after a failure.",
        totals.retries,
    );
    metrics.family(
        "ftpfs_commands",
        MetricType::Counter,
        "Commands sent to the server.",
    );
    for (verb, count) in &status.report.commands {
        metrics.sample("ftpfs_commands_total", &[("command", verb)], count);
    }
}

/// Transfers are added up: their paths would be an unbounded number of labels.
fn transfers(metrics: &mut Exposition, status: &StatusContent<'_>) {
    let directions = [
        ("download", Direction::Download),
        ("upload", Direction::Upload),
    ];
    let of = |direction| {
        status
            .report
            .transfers
            .iter()
            .filter(move |it| it.direction == direction)
    };
    metrics.family(
        "ftpfs_transfers",
        MetricType::Gauge,
        "File transfers in progress.",
    );
    for (name, direction) in directions {
        let count = of(direction).count();
        metrics.sample("ftpfs_transfers", &[("direction", name)], count);
    }
    metrics.family(
        "ftpfs_transfers_bytes_per_second",
        MetricType::Gauge,
        "Current rate of all transfers in bytes per second.",
    );
    for (name, direction) in directions {
        let rate: u64 = of(direction).map(|it| it.rate).fold(0, u64::saturating_add);
        metrics.sample(
            "ftpfs_transfers_bytes_per_second",
            &[("direction", name)],
            rate,
        );
    }
    metrics.family(
        "ftpfs_limit_bytes_per_second",
        MetricType::Gauge,
        "Limit of all transfers in bytes per second; +Inf without one.",
    );
    let limits = status.report.limits;
    for (name, limit) in [("download", limits.down), ("upload", limits.up)] {
        let limit = limit.map_or("+Inf".to_owned(), |limit| limit.to_string());
        metrics.sample(
            "ftpfs_limit_bytes_per_second",
            &[("direction", name)],
            limit,
        );
    }
}

fn uploads(metrics: &mut Exposition, status: &StatusContent<'_>) {
    let report = status.report;
    metrics.family(
        "ftpfs_uploads",
        MetricType::Gauge,
        "Closed files that are not stored yet.",
    );
    let waiting = report.waiting.saturating_sub(report.failed);
    for (state, count) in [("waiting", waiting), ("failed", report.failed)] {
        metrics.sample("ftpfs_uploads", &[("state", state)], count);
    }
    let oldest = report.uploads.iter().filter(|it| it.stage != Stage::Failed);
    let oldest = oldest.map(|it| it.age.as_secs_f64()).fold(0.0, f64::max);
    metrics.gauge(
        "ftpfs_uploads_oldest_seconds",
        "Time since the longest waiting file was closed, in seconds.",
        oldest,
    );
}

impl Exposition {
    /// Begins a family of samples.
    fn family(&mut self, name: &str, metric: MetricType, help: &str) {
        let metric = match metric {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {metric}");
    }

    /// Adds a sample with further labels.
    fn sample(&mut self, name: &str, further: &[(&str, &str)], value: impl Display) {
        let comma = if further.is_empty() { "" } else { "," };
        let (mount, further) = (&self.mount, labels(further));
        let _ = writeln!(self.text, "{name}{{{mount}{comma}{further}}} {value}");
    }

    /// Adds a gauge with one sample.
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, MetricType::Gauge, help);
        self.sample(name, &[], value);
    }

    /// Adds a counter with one sample, whose name has the required ending.
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, MetricType::Counter, help);
        self.sample(&format!("{name}_total"), &[], value);
    }
}

/// Returns labels, joined by commas.
fn labels(labels: &[(&str, &str)]) -> String {
    let escape = |value: &str| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        value.replace('\n', "\\n")
    };
    let labels = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
    labels.collect::<Vec<_>>().join(",")
}

/// Merges the expositions of several mounts into one: the samples of a family must follow each
/// other.
pub(crate) fn merge(expositions: &[String]) -> String {
    let mut families: Vec<(&str, String)> = Vec::new();
    for exposition in expositions {
        let mut current = None;
        // The lines that describe a family appear once, in the first exposition that has it.
        let mut describes = false;
        for line in exposition.lines().filter(|line| *line != END.trim_end()) {
            let comment = ["# HELP ", "# TYPE "]
                .iter()
                .find_map(|it| line.strip_prefix(it));
            let name = comment.and_then(|rest| rest.split(' ').next());
            if name.is_some() && name != current {
                current = name;
                describes = families.iter().all(|family| Some(family.0) != name);
                families.extend(name.filter(|_| describes).map(|name| (name, String::new())));
            }
            let family = families.iter_mut().find(|family| Some(family.0) == current);
            if let Some((_, text)) = family.filter(|_| describes || name.is_none()) {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    let mut text: String = families.into_iter().map(|(_, text)| text).collect();
    text.push_str(END);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(labels(&[("a", "x\"\\\n")]), r#"a="x\"\\\n""#);
        assert_eq!(labels(&[("a", "1"), ("b", "")]), r#"a="1",b="""#);
    }

    #[test]
    fn the_families_of_several_mounts_are_merged() {
        let one = |mount: &str| {
            format!(
                "# HELP a The a.\n# TYPE a gauge\na{{m=\"{mount}\"}} 1\n\
                 # HELP b The b.\n# TYPE b counter\nb_total{{m=\"{mount}\"}} 2\nb_total{{m=\"{mount}\",x=\"y\"}} 3\n# EOF\n"
            )
        };
        let expected = "# HELP a The a.\n# TYPE a gauge\na{m=\"1\"} 1\na{m=\"2\"} 1\n\
                        # HELP b The b.\n# TYPE b counter\n\
                        b_total{m=\"1\"} 2\nb_total{m=\"1\",x=\"y\"} 3\n\
                        b_total{m=\"2\"} 2\nb_total{m=\"2\",x=\"y\"} 3\n# EOF\n";
        assert_eq!(merge(&[one("1"), one("2")]), expected);
        assert_eq!(merge(&[one("1")]), one("1"));
        assert_eq!(merge(&[]), END);
    }
}
