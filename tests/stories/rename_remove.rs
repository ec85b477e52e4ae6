//! Renaming and removing names, including those of files that programs have open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Kind, Mount, TestServer, assert_errno, shell, stories, wait_for};
use ftpfs::server::{Fault, Misdeed};

/// Maximum time for the work that remains after a close.
const SOON: Duration = Duration::from_secs(20);

/// The flags of renameat2(2).
const RENAME_NOREPLACE: u32 = 1;
const RENAME_EXCHANGE: u32 = 2;

/// Calls renameat2(2), which std does not offer; the program's exit status is the errno.
fn rename_with(flags: u32, from: &Path, to: &Path) -> io::Result<()> {
    let script = "import ctypes, os, sys\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        source, target = map(os.fsencode, sys.argv[2:])\n\
        failed = libc.renameat2(-100, source, -100, target, int(sys.argv[1]))\n\
        sys.exit(ctypes.get_errno() if failed else 0)\n";
    let status = Command::new("python3")
        .args(["-c", script, &flags.to_string()])
        .args([from, to])
        .status()
        .unwrap();
    match status.code().unwrap() {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Returns the names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

stories! {
    #![every_server]

    /// An open file that was removed has a link count of zero in fstat(2).
    fn removed_and_nameless(server: &TestServer, mount: &Mount) {
        server.write("file", "content");
        let file = File::open(mount.join("file")).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 1);
        fs::remove_file(mount.join("file")).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
    }

    /// Creating, removing or moving a name changes the directory's time: git and others detect
    /// changes by it.
    fn seen_in_the_time_of_the_directory(server: &TestServer, mount: &Mount) with ["dir_ttl=3600"] {
        let make = "mkdir -p made dir-made removed emptied/x left entered; touch removed/x left/x";
        shell(server.root(), make);
        server.hand_over();
        let names = ["made", "dir-made", "removed", "emptied", "left", "entered"];
        shell(server.root(), "touch -d @981173106 *");
        let times = || names.map(|name| fs::metadata(mount.join(name)).unwrap().mtime());
        let before = times();
        shell(
            mount.path(),
            ": > made/new; mkdir dir-made/new; rm removed/x; rmdir emptied/x; mv left/x entered/y",
        );
        for (name, (before, after)) in names.iter().zip(before.iter().zip(times())) {
            assert!(after > *before, "{name}: {before}, then {after}");
        }
    }

    /// `mv` within a directory and into another one.
    fn moved(server: &TestServer, mount: &Mount) {
        server.write("from/file", "content");
        server.write("to/other", "other");
        shell(mount.path(), "mv from/file from/renamed; mv from/renamed to/");
        assert_eq!(server.read("to/renamed"), b"content");
        assert!(names(&server.root().join("from")).is_empty());
        assert_eq!(names(&mount.join("to")), ["other", "renamed"]);
        assert!(names(&mount.join("from")).is_empty());
    }

    /// `mv` over a file replaces it.
    fn moved_over_a_file(server: &TestServer, mount: &Mount) {
        server.write("old", "old content");
        server.write("new", "new");
        shell(mount.path(), "cat old > /dev/null; mv new old");
        assert_eq!(server.read("old"), b"new");
        assert_eq!(fs::read(mount.join("old")).unwrap(), b"new");
        assert_eq!(server.names(), ["old"]);
        assert_eq!(names(mount.path()), ["old"]);
    }

    /// When a file is renamed while being written, all of its content arrives under the new name.
    fn renamed_while_written(server: &TestServer, mount: &Mount) {
        let mut file = File::create(mount.join("download.part")).unwrap();
        file.write_all(b"first half, ").unwrap();
        fs::rename(mount.join("download.part"), mount.join("download")).unwrap();
        file.write_all(b"second half").unwrap();
        drop(file);
        assert_eq!(server.read("download"), b"first half, second half");
        assert_eq!(server.names(), ["download"]);
        assert_eq!(fs::read(mount.join("download")).unwrap(), b"first half, second half");
    }

    /// The same with an existing file that is changed in place.
    fn renamed_while_changed(server: &TestServer, mount: &Mount) {
        server.write("before", "0123456789");
        let file = OpenOptions::new().read(true).write(true).open(mount.join("before")).unwrap();
        file.write_all_at(b"XX", 2).unwrap();
        fs::rename(mount.join("before"), mount.join("after")).unwrap();
        file.write_all_at(b"YY", 6).unwrap();
        drop(file);
        assert_eq!(server.read("after"), b"01XX45YY89");
        assert_eq!(server.names(), ["after"]);
    }

    /// A program that has the replaced file open continues to read the old content.
    fn replaced_while_read(server: &TestServer, mount: &Mount) {
        server.write("file", "the old content");
        server.write("file.new", "the NEW content");
        let mut reader = File::open(mount.join("file")).unwrap();
        fs::rename(mount.join("file.new"), mount.join("file")).unwrap();
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "the old content");
        assert_eq!(fs::read(mount.join("file")).unwrap(), b"the NEW content");
        drop(reader);
        assert_eq!(server.read("file"), b"the NEW content");
        let is_alone = || names(server.root()) == ["file"];
        assert!(wait_for(SOON, is_alone), "the old file goes with its last close");
    }

    /// A parent directory of a file is renamed while the file is being written.
    fn directory_renamed_above_an_open_file(server: &TestServer, mount: &Mount) {
        fs::create_dir_all(mount.join("old/inner")).unwrap();
        let mut file = File::create(mount.join("old/inner/file")).unwrap();
        file.write_all(b"before ").unwrap();
        fs::rename(mount.join("old"), mount.join("new")).unwrap();
        file.write_all(b"after").unwrap();
        drop(file);
        assert_eq!(server.read("new/inner/file"), b"before after");
        assert_eq!(server.names(), ["new"]);
        assert_eq!(fs::read(mount.join("new/inner/file")).unwrap(), b"before after");
        assert!(!mount.join("old").exists());
    }

    /// RENAME_NOREPLACE keeps an existing target, and renames if there is none.
    fn renamed_without_replacing(server: &TestServer, mount: &Mount) {
        server.write("a", "a");
        server.write("b", "b");
        let (a, b, c) = (mount.join("a"), mount.join("b"), mount.join("c"));
        assert_errno(rename_with(RENAME_NOREPLACE, &a, &b), libc::EEXIST);
        assert_eq!((server.read("a"), server.read("b")), (b"a".to_vec(), b"b".to_vec()));
        rename_with(RENAME_NOREPLACE, &a, &c).unwrap();
        assert_eq!(server.names(), ["b", "c"]);
    }

    /// FTP cannot exchange two names atomically.
    fn exchange_is_refused(server: &TestServer, mount: &Mount) {
        server.write("a", "a");
        server.write("b", "b");
        assert_errno(rename_with(RENAME_EXCHANGE, &mount.join("a"), &mount.join("b")), libc::EINVAL);
        assert_eq!((server.read("a"), server.read("b")), (b"a".to_vec(), b"b".to_vec()));
    }

    /// rmdir(2) removes only empty directories.
    fn only_empty_directories_are_removed(server: &TestServer, mount: &Mount) {
        server.write("full/file", "content");
        assert_errno(fs::remove_dir(mount.join("full")), libc::ENOTEMPTY);
        assert_eq!(server.read("full/file"), b"content");
        shell(mount.path(), "rm full/file; rmdir full; mkdir full; rmdir full");
        assert!(names(server.root()).is_empty());
    }

    /// `rm -r` removes a whole tree.
    fn whole_tree_removed(server: &TestServer, mount: &Mount) {
        server.write("tree/a/one", "1");
        server.write("tree/a/b/two", "2");
        server.write("tree/.hidden", "3");
        server.write("kept", "4");
        shell(mount.path(), "rm -r tree");
        assert_eq!(server.names(), ["kept"]);
        assert_eq!(names(mount.path()), ["kept"]);
    }

    /// A directory replaces an empty directory, never a non-empty one.
    fn directory_renamed_onto_another(server: &TestServer, mount: &Mount) {
        server.write("source/file", "moved");
        server.write("full/file", "kept");
        fs::create_dir(server.root().join("empty")).unwrap();
        server.hand_over();
        let source = mount.join("source");
        assert_errno(fs::rename(&source, mount.join("full")), libc::ENOTEMPTY);
        assert_eq!(server.read("full/file"), b"kept");
        assert_eq!(server.read("source/file"), b"moved");
        fs::rename(&source, mount.join("empty")).unwrap();
        assert_eq!(server.read("empty/file"), b"moved");
        assert_eq!(server.names(), ["empty", "full"]);
        assert_eq!(names(&mount.join("empty")), ["file"]);
    }

    /// A file does not replace a directory, nor a directory a file.
    fn file_and_directory_do_not_mix(server: &TestServer, mount: &Mount) {
        server.write("file", "content");
        fs::create_dir(server.root().join("dir")).unwrap();
        server.hand_over();
        let (file, dir) = (mount.join("file"), mount.join("dir"));
        assert_errno(fs::rename(&file, &dir), libc::EISDIR);
        assert_errno(fs::rename(&dir, &file), libc::ENOTDIR);
        assert_eq!(server.read("file"), b"content");
        assert!(server.root().join("dir").is_dir());
    }

    /// A directory cannot be moved into itself.
    fn directory_not_moved_into_itself(server: &TestServer, mount: &Mount) {
        server.write("dir/inner/file", "content");
        assert_errno(fs::rename(mount.join("dir"), mount.join("dir/inner/dir")), libc::EINVAL);
        assert_eq!(server.read("dir/inner/file"), b"content");
    }
}

