//! The kinds of server, and what each of them cannot do.

/// The servers that ftpfs is held against.
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
}

impl Kind {
    /// Every one of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Embedded,
        Self::Vsftpd,
        Self::Proftpd,
        Self::PureFtpd,
        Self::Pyftpdlib,
    ];

    /// The name `scripts/ftpd` knows it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Vsftpd => "vsftpd",
            Self::Proftpd => "proftpd",
            Self::PureFtpd => "pure-ftpd",
            Self::Pyftpdlib => "pyftpdlib",
        }
    }

    /// Whether it can demand that a data connection resumes a TLS session.
    pub(crate) fn demands_reuse(self) -> bool {
        matches!(self, Self::Embedded | Self::Vsftpd | Self::Proftpd)
    }
}
