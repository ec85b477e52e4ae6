//! The kinds of server, and what each of them cannot do.

use std::ffi::OsStr;

use super::tls::Tls;
use Kind::{
    Aioftp, Embedded, FtpSrv, Inetutils, Libunftp, Proftpd, PureFtpd, Pyftpdlib, Rclone, Twisted,
    Vsftpd,
};

/// The servers that ftpfs is tested with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The server of ftpfs itself.
    Embedded,
    /// vsftpd: no MLSD, refusals without a reason.
    Vsftpd,
    /// ProFTPD.
    Proftpd,
    /// Pure-FTPd.
    PureFtpd,
    /// pyftpdlib.
    Pyftpdlib,
    /// ftpd of GNU inetutils: no MLSD, no way to set a time.
    Inetutils,
    /// ftp-srv of npm: no MLSD; it drops words that begin with a dash from paths.
    FtpSrv,
    /// aioftp: no FEAT, SIZE or NOOP, and replies out of order to pipelined commands.
    Aioftp,
    /// Twisted: no MLSD, REST or APPE; it reads no command between EPSV and the data connection.
    Twisted,
    /// `rclone serve ftp`: writes whole files only.
    Rclone,
    /// libunftp with its file system backend: it answers pipelined commands out of order.
    Libunftp,
}

impl Kind {
    /// All servers that `scripts/ftpd` runs.
    pub(crate) const FOREIGN: [Self; 10] = [
        Vsftpd, Proftpd, PureFtpd, Pyftpdlib, Inetutils, FtpSrv, Aioftp, Twisted, Rclone, Libunftp,
    ];

