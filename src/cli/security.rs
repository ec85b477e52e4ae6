//! Converts the source's scheme and the TLS options to connection options.

use super::Failure;
use super::settings::Settings;
use crate::ftp::tls::ConfigError;
use crate::ftp::tls::Identity;
use crate::ftp::{Tls, TlsConfig, TlsOptions, Trust};
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
///
/// # Errors
/// A file cannot be used, options contradict each other, or have no effect without TLS.
pub(super) fn tls(source: &Source, options: &Settings) -> Result<Tls, Failure> {
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
        trust: trust(options)?,
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

/// Returns an option that has no effect without TLS.
fn without_tls(options: &Settings) -> Option<&'static str> {
    [
        (options.cafile.is_some(), "cafile"),
        (options.fingerprint.is_some(), "fingerprint"),
        (options.insecure, "insecure"),
        (options.cert.is_some(), "cert"),
        (options.key.is_some(), "key"),
    ]
    .into_iter()
    .find_map(|(is_given, name)| is_given.then_some(name))
}

fn trust(options: &Settings) -> Result<Trust, Failure> {
    match (&options.cafile, options.fingerprint, options.insecure) {
        (None, None, false) => Ok(Trust::System),
        (Some(file), None, false) => Ok(Trust::File(file.clone())),
        (None, Some(fingerprint), false) => Ok(Trust::Pin(fingerprint)),
        (None, None, true) => Ok(Trust::Anyone),
        _ => Err(
            "-o cafile=, -o fingerprint= and -o insecure say whom to trust: give one of them"
                .into(),
        ),
    }
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
