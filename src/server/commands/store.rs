//! STOR and APPE (RFC 959), with REST (RFC 3659 §5).

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::mem::take;

use crate::server::reply::{Answer, Stop, refused};
use crate::server::session::{RestartMarker, Session};
use crate::server::transfer::outcome;
use crate::server::tree::LastLink;

/// Where the first byte of an upload goes.
enum Start {
    /// At this offset. The file is truncated there.
    At(u64),
    /// At the end of the file.
    End,
}

/// Replaces the file. After REST, keeps the beginning up to the offset, with a hole if the file was
/// shorter.
pub(super) fn stor(session: &mut Session, argument: &[u8]) -> Answer {
    let marker = take(&mut session.marker);
    if marker.end.is_some() {
        return Err(refused(503, "A range is for RETR"));
    }
    store(session, argument, &Start::At(marker.start))
}

pub(super) fn appe(session: &mut Session, argument: &[u8]) -> Answer {
    session.marker = RestartMarker::default();
    let start = if session.append_replaces() {
        Start::At(0)
    } else {
        Start::End
    };
    store(session, argument, &start)
}

fn store(session: &mut Session, argument: &[u8], start: &Start) -> Answer {
    let place = session.place(argument, LastLink::Followed)?;
    let mut upload = place.open_to_write()?;
    let mut transfer = match session.begin_transfer("Ready to receive") {
        Ok(transfer) => transfer,
        Err(stop) => {
            // Without a data connection nothing was stored, so no empty file remains. vsftpd leaves
            // one, which `Misdeed::RefuseData` simulates.
            if upload.created
                && session.misdeed.is_none()
                && let Err(error) = place.remove_file()
            {
                log::warn!("server: cannot remove an empty upload: {error}");
            }
            return Err(stop);
        }
    };
    position(&mut upload.file, start)?;
    let received = transfer.receive_file(&upload.file);
    let bytes = transfer.close();
    session.summary.receive(bytes, received.is_ok());
    outcome(received)
}

fn position(file: &mut File, start: &Start) -> Result<(), Stop> {
    match start {
        Start::At(offset) => {
            file.set_len(*offset)?;
            file.seek(SeekFrom::Start(*offset))?;
        }
        Start::End => {
            file.seek(SeekFrom::End(0))?;
        }
    }
    Ok(())
}
