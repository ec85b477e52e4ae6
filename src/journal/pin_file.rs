//! The pinned certificate of one server, for `-o trust=first`: a small text file in the directory
//! `certificates` of the state directory, named after host and port.
//!
//! A comment with the day and the certificate's subject, and the fingerprint:
//!
//! ```text
//! # trusted since 2026-01-02: CN=ftp.example.org
//! sha256:0123…
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::state_dir::file_name;
use crate::ftp::tls::{Fingerprint, PinnedCertificate};
use crate::sys::private_files::{
    PrivateFileError, WRITABLE_BY_OTHERS, check_private, open_to_read, private_directories,
};

/// The directory of all pins.
const DIRECTORY: &str = "certificates";

/// Maximum size in bytes of a pin.
const MAX_BYTES: u64 = 16 << 10;

/// The comment before the day.
const SINCE: &str = "# trusted since ";

/// Length of a day such as 2026-01-02.
const DAY: usize = 10;

/// How often to look for a pin that others create and remove at the same time.
const TRIES: usize = 3;

/// The file with the pinned certificate of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PinFile {
    path: PathBuf,
}

/// The pinned certificate after [`PinFile::record`].
#[derive(Debug)]
pub(crate) struct RecordedPin {
    /// The certificate.
    pub(crate) certificate: PinnedCertificate,
    /// Whether this call has recorded it.
    pub(crate) is_new: bool,
}

/// Why a pin cannot be used. It is never taken for a server without a pin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinFileError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file or its directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file or its directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Others could have written the file.
    #[error("{} can be written by others or is not your file; chmod go-w or remove it", .0.display())]
    OpenToOthers(PathBuf),
    /// The file has no fingerprint, or more than that.
    #[error(
        "{} is damaged; if you know the server's certificate by other means, remove the file to pin it again",
        .0.display()
    )]
    Damaged(PathBuf),
}

impl PinFile {
    /// Returns the file for `host`:`port` below `state`, which comes from
    /// [`state_home`](super::state_home). Two overlong names that share a file are two servers that
    /// exclude each other.
    pub(crate) fn of(state: &Path, host: &str, port: u16) -> Self {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let name = file_name(format!("{host}_{port}").as_bytes());
        Self {
            path: state.join(DIRECTORY).join(name),
        }
    }

    /// Returns the pinned certificate, `None` if there is none yet.
    ///
    /// # Errors
    /// The file cannot be read, others could have written it, or it is damaged.
    pub(crate) fn read(&self) -> Result<Option<PinnedCertificate>, PinFileError> {
        let unreadable = |source| PinFileError::Unreadable {
            path: self.path.clone(),
            source,
        };
        let file = match self.check_directories().and_then(|()| {
            open_to_read(&self.path).map_err(|source| PrivateFileError {
                path: self.path.clone(),
                source,
            })
        }) {
            Ok(file) => file,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(PrivateFileError { path, source }) => {
                return Err(PinFileError::Unreadable { path, source });
            }
        };
        let about = file.metadata().map_err(unreadable)?;
        let is_own = about.is_file() && about.uid() == geteuid().as_raw();
        if !is_own || about.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(PinFileError::OpenToOthers(self.path.clone()));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        let damaged = || PinFileError::Damaged(self.path.clone());
        let (fingerprint, since) = parse(&bytes).ok_or_else(damaged)?;
        Ok(Some(PinnedCertificate {
            fingerprint,
            since,
            file: self.path.clone(),
        }))
    }

    /// Records a certificate unless one is recorded already. The file is complete from the start,
    /// and only one of several processes creates it.
    ///
    /// # Errors
    /// The file cannot be written, or those of [`Self::read`] for the one that exists.
    pub(crate) fn record(
        &self,
        fingerprint: Fingerprint,
        subject: &str,
    ) -> Result<RecordedPin, PinFileError> {
        let today = jiff::Timestamp::now().strftime("%Y-%m-%d");
        let subject: String = subject.chars().flat_map(char::escape_debug).collect();
        let text = format!("{SINCE}{today}: {subject}\n{fingerprint}\n");
        for _ in 0..TRIES {
            let is_new = self.create(&text)?;
            if let Some(certificate) = self.read()? {
                return Ok(RecordedPin {
                    certificate,
                    is_new,
                });
            }
        }
        Err(PinFileError::Unwritable {
            path: self.path.clone(),
            source: io::Error::other("it is removed again and again"),
        })
    }

    /// Creates the directory of the file.
    ///
    /// # Errors
    /// It cannot be created, or others can write to it.
    pub(crate) fn prepare(&self) -> Result<(), PinFileError> {
        let directory = self.path.parent().unwrap_or(&self.path);
        let prepared = private_directories(directory);
        prepared
            .map_err(|PrivateFileError { path, source }| PinFileError::Unwritable { path, source })
    }

    /// Creates the file with `text`. Returns false if it exists.
    fn create(&self, text: &str) -> Result<bool, PinFileError> {
        let unwritable = |source| PinFileError::Unwritable {
            path: self.path.clone(),
            source,
        };
        self.prepare()?;
        let directory = self.path.parent().unwrap_or(&self.path);
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(unwritable)?;
        let written = file.write_all(text.as_bytes());
        // A file that is empty after a power failure would be damaged.
        let synced = written.and_then(|()| file.as_file().sync_all());
        synced.map_err(unwritable)?;
        match file.persist_noclobber(&self.path) {
            // Without its entry, the next connection would be the first again.
            Ok(_) => {
                let synced = File::open(directory).and_then(|directory| directory.sync_all());
                synced.map(|()| true).map_err(unwritable)
            }
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(failed) => Err(unwritable(failed.error)),
        }
    }

