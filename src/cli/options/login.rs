//! Options for the login and the origin of its password.

use std::path::PathBuf;

use super::{Group, Set, Spec, valued};
use crate::cli::value;
use crate::credentials::{Netrc, PasswordCommand};
use crate::ftp::Password;

pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "user",
        placeholder: "NAME",
        default: "the source's, else netrc's, else anonymous",
        help: "Log in as NAME; without a value, it is `user` of mount(8) and ignored. NAME:PASSWORD is taken too, as in curlftpfs",
        group: Group::Login,
        // curlftpfs takes the password here too, and the first colon ends the name.
        set: Set::OptionalSecret(|to, value| {
            let Some(value) = value else {
                return Ok(());
            };
            let text = value::text(value)?;
            let (user, password) = match text.split_once(':') {
                Some((user, password)) => (user.to_owned(), Some(Password::new(password))),
                None => (text, None),
            };
            if user.is_empty() {
                return Err("a user's name");
            }
            if password.is_some() {
                let instead = "user=NAME with netrc or password_file=FILE";
                to.foreign.add_replaced("user=NAME:PASSWORD", instead);
            }
            (to.user, to.password) = (Some(user), password);
            Ok(())
        }),
    },
    valued(
        Group::Login,
        "password_file",
        "FILE",
        "",
        "Read the password from the first line of FILE; - is the standard input",
        |to, value| {
            to.password_file = Some(match value.to_str() {
                Some("-") => PathBuf::from("-"),
                _ => value::path(value)?,
            });
            Ok(())
        },
    ),
    Spec {
        name: "password_command",
        placeholder: "COMMAND",
        default: "",
        help: "Read the password from the first line of COMMAND's output, such as \"pass show ftp\"; runs without a shell, for 60 seconds at most",
        group: Group::Login,
        set: Set::Secret(|to, value| {
            to.password_command = Some(PasswordCommand::parse(
                value.to_str().ok_or("a command in UTF-8")?,
            )?);
            Ok(())
        }),
    },
    Spec {
        name: "netrc",
        placeholder: "FILE",
        default: "~/.netrc, if it exists",
        help: "Read user, password and account from FILE, or from ~/.netrc, which then must exist",
        group: Group::Login,
        set: Set::Optional(|to, value| {
            to.netrc = match value {
                Some(value) => Netrc::File(value::path(value)?),
                None => Netrc::Home,
            };
            Ok(())
        }),
    },
];
