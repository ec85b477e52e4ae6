//! Options for the login and the origin of its password.

use std::path::PathBuf;

use super::{Group, Set, Spec, valued};
use crate::cli::value;
use crate::credentials::Netrc;

pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "user",
        placeholder: "NAME",
        default: "the source's, else netrc's, else anonymous",
        help: "Log in as NAME; without a value, it is `user` of mount(8) and ignored",
        group: Group::Login,
        set: Set::Optional(|to, value| {
            if let Some(value) = value {
                to.user = Some(value::text(value)?);
            }
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
