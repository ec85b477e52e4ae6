//! Digests of files: HASH (draft-bryan-ftpext-hash), XSHA256, XSHA1, XMD5 and XCRC.

use std::fmt::Write as _;
use std::io::Read;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::server::reply::{Answer, Reply};
use crate::server::session::Session;
use crate::server::tree::LastLink;

/// Names of the commands in this file.
pub(in crate::server) const VERBS: [&str; 5] = ["HASH", "XSHA256", "XSHA1", "XMD5", "XCRC"];

/// Number of bytes read from a file at a time.
const PIECE: usize = 256 << 10;

pub(super) fn hash(session: &mut Session, argument: &[u8]) -> Answer {
    let mut state = Sha256::new();
    let length = each_piece(session, argument, |piece| state.update(piece))?;
    let text = format!("SHA-256 0-{length} {} ", hexadecimal(&state.finalize()));
    Ok(Reply::new(213, [text.as_bytes(), argument].concat()))
}

pub(super) fn xsha256(session: &mut Session, argument: &[u8]) -> Answer {
    of::<Sha256>(session, argument)
}

pub(super) fn xsha1(session: &mut Session, argument: &[u8]) -> Answer {
    of::<Sha1>(session, argument)
}

pub(super) fn xmd5(session: &mut Session, argument: &[u8]) -> Answer {
    of::<Md5>(session, argument)
}

pub(super) fn xcrc(session: &mut Session, argument: &[u8]) -> Answer {
    let mut state = crc32fast::Hasher::new();
    each_piece(session, argument, |piece| state.update(piece))?;
    Ok(Reply::new(250, format!("{:X}", state.finalize())))
}

fn of<D: Digest>(session: &mut Session, argument: &[u8]) -> Answer {
    let mut state = D::new();
    each_piece(session, argument, |piece| state.update(piece))?;
    Ok(Reply::new(250, hexadecimal(&state.finalize())))
}

/// Passes the contents of the file to a closure in pieces. Returns the length.
fn each_piece(
    session: &mut Session,
    argument: &[u8],
    mut take: impl FnMut(&[u8]),
) -> Result<u64, crate::server::reply::Stop> {
    let mut file = session
        .place(argument, LastLink::Followed)?
        .open_to_read()?;
    let mut piece = vec![0; PIECE];
    let mut length = 0;
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(length);
        }
        take(piece.get(..count).unwrap_or_default());
        length += count as u64;
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(digits, "{byte:02X}");
        digits
    })
}
