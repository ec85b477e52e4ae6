//! Where symbolic links lead: inside the mount, or nowhere.

use crate::ftp::listing::TARGET_MAX;
use crate::ftp::path::EscapedPath;
use crate::ftp::{Kind, PathError, RemotePath};

use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::table::inode::Ino;

impl Vfs {
    /// The target of the link `ino`, where memory has it.
    pub fn cached_readlink(&self, ino: Ino) -> Option<Result<Vec<u8>, Errno>> {
        let (directory, name) = self.location(ino).ok()?;
        let attributes = match self.cached_attributes(&directory, &name)? {
            Ok(fresh) => fresh.value,
            Err(errno) => return Some(Err(errno)),
        };
        if attributes.kind != Kind::Symlink {
            return Some(Err(Errno::INVAL));
        }
        Some(self.shown_target(&directory, &name, &attributes.target?))
    }

    /// The target of the link `ino`.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>, Errno> {
        let (directory, name) = self.location(ino)?;
        let mut attributes = self.attributes_of(&directory, &name)?.value;
        if attributes.kind != Kind::Symlink {
            return Err(Errno::INVAL);
        }
        let target = match attributes.target.take() {
            Some(target) => target,
            None => self
                .remote
                .read_link(&directory.join(&name)?)?
                .into_boxed_slice(),
        };
        let shown = self.shown_target(&directory, &name, &target);
        attributes.target = Some(target);
        self.cache.insert(&directory, &name, attributes);
        shown
    }

    fn shown_target(
        &self,
        directory: &RemotePath,
        name: &[u8],
        target: &[u8],
    ) -> Result<Vec<u8>, Errno> {
        let Some(shown) = inside(&self.root, directory, target) else {
            let (link, target) = (directory.join(name)?, EscapedPath(target));
            log::warn!(
                "the link {link} leads to {target}, which is not below {}",
                self.root
            );
            return Err(Errno::ACCES);
        };
        if shown.len() > TARGET_MAX {
            return Err(PathError::TooLong.into());
        }
        Ok(shown)
    }
}

/// What a link in `directory` to `target` is to say, seen from the mount of `root`; none where it
/// leads out of `root`.
///
/// The kernel follows what it is told through this machine's tree, so no more `..` may be in it
/// than there are directories up to the mountpoint, and each of them before the first name: a name
/// may be a link itself, of which only the server knows where `..` from its target leads. An
/// absolute path means the server's tree. So what is not told as it is, is told as the way from
/// `directory`.
fn inside(root: &RemotePath, directory: &RemotePath, target: &[u8]) -> Option<Vec<u8>> {
    let depth = names(directory.below(root)?).count();
    if leading_parents(target).is_some_and(|climbs| climbs <= depth) {
        return Some(target.to_vec());
    }
    let leads_to = directory.resolve(target)?;
    leads_to.below(root)?;
    let (from, to) = (directory.as_bytes(), leads_to.as_bytes());
    let common = names(from)
        .zip(names(to))
        .take_while(|(one, other)| one == other)
        .count();
    let up = names(from).skip(common).map(|_| b"..".as_slice());
    let way: Vec<&[u8]> = up.chain(names(to).skip(common)).collect();
    Some(match way.as_slice() {
        [] => b".".to_vec(),
        way => way.join(&b'/'),
    })
}

/// How many `..` a relative target begins with; none where it is absolute or has one after a name.
fn leading_parents(target: &[u8]) -> Option<usize> {
    if target.starts_with(b"/") {
        return None;
    }
    let climbs = names(target).take_while(|name| *name == b"..").count();
    let goes_back = names(target).skip(climbs).any(|name| name == b"..");
    (!goes_back).then_some(climbs)
}

/// The names that a path is made of.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    fn shown(root: &str, directory: &str, target: &str) -> Option<String> {
        let shown = inside(&path(root), &path(directory), target.as_bytes())?;
        Some(String::from_utf8(shown).unwrap())
    }

    #[test]
    fn a_relative_target_is_told_as_it_is() {
        for target in ["b", "../b", "./c//d/", ".", ".."] {
            assert_eq!(shown("/", "/a", target).as_deref(), Some(target));
        }
    }

    #[test]
    fn an_absolute_target_leads_into_the_mount() {
        assert_eq!(shown("/", "/", "/x/y").as_deref(), Some("x/y"));
        assert_eq!(shown("/", "/a/b", "/x").as_deref(), Some("../../x"));
        assert_eq!(shown("/", "/a/b", "/a/c").as_deref(), Some("../c"));
        assert_eq!(shown("/srv", "/srv/a", "/srv/x").as_deref(), Some("../x"));
        assert_eq!(shown("/srv", "/srv", "/srv").as_deref(), Some("."));
    }

    #[test]
    fn the_servers_root_has_nothing_above_it() {
        assert_eq!(
            shown("/", "/a", "../../../etc/passwd").as_deref(),
            Some("../etc/passwd")
        );
        assert_eq!(shown("/", "/", "..").as_deref(), Some("."));
        assert_eq!(shown("/", "/", "/../../etc").as_deref(), Some("etc"));
    }

    /// `c` may be a link to the mount's root, and the kernel would go up from there.
    #[test]
    fn no_name_comes_before_a_way_up() {
        assert_eq!(shown("/", "/a", "c/../x").as_deref(), Some("x"));
        assert_eq!(shown("/", "/a/b", "c/../../x").as_deref(), Some("../x"));
    }

    #[test]
    fn a_target_outside_the_mount_is_not_told() {
        for target in ["/etc/passwd", "../../etc/passwd", "../..", "/", "/srvother"] {
            assert_eq!(shown("/srv", "/srv/a", target), None, "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_target_climbs_above_the_mountpoint(
            depth in 0_usize..4,
            target in "(/|a|b|\\.\\.|\\.|//){0,12}",
        ) {
            let directory = path(&format!("/srv/m{}", "/d".repeat(depth)));
            let Some(shown) = inside(&path("/srv/m"), &directory, target.as_bytes()) else {
                return Ok(());
            };
            prop_assert!(!shown.is_empty() || target.is_empty());
            prop_assert!(leading_parents(&shown).is_some_and(|climbs| climbs <= depth));
        }
    }
}
