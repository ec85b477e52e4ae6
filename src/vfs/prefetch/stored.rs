//! Which directories a walk will come to, as far as earlier mounts have seen: their listings are
//! requested without waiting for those of the directories above. They answer nothing by themselves.

use crate::ftp::RemotePath;

/// Maximum number of stored listings that are read when a walk begins.
const MOST_READ: usize = 256;
/// Maximum number of directories that they add.
const MOST_ADDED: usize = 2_048;

/// Returns `directories`, and those below them that `below` knows to be in each, level by level.
pub(super) fn with_known_below(
    directories: Vec<RemotePath>,
    below: impl Fn(&RemotePath) -> Vec<RemotePath>,
) -> Vec<RemotePath> {
    let most = directories.len() + MOST_ADDED;
    let mut all = directories;
    let mut read = 0;
    while read < MOST_READ && all.len() < most {
        let Some(next) = all.get(read) else { break };
        let mut found = below(next);
        read += 1;
        found.truncate(most - all.len());
        all.append(&mut found);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_below_is_found_level_by_level() {
        let below = |directory: &RemotePath| match directory.as_bytes() {
            b"/a" => vec![path("/a/1"), path("/a/2")],
            b"/a/2" => vec![path("/a/2/x")],
            _ => Vec::new(),
        };
        let found = with_known_below(vec![path("/a"), path("/b")], below);
        let expected = ["/a", "/b", "/a/1", "/a/2", "/a/2/x"].map(path);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_tree_without_end_is_followed_for_a_while() {
        let deep = with_known_below(vec![path("/a")], |it| vec![it.join(b"d").unwrap()]);
        assert_eq!(deep.len(), 1 + MOST_READ);
        let wide = |it: &RemotePath| {
            let names = (0..10_000).map(|number| number.to_string());
            names
                .map(|name| it.join(name.as_bytes()).unwrap())
                .collect()
        };
        assert_eq!(
            with_known_below(vec![path("/a")], wide).len(),
            1 + MOST_ADDED
        );
    }
}
