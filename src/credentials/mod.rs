//! The login and the origin of its password.
//!
//! User: option `user`, the source, netrc, otherwise anonymous (RFC 1635). Password: the source,
//! `password_file`, `password_command`, `FTPFS_PASSWORD`, systemd's credential, netrc, otherwise a
//! prompt if there is a terminal.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod netrc;
mod password_command;
mod prompt;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(crate) use password_command::PasswordCommand;
pub(crate) use prompt::ask_openly;

use crate::ftp::Password;
use password_command::{DEADLINE, PasswordCommandError};

/// Password of an anonymous login: an address, as RFC 1635 asks for, that identifies no person.
pub(crate) const ANONYMOUS_PASSWORD: &str = "anonymous@";

/// The environment variable that may contain the password.
pub(crate) const PASSWORD_VARIABLE: &str = "FTPFS_PASSWORD";

/// The environment variable with the directory of systemd's credentials (systemd.exec(5)).
pub(crate) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The credential whose first line is the password.
const CREDENTIAL: &str = "ftpfs.password";

/// Maximum size in bytes of a password file's first line and of a netrc.
const LARGEST_FILE: u64 = 1 << 20;

/// The credentials that a login sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Sent with USER.
    pub user: String,
    /// Sent with PASS.
    pub password: Password,
    /// Sent with ACCT; empty for none.
    pub account: String,
    /// Where they come from.
    pub origin: CredentialsOrigin,
}

/// Where [`Credentials`] come from, as far as messages differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialsOrigin {
    /// The command line, the environment or a file.
    Given,
    /// A person typed the password at a prompt.
    Asked,
    /// No user was given, so the login is anonymous.
    Default,
}

/// The netrc file to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Netrc {
    /// `~/.netrc`, if it exists.
    #[default]
    IfPresent,
    /// `~/.netrc`, which must exist.
    Home,
    /// This one.
    File(PathBuf),
}

/// Where to look for user and password. What the user typed takes precedence.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// The host, as in netrc.
    pub host: String,
    /// The user name that was typed.
    pub user: Option<String>,
    /// The password in the source.
    pub password: Option<Password>,
    /// A file whose first line is the password; `-` is the standard input.
    pub password_file: Option<PathBuf>,
    /// A command whose first line of output is the password.
    pub password_command: Option<PasswordCommand>,
    /// The value of [`PASSWORD_VARIABLE`].
    pub environment: Option<Password>,
    /// The value of [`CREDENTIALS_DIRECTORY`].
    pub credentials_directory: Option<PathBuf>,
    /// The netrc file.
    pub netrc: Netrc,
}

/// Why there are no credentials. No message contains a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not text, or too large for a password file.
    #[error("{} contains no password: {reason}", file.display())]
    NotAPassword {
        /// The file.
        file: PathBuf,
        /// The cause.
        reason: &'static str,
    },
    /// The file contains a password and others can read it.
    #[error("{} contains a password and can be read by others; chmod 600 it", .0.display())]
    OpenToOthers(PathBuf),
    /// The command gave no password.
    #[error("-o password_command: {0}")]
    Command(#[from] PasswordCommandError),
    /// The file is not a valid netrc.
    #[error("{} is not a netrc file: {reason}", file.display())]
    NotANetrc {
        /// The file.
        file: PathBuf,
        /// The cause.
        reason: String,
    },
    /// A netrc is requested, but there is no home directory.
    #[error("there is no home directory to read .netrc from; use netrc=FILE")]
    NoHome,
    /// There is no password and no terminal to ask for one.
    #[error(
        "no password for {user} at {host}: give one in netrc, with -o password_file=FILE or password_command=COMMAND, or in FTPFS_PASSWORD"
    )]
    NoPassword {
        /// The user.
        user: String,
        /// The host.
        host: String,
    },
    /// The prompt failed.
    #[error("cannot ask for the password: {0}")]
    Prompt(io::Error),
    /// The password contains a line end.
    #[error("the password has a carriage return, line feed or NUL, which FTP cannot send")]
    Unsendable,
}

