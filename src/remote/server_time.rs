//! The time zone of a server's LIST times. LIST shows local time without a zone; MLSD, MDTM and
//! MFMT use UTC (RFC 3659 §2.3). One MDTM of a listed file therefore shows the difference.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use jiff::tz::TimeZone;

use crate::ftp::time::{moment, to_zone};
use crate::ftp::{Entry, Error, Kind, Modified, Precision, RemotePath, Session};

/// Time zones differ from UTC by multiples of a quarter of an hour, in seconds.
const STEP: i64 = 15 * 60;
/// Largest difference of a time zone from UTC, in seconds. A larger one means that the file has
/// changed in between or that the year was guessed wrong.
const FARTHEST: i64 = 15 * 60 * 60;
/// Number of files without a usable time after which the server's time is taken for UTC.
const ATTEMPTS: u32 = 3;

/// What is known about the server's time zone.
#[derive(Debug)]
pub(super) struct Zone {
    /// The zone that the user configured.
    given: Option<TimeZone>,
    /// Whether MDTM reports local time, too.
    mdtm_is_local: bool,
    /// Seconds by which the server's local time is ahead of UTC, once found.
    found: OnceLock<i64>,
    attempts: AtomicU32,
}

impl Zone {
    /// Creates the zone from the user's option. With `mdtm_is_local`, MDTM cannot reveal the zone,
    /// so without the option the server's time is taken for UTC.
    pub(super) fn new(given: Option<TimeZone>, mdtm_is_local: bool) -> Self {
        Self {
            given,
            mdtm_is_local,
            found: if mdtm_is_local {
                OnceLock::from(0)
            } else {
                OnceLock::new()
            },
            attempts: AtomicU32::new(0),
        }
    }

    /// Converts the times of `entries`, just listed in `directory`, to UTC. May send one MDTM,
    /// whose failure does not affect the listing.
    pub(super) fn to_utc(
        &self,
        session: &mut Session,
        directory: &RemotePath,
        entries: &mut [Entry],
    ) {
        let local = |entry: &Entry| entry.modified.is_some_and(|modified| !modified.utc);
        if !entries.iter().any(local) {
            return;
        }
        if self.given.is_none() {
            let ahead = self.ahead(session, directory, entries);
            return convert(entries, |seconds| seconds.saturating_sub(ahead));
        }
        self.to_utc_as_known(entries);
    }

    /// Whether times can be converted without asking the server.
    pub(super) fn is_known(&self) -> bool {
        self.given.is_some() || self.found.get().is_some()
    }

    /// Converts the times of `entries` to UTC with what is already known.
    pub(super) fn to_utc_as_known(&self, entries: &mut [Entry]) {
        if let Some(zone) = &self.given {
            return convert(entries, |seconds| moment(seconds, zone));
        }
        let ahead = self.found.get().copied().unwrap_or(0);
        convert(entries, |seconds| seconds.saturating_sub(ahead));
    }

    /// Returns the time that the server reports for a file whose time was set to `seconds`, UTC.
    /// When clocks are set back, two moments have the same local time.
    pub(super) fn round_trip(&self, seconds: i64) -> i64 {
        match &self.given {
            Some(zone) if self.mdtm_is_local => moment(to_zone(seconds, zone), zone),
            _ => seconds,
        }
    }

    fn ahead(&self, session: &mut Session, directory: &RemotePath, entries: &[Entry]) -> i64 {
        if let Some(ahead) = self.found.get() {
            return *ahead;
        }
        let Some((name, listed)) = most_recent(entries) else {
            return 0;
        };
        let Ok(path) = directory.join(name) else {
            return 0;
        };
        let measured = match session.modified(&path) {
            Ok(utc) => difference(listed, utc),
            Err(Error::Refused { reply, .. }) if reply.code().means_unsupported() => Some(0),
            Err(error) => {
                log::debug!(
                    "cannot get the time of {path} to find the server's time zone: {error}"
                );
                None
            }
        };
        let attempts = self.attempts.fetch_add(1, Relaxed) + 1;
        match measured.or((attempts >= ATTEMPTS).then_some(0)) {
            Some(ahead) => {
                log::debug!("the server's local time is UTC plus {ahead} seconds");
                *self.found.get_or_init(|| ahead)
            }
            None => 0,
        }
    }
}

fn convert(entries: &mut [Entry], utc: impl Fn(i64) -> i64) {
    let times = entries.iter_mut().filter_map(|it| it.modified.as_mut());
    for modified in times.filter(|modified| !modified.utc) {
        modified.seconds = utc(modified.seconds);
        modified.utc = true;
    }
}

/// Returns the file whose time says most about the current offset of the zone.
fn most_recent(entries: &[Entry]) -> Option<(&[u8], i64)> {
    entries
        .iter()
        .filter(|entry| entry.kind == Kind::File)
        .filter_map(|entry| match entry.modified {
            Some(Modified {
                seconds,
                precision: Precision::Minute | Precision::Second,
                utc: false,
            }) => Some((entry.name.as_slice(), seconds)),
            _ => None,
        })
        .max_by_key(|(_, seconds)| *seconds)
}

/// Returns by how many seconds `listed`, which is precise to the minute, is ahead of `utc`.
fn difference(listed: i64, utc: i64) -> Option<i64> {
    let seconds = listed.checked_sub(utc)?;
    let steps = seconds.checked_add(STEP / 2)?.div_euclid(STEP);
    let rounded = steps.checked_mul(STEP)?;
    (rounded.abs() <= FARTHEST).then_some(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, seconds: i64, precision: Precision) -> Entry {
        let mut entry = Entry::new(name, Kind::File);
        entry.modified = Some(Modified {
            seconds,
            precision,
            utc: false,
        });
        entry
    }

    #[test]
    fn the_difference_is_a_whole_zone_whatever_the_seconds() {
        for (ahead, rounded) in [(0, 0), (3600, 3600), (-18000, -18000), (20700, 20700)] {
            for second in 0..60 {
                let utc = 1_700_000_040 + second;
                let listed = 1_700_000_040 + ahead;
                assert_eq!(difference(listed, utc), Some(rounded));
            }
        }
        assert_eq!(difference(1_700_000_000, 1_600_000_000), None);
        assert_eq!(difference(i64::MAX, i64::MIN), None);
    }

    #[test]
    fn in_the_hour_that_comes_twice_the_first_is_told() {
        let berlin = || TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").ok();
        // 2024-10-27, 00:30, 01:30 and 02:30 UTC. At 01:00 UTC, the clocks are set back to 02:00.
        let (first, second, after) = (1_729_989_000, 1_729_992_600, 1_729_996_200);
        for (given, mdtm_is_local, reported) in [
            (berlin(), true, [first, first, after]),
            (berlin(), false, [first, second, after]),
            (None, true, [first, second, after]),
        ] {
            let zone = Zone::new(given, mdtm_is_local);
            assert_eq!(
                [first, second, after].map(|it| zone.round_trip(it)),
                reported
            );
        }
    }

    #[test]
    fn the_zone_is_told_by_the_youngest_file_with_a_time_of_day() {
        let mut directory = file("dir", 900, Precision::Minute);
        directory.kind = Kind::Directory;
        let entries = [
            file("old", 100, Precision::Minute),
            file("young", 300, Precision::Minute),
            file("dated", 500, Precision::Day),
            directory,
        ];
        assert_eq!(most_recent(&entries), Some((b"young".as_slice(), 300)));
    }
}
