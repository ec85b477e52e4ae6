//! Paths on the server: absolute, made of names that are safe to send.
//!
//! A path is parsed once and trusted after: nothing in it can end a command line (RFC 959 §5.3.1
//! ends commands in CR LF, so neither byte may be in a path) or climb out of a directory.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Longest name, in bytes, that becomes a path component: Linux's NAME_MAX.
pub const NAME_MAX: usize = 255;

/// Why bytes are not a path or a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// CR, LF or NUL: they cannot be sent in a command.
    #[error("the name has a carriage return, line feed or NUL, which FTP cannot send")]
    Unsendable,
    /// Empty, `.`, `..` or with a `/` in it, where one name is wanted.
    #[error("not the name of a directory entry")]
    NotAName,
    /// Longer than [`NAME_MAX`].
    #[error("the name is longer than 255 bytes")]
    TooLong,
    /// The server's charset has no bytes for it.
    #[error("the name cannot be written in the server's charset, {0}")]
    NotInCharset(&'static str),
}

/// An absolute path on the server, byte for byte; cheap to clone.
///
/// It begins with `/`, has no empty, `.` or `..` component and no trailing `/` (but the root).
/// The leading `/` keeps `-`, `~` and option letters from meaning anything to a server.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(Arc<[u8]>);

impl RemotePath {
    /// `/`.
    pub fn root() -> Self {
        Self(Arc::from(b"/".as_slice()))
    }

    /// The path that `bytes` spell; a missing leading `/` is added, empty and `.` components
    /// vanish.
    ///
    /// # Errors
    /// A component that is `..`, too long or unsendable.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        bytes
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty() && *name != b".")
            .try_fold(Self::root(), |path, name| path.join(name))
    }

    /// The entry `name` of this directory.
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

    /// The directory this is an entry of; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.last_slash()?;
        Some(Self(Arc::from(self.0.get(..slash.max(1))?)))
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.last_slash()
            .and_then(|slash| self.0.get(slash + 1..))
            .unwrap_or_default()
    }

    /// The bytes, as they would be sent under UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Where a link in this directory to `target` leads, by its words alone: `..` takes the last
    /// name away, and at the root nothing. None where a name in it cannot be one.
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

    /// This path's rest below `ancestor`, without a leading `/`; empty where they are the same.
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

    /// Where this path is after its ancestor `from` was renamed to `to`; none when it is not below
    /// `from`.
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

/// Whether `name` can be one component of a path.
///
/// # Errors
/// Says what is wrong with it.
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

/// Shows the path for a log or a message: control characters and bytes that are not UTF-8 escaped.
/// A path is ordered, compared and hashed as its bytes are.
impl Borrow<[u8]> for RemotePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

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

/// Bytes that a server chose, for a log or a message: as [`RemotePath`] shows its own.
#[derive(Debug, Clone, Copy)]
pub struct EscapedPath<'a>(pub &'a [u8]);

impl fmt::Display for EscapedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f)
    }
}

/// Writes bytes that a server chose so that they cannot disturb a terminal or forge a log line.
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

/// Whether the character has no shape of its own and changes what is beside it: the direction of
/// writing (Unicode's bidirectional controls), or the line.
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
