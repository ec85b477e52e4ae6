//! Known servers, and their properties that cannot be observed without harm.
//!
//! A server that does not accept data before its command closes the connection and waits for
//! another, so trying it costs an upload. Such properties are therefore assumed only for servers
//! that were tested. They are recognised by their greeting or their features.
//!
//! - vsftpd's `hide_file` and ProFTPD's `HideFiles` omit names from listings, mainly those that
//!   begin with a dot: neither is known to list these.
//! - vsftpd 3.0 implements LIST and STAT with the same code, so they are equivalent. Its
//!   `use_localtime` applies to LIST and MDTM alike (vsftpd.conf(5)), although RFC 3659 §2.3
//!   requires UTC. Its MDTM sets the times of regular files only.
//! - ProFTPD 1.3 sends the 226 of a download only after the client has closed its side, and checks
//!   for commands while it receives an upload.
//! - Pure-FTPd 1.0 treats any command during an upload as ABOR. It silently replaces control
//!   characters and a trailing blank in new names with `_`.
//! - pyftpdlib 2.2 executes a command immediately, even during a transfer, and closes a data
//!   connection on which bytes arrive before their command. It replaces bytes in new names that are
//!   not UTF-8 with U+FFFD. Its MFMT sets the times of files only.

use super::Capability as C;
use crate::ftp::features::Features;

/// A tested server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Vsftpd,
    Proftpd,
    PureFtpd,
    Pyftpdlib,
    /// The server of this program.
    Ftpfs,
}

impl Family {
    /// Recognises a server by its greeting, in lower case, and its features.
    pub(super) fn of(greeting: &str, features: &Features) -> Option<Self> {
        let greetings = [
            ("vsftpd", Self::Vsftpd),
            ("proftpd", Self::Proftpd),
            ("pure-ftpd", Self::PureFtpd),
            ("pyftpdlib", Self::Pyftpdlib),
            ("ftpfs server", Self::Ftpfs),
        ];
        if let Some((_, family)) = greetings.iter().find(|it| greeting.contains(it.0)) {
            return Some(*family);
        }
        let has_all = |names: &[&str]| names.iter().all(|name| features.has(name));
        let facts = features.parameters("MFF").unwrap_or_default();
        if has_all(&["PASV", "EPRT", "TVFS"]) && !features.has("MLST") {
            // PASV is older than FEAT: only vsftpd lists it.
            Some(Self::Vsftpd)
        } else if has_all(&["ESTA", "ESTP"]) {
            // Extensions specific to Pure-FTPd.
            Some(Self::PureFtpd)
        } else if facts.contains("UNIX.group") {
            Some(Self::Proftpd)
        } else {
            None
        }
    }