impl Search {
    /// Finds user and password. Asks on the terminal as the last resort.
    ///
    /// # Errors
    /// A file named by an option cannot be used, or there is no password for a named user.
    pub(crate) fn find(self) -> Result<Credentials, CredentialsError> {
        let given = self.given_password()?;
        let entry = match (&given, &self.user, &self.netrc) {
            // Nothing needs to be looked up, and no required file was named.
            (Some(_), Some(_), Netrc::IfPresent) => None,
            _ => self.netrc_entry(given.is_none())?,
        };
        let entry = entry.unwrap_or_default();
        let account = entry.account.unwrap_or_default();
        let user = self.user.clone().or(entry.login);
        let password = given.or(entry.password);
        let anonymous = || Password::new(ANONYMOUS_PASSWORD);
        let (user, password, origin) = match (user, password) {
            (Some(user), Some(password)) => (user, password, CredentialsOrigin::Given),
            (Some(user), None) if is_anonymous(&user) => {
                (user, anonymous(), CredentialsOrigin::Given)
            }
            (Some(user), None) => {
                let password = self.ask(&user)?;
                (user, password, CredentialsOrigin::Asked)
            }
            (None, password) => (
                "anonymous".to_owned(),
                password.unwrap_or_else(anonymous),
                CredentialsOrigin::Default,
            ),
        };
        if password.reveal().contains(['\r', '\n', '\0']) {
            return Err(CredentialsError::Unsendable);
        }
        Ok(Credentials {
            user,
            password,
            account,
            origin,
        })
    }

    fn given_password(&self) -> Result<Option<Password>, CredentialsError> {
        if self.password.is_some() {
            return Ok(self.password.clone());
        }
        if let Some(file) = &self.password_file {
            return read_password_file(file).map(Some);
        }
        if let Some(command) = &self.password_command {
            return Ok(Some(command.run(DEADLINE)?));
        }
        if self.environment.is_some() {
            return Ok(self.environment.clone());
        }
        match &self.credentials_directory {
            Some(directory) => read_credential(&directory.join(CREDENTIAL)),
            None => Ok(None),
        }
    }

    /// Returns the netrc entry for this host and user. `wanted` says whether its password would be
    /// used.
    fn netrc_entry(&self, wanted: bool) -> Result<Option<netrc::NetrcEntry>, CredentialsError> {
        let file = match &self.netrc {
            Netrc::File(file) => file.clone(),
            Netrc::Home => home_netrc().ok_or(CredentialsError::NoHome)?,
            Netrc::IfPresent => match home_netrc() {
                Some(file) if file.exists() => file,
                _ => return Ok(None),
            },
        };
        let (text, mode) = read_netrc(&file)?;
        let entries = netrc::parse(&text).map_err(|error| CredentialsError::NotANetrc {
            file: file.clone(),
            reason: error.to_string(),
        })?;
        let entry = netrc::find(entries, &self.host, self.user.as_deref());
        if let Some(entry) = &entry
            && wanted
            && is_open_to_others(mode)
            && entry.password.is_some()
            && !entry.login.as_deref().is_some_and(is_anonymous)
        {
            return Err(CredentialsError::OpenToOthers(file));
        }
        Ok(entry)
    }

    fn ask(&self, user: &str) -> Result<Password, CredentialsError> {
        let host = &self.host;
        if !io::stdin().is_terminal() {
            return Err(CredentialsError::NoPassword {
                user: user.to_owned(),
                host: host.clone(),
            });
        }
        prompt::ask(&format!("Password for {user} at {host}: "))
            .map(Password::new)
            .map_err(CredentialsError::Prompt)
    }
}

/// The user name of RFC 1635, and the one that older servers know.
fn is_anonymous(user: &str) -> bool {
    user.eq_ignore_ascii_case("anonymous") || user.eq_ignore_ascii_case("ftp")
}

fn home_netrc() -> Option<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty())?;
    Some(home.join(".netrc"))
}

