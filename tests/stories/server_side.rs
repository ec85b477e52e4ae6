//! What servers can do beyond reading and writing: symbolic links, groups, quotas, digests; and the
//! extended attributes that show what ftpfs knows about a file.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use ftpfs::server::{Fault, Misdeed};

use crate::support::{Kind, Mount, TestServer, assert_errno, lines, sha256, shell, stories};

/// Returns the value of an extended attribute as text.
fn attribute(path: &Path, name: &str) -> String {
    let done = Command::new("getfattr")
        .args(["--only-values", "--absolute-names", "-n"])
        .arg(format!("user.ftpfs.{name}"))
        .arg(path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name}: {errors}");
    String::from_utf8(done.stdout).unwrap()
}

/// Asserts that getfattr(1) fails with this message.
fn assert_no_attribute(path: &Path, name: &str, message: &str) {
    let done = Command::new("getfattr")
        .args(["--only-values", "-n", name])
        .arg(path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(
        !done.status.success() && told.contains(message),
        "{name}: {told}"
    );
}

stories! {
    /// The attributes of files and directories, and what is not one.
    fn attributes_show_what_is_known(server: &TestServer, mount: &Mount) {
        server.write("d/a file", "content");
        server.write("d/b", "");
        server.hand_over();
        shell(server.root(), "touch -d '2020-02-02 02:02:02 UTC' 'd/a file'; chmod 640 'd/a file'");
        let file = mount.join("d/a file");
        let listed = shell(mount.join("d"), "getfattr 'a file' | grep user");
        assert_eq!(lines(&listed), ["user.ftpfs.cached", "user.ftpfs.facts", "user.ftpfs.upload", "user.ftpfs.url"]);
        assert_eq!(lines(&shell(mount.path(), "getfattr d | grep user")), ["user.ftpfs.facts", "user.ftpfs.url"]);
        let get = |name: &str| attribute(&file, name);
        let url = get("url");
        assert_eq!(url, format!("{}d/a%20file", server.url()));
        let facts = get("facts");
        assert!(facts.starts_with("type=file;size=7;modify=20200202"), "{facts}");
        assert!(facts.ends_with("UNIX.mode=0640;"), "{facts}");
        assert_eq!((get("cached"), get("upload")), ("none".into(), "none".into()));
        assert_no_attribute(&file, "user.ftpfs.nothing", "No such attribute");
        assert_no_attribute(&file, "user.mime_type", "No such attribute");
        assert_no_attribute(&file, "security.capability", "not supported");
        assert_no_attribute(&mount.join("d"), "user.ftpfs.sha256", "No such attribute");
        // No program can set one.
        let set = shell(mount.join("d"), "! setfattr -n user.ftpfs.url -v x b 2>&1; ! setfattr -n user.x -v x b 2>&1");
        assert!(lines(&set).iter().all(|line| line.contains("not supported")), "{set:?}");
    }

    /// The state of a file that is open for writing, and of one that was read.
    fn attributes_of_an_open_file(server: &TestServer, mount: &Mount) {
        shell(server.root(), "head -c 3M /dev/urandom > large");
        server.hand_over();
        // Another process would close the files that it inherits.
        let program = "import errno, os
def get(path, name): return os.getxattr(path, 'user.ftpfs.' + name).decode()
file = open('new', 'wb', buffering=0); file.write(b'some')
assert get('new', 'upload') == 'waiting' and get('new', 'cached') == 'whole'
try: get('new', 'sha256'); assert False
except OSError as error: assert error.errno == errno.ENODATA
file.close()
assert get('new', 'upload') == 'none'
large = os.open('large', os.O_RDONLY)
assert get('large', 'cached') == 'none'
os.pread(large, 1000, 0)
assert get('large', 'cached') != 'none'";
        shell(mount.path(), &format!("python3 -c \"{program}\""));
    }

    /// Tools that copy extended attributes, or ask for those that they know, work as without any.
    fn tools_do_not_mind_the_attributes(server: &TestServer, mount: &Mount) {
        let local = tempfile::tempdir().unwrap();
        shell(local.path(), "mkdir t; echo one > t/one; echo two > t/two; chmod 640 t/one");
        let from = local.path().display();
        // Pyftpdlib and others set times of directories only on their own.
        let quiet = |script: &str| {
            let done = shell(mount.path(), &format!("({script}) 2>&1"));
            assert!(done.stdout.is_empty(), "{script}: {}", String::from_utf8_lossy(&done.stdout));
        };
        quiet(&format!("rsync -rpX {from}/t . && rsync -rpX {from}/t ."));
        quiet("rm -r t");
        quiet(&format!("cp -a --no-preserve=ownership {from}/t . && cp -a --no-preserve=ownership t t2"));
        quiet(&format!("cp -a --no-preserve=ownership t2 {from}/t3"));
        quiet(&format!("rsync -rpX t {from}/t4"));
        quiet("ls -l t > /dev/null; ls -lR --color=always . > /dev/null");
        assert_eq!(server.read("t2/one"), b"one\n");
        assert_eq!(fs::read(local.path().join("t4/t/two")).unwrap(), b"two\n");
    }
}

/// Names that are not of ftpfs cost no command, nor do its own, except digests.
#[test]
fn attributes_cost_nothing() {
    let server = TestServer::start_with(Kind::Embedded, |options| options.digests = true);
    server.write("file", "content");
    let mount = Mount::with_options(&server, &["dir_ttl=600", "attr_ttl=600"]);
    shell(mount.path(), "ls -l");
    server.embedded().unwrap().clear_commands();
    shell(
        mount.path(),
        "getfattr -d file; getfattr -n security.capability file . || true; getfattr -n user.x file || true",
    );
    let asked = server.commands();
    let asked = asked.iter().filter(|it| !it.starts_with("EPSV"));
    assert_eq!(asked.collect::<Vec<_>>(), Vec::<&String>::new());
    // Two requests of the kernel, for the length and for the value, are one of the server.
    assert_eq!(
        attribute(&mount.join("file"), "sha256"),
        sha256(server.root().join("file"))
    );
    let commands = server.commands();
    let digests = commands.iter().filter(|it| it.starts_with("HASH"));
    assert_eq!(digests.count(), 1, "{commands:?}");
}

/// A file that is in the persistent cache is shown as such, also by a mount that has not read it.
#[test]
fn cached_files_are_shown() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    shell(server.root(), "touch -d 2020-02-02 file");
    let cache = tempfile::tempdir().unwrap();
    let option = format!("cache_dir={}", cache.path().display());
    let mount = Mount::with_options(&server, &[&option]);
    assert_eq!(attribute(&mount.join("file"), "cached"), "none");
    fs::read(mount.join("file")).unwrap();
    let is_whole = |mount: &Mount| attribute(&mount.join("file"), "cached") == "whole";
    let patience = std::time::Duration::from_secs(30);
    assert!(crate::support::wait_for(patience, || is_whole(&mount)));
    drop(mount);
    assert!(is_whole(&Mount::with_options(&server, &[&option])));
}

