//! The status for people.

use std::fmt::Write;
use std::time::Duration;

use super::{StatusContent, lossy};
use crate::ftp::Finding;
use crate::vfs::{Direction, Report, Stage, Transfer, Waiting};

/// Returns the report: one line per topic, and one for each file.
pub(super) fn of(status: &StatusContent<'_>) -> String {
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
    for (capability, finding) in &report.findings {
        if *finding == Finding::Fails {
            let quirk = format!("{}: the server {}", capability.name(), capability.absence());
            line(&mut text, "quirk", &quirk);
        }
    }
    for leftover in &report.leftovers {
        let next = time(leftover.next);
        let sentence = format!(
            "{} remains to be cleaned up, next attempt in {next}",
            leftover.path
        );
        line(&mut text, "leftover", &sentence);
    }
    if let Some((directory, reason)) = &report.incomplete.sample {
        let sentence = format!(
            "{} directories, one is {directory}: {}",
            report.incomplete.directories,
            shown(reason)
        );
        line(&mut text, "incomplete", &sentence);
    }
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

fn uploads(report: &Report) -> String {
    match (report.waiting - report.failed, report.failed) {
        (0, 0) => "none waits".to_owned(),
        (waiting, 0) => format!("{waiting} wait"),
        (waiting, failed) => format!("{waiting} wait, {failed} failed"),
    }
}

fn one_transfer(transfer: &Transfer) -> String {
    let way = match transfer.direction {
        Direction::Download => "from",
        Direction::Upload => "to",
    };
    let seconds = transfer.lasting.as_secs_f64().max(0.001);
    let rate = (transfer.bytes as f64 / seconds) as u64;
    format!(
        "{way} {}: {}, {}/s",
        transfer.path,
        size(transfer.bytes),
        size(rate)
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

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for larger in UNITS.into_iter().skip(1) {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    format!("{amount:.1} {unit}")
}

fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Makes text from others safe for a terminal.
fn shown(text: &str) -> String {
    let fit = |character: char| {
        if character.is_control() {
            '?'
        } else {
            character
        }
    };
    text.chars().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
        assert_eq!(time(Duration::from_secs(59)), "59 s");
        assert_eq!(time(Duration::from_secs(61)), "1 min 1 s");
        assert_eq!(time(Duration::from_secs(7_260)), "2 h 1 min");
        assert_eq!(time(Duration::from_secs(90_000)), "1 d 1 h");
        assert_eq!(shown("a\x1b[2Jb"), "a?[2Jb");
    }
}
