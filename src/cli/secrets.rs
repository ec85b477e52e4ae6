//! Takes what is secret out of the process's arguments and environment, before anything slow happens.

use std::io;
use std::ops::Range;

use super::Failure;
use crate::credentials::PASSWORD_VARIABLE;
use crate::ftp::Password;
use crate::{source, sys};

/// The option of `ftpfs serve` that holds one.
const PASSWORD_OPTION: &[u8] = b"--password";

/// Hides every password from other users, and returns the one from the environment.
///
/// # Errors
/// It cannot be hidden, so nothing should be done with it; or it is not UTF-8.
pub(super) fn hide() -> Result<Option<Password>, Failure> {
    let mut previous = Vec::new();
    sys::hide_arguments(|argument| {
        let secret = secret_in(argument, &previous);
        previous = argument.to_vec();
        secret
    })
    .map_err(|error| explain("the arguments", &error))?;
    let value = sys::take_environment_variable(PASSWORD_VARIABLE)
        .map_err(|error| explain(PASSWORD_VARIABLE, &error))?;
    match value.map(std::ffi::OsString::into_string) {
        None => Ok(None),
        Some(Ok(password)) => Ok(Some(Password::new(password))),
        Some(Err(_)) => Err(format!("{PASSWORD_VARIABLE} is not UTF-8").into()),
    }
}

fn secret_in(argument: &[u8], previous: &[u8]) -> Option<Range<usize>> {
    if previous == PASSWORD_OPTION {
        return Some(0..argument.len());
    }
    let value = argument
        .strip_prefix(PASSWORD_OPTION)
        .and_then(|rest| rest.strip_prefix(b"="));
    if let Some(password) = value {
        return Some(argument.len() - password.len()..argument.len());
    }
    source::password_range(argument)
}

fn explain(place: &str, error: &io::Error) -> Failure {
    format!("cannot hide a password in {place}: {error}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret<'a>(argument: &'a str, previous: &str) -> Option<&'a str> {
        secret_in(argument.as_bytes(), previous.as_bytes()).map(|range| &argument[range])
    }

    #[test]
    fn a_password_is_found_in_each_place_it_may_stand() {
        assert_eq!(secret("ftp://me:secret@h/", "ftpfs"), Some("secret"));
        assert_eq!(secret("secret", "--password"), Some("secret"));
        assert_eq!(secret("--password=secret", "serve"), Some("secret"));
        assert_eq!(secret("--passwords", "serve"), None);
        assert_eq!(secret("me@h:path", "ftpfs"), None);
    }
}
