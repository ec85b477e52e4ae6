//! The status as JSON (RFC 8259): one object. Keys are stable; new ones may be added.

use serde_json::{Value, json};

use super::{StatusContent, lossy};
use crate::ftp::{Finding, RemotePath};
use crate::remote::{Leftover, OfflineStatus, ServerProblem};
use crate::vfs::{Direction, Stage, Transfer, Waiting};

/// Returns the object, with a line feed.
pub(super) fn of(status: &StatusContent<'_>) -> String {
    let (identity, report) = (status.identity, status.report);
    let totals = &report.totals;
    let findings: serde_json::Map<_, _> = report
        .findings
        .iter()
        .map(|(capability, finding)| {
            let works = *finding == Finding::Works;
            (capability.name().to_owned(), works.into())
        })
        .collect();
    let commands: serde_json::Map<_, _> = report
        .commands
        .iter()
        .map(|(verb, count)| (verb.clone(), (*count).into()))
        .collect();
    let sample = report.incomplete.sample.as_ref();
    let mut text = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "mountpoint": lossy(&identity.mountpoint),
        "source": identity.source,
        "server": {
            "host": identity.host,
            "port": identity.port,
            "user": identity.user,
        },
        "pid": std::process::id(),
        "uptime_seconds": seconds(report.uptime),
        "unmounted": status.is_ending,
        "writeback": report.writeback,
        "problem": report.problem.as_ref().map(problem),
        "offline": report.offline.as_ref().map(offline),
        "totals": {
            "bytes_received": totals.received,
            "bytes_sent": totals.sent,
            "requests": totals.requests,
            "requests_waited": totals.waited,
            "requests_failed": totals.failed,
            "cache_hits": totals.cache_hits,
            "cache_misses": totals.cache_misses,
            "commands": totals.commands,
            "round_trips": totals.round_trips,
            "retries": totals.retries,
        },
        "limits": {
            "down_bytes_per_second": report.limits.down,
            "up_bytes_per_second": report.limits.up,
        },
        "connections": {
            "open": report.connections.open,
            "leased": report.connections.leased,
            "armed": report.connections.armed,
            "limit": report.connections.limit,
        },
        "transfers": report.transfers.iter().map(transfer).collect::<Vec<_>>(),
        "cache": {
            "directories": report.cache.directories,
            "names": report.cache.names,
            "bytes": report.cache.bytes,
            "limit_bytes": report.cache_limit,
        },
        "spool": {
            "bytes": report.spool,
            "limit_bytes": report.spool_limit,
        },
        "uploads": {
            "waiting": report.waiting - report.failed,
            "failed": report.failed,
            "files": report.uploads.iter().map(waiting).collect::<Vec<_>>(),
        },
        "names": {
            "waiting": report.changes,
            "refused": report.refused.iter().map(refused).collect::<Vec<_>>(),
        },
        "capabilities": findings,
        "leftovers": report.leftovers.iter().map(leftover).collect::<Vec<_>>(),
        "incomplete_listings": {
            "directories": report.incomplete.directories,
            "path": sample.map(|(directory, _)| path(directory)),
            "reason": sample.map(|(_, reason)| reason),
        },
        "commands": commands,
    })
    .to_string();
    text.push('\n');
    text
}

fn problem(problem: &ServerProblem) -> Value {
    json!({
        "kind": problem.kind.name(),
        "reason": problem.reason,
        "seconds": seconds(problem.lasting),
        "last_attempt_seconds": seconds(problem.last_attempt),
        "failures": problem.failures,
    })
}

fn offline(offline: &OfflineStatus) -> Value {
    json!({
        "kind": offline.kind.name(),
        "reason": offline.reason,
        "seconds": seconds(offline.lasting),
        "next_probe_seconds": seconds(offline.next_probe),
    })
}

fn transfer(transfer: &Transfer) -> Value {
    let direction = match transfer.direction {
        Direction::Download => "download",
        Direction::Upload => "upload",
    };
    json!({
        "path": path(&transfer.path),
        "direction": direction,
        "bytes": transfer.bytes,
        "length": transfer.length,
        "bytes_per_second": transfer.rate,
        "seconds": seconds(transfer.lasting),
        "seconds_left": transfer.time_left().map(seconds),
    })
}

fn waiting(waiting: &Waiting) -> Value {
    let stage = match waiting.stage {
        Stage::Waiting => "waiting",
        Stage::Storing => "storing",
        Stage::Retrying => "retrying",
        Stage::Failed => "failed",
    };
    json!({
        "path": waiting.path.as_ref().map(path),
        "stage": stage,
        "bytes": waiting.bytes,
        "age_seconds": seconds(waiting.age),
        "reason": waiting.reason,
    })
}

fn refused((refused, reason): &(RemotePath, String)) -> Value {
    json!({
        "path": path(refused),
        "reason": reason,
    })
}

fn leftover(leftover: &Leftover) -> Value {
    json!({
        "path": path(&leftover.path),
        "next_try_seconds": seconds(leftover.next),
    })
}

/// Seconds, to the millisecond.
fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Bytes that are not UTF-8 are replaced: JSON has no others.
fn path(path: &RemotePath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}
