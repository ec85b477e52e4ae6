//! Capabilities of servers that this client uses, each with a name.

/// A capability of a server: an optional feature, or a behaviour required by the RFCs. The profile
/// records for each whether the server has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Capability {
    /// Answers commands that arrive in one write one after the other, in order.
    Pipelining,
    /// Keeps a data connection that was set up (EPSV or PASV) before other commands for the next
    /// transfer.
    EarlyDataConnection,
    /// Supports EPSV (RFC 2428).
    Epsv,
    /// Accepts upload data before its 150, and commands during a download.
    EarlyUpload,
    /// Queues a command that arrives during an upload until its end.
    QueuesDuringUpload,
    /// Waits after an upload until the client has acknowledged the end of the data connection
    /// (SO_LINGER), unless the client resets it.
    LingersAfterUpload,
    /// Sends the completion reply of a download before the client closes the data connection.
    CompletesUnasked,
    /// Accepts a handshake immediately after the reply to AUTH TLS (RFC 4217 §4).
    PromptHandshake,
    /// Answers the commands of the login that arrive in one write one after the other, in order.
    PipelinedLogin,
    /// Needs PRET before EPSV and PASV if it lists PRET in FEAT.
    Pret,
    /// Sends all data of a download over TLS 1.3 after the client's close_notify (RFC 8446 §6.1).
    EarlyCloseNotify,
    /// Uses UTF-8 for names after `OPTS UTF8 ON` (RFC 2640).
    Utf8,

    /// Supports MLSD (RFC 3659 §7).
    Mlsd,
    /// Supports MLST (RFC 3659 §7).
    Mlst,
    /// STAT of a directory returns the lines of LIST on the control connection (RFC 959 §4.1.3).
    StatListing,
    /// `LIST -a` shows hidden names. Otherwise LIST is sent without the option.
    ListAll,
    /// `MLSD -a` shows hidden names, which MLSD omits (Apache FtpServer).
    MlsdAll,
    /// LIST and MLSD list the directory in their argument. Otherwise CWD is sent first.
    PathArgument,
    /// Listings include names that begin with a dot.
    ListsHidden,

    /// Listings and MLST report the same file sizes as SIZE.
    ListedSizes,
    /// CWD refuses paths that are not directories (RFC 959 §4.1.1).
    CwdChecks,
    /// RNFR refuses paths that do not exist (RFC 959 §4.1.3).
    RnfrChecks,

    /// Supports SIZE (RFC 3659 §4).
    Size,
    /// Supports MDTM (RFC 3659 §3).
    Mdtm,
    /// MDTM reports UTC, as required by RFC 3659 §2.3. Otherwise its times are in the zone of LIST.
    MdtmUtc,
    /// RETR starts at the offset of REST (RFC 3659 §5).
    Rest,
    /// A restart marker is reset at the end of its transfer, however that ends.
    RestForgotten,
    /// Supports RANG before RETR (draft-bryan-ftp-range).
    Rang,
    /// Supports AVBL (draft-peterson-streamlined-ftp-command-extensions).
    Avbl,
    /// SITE QUOTA shows a quota in bytes (mod_quotatab of ProFTPD).
    SiteQuota,
    /// XQUOTA shows a quota in bytes (WS_FTP Server).
    Xquota,

    /// MFMT sets times (draft-somers-ftp-mfxx).
    Mfmt,
    /// MFF sets times (draft-somers-ftp-mfxx).
    MffModify,
    /// SITE UTIME sets times.
    SiteUtime,
    /// MDTM with a time before the path sets it.
    MdtmSet,
    /// Times of directories can be set, not only those of files (pyftpdlib, vsftpd).
    DirectoryTimes,
    /// SITE CHMOD sets modes.
    SiteChmod,
    /// MFF sets modes (draft-somers-ftp-mfxx).
    MffMode,
    /// SITE CHGRP sets groups.
    SiteChgrp,
    /// MFF sets groups (draft-somers-ftp-mfxx).
    MffGroup,
    /// Directories are listed with an x for all who may read them, so modes are Unix modes. Other
    /// systems show `drw-rw-rw-`.
    DirectoryModes,

    /// The `perm` facts of MLSD and MLST apply to this login (RFC 3659 §7.5.5).
    PermFacts,

    /// HASH returns digests (draft-bryan-ftpext-hash).
    Hash,
    /// XSHA256 returns digests.
    Xsha256,
    /// XSHA1 returns digests.
    Xsha1,
    /// XMD5 returns digests.
    Xmd5,
    /// XCRC returns digests.
    Xcrc,

    /// SITE CPFR and SITE CPTO copy a file on the server (mod_copy of ProFTPD).
    CopyPair,
    /// SITE COPY with two paths copies a file on the server.
    SiteCopy,
    /// SITE SYMLINK makes symbolic links (mod_site_misc of ProFTPD).
    SiteSymlink,

    /// REST before STOR resumes an upload (RFC 3659 §5).
    RestStor,
    /// APPE resumes an upload (RFC 959 §4.1.3).
    Appe,
    /// STOR truncates even the file that it has just created, and APPE creates a file without that.
    /// A truncated file on ext4 is written to the disk when it is closed.
    StoreTruncates,
    /// RNTO replaces an existing file.
    RenameReplaces,
    /// A refused RNTO has renamed nothing.
    RenameRefusals,
    /// New names that begin with a dot are accepted and listed.
    HiddenNames,
    /// New names next to a file are accepted and can be renamed.
    TemporaryNames,
    /// New names that end in a blank are preserved.
    TrailingBlankNames,
    /// New names with control characters are preserved.
    ControlNames,
    /// Plain names of 28 characters are preserved.
    PlainNames,
    /// Names of 255 bytes are preserved.
    LongNames,
    /// Capitals in names are preserved.
    CapitalNames,
    /// Blanks within names are preserved.
    BlankNames,
    /// Several blanks in a row within names are preserved.
    BlankRunNames,
    /// A blank at the beginning of a name and a dot at its end are preserved.
    EdgeNames,
    /// Words in names that begin with `-` are preserved.
    DashNames,
    /// ASCII punctuation in names is preserved.
    PunctuatedNames,
    /// Characters in names that Windows reserves are preserved.
    ReservedNames,
    /// Double quotes in names are preserved.
    QuotedNames,
    /// Backslashes in names are preserved.
    BackslashNames,
    /// Characters beyond ASCII in names are preserved.
    UnicodeNames,
    /// Composed and decomposed characters in names are preserved as they are.
    AccentedNames,
    /// Characters with combining marks in names are preserved as they are.
    MarkedNames,
    /// Characters beyond U+FFFF in names are preserved.
    AstralNames,
    /// Bytes in names that are not UTF-8 are preserved.
    RawNames,
    /// Names that differ in case are different.
    CaseSensitive,
}

