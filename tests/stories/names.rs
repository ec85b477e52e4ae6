//! Names of any bytes that a Unix server can hold, preserved in both directions.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::crash::SOON;
use crate::support::{ASIDE, Kind, RawNames, shell, stories, wait_for};

/// Names that break a client which quotes, trims, expands or decodes them.
const PLAIN: &[&str] = &[
    " leading",
    "in the  middle",
    "'single' and \"double\"",
    "*",
    "?",
    "[q]",
    "[q]*",
    "{a,b}",
    "-al",
    "--help",
    "back\\slash",
    "~",
    "~root",
    "#hash",
    "%41%2F",
    "a;b=c; d",
    "$HOME `id`",
    ".hidden",
    "...",
    "übermäßig",
    "日本語",
    "e\u{301} and é",
    "-> arrow",
    "file -> target",
    "tab\there",
    "semi; type=dir; x",
];

/// Names that are not UTF-8: a lone Latin-1 é, and a byte that is never valid.
const RAW: &[&[u8]] = &[b"caf\xe9", b"\xff", b"mixed \xc3\xa9 and \xe9"];

fn name(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// Returns the names in a directory, sorted.
fn names(directory: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = Vec::new();
    // What is removed a moment after its last close is moved aside until the kernel reports that.
    wait_for(ASIDE, || {
        let entries = fs::read_dir(directory).unwrap();
        names = entries.map(|entry| entry.unwrap().file_name()).collect();
        !names
            .iter()
            .any(|name| name.as_bytes().starts_with(b".ftpfs-"))
    });
    names.sort();
    names
}

fn sorted(names: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut names: Vec<OsString> = names.into_iter().collect();
    names.sort();
    names
}

/// Returns the plain names, the longest one, and one that ends in a blank.
fn ordinary() -> Vec<OsString> {
    let longest = "x".repeat(251) + "日a";
    let more = [longest.as_str(), "trailing "];
    sorted(PLAIN.iter().chain(&more).map(OsString::from))
}

fn content(name: &OsStr) -> Vec<u8> {
    [b"content of ", name.as_bytes()].concat()
}

/// Writes a file and waits for the server's answer, which std ignores when it closes the file.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn with(names: Vec<OsString>, kind: Kind, wanted: fn(Kind, &OsStr) -> bool) -> Vec<OsString> {
    names
        .into_iter()
        .filter(|name| wanted(kind, name))
        .collect()
}

stories! {
    #![every_server]

    /// Files created on the server are listed, read and removed by their own names.
    fn made_on_the_server(server: &TestServer, mount: &Mount) {
        let names_here = with(ordinary(), server.kind(), Kind::takes);
        for name in &names_here {
            server.write(name, content(name));
        }
        assert_eq!(names(mount.path()), names_here);
        for name in &names_here {
            let seen = fs::read(mount.join(name)).unwrap_or_else(|error| panic!("{name:?}: {error}"));
            assert!(seen == content(name), "{name:?}");
        }
        for (removed, name) in names_here.iter().enumerate() {
            fs::remove_file(mount.join(name)).unwrap_or_else(|error| panic!("{name:?}: {error}"));
            assert_eq!(names(server.root()), names_here[removed + 1..], "after {name:?}");
        }
    }

    /// The same with a lookup of each name, before any listing.
    fn looked_up_one_by_one(server: &TestServer, mount: &Mount) {
        let names_here = with(ordinary(), server.kind(), Kind::takes);
        let places: Vec<_> = (0..).map(|number| format!("d{number}")).zip(&names_here).collect();
        for (directory, name) in &places {
            server.write(Path::new(directory).join(name), content(name));
        }
        for (directory, name) in places {
            let seen = fs::read(mount.join(directory).join(name));
            assert!(seen.unwrap_or_else(|error| panic!("{name:?}: {error}")) == content(name), "{name:?}");
        }
    }
}

stories! {
    #![every_server]

    /// Files created in the mount have exactly the same name on the server, or are refused.
    fn made_in_the_mount(server: &TestServer, mount: &Mount) {
        for name in ordinary() {
            let made = write(&mount.join(&name), &content(&name));
            assert_eq!(made.is_ok(), server.kind().makes(&name), "{name:?}: {made:?}");
        }
        let made = with(ordinary(), server.kind(), Kind::makes);
        assert_eq!(names(server.root()), made);
        for name in &made {
            assert!(server.read(name) == content(name), "{name:?}");
        }
        // A child of another test has a copy of a refused file's descriptor until its exec. Until
        // then the file is open, and the mount shows it.
        let are_shown = || names(mount.path()) == made;
        assert!(wait_for(SOON, are_shown), "{:?}, not {made:?}", names(mount.path()));
    }

    /// The same by `mv`, without affecting any other file.
    fn moved_in_the_mount(server: &TestServer, mount: &Mount) {
        let bystanders = ["trailing_", "tab_here", "backslash"];
        for bystander in bystanders {
            server.write(bystander, bystander);
        }
        for name in ordinary() {
            fs::write(mount.join("file"), content(&name)).unwrap();
            let moved = fs::rename(mount.join("file"), mount.join(&name));
            assert_eq!(moved.is_ok(), server.kind().makes(&name), "{name:?}: {moved:?}");
            let is_now = if moved.is_ok() { &*name } else { OsStr::new("file") };
            assert!(server.read(is_now) == content(&name), "{name:?}");
        }
        for bystander in bystanders {
            assert_eq!(server.read(bystander), bystander.as_bytes());
        }
    }
}