/// A buffer that is too small is refused, and one that is too large is not filled.
#[test]
fn values_fit_their_buffers() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    let mount = Mount::new(&server);
    let program = r"
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def get(size, name=b'user.ftpfs.cached'):
    value = ctypes.create_string_buffer(size or 1)
    count = libc.getxattr(b'file', name, value, size)
    return value.raw[:count] if size and count >= 0 else count if count >= 0 else -ctypes.get_errno()
assert get(0) == 4 and get(4) == b'none' and get(100) == b'none', get(0)
assert get(3) == -errno.ERANGE
def names(size):
    value = ctypes.create_string_buffer(size or 1)
    count = libc.listxattr(b'file', value, size)
    return value.raw[:count] if size and count >= 0 else count if count >= 0 else -ctypes.get_errno()
length = names(0)
assert length == len(names(length)) and names(length).endswith(b'\0') and names(length - 1) == -errno.ERANGE
";
    shell(mount.path(), &format!("python3 -c \"{program}\""));
}

/// The server computes digests, by each command that it has, and nothing is downloaded.
#[test]
fn digests_come_from_the_server() {
    let server = TestServer::start_with(Kind::Embedded, |options| options.digests = true);
    shell(server.root(), "head -c 1M /dev/urandom > 'a file'");
    let mount = Mount::new(&server);
    let sum = |tool: &str| {
        let line = shell(server.root(), &format!("{tool} < 'a file'"));
        String::from_utf8(line.stdout).unwrap()[..]
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    let get = |name: &str| attribute(&mount.join("a file"), name);
    for (name, tool) in [
        ("sha256", "sha256sum"),
        ("sha1", "sha1sum"),
        ("md5", "md5sum"),
    ] {
        assert_eq!(get(name), sum(tool), "{name}");
    }
    assert_eq!(get("crc32").len(), 8);
    assert_no_attribute(&mount.join("a file"), "user.ftpfs.sha512", "not supported");
    assert!(!server.commands().iter().any(|it| it.starts_with("RETR")));
    // A changed file has another digest.
    shell(mount.path(), "echo more >> 'a file'");
    assert_eq!(get("sha256"), sum("sha256sum"));
}

/// ProFTPD selects the algorithm of HASH by OPTS.
#[test]
fn digests_come_from_proftpd() {
    let server = TestServer::start_with_arguments(Kind::Proftpd, &["--digests"]);
    server.write("a file", "content");
    let mount = Mount::new(&server);
    let path = mount.join("a file");
    for (name, tool) in [
        ("sha512", "sha512sum"),
        ("sha256", "sha256sum"),
        ("sha1", "sha1sum"),
        ("md5", "md5sum"),
    ] {
        let got = attribute(&path, name);
        let sum = shell(server.root(), &format!("{tool} < 'a file'"));
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert_eq!(Some(got.as_str()), sum.split(' ').next(), "{name}");
    }
    let commands = server.commands();
    assert!(
        !commands.iter().any(|it| it.starts_with("RETR")),
        "{commands:?}"
    );
}

/// A refused upload is shown with its reason.
#[test]
fn a_failed_upload_is_shown() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&server, &["writeback"]);
    let full = Misdeed::Refuse {
        code: 552,
        text: "Quota exceeded.".to_owned(),
    };
    let faults = server.embedded().unwrap();
    faults.faults().add(Fault::on("STOR", full).always());
    fs::write(mount.join("file"), "content").unwrap();
    let state = || attribute(&mount.join("file"), "upload");
    assert!(
        crate::support::wait_for(std::time::Duration::from_secs(30), || state()
            .contains("Quota exceeded")),
        "{}",
        state()
    );
    assert!(state().starts_with("failed: "), "{}", state());
    faults.faults().clear();
    shell(mount.path(), "sync file");
    assert_eq!(state(), "none");
}

