//! Removes secrets from the process's arguments and environment before anything slow happens.

use std::ffi::OsString;
use std::io;
use std::ops::Range;

use super::Failure;
use super::proxy_env::{self, Variables};
use crate::credentials::PASSWORD_VARIABLE;
use crate::ftp::Password;
use crate::mount::Supervisor;
use crate::{source, sys};

/// The option of `ftpfs serve` that contains a password.
const PASSWORD_OPTION: &[u8] = b"--password";

/// After it, an argument that begins with `-` is no flag.
const END_OF_FLAGS: &[u8] = b"--";

/// The variable with the address of the service manager's socket (sd_notify(3)).
const SUPERVISOR_VARIABLE: &str = "NOTIFY_SOCKET";

/// `-o` options that contain a password in other programs. ftpfs refuses them, but only after they
/// were visible.
const FOREIGN_OPTIONS: [&[u8]; 3] = [b"password=", b"passwd=", b"pass="];

/// `-o` options with the value `user:password`.
const LOGIN_OPTIONS: [&[u8]; 3] = [b"user=", b"User=", b"proxy_user="];

/// The option for a proxy. Its value is a URL or, as in curlftpfs, `[user:password@]host:port`.
const PROXY_OPTION: &[u8] = b"proxy=";

/// Values from the environment.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The server's password.
    pub(super) password: Option<Password>,
    /// The proxies.
    pub(super) proxies: Variables,
    /// The service manager. The programs that ftpfs starts must not speak to it.
    pub(super) supervisor: Option<Supervisor>,
}

/// Hides every password from other users, and returns the values from the environment.
///
/// # Errors
/// A secret cannot be hidden, so nothing should be done with it, or it is not UTF-8.
pub(super) fn hide() -> Result<Environment, Failure> {
    sys::forbid_dumps().map_err(|error| explain("a core dump", &error))?;
    let mut previous = Vec::new();
    sys::hide_arguments(|argument| {
        let secrets = secrets_in(argument, &previous);
        previous = argument.to_vec();
        secrets
    })
    .map_err(|error| explain("the arguments", &error))?;
    let value = take(PASSWORD_VARIABLE)?;
    let password = match value.map(OsString::into_string) {
        None => None,
        Some(Ok(password)) => Some(Password::new(password)),
        Some(Err(_)) => return Err(format!("{PASSWORD_VARIABLE} is not UTF-8").into()),
    };
    let proxies = proxy_env::variables(|name| {
        let value = std::env::var_os(name)?;
        Some(value.to_string_lossy().into_owned())
    });
    for name in proxy_env::NAMES {
        if std::env::var_os(name).is_some_and(|value| holds_password(&value)) {
            take(name)?;
        }
    }
    // An address of an unknown kind is ignored, as by sd_notify(3).
    let supervisor = take(SUPERVISOR_VARIABLE)?.and_then(|it| Supervisor::new(&it).ok());
    Ok(Environment {
        password,
        proxies,
        supervisor,
    })
}

fn take(name: &str) -> Result<Option<OsString>, Failure> {
    sys::take_environment_variable(name).map_err(|error| explain(name, &error))
}

/// Also recognises a proxy without a scheme, for which `http://` is assumed.
fn holds_password(value: &std::ffi::OsStr) -> bool {
    value.as_encoded_bytes().contains(&b'@')
}

/// Returns where the secrets in `argument` are, which follows `previous`.
fn secrets_in(argument: &[u8], previous: &[u8]) -> Vec<Range<usize>> {
    if previous == PASSWORD_OPTION {
        return from(0, argument).collect();
    }
    let value = argument
        .strip_prefix(PASSWORD_OPTION)
        .and_then(|rest| rest.strip_prefix(b"="));
    if let Some(password) = value {
        return from(argument.len() - password.len(), argument).collect();
    }
    let mut secrets = source::password_ranges(argument);
    secrets.extend(short_form(argument, previous));
    secrets.extend(foreign_options(argument));
    secrets
}

/// Returns the rest of `argument` from `start`.
fn from(start: usize, argument: &[u8]) -> impl Iterator<Item = Range<usize>> {
    std::iter::once(start..argument.len())
}

/// Finds what may be the password in `user:password@host`, with or without a path. Most of these
/// forms are refused, but only after the password was visible.
fn short_form(argument: &[u8], previous: &[u8]) -> Option<Range<usize>> {
    let is_a_url = argument.windows(3).any(|window| window == b"://");
    let is_flag = argument.starts_with(b"-") && previous != END_OF_FLAGS;
    if is_a_url || is_flag || argument.starts_with(b"/") || previous == b"-o" {
        return None;
    }
    let colon = argument.iter().position(|byte| *byte == b':')?;
    let at = argument.iter().rposition(|byte| *byte == b'@')?;
    (at > colon).then_some(colon + 1..at)
}

fn foreign_options(argument: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut secrets = Vec::new();
    for option in split_at_commas(argument) {
        let end = start + option.len();
        let mut forms = std::iter::once(option).chain(behind_flags(option));
        let secret = forms.find_map(secret_of);
        secrets.extend(secret.map(|from_end| end - from_end.end..end - from_end.start));
        start = end + 1;
    }
    secrets
}