/// Servers would overwrite an existing directory or merge the two, so they are not asked.
#[test]
fn a_full_directory_in_the_way_is_found_without_the_server() {
    let server = TestServer::start(Kind::Embedded);
    server.write("source/file", "moved");
    fs::create_dir(server.root().join("full")).unwrap();
    let mount = Mount::with_options(&server, &["dir_ttl=600"]);
    assert!(names(&mount.join("full")).is_empty());
    server.write("full/file", "made by another client");
    let renamed = fs::rename(mount.join("source"), mount.join("full"));
    assert_errno(renamed, libc::ENOTEMPTY);
    let into_itself = fs::rename(mount.join("source"), mount.join("source/source"));
    assert_errno(into_itself, libc::EINVAL);
    let commands = server.commands();
    assert!(
        !commands.iter().any(|it| it.starts_with("RNFR")),
        "{commands:?}"
    );
    assert!(
        !commands.iter().any(|it| it.starts_with("RMD")),
        "{commands:?}"
    );
}

/// The directory that was moved aside is restored when the rename fails.
#[test]
fn an_empty_directory_survives_a_rename_that_fails() {
    let server = TestServer::start(Kind::Embedded);
    server.write("source/file", "kept");
    fs::create_dir(server.root().join("empty")).unwrap();
    let mount = Mount::new(&server);
    let refused = Misdeed::Refuse {
        code: 550,
        text: "Permission denied.".to_owned(),
    };
    let fault = Fault::on("RNTO", refused).always();
    server.embedded().unwrap().faults().add(fault);
    let renamed = fs::rename(mount.join("source"), mount.join("empty"));
    assert_errno(renamed, libc::EACCES);
    assert_eq!(server.names(), ["empty", "source"]);
    assert_eq!(names(mount.path()), ["empty", "source"]);
    assert_eq!(server.read("source/file"), b"kept");
}
