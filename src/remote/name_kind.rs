//! Kinds of names that some servers change: they drop words, replace bytes, normalise characters or
//! truncate names.
//!
//! A name has the kinds of its components. A server that preserved one name of a kind preserves the
//! others, so each kind is tried once per server, with a name that cannot belong to another file
//! ([`trial_name`]).

use crate::ftp::Capability;

/// Longest name that fits on servers with eight characters and an extension of three.
pub(super) const SHORT: (usize, usize) = (8, 3);
/// Number of characters of a kind in a trial name.
const SAMPLES: usize = 6;

/// A property of a name that a server may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    /// `A` to `Z`.
    Capitals,
    /// Blanks inside the name.
    Blanks,
    /// Several consecutive blanks inside the name.
    BlankRuns,
    /// A blank at the beginning, or a dot at the end.
    Edges,
    /// A blank at the end. Servers that strip it from commands may preserve control characters
    /// (aioftp), and the other way round (rclone).
    TrailingBlank,
    /// Control characters.
    Controls,
    /// A word that begins with `-`, which some servers take for an option.
    Dashes,
    /// ASCII punctuation other than `-`, `_` and `.`.
    Punctuation,
    /// Characters that Windows reserves, except for the next two kinds.
    Reserved,
    /// Double quotes, which some servers strip from paths (ftp-srv).
    Quotes,
    /// Backslashes, which some servers take for slashes.
    Backslashes,
    /// Characters beyond ASCII.
    Unicode,
    /// Characters that Unicode normalisation may change.
    Accents,
    /// Characters with combining marks, which normalisation may compose.
    Marks,
    /// Characters beyond U+FFFF.
    Astral,
    /// Bytes that are not UTF-8.
    Raw,
}

impl NameKind {
    /// Returns the capability of a server that preserves such names.
    pub(super) fn capability(self) -> Capability {
        match self {
            Self::Capitals => Capability::CapitalNames,
            Self::Blanks => Capability::BlankNames,
            Self::BlankRuns => Capability::BlankRunNames,
            Self::Edges => Capability::EdgeNames,
            Self::TrailingBlank => Capability::TrailingBlankNames,
            Self::Controls => Capability::ControlNames,
            Self::Dashes => Capability::DashNames,
            Self::Punctuation => Capability::PunctuatedNames,
            Self::Reserved => Capability::ReservedNames,
            Self::Quotes => Capability::QuotedNames,
            Self::Backslashes => Capability::BackslashNames,
            Self::Unicode => Capability::UnicodeNames,
            Self::Accents => Capability::AccentedNames,
            Self::Marks => Capability::MarkedNames,
            Self::Astral => Capability::AstralNames,
            Self::Raw => Capability::RawNames,
        }
    }
}

/// Returns the kinds of `name`, each once.
pub(super) fn kinds(name: &[u8]) -> Vec<NameKind> {
    let mut kinds = Vec::new();
    for (_, kind) in units(name) {
        if let Some(kind) = kind
            && !kinds.contains(&kind)
        {
            kinds.push(kind);
        }
    }
    kinds
}

/// Returns the length that a server must preserve for `name`, or `None` if the name fits in eight
/// characters and an extension of three.
pub(super) fn length(name: &[u8]) -> Option<usize> {
    let mut parts = name.split(|byte| *byte == b'.');
    let base = parts.next().map_or(0, <[u8]>::len);
    let extension = parts.next().map_or(0, <[u8]>::len);
    let is_short = parts.next().is_none() && (1..=SHORT.0).contains(&base) && extension <= SHORT.1;
    (!is_short).then_some(name.len().max(SHORT.0 + SHORT.1 + 2))
}

