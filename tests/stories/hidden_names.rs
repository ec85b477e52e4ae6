//! Servers that omit names with a leading dot from listings: `hide_file` of vsftpd, `HideFiles` of
//! ProFTPD. Such a file can be used by its name, and nothing replaces it by mistake.

use std::fs;

use crate::support::{Kind, Mount, TestServer, shell};

/// Mounts a server that has a file whose name begins with `prefix`, and lists no such names.
fn mounted(kind: Kind, prefix: &str) -> (TestServer, Mount) {
    let server = TestServer::start_with_arguments(kind, &["--hide", prefix]);
    fs::create_dir(server.root().join("dir")).unwrap();
    for name in ["dir/shown".to_owned(), format!("dir/{prefix}hidden")] {
        server.write(name, "old\n");
    }
    server.hand_over();
    let mount = Mount::new(&server);
    (server, mount)
}

/// Asserts that operations that must not replace a file do not: O_EXCL, `mv -n`, `cp -n`, mkdir.
fn is_not_replaced(kind: Kind, prefix: &str) {
    let (server, mount) = mounted(kind, prefix);
    shell(
        mount.path(),
        &format!(
            "cd dir
            ls
            ! (set -C; echo new > {prefix}hidden)
            ! mkdir {prefix}hidden
            echo mine > mine
            mv -n mine {prefix}hidden || true
            cp -n mine {prefix}hidden || true
            test \"$(cat {prefix}hidden)\" = old"
        ),
    );
    assert_eq!(server.read(format!("dir/{prefix}hidden")), b"old\n");
}

/// Asserts that the file is read and written by its name, and that stores beside it leave no trace.
fn is_read_and_written(kind: Kind, prefix: &str) {
    let (server, mount) = mounted(kind, prefix);
    shell(
        mount.path(),
        &format!(
            "cd dir
            ls
            test \"$(cat {prefix}hidden)\" = old
            echo more >> {prefix}hidden
            echo new > beside
            echo new > {prefix}new
            test \"$(cat {prefix}new)\" = new
            echo again > {prefix}new
            rm shown"
        ),
    );
    assert_eq!(server.read(format!("dir/{prefix}hidden")), b"old\nmore\n");
    assert_eq!(server.read(format!("dir/{prefix}new")), b"again\n");
    mount.unmount();
    let mut names: Vec<_> = fs::read_dir(server.root().join("dir"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected = [
        "beside",
        &format!("{prefix}hidden"),
        &format!("{prefix}new"),
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// Listings that are fetched ahead of a walk do not say that a hidden file is absent.
#[test]
fn a_dot_file_of_vsftpd_is_found_after_a_walk() {
    let server = TestServer::start_with_arguments(Kind::Vsftpd, &["--hide", "."]);
    for number in 0..20 {
        server.write(format!("{number}/.hidden"), "old\n");
        server.write(format!("{number}/shown"), "old\n");
    }
    server.hand_over();
    let mount = Mount::new(&server);
    shell(
        mount.path(),
        "find . -type f
        for directory in *; do cat $directory/.hidden; done",
    );
}

#[test]
fn a_dot_file_of_proftpd_is_not_replaced() {
    is_not_replaced(Kind::Proftpd, ".");
}

#[test]
fn a_dot_file_of_vsftpd_is_not_replaced() {
    is_not_replaced(Kind::Vsftpd, ".");
}

#[test]
fn some_dot_files_of_proftpd_are_not_replaced() {
    is_not_replaced(Kind::Proftpd, ".ht");
}

#[test]
fn some_dot_files_of_vsftpd_are_not_replaced() {
    is_not_replaced(Kind::Vsftpd, ".ht");
}

#[test]
fn dot_files_of_proftpd_are_read_and_written() {
    is_read_and_written(Kind::Proftpd, ".");
}

#[test]
fn dot_files_of_vsftpd_are_read_and_written() {
    is_read_and_written(Kind::Vsftpd, ".");
}