    /// Returns the name that `scripts/ftpd` uses for the server.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Embedded => "embedded",
            Vsftpd => "vsftpd",
            Proftpd => "proftpd",
            PureFtpd => "pure-ftpd",
            Pyftpdlib => "pyftpdlib",
            Inetutils => "inetutils",
            FtpSrv => "ftp-srv",
            Aioftp => "aioftp",
            Twisted => "twisted",
            Rclone => "rclone",
            Libunftp => "libunftp",
        }
    }

    /// Returns what the server cannot do, each with the reason.
    fn lacks(self) -> &'static [(Lack, &'static str)] {
        use Lack::{Confinement, SetMode, SetTime, ShowLinks, ShowMode};
        match self {
            Embedded | Vsftpd | Proftpd | PureFtpd => &[],
            Pyftpdlib => &[(ShowLinks, "its listings and MLST describe the target")],
            Inetutils => &[(SetTime, "its MDTM only asks")],
            FtpSrv => &[
                (SetTime, "its MDTM only asks, and it has no MFMT"),
                (ShowLinks, "its listings describe the target"),
                (Confinement, "it follows links out of its root"),
            ],
            Aioftp => &[
                (SetTime, "it has no command for it"),
                (SetMode, "it has no command for it"),
                (ShowLinks, "its listings describe the target"),
                (Confinement, "it follows links out of its root"),
            ],
            Twisted => &[
                (SetTime, "its MDTM only asks, and it has no MFMT"),
                (SetMode, "it has no SITE"),
                (ShowLinks, "its listings describe the target"),
                (Confinement, "it follows links out of its root"),
            ],
            Rclone => &[
                (SetTime, "its MDTM only asks, and it has no MFMT"),
                (SetMode, "its SITE has no CHMOD"),
                (ShowMode, "MLSD and MLST have no mode"),
                (ShowLinks, "it hides them"),
            ],
            Libunftp => &[
                (SetTime, "its MDTM only asks, and it has no MFMT"),
                (SetMode, "its SITE has no CHMOD"),
            ],
        }
    }

    /// Whether the server can do this.
    pub(crate) fn can(self, what: Lack) -> bool {
        self.lacks().iter().all(|(lack, _)| *lack != what)
    }

    /// Whether the server serves a file of this name on its disk, byte for byte.
    pub(crate) fn takes(self, name: &OsStr) -> bool {
        let bytes = name.as_encoded_bytes();
        let has = |test: fn(&u8) -> bool| bytes.iter().any(test);
        match self {
            // Pure-FTPd forbids backslashes and hides control characters.
            PureFtpd => !has(|byte| *byte == b'\\' || byte.is_ascii_control()),
            // ftp-srv drops quotes and treats a backslash as a slash.
            FtpSrv => !has(|byte| matches!(byte, b'"' | b'\\')),
            // aioftp strips blanks from the end of a command.
            Aioftp => !bytes.ends_with(b" "),
            // Twisted encodes names as UTF-8 in listings, but decodes them as Latin-1 in commands.
            Twisted => bytes.is_ascii(),
            // rclone replaces control characters with their symbols.
            Rclone => !has(u8::is_ascii_control),
            Embedded | Vsftpd | Proftpd | Pyftpdlib | Inetutils | Libunftp => true,
        }
    }

    /// Whether a client can create a file of this name.
    pub(crate) fn makes(self, name: &OsStr) -> bool {
        // Pure-FTPd turns `trailing ` into `trailing_`.
        let is_changed = self == PureFtpd && name.as_encoded_bytes().ends_with(b" ");
        self.takes(name) && !is_changed
    }

    /// Whether a client can create a directory of this name.
    pub(crate) fn makes_directory(self, name: &OsStr) -> bool {
        // ProFTPD forbids stars.
        let is_forbidden = self == Proftpd && name.as_encoded_bytes().contains(&b'*');
        self.makes(name) && !is_forbidden
    }

    /// Returns how the server treats names that are not UTF-8.
    pub(crate) fn raw_names(self) -> RawNames {
        match self {
            // 0xFF begins a Telnet command in inetutils (RFC 854).
            Inetutils => RawNames::KeptExcept(0xff),
            Pyftpdlib => RawNames::Replaced('?'),
            Libunftp => RawNames::Replaced('\u{fffd}'),
            FtpSrv => RawNames::Hidden,
            // These servers fail to list the directory.
            Aioftp | Twisted => RawNames::Unlistable,
            Embedded | Vsftpd | Proftpd | PureFtpd | Rclone => RawNames::Kept,
        }
    }

    /// Whether the server can require data connections to resume a TLS session.
    pub(crate) fn demands_reuse(self) -> bool {
        matches!(self, Embedded | Vsftpd | Proftpd)
    }

    /// Returns how the server speaks TLS when every test server must; None if it cannot.
    pub(super) fn tls(self) -> Option<Tls> {
        match self {
            // The first two have no TLS. rclone has only implicit TLS, refuses PBSZ, and does not
            // use TLS on its data connections.
            Inetutils | Twisted | Rclone => None,
            // aioftp has no AUTH. In ftp-srv, a ClientHello that follows the 234 immediately may
            // reach the command parser.
            FtpSrv | Aioftp => Some(Tls::IMPLICIT),
            _ if self.demands_reuse() => Some(Tls::REQUIRED.with_reuse()),
            _ => Some(Tls::REQUIRED),
        }
    }
}

/// Something that some servers cannot do. The stories assert the behavior that remains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Set the time of a file.
    SetTime,
    /// Set the permissions of a file.
    SetMode,
    /// Show the permissions of a file.
    ShowMode,
    /// Show a symbolic link as a link.
    ShowLinks,
    /// Treat the root as `/` when following a link.
    Confinement,
}

/// How a server treats names that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawNames {
    /// They are treated like any other name.
    Kept,
    /// They are treated like any other name, but this byte is lost.
    KeptExcept(u8),
    /// This character replaces each byte that is not UTF-8. No file has the displayed name.
    Replaced(char),
    /// They are not listed.
    Hidden,
    /// A directory that contains such a name cannot be listed.
    Unlistable,
}
