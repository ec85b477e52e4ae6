//! An NFS server can serve the mount (`-o export`): file handles survive the kernel's caches and a
//! remount.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Kind, Mount, TestServer, command, lines, shell, tell_on, wait_for};

/// Makes handles (name_to_handle_at) and opens them (open_by_handle_at), as an NFS server does.
const PROGRAM: &str = r#"
import ctypes, errno, os, stat, sys

class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]

libc = ctypes.CDLL(None, use_errno=True)
handle = Handle(128)
if sys.argv[1] == "make":
    mount = ctypes.c_int()
    path = os.fsencode(sys.argv[2])
    if libc.name_to_handle_at(-100, path, ctypes.byref(handle), ctypes.byref(mount), 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    print(handle.type, bytes(handle.data[:handle.size]).hex())
elif sys.argv[1] == "remount":
    MS_REMOUNT = 32
    for mount in sys.argv[2:]:
        if libc.mount(None, os.fsencode(mount), None, MS_REMOUNT, None) != 0:
            sys.exit(os.strerror(ctypes.get_errno()))
else:
    mount = os.open(sys.argv[2], os.O_RDONLY | os.O_DIRECTORY)
    for number, data in zip(sys.argv[3::2], sys.argv[4::2]):
        data = bytes.fromhex(data)
        handle.size, handle.type = len(data), int(number)
        ctypes.memmove(handle.data, data, len(data))
        file = libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY)
        if file < 0:
            print(errno.errorcode[ctypes.get_errno()])
        elif stat.S_ISDIR(os.fstat(file).st_mode):
            print(os.fstat(file).st_ino, " ".join(sorted(os.listdir(file))))
        else:
            print(os.fstat(file).st_ino, os.read(file, 1 << 20).decode())
"#;

/// Longest that the kernel may keep what it need not keep.
const DROPPED: Duration = Duration::from_secs(60);

