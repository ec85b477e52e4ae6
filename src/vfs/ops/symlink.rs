//! Symbolic links, whose targets must be inside the mount.

use crate::cancel::{Blocking, Cancel};
use crate::ftp::listing::TARGET_MAX;
use crate::ftp::path::EscapedPath;
use crate::ftp::{Kind, PathError, RemotePath};
use crate::remote::ErrorKind;

use super::later::ChangeEffect;
use crate::vfs::Vfs;
use crate::vfs::attr::{Attr, WithTtl, made_now};
use crate::vfs::errno::Errno;
use crate::vfs::table::ino::Ino;
use crate::vfs::table::inode::NodeKind;

impl Vfs {
    /// Returns the target of the link `ino`.
    pub(crate) fn readlink(&self, ino: Ino, may: Blocking<'_>) -> Result<Vec<u8>, Errno> {
        let (directory, name) = self.location(ino)?;
        let mut attributes = self.attributes_of(&directory, &name, may)?.value;
        if attributes.kind != Kind::Symlink {
            return Err(Errno::INVAL);
        }
        if let Some(target) = &attributes.target {
            return self.shown_target(&directory, &name, target);
        }
        let cancel = may.cancel()?;
        self.settle(&directory.join(&name)?, cancel)?;
        let remote = self.remote.with(cancel);
        let target = remote.read_link(&directory.join(&name)?)?;
        let shown = self.shown_target(&directory, &name, &target);
        attributes.target = Some(target.into_boxed_slice());
        self.cache.insert(&directory, &name, attributes);
        shown
    }

    /// Makes the link `name` in `parent` to `target` on the server.
    ///
    /// # Errors
    /// `PERM` if the server makes no such link: none at all, none to a name that does not exist, or
    /// none with blanks. Also for an absolute target, which is one of this machine, and for one
    /// outside of the mount, which would not be shown.
    pub(crate) fn make_link(
        &self,
        parent: Ino,
        name: &[u8],
        target: &[u8],
        cancel: &Cancel,
    ) -> Result<WithTtl<Attr>, Errno> {
        self.check_writable()?;
        let directory = self.inodes.path(parent)?;
        let link = directory.join(name)?;
        let root = self.inodes.path(Ino::ROOT)?;
        if inside(&root, &directory, target).as_deref() != Some(target) {
            log::info!(
                path = link;
                "cannot make the link {link}: {} is not a relative path below {root}",
                EscapedPath(target)
            );
            return Err(Errno::PERM);
        }
        let watch = self.begin_change(&[&link], cancel)?;
        if self.remote.may_make_links() {
            self.settle_order(&[&link], ChangeEffect::Keeps, watch.as_ref(), cancel)?;
        }
        if let Err(error) = self.remote.with(cancel).make_link(target, &link) {
            self.invalidate_after(&directory, name, error.kind);
            return Err(match error.kind {
                ErrorKind::Unsupported | ErrorKind::InvalidName | ErrorKind::NotFound => {
                    log::info!(path = link, reply = error.reply; "{error}");
                    Errno::PERM
                }
                _ => error.into(),
            });
        }
        let mut attributes = made_now(Kind::Symlink, None, None);
        attributes.target = Some(Box::from(target));
        self.cache.insert(&directory, name, attributes.clone());
        self.touch_directory(&directory);
        self.inodes.renumber(parent, name);
        let ino = self.inodes.lookup(parent, name, NodeKind::Leaf)?;
        Ok(WithTtl {
            value: self.show(ino, &attributes),
            ttl: self.options.attr_ttl,
        })
    }

    fn shown_target(
        &self,
        directory: &RemotePath,
        name: &[u8],
        target: &[u8],
    ) -> Result<Vec<u8>, Errno> {
        let root = self.inodes.path(Ino::ROOT)?;
        let Some(shown) = inside(&root, directory, target) else {
            let (link, target) = (directory.join(name)?, EscapedPath(target));
            log::warn!(
                path = link;
                "the link {link} points to {target}, which is not below {root}"
            );
            return Err(Errno::ACCES);
        };
        if shown.len() > TARGET_MAX {
            return Err(PathError::TooLong.into());
        }
        Ok(shown)
    }
}

/// Converts the `target` of a link in `directory` to one that is valid in the mount of `root`, or
/// `None` if it points out of `root`.
///
/// The kernel resolves the result in the local directory tree. It may therefore contain no more
/// `..` than there are directories up to the mountpoint, and only before the first name, because a
/// name may itself be a link, and only the server knows where `..` from its target leads. An
/// absolute path refers to the server's tree. A target that cannot be used unchanged is converted
/// to a path relative to `directory`.
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

/// Returns the number of `..` at the beginning of a relative target, or `None` if it is absolute or
/// has one after a name.
fn leading_parents(target: &[u8]) -> Option<usize> {
    if target.starts_with(b"/") {
        return None;
    }
    let climbs = names(target).take_while(|name| *name == b"..").count();
    let goes_back = names(target).skip(climbs).any(|name| name == b"..");
    (!goes_back).then_some(climbs)
}

/// Returns the components of a path.
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

    /// `c` may be a link to the root of the mount, and the kernel would go up from there.
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
