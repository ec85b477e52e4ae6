//! Exact times of listed files. LIST and STAT show the minute of a recent time and the day of an
//! older one; MDTM (RFC 3659 §3) reports the second. Programs that compare times (rsync, make)
//! take a file with another time for a changed one.

use super::background::{BackgroundSession, exact_version, fit_in_write};
use super::error::unless_refused;
use super::{Error, ErrorKind, Remote};
use crate::ftp::{
    self, Capability, DirectoryListing, Entry, Kind, Modified, Precision, RemotePath,
    ServerProfile, Session, Version,
};

/// Maximum number of files of a directory whose exact times are requested.
pub(crate) const MOST_EXACT_TIMES: usize = 512;

/// Maximum number of commands in one write.
const MAX_IN_WRITE: usize = 128;

/// A file whose listed time is coarse.
#[derive(Debug)]
struct CoarseFile {
    /// The index of its listing, and its own there.
    place: (usize, usize),
    path: RemotePath,
}

impl Remote {
    /// Whether listings may show coarse times, and the exact ones cost few round trips.
    pub(crate) fn can_complete_times(&self) -> bool {
        let profile = self.profile();
        profile.has(Capability::Pipelining)
            && !profile.has(Capability::Mlst)
            && profile.has(Capability::Mdtm)
    }

    /// Replaces the coarse times of the files in the `listing` of `directory` by exact ones, if one
    /// write requests them. What the server does not report remains as it is listed.
    pub(crate) fn complete_times(&self, directory: &RemotePath, listing: &mut DirectoryListing) {
        if !self.can_complete_times() {
            return;
        }
        let files = coarse_files(0, directory, listing);
        let mut parts = chunks(&files);
        let (Some(files), None) = (parts.next(), parts.next()) else {
            return;
        };
        let Some(mut exchange) = self.brief_exchange() else {
            return;
        };
        if let Ok(times) = exchange.run_idempotent(|session| times(session, files)) {
            for (file, time) in files.iter().zip(times) {
                complete(self.profile(), listing, file, time);
            }
        }
    }

    /// Lists `directory` as [`Remote::list`] does. The time of the file `name` in it is exact where
    /// one write can request both.
    ///
    /// # Errors
    /// As for [`Remote::list`].
    pub(crate) fn list_with_time(
        &self,
        directory: &RemotePath,
        name: &[u8],
    ) -> Result<DirectoryListing, Error> {
        let alone = std::slice::from_ref(directory);
        let file = directory.join(name).ok();
        let Some(file) =
            file.filter(|_| self.can_complete_times() && self.can_list_together(alone))
        else {
            return self.list(directory);
        };
        let mut listing = None;
        let asked = self.list_together_with_time(alone, &file, &mut |_, it| listing = Some(it));
        match (listing, asked) {
            (Some(mut listing), asked) => {
                if let Ok(time) = asked {
                    self.enter_time(&mut listing, file, time);
                }
                Ok(listing)
            }
            (None, Err(error)) if has_no_session(error.kind) => Err(error),
            // STAT did not answer, or not with a complete listing.
            (None, _) => self.list(directory),
        }
    }

    /// Lists `directories` as [`Remote::list_together`] does. Holds back the listing of the first
    /// until MDTM is answered, if `file` has a coarse time in it.
    ///
    /// # Errors
    /// As for [`Remote::list_together`].
    pub(crate) fn list_path_with_time(
        &self,
        directories: &[RemotePath],
        file: &RemotePath,
        visit: &mut dyn FnMut(usize, DirectoryListing),
    ) -> Result<(), Error> {
        if !self.can_complete_times() {
            return self.list_together(directories, visit);
        }
        let mut held = None;
        let asked = self.list_together_with_time(directories, file, &mut |number, listing| {
            let mut entries = listing.entries.iter();
            if number == 0 && entries.any(|it| it.name == file.name() && is_coarse(it)) {
                held = Some(listing);
            } else {
                visit(number, listing);
            }
        });
        let Some(mut listing) = held else {
            return asked.map(drop);
        };
        if let Ok(time) = asked {
            self.enter_time(&mut listing, file.clone(), time);
        }
        visit(0, listing);
        Ok(())
    }