/// A program that writes to a file loses its setuid and setgid bits, as on a local disk.
#[test]
fn a_write_removes_privileged_modes() {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    fs::set_permissions(
        server.root().join("file"),
        fs::Permissions::from_mode(0o6777),
    )
    .unwrap();
    let mount = Mount::with_options(&server, &["allow_other"]);
    shell(
        mount.path(),
        "setpriv --reuid 12345 --clear-groups sh -c 'echo more >> file'",
    );
    let mode = || fs::metadata(server.root().join("file")).unwrap().mode() & 0o7777;
    assert_eq!(mode(), 0o777, "{:o}", mode());
    assert_eq!(
        fs::metadata(mount.join("file")).unwrap().mode() & 0o7777,
        0o777
    );
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink())
}

/// `ln -s` makes links on servers that have SITE SYMLINK.
fn links_are_made(kind: Kind) {
    let server = TestServer::start(kind);
    server.write("d/file", "content");
    server.hand_over();
    let mount = Mount::new(&server);
    symlink("d/file", mount.join("link")).unwrap();
    symlink("../d", mount.join("d/up")).unwrap();
    assert!(is_link(&server.root().join("link")));
    assert!(is_link(&mount.join("link")));
    assert_eq!(
        fs::read_link(mount.join("link")).unwrap(),
        Path::new("d/file")
    );
    assert_eq!(fs::read(mount.join("link")).unwrap(), b"content");
    assert_errno(symlink("d/file", mount.join("link")), libc::EEXIST);
    // Targets of this machine, and outside of the mount.
    assert_errno(symlink("/etc/passwd", mount.join("bad")), libc::EPERM);
    assert_errno(symlink("../../x", mount.join("d/bad")), libc::EPERM);
    // SITE SYMLINK has no way to send a blank.
    assert_errno(symlink("d/file", mount.join("a bad")), libc::EPERM);
    // Also seen by another mount.
    let other = Mount::new(&server);
    assert!(fs::read_dir(other.path()).unwrap().count() == 2);
    assert!(is_link(&other.join("link")));
    assert_eq!(fs::read(other.join("link")).unwrap(), b"content");
}