/// Static properties of a capability.
struct CapabilityRow {
    capability: Capability,
    /// Name in `-o without=`, in the state directory and in `ftpfs check`.
    name: &'static str,
    /// Whether to try it while nothing is known.
    assumed: bool,
    /// Meaning of its absence for the log and `ftpfs check`; follows "the server".
    without: &'static str,
}

const fn row(
    capability: Capability,
    name: &'static str,
    assumed: bool,
    without: &'static str,
) -> CapabilityRow {
    CapabilityRow {
        capability,
        name,
        assumed,
        without,
    }
}

/// One row per capability, in the order of the enum.
const ROWS: [CapabilityRow; Capability::COUNT] = {
    use Capability as C;
    [
        row(
            C::Pipelining,
            "pipeline",
            true,
            "does not support pipelining; commands are sent one at a time",
        ),
        row(
            C::EarlyDataConnection,
            "early",
            true,
            "does not keep data connections; EPSV or PASV is sent right before each transfer",
        ),
        row(
            C::Epsv,
            "epsv",
            true,
            "has no EPSV that works; PASV is used",
        ),
        row(
            C::EarlyUpload,
            "earlyupload",
            false,
            "is not known to accept data before its 150",
        ),
        row(
            C::QueuesDuringUpload,
            "behind",
            false,
            "is not known to queue commands during an upload",
        ),
        row(
            C::LingersAfterUpload,
            "lingers",
            false,
            "does not receive all data of a connection that is reset behind its end",
        ),
        row(
            C::CompletesUnasked,
            "unasked",
            true,
            "completes a download only after both sides have closed it",
        ),
        row(
            C::PromptHandshake,
            "handshake",
            true,
            "needs a pause between AUTH TLS and the handshake",
        ),
        row(
            C::PipelinedLogin,
            "loginpipeline",
            false,
            "is not known to queue commands during the login",
        ),
        row(C::Pret, "pret", true, "needs no PRET; it is not sent"),
        row(
            C::EarlyCloseNotify,
            "earlyclose",
            false,
            "is not known to go on after a close_notify",
        ),
        row(C::Utf8, "utf8", true, "is not asked for UTF-8 names"),
        row(C::Mlsd, "mlsd", true, "has no MLSD"),
        row(C::Mlst, "mlst", true, "has no MLST"),
        row(
            C::StatListing,
            "stat",
            false,
            "is not known to list directories by STAT",
        ),
        row(
            C::ListAll,
            "list-a",
            true,
            "treats the -a of LIST as a name",
        ),
        row(
            C::MlsdAll,
            "mlsd-a",
            false,
            "is not known to need -a after MLSD",
        ),
        row(
            C::PathArgument,
            "listpath",
            true,
            "ignores the path of LIST and MLSD; CWD is sent first",
        ),
        row(
            C::ListsHidden,
            "listhidden",
            true,
            "has not listed a name that begins with a dot; such names are looked up one by one",
        ),
        row(
            C::ListedSizes,
            "listedsizes",
            true,
            "lists wrong sizes; SIZE is sent for each file",
        ),
        row(
            C::CwdChecks,
            "cwdchecks",
            true,
            "accepts CWD into directories that do not exist",
        ),
        row(
            C::RnfrChecks,
            "rnfrchecks",
            true,
            "does not show by RNFR whether a name exists",
        ),
        row(C::Size, "size", true, "has no SIZE"),
        row(C::Mdtm, "mdtm", true, "has no MDTM"),
        row(C::MdtmUtc, "mdtmutc", true, "reports local times in MDTM"),
        row(
            C::Rest,
            "rest",
            true,
            "has no REST that works; reads begin at the start",
        ),
        row(
            C::RestForgotten,
            "restforgotten",
            false,
            "may keep a restart marker; REST 0 is sent before the next transfer",
        ),
        row(C::Rang, "rang", true, "has no RANG"),
        row(C::Avbl, "avbl", true, "has no AVBL"),
        row(C::SiteQuota, "sitequota", true, "has no SITE QUOTA"),
        row(C::Xquota, "xquota", false, "is not known to have XQUOTA"),
        row(C::Mfmt, "mfmt", true, "has no MFMT"),
        row(C::MffModify, "mff", true, "sets no times by MFF"),
        row(C::SiteUtime, "utime", true, "has no SITE UTIME"),
        row(C::MdtmSet, "mdtmset", true, "sets no times by MDTM"),
        row(
            C::DirectoryTimes,
            "dirtimes",
            true,
            "sets times of files only",
        ),
        row(C::SiteChmod, "chmod", true, "has no SITE CHMOD"),
        row(C::MffMode, "mffmode", true, "sets no modes by MFF"),
        row(C::SiteChgrp, "chgrp", true, "has no SITE CHGRP"),
        row(C::MffGroup, "mffgroup", true, "sets no groups by MFF"),
        row(
            C::DirectoryModes,
            "dirmodes",
            false,
            "is not known to list directories with an x; readable ones are shown with one",
        ),
        row(
            C::PermFacts,
            "perm",
            true,
            "allows what its perm facts deny",
        ),
        row(C::Hash, "hash", true, "returns no digests by HASH"),
        row(C::Xsha256, "xsha256", true, "returns no digests by XSHA256"),
        row(C::Xsha1, "xsha1", true, "returns no digests by XSHA1"),
        row(C::Xmd5, "xmd5", true, "returns no digests by XMD5"),
        row(C::Xcrc, "xcrc", true, "returns no digests by XCRC"),
        row(
            C::CopyPair,
            "copy",
            false,
            "is not known to copy files by SITE CPFR and SITE CPTO",
        ),
        row(
            C::SiteCopy,
            "sitecopy",
            false,
            "is not known to copy files by SITE COPY",
        ),
        row(
            C::SiteSymlink,
            "symlink",
            false,
            "is not known to make links by SITE SYMLINK",
        ),
        row(C::RestStor, "reststor", true, "resumes no uploads by REST"),
        row(C::Appe, "appe", true, "resumes no uploads by APPE"),
        row(
            C::StoreTruncates,
            "truncates",
            false,
            "takes large new files by STOR",
        ),
        row(
            C::RenameReplaces,
            "replace",
            true,
            "does not rename onto an existing file; the old one is moved aside first",
        ),
        row(
            C::RenameRefusals,
            "refusals",
            true,
            "renames files and reports a failure; both names are checked",
        ),
        row(
            C::HiddenNames,
            "hidden",
            true,
            "does not accept or list names that begin with a dot; temporary names are visible",
        ),
        row(
            C::TemporaryNames,
            "temporary",
            true,
            "does not accept temporary names; files are overwritten in place",
        ),
        row(
            C::TrailingBlankNames,
            "trailingblanks",
            true,
            "changes names that end in a blank",
        ),
        row(
            C::ControlNames,
            "controls",
            true,
            "changes names with control characters",
        ),
        row(
            C::PlainNames,
            "plainnames",
            true,
            "changes plain names of 28 characters",
        ),
        row(C::LongNames, "longnames", true, "cuts long names"),
        row(
            C::CapitalNames,
            "capitals",
            true,
            "changes capitals in names",
        ),
        row(C::BlankNames, "blanks", true, "changes names with blanks"),
        row(C::BlankRunNames, "blankruns", true, "joins blanks in names"),
        row(
            C::EdgeNames,
            "edges",
            true,
            "drops blanks before names or dots after them",
        ),
        row(
            C::DashNames,
            "dashes",
            true,
            "drops words of names that begin with a dash",
        ),
        row(
            C::PunctuatedNames,
            "punctuation",
            true,
            "changes punctuation in names",
        ),
        row(
            C::ReservedNames,
            "reserved",
            true,
            "changes names with characters that Windows reserves",
        ),
        row(
            C::QuotedNames,
            "quotes",
            true,
            "changes names with double quotes",
        ),
        row(
            C::BackslashNames,
            "backslashes",
            true,
            "changes names with backslashes",
        ),
        row(
            C::UnicodeNames,
            "unicode",
            true,
            "changes characters beyond ASCII in names",
        ),
        row(
            C::AccentedNames,
            "accents",
            true,
            "normalises characters in names",
        ),
        row(
            C::MarkedNames,
            "marks",
            true,
            "composes characters in names",
        ),
        row(
            C::AstralNames,
            "astral",
            true,
            "changes characters beyond U+FFFF in names",
        ),
        row(
            C::RawNames,
            "rawnames",
            true,
            "changes bytes of names that are not UTF-8",
        ),
        row(
            C::CaseSensitive,
            "case",
            true,
            "treats names that differ in case as the same",
        ),
    ]
};

