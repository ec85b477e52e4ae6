//! The verbs: one table, and one function per verb.
//!
//! A function takes the session and the argument, and returns the verb's final reply.

#![allow(
    clippy::unnecessary_wraps,
    reason = "infallible verbs share the signature of the table"
)]

mod change;
mod connection;
pub(super) mod digest;
mod directory;
mod information;
mod list;
mod login;
mod parameter;
mod retrieve;
pub(super) mod security;
mod store;

use super::command_line::{CONNECT, Command};
use super::reply::{Answer, Reply, refused};
use super::serving::Serving;
use super::session::Session;

/// Precondition of a verb.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// No precondition.
    Nothing,
    /// The client is logged in.
    Login,
    /// The client is logged in, and there is an argument.
    Argument,
    /// The client is logged in, there is an argument, and the server is not read-only.
    Change,
}

/// A row of the table.
struct Verb {
    name: &'static str,
    needs: Needs,
    /// Line in FEAT (RFC 2389), if any.
    feature: Option<&'static str>,
    run: fn(&mut Session, &[u8]) -> Answer,
}

const fn verb(name: &'static str, needs: Needs, run: fn(&mut Session, &[u8]) -> Answer) -> Verb {
    Verb {
        name,
        needs,
        feature: None,
        run,
    }
}

const fn feature(
    name: &'static str,
    feature: &'static str,
    needs: Needs,
    run: fn(&mut Session, &[u8]) -> Answer,
) -> Verb {
    Verb {
        name,
        needs,
        feature: Some(feature),
        run,
    }
}

/// All verbs, in the order in which HELP and FEAT show them.
const VERBS: &[Verb] = &[
    verb("USER", Needs::Nothing, login::user),
    verb("PASS", Needs::Nothing, login::pass),
    verb("ACCT", Needs::Nothing, login::acct),
    verb("QUIT", Needs::Nothing, login::quit),
    feature("AUTH", "AUTH TLS", Needs::Nothing, security::auth),
    feature("PBSZ", "PBSZ", Needs::Nothing, security::pbsz),
    feature("PROT", "PROT", Needs::Nothing, security::prot),
    verb("FEAT", Needs::Nothing, information::feat),
    verb("HELP", Needs::Nothing, information::help),
    verb("SYST", Needs::Nothing, information::syst),
    verb("NOOP", Needs::Nothing, information::noop),
    feature("AVBL", "AVBL", Needs::Login, information::avbl),
    verb("OPTS", Needs::Nothing, parameter::opts),
    verb("TYPE", Needs::Login, parameter::transfer_type),
    verb("MODE", Needs::Login, parameter::mode),
    verb("STRU", Needs::Login, parameter::stru),
    feature("REST", "REST STREAM", Needs::Login, parameter::rest),
    feature("RANG", "RANG STREAM", Needs::Login, parameter::rang),
    verb("ALLO", Needs::Login, parameter::allo),
    feature("EPSV", "EPSV", Needs::Login, connection::epsv),
    verb("PASV", Needs::Login, connection::pasv),
    feature("EPRT", "EPRT", Needs::Login, connection::eprt),
    verb("PORT", Needs::Login, connection::port),
    verb("ABOR", Needs::Nothing, connection::abor),
    verb("PWD", Needs::Login, directory::pwd),
    verb("XPWD", Needs::Login, directory::pwd),
    verb("CWD", Needs::Login, directory::cwd),
    verb("XCWD", Needs::Login, directory::cwd),
    verb("CDUP", Needs::Login, directory::cdup),
    verb("XCUP", Needs::Login, directory::cdup),
    verb("MKD", Needs::Change, directory::mkd),
    verb("XMKD", Needs::Change, directory::mkd),
    verb("RMD", Needs::Change, directory::rmd),
    verb("XRMD", Needs::Change, directory::rmd),
    verb("LIST", Needs::Login, list::list),
    verb("NLST", Needs::Login, list::nlst),
    feature("MLST", "MLST", Needs::Login, list::mlst),
    verb("MLSD", Needs::Login, list::mlsd),
    verb("STAT", Needs::Login, list::stat),
    verb("RETR", Needs::Argument, retrieve::retr),
    feature("SIZE", "SIZE", Needs::Argument, retrieve::size),
    feature("MDTM", "MDTM", Needs::Argument, retrieve::mdtm),
    verb("STOR", Needs::Change, store::stor),
    verb("APPE", Needs::Change, store::appe),
    verb("DELE", Needs::Change, change::dele),
    verb("RNFR", Needs::Change, change::rnfr),
    verb("RNTO", Needs::Change, change::rnto),
    feature("HASH", "HASH SHA-256*", Needs::Argument, digest::hash),
    feature("XSHA256", "XSHA256", Needs::Argument, digest::xsha256),
    feature("XSHA1", "XSHA1", Needs::Argument, digest::xsha1),
    feature("XMD5", "XMD5", Needs::Argument, digest::xmd5),
    feature("XCRC", "XCRC", Needs::Argument, digest::xcrc),
    feature("MFMT", "MFMT", Needs::Change, change::mfmt),
    feature(
        "SITE CHMOD",
        "SITE CHMOD",
        Needs::Change,
        change::site_chmod,
    ),
    feature(
        "SITE UTIME",
        "SITE UTIME",
        Needs::Change,
        change::site_utime,
    ),
    feature("SITE CPFR", "SITE CPFR", Needs::Change, change::site_cpfr),
    feature("SITE CPTO", "SITE CPTO", Needs::Change, change::site_cpto),
    feature(
        "SITE SYMLINK",
        "SITE SYMLINK",
        Needs::Change,
        change::site_symlink,
    ),
];

/// Whether the verb or feature is disabled.
fn is_disabled(serving: &Serving, name: &str) -> bool {
    let is_withheld = (!serving.options.digests && digest::VERBS.contains(&name))
        || (serving.tls.is_none() && security::VERBS.contains(&name));
    is_withheld || serving.options.disabled.contains(name)
}

/// Runs a command if it is known, enabled and allowed now.
pub(super) fn run(session: &mut Session, command: &Command) -> Answer {
    let name = command.verb.as_str();
    if name == CONNECT {
        return Ok(Reply::new(220, "ftpfs server ready"));
    }
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        return Err(refused(500, format!("Unknown command {name}")));
    };
    if is_disabled(&session.serving, name) {
        return Err(refused(502, format!("{name} is switched off")));
    }
    verb.needs.check(session, &command.argument)?;
    if name != "RNTO" {
        session.rename_from = None;
    }
    if name != "SITE CPTO" {
        session.copy_from = None;
    }
    (verb.run)(session, &command.argument)
}

impl Needs {
    fn check(self, session: &Session, argument: &[u8]) -> Result<(), super::reply::Stop> {
        let (login, wants_argument, change) = match self {
            Self::Nothing => (false, false, false),
            Self::Login => (true, false, false),
            Self::Argument => (true, true, false),
            Self::Change => (true, true, true),
        };
        if login && !session.logged_in() {
            return Err(refused(530, "Log in with USER and PASS first"));
        }
        if change && session.serving.options.read_only {
            return Err(refused(550, "Permission denied: read-only"));
        }
        if wants_argument && argument.is_empty() {
            return Err(refused(501, "An argument is missing"));
        }
        Ok(())
    }
}
