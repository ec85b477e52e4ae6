//! Absolute paths on the server, made of names that are safe to send.
//!
//! A path is validated once: it contains nothing that could end a command line (CR LF, RFC 959
//! §5.3.1) or leave a directory.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Maximum length of a path component in bytes (NAME_MAX on Linux).
pub const NAME_MAX: usize = 255;

/// Reason why bytes are not a valid path or name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Contains CR, LF or NUL, which cannot be sent in a command.
    #[error("the name has a carriage return, line feed or NUL, which FTP cannot send")]
    Unsendable,
    /// Empty, `.`, `..` or contains `/`, where a single name is required.
    #[error("not the name of a directory entry")]
    NotAName,
    /// Longer than [`NAME_MAX`].
    #[error("the name is longer than 255 bytes")]
    TooLong,
    /// Not representable in the server's charset.
    #[error("the name cannot be written in the server's charset, {0}")]
    NotInCharset(&'static str),
}

/// An absolute path on the server, byte for byte; cheap to clone.
///
/// It begins with `/`, has no empty, `.` or `..` component, and no trailing `/` except for the
/// root. The leading `/` prevents servers from interpreting `-`, `~` or options.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(Arc<[u8]>);

impl RemotePath {
    /// Returns `/`.
    pub fn root() -> Self {
        Self(Arc::from(b"/".as_slice()))
    }

    /// Parses a path. Adds a missing leading `/` and removes empty and `.` components.
    ///
    /// # Errors
    /// A component is `..`, too long, or contains CR, LF or NUL.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        bytes
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty() && *name != b".")
            .try_fold(Self::root(), |path, name| path.join(name))
    }

    /// Returns the path of the entry `name` in this directory.
    ///
    /// # Errors
    /// See [`check_name`].
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        check_name(name)?;
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(if self.is_root() { b"" } else { &self.0 });
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Ok(Self(Arc::from(bytes)))
    }

    /// Returns the containing directory, or `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.last_slash()?;
        Some(Self(Arc::from(self.0.get(..slash.max(1))?)))
    }

    /// Returns the last component, empty for the root.
    pub fn name(&self) -> &[u8] {
        self.last_slash()
            .and_then(|slash| self.0.get(slash + 1..))
            .unwrap_or_default()
    }

    /// Returns the bytes of the path, in UTF-8 where names are text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Resolves the target of a symlink in this directory lexically: `..` removes the last
    /// component, and has no effect at the root. Returns `None` if a component is not a valid name.
    pub fn resolve(&self, target: &[u8]) -> Option<Self> {
        let start = if target.starts_with(b"/") {
            Self::root()
        } else {
            self.clone()
        };
        target
            .split(|byte| *byte == b'/')
            .try_fold(start, |path, name| match name {
                b"" | b"." => Some(path),
                b".." => Some(path.parent().unwrap_or(path)),
                name => path.join(name).ok(),
            })
    }

    /// Returns the part of this path below `ancestor`, without a leading `/`. Empty if they are
    /// equal.
    pub fn below(&self, ancestor: &Self) -> Option<&[u8]> {
        if ancestor.is_root() {
            return self.0.get(1..);
        }
        match self.0.strip_prefix(&*ancestor.0)? {
            [] => Some(&[]),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }

    /// Returns this path after its ancestor `from` was renamed to `to`, or `None` if it is not
    /// below `from`.
    pub fn rebased(&self, from: &Self, to: &Self) -> Option<Self> {
        match self.below(from)? {
            [] => Some(to.clone()),
            rest => {
                let mut bytes = if to.is_root() {
                    Vec::new()
                } else {
                    to.0.to_vec()
                };
                bytes.push(b'/');
                bytes.extend_from_slice(rest);
                Some(Self(Arc::from(bytes)))
            }
        }
    }

    fn last_slash(&self) -> Option<usize> {
        if self.is_root() {
            return None;
        }
        self.0.iter().rposition(|byte| *byte == b'/')
    }
}

