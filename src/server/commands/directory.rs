//! PWD, CWD, CDUP, MKD, RMD (RFC 959).

use crate::server::path::VirtualPath;
use crate::server::reply::{Answer, Reply, refused};
use crate::server::session::Session;
use crate::server::tree::LastLink;

pub(super) fn pwd(session: &mut Session, _: &[u8]) -> Answer {
    Ok(named(&session.directory, " is the working directory"))
}

pub(super) fn cwd(session: &mut Session, argument: &[u8]) -> Answer {
    session
        .place(argument, LastLink::Followed)?
        .check_searchable()?;
    session.directory = session.path(argument)?;
    Ok(Reply::new(250, "Directory changed"))
}

pub(super) fn cdup(session: &mut Session, _: &[u8]) -> Answer {
    cwd(session, b"..")
}

pub(super) fn mkd(session: &mut Session, argument: &[u8]) -> Answer {
    session.place(argument, LastLink::Kept)?.make_directory()?;
    Ok(named(&session.path(argument)?, " created"))
}

pub(super) fn rmd(session: &mut Session, argument: &[u8]) -> Answer {
    if session.path(argument)?.is_root() {
        return Err(refused(550, "Permission denied: the root stays"));
    }
    session
        .place(argument, LastLink::Kept)?
        .remove_directory()?;
    Ok(Reply::new(250, "Directory removed"))
}

fn named(path: &VirtualPath, text: &str) -> Reply {
    let mut line = path.quoted();
    line.extend_from_slice(text.as_bytes());
    Reply::new(257, line)
}
