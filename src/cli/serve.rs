//! `ftpfs serve DIR`: runs the embedded server.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;
use log::LevelFilter;
use url::Url;

use super::logging::{self, LogOptions};
use super::{Failure, command};
use crate::ftp::Password;
use crate::server::{Access, Certificate, Server, ServerOptions, TlsMode, TlsOptions};
use crate::sys::Signals;

/// Serves until a signal arrives.
///
/// # Errors
/// The directory or the address cannot be used.
pub(super) fn run(
    matches: &ArgMatches,
    environment: Option<Password>,
) -> Result<ExitCode, Failure> {
    let signals = Signals::block()?;
    let directory = matches.get_one::<PathBuf>(command::DIRECTORY);
    let root = directory.ok_or("DIR is missing")?;
    if !root.is_dir() {
        return Err(format!("there is no directory {} to serve", root.display()).into());
    }
    let listen = matches.get_one::<SocketAddr>(command::LISTEN);
    let listen = *listen.ok_or("an address to listen on is missing")?;
    let access = access(matches, environment)?;
    let tls = tls(matches, listen)?;
    let user = matches.get_one::<String>(command::USER);
    let options = ServerOptions {
        listen,
        read_only: is_read_only(matches, listen),
        max_sessions: matches.get_one(command::MAX_SESSIONS).copied(),
        digests: true,
        passive_ports: matches.get_one(command::PASSIVE_PORTS).cloned(),
        public_address: matches.get_one(command::PUBLIC_ADDRESS).copied(),
        tls: tls.clone(),
        ..ServerOptions::new(root, access)
    };
    logging::start(LogOptions::at_terminal(LevelFilter::Info))?;
    let server = Server::start(options)
        .map_err(|error| format!("cannot serve {}: {error}", root.display()))?;
    warn_of_exposure(&server, matches);
    let mut output = std::io::stdout();
    let scheme = scheme(tls.as_ref());
    writeln!(
        output,
        "{}",
        url(scheme, user.map(String::as_str), server.address())?
    )?;
    if let Some(tls) = tls.filter(|_| !matches.contains_id(command::TLS_CERTIFICATE)) {
        writeln!(
            output,
            "its certificate is new and self-signed; clients can trust it with -o fingerprint={}",
            tls.certificate.fingerprint()
        )?;
    }
    output.flush()?;
    signals.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Warns if other machines can reach the server and read or change more than its user may expect.
fn warn_of_exposure(server: &Server, matches: &ArgMatches) {
    if server.address().ip().to_canonical().is_loopback() {
        return;
    }
    match matches.get_one::<String>(command::TLS).map(String::as_str) {
        None => {
            log::warn!("passwords and files cross the network unencrypted; --tls encrypts them");
        }
        Some("offered") => {
            log::warn!("clients may send passwords and files unencrypted; --tls requires TLS");
        }
        Some(_) => {}
    }
    if matches.get_flag(command::ANONYMOUS) && !matches.get_flag(command::ANONYMOUS_WRITES) {
        log::info!("anonymous clients can only read; --anonymous-writes lets them change files");
    }
    if matches.get_flag(command::ANONYMOUS_WRITES) {
        log::warn!("anyone on the network can change the files, because of --anonymous-writes");
    }
}

/// Whether clients cannot change files. Anonymous ones on other machines can only if that was asked
/// for.
fn is_read_only(matches: &ArgMatches, listen: SocketAddr) -> bool {
    let is_for_anyone =
        matches.get_flag(command::ANONYMOUS) && !listen.ip().to_canonical().is_loopback();
    matches.get_flag(command::READ_ONLY)
        || (is_for_anyone && !matches.get_flag(command::ANONYMOUS_WRITES))
}

/// Returns the URL for clients, without the password.
fn url(scheme: &str, user: Option<&str>, address: SocketAddr) -> Result<Url, Failure> {
    let mut url = Url::parse(&format!("{scheme}://{address}/"))?;
    // A URL with a host accepts any user name and escapes it.
    let _ = url.set_username(user.unwrap_or_default());
    Ok(url)
}

/// Returns the scheme of the server's URL. TLS is preferred even if it is only offered.
fn scheme(tls: Option<&TlsOptions>) -> &'static str {
    match tls.map(|tls| tls.mode) {
        None => "ftp",
        Some(TlsMode::Offered | TlsMode::Required) => "ftpes",
        Some(TlsMode::Implicit) => "ftps",
    }
}

fn tls(matches: &ArgMatches, listen: SocketAddr) -> Result<Option<TlsOptions>, Failure> {
    let Some(how) = matches.get_one::<String>(command::TLS) else {
        return Ok(None);
    };
    let file = |id| matches.get_one::<PathBuf>(id);
    let certificate = match (file(command::TLS_CERTIFICATE), file(command::TLS_KEY)) {
        (Some(certificate), Some(key)) => Certificate::from_files(certificate, key)?,
        _ => Certificate::made_for(listen.ip())?,
    };
    Ok(Some(TlsOptions {
        mode: match how.as_str() {
            "offered" => TlsMode::Offered,
            "implicit" => TlsMode::Implicit,
            _ => TlsMode::Required,
        },
        reuse: matches.get_flag(command::TLS_REUSE),
        client_ca: file(command::TLS_CLIENT_CA).cloned(),
        ..TlsOptions::new(certificate)
    }))
}

fn access(matches: &ArgMatches, environment: Option<Password>) -> Result<Access, Failure> {
    let Some(user) = matches.get_one::<String>(command::USER).cloned() else {
        return Ok(Access::Anonymous);
    };
    let typed = matches.get_one::<String>(command::PASSWORD).cloned();
    let password = typed
        .or_else(|| environment.map(|password| password.reveal().to_owned()))
        .ok_or("a password is missing: --password, or better FTPFS_PASSWORD")?;
    Ok(Access::Account { user, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_can_be_typed_back() {
        let address: SocketAddr = "[::1]:2121".parse().unwrap();
        for scheme in ["ftp", "ftpes", "ftps"] {
            let url = url(scheme, Some("me@x"), address).unwrap();
            assert_eq!(url.as_str(), format!("{scheme}://me%40x@[::1]:2121/"));
        }
    }
}
