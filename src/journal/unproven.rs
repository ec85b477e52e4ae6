//! Contents that the server may have although it did not say so.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// Maximum number of uploads of one file that are remembered. Each is one save of the file during
/// which the connection was lost.
const MOST: usize = 8;

/// An upload that the server was asked to complete, and that it did not answer. If the server's
/// file has these contents, no other client has changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnprovenUpload {
    size: u64,
    sha256: [u8; 32],
}

/// Computes what identifies the contents of an [`UnprovenUpload`].
#[derive(Debug, Default)]
pub(crate) struct ContentHasher {
    size: u64,
    hash: Sha256,
}

impl ContentHasher {
    /// Adds the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// Returns the upload whose contents were added.
    pub(crate) fn finish(self) -> UnprovenUpload {
        UnprovenUpload {
            size: self.size,
            sha256: self.hash.finalize().into(),
        }
    }
}

impl UnprovenUpload {
    /// Creates the record of an upload of the first `size` bytes of `file`.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter.
    pub(crate) fn of(file: &File, size: u64) -> io::Result<Self> {
        let mut hasher = ContentHasher::default();
        let mut bytes = vec![0; PIECE];
        while hasher.size < size {
            let left = usize::try_from(size - hasher.size).unwrap_or(PIECE);
            let wanted = bytes.get_mut(..left.min(PIECE)).unwrap_or_default();
            // Another thread may use the file's position.
            file.read_exact_at(wanted, hasher.size)?;
            hasher.update(wanted);
        }
        Ok(hasher.finish())
    }

    /// Size in bytes of the contents.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds this upload to `uploads`, unless it is there. The oldest one is dropped if there are
    /// too many.
    pub(crate) fn add_to(self, uploads: &mut Vec<Self>) {
        if uploads.contains(&self) {
            return;
        }
        if uploads.len() >= MOST {
            uploads.remove(0);
        }
        uploads.push(self);
    }

    /// Formats `SIZE:SHA256`.
    pub(super) fn to_field(&self) -> String {
        let mut field = format!("{}:", self.size);
        for byte in self.sha256 {
            // Writing to a string cannot fail.
            let _ = write!(field, "{byte:02x}");
        }
        field
    }

    /// Parses [`Self::to_field`].
    pub(super) fn from_field(field: &[u8]) -> Option<Self> {
        let (size, digits) = std::str::from_utf8(field).ok()?.split_once(':')?;
        let mut sha256 = [0; 32];
        if digits.len() != sha256.len() * 2 {
            return None;
        }
        for (number, byte) in sha256.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(number * 2..number * 2 + 2)?, 16).ok()?;
        }
        Some(Self {
            size: size.parse().ok()?,
            sha256,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn contents_are_recognised_however_they_are_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abcdef").unwrap();
        let upload = UnprovenUpload::of(&file, 3).unwrap();
        let mut hasher = ContentHasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), upload);
        assert_ne!(UnprovenUpload::of(&file, 4).unwrap(), upload);
        assert!(UnprovenUpload::of(&file, 7).is_err(), "it is shorter");
        let field = upload.to_field();
        assert!(field.starts_with("3:ba7816bf"), "FIPS 180-4: {field}");
        assert_eq!(UnprovenUpload::from_field(field.as_bytes()), Some(upload));
        for field in ["", "3", "3:", "3:ba", "x:ba7816bf", "3:\u{fc}"] {
            assert_eq!(UnprovenUpload::from_field(field.as_bytes()), None);
        }
    }

    #[test]
    fn the_number_of_remembered_uploads_is_bounded() {
        let mut uploads = Vec::new();
        for size in 0..=MOST as u64 {
            let upload = UnprovenUpload {
                size,
                sha256: [7; 32],
            };
            upload.clone().add_to(&mut uploads);
            upload.add_to(&mut uploads);
        }
        assert_eq!(uploads.len(), MOST);
        assert_eq!(uploads[0].size(), 1);
    }
}
