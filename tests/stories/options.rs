//! The effects of `-o`: how the client talks to the server, and how files are shown.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::support::{Kind, Mount, PASSWORD, TestServer, lines, shell, stories};

stories! {
    /// In active mode, the server opens the data connections.
    fn active_mode_lists_reads_and_writes(server: &TestServer, mount: &Mount) with ["active"] {
        server.write("there", "on the server");
        server.hand_over();
        assert_eq!(lines(&shell(mount.path(), "ls")), ["there"]);
        assert_eq!(fs::read(mount.join("there")).unwrap(), b"on the server");
        shell(mount.path(), "seq 100000 > numbers");
        assert_eq!(shell(server.root(), "seq 100000 | cmp - numbers").stdout, b"");
    }

    /// Files work without the page cache: read in small and large pieces, mapped into memory,
    /// changed in place, and appended to.
    fn files_are_used_past_the_page_cache(server: &TestServer, mount: &Mount) with ["direct_io"] {
        shell(server.root(), "seq 300000 > numbers");
        server.hand_over();
        shell(
            mount.path(),
            "seq 300000 > /tmp/expected.$$; for size in 4k 1M 999; do dd if=numbers bs=$size status=none | cmp - /tmp/expected.$$ || exit 1; done
             tail -c 1000 numbers | cmp - <(tail -c 1000 /tmp/expected.$$); rm /tmp/expected.$$",
        );
        let map = "import mmap; file = open('numbers', 'r+b'); map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
assert map[:] == ''.join(f'{number}\\n' for number in range(1, 300001)).encode()
file.seek(2); file.write(b'X'); file.flush(); file.seek(0); assert file.read(4) == b'1\\nX\\n'";
        shell(mount.path(), &format!("python3 -c \"{map}\"; echo end >> numbers; cp numbers copy"));
        let expected = "(printf '1\\nX\\n'; seq 3 300000; echo end) | cmp -";
        shell(server.root(), &format!("{expected} numbers; {expected} copy"));
    }

    /// Owner, group and modes are shown as requested.
    fn owner_and_modes_are_shown_as_asked(server: &TestServer, mount: &Mount)
        with ["uid=1234,gid=4321", "fmask=137", "dmask=027"]
    {
        server.write("d/f", "x");
        server.hand_over();
        shell(server.root(), "chmod 777 d; chmod 666 d/f");
        let (directory, file) = (fs::metadata(mount.join("d")).unwrap(), fs::metadata(mount.join("d/f")).unwrap());
        assert_eq!((directory.uid(), directory.gid()), (1234, 4321));
        assert_eq!((directory.mode() & 0o777, file.mode() & 0o777), (0o750, 0o640));
    }

    /// A mask chooses the modes, as in libfuse: it does not only remove bits from the server's.
    fn a_umask_replaces_the_servers_modes(server: &TestServer, mount: &Mount) with ["umask=000"] {
        server.write("d/f", "x");
        server.hand_over();
        shell(server.root(), "chmod 750 d; chmod 640 d/f");
        assert_eq!(lines(&shell(mount.path(), "stat -c %a d d/f; ls d; stat -c %a d/f")), ["777", "777", "777", "f"]);
    }

    /// A mode that was requested exactly is shown, and has precedence over a mask.
    fn exact_modes_are_shown(server: &TestServer, mount: &Mount)
        with ["umask=000,file_mode=640,dir_mode=1775"]
    {
        server.write("d/f", "x");
        server.hand_over();
        assert_eq!(lines(&shell(mount.path(), "stat -c %a d d/f; echo > d/g; stat -c %a d/g")), ["1775", "640", "640"]);
    }

    /// Owner and group can be given by name.
    fn owner_and_group_have_names(server: &TestServer, mount: &Mount) with ["uid=daemon,gid=mail"] {
        server.write("f", "x");
        server.hand_over();
        assert_eq!(lines(&shell(mount.path(), "stat -c %U:%G f")), ["daemon:mail"]);
    }

    /// One connection is enough for all operations, one after the other.
    fn one_connection_is_enough(server: &TestServer, mount: &Mount) with ["connections=1"] {
        server.write("a", vec![b'a'; 3_000_000]);
        server.hand_over();
        shell(mount.path(), "cp a b; cmp a b; mkdir d; mv b d; tar cf t.tar d; rm -r d; ls -lR > /dev/null");
        assert_eq!(lines(&shell(server.root(), "tar tf t.tar")), ["d/", "d/b"]);
    }
}

/// A server that stores names in an old charset; the mount shows them in UTF-8.
#[test]
fn an_old_charset_is_shown_in_utf_8() {
    let server = TestServer::start(Kind::Vsftpd);
    let latin = |bytes: &[u8]| server.root().join(OsStr::from_bytes(bytes));
    fs::write(latin(b"caf\xe9"), "before").unwrap();
    server.hand_over();
    let mount = Mount::with_options(&server, &["charset=windows-1252"]);
    assert_eq!(lines(&shell(mount.path(), "ls")), ["café"]);
    shell(
        mount.path(),
        "cat café; echo after > café; echo new > Übung; mkdir Straße; mv café Straße/",
    );
    assert_eq!(fs::read(latin(b"Stra\xdfe/caf\xe9")).unwrap(), b"after\n");
    assert_eq!(fs::read(latin(b"\xdcbung")).unwrap(), b"new\n");
    let refused = fs::write(mount.join("日本"), "x").map(|()| fs::File::open(mount.join("日本")));
    assert!(
        !matches!(refused, Ok(Ok(_))),
        "the charset has no such characters"
    );
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 2);
}

