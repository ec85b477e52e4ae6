//! The login of a further session, in one write. The first login of the mount showed that the
//! server asks for a password and nothing else, and what its features are. With TLS, the handshake
//! comes before it, so the password is encrypted.
//!
//! The same host has the same features, so only another one is asked for them. vsftpd sends each
//! line of that reply as a segment of its own: with the replies to the login, more than the first
//! congestion window (10 segments, RFC 6928). All that follows would take another round trip.
//!
//! Only known servers queue commands before the login (`profile/family.rs`).

use super::login::{
    answer, check_type, features, host_of, login_error, options_lines, record, send_options,
    skip_greetings,
};
use crate::ftp::PathError;
use crate::ftp::control::Control;
use crate::ftp::data::is_v4;
use crate::ftp::error::Error;
use crate::ftp::features::Features;
use crate::ftp::options::ConnectOptions;
use crate::ftp::profile::{AskedHost, Capability};
use crate::ftp::reply::{Reply, ReplyClass};
use crate::ftp::text::escaped;
use crate::ftp::tls::Tls;

/// Logs in after the greeting. `known` are the features of the last login. Returns those of this
/// one.
///
/// # Errors
/// The login is refused, or the server did not answer the commands in order: then later logins are
/// sent one command at a time.
pub(super) fn log_in_together(
    control: &mut Control,
    options: &ConnectOptions,
    greeting: &Reply,
    known: &AskedHost,
) -> Result<Features, Error> {
    let (user, password) = (options.user.as_str(), options.password.reveal());
    let is_unsendable = |it: &str| it.contains(['\r', '\n', '\0']);
    if is_unsendable(user) || is_unsendable(password) {
        return Err(Error::Path(PathError::Unsendable));
    }
    let profile = &options.profile;
    let host = host_of(control, greeting);
    let is_known = known.answers_for(host);
    let known = &known.features;
    let is_protected = !matches!(options.tls, Tls::Off);
    let skips_extended = options.trust_pasv_address && is_v4(control)?;
    let prepares = options.may_prepare_data() && profile.has(Capability::Epsv) && !skips_extended;
    let set = options_lines(options, known);
    let mut lines = Vec::new();
    if is_protected {
        lines.extend(["PBSZ 0".to_owned(), "PROT P".to_owned()]);
    }
    lines.extend([format!("USER {user}"), format!("PASS {password}")]);
    lines.extend((!is_known).then(|| "FEAT".to_owned()));
    lines.push("TYPE I".to_owned());
    lines.extend(set.iter().cloned());
    lines.extend(prepares.then(|| "EPSV".to_owned()));
    for line in &lines {
        match line.strip_prefix("PASS ") {
            Some(_) => log::debug!("> PASS ****"),
            None => log::debug!("> {}", escaped(line.as_bytes())),
        }
    }
    control.conceal(password);
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let asked = LoginQuestions {
        protection: is_protected,
        features: !is_known,
        options: set.len(),
    };
    let outcome = control.send_batch(&lines);
    let outcome = outcome.and_then(|()| receive(control, &asked));
    let found = outcome.inspect_err(|error| match error {
        // A login step by step would fail, too.
        Error::Login(_) | Error::TooManySessions(_) => {}
        error if error.reply().is_some_and(|reply| reply.code().0 == 421) => {}
        error => {
            let is_doubtful = is_lost(error) || matches!(error, Error::Timeout(_));
            profile.pipelined_login_failed(error, is_doubtful);
        }
    })?;
    profile.pipelined_login_succeeded();
    let found = if let Some(found) = found {
        record(control, profile, greeting, &found);
        found
    } else {
        profile.record_host(host);
        known.clone()
    };
    if prepares {
        control.expect_passive_reply();
    }
    if found != *known {
        send_options(control, &options_lines(options, &found), true)?;
    }
    Ok(found)
}

/// Whether the server closed the connection instead of answering. It may have refused the login:
/// closing a connection with commands that it has not read can discard its reply (RFC 1122
/// §4.2.2.13).
pub(super) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Closed(_) | Error::Io { .. })
}

/// What a login asks for besides USER, PASS and TYPE.
struct LoginQuestions {
    /// PBSZ and PROT.
    protection: bool,
    /// FEAT.
    features: bool,
    /// Number of OPTS commands.
    options: usize,
}

/// Receives the replies up to those to the options. Returns the features if they were asked for.
fn receive(control: &mut Control, asked: &LoginQuestions) -> Result<Option<Features>, Error> {
    let expect = |control: &mut Control, command, class| {
        let reply = answer(control, command)?;
        let reply = skip_greetings(control, reply)?;
        if reply.code().class() == class {
            return Ok(());
        }
        // What refuses protection says nothing about the account.
        if matches!(command, "USER" | "PASS") {
            return Err(login_error(reply, command));
        }
        Err(Error::Refused { command, reply })
    };
    if asked.protection {
        expect(control, "PBSZ", ReplyClass::Completion)?;
        expect(control, "PROT", ReplyClass::Completion)?;
    }
    expect(control, "USER", ReplyClass::Intermediate)?;
    expect(control, "PASS", ReplyClass::Completion)?;
    control.reveal();
    let found = if asked.features {
        Some(features(&answer(control, "FEAT")?))
    } else {
        None
    };
    check_type(answer(control, "TYPE")?)?;
    for _ in 0..asked.options {
        answer(control, "OPTS")?;
    }
    Ok(found)
}
