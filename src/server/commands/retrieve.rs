//! RETR (RFC 959), SIZE and MDTM (RFC 3659 §3, §4).

use std::io::{Seek, SeekFrom};
use std::mem::take;

use crate::server::reply::{Answer, Reply, refused};
use crate::server::session::Session;
use crate::server::time;
use crate::server::transfer::{Transfer, outcome};
use crate::server::tree::LastLink;

pub(super) fn retr(session: &mut Session, argument: &[u8]) -> Answer {
    let restart = take(&mut session.restart);
    let setup = take(&mut session.data);
    let patience = session.patience();
    let mut file = session
        .place(argument, LastLink::Followed)?
        .open_to_read()?;
    let size = file.metadata()?.len();
    if restart > size {
        return Err(refused(
            554,
            "The restart marker lies beyond the end of the file",
        ));
    }
    file.seek(SeekFrom::Start(restart))?;
    let text = format!("Sending {} bytes", size - restart);
    let connection = setup.open(&mut session.control, patience, &text)?;
    let mut transfer = Transfer::new(&mut session.control, connection, patience)?;
    let sent = transfer.send_file(&file);
    drop(transfer);
    outcome(sent)
}

pub(super) fn size(session: &mut Session, argument: &[u8]) -> Answer {
    let stat = session.place(argument, LastLink::Followed)?.stat_file()?;
    Ok(Reply::new(213, stat.st_size.to_string()))
}

pub(super) fn mdtm(session: &mut Session, argument: &[u8]) -> Answer {
    let stat = session.place(argument, LastLink::Followed)?.stat()?;
    let time = time::format(stat.st_mtime);
    Ok(Reply::new(
        213,
        time.ok_or_else(|| refused(550, "The time has no four-digit year"))?,
    ))
}
