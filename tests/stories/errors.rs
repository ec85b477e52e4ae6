//! Impossible operations fail immediately, with the errno that tools expect.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Lack, assert_errno, run_with, stories};

/// Calls a function of Python's `os`, which has those that std lacks; returns the errno it raised.
fn os_call(call: &str, path: &Path) -> io::Result<()> {
    let script = format!(
        "import os, stat, sys\n\
         path = sys.argv[1]\n\
         try:\n    {call}\n\
         except OSError as error:\n    sys.exit(error.errno)\n"
    );
    let status = Command::new("python3")
        .args(["-c", &script])
        .arg(path)
        .status()
        .unwrap();
    match status.code().unwrap() {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

stories! {
    #![every_server]

    /// Every access to a missing name fails with ENOENT.
    fn what_is_missing(server: &TestServer, mount: &Mount) {
        server.write("file", "content");
        let missing = mount.join("missing");
        assert_errno(File::open(&missing), libc::ENOENT);
        assert_errno(fs::metadata(&missing), libc::ENOENT);
        assert_errno(fs::read_dir(&missing).map(|_| ()), libc::ENOENT);
        assert_errno(fs::remove_file(&missing), libc::ENOENT);
        assert_errno(fs::remove_dir(&missing), libc::ENOENT);
        assert_errno(fs::rename(&missing, mount.join("other")), libc::ENOENT);
        assert_errno(fs::create_dir(mount.join("missing/dir")), libc::ENOENT);
        assert_errno(File::create(mount.join("missing/file")), libc::ENOENT);
        assert_errno(fs::rename(mount.join("file"), mount.join("missing/file")), libc::ENOENT);
        assert_eq!(server.read("file"), b"content");
    }

    /// A file is not a directory, and a directory is not a file.
    fn one_kind_for_the_other(server: &TestServer, mount: &Mount) {
        server.write("dir/file", "content");
        let (dir, file) = (mount.join("dir"), mount.join("dir/file"));
        assert_errno(fs::write(&dir, "x"), libc::EISDIR);
        assert_errno(File::open(&dir).and_then(|mut dir| dir.read(&mut [0; 1])), libc::EISDIR);
        assert_errno(fs::remove_file(&dir), libc::EISDIR);
        assert_errno(fs::remove_dir(&file), libc::ENOTDIR);
        assert_errno(fs::read_dir(&file).map(|_| ()), libc::ENOTDIR);
        assert_errno(File::open(file.join("below")), libc::ENOTDIR);
        assert_errno(File::create(file.join("below")), libc::ENOTDIR);
        assert_errno(fs::create_dir(&dir), libc::EEXIST);
        assert_errno(fs::create_dir(&file), libc::EEXIST);
        assert_eq!(server.read("dir/file"), b"content");
    }

    /// A name that is too long, and one that FTP cannot carry.
    fn impossible_names(server: &TestServer, mount: &Mount) {
        let long = mount.join("x".repeat(256));
        assert_errno(fs::metadata(&long), libc::ENAMETOOLONG);
        assert_errno(File::create(&long), libc::ENAMETOOLONG);
        assert_errno(fs::create_dir(&long), libc::ENAMETOOLONG);
        let file = server.write("file", "content");
        for name in ["two\nlines", "DELE\r\nDELE file", "cr\r"] {
            assert_errno(File::create(mount.join(name)), libc::EINVAL);
            assert_errno(fs::create_dir(mount.join(name)), libc::EINVAL);
            assert_errno(fs::rename(mount.join("file"), mount.join(name)), libc::EINVAL);
        }
        assert!(file.exists());
        assert_eq!(server.names().len(), 1);
    }

    /// Operations that FTP does not support are refused rather than faked.
    fn what_ftp_cannot_do(server: &TestServer, mount: &Mount) {
        server.write("file", "content");
        let (file, new) = (mount.join("file"), mount.join("new"));
        assert_errno(fs::hard_link(&file, &new), libc::EPERM);
        // These have SITE SYMLINK.
        if matches!(server.kind(), Kind::Embedded | Kind::Proftpd) {
            symlink("file", &new).unwrap();
            fs::remove_file(&new).unwrap();
        } else {
            assert_errno(symlink("file", &new), libc::EPERM);
        }
        assert_errno(os_call("os.mkfifo(path)", &new), libc::EPERM);
        assert_errno(os_call("os.mknod(path, stat.S_IFSOCK | 0o600)", &new), libc::EPERM);
        if crate::support::run_with("id", &["-u".as_ref()]).stdout == b"0\n" {
            let device = "os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))";
            assert_errno(os_call(device, &new), libc::EPERM);
        }
        assert_errno(os_call("os.setxattr(path, 'user.tag', b'x')", &file), libc::EOPNOTSUPP);
        assert_errno(os_call("os.getxattr(path, 'user.tag')", &file), libc::ENODATA);
        assert_errno(chown(&file, Some(12345), None), libc::EPERM);
        assert_errno(chown(&file, None, Some(12345)), libc::EPERM);
        assert_eq!(server.names().len(), 1);
    }

    /// mknod(2) of an ordinary file creates it.
    fn plain_file_by_mknod(server: &TestServer, mount: &Mount) {
        os_call("os.mknod(path, stat.S_IFREG | 0o644)", &mount.join("new")).unwrap();
        assert_eq!(server.read("new"), b"");
    }

    /// A read-only mount refuses all changes with EROFS.
    fn read_only_mount(server: &TestServer, mount: &Mount) with ["ro"] {
        server.write("dir/file", "content");
        let (dir, file) = (mount.join("dir"), mount.join("dir/file"));
        assert_eq!(fs::read(&file).unwrap(), b"content");
        assert_errno(fs::write(&file, "x"), libc::EROFS);
        assert_errno(File::options().append(true).open(&file), libc::EROFS);
        assert_errno(File::create(mount.join("new")), libc::EROFS);
        assert_errno(fs::create_dir(mount.join("new")), libc::EROFS);
        assert_errno(fs::remove_file(&file), libc::EROFS);
        assert_errno(fs::remove_dir(&dir), libc::EROFS);
        assert_errno(fs::rename(&file, mount.join("new")), libc::EROFS);
        assert_errno(os_call("os.chmod(path, 0o600)", &file), libc::EROFS);
        assert_errno(os_call("os.utime(path, (1, 1))", &file), libc::EROFS);
        assert_errno(os_call("os.truncate(path, 1)", &file), libc::EROFS);
        assert_eq!(server.read("dir/file"), b"content");
    }

    /// `df` shows free space; otherwise installers and file managers refuse to copy.
    fn room_is_shown(server: &TestServer, mount: &Mount) {
        let output = run_with("stat", &["-f".as_ref(), "-c%S %a %l".as_ref(), mount.path().as_os_str()]);
        let told = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<u64> = told.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [block, available, longest] = numbers.try_into().unwrap();
        assert!(block >= 512, "{told}");
        assert!(block * available > 1 << 30, "{told}");
        assert_eq!(longest, 255, "{told}");
        run_with("df", &[mount.path().as_os_str()]);
    }

    /// A link on the server is followed inside the mount, or is shown as its target.
    fn links_of_the_server(server: &TestServer, mount: &Mount) {
        server.write("dir/file", "content");
        server.write("top", "the top");
        symlink("file", server.root().join("dir/beside")).unwrap();
        symlink("../top", server.root().join("dir/above")).unwrap();
        symlink("dir", server.root().join("way")).unwrap();
        server.hand_over();
        if server.kind() == Kind::Rclone {
            // The server hides links.
            assert_errno(fs::metadata(mount.join("dir/beside")), libc::ENOENT);
            return;
        }
        assert_eq!(fs::read(mount.join("dir/beside")).unwrap(), b"content");
        assert_eq!(fs::read(mount.join("dir/above")).unwrap(), b"the top");
        assert_eq!(fs::read(mount.join("way/file")).unwrap(), b"content");
        let is_link = fs::symlink_metadata(mount.join("way")).unwrap().is_symlink();
        assert_eq!(is_link, server.kind().can(Lack::ShowLinks));
        fs::remove_file(mount.join("dir/beside")).unwrap();
        assert_eq!(server.read("dir/file"), b"content", "the link goes, its target stays");
        assert!(server.root().join("dir/beside").symlink_metadata().is_err());
    }

    /// An absolute target begins at the server's root, which is not this machine's.
    fn absolute_links_stay_inside(server: &TestServer, mount: &Mount) {
        server.write("etc/hostname", "the server's");
        fs::create_dir(server.root().join("deep")).unwrap();
        symlink("/etc/hostname", server.root().join("deep/name")).unwrap();
        server.hand_over();
        match fs::read(mount.join("deep/name")) {
            Ok(content) if server.kind().can(Lack::Confinement) => {
                assert_eq!(content, b"the server's");
            }
            Ok(content) => assert_eq!(content, fs::read("/etc/hostname").unwrap()),
            // Outside a chroot, the server itself resolves the link to another file, hides the link
            // or refuses it.
            Err(error) => {
                assert!(matches!(server.kind(), Kind::Pyftpdlib | Kind::Rclone | Kind::Libunftp));
                assert!(matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EACCES)), "{error}");
            }
        }
    }
}
