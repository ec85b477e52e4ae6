//! The server's symbolic links: shown as links that stay inside the mount, followed, or hidden (`-o
//! symlinks=`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Act, Mount, Scripted, assert_errno, stories};

/// Creates a tree with links of each kind, and the files outside of `sub` that they lead to.
fn make_links(server: &crate::support::TestServer) {
    server.write("sub/dir/file", "content");
    server.write("outside", "from outside");
    for (target, link) in [
        ("dir/file", "sub/to-file"),
        ("dir", "sub/to-dir"),
        ("../outside", "sub/to-outside"),
        ("nowhere", "sub/dangling"),
        ("..", "sub/dir/up"),
    ] {
        symlink(target, server.root().join(link)).unwrap();
    }
    server.hand_over();
}

/// Mounts `sub` rather than the whole server.
fn mount_of_sub(server: &crate::support::TestServer, options: &[&str]) -> Mount {
    Mount::of_url(&format!("{}sub", server.url()), server.password(), options)
}

/// Makes the mount list its directories.
fn list(mount: &Mount) {
    for directory in ["", "dir"] {
        assert!(fs::read_dir(mount.join(directory)).unwrap().count() > 0);
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink())
}

stories! {
    /// Links are shown as links; a link that leads out of the mounted directory is dangling.
    fn shown(server: &TestServer, mount: &Mount) {
        make_links(server);
        let mount = mount_of_sub(server, &[]);
        list(&mount);
        assert_eq!(fs::read(mount.join("to-file")).unwrap(), b"content");
        assert_eq!(fs::read(mount.join("to-dir/file")).unwrap(), b"content");
        if server.kind() == Kind::Pyftpdlib {
            // The server shows the targets but no links.
            return;
        }
        assert!(is_link(&mount.join("to-file")) && is_link(&mount.join("to-dir")));
        assert_errno(fs::read(mount.join("dangling")), libc::ENOENT);
        if server.kind() != Kind::Proftpd {
            // The server does not list links to a parent directory.
            assert_eq!(fs::read(mount.join("dir/up/to-file")).unwrap(), b"content");
        }
        assert!(is_link(&mount.join("to-outside")));
        assert_errno(fs::read_link(mount.join("to-outside")), libc::EACCES);
        assert_errno(fs::read(mount.join("to-outside")), libc::EACCES);
        assert!(mount.log().contains("/sub/to-outside points to ../outside, which is not below /sub"), "{}", mount.log());
    }

    /// Links are shown as what they lead to on the server, even outside of the mounted directory.
    fn followed(server: &TestServer, mount: &Mount) {
        make_links(server);
        let mount = mount_of_sub(server, &["symlinks=follow"]);
        // Looked up one by one, and from a listing.
        for is_listed in [false, true] {
            if is_listed {
                list(&mount);
            }
            for name in ["to-file", "to-dir/file"] {
                let seen = fs::symlink_metadata(mount.join(name)).unwrap();
                assert!(seen.is_file() && seen.len() == 7, "{name}: {seen:?}");
                assert_eq!(fs::read(mount.join(name)).unwrap(), b"content");
            }
            assert!(fs::symlink_metadata(mount.join("to-dir")).unwrap().is_dir());
            if server.kind() != Kind::Pyftpdlib && is_listed {
                assert_eq!(fs::read(mount.join("to-outside")).unwrap(), b"from outside");
                // ProFTPD does not list it.
                assert_eq!(is_link(&mount.join("dangling")), server.kind() != Kind::Proftpd);
                // A walk of the tree terminates.
                assert!(is_link(&mount.join("dir/up")));
            }
        }
        if server.kind() != Kind::Pyftpdlib {
            fs::remove_file(mount.join("to-file")).unwrap();
            assert_eq!(server.read("sub/dir/file"), b"content", "the link goes, its target stays");
            assert!(!is_link(&server.root().join("sub/to-file")));
        }
    }

    /// Links are not shown at all.
    fn hidden(server: &TestServer, mount: &Mount) {
        make_links(server);
        let mount = mount_of_sub(server, &["symlinks=hide"]);
        if server.kind() == Kind::Pyftpdlib {
            return;
        }
        for name in ["to-file", "to-dir", "to-outside", "dangling"] {
            assert_errno(fs::symlink_metadata(mount.join(name)), libc::ENOENT);
        }
        let listed = crate::support::run_with("ls", &["-A".as_ref(), mount.path().as_os_str()]);
        assert_eq!(listed.stdout, b"dir\n");
        assert_eq!(fs::read(mount.join("dir/file")).unwrap(), b"content");
    }
}

/// The log of each mount, next to its mountpoint in these tests: a file of this machine.
const OURS: &str = "log";

/// A target may climb by `..`, start at this machine's root, or go through another link.
#[test]
fn no_link_of_a_server_leads_to_a_file_of_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    let absolute = directory.path().join(OURS);
    fs::write(&absolute, "ours").unwrap();
    let targets = [
        format!("../{OURS}"),
        format!("../../../../../../../../..{}", absolute.display()),
        absolute.display().to_string(),
        format!("root/../{OURS}"),
        format!("./root/./../{OURS}"),
        format!("deep/../root/../{OURS}"),
        format!("/../{OURS}"),
    ];
    let link = |name: &str, target: &str| format!("type=OS.unix=slink:{target};size=1; {name}\r\n");
    let mut listing = link("root", "/") + "type=dir; deep\r\ntype=dir; good\r\n";
    for (number, target) in targets.iter().enumerate() {
        listing += &link(&format!("link{number}"), target);
    }
    let deep = link("root", "/") + &link("out", &format!("root/../{OURS}"));
    let server = Scripted::start(move |line| match line {
        "MLSD /" => Act::send(listing.clone()),
        "MLSD /deep" => Act::send(deep.clone()),
        _ => None,
    });
    let mount = Mount::of_url(&server.url(), "secret", &["dir_ttl=600"]);
    let count = |directory: &str| fs::read_dir(mount.join(directory)).unwrap().count();
    assert_eq!((count(""), count("deep")), (targets.len() + 3, 2));
    assert!(
        fs::metadata(mount.join("..").join(OURS)).is_ok(),
        "there is something to find"
    );
    for name in (0..targets.len())
        .map(|number| format!("link{number}"))
        .chain(["deep/out".to_owned()])
    {
        let path = mount.join(&name);
        let told = fs::read_link(&path).unwrap();
        assert_errno(fs::read(&path), libc::ENOENT);
        assert!(told.is_relative(), "{name} -> {told:?}");
    }
    assert_eq!(
        fs::read(mount.join("root/good/alive")).unwrap(),
        crate::support::ALIVE.as_bytes()
    );
}
