//! Facts of MLSD and MLST (RFC 3659 §7).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rustix::fs::{FileType, Stat};
use rustix::process::{Gid, getegid, geteuid, getgroups};

use super::place::Entry;
use super::time;

/// A fact that the server supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    Type,
    Size,
    Modify,
    Perm,
    Unique,
    Mode,
    Owner,
    Group,
}

impl Fact {
    const ALL: [Self; 8] = [
        Self::Type,
        Self::Size,
        Self::Modify,
        Self::Perm,
        Self::Unique,
        Self::Mode,
        Self::Owner,
        Self::Group,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Size => "size",
            Self::Modify => "modify",
            Self::Perm => "perm",
            Self::Unique => "unique",
            Self::Mode => "UNIX.mode",
            Self::Owner => "UNIX.owner",
            Self::Group => "UNIX.group",
        }
    }
}

/// The relation of an entry to the listed directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A member. `removable` tells whether it can be deleted and renamed.
    Member { removable: bool },
    /// The directory itself.
    Current,
    /// Its parent.
    Parent,
}

/// The facts selected by the session. All are selected until OPTS MLST.
#[derive(Clone)]
pub(super) struct Facts {
    wanted: BTreeSet<Fact>,
}

/// Identity of the server process, which determines the `perm` fact.
#[derive(Clone)]
pub(super) struct Identity {
    user: u32,
    groups: Vec<u32>,
    read_only: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            wanted: Fact::ALL.into(),
        }
    }
}

impl Facts {
    /// Selects facts from the argument of OPTS MLST: `type;size;`. Ignores unknown names (RFC 3659
    /// §7.9).
    pub(super) fn choose(&mut self, names: &str) {
        let chosen = |fact: &Fact| {
            names
                .split(';')
                .any(|name| name.eq_ignore_ascii_case(fact.name()))
        };
        self.wanted = Fact::ALL.into_iter().filter(chosen).collect();
    }

    /// Formats the selected facts: `type;size;`.
    pub(super) fn chosen(&self) -> String {
        self.wanted
            .iter()
            .fold(String::new(), |text, fact| text + fact.name() + ";")
    }

    /// Formats all facts for FEAT, with the selected ones marked: `type*;size;`.
    pub(super) fn marked(&self) -> String {
        Fact::ALL.iter().fold(String::new(), |text, fact| {
            let marker = if self.wanted.contains(fact) { "*" } else { "" };
            text + fact.name() + marker + ";"
        })
    }

    /// Formats `fact=value;… name` without a line end.
    pub(super) fn line(&self, entry: &Entry, role: Role, identity: &Identity) -> Vec<u8> {
        let mut line = Vec::with_capacity(128 + entry.name.len());
        for &fact in &self.wanted {
            if let Some(value) = value(fact, entry, role, identity) {
                line.extend_from_slice(fact.name().as_bytes());
                line.push(b'=');
                line.extend_from_slice(&value);
                line.push(b';');
            }
        }
        line.push(b' ');
        line.extend_from_slice(&entry.name);
        line
    }
}

impl Identity {
    /// Returns the identity of this process.
    pub(super) fn current(read_only: bool) -> Self {
        let mut groups: Vec<u32> = getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(Gid::as_raw)
            .collect();
        groups.push(getegid().as_raw());
        Self {
            user: geteuid().as_raw(),
            groups,
            read_only,
        }
    }

    /// Returns the permission bits that apply to the process, as `rwx`.
    fn bits(&self, stat: &Stat) -> u32 {
        let mode = stat.st_mode;
        if self.user == 0 {
            0o7
        } else if stat.st_uid == self.user {
            (mode >> 6) & 0o7
        } else if self.groups.contains(&stat.st_gid) {
            (mode >> 3) & 0o7
        } else {
            mode & 0o7
        }
    }

    /// Whether names in the directory can be created, deleted and renamed.
    pub(super) fn may_change(&self, directory: &Stat) -> bool {
        !self.read_only && self.bits(directory) & 0o3 == 0o3
    }

    /// Formats the `perm` fact (RFC 3659 §7.5.5).
    fn perm(&self, stat: &Stat, role: Role) -> String {
        let bits = self.bits(stat);
        let (read, write, search) = (
            bits & 0o4 != 0,
            bits & 0o2 != 0 && !self.read_only,
            bits & 0o1 != 0,
        );
        let letters: &[(bool, &str)] = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => &[(self.may_change(stat), "cmp"), (search, "e"), (read, "l")],
            FileType::RegularFile => &[(write, "a"), (read, "r"), (write, "w")],
            _ => &[],
        };
        let removable = (role == Role::Member { removable: true }, "df");
        letters
            .iter()
            .chain([&removable])
            .filter(|(granted, _)| *granted)
            .map(|(_, text)| *text)
            .collect()
    }
}

fn value(fact: Fact, entry: &Entry, role: Role, identity: &Identity) -> Option<Vec<u8>> {
    let stat = &entry.stat;
    let text = match fact {
        Fact::Type => return Some(kind(entry, role)),
        Fact::Size => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => stat.st_size.to_string(),
            _ => return None,
        },
        Fact::Modify => time::format(stat.st_mtime)?,
        Fact::Perm => identity.perm(stat, role),
        Fact::Unique => format!("{:x}g{:x}", stat.st_dev, stat.st_ino),
        Fact::Mode => format!("{:04o}", stat.st_mode & 0o7777),
        Fact::Owner => stat.st_uid.to_string(),
        Fact::Group => stat.st_gid.to_string(),
    };
    Some(text.into_bytes())
}

fn kind(entry: &Entry, role: Role) -> Vec<u8> {
    let mode = entry.stat.st_mode;
    let kind = match (FileType::from_raw_mode(mode), role) {
        (FileType::Directory, Role::Member { .. }) => "dir",
        (FileType::Directory, Role::Current) => "cdir",
        (FileType::Directory, Role::Parent) => "pdir",
        (FileType::RegularFile | FileType::Unknown, _) => "file",
        (FileType::Symlink, _) => return link_kind(entry),
        (FileType::CharacterDevice, _) => return device_kind("chr", &entry.stat),
        (FileType::BlockDevice, _) => return device_kind("blk", &entry.stat),
        (FileType::Fifo, _) => "OS.unix=pipe",
        (FileType::Socket, _) => "OS.unix=socket",
    };
    kind.into()
}

/// Formats `OS.unix=slink:` and the target. Omits a target that would end the fact or the line.
fn link_kind(entry: &Entry) -> Vec<u8> {
    match &entry.target {
        Some(target)
            if !target
                .iter()
                .any(|byte| matches!(byte, b';' | b'\r' | b'\n')) =>
        {
            [b"OS.unix=slink:".as_slice(), target].concat()
        }
        _ => b"OS.unix=symlink".to_vec(),
    }
}

fn device_kind(kind: &str, stat: &Stat) -> Vec<u8> {
    let mut text = format!("OS.unix={kind}-");
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{}/{}",
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev)
    );
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_facts_are_told_until_some_are_chosen() {
        let mut facts = Facts::default();
        assert_eq!(
            facts.marked(),
            "type*;size*;modify*;perm*;unique*;UNIX.mode*;UNIX.owner*;UNIX.group*;"
        );
        facts.choose("SIZE;unix.MODE;nonsense;");
        assert_eq!(facts.chosen(), "size;UNIX.mode;");
        assert_eq!(
            facts.marked(),
            "type;size*;modify;perm;unique;UNIX.mode*;UNIX.owner;UNIX.group;"
        );
    }
}
