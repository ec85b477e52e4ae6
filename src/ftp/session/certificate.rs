//! The certificate of a server, without a login.

use super::login::greet;
use super::{QUIT_PATIENCE, with_tls_fallbacks};
use crate::ftp::ConnectOptions;
use crate::ftp::connect::control_connection;
use crate::ftp::control::Control;
use crate::ftp::error::{Error, Phase};
use crate::ftp::tls::{Certificate, Connector};

/// Connects, performs the TLS handshake and ends the connection (QUIT) without a login. Returns the
/// server's certificate, `None` without TLS.
///
/// # Errors
/// The server cannot be reached, does not support TLS, or its certificate is not trusted.
pub fn server_certificate(options: &ConnectOptions) -> Result<Option<Certificate>, Error> {
    with_tls_fallbacks(options, shake_hands)
}

fn shake_hands(options: &ConnectOptions) -> Result<Option<Certificate>, Error> {
    let tls = Connector::new(&options.tls, &options.host)?;
    let (stream, _) = control_connection(options, options.connect_timeout)?;
    let mut control = Control::new(stream, options.timeout, options.profile.clone())?;
    greet(&mut control, options, tls.as_ref())?;
    let security = control.security(None);
    if control.send(b"QUIT").is_ok() {
        // The connection ends here, whatever the reply is.
        let _ = control.reply_within(Phase::Reply, QUIT_PATIENCE);
    }
    Ok(security.and_then(|it| it.certificates.into_iter().next()))
}
