//! The kinds of server, and what each of them cannot do.

use super::tls::Tls;
use Kind::{
    Aioftp, Embedded, FtpSrv, Inetutils, Libunftp, Proftpd, PureFtpd, Pyftpdlib, Rclone, Twisted,
    Vsftpd,
};

/// The servers that ftpfs is tested with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ftpfs's own.
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
    /// All that `scripts/ftpd` runs.
    pub(crate) const FOREIGN: [Self; 10] = [
        Vsftpd, Proftpd, PureFtpd, Pyftpdlib, Inetutils, FtpSrv, Aioftp, Twisted, Rclone, Libunftp,
    ];

    /// The name `scripts/ftpd` knows it by.
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

    /// Whether it can demand that a data connection resumes a TLS session.
    pub(crate) fn demands_reuse(self) -> bool {
        matches!(self, Embedded | Vsftpd | Proftpd)
    }

    /// How it speaks TLS where every server of a test does; None if it cannot.
    pub(super) fn tls(self) -> Option<Tls> {
        match self {
            Inetutils | Twisted => None,
            Aioftp | Rclone => Some(Tls::IMPLICIT),
            _ if self.demands_reuse() => Some(Tls::REQUIRED.with_reuse()),
            _ => Some(Tls::REQUIRED),
        }
    }
}
