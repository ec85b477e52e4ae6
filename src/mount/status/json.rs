//! The status as JSON (RFC 8259): one object. Keys are stable; new ones may be added.

use std::fmt::Write;

use super::{StatusContent, lossy};
use crate::ftp::{Finding, RemotePath};
use crate::remote::Leftover;
use crate::vfs::{Direction, Stage, Transfer, Waiting};

/// Returns the object, with a line feed.
pub(super) fn of(status: &StatusContent<'_>) -> String {
    let (identity, report) = (status.identity, status.report);
    let server = object(&[
        ("host", string(&identity.host)),
        ("port", identity.port.to_string()),
        ("user", string(&identity.user)),
    ]);
    let connections = object(&[
        ("open", report.connections.open.to_string()),
        ("leased", report.connections.leased.to_string()),
        ("armed", report.connections.armed.to_string()),
        ("limit", report.connections.limit.to_string()),
    ]);
    let cache = object(&[
        ("directories", report.cache.directories.to_string()),
        ("names", report.cache.names.to_string()),
        ("bytes", report.cache.bytes.to_string()),
        ("limit_bytes", report.cache_limit.to_string()),
    ]);
    let spool = object(&[
        ("bytes", report.spool.to_string()),
        (
            "limit_bytes",
            option(report.spool_limit, |limit| limit.to_string()),
        ),
    ]);
    let uploads = object(&[
        ("waiting", (report.waiting - report.failed).to_string()),
        ("failed", report.failed.to_string()),
        ("files", array(report.uploads.iter().map(waiting))),
    ]);
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|(capability, finding)| {
            let works = *finding == Finding::Works;
            (capability.name(), works.to_string())
        })
        .collect();
    let commands: Vec<_> = report
        .commands
        .iter()
        .map(|(verb, count)| (verb.as_str(), count.to_string()))
        .collect();
    let sample = report.incomplete.sample.as_ref();
    let incomplete = object(&[
        ("directories", report.incomplete.directories.to_string()),
        ("path", option(sample, |(directory, _)| path(directory))),
        ("reason", option(sample, |(_, reason)| string(reason))),
    ]);
    let mut text = object(&[
        ("version", string(env!("CARGO_PKG_VERSION"))),
        ("mountpoint", string(&lossy(&identity.mountpoint))),
        ("source", string(&identity.source)),
        ("server", server),
        ("pid", std::process::id().to_string()),
        ("uptime_seconds", seconds(report.uptime)),
        ("unmounted", status.is_ending.to_string()),
        ("writeback", report.writeback.to_string()),
        ("connections", connections),
        ("transfers", array(report.transfers.iter().map(transfer))),
        ("cache", cache),
        ("spool", spool),
        ("uploads", uploads),
        ("capabilities", object(&findings)),
        ("leftovers", array(report.leftovers.iter().map(leftover))),
        ("incomplete_listings", incomplete),
        ("commands", object(&commands)),
    ]);
    text.push('\n');
    text
}

fn transfer(transfer: &Transfer) -> String {
    let direction = match transfer.direction {
        Direction::Download => "download",
        Direction::Upload => "upload",
    };
    object(&[
        ("path", path(&transfer.path)),
        ("direction", string(direction)),
        ("bytes", transfer.bytes.to_string()),
        ("seconds", seconds(transfer.lasting)),
    ])
}

fn waiting(waiting: &Waiting) -> String {
    let stage = match waiting.stage {
        Stage::Waiting => "waiting",
        Stage::Storing => "storing",
        Stage::Retrying => "retrying",
        Stage::Failed => "failed",
    };
    object(&[
        ("path", option(waiting.path.as_ref(), path)),
        ("stage", string(stage)),
        ("bytes", waiting.bytes.to_string()),
        ("age_seconds", seconds(waiting.age)),
        (
            "reason",
            option(waiting.reason.as_ref(), |reason| string(reason)),
        ),
    ])
}

fn leftover(leftover: &Leftover) -> String {
    object(&[
        ("path", path(&leftover.path)),
        ("next_try_seconds", seconds(leftover.next)),
    ])
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", string(name)))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn array(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

fn option<T>(value: Option<T>, shown: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "null".to_owned(), shown)
}

fn seconds(duration: std::time::Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

fn path(path: &RemotePath) -> String {
    string(&String::from_utf8_lossy(path.as_bytes()))
}

/// Quotes a string (RFC 8259 §7).
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\0'..='\x1f' => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_string_is_escaped() {
        assert_eq!(string("a\"b\\c\td é"), r#""a\"b\\c\u0009d é""#);
        assert_eq!(object(&[("a", array(std::iter::empty()))]), r#"{"a":[]}"#);
        assert_eq!(option(None::<u8>, |_| String::new()), "null");
    }
}
