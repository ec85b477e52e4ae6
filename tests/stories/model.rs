//! Random work on the mount and on a local directory in parallel: both must always return and
//! contain the same.
//!
//! `FTPFS_TEST_SEED=123 cargo test --test stories model` repeats a run.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::{
    ASIDE, Kind, Mount, Random, TestServer, assert_same_tree, command, shell, wait_for,
};

/// Number of operations between two complete comparisons of both trees.
const STEPS: usize = 25;

/// Few names, so that operations interact.
const NAMES: [&str; 4] = ["a", "b c", "é", "-x"];

/// Returns a path of one to three names.
fn random_path(random: &mut Random) -> String {
    let depth = [1, 1, 2, 2, 3][random.below(5)];
    let names: Vec<&str> = (0..depth)
        .map(|_| NAMES[random.below(NAMES.len())])
        .collect();
    names.join("/")
}

fn random_content(random: &mut Random) -> Vec<u8> {
    let length = [0, 1, 100, 5_000, 70_000][random.below(5)];
    random.bytes(length)
}

/// An operation of a program on a tree.
#[derive(Debug)]
enum Operation {
    Write(String, Vec<u8>),
    /// Writes without waiting for the server.
    Put(String, Vec<u8>),
    Append(String, Vec<u8>),
    WriteAt(String, u64, Vec<u8>),
    Truncate(String, u64),
    /// Writes a file and renames it in the meantime.
    WriteAndRename(String, String, Vec<u8>),
    Read(String),
    MakeDirectory(String),
    RemoveDirectory(String),
    Remove(String),
    Rename(String, String),
    List(String),
    Look(String),
}

impl Operation {
    /// Returns a random operation, biased towards names that exist below `root`.
    fn random(random: &mut Random, root: &Path) -> Self {
        let path = random_path(random);
        let mut files = Vec::new();
        collect_files(root, "", &mut files);
        files.sort();
        let file = if files.is_empty() || random.below(4) == 0 {
            random_path(random)
        } else {
            files.swap_remove(random.below(files.len()))
        };
        match random.below(18) {
            0..=2 => Self::Write(path, random_content(random)),
            3 => Self::Write(file, random_content(random)),
            4..=5 => Self::Append(file, random_content(random)),
            6..=7 => Self::WriteAt(file, random.below(10_000) as u64, random_content(random)),
            8 => Self::Truncate(file, random.below(10_000) as u64),
            9 => Self::WriteAndRename(file, path, random_content(random)),
            10 => Self::Read(file),
            11..=12 => Self::MakeDirectory(path),
            13 => Self::RemoveDirectory(path),
            14 => Self::Remove(file),
            15 => Self::Rename(
                if random.below(2) == 0 { file } else { path },
                random_path(random),
            ),
            16 => Self::List(path),
            _ => Self::Look(path),
        }
    }

    /// Performs the operation; returns its content, names or size, or its errno.
    fn perform(&self, root: &Path) -> Result<Vec<u8>, i32> {
        self.attempt(root)
            .map_err(|error| error.raw_os_error().unwrap())
    }

    fn attempt(&self, root: &Path) -> io::Result<Vec<u8>> {
        let nothing = |()| Vec::new();
        match self {
            Self::Write(path, content) => {
                store(&File::create(root.join(path))?, content).map(nothing)
            }
            Self::Put(path, content) => fs::write(root.join(path), content).map(nothing),
            Self::Append(path, content) => {
                let file = OpenOptions::new().append(true).open(root.join(path))?;
                store(&file, content).map(nothing)
            }
            Self::WriteAt(path, offset, content) => {
                let file = OpenOptions::new().write(true).open(root.join(path))?;
                file.write_all_at(content, *offset)?;
                file.sync_all().map(nothing)
            }
            Self::Truncate(path, size) => {
                let file = OpenOptions::new().write(true).open(root.join(path))?;
                file.set_len(*size)?;
                file.sync_all().map(nothing)
            }
            Self::WriteAndRename(from, to, content) => {
                let file = OpenOptions::new().write(true).open(root.join(from))?;
                (&file).write_all(content)?;
                let renamed = fs::rename(root.join(from), root.join(to));
                file.sync_all()?;
                renamed.map(nothing)
            }
            Self::Read(path) => fs::read(root.join(path)),
            Self::MakeDirectory(path) => fs::create_dir(root.join(path)).map(nothing),
            Self::RemoveDirectory(path) => fs::remove_dir(root.join(path)).map(nothing),
            Self::Remove(path) => fs::remove_file(root.join(path)).map(nothing),
            Self::Rename(from, to) => fs::rename(root.join(from), root.join(to)).map(nothing),
            Self::List(path) => {
                let mut names = fs::read_dir(root.join(path))?
                    .map(|entry| Ok(entry?.file_name().into_encoded_bytes()))
                    .collect::<io::Result<Vec<_>>>()?;
                names.sort();
                Ok(names.join(&b'\n'))
            }
            Self::Look(path) => {
                let found = fs::metadata(root.join(path))?;
                let size = if found.is_file() { found.len() } else { 0 };
                Ok(format!("{:?} {size}", found.is_dir()).into_bytes())
            }
        }
    }

