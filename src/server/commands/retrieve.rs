//! RETR (RFC 959), SIZE and MDTM (RFC 3659 §3, §4).

use std::io::{Seek, SeekFrom};
use std::mem::take;

use crate::server::reply::{Answer, Reply, refused};
use crate::server::session::Session;
use crate::server::time;
use crate::server::transfer::outcome;
use crate::server::tree::LastLink;

pub(super) fn retr(session: &mut Session, argument: &[u8]) -> Answer {
    let marker = take(&mut session.marker);
    let mut file = session
        .place(argument, LastLink::Followed)?
        .open_to_read()?;
    let size = file.metadata()?.len();
    if marker.start > size {
        return Err(refused(
            554,
            "The restart marker lies beyond the end of the file",
        ));
    }
    file.seek(SeekFrom::Start(marker.start))?;
    let length = marker.end.map_or(size, |end| end.min(size)) - marker.start;
    // A file that grows during the transfer is sent with its new data, unless the client requested
    // a range.
    let most = marker.end.map_or(u64::MAX, |_| length);
    let text = format!("Sending {length} bytes");
    let mut transfer = session.begin_transfer(&text)?;
    let sent = transfer
        .send_file(&file, most)
        .and_then(|()| transfer.finish());
    let bytes = transfer.close();
    session.summary.send(bytes, sent.is_ok());
    outcome(sent)
}

pub(super) fn size(session: &mut Session, argument: &[u8]) -> Answer {
    let stat = session.place(argument, LastLink::Followed)?.stat_file()?;
    let size = stat.st_size.saturating_add(session.skew()).max(0);
    Ok(Reply::new(213, size.to_string()))
}

pub(super) fn mdtm(session: &mut Session, argument: &[u8]) -> Answer {
    let stat = session.place(argument, LastLink::Followed)?.stat()?;
    let time = time::format(stat.st_mtime);
    Ok(Reply::new(
        213,
        time.ok_or_else(|| refused(550, "The time has no four-digit year"))?,
    ))
}
