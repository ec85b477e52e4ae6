//! DELE, RNFR, RNTO (RFC 959), MFMT (draft-somers-ftp-mfxx), SITE CHMOD, SITE UTIME, SITE CPFR,
//! SITE CPTO, SITE SYMLINK.

use std::os::unix::fs::MetadataExt;

use crate::server::reply::{Answer, Reply, Stop, refused};
use crate::server::session::Session;
use crate::server::time;
use crate::server::tree::LastLink;

pub(super) fn dele(session: &mut Session, argument: &[u8]) -> Answer {
    session.place(argument, LastLink::Kept)?.remove_file()?;
    Ok(Reply::new(250, "File deleted"))
}

pub(super) fn rnfr(session: &mut Session, argument: &[u8]) -> Answer {
    session.place(argument, LastLink::Kept)?.stat()?;
    session.rename_from = Some(session.path(argument)?);
    Ok(Reply::new(350, "Say RNTO now"))
}

/// Renames. Replaces an existing file or empty directory, as rename(2) does.
pub(super) fn rnto(session: &mut Session, argument: &[u8]) -> Answer {
    let from = session
        .rename_from
        .take()
        .ok_or_else(|| refused(503, "Say RNFR first"))?;
    let from = session.serving.tree.find(&from, LastLink::Kept)?;
    let to = session.place(argument, LastLink::Kept)?;
    if session.replaces_nothing() && to.stat().is_ok() {
        return Err(refused(550, "File exists"));
    }
    from.rename(&to)?;
    Ok(Reply::new(250, "Renamed"))
}

/// Handles `MFMT YYYYMMDDHHMMSS path`, in UTC.
pub(super) fn mfmt(session: &mut Session, argument: &[u8]) -> Answer {
    let (text, path) = word_and_path(argument)?;
    let modified = time::parse(text).ok_or_else(|| refused(501, "Not a time"))?;
    session
        .place(path, LastLink::Followed)?
        .set_modified(modified)?;
    let mut line = format!("Modify={}; ", time::format(modified).unwrap_or_default()).into_bytes();
    line.extend_from_slice(path);
    Ok(Reply::new(213, line))
}

/// Handles `SITE CHMOD 0644 path`.
pub(super) fn site_chmod(session: &mut Session, argument: &[u8]) -> Answer {
    let (digits, path) = word_and_path(argument)?;
    let mode = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| refused(501, "Not an octal mode"))?;
    session.place(path, LastLink::Followed)?.set_mode(mode)?;
    Ok(Reply::new(200, "Mode changed"))
}

/// Handles `SITE UTIME YYYYMMDDhhmm[ss] path`, in UTC, as ProFTPD does.
pub(super) fn site_utime(session: &mut Session, argument: &[u8]) -> Answer {
    let (text, path) = word_and_path(argument)?;
    let modified = time::parse(text).ok_or_else(|| refused(501, "Not a time"))?;
    session
        .place(path, LastLink::Followed)?
        .set_modified(modified)?;
    Ok(Reply::new(200, "Time changed"))
}

/// Names the file that SITE CPTO copies, as in ProFTPD's mod_copy.
pub(super) fn site_cpfr(session: &mut Session, argument: &[u8]) -> Answer {
    session.place(argument, LastLink::Followed)?.stat_file()?;
    session.copy_from = Some(session.path(argument)?);
    Ok(Reply::new(350, "Say SITE CPTO now"))
}

/// Copies a file. Replaces the contents of an existing one.
pub(super) fn site_cpto(session: &mut Session, argument: &[u8]) -> Answer {
    let from = session
        .copy_from
        .take()
        .ok_or_else(|| refused(503, "Say SITE CPFR first"))?;
    let from = session.serving.tree.find(&from, LastLink::Followed)?;
    let mut source = from.open_to_read()?;
    let mut target = session
        .place(argument, LastLink::Followed)?
        .open_to_write()?
        .file;
    let (one, other) = (source.metadata()?, target.metadata()?);
    if (one.dev(), one.ino()) == (other.dev(), other.ino()) {
        return Err(refused(550, "A file cannot be copied to itself"));
    }
    target.set_len(0)?;
    std::io::copy(&mut source, &mut target)?;
    Ok(Reply::new(250, "Copied"))
}

/// Handles `SITE SYMLINK target path`. The target ends at the first blank.
pub(super) fn site_symlink(session: &mut Session, argument: &[u8]) -> Answer {
    let (target, path) = word_and_path(argument)?;
    session.place(path, LastLink::Kept)?.make_link(target)?;
    Ok(Reply::new(200, "Link made"))
}

fn word_and_path(argument: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    let blank = argument.iter().position(|&byte| byte == b' ');
    let (word, path) = argument.split_at(blank.unwrap_or(argument.len()));
    match path.get(1..) {
        Some(path) if !path.is_empty() => Ok((word, path)),
        _ => Err(refused(501, "A path is missing")),
    }
}