    /// Properties of servers with these features. libunftp's MLSD, MLST and SIZE report a symlink
    /// as a file as long as the name of its target, which would truncate the target; its LIST shows
    /// links. It is the only one that lists MLST without facts, and it has its own SITE MD5.
    pub(super) fn quirks_by_features(features: &Features) -> &'static [(C, bool)] {
        if features.parameters("MLST") == Some("") && features.has("SITE MD5") {
            &[(C::Mlsd, false), (C::Mlst, false)]
        } else {
            &[]
        }
    }

    /// Properties of servers that greet with `greeting`, in lower case. vsftpd's APPE keeps what a
    /// file contains. Features do not prove that, and neither does the greeting of pyftpdlib, which
    /// other programs use: copyparty removed the file first.
    pub(super) fn quirks_by_greeting(greeting: &str) -> &'static [(C, bool)] {
        if greeting.contains("(vsftpd ") {
            &[(C::Appe, true)]
        } else {
            &[]
        }
    }

    /// Properties of servers that answer SYST with `system`, in lower case. Apache FtpServer, and
    /// servers that embed it, identify themselves there; its MLSD omits names that begin with a
    /// dot.
    pub(super) fn quirks_by_system(system: &str) -> &'static [(C, bool)] {
        if system.contains("apache ftpserver") {
            &[(C::MlsdAll, true)]
        } else {
            &[]
        }
    }

    /// Capabilities that all families have if FEAT lists them.
    pub(super) const TRUE_TO_FEAT: [C; 4] = [C::Mlsd, C::Mlst, C::Size, C::Mdtm];

    /// Kinds of names that all families preserve, except as listed in their quirks.
    pub(super) const NAMES: [C; 18] = [
        C::PlainNames,
        C::LongNames,
        C::CapitalNames,
        C::BlankNames,
        C::BlankRunNames,
        C::EdgeNames,
        C::TrailingBlankNames,
        C::ControlNames,
        C::DashNames,
        C::PunctuatedNames,
        C::ReservedNames,
        C::QuotedNames,
        C::BackslashNames,
        C::UnicodeNames,
        C::AccentedNames,
        C::MarkedNames,
        C::AstralNames,
        C::RawNames,
    ];

    /// The capabilities that this family is known to have or to lack.
    pub(super) fn quirks(self) -> &'static [(C, bool)] {
        match self {
            Self::Vsftpd => &[
                (C::PathArgument, true),
                (C::CwdChecks, true),
                (C::Pipelining, true),
                (C::PipelinedLogin, true),
                (C::EarlyCloseNotify, true),
                (C::EarlyDataConnection, true),
                (C::EarlyUpload, true),
                (C::QueuesDuringUpload, true),
                (C::LingersAfterUpload, true),
                (C::StatListing, true),
                (C::MdtmUtc, false),
                (C::SiteUtime, false),
                (C::DirectoryTimes, false),
                (C::StoreTruncates, true),
                (C::Rest, true),
                (C::RestForgotten, true),
                (C::RenameRefusals, true),
            ],
            Self::Proftpd => &[
                (C::PathArgument, true),
                (C::CwdChecks, true),
                (C::Pipelining, true),
                (C::PipelinedLogin, true),
                (C::EarlyDataConnection, true),
                (C::EarlyUpload, true),
                (C::CompletesUnasked, false),
                (C::Rest, true),
                (C::RestForgotten, true),
                (C::RenameRefusals, true),
            ],
            Self::PureFtpd => &[
                (C::PathArgument, true),
                (C::ListsHidden, true),
                (C::CwdChecks, true),
                (C::Pipelining, true),
                (C::PipelinedLogin, true),
                (C::Pret, false),
                (C::EarlyDataConnection, true),
                (C::EarlyUpload, true),
                (C::TrailingBlankNames, false),
                (C::ControlNames, false),
                (C::Rest, true),
                (C::RestForgotten, true),
                (C::RenameRefusals, true),
            ],
            Self::Pyftpdlib => &[
                (C::RawNames, false),
                (C::DirectoryTimes, false),
                (C::PathArgument, true),
                (C::ListsHidden, true),
                (C::CwdChecks, true),
                (C::Pipelining, true),
                (C::PipelinedLogin, true),
                (C::EarlyDataConnection, true),
                (C::RestForgotten, true),
                (C::RenameRefusals, true),
            ],
            Self::Ftpfs => &[
                (C::PathArgument, true),
                (C::ListsHidden, true),
                (C::CwdChecks, true),
                (C::Pipelining, true),
                (C::PipelinedLogin, true),
                (C::EarlyDataConnection, true),
                (C::EarlyUpload, true),
                (C::QueuesDuringUpload, true),
                (C::Rest, true),
                (C::RestForgotten, true),
                (C::RenameRefusals, true),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(names: &[&str]) -> Features {
        Features::named(names)
    }

    #[test]
    fn servers_are_known_by_their_greeting() {
        for (greeting, family) in [
            ("(vsftpd 3.0.3)", Some(Family::Vsftpd)),
            (
                "proftpd server (ftp) [::ffff:127.0.0.1]",
                Some(Family::Proftpd),
            ),
            (
                "---------- welcome to pure-ftpd [privsep] [tls] ----------",
                Some(Family::PureFtpd),
            ),
            ("pyftpdlib 2.2.0 ready.", Some(Family::Pyftpdlib)),
            ("ftpfs server ready", Some(Family::Ftpfs)),
            ("microsoft ftp service", None),
            ("", None),
        ] {
            assert_eq!(Family::of(greeting, &features(&[])), family, "{greeting}");
        }
    }

    #[test]
    fn only_a_greeting_shows_that_a_server_appends() {
        let appends = |greeting: &str| Family::quirks_by_greeting(greeting) == [(C::Appe, true)];
        assert!(appends("(vsftpd 3.0.3)"));
        for greeting in ["hello", "pyftpdlib 2.2.0 ready.", "proftpd server (ftp)"] {
            assert!(!appends(greeting));
        }
        let all = [
            Family::Vsftpd,
            Family::Proftpd,
            Family::PureFtpd,
            Family::Pyftpdlib,
        ];
        let quirks = all.iter().flat_map(|family| family.quirks());
        assert!(quirks.clone().all(|(capability, _)| *capability != C::Appe));
    }

    #[test]
    fn facts_of_libunftp_are_not_used() {
        let quirks = |names: &[&str]| Family::quirks_by_features(&features(names)).len();
        assert_eq!(quirks(&["EPSV", "MLSD", "MLST", "SITE MD5", "SIZE"]), 2);
        assert_eq!(quirks(&["MLST type*;size*;", "SITE MD5"]), 0);
        assert_eq!(quirks(&["MLST", "SITE CHMOD"]), 0);
    }

    #[test]
    fn servers_that_greet_otherwise_are_known_by_their_features() {
        for (names, family) in [
            (
                ["EPRT", "EPSV", "MDTM", "PASV", "SIZE", "TVFS"].as_slice(),
                Some(Family::Vsftpd),
            ),
            (
                &["MFF modify;UNIX.group;UNIX.mode;", "MLST modify*;"],
                Some(Family::Proftpd),
            ),
            (
                &["MLST type*;", "ESTA", "ESTP", "EPSV"],
                Some(Family::PureFtpd),
            ),
            (
                &["EPRT", "EPSV", "MLST type*;perm*;size*;", "TVFS", "UTF8"],
                None,
            ),
        ] {
            assert_eq!(Family::of("hello", &features(names)), family, "{names:?}");
        }
    }
}