#[test]
fn links_are_made_embedded() {
    links_are_made(Kind::Embedded);
}

#[test]
fn links_are_made_proftpd() {
    links_are_made(Kind::Proftpd);
}

/// Other servers refuse links without being asked.
#[test]
fn links_are_refused() {
    let server = TestServer::start(Kind::Vsftpd);
    server.write("file", "content");
    let mount = Mount::new(&server);
    assert_errno(symlink("file", mount.join("link")), libc::EPERM);
    assert!(!server.commands().iter().any(|it| it.contains("SYMLINK")));
}

/// `chgrp` changes the group on the server, if that lets it.
#[test]
fn groups_are_set() {
    let server = TestServer::start(Kind::Proftpd);
    let path = server.write("file", "content");
    let own = fs::metadata(path).unwrap().gid();
    let mount = Mount::new(&server);
    shell(mount.path(), &format!("chgrp {own} file"));
    let asked = server.commands();
    assert!(
        asked
            .iter()
            .any(|it| it == &format!("SITE CHGRP {own} /file")),
        "{asked:?}"
    );
    assert_errno(
        std::os::unix::fs::chown(mount.join("file"), None, Some(1)),
        libc::EPERM,
    );
    assert_errno(
        std::os::unix::fs::chown(mount.join("file"), Some(1), None),
        libc::EPERM,
    );
    // A file that is not stored yet is not on the server to be changed.
    let file = File::create(mount.join("new")).unwrap();
    assert_errno(
        std::os::unix::fs::fchown(&file, None, Some(own)),
        libc::EPERM,
    );
}

fn df(path: &Path) -> Vec<String> {
    let shown = shell(path, "df -B1 --output=size,used,avail . | tail -n 1");
    let line = lines(&shown)[0].clone();
    line.split_whitespace().map(str::to_owned).collect()
}

/// The size that the user chooses is shown if the server reports nothing.
#[test]
fn df_shows_the_chosen_size() {
    let server = TestServer::start(Kind::Vsftpd);
    let mount = Mount::with_options(&server, &["space=3G"]);
    fs::read_dir(mount.path()).unwrap();
    assert_eq!(df(mount.path()), ["3221225472", "0", "3221225472"]);
    let embedded = TestServer::start(Kind::Embedded);
    let mount = Mount::with_options(&embedded, &["space=3G"]);
    fs::read_dir(mount.path()).unwrap();
    assert_ne!(df(mount.path())[0], "3221225472");
}

/// SITE QUOTA of ProFTPD shows what is used and what is left.
#[test]
fn df_shows_a_quota() {
    let server = TestServer::start_with_arguments(Kind::Proftpd, &["--quota", "10485760"]);
    let mount = Mount::new(&server);
    shell(mount.path(), "head -c 1M /dev/zero > file");
    let mount = Mount::new(&server);
    fs::read_dir(mount.path()).unwrap();
    assert_eq!(df(mount.path()), ["10485760", "1048576", "9437184"]);
}