fn read_password_file(file: &Path) -> Result<Password, CredentialsError> {
    if file == Path::new("-") {
        return first_line(file, io::stdin().lock());
    }
    let opened = open(file)?;
    let about = opened
        .metadata()
        .map_err(|source| unreadable(file, source))?;
    // The mode of a pipe is irrelevant, because only one process can read its data.
    if about.is_file() && is_open_to_others(about.permissions().mode()) {
        return Err(CredentialsError::OpenToOthers(file.to_owned()));
    }
    first_line(file, BufReader::new(opened))
}

/// Returns the password in a credential of systemd, `None` if it does not exist. systemd protects
/// it, and with `User=` its mode shows an access control list, so the mode is not checked.
fn read_credential(file: &Path) -> Result<Option<Password>, CredentialsError> {
    match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(file, error)),
        Ok(opened) => first_line(file, BufReader::new(opened)).map(Some),
    }
}

fn is_open_to_others(mode: u32) -> bool {
    mode & 0o077 != 0
}

fn first_line(file: &Path, reader: impl BufRead) -> Result<Password, CredentialsError> {
    let refuse = |reason| CredentialsError::NotAPassword {
        file: file.to_owned(),
        reason,
    };
    let mut line = Vec::new();
    reader
        .take(LARGEST_FILE)
        .read_until(b'\n', &mut line)
        .map_err(|source| unreadable(file, source))?;
    password_in_line(&line).map_err(refuse)
}

/// Returns the password in a line with or without its end.
fn password_in_line(line: &[u8]) -> Result<Password, &'static str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|_| "its first line is not UTF-8")?;
    if text.is_empty() {
        return Err("its first line is empty");
    }
    Ok(Password::new(text))
}

fn read_netrc(file: &Path) -> Result<(String, u32), CredentialsError> {
    let opened = open(file)?;
    let mode = opened
        .metadata()
        .map_err(|source| unreadable(file, source))?
        .permissions()
        .mode();
    let mut text = String::new();
    opened
        .take(LARGEST_FILE)
        .read_to_string(&mut text)
        .map_err(|source| unreadable(file, source))?;
    Ok((text, mode))
}

fn open(file: &Path) -> Result<File, CredentialsError> {
    fs::File::open(file).map_err(|source| unreadable(file, source))
}