// A profile stores what the user disabled in 128 bits.
const _: () = assert!(Capability::COUNT <= 128);

// The table is indexed by the enum's values.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler evaluates this: an index out of bounds does not compile"
)]
const _: () = {
    let mut index = 0;
    while index < ROWS.len() {
        assert!(ROWS[index].capability as usize == index);
        index += 1;
    }
};

impl Capability {
    /// Number of capabilities.
    pub(super) const COUNT: usize = Self::CaseSensitive as usize + 1;

    /// Iterates over all capabilities in a fixed order.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.capability)
    }

    /// Returns the capability called `name` in any case, as in `-o without=`.
    pub fn named(name: &str) -> Option<Self> {
        let row = ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(name));
        row.map(|row| row.capability)
    }

    /// Name in `-o without=`, in the state directory and in `ftpfs check`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Meaning of its absence: a phrase that follows "the server".
    pub fn absence(self) -> &'static str {
        self.row().without
    }

    /// Whether to try it while nothing is known.
    pub(super) fn is_assumed(self) -> bool {
        self.row().assumed
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the table has a row for each value, which a const assertion checks"
    )]
    fn row(self) -> &'static CapabilityRow {
        &ROWS[self.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_is_found_by_its_own_name() {
        for capability in Capability::all() {
            assert_eq!(Capability::named(capability.name()), Some(capability));
            let upper = capability.name().to_ascii_uppercase();
            assert_eq!(Capability::named(&upper), Some(capability));
        }
        assert_eq!(Capability::named("nosuch"), None);
        assert_eq!(Capability::all().count(), Capability::COUNT);
    }
}
