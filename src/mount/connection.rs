//! The connection with which a mount starts: the directory is found, or was seen by earlier mounts.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use log::warn;

use super::state::StateOptions;
use super::{Error, panicked, spawn, take_over_what_is_left};
use crate::disk_cache::{CacheDir, DiskCache};
use crate::ftp::{self, Cause, Kind, RemotePath};
use crate::journal::Journal;
use crate::remote::{self, ErrorKind, Remote, RemoteOptions};
use crate::source::StartPath;
use crate::vfs::{Errno, Unattached};

/// How long a mount waits for the server when it starts and can work without it.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// Connects, logs in and finds the directory to mount.
///
/// # Errors
/// The server cannot be reached, refuses the login, or has no such directory.
pub(super) fn connect(
    options: RemoteOptions,
    path: &StartPath,
    journal: Journal,
) -> Result<(Remote, RemotePath), Error> {
    let remote = Remote::connect(options, journal)?;
    let directory = find_directory(&remote, path)?;
    Ok((remote, directory))
}

/// Like [`connect`]. If the server cannot be reached, but earlier mounts have seen the directory,
/// the mount starts without it.
pub(super) fn connect_or_work_offline(
    options: RemoteOptions,
    path: &StartPath,
    journal: Journal,
    cache: &DiskCache,
) -> Result<(Remote, RemotePath), Error> {
    let directory = cache.directory();
    let Some(known) = directory_seen(path, directory) else {
        let connected = connect(options, path, journal)?;
        remember_home(&connected.0, directory);
        return Ok(connected);
    };
    let (sender, outcome) = mpsc::channel();
    let (to_connect, to_find, for_thread) = (options.clone(), path.clone(), journal.clone());
    spawn("connect", move || {
        // Nothing needs the result once the mount has started without it.
        let _ = sender.send(connect(to_connect, &to_find, for_thread));
    })?;
    let error = match outcome.recv_timeout(START_PATIENCE) {
        Ok(Err(Error::Connect(error))) if remote::is_out_of_reach(&error) => error,
        // The server was lost after the login.
        Ok(Err(Error::Remote(error))) if is_lost(error.kind) => {
            ftp::Error::Timeout(ftp::Phase::Connect)
        }
        Ok(outcome) => {
            let connected = outcome?;
            remember_home(&connected.0, directory);
            return Ok(connected);
        }
        Err(RecvTimeoutError::Timeout) => ftp::Error::Timeout(ftp::Phase::Connect),
        Err(RecvTimeoutError::Disconnected) => return Err(Error::Start(panicked())),
    };
    Ok((Remote::offline(options, journal, error), known))
}

/// Whether the server no longer answers.
fn is_lost(kind: ErrorKind) -> bool {
    kind.is_unanswered()
        && !matches!(
            kind,
            ErrorKind::LoginRefused | ErrorKind::NotSecure | ErrorKind::Interrupted
        )
}

/// Stores the login directory, for a mount that starts without the server.
fn remember_home(remote: &Remote, cache: &CacheDir) {
    if let Ok(home) = remote.home()
        && let Err(error) = cache.write_home(&home)
    {
        log::debug!("cannot store the login directory: {error}");
    }
}

/// Returns the directory to mount if earlier mounts have listed it.
fn directory_seen(path: &StartPath, cache: &CacheDir) -> Option<RemotePath> {
    let home = match path {
        StartPath::Absolute(_) => RemotePath::root(),
        StartPath::Relative(_) => cache.read_home()?,
    };
    let directory = path.resolve(&home).ok()?;
    let listing = cache.read_listing(&directory).ok()?;
    listing.map(|_| directory)
}

/// Finds the directory to mount. There was a session.
fn find_directory(remote: &Remote, path: &StartPath) -> Result<RemotePath, Error> {
    // If the server does not report the login directory, only absolute paths can be mounted.
    let home = match path {
        StartPath::Absolute(_) => remote.home().ok(),
        StartPath::Relative(_) => Some(remote.home()?),
    };
    let directory = path.resolve(home.as_ref().unwrap_or(&RemotePath::root()))?;
    // The login directory and the root exist.
    if home.as_ref() != Some(&directory) && !directory.is_root() {
        check_directory(remote, &directory)?;
    }
    Ok(directory)
}

/// Connects when a program first needs the server (`-o delay_connect`).
pub(super) fn first_access(
    path: StartPath,
    state: StateOptions,
    cache: Option<Arc<DiskCache>>,
) -> Unattached {
    Unattached {
        find: Box::new(move |remote| {
            let cache = cache.as_ref().map(|cache| cache.directory());
            match remote.identify() {
                Err(error) if error.kind == ErrorKind::Offline => {
                    let known = cache.and_then(|cache| directory_seen(&path, cache));
                    return known.ok_or_else(|| error.into());
                }
                identified => identified?,
            }
            if let Some(cache) = cache {
                remember_home(remote, cache);
            }
            find_directory(remote, &path).map_err(|error| match error {
                Error::Remote(error) => error.into(),
                Error::NoDirectory(_) => refused(&error, Errno::NOENT),
                Error::NotADirectory(_) => refused(&error, Errno::NOTDIR),
                _ => refused(&error, Errno::IO),
            })
        }),
        found: Box::new(move |vfs| take_over_what_is_left(vfs, &state)),
    }
}

fn refused(error: &Error, errno: Errno) -> Errno {
    let path = match error {
        Error::NoDirectory(path) | Error::NotADirectory(path) => Some(path),
        _ => None,
    };
    warn!(path, reply = error.quoted_reply(); "{error}");
    errno
}

fn check_directory(remote: &Remote, directory: &RemotePath) -> Result<(), Error> {
    let judge = |error: remote::Error| match error.kind {
        ErrorKind::NotFound => Error::NoDirectory(directory.clone()),
        ErrorKind::NotDirectory => Error::NotADirectory(directory.clone()),
        _ => Error::Remote(error),
    };
    match remote.stat(directory).map_err(judge)?.kind {
        Kind::Directory => Ok(()),
        Kind::File | Kind::Special => Err(Error::NotADirectory(directory.clone())),
        // Only a listing shows where a link points.
        Kind::Symlink | Kind::Unknown => remote.list(directory).map(drop).map_err(judge),
    }
}