stories! {
    #![every_server]

    /// Directories created on the server, and a file created in each through the mount.
    fn directories_of_the_server(server: &TestServer, mount: &Mount) {
        let names_here = with(ordinary(), server.kind(), Kind::takes);
        for name in &names_here {
            server.write(Path::new(name).join("there"), content(name));
        }
        for name in &names_here {
            let directory = mount.join(name);
            assert_eq!(names(&directory), ["there"], "{name:?}");
            assert!(fs::read(directory.join("there")).unwrap() == content(name), "{name:?}");
            fs::write(directory.join("here"), content(name)).unwrap();
            assert!(server.read(Path::new(name).join("here")) == content(name), "{name:?}");
        }
    }
}

stories! {
    #![every_server]

    /// Directories created in the mount, with a file in each.
    fn directories_of_the_mount(server: &TestServer, mount: &Mount) {
        for name in ordinary() {
            let made = fs::create_dir(mount.join(&name));
            assert_eq!(made.is_ok(), server.kind().makes_directory(&name), "{name:?}: {made:?}");
        }
        let made = with(ordinary(), server.kind(), Kind::makes_directory);
        assert_eq!(names(server.root()), made);
        for name in made {
            fs::write(mount.join(&name).join("file"), content(&name)).unwrap();
            assert!(server.read(Path::new(&name).join("file")) == content(&name), "{name:?}");
            fs::rename(mount.join(&name), mount.join("renamed")).unwrap();
            fs::rename(mount.join("renamed"), mount.join(&name)).unwrap();
            fs::remove_file(mount.join(&name).join("file")).unwrap();
            fs::remove_dir(mount.join(&name)).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        }
        assert!(names(server.root()).is_empty());
    }
}

stories! {
    #![every_server]

    /// Names that are not UTF-8 are preserved byte for byte.
    fn raw_bytes(server: &TestServer, mount: &Mount) with ["timeout=10"] {
        for bytes in RAW {
            server.write(Path::new("theirs").join(name(bytes)), bytes);
        }
        let theirs = mount.join("theirs");
        let is_kept = |bytes: &&&[u8]| match server.kind().raw_names() {
            RawNames::KeptExcept(lost) => !bytes.contains(&lost),
            _ => true,
        };
        match server.kind().raw_names() {
            RawNames::Kept | RawNames::KeptExcept(_) => {}
            RawNames::Replaced(by) => {
                let shown = ["caf#", "mixed é and #", "#"].map(|name| name.replace('#', &by.to_string()));
                assert_eq!(names(&theirs), sorted(shown.map(OsString::from)));
                for name in names(&theirs) {
                    let missing = fs::read(theirs.join(name)).unwrap_err();
                    // For a read one second after its open, the file no longer exists. LIST, the
                    // only source on libunftp, still shows the name that RETR refuses.
                    let expected = [libc::ENOENT, libc::ESTALE, libc::EIO];
                    assert!(missing.raw_os_error().is_some_and(|it| expected.contains(&it)), "{missing}");
                }
                return;
            }
            RawNames::Hidden => return assert!(names(&theirs).is_empty()),
            RawNames::Unlistable => return assert!(fs::read_dir(theirs).is_err()),
        }
        assert_eq!(names(&theirs), sorted(RAW.iter().map(|bytes| name(bytes))));
        let all = sorted(RAW.iter().filter(is_kept).map(|bytes| name(bytes)));
        fs::create_dir(mount.join("ours")).unwrap();
        for name in &all {
            assert_eq!(fs::read(theirs.join(name)).unwrap(), name.as_bytes());
            write(&mount.join("ours").join(name), name.as_bytes()).unwrap();
            assert_eq!(server.read(Path::new("ours").join(name)), name.as_bytes());
        }
        assert_eq!(names(&server.root().join("ours")), all);
        for name in &all {
            fs::remove_file(theirs.join(name)).unwrap();
        }
        let left = names(&server.root().join("theirs"));
        assert_eq!(left.len(), RAW.len() - all.len(), "{left:?}");
    }

    /// The shell's expansion and quoting work as on a local disk.
    fn used_from_the_shell(server: &TestServer, mount: &Mount) {
        shell(mount.path(), r#"mkdir -- "-dir [1]"; cd -- "-dir [1]"; echo one > "a b"; echo two > 'a*'; cat a* > all; rm -- 'a*'"#);
        let directory = Path::new("-dir [1]");
        assert_eq!(names(&server.root().join(directory)), ["a b", "all"]);
        // In the shell's order: `a b` before `a*`.
        assert_eq!(server.read(directory.join("all")), b"one\ntwo\n");
        shell(mount.path(), r#"rm -r -- "-dir [1]""#);
        assert!(names(server.root()).is_empty());
    }
}