/// Returns a name around `token` that has the kinds `of`, as `name` has them, and is `length` bytes
/// long if possible. The token is truncated if it does not fit.
pub(super) fn trial_name(
    name: &[u8],
    of: &[NameKind],
    token: &[u8],
    length: Option<usize>,
) -> Vec<u8> {
    let mut counts: Vec<NameKind> = Vec::new();
    let mut lead: Vec<u8> = Vec::new();
    let mut rest: Vec<u8> = Vec::new();
    let mut was_plain = true;
    let all = units(name);
    let last = all.len().saturating_sub(1);
    for (index, (unit, kind)) in all.iter().enumerate() {
        let Some(kind) = kind else {
            // One plain character stands for a run of them and separates others.
            if !was_plain {
                rest.extend_from_slice(unit);
            }
            was_plain = true;
            continue;
        };
        let seen = counts.iter().filter(|counted| *counted == kind).count();
        if !of.contains(kind) || (seen >= SAMPLES && index != last) {
            continue;
        }
        counts.push(*kind);
        // A character that is special only at the beginning stays there.
        if lead.len() == index && matches!(unit, [b' ' | b'-']) {
            lead.extend_from_slice(unit);
        } else {
            rest.extend_from_slice(unit);
        }
        was_plain = false;
    }
    let ends_in_blank = rest.ends_with(b" ") && !of.contains(&NameKind::TrailingBlank);
    let ends_in_dot = rest.ends_with(b".") && !of.contains(&NameKind::Edges);
    if ends_in_blank || ends_in_dot {
        rest.push(b'x');
    }
    let around = lead.len() + rest.len();
    let room = length.map_or(token.len(), |length| length.saturating_sub(around));
    let token = token.get(..room.max(4).min(token.len())).unwrap_or(token);
    let padding = vec![b'x'; room.saturating_sub(token.len())];
    let mut trial = lead;
    trial.extend_from_slice(token);
    trial.extend_from_slice(&padding);
    trial.extend_from_slice(&rest);
    trial
}

/// Splits `name` into its characters with their combining marks, its runs of blanks, and its bytes
/// that are not valid characters, each with the kind that it gives the name.
fn units(name: &[u8]) -> Vec<(&[u8], Option<NameKind>)> {
    let mut units = Vec::new();
    let mut at = 0;
    for chunk in name.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(character) = characters.next() {
            let mut end = at + character.len_utf8();
            let mut kind = kind_of(character, name, at);
            while let Some(mark) = characters.next_if(|next| is_mark(*next)) {
                end += mark.len_utf8();
                kind = Some(NameKind::Marks);
            }
            if kind == Some(NameKind::Blanks) && is_run(name, at) {
                while characters.next_if_eq(&' ').is_some() {
                    end += 1;
                }
                kind = Some(NameKind::BlankRuns);
            }
            units.push((name.get(at..end).unwrap_or_default(), kind));
            at = end;
        }
        for _ in chunk.invalid() {
            units.push((name.get(at..=at).unwrap_or_default(), Some(NameKind::Raw)));
            at += 1;
        }
    }
    units
}

/// Whether several blanks start at `at` and something follows them.
fn is_run(name: &[u8], at: usize) -> bool {
    let rest = name.get(at..).unwrap_or_default();
    rest.starts_with(b"  ") && rest.iter().any(|byte| *byte != b' ')
}

/// Returns the kind that `character` at `at` gives `name`.
fn kind_of(character: char, name: &[u8], at: usize) -> Option<NameKind> {
    let before = at.checked_sub(1).and_then(|before| name.get(before));
    let is_last = at + character.len_utf8() == name.len();
    match character {
        'a'..='z' | '0'..='9' | '_' => None,
        'A'..='Z' => Some(NameKind::Capitals),
        ' ' if is_last => Some(NameKind::TrailingBlank),
        ' ' if before.is_none() => Some(NameKind::Edges),
        ' ' => Some(NameKind::Blanks),
        '.' => is_last.then_some(NameKind::Edges),
        '-' => matches!(before, None | Some(b' ')).then_some(NameKind::Dashes),
        '"' => Some(NameKind::Quotes),
        '\\' => Some(NameKind::Backslashes),
        '<' | '>' | ':' | '|' | '?' | '*' => Some(NameKind::Reserved),
        _ if character.is_ascii_control() => Some(NameKind::Controls),
        _ if character.is_ascii() => Some(NameKind::Punctuation),
        _ if u32::from(character) > 0xFFFF => Some(NameKind::Astral),
        _ if is_mark(character) => Some(NameKind::Marks),
        _ if may_be_normalised(character) => Some(NameKind::Accents),
        _ => Some(NameKind::Unicode),
    }
}

/// Whether the character combines with the one before it.
fn is_mark(character: char) -> bool {
    matches!(
        u32::from(character),
        0x300..=0x36F | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0x3099 | 0x309A | 0xFE20..=0xFE2F
    )
}

