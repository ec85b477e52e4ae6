//! Paths as clients send them: bytes, resolved to absolute paths from the served root, without `.`
//! and `..`.

/// A path below the served root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VirtualPath {
    components: Vec<Vec<u8>>,
}

impl VirtualPath {
    /// Resolves `argument` relative to this path. `..` goes up one level, but not above the root.
    /// Returns `None` for bytes that a name on the control connection cannot contain.
    pub(super) fn join(&self, argument: &[u8]) -> Option<Self> {
        if argument
            .iter()
            .any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
        {
            return None;
        }
        let mut path = if argument.starts_with(b"/") {
            Self::default()
        } else {
            self.clone()
        };
        for component in argument.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => drop(path.components.pop()),
                name => path.components.push(name.to_vec()),
            }
        }
        Some(path)
    }

    /// Returns the parent. The parent of the root is the root.
    pub(super) fn parent(&self) -> Self {
        let mut path = self.clone();
        path.components.pop();
        path
    }

    pub(super) fn is_root(&self) -> bool {
        self.components.is_empty()
    }

    pub(super) fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.components.iter().map(Vec::as_slice)
    }

    /// Formats the path with a leading `/`.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [b"/".as_slice(), &self.components.join(&b'/')].concat()
    }

    /// Formats the path in quotes, with quotes doubled, as in a 257 reply (RFC 959 appendix II).
    pub(super) fn quoted(&self) -> Vec<u8> {
        let mut quoted = vec![b'"'];
        for byte in self.to_bytes() {
            quoted.push(byte);
            if byte == b'"' {
                quoted.push(b'"');
            }
        }
        quoted.push(b'"');
        quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &[u8], argument: &[u8]) -> Vec<u8> {
        let base = VirtualPath::default().join(base).unwrap();
        base.join(argument).unwrap().to_bytes()
    }

    #[test]
    fn relative_paths_start_here_and_absolute_ones_at_the_root() {
        assert_eq!(joined(b"/a/b", b"c"), b"/a/b/c");
        assert_eq!(joined(b"/a/b", b"/c//d/"), b"/c/d");
        assert_eq!(joined(b"/a/b", b"./../c"), b"/a/c");
        assert_eq!(joined(b"/a/b", b""), b"/a/b");
    }

    #[test]
    fn no_dots_lead_above_the_root() {
        assert_eq!(joined(b"/a", b"../../../etc/passwd"), b"/etc/passwd");
        assert_eq!(joined(b"/", b".."), b"/");
    }

    #[test]
    fn names_are_bytes() {
        assert_eq!(joined(b"/", b"caf\xe9 \" "), b"/caf\xe9 \" ");
        assert_eq!(
            VirtualPath::default().join(b"a\"b").unwrap().quoted(),
            b"\"/a\"\"b\""
        );
    }

    #[test]
    fn bytes_that_would_break_the_line_are_refused() {
        for bad in [b"a\0b", b"a\rb", b"a\nb"] {
            assert_eq!(VirtualPath::default().join(bad), None);
        }
    }
}