/// With `quiet`, programs that copy owners, modes and times do not fail on a server that has none
/// of them. Without it, they do.
#[test]
fn quiet_ignores_attributes_that_the_server_cannot_set() {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        let commands = ["SITE CHMOD", "SITE UTIME", "MFMT", "MFF", "MDTM"];
        options.disabled.extend(commands.map(str::to_owned));
    });
    server.write("f", "x");
    let copy = "mkdir tree; echo x > tree/f; chmod 600 tree/f; touch -d 2001-02-03 tree/f
                chown -R 1:1 tree; tar cf tree.tar tree";
    let source = tempfile::tempdir().unwrap();
    shell(source.path(), copy);
    let source = source.path().display();
    let change = |mount: &Mount, script: &str| {
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", script]).current_dir(mount.path());
        output.output().unwrap()
    };
    let commands = [
        "chown 1:1 f".to_owned(),
        "chmod 711 f".to_owned(),
        "touch -d 2001-02-03 f".to_owned(),
        format!("cp -a {source}/tree copied"),
        format!("tar --same-owner -xpf {source}/tree.tar"),
        format!("rsync -a {source}/tree synchronized"),
    ];
    let mount = Mount::new(&server);
    for refused in commands.iter().take(5) {
        assert!(!change(&mount, refused).status.success(), "{refused}");
    }
    shell(mount.path(), "rm -rf copied tree");
    mount.unmount();
    let mount = Mount::with_options(&server, &["quiet"]);
    for command in commands {
        let output = change(&mount, &command);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && complaint.is_empty(),
            "{command}: {complaint}"
        );
    }
    shell(
        mount.path(),
        "cmp copied/f tree/f; cmp tree/f synchronized/tree/f",
    );
    let missing = change(&mount, "chmod 711 missing");
    assert!(!missing.status.success(), "a missing file stays an error");
}

/// The kernel does not cache the file, so reading it again asks the server again.
#[test]
fn without_the_page_cache_each_reading_is_a_transfer() {
    let server = TestServer::start(Kind::Embedded);
    server.write("f", "content");
    for (options, transfers) in [(&[][..], 1), (&["direct_io"], 2)] {
        let mount = Mount::with_options(&server, options);
        server.embedded().unwrap().clear_commands();
        shell(mount.path(), "cat f; cat f");
        let commands = server.commands();
        let retrieved = commands.iter().filter(|line| *line == "RETR /f");
        assert_eq!(retrieved.count(), transfers, "{options:?}: {commands:?}");
    }
}

/// A server whose listings use its local time zone.
#[test]
fn a_servers_zone_is_believed_or_found_out() {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        options
            .disabled
            .extend(["MLSD".to_owned(), "MLST".to_owned()]);
    });
    server.write("f", "x");
    shell(server.root(), "touch -d '2 days ago' f");
    let there = fs::metadata(server.root().join("f")).unwrap().mtime();
    let told = |options: &[&str]| {
        let mount = Mount::with_options(&server, options);
        fs::metadata(mount.join("f")).unwrap().mtime()
    };
    assert!((0..60).contains(&(there - told(&[]))), "found out by MDTM");
    assert!((0..60).contains(&(there - told(&["timezone=UTC"]))));
    assert!((0..60).contains(&(there - told(&["timezone=+02:00"]) - 7_200)));
}

/// vsftpd also sends and accepts local times in MDTM. Only the user's option gives its time zone,
/// which applies to both listings and MDTM.
#[test]
fn the_zone_of_vsftpds_times_holds_for_reading_and_for_setting_them() {
    let server = TestServer::start_with_arguments(Kind::Vsftpd, &["--zone", "IST-5:30"]);
    let content = vec![b'x'; 8 << 20];
    server.write("large", &content);
    shell(server.root(), "touch -d '2 days ago' large");
    let time_of = |name: &str| fs::metadata(server.root().join(name)).unwrap().mtime();
    let there = time_of("large");
    server.hand_over();
    let mount = Mount::with_options(&server, &["timezone=+05:30"]);
    let told = fs::metadata(mount.join("large")).unwrap().mtime();
    assert!((0..60).contains(&(there - told)), "{there} {told}");
    assert!(
        fs::read(mount.join("large")).unwrap() == content,
        "a long read is asked at its end whether the file is the same"
    );
    shell(
        mount.path(),
        "cp -p large copy; touch -d '2001-02-03 04:05:06 UTC' large",
    );
    assert_eq!(time_of("copy"), told);
    assert_eq!(time_of("large"), 981_173_106);
    mount.unmount();

    let mount = Mount::new(&server);
    let told = fs::metadata(mount.join("copy")).unwrap().mtime();
    assert_eq!(told - time_of("copy"), 19_800, "for all that is known");
    assert!(fs::read(mount.join("large")).unwrap() == content);
}

/// A server reached over IPv6.
#[test]
fn a_server_is_mounted_over_ipv6() {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        options.listen = "[::1]:0".parse().unwrap();
    });
    server.write("f", "six");
    for options in [&[][..], &["active"]] {
        let url = format!("ftp://{}@[::1]:{}/", crate::support::USER, server.port());
        let mount = Mount::of_url(&url, PASSWORD, options);
        assert_eq!(fs::read(mount.join("f")).unwrap(), b"six");
        shell(mount.path(), "echo written > g");
        assert_eq!(server.read("g"), b"written\n");
    }
}