fn python(arguments: &[&str]) -> String {
    let mut python = command("timeout");
    let output = python
        .args(["60", "/usr/bin/python3", "-c", PROGRAM])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Returns the handle of a file of a mount, in words for [`opened`].
fn handle_of(path: &Path) -> String {
    python(&["make", path.to_str().unwrap()])
}

/// Opens handles: a line with the inode number and the contents, or the error, for each.
fn opened(mount: &Mount, handles: &[String]) -> Vec<String> {
    let mut arguments = vec!["open", mount.path().to_str().unwrap()];
    arguments.extend(handles.iter().flat_map(|handle| handle.split(' ')));
    python(&arguments).lines().map(str::to_owned).collect()
}

/// Makes the kernel forget the inodes of `mount`, and of `witness`, a mount without export, which
/// shows that it did.
///
/// A remount does for one file system what `echo 2 > /proc/sys/vm/drop_caches` does for all, also
/// for those of other tests.
fn drop_caches(mount: &Mount, witness: &Mount) {
    let handle = [handle_of(&witness.join("docs/a.txt"))];
    let dropped = wait_for(DROPPED, || {
        let points = [mount, witness].map(|mount| mount.path().to_str().unwrap());
        python(&["remount", points[0], points[1]]);
        opened(witness, &handle) == ["ESTALE"]
    });
    assert!(dropped, "the kernel keeps its inodes");
}

fn mount(server: &TestServer, cache: &Path) -> Mount {
    let cache = format!("cache_dir={}", cache.display());
    Mount::with_options(server, &[&cache, "export"])
}

fn number(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// A handle opens the same file with the same bytes, also if the kernel has forgotten it, and after
/// a remount; so does that of a directory. It follows a rename.
mod a_handle_survives {
    use super::*;

    fn tell(kind: Kind) {
        let server = TestServer::start(kind);
        server.write("docs/a.txt", "alpha");
        server.write("docs/deep/er/b.txt", "beta");
        server.hand_over();
        let cache = TempDir::new().unwrap();
        let exported = mount(&server, cache.path());
        let witness = Mount::new(&server);
        let names = ["docs/a.txt", "docs/deep/er/b.txt", "docs/deep"];
        let shown = ["alpha", "beta", "er"];
        let handles = names.map(|name| handle_of(&exported.join(name)));
        let numbers = names.map(|name| number(&exported.join(name)));
        let assert_all = |mount: &Mount| {
            let expected = numbers.iter().zip(shown);
            let expected: Vec<_> = expected
                .map(|(ino, text)| format!("{ino} {text}"))
                .collect();
            assert_eq!(opened(mount, &handles), expected);
        };
        assert_all(&exported);
        drop_caches(&exported, &witness);
        assert_all(&exported);
        drop_caches(&exported, &witness);
        assert_eq!(names.map(|name| number(&exported.join(name))), numbers);
        exported.unmount();
        let exported = mount(&server, cache.path());
        assert_all(&exported);
        assert_eq!(names.map(|name| number(&exported.join(name))), numbers);
        fs::rename(exported.join("docs/a.txt"), exported.join("docs/c.txt")).unwrap();
        fs::rename(exported.join("docs/deep"), exported.join("moved")).unwrap();
        assert_all(&exported);
        drop_caches(&exported, &witness);
        assert_all(&exported);
        exported.kill_nine();
        let exported = mount(&server, cache.path());
        assert_all(&exported);
        assert_eq!(number(&exported.join("moved/er/b.txt")), numbers[1]);
    }

    tell_on! { [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd] }
}

/// The handle of a removed or replaced file never opens another one.
#[test]
fn a_handle_of_a_removed_file_is_stale() {
    let server = TestServer::start(Kind::Embedded);
    for name in ["removed", "replaced", "new", "elsewhere", "docs/a.txt"] {
        server.write(name, name);
    }
    let cache = TempDir::new().unwrap();
    let exported = mount(&server, cache.path());
    let witness = Mount::new(&server);
    let names = ["removed", "replaced", "elsewhere"];
    let handles = names.map(|name| handle_of(&exported.join(name)));
    let before = number(&exported.join("removed"));
    fs::remove_file(exported.join("removed")).unwrap();
    fs::write(exported.join("removed"), "created again").unwrap();
    let again = [handle_of(&exported.join("removed"))];
    assert!(number(&exported.join("removed")) > before);
    fs::rename(exported.join("new"), exported.join("replaced")).unwrap();
    fs::remove_file(server.root().join("elsewhere")).unwrap();
    shell(
        exported.path(),
        &format!("{} refresh .", env!("CARGO_BIN_EXE_ftpfs")),
    );
    let assert_stale = |mount: &Mount| {
        assert_eq!(opened(mount, &handles), ["ESTALE"; 3]);
        let found = opened(mount, &again);
        assert!(found[0].ends_with(" created again"), "{found:?}");
    };
    drop_caches(&exported, &witness);
    assert_stale(&exported);
    fs::write(exported.join("elsewhere"), "created again").unwrap();
    assert_stale(&exported);
    exported.unmount();
    assert_stale(&mount(&server, cache.path()));
}

/// Without its cache, a mount gives new numbers, and no old handle opens anything.
#[test]
fn with_a_deleted_cache_a_handle_is_stale() {
    let server = TestServer::start(Kind::Embedded);
    server.write("a", "alpha");
    server.write("b", "beta");
    let cache = TempDir::new().unwrap();
    let exported = mount(&server, cache.path());
    let handles = ["a", "b"].map(|name| handle_of(&exported.join(name)));
    exported.unmount();
    shell(cache.path(), "rm -r *");
    let exported = mount(&server, cache.path());
    let assert_stale = || {
        assert_eq!(opened(&exported, &handles), ["ESTALE"; 2]);
    };
    assert_stale();
    for name in ["b", "a"] {
        fs::read(exported.join(name)).unwrap();
    }
    assert_stale();
}

/// All names of a directory get numbers, also by readdir, and the same ones the next time.
#[test]
fn a_listing_has_the_numbers_of_the_last_one() {
    let server = TestServer::start(Kind::Embedded);
    for name in 0..300 {
        server.write(format!("docs/{name}"), "x");
    }
    let cache = TempDir::new().unwrap();
    let listed = |mount: &Mount| {
        let plain = lines(&shell(mount.path(), "ls -i docs"));
        let long = lines(&shell(mount.path(), "ls -il docs"));
        (plain, long)
    };
    let first = mount(&server, cache.path());
    let before = listed(&first);
    first.unmount();
    let second = mount(&server, cache.path());
    assert_eq!(listed(&second), before);
    assert_eq!(before.0.len(), 300);
}

/// Two mounts that give the same numbers to different files would be worse than one that fails.
#[test]
fn a_second_export_of_one_directory_is_refused() {
    let server = TestServer::start(Kind::Embedded);
    server.write("docs/a.txt", "alpha");
    let cache = TempDir::new().unwrap();
    let refused = |url: &str, options: &str| {
        let point = TempDir::new().unwrap();
        let output = Command::new("timeout")
            .args(["60", env!("CARGO_BIN_EXE_ftpfs"), "-f", url])
            .arg(point.path())
            .args(["-o", options])
            .env("FTPFS_PASSWORD", server.password())
            .env("XDG_STATE_HOME", point.path())
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let cached = format!("export,cache_dir={}", cache.path().display());
    let first = mount(&server, cache.path());
    let words = refused(&server.url(), &cached);
    assert!(words.contains("another mount of this directory"), "{words}");
    let below = server.url() + "docs";
    let other = Mount::of_url(&below, server.password(), &[&cached]);
    assert_eq!(fs::read(other.join("a.txt")).unwrap(), b"alpha");
    first.unmount();
    assert_eq!(
        fs::read(mount(&server, cache.path()).join("docs/a.txt")).unwrap(),
        b"alpha"
    );
    let words = refused(&server.url(), "export");
    assert!(words.contains("cache_dir=default"), "{words}");
    let words = refused(&server.url(), &format!("{cached},delay_connect"));
    assert!(words.contains("delay_connect"), "{words}");
}