    fn enter_time(
        &self,
        listing: &mut DirectoryListing,
        path: RemotePath,
        time: Result<i64, ftp::Error>,
    ) {
        let mut entries = listing.entries.iter();
        let index = entries.position(|it| it.name == path.name() && is_coarse(it));
        if let Some(index) = index {
            let file = CoarseFile {
                place: (0, index),
                path,
            };
            complete(self.profile(), listing, &file, time);
        }
    }

    /// Returns the size and exact time of each of these files in `directory`, requested in few
    /// round trips, as far as the server reports them: none if no connection is free. `None` if it
    /// did not answer. Does not wait for a server that cannot be reached: the program can do
    /// without.
    pub(crate) fn versions_in(
        &self,
        directory: &RemotePath,
        names: &[impl AsRef<[u8]>],
    ) -> Option<Vec<Option<Version>>> {
        if self.is_offline() {
            return None;
        }
        let paths = names
            .iter()
            .map_while(|name| directory.join(name.as_ref()).ok());
        let paths: Vec<_> = paths.collect();
        let Some(mut exchange) = self.brief_exchange() else {
            return Some(Vec::new());
        };
        let profile = self.profile();
        let mut versions = Vec::with_capacity(paths.len());
        while let Some(rest) = paths.get(versions.len()..).filter(|rest| !rest.is_empty()) {
            let commands = rest.iter().flat_map(|path| [path, path]);
            let some = fit_in_write(commands.take(MAX_IN_WRITE)) / 2;
            let some = rest.get(..some.max(1)).unwrap_or_default();
            let asked = exchange.run_idempotent(|session| session.sizes_and_times(some));
            let answers = asked.ok()?;
            versions.extend(
                answers
                    .into_iter()
                    .map(|answer| exact_version(profile, answer)),
            );
        }
        Some(versions)
    }
}

impl BackgroundSession {
    /// Does what [`Remote::complete_times`] does for each of these directories.
    pub(crate) fn complete_times<'listed>(
        &mut self,
        listed: impl Iterator<Item = (&'listed RemotePath, &'listed mut DirectoryListing)>,
    ) {
        let remote = &self.remote;
        let usable = self.lease.as_mut().filter(|lease| lease.is_usable());
        let Some(session) = usable.filter(|_| remote.can_complete_times()) else {
            return;
        };
        let mut listings = Vec::new();
        let mut files = Vec::new();
        for (number, (directory, listing)) in listed.enumerate() {
            files.extend(coarse_files(number, directory, listing));
            listings.push(listing);
        }
        for some in chunks(&files) {
            let Ok(times) = times(session, some) else {
                return;
            };
            for (file, time) in some.iter().zip(times) {
                if let Some(listing) = listings.get_mut(file.place.0) {
                    complete(remote.profile(), listing, file, time);
                }
            }
        }
    }
}

/// Whether a failure means that nothing was asked.
fn has_no_session(kind: ErrorKind) -> bool {
    use ErrorKind as E;
    matches!(
        kind,
        E::Interrupted
            | E::NoConnection
            | E::Offline
            | E::Unreachable
            | E::ConnectionRefused
            | E::LoginRefused
            | E::NotSecure
    )
}

/// Returns the number of files in a listing whose times are coarse.
pub(crate) fn coarse_times(listing: &DirectoryListing) -> usize {
    listing.entries.iter().filter(|it| is_coarse(it)).count()
}

fn is_coarse(entry: &Entry) -> bool {
    let is_coarse = |modified: Modified| modified.utc && modified.precision > Precision::Second;
    entry.kind == Kind::File && entry.modified.is_some_and(is_coarse)
}

/// Returns the files of a listing with a coarse time, or none if there are too many.
fn coarse_files(
    number: usize,
    directory: &RemotePath,
    listing: &DirectoryListing,
) -> Vec<CoarseFile> {
    let entries = listing.entries.iter().enumerate();
    let coarse = entries.filter(|(_, entry)| is_coarse(entry));
    let files: Vec<_> = coarse
        .take(MOST_EXACT_TIMES + 1)
        .filter_map(|(index, entry)| {
            let path = directory.join(&entry.name).ok()?;
            let place = (number, index);
            Some(CoarseFile { place, path })
        })
        .collect();
    if files.len() > MOST_EXACT_TIMES {
        return Vec::new();
    }
    files
}

