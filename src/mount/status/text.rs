//! The status for people.

use std::fmt::Write;

use super::figures::{bar, percent, shown, size, time};
use super::{StatusContent, lossy};
use crate::ftp::{Finding, RateLimits};
use crate::remote::{OfflineStatus, ServerProblem};
use crate::vfs::{Direction, Report, Stage, Totals, Transfer, Waiting};

/// Returns the report: one line per topic, and one for each file. With `columns`, the width of a
/// terminal, transfers have progress bars.
pub(super) fn of(status: &StatusContent<'_>, columns: Option<usize>) -> String {
    let (identity, report) = (status.identity, status.report);
    let mut text = String::new();
    let place = if status.is_ending {
        "unmounted, storing the remaining files; it was at"
    } else {
        "at"
    };
    let _ = writeln!(
        text,
        "{} {place} {}",
        shown(&identity.source),
        shown(&lossy(&identity.mountpoint))
    );
    if let Some(offline) = &report.offline {
        line(&mut text, "offline", &outage(offline));
    } else if let Some(problem) = &report.problem {
        line(&mut text, "problem", &trouble(problem));
    }
    let login = format!(
        "{} port {}, as {}",
        shown(&identity.host),
        identity.port,
        shown(&identity.user)
    );
    line(&mut text, "server", &login);
    let process = format!("{}, for {}", std::process::id(), time(report.uptime));
    line(&mut text, "process", &process);
    let connections = report.connections;
    let figures = format!(
        "{} open, {} in use, {} ready for a transfer, at most {}",
        connections.open, connections.leased, connections.armed, connections.limit
    );
    line(&mut text, "connections", &figures);
    for transfer in &report.transfers {
        line(&mut text, "transfer", &one_transfer(transfer));
        if let (Some(columns), Some(length)) = (columns, transfer.length) {
            let share = percent(transfer.bytes, length);
            line(&mut text, "", &format!("{} {share}%", bar(share, columns)));
        }
    }
    if report.limits != RateLimits::default() {
        line(&mut text, "limits", &limits(report.limits));
    }
    let cache = report.cache;
    let figures = format!(
        "{} directories with {} names, {} of {}",
        cache.directories,
        cache.names,
        size(cache.bytes as u64),
        size(report.cache_limit as u64)
    );
    line(&mut text, "cache", &figures);
    let limit = report
        .spool_limit
        .map(|limit| format!(" of {}", size(limit)));
    line(
        &mut text,
        "spool",
        &format!("{}{}", size(report.spool), limit.unwrap_or_default()),
    );
    line(&mut text, "uploads", &uploads(report));
    for waiting in &report.uploads {
        line(&mut text, "", &one_upload(waiting));
    }
    if report.waiting > report.uploads.len() {
        let more = report.waiting - report.uploads.len();
        line(&mut text, "", &format!("and {more} more"));
    }
    if report.changes > 0 {
        let changes = format!("{} changes waiting", report.changes);
        line(&mut text, "names", &changes);
    }
    for (path, reason) in &report.refused {
        let refused = format!("{path} was not changed: {}", shown(reason));
        line(&mut text, "names", &refused);
    }
    for (capability, finding) in &report.findings {
        if *finding == Finding::Fails {
            let quirk = format!("{}: the server {}", capability.name(), capability.absence());
            line(&mut text, "quirk", &quirk);
        }
    }
    add_remains(&mut text, report);
    add_totals(&mut text, &report.totals);
    let commands: Vec<_> = report
        .commands
        .iter()
        .map(|(verb, count)| format!("{verb} {count}"))
        .collect();
    line(&mut text, "commands", &commands.join(", "));
    text
}

fn line(text: &mut String, topic: &str, sentence: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {topic:<12} {sentence}");
}

