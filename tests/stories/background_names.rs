//! `-o writeback=names`: names are created, renamed and removed in the background, in the order in
//! which programs did it. The server has the result after `fsync` of a directory, `sync`, and the
//! unmount.

use std::fs;
use std::time::Duration;

use crate::support::{
    Kind, Mount, TestServer, assert_errno, assert_same_tree, lines, shell, stories, wait_for,
};
use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

/// Maximum time for background work.
const SOON: Duration = Duration::from_secs(60);

/// Limit for what a broken connection may still create.
const LATE: Duration = Duration::from_secs(200);

/// Creates a tree of small files.
fn local_tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    shell(
        tree.path(),
        "mkdir -p t/a/b 't/with blank' t/empty
         for n in $(seq 40); do seq $((n * 50)) > t/a/file$n.txt; done
         head -c 3000000 /dev/urandom > t/a/b/random.bin
         : > t/a/nothing
         echo odd > 't/with blank/näme (1).txt'
         chmod 755 t/a/file2.txt
         touch -d '2020-02-02 02:02:02 UTC' t/a/file1.txt",
    );
    tree
}

/// Starts a server with what `prepare` makes, and mounts it.
fn embedded(prepare: impl FnOnce(&TestServer)) -> (TestServer, Mount) {
    let server = TestServer::start(Kind::Embedded);
    prepare(&server);
    let mount = Mount::with_options(&server, &["writeback=names", "dir_ttl=600"]);
    (server, mount)
}

/// Returns the names in a directory of the server.
fn names_in(directory: &str, server: &TestServer) -> Vec<String> {
    lines(&shell(server.root().join(directory), "ls"))
}

fn count(server: &TestServer, verb: &str) -> usize {
    let commands = server.commands();
    commands
        .iter()
        .filter(|line| line.starts_with(verb))
        .count()
}

