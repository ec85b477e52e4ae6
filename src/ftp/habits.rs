//! What this server puts up with beyond RFC 959: the only place that knows.
//!
//! Whether it queues commands that come together is observed at each login, which sends FEAT and TYPE in one write: a
//! server that throws away what follows a command answers one of the two. vsftpd 3.0, ProFTPD 1.3, Pure-FTPd 1.0 and
//! pyftpdlib 2.2 queue them.
//!
//! Whether it leaves alone what comes over a data connection before its command cannot be observed without harm:
//! pyftpdlib closes such a connection, then waits for another. So that is believed of the servers it was tried on
//! only, which are known by their greeting or by what FEAT names.
//!
//! The same servers take a command that comes during a download when that has ended; pyftpdlib acts on an EPSV at once,
//! which resets the download.
//!
//! So is whether a command that comes during an upload waits for the upload's end, as on vsftpd: Pure-FTPd takes any for
//! ABOR, ProFTPD looks for commands while it receives, pyftpdlib acts on them at once.
//!
//! vsftpd makes both its LIST and its STAT in one place: the one is as good as the other. And its `use_localtime` holds
//! for LIST and for MDTM alike, told or set (vsftpd.conf(5)), where RFC 3659 §2.3 wants MDTM in UTC.

use super::features::Features;
use super::reply::Reply;

/// What the server puts up with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "habits that are independent of each other"
)]
pub(super) struct Habits {
    /// Commands that come together are answered one after the other.
    pub(super) queues: bool,
    /// Bytes of an upload may come before its 150, and a command during a download.
    pub(super) takes_data_early: bool,
    /// A command that comes during an upload is acted upon when that has ended.
    pub(super) waits_its_turn: bool,
    /// A download's completion reply comes only when this side has ended its direction of the data connection, which
    /// may be from the start.
    pub(super) waits_for_our_end: bool,
    /// Its STAT of a directory lists what LIST does.
    pub(super) lists_by_stat: bool,
    /// MDTM's times are in LIST's zone.
    pub(super) tells_times_alike: bool,
    /// A transfer begins where REST says.
    pub(super) restarts: bool,
}

/// A server that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Vsftpd,
    Proftpd,
    PureFtpd,
    /// This program's own.
    Ftpfs,
}

impl Habits {
    /// Those of a server that greets and announces itself so.
    pub(super) fn new(queues: bool, greeting: &Reply, features: &Features) -> Self {
        let family = family(&greeting.words(), features);
        Self {
            queues,
            takes_data_early: family.is_some(),
            waits_for_our_end: family == Some(Family::Proftpd),
            waits_its_turn: matches!(family, Some(Family::Vsftpd | Family::Ftpfs)),
            lists_by_stat: family == Some(Family::Vsftpd),
            tells_times_alike: family == Some(Family::Vsftpd),
            restarts: family.is_some(),
        }
    }
}

/// One whose sessions wait for a command before they look at the data connection.
fn family(greeting: &str, features: &Features) -> Option<Family> {
    let greets = [
        ("vsftpd", Family::Vsftpd),
        ("proftpd", Family::Proftpd),
        ("pure-ftpd", Family::PureFtpd),
        ("ftpfs server", Family::Ftpfs),
    ];
    if let Some((_, family)) = greets.iter().find(|it| greeting.contains(it.0)) {
        return Some(*family);
    }
    let has_all = |names: &[&str]| names.iter().all(|name| features.has(name));
    let facts = features.parameters("MFF").unwrap_or_default();
    if has_all(&["PASV", "EPRT", "TVFS"]) && !features.has("MLST") {
        // PASV is older than FEAT: only vsftpd announces it.
        Some(Family::Vsftpd)
    } else if has_all(&["ESTA", "ESTP"]) {
        // Extensions of Pure-FTPd's own.
        Some(Family::PureFtpd)
    } else if facts.contains("UNIX.group") {
        Some(Family::Proftpd)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::ReplyCode;
    use super::*;

    fn habits(greeting: &str, features: &[&str]) -> Habits {
        let lines = features.iter().map(|name| format!(" {name}").into_bytes());
        let features = Features::parse(&Reply::new(ReplyCode(211), lines.collect()));
        let greeting = Reply::new(ReplyCode(220), vec![greeting.as_bytes().to_vec()]);
        Habits::new(true, &greeting, &features)
    }

    #[test]
    fn servers_are_known_by_their_greeting() {
        for greeting in [
            "(vsFTPd 3.0.3)",
            "ProFTPD Server (ftp) [::ffff:127.0.0.1]",
            "---------- Welcome to Pure-FTPd [privsep] [TLS] ----------",
            "ftpfs server ready",
        ] {
            let habits = habits(greeting, &[]);
            assert!(habits.takes_data_early && habits.restarts, "{greeting}");
            let waits = greeting.contains("vsFTPd") || greeting.contains("ftpfs");
            assert_eq!(habits.waits_its_turn, waits, "{greeting}");
            let is_vsftpd = greeting.contains("vsFTPd");
            assert_eq!(habits.lists_by_stat, is_vsftpd, "{greeting}");
            assert_eq!(habits.tells_times_alike, is_vsftpd, "{greeting}");
        }
        for greeting in ["pyftpdlib 2.2.0 ready.", "Microsoft FTP Service", ""] {
            let habits = habits(greeting, &[]);
            assert!(!habits.takes_data_early && !habits.restarts, "{greeting}");
        }
    }

    #[test]
    fn servers_that_greet_otherwise_are_known_by_their_features() {
        for features in [
            [
                "EPRT",
                "EPSV",
                "MDTM",
                "PASV",
                "REST STREAM",
                "SIZE",
                "TVFS",
            ]
            .as_slice(),
            &["MFF modify;UNIX.group;UNIX.mode;", "MLST modify*;"],
            &["MLST type*;", "ESTA", "ESTP", "EPSV"],
        ] {
            assert!(habits("hello", features).takes_data_early, "{features:?}");
        }
        let pyftpdlib = [
            "EPRT",
            "EPSV",
            "MDTM",
            "MFMT",
            "MLST type*;perm*;size*;",
            "REST STREAM",
            "SIZE",
            "TVFS",
            "UTF8",
        ];
        assert!(!habits("hello", &pyftpdlib).takes_data_early);
    }
}