fn add_totals(text: &mut String, totals: &Totals) {
    let traffic = format!(
        "{} received, {} sent",
        size(totals.received),
        size(totals.sent)
    );
    line(text, "traffic", &traffic);
    line(text, "requests", &requests(totals));
    let answered = totals.cache_hits + totals.cache_misses;
    let hits = format!(
        "{} of {answered} names and listings came from the cache ({}%)",
        totals.cache_hits,
        percent(totals.cache_hits, answered)
    );
    line(text, "cache hits", &hits);
    let trips = format!(
        "{} for {} commands, {} repeated after a failure",
        totals.round_trips, totals.commands, totals.retries
    );
    line(text, "round trips", &trips);
}

fn add_remains(text: &mut String, report: &Report) {
    for leftover in &report.leftovers {
        let next = time(leftover.next);
        let sentence = format!(
            "{} remains to be cleaned up, next attempt in {next}",
            leftover.path
        );
        line(text, "leftover", &sentence);
    }
    if let Some((directory, reason)) = &report.incomplete.sample {
        let sentence = format!(
            "{} directories, one is {directory}: {}",
            report.incomplete.directories,
            shown(reason)
        );
        line(text, "incomplete", &sentence);
    }
}

fn uploads(report: &Report) -> String {
    match (report.waiting - report.failed, report.failed) {
        (0, 0) => "none waits".to_owned(),
        (waiting, 0) => format!("{waiting} waiting"),
        (waiting, failed) => format!("{waiting} waiting, {failed} failed"),
    }
}

fn outage(offline: &OfflineStatus) -> String {
    let since = jiff::Zoned::now().saturating_sub(offline.lasting);
    format!(
        "since {}, for {}: {}; next attempt in {}",
        since.strftime("%Y-%m-%d %H:%M:%S"),
        time(offline.lasting),
        shown(&offline.reason),
        time(offline.next_probe)
    )
}

fn trouble(problem: &ServerProblem) -> String {
    let attempts = match problem.failures {
        1 => format!("1 attempt, {} ago", time(problem.last_attempt)),
        more => format!(
            "{more} attempts, the last {} ago",
            time(problem.last_attempt)
        ),
    };
    format!(
        "{}, for {} ({attempts}): {}",
        problem.kind.sentence(),
        time(problem.lasting),
        shown(&problem.reason)
    )
}

fn limits(limits: RateLimits) -> String {
    let limit = |rate: Option<u64>| {
        rate.map_or("not limited".to_owned(), |rate| {
            format!("at most {}/s", size(rate))
        })
    };
    format!(
        "downloads {}, uploads {}",
        limit(limits.down),
        limit(limits.up)
    )
}

fn requests(totals: &Totals) -> String {
    format!(
        "{} of the kernel, {} had to wait, {} failed",
        totals.requests, totals.waited, totals.failed
    )
}

fn one_transfer(transfer: &Transfer) -> String {
    let way = match transfer.direction {
        Direction::Download => "from",
        Direction::Upload => "to",
    };
    let done = match transfer.length {
        Some(length) => format!(
            "{} of {} ({}%)",
            size(transfer.bytes),
            size(length),
            percent(transfer.bytes, length)
        ),
        None => size(transfer.bytes),
    };
    let left = transfer.time_left();
    let left = left.map_or(String::new(), |left| format!(", {} left", time(left)));
    format!(
        "{way} {}: {done}, {}/s{left}",
        transfer.path,
        size(transfer.rate)
    )
}

fn one_upload(waiting: &Waiting) -> String {
    let path = waiting.path.as_ref().map_or_else(
        || "(its directory no longer exists)".to_owned(),
        ToString::to_string,
    );
    let stage = match waiting.stage {
        Stage::Waiting => "waits",
        Stage::Storing => "is being stored",
        Stage::Retrying => "will be retried",
        Stage::Failed => "failed",
    };
    let reason = waiting
        .reason
        .as_ref()
        .map(|reason| format!(": {}", shown(reason)));
    format!(
        "{path}, {}, closed {} ago, {stage}{}",
        size(waiting.bytes),
        time(waiting.age),
        reason.unwrap_or_default()
    )
}
