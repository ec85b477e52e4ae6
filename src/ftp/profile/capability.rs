//! The capabilities of a server that this client makes use of, each with one name.

/// Something that a server can do, or does as the RFCs say. The profile knows of each whether this
/// server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Capability {
    /// Commands sent in one write are answered one after the other, in order.
    Pipelining,
    /// A data connection agreed on (EPSV or PASV) before other commands stays good for the transfer
    /// after them.
    EarlyDataConnection,
    /// EPSV leads to a data connection (RFC 2428).
    Epsv,
    /// The data of an upload may arrive before the server's 150, and a command during a download.
    EarlyUpload,
    /// A command that arrives during an upload waits until the upload has ended.
    QueuesDuringUpload,
    /// A download's completion reply comes while this side has not closed the data connection.
    CompletesUnasked,
    /// The handshake may begin as soon as AUTH TLS is answered (RFC 4217 §4).
    PromptHandshake,
    /// Names are UTF-8 after `OPTS UTF8 ON` (RFC 2640).
    Utf8,

    /// MLSD (RFC 3659 §7).
    Mlsd,
    /// MLST (RFC 3659 §7).
    Mlst,
    /// STAT of a directory lists what LIST does, over the control connection (RFC 959 §4.1.3).
    StatListing,
    /// `LIST -a` shows hidden names; where it fails, LIST is sent without the option.
    ListAll,
    /// `MLSD -a` shows hidden names, which MLSD leaves out (Apache FtpServer).
    MlsdAll,
    /// LIST and MLSD list the directory of their argument; where it fails, CWD goes before.
    PathArgument,
    /// Listings show names that begin with a dot.
    ListsHidden,

    /// Listings and MLST tell the sizes of files that SIZE tells.
    ListedSizes,
    /// CWD refuses what is no directory (RFC 959 §4.1.1).
    CwdChecks,
    /// RNFR refuses a path where nothing is (RFC 959 §4.1.3).
    RnfrChecks,

    /// SIZE (RFC 3659 §4).
    Size,
    /// MDTM (RFC 3659 §3).
    Mdtm,
    /// MDTM tells UTC, as RFC 3659 §2.3 demands; where it fails, times are in the zone of LIST.
    MdtmUtc,
    /// A RETR begins where REST says (RFC 3659 §5).
    Rest,
    /// A restart marker is forgotten with the transfer that it was meant for, however that ends.
    RestForgotten,
    /// RANG before RETR (draft-bryan-ftp-range).
    Rang,
    /// AVBL (draft-peterson-streamlined-ftp-command-extensions).
    Avbl,

    /// MFMT sets a time (draft-somers-ftp-mfxx).
    Mfmt,
    /// MFF sets a time (draft-somers-ftp-mfxx).
    MffModify,
    /// SITE UTIME sets a time.
    SiteUtime,
    /// MDTM with a time before the path sets it.
    MdtmSet,
    /// Times of directories can be set, not only those of files (pyftpdlib, vsftpd).
    DirectoryTimes,
    /// SITE CHMOD sets a mode.
    SiteChmod,
    /// MFF sets a mode (draft-somers-ftp-mfxx).
    MffMode,
    /// Directories are listed with an x: the modes are Unix modes. Servers on other systems show
    /// `drw-rw-rw-`.
    DirectoryModes,

    /// HASH tells a digest (draft-bryan-ftpext-hash).
    Hash,
    /// XSHA256 tells a digest.
    Xsha256,
    /// XSHA1 tells a digest.
    Xsha1,
    /// XMD5 tells a digest.
    Xmd5,
    /// XCRC tells a digest.
    Xcrc,

    /// REST before STOR resumes an upload (RFC 3659 §5).
    RestStor,
    /// APPE resumes an upload (RFC 959 §4.1.3).
    Appe,
    /// RNTO replaces an existing file.
    RenameReplaces,
    /// A refused RNTO has renamed nothing.
    RenameRefusals,
    /// New names that begin with a dot are taken and shown.
    HiddenNames,
    /// New names beside a file are taken, and can be renamed.
    TemporaryNames,
    /// New names that end in a blank are kept as they are.
    TrailingBlankNames,
    /// New names that hold control characters are kept as they are.
    ControlNames,
    /// Plain names of 28 characters are kept.
    PlainNames,
    /// Names of 255 bytes are kept.
    LongNames,
    /// Capitals in names are kept.
    CapitalNames,
    /// Blanks within names are kept.
    BlankNames,
    /// Several blanks in a row within names are kept.
    BlankRunNames,
    /// A blank at the beginning of a name and a dot at its end are kept.
    EdgeNames,
    /// Words of names that begin with `-` are kept.
    DashNames,
    /// ASCII punctuation in names is kept.
    PunctuatedNames,
    /// Characters that Windows reserves are kept in names.
    ReservedNames,
    /// Double quotes in names are kept.
    QuotedNames,
    /// Backslashes in names are kept.
    BackslashNames,
    /// Characters beyond ASCII are kept in names.
    UnicodeNames,
    /// Composed and decomposed characters are kept as they are in names.
    AccentedNames,
    /// Characters with combining marks are kept as they are in names.
    MarkedNames,
    /// Characters beyond U+FFFF are kept in names.
    AstralNames,
    /// Bytes that are not UTF-8 are kept in names.
    RawNames,
    /// Names that differ in case are different.
    CaseSensitive,
}

