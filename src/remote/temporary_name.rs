//! The shape of temporary names.

use crate::ftp::RemotePath;

/// Prefix of names that servers may hide and that tools do not show.
pub(super) const HIDDEN: &[u8] = b".ftpfs-";
/// Prefix of names on servers that refuse or hide the others.
pub(super) const VISIBLE: &[u8] = b"ftpfs-";
pub(super) const PART: &[u8] = b".part";
pub(super) const ASIDE: &[u8] = b".old";
/// Prefix of an empty file that tries how the server treats names; the properties on trial follow
/// it.
pub(super) const TRIAL: &[u8] = b".try";
/// Separator between a file's name and the digits, for a file that is preserved because another
/// client took its name.
pub(super) const SAVED: &[u8] = b".ftpfs-saved-";
/// Longest name in bytes that servers on Unix file systems accept.
pub(super) const MAX_NAME: usize = 255;
/// Number of hexadecimal digits between prefix and suffix. Half of them identify the name, half the
/// mount. Those of the name come first, so that two names of a mount differ even if the server
/// truncates them.
pub(super) const DIGITS: usize = 16;

/// Whether `name` is a temporary name of any mount. The check is strict, so that no name a user
/// would choose matches.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    digits(name).is_some()
}

/// Returns the name, next to `target`, under which users find the file at `aside` after another
/// client has created a file at `target`.
pub(super) fn saved_path(aside: &RemotePath, target: &RemotePath) -> Option<RemotePath> {
    let digits = digits(aside.name())?;
    let mut name = [target.name(), SAVED, digits].concat();
    if name.len() > MAX_NAME {
        name.drain(..=target.name().len());
    }
    aside.parent()?.join(&name).ok()
}

/// Returns the digits of a temporary name.
pub(super) fn digits(name: &[u8]) -> Option<&[u8]> {
    let are_digits = |digits: &[u8]| {
        let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        digits.len() == DIGITS && digits.iter().all(is_digit)
    };
    let rest = name.strip_prefix(HIDDEN).or(name.strip_prefix(VISIBLE));
    let digits = rest.and_then(|rest| rest.strip_suffix(PART).or(rest.strip_suffix(ASIDE)));
    if let Some(digits) = digits {
        return are_digits(digits).then_some(digits);
    }
    let length = VISIBLE.len() + DIGITS + TRIAL.len();
    let tried = name
        .windows(length)
        .find(|part| part.starts_with(VISIBLE) && part.ends_with(TRIAL))?;
    let digits = tried.get(VISIBLE.len()..VISIBLE.len() + DIGITS)?;
    are_digits(digits).then_some(digits)
}
