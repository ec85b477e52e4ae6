//! The listings of directories, one small file each:
//!
//! ```text
//! listings/HHH/REST
//! ```
//!
//! HHH and REST are the hash of the path, as for files. A listing appears with rename(2), complete.
//! It is a header and the bytes that the cache of listings gives. Nothing here parses those.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

use super::entry::hashed_name;
use super::place::CacheDir;
use crate::ftp::RemotePath;
use crate::sys::private_files::{new_directories, open_to_read};

/// The beginning of every file.
const MAGIC: &[u8; 8] = b"ftpfsL1\n";
/// Maximum size in bytes. A million names take about 64 MiB.
const MOST: u64 = 1 << 30;

/// A stored listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredListing {
    /// When the server listed the directory.
    pub(crate) listed: SystemTime,
    /// The listing, in the format of the cache of listings.
    pub(crate) bytes: Vec<u8>,
}

impl CacheDir {
    /// Stores the listing of `path`, in place of an older one.
    ///
    /// # Errors
    /// Those of the local disk. The older one is still there, or none is.
    pub(crate) fn write_listing(
        &self,
        path: &RemotePath,
        listing: &StoredListing,
    ) -> io::Result<()> {
        let (folder, rest) = hashed_name(path);
        let folder = self.listings().join(folder);
        let mut file = tempfile::NamedTempFile::new_in(self.temporary())?;
        let since = listing.listed.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.unwrap_or_default().as_secs();
        let name = path.as_bytes();
        let length = u32::try_from(name.len()).map_err(io::Error::other)?;
        let (seconds, length) = (seconds.to_le_bytes(), length.to_le_bytes());
        let parts = [seconds.as_slice(), &length, name, &listing.bytes];
        let mut checksum = crc32fast::Hasher::new();
        for part in parts {
            checksum.update(part);
        }
        file.write_all(MAGIC)?;
        file.write_all(&checksum.finalize().to_le_bytes())?;
        for part in parts {
            file.write_all(part)?;
        }
        let target = folder.join(rest);
        match file.persist(&target) {
            Ok(_) => Ok(()),
            Err(failed) if failed.error.kind() == io::ErrorKind::NotFound => {
                new_directories(&folder).map_err(|error| error.source)?;
                failed.file.persist(&target)?;
                Ok(())
            }
            Err(failed) => Err(failed.error),
        }
    }

    /// Returns the stored listing of `path`. A damaged one is removed.
    ///
    /// # Errors
    /// Those of the local disk.
    pub(crate) fn read_listing(&self, path: &RemotePath) -> io::Result<Option<StoredListing>> {
        let (folder, rest) = hashed_name(path);
        let place = self.listings().join(folder).join(rest);
        let file = match open_to_read(&place) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let used = file.try_clone();
        let found = read_all(file)?.and_then(|whole| parse(&whole, path));
        if found.is_none() {
            log::debug!("the stored listing of {path} is damaged");
            let _ = fs::remove_file(&place);
        } else if let Ok(file) = used {
            // What was used least recently is removed first.
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(found)
    }
}

/// Returns the contents of `file`, or `None` if it is larger than any listing.
fn read_all(file: File) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MOST).then_some(bytes))
}

/// Parses a file, which must be that of `path`: two paths may have the same hash.
fn parse(whole: &[u8], path: &RemotePath) -> Option<StoredListing> {
    let (magic, rest) = whole.split_first_chunk()?;
    let (checksum, checked) = rest.split_first_chunk()?;
    if magic != MAGIC || crc32fast::hash(checked) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (seconds, rest) = checked.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (name, bytes) = rest.split_at_checked(length)?;
    let since = Duration::from_secs(u64::from_le_bytes(*seconds));
    let listed = SystemTime::UNIX_EPOCH.checked_add(since)?;
    (name == path.as_bytes()).then(|| StoredListing {
        listed,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::disk_cache::CachePlace;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    fn listing(bytes: &[u8]) -> StoredListing {
        StoredListing {
            listed: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            bytes: bytes.to_vec(),
        }
    }

    /// Opens a cache in a directory that is removed with the first value.
    fn cache() -> (tempfile::TempDir, CacheDir) {
        let home = tempfile::tempdir().unwrap();
        let place = CachePlace::of(&home.path().join("cache"), "me", "h", 21);
        let opened = place.open().unwrap();
        (home, opened)
    }

    /// The only stored file.
    fn stored(cache: &CacheDir) -> std::path::PathBuf {
        let folder = fs::read_dir(cache.listings()).unwrap().next().unwrap();
        let inside = fs::read_dir(folder.unwrap().path()).unwrap().next();
        inside.unwrap().unwrap().path()
    }

    #[test]
    fn a_listing_is_read_as_it_was_written_last() {
        let (_home, cache) = cache();
        let docs = path("/docs");
        assert_eq!(cache.read_listing(&docs).unwrap(), None);
        cache.write_listing(&docs, &listing(b"one")).unwrap();
        cache.write_listing(&docs, &listing(b"two")).unwrap();
        assert_eq!(cache.read_listing(&docs).unwrap(), Some(listing(b"two")));
        assert_eq!(cache.read_listing(&path("/other")).unwrap(), None);
        assert_eq!(fs::metadata(stored(&cache)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(cache.temporary()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_listing_is_none() {
        let (_home, cache) = cache();
        let docs = path("/docs");
        cache.write_listing(&docs, &listing(b"names")).unwrap();
        let file = stored(&cache);
        let whole = fs::read(&file).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &damaged).unwrap();
            assert_eq!(cache.read_listing(&docs).unwrap(), None, "bit {bit}");
            assert!(!file.exists());
        }
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(cache.read_listing(&docs).unwrap(), None, "{length} bytes");
        }
        fs::write(&file, &whole).unwrap();
        assert_eq!(cache.read_listing(&docs).unwrap(), Some(listing(b"names")));
    }

    #[test]
    fn the_file_of_another_path_is_none() {
        let whole = {
            let (_home, cache) = cache();
            cache.write_listing(&path("/a"), &listing(b"x")).unwrap();
            fs::read(stored(&cache)).unwrap()
        };
        assert!(parse(&whole, &path("/a")).is_some());
        assert!(parse(&whole, &path("/b")).is_none());
    }
}
