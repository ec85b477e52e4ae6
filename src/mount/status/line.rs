//! The status in one line, for a service manager.

use super::figures::{shown, time};
use super::{MountIdentity, lossy};
use crate::vfs::HealthSummary;

/// Returns what the mount does: first what is wrong with the server, then what waits.
pub(super) fn of(identity: &MountIdentity, is_ending: bool, summary: &HealthSummary) -> String {
    let offline = summary.offline.as_ref().map(|offline| {
        let reason = shown(&offline.reason);
        format!("offline for {}: {reason}", time(offline.lasting))
    });
    let problem = summary.problem.as_ref().map(|problem| {
        let kind = problem.kind.sentence();
        let reason = shown(&problem.reason);
        format!("{kind}, for {}: {reason}", time(problem.lasting))
    });
    let waiting = summary.waiting - summary.failed;
    let uploads = match waiting {
        0 => None,
        1 if is_ending => Some("storing 1 file".to_owned()),
        1 => Some("1 upload waiting".to_owned()),
        _ if is_ending => Some(format!("storing {waiting} files")),
        _ => Some(format!("{waiting} uploads waiting")),
    };
    let failed = match summary.failed {
        0 => None,
        1 => Some("1 upload failed".to_owned()),
        failed => Some(format!("{failed} uploads failed")),
    };
    let parts: Vec<_> = [offline.or(problem), uploads, failed]
        .into_iter()
        .flatten()
        .collect();
    if !parts.is_empty() {
        return parts.join("; ");
    }
    if is_ending {
        return "closing the connections".to_owned();
    }
    format!(
        "mounted {} at {}",
        shown(&identity.source),
        shown(&lossy(&identity.mountpoint))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{ProblemKind, ServerProblem};
    use std::time::Duration;

    fn line(is_ending: bool, waiting: usize, failed: usize, has_problem: bool) -> String {
        let identity = MountIdentity {
            mountpoint: "/mnt/a\nb".into(),
            source: "ftp://me@h/".into(),
            host: "h".into(),
            port: 21,
            user: "me".into(),
        };
        let problem = has_problem.then(|| ServerProblem {
            kind: ProblemKind::TimedOut,
            reason: "timed out\nconnecting".into(),
            lasting: Duration::from_secs(8),
            last_attempt: Duration::ZERO,
            failures: 2,
        });
        let summary = HealthSummary {
            problem,
            offline: None,
            waiting,
            failed,
        };
        of(&identity, is_ending, &summary)
    }

    #[test]
    fn the_line_says_what_matters_most_first() {
        assert_eq!(line(false, 0, 0, false), "mounted ftp://me@h/ at /mnt/a?b");
        assert_eq!(
            line(false, 4, 1, false),
            "3 uploads waiting; 1 upload failed"
        );
        assert_eq!(
            line(false, 1, 0, true),
            "the server does not answer, for 8 s: timed out?connecting; 1 upload waiting"
        );
        assert_eq!(line(true, 3, 0, false), "storing 3 files");
        assert_eq!(line(true, 0, 0, false), "closing the connections");
    }
}
