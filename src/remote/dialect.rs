//! How this server is spoken to: what FEAT promised (RFC 2389), corrected by what the server really
//! answered. Shared by all its sessions.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::restart::Restart;
use super::stat_listing::StatTrust;
use crate::ftp::{DigestCommand, Error, Features, RemotePath, Session, Setting};

/// What a server is known for, and need not prove.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// See [`Session::lists_by_stat`].
    pub(super) lists_by_stat: bool,
    /// See [`Session::restarts`].
    pub(super) restarts: bool,
    /// See [`Session::tells_times_alike`].
    pub(super) tells_times_alike: bool,
}

impl From<&Session> for Known {
    fn from(session: &Session) -> Self {
        Self {
            lists_by_stat: session.lists_by_stat(),
            restarts: session.restarts(),
            tells_times_alike: session.tells_times_alike(),
        }
    }
}

/// One server's habits.
#[derive(Debug)]
pub(super) struct Dialect {
    /// MLSD (RFC 3659 §7).
    pub(super) mlsd: Has,
    /// MLST (RFC 3659 §7).
    pub(super) mlst: Has,
    /// STAT in the place of LIST.
    pub(super) stat: StatTrust,
    /// SIZE (RFC 3659 §4).
    pub(super) size: Has,
    /// MDTM (RFC 3659 §3).
    pub(super) mdtm: Has,
    /// REST before RETR.
    pub(super) restart: Restart,
    /// RANG before RETR (draft-bryan-ftp-range).
    pub(super) range: Has,
    /// AVBL (draft-peterson-streamlined-ftp-command-extensions).
    pub(super) available: Has,
    /// How a time of modification is set.
    pub(super) time: Ways<TimeWay>,
    /// How a mode is set.
    pub(super) mode: Ways<ModeWay>,
    /// How a digest is asked for.
    pub(super) digest: Ways<DigestCommand>,
    /// How an upload that broke goes on.
    pub(super) resume: Ways<ResumeWay>,
    /// The server puts `_` for control characters and a last blank of every new name, and says nothing.
    alters_names: bool,
    /// That RNTO does not replace was logged.
    pub(super) told_no_replace: Once,
    /// That uploads go straight to their name was logged.
    pub(super) told_direct: Once,
    /// That times or modes cannot be set was logged.
    pub(super) told_no_attributes: Once,
}

impl Dialect {
    /// What `features` promise, and what the server is known for.
    pub(super) fn new(features: &Features, known: Known) -> Self {
        let facts = |name: &str| {
            features.parameters("MFF").is_some_and(|facts| {
                facts
                    .split(';')
                    .any(|fact| fact.trim().eq_ignore_ascii_case(name))
            })
        };
        // Without FEAT nothing is announced; SIZE is older than FEAT and worth a question.
        let has_feat = ["MLST", "SIZE", "MDTM", "MFMT", "REST", "UTF8", "EPSV"]
            .iter()
            .any(|feature| features.has(feature));
        let time = [
            (TimeWay::Mfmt, features.has("MFMT")),
            (TimeWay::Mff, facts("modify")),
            // Hardly a FEAT names it.
            (TimeWay::SiteUtime, true),
            // A server that only reads times takes the time for a part of the name, and says 550.
            (TimeWay::Mdtm, features.has("MDTM")),
        ];
        let mode = [
            (ModeWay::SiteChmod, true),
            (ModeWay::Mff, facts("unix.mode")),
        ];
        let digests = DigestCommand::ALL.map(|command| (command, features.has(command.verb())));
        Self {
            // MLSD is announced as MLST (RFC 3659 §7.8).
            mlsd: Has::new(features.has("MLST") || features.has("MLSD")),
            mlst: Has::new(features.has("MLST")),
            stat: StatTrust::new(known.lists_by_stat),
            size: Has::new(features.has("SIZE") || !has_feat),
            mdtm: Has::new(features.has("MDTM")),
            restart: Restart::new(known.restarts),
            range: Has::new(features.has("RANG")),
            available: Has::new(features.has("AVBL")),
            time: Ways::new(time),
            mode: Ways::new(mode),
            digest: Ways::new(digests),
            resume: Ways::new([(ResumeWay::Restart, true), (ResumeWay::Append, true)]),
            // Extensions of Pure-FTPd's own, by which it is known.
            alters_names: features.has("ESTA") && features.has("ESTP"),
            told_no_replace: Once::default(),
            told_direct: Once::default(),
            told_no_attributes: Once::default(),
        }
    }

