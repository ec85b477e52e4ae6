//! Who logs in, and where the password comes from.

use std::path::PathBuf;

use super::{Group, Set, Spec, valued};
use crate::cli::value;
use crate::credentials::Netrc;

pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "user",
        placeholder: "NAME",
        default: "the source's, else netrc's, else anonymous",
        help: "Log in as NAME; without a value it is mount(8)'s `user` and ignored",
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
        default: "~/.netrc, where there is one",
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
