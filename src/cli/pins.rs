//! The pinned certificates of `-o trust=first`. The first connection that ftpfs makes for its work
//! pins the certificate and announces it.

use std::io::{self, Write};

use log::LevelFilter;

use crate::ftp::Trust;
use crate::ftp::tls::{Certificate, PinStore, PinStoreError, PinnedCertificate, SharedPinStore};
use crate::journal::{PinFile, RecordedPin};

/// Returns the trust in the certificate that `file` has or will have.
pub(super) fn first(file: PinFile, host: &str, port: u16) -> Trust {
    Trust::First(SharedPinStore::new(AnnouncedPins {
        file,
        server: server_name(host, port),
    }))
}

/// The pin of one server. The first connection is announced.
#[derive(Debug)]
struct AnnouncedPins {
    file: PinFile,
    /// Host and port, for messages.
    server: String,
}

impl PinStore for AnnouncedPins {
    fn pinned(&self) -> Result<Option<PinnedCertificate>, PinStoreError> {
        Ok(self.file.read()?)
    }

    fn record(&self, certificate: &Certificate) -> Result<PinnedCertificate, PinStoreError> {
        let Certificate {
            fingerprint,
            subject,
            ..
        } = certificate;
        let RecordedPin {
            certificate: pinned,
            is_new,
        } = self.file.record(*fingerprint, subject)?;
        if is_new {
            let server = &self.server;
            if log::max_level() == LevelFilter::Off {
                let _ = writeln!(
                    io::stderr(),
                    "ftpfs: trusting the certificate of {server} from now on: {certificate}"
                );
            } else {
                log::warn!("trusting the certificate of {server} from now on: {certificate}");
            }
        }
        Ok(pinned)
    }
}

/// Returns host and port, for messages.
pub(super) fn server_name(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
