//! Probes whether a way of resuming uploads keeps what is stored already.
//!
//! A server that accepts REST before STOR can still damage the file: npm ftp-srv empties it first,
//! so that the result has the right size and zeros in place of its beginning. `rclone serve ftp`
//! accepts the command and stores next to nothing. On a server whose way is not proven, a file of a
//! few bytes is resumed first and read back.

use super::download::open_in;
use super::error::{is_unsupported, refusal};
use super::fallbacks::{Fallback, ResumeWay};
use super::retry::Exchange;
use super::{Error, Remote};
use crate::ftp::{self, RemotePath};
use crate::pool::{self, Permit};

/// The bytes that are stored first.
const BEGINNING: &[u8] = b"0123";
/// The bytes that are stored by resuming.
const REST: &[u8] = b"45";
/// The offset at which [`ResumeWay::Restart`] resumes. The byte behind it tells a server that
/// restarts from one that appends.
const OFFSET: u64 = 3;

/// Number of refusals, which may have other reasons than the command, after which a way of resuming
/// counts as failing.
const MAX_REFUSALS: u8 = 3;

/// Whether a way of resuming keeps what is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Soundness {
    /// It does.
    Sound,
    /// It does not, or the server does not know the command.
    Unsound,
    /// That is not known. A later upload probes again.
    Unclear,
}

/// What the probe found.
enum Outcome {
    /// The file has exactly these bytes.
    Stored(Vec<u8>),
    /// The server refused to begin a file.
    NotBegun,
    /// The server refused to resume it.
    Refused(pool::Error),
}

/// Whether `way` keeps what is stored already. Probes it if that is not known, with a file next to
/// `target` whose name begins with a dot if `is_hidden`.
pub(super) fn soundness(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    way: ResumeWay,
    target: &RemotePath,
    is_hidden: bool,
) -> Soundness {
    let (profile, capability) = (remote.profile(), way.capability());
    if profile.is_proven(capability) {
        return Soundness::Sound;
    }
    let Some(mut trial) = remote.new_part(target, is_hidden) else {
        return Soundness::Unclear;
    };
    let outcome = resumed(remote, exchange, way, trial.path());
    if outcome.is_err() {
        // The server may still carry out what its lost connection asked for.
        trial.may_appear_late();
    }
    if matches!(outcome, Ok(Outcome::NotBegun)) {
        trial.mark_gone();
    } else {
        trial.delete(exchange);
    }
    match outcome {
        Ok(Outcome::Stored(bytes)) if bytes == way.expected() => {
            profile.works(capability);
            Soundness::Sound
        }
        Ok(Outcome::Stored(_)) => {
            profile.fails(capability, &"it does not keep what was stored before");
            Soundness::Unsound
        }
        Ok(Outcome::Refused(fault)) => {
            if is_unsupported(&fault) {
                profile.fails(capability, &fault);
            } else {
                profile.doubt(capability, MAX_REFUSALS, &fault);
            }
            Soundness::Unsound
        }
        Ok(Outcome::NotBegun) => Soundness::Unclear,
        Err(reason) => {
            log::debug!("cannot probe how uploads are resumed: {reason}");
            Soundness::Unclear
        }
    }
}

/// Stores the beginning at `path`, resumes it, and reads the file back.
fn resumed(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    way: ResumeWay,
    path: &RemotePath,
) -> Result<Outcome, Box<dyn std::error::Error>> {
    match exchange.start_transfer(|session| session.store(path, 0)) {
        Ok(begun) => send(exchange, begun, BEGINNING)?,
        Err(fault) if is_verdict(&fault) => return Ok(Outcome::NotBegun),
        Err(fault) => return Err(fault.into()),
    }
    let continued = way.start(exchange, path, OFFSET);
    match continued.and_then(|continued| send(exchange, continued, REST)) {
        Ok(()) => {}
        Err(fault) if is_verdict(&fault) => return Ok(Outcome::Refused(fault)),
        Err(fault) => return Err(fault.into()),
    }
    match read_back(remote, exchange, path) {
        // ProFTPD refuses a TLS data connection after several uploads in a row, which bring no
        // tickets for the next one, and the refused one brings some.
        Err(error) if error.kind.transience().is_immediate() => {
            log::debug!("{error}; reading it again");
            Ok(Outcome::Stored(read_back(remote, exchange, path)?))
        }
        read => Ok(Outcome::Stored(read?)),
    }
}

/// Reads the file at `path`.
fn read_back(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<Vec<u8>, Error> {
    let mut transfer = open_in(remote, exchange, path, 0)?;
    let mut bytes = Vec::new();
    // One byte more than the largest file that can result.
    let mut room = [0; BEGINNING.len() + REST.len() + 1];
    while bytes.len() < room.len() {
        match transfer.read(&mut room)? {
            0 => break,
            count => bytes.extend(room.iter().take(count)),
        }
    }
    Ok(bytes)
}

fn send(
    exchange: &mut Exchange<'_>,
    (mut transfer, permit): (ftp::Upload, Permit),
    bytes: &[u8],
) -> Result<(), pool::Error> {
    // What broke the transfer is the reply to it.
    let sent = transfer.write_all(bytes);
    match transfer.finish() {
        Ok((session, _)) => {
            exchange.resume_with(Some(permit.into_lease(session)));
            sent.map_err(pool::Error::from)
        }
        Err(failed) => {
            if let Some(session) = failed.session {
                permit.give_back(session);
            }
            Err(failed.error.into())
        }
    }
}

/// Whether a refusal is about the command, not about the moment.
fn is_verdict(fault: &pool::Error) -> bool {
    refusal(fault).is_some_and(|reply| !matches!(reply.code().0, 421 | 425 | 426))
}

impl ResumeWay {
    /// Returns what the probe must find.
    fn expected(self) -> Vec<u8> {
        let kept = match self {
            Self::Restart => BEGINNING.iter().take(OFFSET as usize),
            Self::Append => BEGINNING.iter().take(BEGINNING.len()),
        };
        kept.chain(REST).copied().collect()
    }

    /// Starts the transfer that continues the file at `path` at `offset`.
    pub(super) fn start(
        self,
        exchange: &mut Exchange<'_>,
        path: &RemotePath,
        offset: u64,
    ) -> Result<(ftp::Upload, Permit), pool::Error> {
        exchange.start_transfer(|session| match self {
            Self::Restart => session.store(path, offset),
            Self::Append => session.append(path),
        })
    }
}