/// What is fixed about a capability.
struct CapabilityRow {
    capability: Capability,
    /// Its name in `-o without=`, in the state directory and in `ftpfs check`.
    name: &'static str,
    /// Whether it is tried where nothing is known about it.
    assumed: bool,
    /// What its absence means, for the log and `ftpfs check`; it follows "the server".
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
            "keeps no data connection for later; EPSV or PASV goes right before each transfer",
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
            "is not known to take data before its 150",
        ),
        row(
            C::QueuesDuringUpload,
            "behind",
            false,
            "is not known to queue commands during an upload",
        ),
        row(
            C::CompletesUnasked,
            "unasked",
            true,
            "completes a download only when both sides have closed it",
        ),
        row(
            C::PromptHandshake,
            "handshake",
            true,
            "needs a moment between AUTH TLS and the handshake",
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
            "takes the -a of LIST for a name",
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
            "ignores the path of LIST and MLSD; CWD goes before",
        ),
        row(
            C::ListsHidden,
            "listhidden",
            true,
            "has listed no name that begins with a dot; such names are asked for one by one",
        ),
        row(
            C::ListedSizes,
            "listedsizes",
            true,
            "lists wrong sizes; each file is asked for its size",
        ),
        row(
            C::CwdChecks,
            "cwdchecks",
            true,
            "enters directories that are not there",
        ),
        row(
            C::RnfrChecks,
            "rnfrchecks",
            true,
            "does not tell by RNFR whether a name is there",
        ),
        row(C::Size, "size", true, "has no SIZE"),
        row(C::Mdtm, "mdtm", true, "has no MDTM"),
        row(C::MdtmUtc, "mdtmutc", true, "tells local times in MDTM"),
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
            "may keep a restart marker; REST 0 goes before the next transfer",
        ),
        row(C::Rang, "rang", true, "has no RANG"),
        row(C::Avbl, "avbl", true, "has no AVBL"),
        row(C::Mfmt, "mfmt", true, "has no MFMT"),
        row(C::MffModify, "mff", true, "sets no times by MFF"),
        row(C::SiteUtime, "utime", true, "has no SITE UTIME"),
        row(C::MdtmSet, "mdtmset", true, "sets no times by MDTM"),
        row(
            C::DirectoryTimes,
            "dirtimes",
            true,
            "sets times of files alone",
        ),
        row(C::SiteChmod, "chmod", true, "has no SITE CHMOD"),
        row(C::MffMode, "mffmode", true, "sets no modes by MFF"),
        row(
            C::DirectoryModes,
            "dirmodes",
            false,
            "is not known to list directories with an x; those that can be read are shown with one",
        ),
        row(C::Hash, "hash", true, "tells no digests by HASH"),
        row(C::Xsha256, "xsha256", true, "tells no digests by XSHA256"),
        row(C::Xsha1, "xsha1", true, "tells no digests by XSHA1"),
        row(C::Xmd5, "xmd5", true, "tells no digests by XMD5"),
        row(C::Xcrc, "xcrc", true, "tells no digests by XCRC"),
        row(C::RestStor, "reststor", true, "resumes no uploads by REST"),
        row(C::Appe, "appe", true, "resumes no uploads by APPE"),
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
            "renames files and says that it did not; both names are looked at",
        ),
        row(
            C::HiddenNames,
            "hidden",
            true,
            "takes or shows no names that begin with a dot; temporary names are visible",
        ),
        row(
            C::TemporaryNames,
            "temporary",
            true,
            "takes no temporary names; files are overwritten in place",
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
            "takes names that differ in case for the same",
        ),
    ]
};

// A profile holds what the user switched off in 64 bits.
const _: () = assert!(Capability::COUNT <= 64);

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
    /// How many there are.
    pub(super) const COUNT: usize = Self::CaseSensitive as usize + 1;

    /// All of them, in a fixed order.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.capability)
    }

    /// The capability called `name` in any case, as in `-o without=`.
    pub fn named(name: &str) -> Option<Self> {
        let row = ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(name));
        row.map(|row| row.capability)
    }

    /// Its name in `-o without=`, in the state directory and in `ftpfs check`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What it means that a server lacks it; a phrase that follows "the server".
    pub fn absence(self) -> &'static str {
        self.row().without
    }

    /// Whether it is tried where nothing is known about it.
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
