//! Where symbolic links lead: kept inside the mount where they can be.

use crate::ftp::{Kind, RemotePath};

use super::Vfs;
use super::errno::Errno;
use super::inode::Ino;

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
        Some(Ok(inside(&self.root, &directory, &attributes.target?)))
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
        let shown = inside(&self.root, &directory, &target);
        attributes.target = Some(target);
        self.cache.insert(&directory, &name, attributes);
        Ok(shown)
    }
}

/// What a link in `directory` to `target` is to say, seen from the mount of `root`: an absolute
/// path means the server's tree, so the way there is told relative to the link. What lies outside
/// `root` is told as it is, and dangles.
fn inside(root: &RemotePath, directory: &RemotePath, target: &[u8]) -> Vec<u8> {
    let absolute = target
        .starts_with(b"/")
        .then(|| RemotePath::new(target).ok())
        .flatten();
    let Some((below, depth)) = absolute.as_ref().and_then(|target| {
        let depth = components(directory.below(root)?);
        Some((target.below(root)?, depth))
    }) else {
        return target.to_vec();
    };
    let mut relative = b"../".repeat(depth);
    relative.extend_from_slice(below);
    match relative.as_slice() {
        [] => b".".to_vec(),
        _ => relative,
    }
}

fn components(path: &[u8]) -> usize {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(root: &str, directory: &str, target: &str) -> String {
        let path = |text: &str| RemotePath::new(text.as_bytes()).unwrap();
        String::from_utf8(inside(&path(root), &path(directory), target.as_bytes())).unwrap()
    }

    #[test]
    fn a_relative_target_is_told_as_it_is() {
        assert_eq!(shown("/", "/a", "../b"), "../b");
    }

    #[test]
    fn an_absolute_target_leads_into_the_mount() {
        assert_eq!(shown("/", "/", "/x/y"), "x/y");
        assert_eq!(shown("/", "/a/b", "/x"), "../../x");
        assert_eq!(shown("/srv", "/srv/a", "/srv/x"), "../x");
        assert_eq!(shown("/srv", "/srv", "/srv"), ".");
    }

    #[test]
    fn a_target_outside_the_mount_dangles() {
        assert_eq!(shown("/srv", "/srv/a", "/etc/passwd"), "/etc/passwd");
    }
}
