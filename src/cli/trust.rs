//! The question of `-o trust=first` at a terminal: the user sees the server's certificate before
//! the password is asked for. Without a terminal, the first connection [pins](super::pins) it.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use super::advice::Advice;
use super::pins::server_name;
use super::settings::Settings;
use super::{Failure, build, child, security};
use crate::credentials::ask_openly;
use crate::ftp::tls::{
    Certificate, Fingerprint, PinStore, PinStoreError, PinnedCertificate, SharedPinStore,
};
use crate::ftp::{ConnectOptions, Trust, server_certificate};
use crate::source::Source;
use crate::sys;

/// First bytes of the answers of the process that looks at the certificate.
const SHOWN: u8 = b'+';
const FAILED: u8 = b'-';

/// Accepts any certificate and records none, to show it.
#[derive(Debug)]
struct NoPins;

impl PinStore for NoPins {
    fn pinned(&self) -> Result<Option<PinnedCertificate>, PinStoreError> {
        Ok(None)
    }

    fn record(&self, certificate: &Certificate) -> Result<PinnedCertificate, PinStoreError> {
        Ok(PinnedCertificate {
            fingerprint: certificate.fingerprint,
            since: String::new(),
            file: PathBuf::new(),
        })
    }
}

/// Shows the certificate of a server that has no pin yet, and asks whether to trust it. Returns
/// immediately without a terminal, and for options that do not ask for it.
///
/// `connect` returns the options of a connection, with any login.
///
/// # Errors
/// The server cannot be reached, the pin cannot be used, or the answer is no.
pub(super) fn ask(
    source: &Source,
    options: &Settings,
    state: Option<&Path>,
    connect: impl FnOnce() -> Result<ConnectOptions, Failure>,
) -> Result<(), Failure> {
    let is_at_terminal = io::stdin().is_terminal();
    // The background process connects later, when it can no longer ask.
    if !options.trust_first || options.delay_connect || !is_at_terminal {
        return Ok(());
    }
    let connect = connect()?;
    let file = security::pin_file(source, options, state)?;
    if file.read()?.is_some() {
        return Ok(());
    }
    // The answer must not be in vain.
    file.prepare()?;
    let server = server_name(&connect.host, connect.port);
    let trust = Trust::First(SharedPinStore::new(NoPins));
    let connect = ConnectOptions {
        tls: security::tls_trusting(source, options, trust)?,
        ..connect
    };
    let advice = Advice::new(source, options, &build::no_login());
    let answer = child::answer_of(|| match shown(&connect, &advice) {
        Ok(text) => [&[SHOWN], text.as_bytes()].concat(),
        Err(failure) => [&[FAILED], failure.to_string().as_bytes()].concat(),
    })?;
    let text = match answer.split_first() {
        Some((&SHOWN, text)) => String::from_utf8_lossy(text),
        Some((_, message)) => return Err(String::from_utf8_lossy(message).into()),
        None => return Err("interrupted while the certificate was fetched".into()),
    };
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (fingerprint, subject, shown) = (part(), part(), part());
    let fingerprint: Fingerprint = fingerprint
        .parse()
        .map_err(|()| "the certificate cannot be shown")?;
    let question = format!(
        "ftpfs connects to {server} for the first time. Its certificate:\n{shown}\nTrust this certificate? [y/N] "
    );
    let answer = ask_openly(&question).map_err(|error| format!("cannot ask: {error}"))?;
    if !["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        return Err(format!("the certificate of {server} is not trusted").into());
    }
    // If another process has recorded another one in the meantime, the next connection fails.
    file.record(fingerprint, subject)?;
    Ok(())
}

/// Returns the fingerprint and the subject of the server's certificate, each in a line, and its
/// description.
fn shown(connect: &ConnectOptions, advice: &Advice) -> Result<String, Failure> {
    sys::renounce()?;
    let certificate = server_certificate(connect).map_err(|error| advice.of_connection(&error))?;
    let certificate = certificate.ok_or("the server has shown no certificate")?;
    let Certificate {
        fingerprint,
        subject,
        issuer,
        names,
        ..
    } = &certificate;
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    };
    Ok(format!(
        "{fingerprint}\n{subject}\n  fingerprint  {fingerprint}\n  subject      {subject}\n  names        {names}\n  \
         issuer       {issuer}\n  valid        from {} to {}",
        certificate.first_day(),
        certificate.last_day()
    ))
}