stories! {
    fn trees_come_over_and_go(server: &TestServer, mount: &Mount) with ["writeback=names"] {
        let local = local_tree();
        let from = local.path().display();
        shell(local.path(), "tar cf t.tar t");
        shell(mount.path(), &format!(
            "cp -a {from}/t copied; mkdir untarred; tar xf {from}/t.tar -C untarred --strip-components=1; rsync -a {from}/t/ synced"
        ));
        for tree in ["copied", "untarred", "synced"] {
            assert_same_tree(local.path().join("t"), mount.join(tree));
        }
        shell(mount.path(), "sync .");
        for tree in ["copied", "untarred", "synced"] {
            assert_same_tree(local.path().join("t"), server.root().join(tree));
            let time = lines(&shell(server.root(), &format!("date -u -r {tree}/a/file1.txt +%FT%T")));
            assert_eq!(time, ["2020-02-02T02:02:02"], "{tree}");
            let mode = lines(&shell(server.root(), &format!("stat -c %a {tree}/a/file2.txt")));
            assert_eq!(mode, ["755"], "{tree}");
        }
        shell(mount.path(), "rm -r copied synced; test ! -e copied; sync .");
        assert_eq!(server.names(), ["untarred"]);
        let left = shell(server.root(), "find . -name '.ftpfs-*'");
        assert_eq!(lines(&left), [""; 0]);
    }

    fn git_works_in_it(server: &TestServer, mount: &Mount) with ["writeback=names"] {
        let git = "git -c user.name=T -c user.email=t@example.org -c gc.auto=0 -c safe.directory=*";
        shell(mount.path(), &format!(
            "git init -q -b main work; cd work; for n in $(seq 12); do echo $n > $n; done; {git} add .; {git} commit -qm one
             {git} switch -qc branch; echo more >> 3; {git} rm -q 4; {git} commit -qam two; {git} switch -q main; {git} merge -q branch
             {git} fsck --strict; test -z \"$({git} status --porcelain)\"; sync ."
        ));
        let there = shell(server.root(), &format!("cd work; {git} fsck --strict; {git} log --oneline | wc -l"));
        assert_eq!(lines(&there), ["2"]);
        assert_eq!(server.read("work/3"), b"3\nmore\n");
    }

    fn a_file_is_replaced_by_a_renamed_one(server: &TestServer, mount: &Mount) with ["writeback=names"] {
        server.write("d/file", "old");
        server.write("d/other", "another");
        shell(mount.path(), "
            echo new > d/tmp; mv d/tmp d/file; test \"$(cat d/file)\" = new
            mv d/other d/file; test \"$(cat d/file)\" = another; test ! -e d/other
            mv d/file d/again; mv d/again d/last; test \"$(cat d/last)\" = another
            sync d");
        assert_eq!(names_in("d", server), ["last"]);
        assert_eq!(server.read("d/last"), b"another");
    }

    fn what_a_killed_mount_left_is_done_by_the_next(server: &TestServer, mount: &Mount) {
        let state = TempDir::new().unwrap();
        for round in 0..3 {
            shell(server.root(), "rm -rf d; mkdir -p d/old; for n in $(seq 30); do echo $n > d/old/$n; done");
            server.hand_over();
            let killed = Mount::with_state(server, &["writeback=names"], state.path());
            shell(killed.path(), "
                cd d; ls -l old > /dev/null; rm -r old; mkdir new; mkdir new/below; for n in $(seq 20); do echo $n > new/below/$n; done
                mv new/below/3 new/three; rm new/below/4; chmod 600 new/three; echo tmp > tmp; mv tmp new/final");
            std::thread::sleep(Duration::from_millis(60 * round));
            killed.kill_nine();
            let next = Mount::with_state(server, &["writeback=names"], state.path());
            assert_eq!(lines(&shell(next.path(), "ls d; ls d/new; ls d/new/below | wc -l")), ["18", "below", "final", "new", "three"]);
            shell(next.path(), "sync .");
            assert_eq!(names_in("d", server), ["new"]);
            assert_eq!(names_in("d/new", server), ["below", "final", "three"]);
            assert_eq!(server.read("d/new/three"), b"3\n");
            assert_eq!(server.read("d/new/final"), b"tmp\n");
            next.unmount();
            let journals = || {
                let sources = fs::read_dir(state.path().join("ftpfs")).unwrap();
                let names = sources.flat_map(|it| fs::read_dir(it.unwrap().path()).unwrap()).map(|it| it.unwrap().file_name());
                names.filter(|name| name.len() == 8).count()
            };
            // What a broken connection may still create is looked for by later mounts, too.
            let is_done = || journals() == 0 || {
                Mount::with_state(server, &["writeback=names"], state.path()).unmount();
                false
            };
            assert!(wait_for(LATE, is_done));
        }
    }
}

#[test]
fn a_tree_is_removed_in_few_flights() {
    let (server, mount) = embedded(|server| {
        let tree = "mkdir -p t/a t/b; for n in $(seq 100); do echo > t/a/$n; echo > t/b/$n; done";
        shell(server.root(), tree);
    });
    shell(mount.path(), "ls -R > /dev/null");
    server.embedded().unwrap().clear_commands();
    shell(mount.path(), "rm -r t; test ! -e t; sync .");
    assert_eq!(server.names(), [""; 0]);
    assert_eq!((count(&server, "DELE"), count(&server, "RMD")), (200, 3));
    let stats = mount_status(&mount);
    println!("{stats}");
}

/// Each directory of an archive costs two round trips less if it is made, and its files are
/// uploaded, while those before it wait for their turn.
#[test]
fn directories_are_made_while_the_files_before_them_wait() {
    let (server, mount) = embedded(|_| ());
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    let text = "later".to_owned();
    let later = Fault::on("STOR", Misdeed::Refuse { code: 450, text });
    faults.add(later.named("/first").always());
    let in_place = Fault::on(
        "RNTO",
        Misdeed::Refuse {
            code: 450,
            text: "later".to_owned(),
        },
    );
    faults.add(in_place.named("/first").always());
    shell(mount.path(), "mkdir t; echo first > t/first");
    // What is sent with it would get its name although the server refuses this one.
    assert!(wait_for(SOON, || faults.happened() > 0), "{}", mount.log());
    shell(
        mount.path(),
        "for n in $(seq 20); do mkdir -m 700 t/$n; echo $n > t/$n/file; chmod 755 t/$n; done",
    );
    let are_there = || (1..=20).all(|n| server.root().join(format!("t/{n}")).is_dir());
    assert!(wait_for(SOON, are_there), "{}", mount.log());
    let parts = || lines(&shell(server.root(), "find t/20 -name '.ftpfs-*'")).len();
    assert!(wait_for(SOON, || parts() == 1), "{}", mount.log());
    // Others see no file before those that the program wrote earlier.
    assert!(!server.root().join("t/1/file").exists());
    faults.clear();
    shell(mount.path(), "sync .");
    for n in 1..=20 {
        assert_eq!(
            server.read(format!("t/{n}/file")),
            format!("{n}\n").as_bytes()
        );
    }
    let modes = lines(&shell(server.root(), "stat -c %a t/1 t/20"));
    assert_eq!(modes, ["755", "755"]);
}

/// What the server cannot do anyway does not wait for what it has not done yet.
#[test]
fn what_is_not_possible_waits_for_nothing() {
    let server = TestServer::start(Kind::Embedded);
    let options = ["writeback=names", "without=dirtimes+symlink"];
    let mount = Mount::with_options(&server, &options);
    let text = "later".to_owned();
    let later = Fault::on("STOR", Misdeed::Refuse { code: 450, text });
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    faults.add(later.always());
    shell(
        mount.path(),
        "mkdir t; echo one > t/one; touch -d 2020-02-02 t; ! ln -s one t/two; test ! -e t/two",
    );
    assert_eq!(names_in("t", &server), [""; 0]);
    faults.clear();
    shell(mount.path(), "sync .");
    assert_eq!(names_in("t", &server), ["one"]);
}

/// Where names are spread over directories, as the objects of git are, each lookup would cost a
/// round trip.
#[test]
fn directories_that_are_looked_into_in_no_order_are_listed_ahead() {
    let (server, mount) = embedded(|server| {
        let tree = "for n in $(seq -f a%.0f 0 9) $(seq 10 40); do mkdir -p o/$n; echo > o/$n/x; done; mkdir o/other";
        shell(server.root(), tree);
    });
    shell(mount.path(), "ls o");
    server.embedded().unwrap().clear_commands();
    shell(
        mount.path(),
        "for n in 31 a7 25 12; do test ! -e o/$n/y; done",
    );
    let is_listed = |name: &str| {
        let commands = server.commands();
        commands
            .iter()
            .any(|line| line.ends_with(&format!("/o/{name}")))
    };
    assert!(wait_for(SOON, || (10..=40).all(|n| is_listed(&n.to_string()))));
    assert!(!is_listed("other"));
}

fn mount_status(mount: &Mount) -> String {
    let program = env!("CARGO_BIN_EXE_ftpfs");
    let point = mount.path().display();
    let status = shell(mount.path(), &format!("{program} status {point}"));
    String::from_utf8_lossy(&status.stdout).into_owned()
}

#[test]
fn what_cancels_out_is_never_sent() {
    let (server, mount) = embedded(|_| {});
    shell(
        mount.path(),
        "mkdir d; echo first > d/first; echo old > d/old; sync .",
    );
    let faults = server.embedded().unwrap();
    faults.clear_commands();
    // What follows waits for this answer.
    faults
        .faults()
        .add(Fault::on("DELE", Misdeed::Freeze).always());
    shell(mount.path(), "rm d/old");
    assert!(wait_for(SOON, || count(&server, "DELE") == 1));
    let [lock, directory] = ["d/lock", "d/dir"].map(|name| mount.join(name));
    for _ in 0..3 {
        fs::write(&lock, "lock").unwrap();
        fs::create_dir(&directory).unwrap();
        fs::remove_file(&lock).unwrap();
        fs::remove_dir(&directory).unwrap();
    }
    faults.faults().clear();
    shell(mount.path(), "sync .");
    // An upload that began is given up, with its temporary name.
    let of_names: Vec<_> = server
        .commands()
        .into_iter()
        .filter(|line| line.ends_with("d/lock") || line.ends_with("d/dir"))
        .filter(|line| {
            ["DELE", "MKD", "RMD", "RNTO"]
                .iter()
                .any(|it| line.starts_with(it))
        })
        .collect();
    assert_eq!(of_names, [""; 0]);
    assert_eq!(names_in("d", &server), ["first"]);
}

#[test]
fn a_refused_removal_is_taken_back_and_reported_once() {
    let (server, mount) = embedded(|server| {
        server.write("d/kept", "content");
        server.write("d/gone", "content");
    });
    let text = "no way".to_owned();
    let refuse = Fault::on("DELE", Misdeed::Refuse { code: 550, text });
    let faults = server.embedded().unwrap();
    faults.faults().add(refuse.always());
    shell(mount.path(), "ls -l d; rm d/kept");
    let is_back = || fs::read(mount.join("d/kept")).is_ok_and(|content| content == b"content");
    assert!(wait_for(SOON, is_back));
    assert!(
        mount_status(&mount).contains("kept"),
        "{}",
        mount_status(&mount)
    );
    assert_errno(fs::remove_file(mount.join("d/kept")), libc::EACCES);
    faults.faults().clear();
    fs::remove_file(mount.join("d/kept")).unwrap();
    shell(mount.path(), "sync d");
    assert_eq!(names_in("d", &server), ["gone"]);
}

#[test]
fn nothing_is_destroyed_on_the_strength_of_a_store_that_failed() {
    let (server, mount) = embedded(|server| {
        server.write("d/old", "content");
    });
    let full = Misdeed::BreakData {
        after: 0,
        code: 552,
    };
    let faults = server.embedded().unwrap();
    // The store is not decided before the removal is recorded.
    let text = "later".to_owned();
    let later = Fault::on("STOR", Misdeed::Refuse { code: 450, text });
    faults.faults().add(later.always());
    shell(
        mount.path(),
        "ls -l d; cp d/old d/new; rm d/old; test ! -e d/old",
    );
    faults.faults().replace(Fault::on("STOR", full).always());
    let is_back = || mount.join("d/old").exists();
    assert!(wait_for(SOON, is_back), "{}", mount.log());
    assert_eq!(server.read("d/old"), b"content");
    assert_eq!(fs::read(mount.join("d/new")).unwrap(), b"content");
    faults.faults().clear();
    shell(mount.path(), "rm d/old || rm d/old; sync d");
    assert_eq!(names_in("d", &server), ["new"]);
}

#[test]
fn flush_waits_for_names_and_names_what_failed() {
    let (server, mount) = embedded(|server| {
        server.write("d/one", "content");
        server.write("d/two", "content");
    });
    let program = env!("CARGO_BIN_EXE_ftpfs");
    let flush = format!("{program} flush {}", mount.path().display());
    shell(mount.path(), "ls -l d; rm d/one");
    shell(server.root(), &flush);
    assert_eq!(names_in("d", &server), ["two"]);
    let text = "no way".to_owned();
    let refuse = Fault::on("DELE", Misdeed::Refuse { code: 550, text });
    server.embedded().unwrap().faults().add(refuse.always());
    shell(mount.path(), "rm d/two");
    let failed = shell(server.root(), &format!("{flush} 2>&1 || echo failed"));
    let failed = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(
        failed.contains("two") && failed.contains("failed"),
        "{failed}"
    );
    assert_eq!(fs::read(mount.join("d/two")).unwrap(), b"content");
}

#[test]
fn what_cannot_be_done_at_the_end_is_done_by_the_next_mount() {
    let server = TestServer::start(Kind::Vsftpd);
    for name in ["d/one", "d/two", "d/three"] {
        server.write(name, name);
    }
    let state = TempDir::new().unwrap();
    let options = [
        "writeback=names",
        "timeout=2",
        "dir_ttl=600",
        "open_ttl=600",
    ];
    let mount = Mount::with_state(&server, &options, state.path());
    shell(mount.path(), "mkdir new; ls -lR; sync .");
    server.kill();
    let work = "rm d/one; mv d/two new/two; mkdir new/below; echo content > new/below/file";
    shell(mount.path(), work);
    mount.unmount();
    server.start_again();
    assert_eq!(names_in("d", &server), ["one", "three", "two"]);
    let next = Mount::with_state(&server, &options, state.path());
    let seen = lines(&shell(next.path(), "find . -type f; cat new/below/file"));
    assert_eq!(
        seen,
        ["./d/three", "./new/below/file", "./new/two", "content"]
    );
    shell(next.path(), "sync .");
    assert_eq!(names_in("d", &server), ["three"]);
    assert_eq!(names_in("new", &server), ["below", "two"]);
    assert_eq!(server.read("new/two"), b"d/two");
    assert_eq!(server.read("new/below/file"), b"content\n");
}