    /// Returns the operation without the wait for the server.
    fn unsynced(self) -> Self {
        match self {
            Self::Write(path, content) => Self::Put(path, content),
            other => other,
        }
    }

    /// Describes the operation without its bytes.
    fn told(&self) -> String {
        let mut told = format!("{self:?}");
        if let Some(bytes) = told.find('[') {
            told.truncate(bytes);
        }
        told
    }
}

/// Collects all files below `below`, as paths from the root.
fn collect_files(root: &Path, below: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = Path::new(below).join(entry.file_name());
        let path = path.into_os_string().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            collect_files(root, &path, files);
        } else {
            files.push(path);
        }
    }
}

/// Writes and waits for the server's answer.
fn store(mut file: &File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

/// How the program works that is compared with a local directory.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Each write is synced.
    Synced,
    /// Nothing is synced before the trees are compared (`-o writeback=names`).
    Background,
    /// The same, and ftpfs is killed now and then.
    Killed,
}

/// Waits until no file is left under a temporary name: one that is removed or replaced a moment
/// after its last close is moved aside until the kernel reports the close.
fn wait_for_last_closes(server: &TestServer) {
    let arguments = ["-name".as_ref(), ".ftpfs-*".as_ref()];
    let is_clean = || {
        let found = command("find")
            .arg(server.root())
            .args(arguments as [&OsStr; 2])
            .output();
        found.unwrap().stdout.is_empty()
    };
    assert!(wait_for(ASIDE, is_clean));
}

fn same_as_a_local_directory(kind: Kind, operations: usize) {
    compare(kind, operations, Way::Synced);
}

fn compare(kind: Kind, operations: usize, way: Way) {
    let server = TestServer::start(kind);
    let state = tempfile::tempdir().unwrap();
    let options: &[&str] = match way {
        Way::Synced => &[],
        Way::Background | Way::Killed => &["writeback=names"],
    };
    let start = || Mount::with_state(&server, options, state.path());
    let mut mount = start();
    let local = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    for number in 1..=operations {
        let mut operation = Operation::random(&mut random, local.path());
        if !matches!(way, Way::Synced) {
            operation = operation.unsynced();
        }
        println!("{number}: {}", operation.told());
        let expected = operation.perform(local.path());
        let seen = operation.perform(mount.path());
        assert!(
            seen == expected,
            "{number}: {}: {:?} on the mount, {:?} on a disk",
            operation.told(),
            seen.map(|bytes| bytes.len()),
            expected.map(|bytes| bytes.len()),
        );
        if matches!(way, Way::Killed) && random.below(12) == 0 {
            println!("{number}: kill -9");
            mount.kill_nine();
            mount = start();
            assert_same_tree(local.path(), mount.path());
        }
        if number % STEPS == 0 || number == operations {
            assert_same_tree(local.path(), mount.path());
            if !matches!(way, Way::Synced) {
                shell(mount.path(), "sync .");
            }
            wait_for_last_closes(&server);
            assert_same_tree(local.path(), server.root());
        }
    }
    mount.unmount();
    assert_same_tree(local.path(), server.root());
}

#[test]
fn embedded() {
    same_as_a_local_directory(Kind::Embedded, 300);
}

#[test]
fn vsftpd() {
    same_as_a_local_directory(Kind::Vsftpd, 100);
}

#[test]
fn proftpd() {
    same_as_a_local_directory(Kind::Proftpd, 100);
}

#[test]
fn pure_ftpd() {
    same_as_a_local_directory(Kind::PureFtpd, 100);
}

#[test]
fn pyftpdlib() {
    same_as_a_local_directory(Kind::Pyftpdlib, 100);
}

/// `-o writeback=names`.
mod in_the_background {
    use super::{Kind, Way, compare};

    #[test]
    fn embedded() {
        compare(Kind::Embedded, 300, Way::Background);
    }

    #[test]
    fn vsftpd() {
        compare(Kind::Vsftpd, 100, Way::Background);
    }

    #[test]
    fn proftpd() {
        compare(Kind::Proftpd, 100, Way::Background);
    }

    #[test]
    fn pure_ftpd() {
        compare(Kind::PureFtpd, 100, Way::Background);
    }

    #[test]
    fn pyftpdlib() {
        compare(Kind::Pyftpdlib, 100, Way::Background);
    }
}

/// `-o writeback=names`, and `kill -9`.
mod in_the_background_and_killed {
    use super::{Kind, Way, compare};

    #[test]
    fn embedded() {
        compare(Kind::Embedded, 200, Way::Killed);
    }

    #[test]
    fn vsftpd() {
        compare(Kind::Vsftpd, 75, Way::Killed);
    }

    #[test]
    fn proftpd() {
        compare(Kind::Proftpd, 75, Way::Killed);
    }

    #[test]
    fn pure_ftpd() {
        compare(Kind::PureFtpd, 75, Way::Killed);
    }

    #[test]
    fn pyftpdlib() {
        compare(Kind::Pyftpdlib, 75, Way::Killed);
    }
}