fn unreadable(file: &Path, source: io::Error) -> CredentialsError {
    CredentialsError::Unreadable {
        file: file.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    /// A search with the netrc `file`, so that no test reads that of the user who runs it.
    fn search(file: &tempfile::NamedTempFile) -> Search {
        Search {
            host: "h".to_owned(),
            netrc: Netrc::File(file.path().to_owned()),
            ..Search::default()
        }
    }

    fn found(search: Search) -> (String, String) {
        let credentials = search.find().unwrap();
        (credentials.user, credentials.password.reveal().to_owned())
    }

    fn pair(user: &str, password: &str) -> (String, String) {
        (user.to_owned(), password.to_owned())
    }

    #[test]
    fn who_names_nobody_is_anonymous() {
        let empty = file_with("", 0o600);
        assert_eq!(found(search(&empty)), pair("anonymous", ANONYMOUS_PASSWORD));
        let named = Search {
            user: Some("ftp".to_owned()),
            ..search(&empty)
        };
        assert_eq!(found(named), pair("ftp", ANONYMOUS_PASSWORD));
    }

    #[test]
    fn the_password_is_taken_from_the_first_place_that_has_one() {
        let netrc = file_with("machine h login me password from-netrc", 0o600);
        let line = file_with("from-file\r\nrest", 0o600);
        let mut search = search(&netrc);
        assert_eq!(found(search.clone()), pair("me", "from-netrc"));
        let credentials = tempfile::tempdir().unwrap();
        search.credentials_directory = Some(credentials.path().to_owned());
        assert_eq!(found(search.clone()), pair("me", "from-netrc"));
        fs::write(credentials.path().join(CREDENTIAL), "from-systemd\n").unwrap();
        assert_eq!(found(search.clone()), pair("me", "from-systemd"));
        search.environment = Some(Password::new("from-environment"));
        assert_eq!(found(search.clone()), pair("me", "from-environment"));
        search.password_command = Some(PasswordCommand::parse("echo from-command").unwrap());
        assert_eq!(found(search.clone()), pair("me", "from-command"));
        search.password_file = Some(line.path().to_owned());
        assert_eq!(found(search.clone()), pair("me", "from-file"));
        search.password = Some(Password::new("from-source"));
        assert_eq!(found(search.clone()), pair("me", "from-source"));
        search.user = Some("you".to_owned());
        assert_eq!(found(search), pair("you", "from-source"));
    }

    #[test]
    fn the_account_comes_from_netrc() {
        let netrc = file_with("machine h login me password p account a", 0o600);
        assert_eq!(search(&netrc).find().unwrap().account, "a");
    }

    #[test]
    fn a_netrc_open_to_others_is_refused_when_its_password_would_be_used() {
        let netrc = file_with("machine h login me password p", 0o644);
        assert!(matches!(
            search(&netrc).find(),
            Err(CredentialsError::OpenToOthers(_))
        ));
        let other_password = Search {
            password: Some(Password::new("mine")),
            ..search(&netrc)
        };
        assert_eq!(found(other_password), pair("me", "mine"));
        let anonymous = file_with("default login anonymous password me@x", 0o644);
        assert_eq!(found(search(&anonymous)), pair("anonymous", "me@x"));
    }

    #[test]
    fn a_missing_file_that_was_asked_for_is_an_error() {
        let gone = PathBuf::from("/nonexistent/file");
        let netrc = Search {
            netrc: Netrc::File(gone.clone()),
            ..Search::default()
        };
        assert!(matches!(
            netrc.find(),
            Err(CredentialsError::Unreadable { .. })
        ));
        let password_file = Search {
            password_file: Some(gone),
            ..Search::default()
        };
        assert!(matches!(
            password_file.find(),
            Err(CredentialsError::Unreadable { .. })
        ));
    }

    #[test]
    fn a_password_file_open_to_others_is_refused() {
        for mode in [0o644, 0o640, 0o602] {
            let file = file_with("secret", mode);
            let search = Search {
                password_file: Some(file.path().to_owned()),
                ..Search::default()
            };
            assert!(matches!(
                search.find(),
                Err(CredentialsError::OpenToOthers(_))
            ));
        }
    }

    #[test]
    fn an_empty_password_file_is_an_error() {
        let empty = file_with("\n", 0o600);
        let search = Search {
            password_file: Some(empty.path().to_owned()),
            ..Search::default()
        };
        assert!(matches!(
            search.find(),
            Err(CredentialsError::NotAPassword { .. })
        ));
    }

    #[test]
    fn the_mode_of_a_credential_is_systemd_s_affair_and_its_contents_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(CREDENTIAL);
        let search = Search {
            user: Some("me".to_owned()),
            credentials_directory: Some(directory.path().to_owned()),
            ..Search::default()
        };
        fs::write(&file, "secret").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        assert_eq!(found(search.clone()), pair("me", "secret"));
        fs::write(&file, "").unwrap();
        let empty = search.clone().find().unwrap_err();
        assert!(matches!(empty, CredentialsError::NotAPassword { .. }));
        assert!(empty.to_string().contains(CREDENTIAL), "{empty}");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let unreadable = search.find().unwrap_err();
        assert!(matches!(unreadable, CredentialsError::Unreadable { .. }));
        assert!(unreadable.to_string().contains(CREDENTIAL), "{unreadable}");
    }

    #[test]
    fn a_password_cannot_end_its_command() {
        let search = Search {
            user: Some("me".to_owned()),
            environment: Some(Password::new("a\r\nDELE b")),
            ..Search::default()
        };
        assert!(matches!(search.find(), Err(CredentialsError::Unsendable)));
    }
}