    fn check_directories(&self) -> Result<(), PrivateFileError> {
        let directory = self.path.parent().unwrap_or(&self.path);
        for directory in directory.parent().into_iter().chain([directory]) {
            check_private(directory)?;
        }
        Ok(())
    }
}

/// Parses a file: comments, and exactly one fingerprint.
fn parse(bytes: &[u8]) -> Option<(Fingerprint, String)> {
    if bytes.len() as u64 > MAX_BYTES {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let lines = || text.lines().map(str::trim);
    let mut pins = lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(pin), None) = (pins.next(), pins.next()) else {
        return None;
    };
    let since = lines().find_map(|line| line.strip_prefix(SINCE)?.get(..DAY));
    let is_day = |day: &&str| day.chars().all(|c| c.is_ascii_digit() || c == '-');
    let since = since.filter(is_day).unwrap_or("an unknown day");
    Some((pin.parse().ok()?, since.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;

    use super::*;

    fn fingerprint(seed: &[u8]) -> Fingerprint {
        Fingerprint::of(seed)
    }

    /// Returns a state directory that only this user can write to, and a file in it.
    fn pin_file() -> (tempfile::TempDir, PinFile) {
        let state = tempfile::tempdir().unwrap();
        let file = PinFile::of(state.path(), "h", 21);
        (state, file)
    }

    #[test]
    fn the_first_certificate_stays_until_its_file_is_removed() {
        let (_state, file) = pin_file();
        assert_eq!(file.read().unwrap(), None);
        let first = file.record(fingerprint(b"1"), "CN=a\n# \u{1b}").unwrap();
        assert!(first.is_new);
        let second = file.record(fingerprint(b"2"), "CN=b").unwrap();
        assert!(!second.is_new);
        assert_eq!(second.certificate, first.certificate);
        let read = file.read().unwrap().unwrap();
        assert_eq!(read.fingerprint, fingerprint(b"1"));
        assert_eq!(read.since.len(), DAY, "{}", read.since);
        let text = fs::read_to_string(&read.file).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains(r"CN=a\n# \u{1b}"), "{text}");
        let mode = fs::metadata(&read.file).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let directory = read.file.parent().unwrap();
        assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
        fs::remove_file(&read.file).unwrap();
        assert_eq!(file.read().unwrap(), None);
        assert!(file.record(fingerprint(b"2"), "CN=b").unwrap().is_new);
    }

    #[test]
    fn every_host_and_port_has_a_file_with_a_harmless_name() {
        let name = |host: &str, port| {
            let path = PinFile::of(Path::new("/s"), host, port).path;
            assert_eq!(path.parent(), Some(Path::new("/s/certificates")), "{host}");
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(name("Ftp.Example.", 21), "ftp.example_21");
        assert_eq!(name("::1", 990), "::1_990");
        assert_eq!(name("fe80::1%a/../b", 21), "fe80::1%25a%2F..%2Fb_21");
        assert_eq!(name("..", 21), "_21");
        assert_eq!(name("a\n\0", 21), "a%0A%00_21");
        assert!(name(&"ü".repeat(300), 21).len() <= 255);
        assert_ne!(name("a_1", 2), name("a", 12));
    }

    #[test]
    fn of_simultaneous_first_connections_one_records_its_certificate() {
        const COUNT: usize = 8;
        let (_state, file) = pin_file();
        let start = Barrier::new(COUNT);
        let pins: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..COUNT)
                .map(|number| {
                    let (file, start) = (&file, &start);
                    scope.spawn(move || {
                        start.wait();
                        file.record(fingerprint(&[number as u8]), "CN=a").unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert_eq!(pins.iter().filter(|pin| pin.is_new).count(), 1);
        let read = file.read().unwrap().unwrap();
        assert!(pins.iter().all(|pin| pin.certificate == read));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_is_not_replaced() {
        let (_state, file) = pin_file();
        let pin = file.record(fingerprint(b"1"), "CN=a").unwrap().certificate;
        let two = format!("{0}\n{0}\n", pin.fingerprint);
        let long = format!("{}{}\n", "#\n".repeat(1 << 14), pin.fingerprint);
        for damaged in ["", "# trusted", "sha256:12", "\u{0}", &two, &long] {
            fs::write(&pin.file, damaged).unwrap();
            for outcome in [
                file.read().map(drop),
                file.record(fingerprint(b"2"), "CN=b").map(drop),
            ] {
                assert!(
                    matches!(outcome, Err(PinFileError::Damaged(_))),
                    "{damaged}"
                );
            }
        }
        fs::write(&pin.file, b"\xff").unwrap();
        assert!(file.read().is_err());
        fs::write(&pin.file, format!("\n{}", pin.fingerprint)).unwrap();
        let read = file.read().unwrap().unwrap();
        assert_eq!(
            (read.fingerprint, read.since.as_str()),
            (pin.fingerprint, "an unknown day")
        );
        fs::remove_file(&pin.file).unwrap();
        std::os::unix::fs::symlink("/nonexistent", &pin.file).unwrap();
        assert!(file.read().is_err());
    }

    #[test]
    fn what_others_could_have_written_is_refused() {
        let (state, file) = pin_file();
        let pin = file.record(fingerprint(b"1"), "CN=a").unwrap().certificate;
        let directory = pin.file.parent().unwrap();
        for (place, mode, usual) in [
            (pin.file.as_path(), 0o620, 0o600),
            (directory, 0o702, 0o700),
            (state.path(), 0o720, 0o700),
        ] {
            fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
            assert!(file.read().is_err(), "{}", place.display());
            assert!(file.record(fingerprint(b"1"), "CN=a").is_err());
            fs::set_permissions(place, fs::Permissions::from_mode(usual)).unwrap();
            assert!(file.read().unwrap().is_some());
        }
    }
}