/// Checks that `name` can be a path component.
///
/// # Errors
/// The reason why it cannot.
pub fn check_name(name: &[u8]) -> Result<(), PathError> {
    if name.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(PathError::Unsendable);
    }
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Err(PathError::NotAName);
    }
    if name.len() > NAME_MAX {
        return Err(PathError::TooLong);
    }
    Ok(())
}

/// Paths are ordered, compared and hashed as their bytes are.
impl Borrow<[u8]> for RemotePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Formats the path for a log or a message: control characters and invalid UTF-8 are escaped.
impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0, f)
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Formats bytes from a server for a log or a message, with the escapes of [`RemotePath`].
#[derive(Debug, Clone, Copy)]
pub struct EscapedPath<'a>(pub &'a [u8]);

impl fmt::Display for EscapedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f)
    }
}

/// Escapes bytes from a server, so that they cannot disturb a terminal or forge a log line.
pub(crate) fn escape(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || turns_text(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Whether the character is invisible and changes the text around it: the writing direction
/// (Unicode's bidirectional controls) or the line.
fn turns_text(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn spells_are_made_one() {
        for text in ["", "/", "//", "/.", "./"] {
            assert_eq!(path(text).as_bytes(), b"/");
        }
        assert_eq!(path("a//b/./c/").as_bytes(), b"/a/b/c");
    }

    #[test]
    fn what_could_end_a_command_or_climb_is_refused() {
        for bytes in [b"/a\rb".as_slice(), b"/a\nb", b"/a\0b"] {
            assert_eq!(RemotePath::new(bytes), Err(PathError::Unsendable));
        }
        assert_eq!(RemotePath::new(b"/a/../b"), Err(PathError::NotAName));
        assert_eq!(path("/a").join(b"b/c"), Err(PathError::NotAName));
        assert_eq!(path("/a").join(&[b'x'; 256]), Err(PathError::TooLong));
        assert!(path("/a").join(&[b'x'; 255]).is_ok());
    }

    #[test]
    fn a_path_knows_its_parent_and_name() {
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(RemotePath::root()));
        assert_eq!(RemotePath::root().parent(), None);
        assert_eq!(path("/a/b").name(), b"b");
        assert_eq!(RemotePath::root().name(), b"");
    }

    #[test]
    fn a_links_words_lead_somewhere_below_the_root() {
        let resolved = |target: &str| path("/a/b").resolve(target.as_bytes());
        assert_eq!(resolved("c"), Some(path("/a/b/c")));
        assert_eq!(resolved("../c//./d/"), Some(path("/a/c/d")));
        assert_eq!(resolved("../../../../etc"), Some(path("/etc")));
        assert_eq!(resolved("/../x"), Some(path("/x")));
        assert_eq!(resolved("."), Some(path("/a/b")));
        assert_eq!(resolved("a\nb"), None);
    }

    #[test]
    fn a_renamed_directory_takes_its_entries_along() {
        let moved = path("/a/b/c").rebased(&path("/a/b"), &path("/x"));
        assert_eq!(moved, Some(path("/x/c")));
        assert_eq!(path("/a/bc").rebased(&path("/a/b"), &path("/x")), None);
        assert_eq!(
            path("/a").rebased(&path("/a"), &path("/x")),
            Some(path("/x"))
        );
        assert_eq!(
            path("/a/b").below(&RemotePath::root()),
            Some(b"a/b".as_slice())
        );
    }

    #[test]
    fn a_shown_path_cannot_forge_a_log_line() {
        assert_eq!(
            RemotePath::new(b"/a\x1b[2Jb\xff").unwrap().to_string(),
            "/a\\u{1b}[2Jb\\xff"
        );
        assert_eq!(path("/a\u{202e}txt.b").to_string(), "/a\\u{202e}txt.b");
    }
}
