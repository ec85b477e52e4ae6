//! Logging in with a password that a person types: a mistyped one can be typed again.

use std::io::Write;

use super::advice::Advice;
use super::{Failure, child};
use crate::credentials::{Credentials, CredentialsOrigin};
use crate::ftp::{ConnectOptions, Error, Session};
use crate::sys;

/// How often a person may type the password, as in ssh(1).
const TRIES: usize = 3;

/// Answers of the process that tries a password.
const ACCEPTED: u8 = b'+';
const LOGIN_REFUSED: u8 = b'!';
const FAILED: u8 = b'-';

/// Why an attempt to log in failed.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// The server refused the user or the password.
    LoginRefused(String),
    /// Anything else, which another password does not change.
    Failed(Failure),
}

impl AttemptError {
    /// Classifies a failed connection.
    pub(super) fn new(error: &Error, advice: &Advice) -> Self {
        let message = advice.of_connection(error);
        match error {
            Error::Login(_) => Self::LoginRefused(message),
            _ => Self::Failed(message.into()),
        }
    }
}

impl From<Failure> for AttemptError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Calls `attempt` with the login that `find` returns, which may ask a person for the password. If
/// the server refuses a password that was typed, asks again.
///
/// # Errors
/// Those of `find` and of the last attempt.
pub(super) fn retry<T>(
    find: impl Fn() -> Result<Credentials, Failure>,
    mut attempt: impl FnMut(Credentials) -> Result<T, AttemptError>,
) -> Result<T, Failure> {
    let mut left = TRIES;
    loop {
        left -= 1;
        let login = find()?;
        let may_retry = login.origin == CredentialsOrigin::Asked && left > 0;
        match attempt(login) {
            Ok(outcome) => return Ok(outcome),
            Err(AttemptError::LoginRefused(message)) if may_retry => {
                let _ = writeln!(std::io::stderr(), "ftpfs: {message}; try again");
            }
            Err(AttemptError::LoginRefused(message)) => return Err(message.into()),
            Err(AttemptError::Failed(failure)) => return Err(failure),
        }
    }
}

/// Logs in and out in a [process of its own](child::answer_of).
///
/// # Errors
/// The server cannot be used, or refuses the login.
pub(super) fn try_out(connect: &ConnectOptions, advice: &Advice) -> Result<(), AttemptError> {
    let answer = child::answer_of(|| {
        let tried = sys::renounce()
            .map_err(|error| AttemptError::Failed(error.into()))
            .and_then(|()| {
                let session = Session::connect(connect);
                session.map_err(|error| AttemptError::new(&error, advice))
            });
        match tried {
            Ok(session) => {
                session.quit();
                vec![ACCEPTED]
            }
            Err(AttemptError::LoginRefused(message)) => message_of(LOGIN_REFUSED, &message),
            Err(AttemptError::Failed(failure)) => message_of(FAILED, &failure.to_string()),
        }
    });
    let answer = answer.map_err(|error| AttemptError::Failed(error.into()))?;
    let (outcome, message) = answer.split_first().unwrap_or((&FAILED, b""));
    let message = String::from_utf8_lossy(message).into_owned();
    match *outcome {
        ACCEPTED => Ok(()),
        LOGIN_REFUSED => Err(AttemptError::LoginRefused(message)),
        _ if message.is_empty() => {
            let message = "interrupted while the password was tried";
            Err(AttemptError::Failed(message.into()))
        }
        _ => Err(AttemptError::Failed(message.into())),
    }
}

fn message_of(outcome: u8, message: &str) -> Vec<u8> {
    [&[outcome], message.as_bytes()].concat()
}
