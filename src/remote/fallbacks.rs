//! Alternative commands for one purpose, the best first: setting a time or a mode, requesting a
//! digest, resuming an upload. The profile knows which of them the server has.

use crate::ftp::{Capability, DigestCommand, Error, RemotePath, ServerProfile, Session, Setting};

/// One of several commands for the same purpose.
pub(super) trait Fallback: Copy + 'static {
    /// All of them, the best first.
    const ALL: &'static [Self];

    /// Returns the capability of a server that has the command.
    fn capability(self) -> Capability;

    /// Returns the commands worth trying on a server with this profile.
    fn candidates(profile: &ServerProfile) -> impl Iterator<Item = Self> + '_ {
        let ways = Self::ALL.iter().copied();
        ways.filter(|way| profile.has(way.capability()))
    }
}

/// A command that sets a modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeWay {
    /// MFMT (draft-somers-ftp-mfxx).
    Mfmt,
    /// MFF (draft-somers-ftp-mfxx).
    Mff,
    /// SITE UTIME.
    SiteUtime,
    /// MDTM with a time, in vsftpd's form.
    Mdtm,
}

impl Fallback for TimeWay {
    const ALL: &'static [Self] = &[Self::Mfmt, Self::Mff, Self::SiteUtime, Self::Mdtm];

    fn capability(self) -> Capability {
        match self {
            Self::Mfmt => Capability::Mfmt,
            Self::Mff => Capability::MffModify,
            Self::SiteUtime => Capability::SiteUtime,
            Self::Mdtm => Capability::MdtmSet,
        }
    }
}

impl TimeWay {
    /// Returns the command that sets a time of `seconds`; it is tried first.
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

/// A command that sets a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModeWay {
    /// SITE CHMOD.
    SiteChmod,
    /// MFF with UNIX.mode (draft-somers-ftp-mfxx).
    Mff,
}

impl Fallback for ModeWay {
    const ALL: &'static [Self] = &[Self::SiteChmod, Self::Mff];

    fn capability(self) -> Capability {
        match self {
            Self::SiteChmod => Capability::SiteChmod,
            Self::Mff => Capability::MffMode,
        }
    }
}

impl ModeWay {
    /// Returns the command that sets `mode`.
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

/// A command that resumes a broken upload. ProFTPD refuses both unless AllowStoreRestart is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResumeWay {
    /// REST before STOR (RFC 3659 §5).
    Restart,
    /// APPE (RFC 959 §4.1.3).
    Append,
}

impl Fallback for ResumeWay {
    const ALL: &'static [Self] = &[Self::Restart, Self::Append];

    fn capability(self) -> Capability {
        match self {
            Self::Restart => Capability::RestStor,
            Self::Append => Capability::Appe,
        }
    }
}

/// A command that copies a file on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyWay {
    /// SITE CPFR and SITE CPTO, for any path.
    Pair,
    /// SITE COPY, for paths without blanks.
    Single,
}

impl Fallback for CopyWay {
    const ALL: &'static [Self] = &[Self::Pair, Self::Single];

    fn capability(self) -> Capability {
        match self {
            Self::Pair => Capability::CopyPair,
            Self::Single => Capability::SiteCopy,
        }
    }
}

/// A command that sets a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupWay {
    /// SITE CHGRP.
    SiteChgrp,
    /// MFF with UNIX.group (draft-somers-ftp-mfxx).
    Mff,
}

impl Fallback for GroupWay {
    const ALL: &'static [Self] = &[Self::SiteChgrp, Self::Mff];

    fn capability(self) -> Capability {
        match self {
            Self::SiteChgrp => Capability::SiteChgrp,
            Self::Mff => Capability::MffGroup,
        }
    }
}

impl GroupWay {
    /// Returns the command that sets the group with this number.
    pub(super) fn setting(self, group: u32) -> Setting {
        match self {
            Self::SiteChgrp => Setting::SiteChgrp(group),
            Self::Mff => Setting::MffGroup(group),
        }
    }
}

/// A command that shows how much this user may store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpaceWay {
    /// AVBL (draft-peterson-streamlined-ftp-command-extensions).
    Avbl,
    /// XQUOTA of WS_FTP Server.
    Xquota,
    /// SITE QUOTA of ProFTPD's mod_quotatab.
    SiteQuota,
}

impl Fallback for SpaceWay {
    const ALL: &'static [Self] = &[Self::Avbl, Self::Xquota, Self::SiteQuota];

    fn capability(self) -> Capability {
        match self {
            Self::Avbl => Capability::Avbl,
            Self::Xquota => Capability::Xquota,
            Self::SiteQuota => Capability::SiteQuota,
        }
    }
}

impl Fallback for DigestCommand {
    const ALL: &'static [Self] = &DigestCommand::ALL;

    fn capability(self) -> Capability {
        match self {
            Self::Hash => Capability::Hash,
            Self::Xsha256 => Capability::Xsha256,
            Self::Xsha1 => Capability::Xsha1,
            Self::Xmd5 => Capability::Xmd5,
            Self::Xcrc => Capability::Xcrc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_the_server_does_not_know_is_not_tried_again() {
        let profile = ServerProfile::default();
        let left = || ModeWay::candidates(&profile).collect::<Vec<_>>();
        assert_eq!(left(), [ModeWay::SiteChmod, ModeWay::Mff]);
        profile.fails(Capability::SiteChmod, &"500");
        assert_eq!(left(), [ModeWay::Mff]);
        profile.fails(Capability::MffMode, &"500");
        assert_eq!(left(), []);
    }
}