/// Whether Unicode has composed and decomposed forms of the character; approximated by the blocks
/// that contain such characters.
fn may_be_normalised(character: char) -> bool {
    matches!(
        u32::from(character),
        0xC0..=0x24F
            | 0x300..=0x5FF
            | 0x620..=0x6FF
            | 0x900..=0xFFF
            | 0x1100..=0x11FF
            | 0x1AB0..=0x1AFF
            | 0x1B00..=0x1B7F
            | 0x1DC0..=0x1FFF
            | 0x20D0..=0x22FF
            | 0x2ADC
            | 0x3040..=0x30FF
            | 0xAC00..=0xD7FF
            | 0xF900..=0xFB4F
            | 0xFE20..=0xFE2F
    )
}

#[cfg(test)]
mod tests {
    use super::NameKind::*;
    use super::*;

    #[test]
    fn a_name_has_the_kinds_of_its_characters() {
        for (name, expected) in [
            (b"notes-2.tar.gz".as_slice(), [].as_slice()),
            (b"README", &[Capitals]),
            (b"a b", &[Blanks]),
            (b" a", &[Edges]),
            (b"a.", &[Edges]),
            (b"a ", &[TrailingBlank]),
            (b"a\tb", &[Controls]),
            (b"a -b.txt", &[Blanks, Dashes]),
            (b"-al", &[Dashes]),
            (b"a?", &[Reserved]),
            (b"a\"b\\", &[Quotes, Backslashes]),
            (b"a;b", &[Punctuation]),
            ("日本".as_bytes(), &[Unicode]),
            ("é".as_bytes(), &[Accents]),
            ("e\u{301}".as_bytes(), &[Marks]),
            ("cafe\u{301}\u{302}s".as_bytes(), &[Marks]),
            (b"a  b", &[BlankRuns]),
            (b"a b   c", &[Blanks, BlankRuns]),
            ("😀".as_bytes(), &[Astral]),
            (b"caf\xe9", &[Raw]),
        ] {
            assert_eq!(kinds(name), expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn short_names_need_no_length() {
        for (name, expected) in [
            (b"a.txt".as_slice(), None),
            (b"12345678.123", None),
            (b"123456789", Some(13)),
            (b"a.jpeg", Some(13)),
            (b".profile", Some(13)),
            (b"a.b.c", Some(13)),
            (b"12345678901234567890", Some(20)),
        ] {
            assert_eq!(length(name), expected);
        }
    }

    #[test]
    fn a_trial_name_has_what_is_tried_and_nothing_else() {
        for (name, of) in [
            (b"a -b.txt".as_slice(), [Blanks, Dashes].as_slice()),
            (b"a -b.txt", &[Blanks]),
            (b"-al", &[Dashes]),
            (b" -x ", &[Edges, Dashes, TrailingBlank]),
            (b"in the  middle", &[Blanks]),
            (b"What? No.", &[Capitals, Edges]),
            (b"x *", &[Blanks]),
            (b"caf\xe9.txt", &[Raw]),
            ("cafe\u{301}".as_bytes(), &[Marks]),
            (b"in the  middle", &[BlankRuns]),
        ] {
            let trial = trial_name(name, of, b"token", None);
            let shown = trial.escape_ascii();
            let has = kinds(&trial);
            assert!(has.iter().all(|kind| of.contains(kind)), "{shown}: {has:?}");
            assert!(of.iter().all(|kind| has.contains(kind)), "{shown}: {has:?}");
        }
    }

    #[test]
    fn a_mark_is_tried_on_its_letter() {
        let trial = trial_name("cafe\u{301}".as_bytes(), &[Marks], b"token", None);
        assert_eq!(trial, "tokene\u{301}".as_bytes());
    }

    #[test]
    fn a_trial_name_is_as_long_as_is_asked() {
        let trial = trial_name(b"a b", &[Blanks], b"token-0123456789", Some(64));
        assert_eq!(trial.len(), 64);
        assert!(trial.starts_with(b"token-0123456789x") && trial.ends_with(b" b"));
        let cut = trial_name(b"abcdefghi.text", &[], b"token-0123456789", Some(13));
        assert_eq!(cut.len(), 13);
    }
}