/// Divides `files` into parts whose times are requested in one write.
fn chunks(files: &[CoarseFile]) -> impl Iterator<Item = &[CoarseFile]> {
    let mut rest = files;
    std::iter::from_fn(move || {
        let some = rest.iter().take(MAX_IN_WRITE).map(|file| &file.path);
        let some = fit_in_write(some).max(1);
        let (some, behind) = rest.split_at_checked(some)?;
        rest = behind;
        Some(some)
    })
}

fn times(
    session: &mut Session,
    files: &[CoarseFile],
) -> Result<Vec<Result<i64, ftp::Error>>, ftp::Error> {
    let paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
    session.times(&paths)
}

/// Enters the `time` of a file if the file may be the one that is listed.
fn complete(
    profile: &ServerProfile,
    listing: &mut DirectoryListing,
    file: &CoarseFile,
    time: Result<i64, ftp::Error>,
) {
    let time = unless_refused(time, profile, Capability::Mdtm);
    let Some(entry) = listing.entries.get_mut(file.place.1) else {
        return;
    };
    let listed = Version::from(&*entry);
    if let Ok(Some(seconds)) = time {
        let exact = Version {
            modified: Some((seconds, Precision::Second)),
            ..listed
        };
        if exact.refines(&listed) {
            entry.modified = Some(Modified {
                seconds,
                precision: Precision::Second,
                utc: true,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_700_000_000 - 1_700_000_000 % 86_400 + 43_200;

    fn listing(precision: Precision, utc: bool, files: usize) -> DirectoryListing {
        let entry = |number: usize| {
            let mut entry = Entry::new(format!("file-{number}").as_bytes(), Kind::File);
            entry.size = Some(7);
            entry.modified = Some(Modified {
                seconds: NOON,
                precision,
                utc,
            });
            entry
        };
        let mut entries: Vec<_> = (0..files).map(entry).collect();
        entries.push(Entry::new(b"directory", Kind::Directory));
        entries.into()
    }

    #[test]
    fn times_are_requested_of_files_with_coarse_times() {
        let top = RemotePath::root();
        let asked = |precision, utc, files| {
            let listing = listing(precision, utc, files);
            coarse_files(3, &top, &listing).len()
        };
        assert_eq!(asked(Precision::Minute, true, 2), 2);
        assert_eq!(
            asked(Precision::Day, true, MOST_EXACT_TIMES),
            MOST_EXACT_TIMES
        );
        assert_eq!(
            asked(Precision::Day, true, MOST_EXACT_TIMES + 1),
            0,
            "too many"
        );
        assert_eq!(asked(Precision::Second, true, 2), 0);
        assert_eq!(asked(Precision::Minute, false, 2), 0, "an unknown zone");
    }

    #[test]
    fn all_files_are_in_a_part_that_fits_in_a_write() {
        let top = RemotePath::root();
        for count in [0, 1, 500] {
            let files = coarse_files(0, &top, &listing(Precision::Minute, true, count));
            let parts: Vec<_> = chunks(&files).collect();
            let places = parts.iter().copied().flatten().map(|file| file.place.1);
            assert!(places.eq(0..count));
            let bytes = |part: &&[CoarseFile]| -> usize {
                part.iter().map(|file| file.path.as_bytes().len()).sum()
            };
            assert!(parts.iter().all(|part| bytes(part) <= 8 << 10));
        }
    }

    #[test]
    fn a_time_outside_the_listed_one_is_not_entered() {
        let profile = ServerProfile::default();
        for (seconds, is_entered) in [(NOON, true), (NOON + 59, true), (NOON + 60, false)] {
            let mut listing = listing(Precision::Minute, true, 1);
            let file = coarse_files(0, &RemotePath::root(), &listing).remove(0);
            complete(&profile, &mut listing, &file, Ok(seconds));
            let modified = listing.entries[0].modified.unwrap();
            let is_exact = modified.precision == Precision::Second;
            assert_eq!(is_exact, is_entered, "{seconds}");
            assert_eq!(modified.seconds, if is_entered { seconds } else { NOON });
        }
    }
}
