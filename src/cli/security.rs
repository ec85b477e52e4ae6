//! Converts the source's scheme and the TLS options to connection options.

use std::path::Path;

use super::old_source::SSHFS_PREFIX;
use super::settings::Settings;
use super::{Failure, pins};
use crate::ftp::tls::ConfigError;
use crate::ftp::tls::Identity;
use crate::ftp::{Tls, TlsConfig, TlsOptions, Trust};
use crate::journal::PinFile;
use crate::source::{DEFAULT_PORT, IMPLICIT_TLS_PORT, Scheme, Source};

/// Returns the port of the control connection.
///
/// # Errors
/// The source and the option name different ports.
pub(super) fn port(source: &Source, options: &Settings) -> Result<u16, Failure> {
    if let (Some(typed), Some(option)) = (source.port, options.port)
        && typed != option
    {
        return Err(format!(
            "-o port={option} contradicts the port {typed} in {}: leave one of them out",
            source.shown
        )
        .into());
    }
    let default = match source.scheme {
        Scheme::Plain | Scheme::ExplicitTls => DEFAULT_PORT,
        Scheme::ImplicitTls => IMPLICIT_TLS_PORT,
    };
    Ok(options.port.or(source.port).unwrap_or(default))
}

/// Returns the protection of the connection. Reads its files here, before anything is sent.
/// `state` is ftpfs's state directory, if there is one.
///
/// # Errors
/// A file cannot be used, options contradict each other, or have no effect without TLS.
pub(super) fn tls(
    source: &Source,
    options: &Settings,
    state: Option<&Path>,
) -> Result<Tls, Failure> {
    let trust = trust(source, options, state)?;
    tls_trusting(source, options, trust)
}

/// Returns the protection of a connection that trusts other certificates than `options` say.
///
/// # Errors
/// A file cannot be used, or options have no effect without TLS.
pub(super) fn tls_trusting(
    source: &Source,
    options: &Settings,
    trust: Trust,
) -> Result<Tls, Failure> {
    let is_implicit = match (source.scheme, options.tls) {
        (Scheme::ImplicitTls, _) => true,
        (Scheme::ExplicitTls, _) | (Scheme::Plain, true) => false,
        (Scheme::Plain, false) => {
            return match without_tls(options) {
                Some(name) => {
                    let typed = options.foreign.typed_for(name).unwrap_or(name);
                    Err(format!(
                        "-o {typed} requires TLS: add -o tls, or write ftpes:// or ftps://"
                    )
                    .into())
                }
                None => Ok(Tls::Off),
            };
        }
    };
    let wanted = TlsOptions {
        trust,
        identity: identity(options)?,
    };
    let config = TlsConfig::load(&wanted).map_err(|error| match error {
        ConfigError::NoRoots => format!(
            "{error}; name one with -o cafile=FILE, or pin the server's certificate with -o fingerprint=sha256:HEX"
        ),
        other => other.to_string(),
    })?;
    Ok(if is_implicit {
        Tls::Implicit(config)
    } else {
        Tls::Explicit(config)
    })
}

/// Returns a warning if a command line of sshfs becomes a mount without TLS.
pub(super) fn sshfs_warning(source: &Source, options: &Settings) -> Option<&'static str> {
    let is_of_sshfs = options.foreign.is_of_sshfs || source.shown.starts_with(SSHFS_PREFIX);
    let is_in_the_clear = source.scheme == Scheme::Plain && !options.tls;
    (is_of_sshfs && is_in_the_clear)
        .then_some("sshfs encrypted everything; this mount does not: add -o tls")
}

/// Returns an option that has no effect without TLS.
fn without_tls(options: &Settings) -> Option<&'static str> {
    [
        (options.cafile.is_some(), "cafile"),
        (options.fingerprint.is_some(), "fingerprint"),
        (options.trust_first, "trust"),
        (options.insecure, "insecure"),
        (options.cert.is_some(), "cert"),
        (options.key.is_some(), "key"),
    ]
    .into_iter()
    .find_map(|(is_given, name)| is_given.then_some(name))
}

fn trust(source: &Source, options: &Settings, state: Option<&Path>) -> Result<Trust, Failure> {
    let Settings {
        cafile,
        fingerprint,
        trust_first,
        insecure,
        ..
    } = options;
    match (cafile, fingerprint, trust_first, insecure) {
        (None, None, false, false) => Ok(Trust::System),
        (Some(file), None, false, false) => Ok(Trust::File(file.clone())),
        (None, Some(fingerprint), false, false) => Ok(Trust::Pin(*fingerprint)),
        (None, None, true, false) => {
            let file = pin_file(source, options, state)?;
            Ok(pins::first(file, &source.host, port(source, options)?))
        }
        (None, None, false, true) => Ok(Trust::Anyone),
        _ => Err(
            "-o cafile=, -o fingerprint=, -o trust= and -o insecure say whom to trust: give one of them"
                .into(),
        ),
    }
}

/// Returns the file with the pinned certificate of the server.
///
/// # Errors
/// There is no state directory.
pub(super) fn pin_file(
    source: &Source,
    options: &Settings,
    state: Option<&Path>,
) -> Result<PinFile, Failure> {
    let state = state.ok_or(
        "-o trust=first stores the server's certificate in the state directory, and there is none: set HOME or XDG_STATE_HOME",
    )?;
    Ok(PinFile::of(state, &source.host, port(source, options)?))
}

fn identity(options: &Settings) -> Result<Option<Identity>, Failure> {
    match (&options.cert, &options.key) {
        (Some(certificate), key) => Ok(Some(Identity {
            certificate: certificate.clone(),
            key: key.clone(),
        })),
        (None, None) => Ok(None),
        (None, Some(_)) => {
            Err("-o key= belongs to a client certificate: name it with -o cert=".into())
        }
    }
}