/// Returns what may be the value of `-o` in an argument that begins with it: `-ouser=me:x`,
/// `-o=user=me:x`, or with other flags before, `-fouser=me:x`.
fn behind_flags(argument: &[u8]) -> impl Iterator<Item = &[u8]> {
    let letters = argument.strip_prefix(b"-").unwrap_or_default();
    let is_flag = |byte: &u8| byte.is_ascii_alphanumeric();
    let flags = letters.iter().take_while(move |byte| is_flag(byte)).count();
    let ends = (0..flags).filter(|at| letters.get(*at) == Some(&b'o'));
    ends.filter_map(|at| {
        let value = letters.get(at + 1..)?;
        Some(value.strip_prefix(b"=").unwrap_or(value))
    })
}

/// Splits at commas without a backslash before them, and keeps the backslashes.
fn split_at_commas(argument: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_escaped = false;
    argument.split(move |byte| {
        let ends = *byte == b',' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })
}

/// Returns where the secret of an option is, counted backwards from the option's end.
fn secret_of(option: &[u8]) -> Option<Range<usize>> {
    let value_of = |name: &&[u8]| option.strip_prefix(*name);
    if let Some(value) = FOREIGN_OPTIONS.iter().find_map(value_of) {
        return Some(0..value.len());
    }
    if let Some(value) = LOGIN_OPTIONS.iter().find_map(value_of) {
        let colon = value.iter().position(|byte| *byte == b':')?;
        return Some(0..value.len() - colon - 1);
    }
    // The password of a URL is found as in any other argument.
    let place = value_of(&PROXY_OPTION)?;
    if place.windows(3).any(|window| window == b"://") {
        return None;
    }
    let at = place.iter().rposition(|byte| *byte == b'@')?;
    let colon = place.get(..at)?.iter().position(|byte| *byte == b':')?;
    Some(place.len() - at..place.len() - colon - 1)
}

fn explain(place: &str, error: &io::Error) -> Failure {
    format!("cannot hide a password in {place}: {error}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets<'a>(argument: &'a str, previous: &str) -> Vec<&'a str> {
        let ranges = secrets_in(argument.as_bytes(), previous.as_bytes());
        ranges.into_iter().map(|range| &argument[range]).collect()
    }

    #[test]
    fn a_password_is_found_in_each_place_it_may_stand() {
        for (argument, previous) in [
            ("ftp://me:secret@h/", "ftpfs"),
            ("ftps://me:secret@h/", "ftpfs"),
            ("ftpes://me:secret@h/", "ftpfs"),
            ("secret", "--password"),
            ("--password=secret", "serve"),
            ("ro,proxy=socks5://p:secret@h:1,user=me", "-o"),
            ("-oproxy=http://p:secret@h:1", "mnt"),
            ("rw,password=secret,user=me", "-o"),
            ("-opass=secret", "mnt"),
            ("me:secret@h:path", "ftpfs"),
            ("me:secret@h", "ftpfs"),
            ("ftpfs#me:secret@h", "mount.ftpfs"),
            ("curlftpfs#me:secret@h/path", "mount.ftpfs"),
            ("curlftpfs#ftp://me:secret@h/path", "mount.ftpfs"),
            ("rw,user=me:secret,ssl", "-o"),
            ("proxy=h:1,proxy_user=me:secret", "-o"),
            ("proxy=me:secret@h:1,socks5", "-o"),
            ("-o=user=me:secret", "mnt"),
            ("-o=ro,user=me:secret", "mnt"),
            ("-fouser=me:secret", "mnt"),
            ("-dfo=user=me:secret,ro", "mnt"),
            ("-souser=me:secret", "mnt"),
            ("-C1opassword=secret", "mnt"),
            ("-fo=proxy=me:secret@h:1", "mnt"),
            ("user=me:secret", "-fo"),
            ("user=me:secret", "--"),
            ("me:secret@h:path", "--"),
            ("-me:secret@h:path", "--"),
            ("ftp://me:secret@h/", "--"),
        ] {
            assert_eq!(secrets(argument, previous), ["secret"], "{argument}");
        }
        let escaped = secrets(r"-ouser=me:a\,b,ro", "mnt");
        assert_eq!(escaped, [r"a\,b"]);
        let two = "proxy=http://p:one@h:1,password=two";
        assert_eq!(secrets(two, "-o"), ["one", "two"]);
    }

    #[test]
    fn what_is_no_password_is_left() {
        for (argument, previous) in [
            ("--passwords", "serve"),
            ("me@h:path", "ftpfs"),
            ("/mnt/a:b@c:d", "h:"),
            ("password_file=/etc/x,netrc=a:b@c:d", "-o"),
            ("-opassword_file=-", "mnt"),
            ("-fopassword_command=pass show x", "mnt"),
            ("-fofsname=user=me:x", "mnt"),
            ("-f-ouser=me:x", "mnt"),
            ("user=me,proxy=h:1", "-o"),
            ("curlftpfs#me@h/a:b", "mount.ftpfs"),
        ] {
            assert_eq!(secrets(argument, previous), [""; 0], "{argument}");
        }
    }
}
