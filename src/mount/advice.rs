//! What a user can do about a server that cannot be used.

use crate::ftp;
use crate::ftp::tls::Distrust;

/// Returns `error` with the options that help, for messages on the terminal.
pub(crate) fn explained(error: &ftp::Error) -> String {
    match error {
        ftp::Error::Login(_) => format!("{error} (wrong user or password?)"),
        ftp::Error::Certificate(distrust) => format!("{error}; {}", trust_options(distrust)),
        other => other.to_string(),
    }
}

fn trust_options(distrust: &Distrust) -> String {
    let fingerprint = &distrust.certificate.fingerprint;
    if distrust.is_other_pinned {
        return format!(
            "if the server has changed its certificate, -o fingerprint={fingerprint} trusts the new one"
        );
    }
    format!(
        "if this is your server's, -o fingerprint={fingerprint} trusts it; -o cafile=FILE with it or its issuer's \
        certificate does so while its name and dates are right"
    )
}