    /// Whether what is made under this name would really have it, and not replace another file instead.
    pub(super) fn keeps_name(&self, path: &RemotePath) -> bool {
        let name = path.name();
        !self.alters_names || !(name.ends_with(b" ") || name.iter().any(u8::is_ascii_control))
    }
}

/// Whether the server has a command: promised until found otherwise.
#[derive(Debug)]
pub(super) struct Has(AtomicBool);

impl Has {
    pub(super) fn new(promised: bool) -> Self {
        Self(AtomicBool::new(promised))
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// The server refused the command as unknown.
    pub(super) fn not(&self, command: &str) {
        if self.0.swap(false, Relaxed) {
            log::info!("the server has no {command}: going on without");
        }
    }
}

/// Something said only once a mount.
#[derive(Debug, Default)]
pub(super) struct Once(AtomicBool);

impl Once {
    /// True the first time.
    pub(super) fn first(&self) -> bool {
        !self.0.swap(true, Relaxed)
    }
}

/// Ways to the same end, the best first; those that the server does not know are passed over for good.
#[derive(Debug)]
pub(super) struct Ways<T> {
    ways: Vec<T>,
    passed: AtomicUsize,
}

impl<T: Copy> Ways<T> {
    fn new(ways: impl IntoIterator<Item = (T, bool)>) -> Self {
        Self {
            ways: ways
                .into_iter()
                .filter_map(|(way, promised)| promised.then_some(way))
                .collect(),
            passed: AtomicUsize::new(0),
        }
    }

    /// The ways still worth trying, each with its number for [`Ways::pass`].
    pub(super) fn left(&self) -> impl Iterator<Item = (usize, T)> + '_ {
        let passed = self.passed.load(Relaxed);
        self.ways.iter().copied().enumerate().skip(passed)
    }

    /// The server does not know way `number`, nor those before it.
    pub(super) fn pass(&self, number: usize) {
        self.passed.fetch_max(number + 1, Relaxed);
    }
}

/// How a time of modification is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeWay {
    /// MFMT (draft-somers-ftp-mfxx).
    Mfmt,
    /// MFF (draft-somers-ftp-mfxx).
    Mff,
    /// SITE UTIME.
    SiteUtime,
    /// MDTM with a time, as vsftpd takes it.
    Mdtm,
}

impl TimeWay {
    /// The command that sets a time of `seconds` so, tried first.
    pub(super) fn setting(self, seconds: i64) -> Setting {
        match self {
            Self::Mfmt => Setting::Mfmt(seconds),
            Self::Mff => Setting::MffModify(seconds),
            Self::SiteUtime => Setting::SiteUtime(seconds),
            Self::Mdtm => Setting::Mdtm(seconds),
        }
    }

    pub(super) fn set(
        self,
        session: &mut Session,
        path: &RemotePath,
        seconds: i64,
    ) -> Result<(), Error> {
        match session.set(path, self.setting(seconds)) {
            Err(Error::Refused { reply, .. })
                if self == Self::SiteUtime && matches!(reply.code().0, 500 | 501 | 504) =>
            {
                session.set(path, Setting::OldSiteUtime(seconds))
            }
            answer => answer,
        }
    }
}

/// How a mode is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModeWay {
    /// SITE CHMOD.
    SiteChmod,
    /// MFF with UNIX.mode (draft-somers-ftp-mfxx).
    Mff,
}

impl ModeWay {
    /// The command that sets `mode` so.
    pub(super) fn setting(self, mode: u32) -> Setting {
        match self {
            Self::SiteChmod => Setting::SiteChmod(mode),
            Self::Mff => Setting::MffMode(mode),
        }
    }

    pub(super) fn set(
        self,
        session: &mut Session,
        path: &RemotePath,
        mode: u32,
    ) -> Result<(), Error> {
        session.set(path, self.setting(mode))
    }
}

/// How an upload that broke goes on. ProFTPD refuses both unless its AllowStoreRestart is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResumeWay {
    /// REST before STOR (RFC 3659 §5).
    Restart,
    /// APPE (RFC 959 §4.1.3).
    Append,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_the_server_does_not_know_is_not_tried_again() {
        let ways = Ways::new([('a', true), ('b', false), ('c', true)]);
        assert_eq!(ways.left().collect::<Vec<_>>(), [(0, 'a'), (1, 'c')]);
        ways.pass(0);
        assert_eq!(ways.left().collect::<Vec<_>>(), [(1, 'c')]);
        ways.pass(1);
        assert_eq!(ways.left().count(), 0);
    }

    #[test]
    fn some_things_are_said_once() {
        let once = Once::default();
        assert!(once.first());
        assert!(!once.first());
    }
}
