//! The cost of ordinary work in commands and in flights of commands: round trips are what makes a
//! mounted server slow.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Kind, Mount, TestServer, assert_errno, shell, wait_for};

/// Longer than the client takes to send commands that wait for nothing.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// Starts a server with three directories of four files each, and mounts it.
fn start() -> (TestServer, Mount) {
    let server = TestServer::start(Kind::Embedded);
    for directory in ["one", "two", "two/three"] {
        for file in 0..4 {
            let path = Path::new(directory).join(format!("file {file}"));
            server.write(path, format!("{directory} {file}"));
        }
    }
    // Use one connection, so that the commands of each step are logged in order.
    let options = [
        "dir_ttl=600",
        "attr_ttl=600",
        "open_ttl=600",
        "connections=1",
    ];
    let mount = Mount::with_options(&server, &options);
    (server, mount)
}

/// Waits until the data connection for the next transfer has been requested. That is the last
/// command, and no program waits for it.
fn await_arm(server: &TestServer) {
    // A listing may be compared with that of STAT afterwards.
    let is_other = |line: &&String| !line.starts_with("STAT");
    let is_asked = || {
        let commands = server.commands();
        commands
            .iter()
            .rfind(is_other)
            .is_some_and(|it| it == "EPSV")
    };
    assert!(
        wait_for(Duration::from_secs(10), is_asked),
        "{:?}",
        server.commands()
    );
}

/// Returns the verbs that the work sends, by flight, until the next transfer's data connection is
/// requested.
fn flights_of(server: &TestServer, work: impl FnOnce()) -> Vec<String> {
    await_arm(server);
    server.embedded().unwrap().clear_commands();
    work();
    await_arm(server);
    verbs_by_flight(server)
}

/// Returns the verbs of each flight, joined.
fn verbs_by_flight(server: &TestServer) -> Vec<String> {
    let verb = |line: &String| line.split(' ').next().unwrap().to_owned();
    let verbs = |flight: &Vec<String>| flight.iter().map(verb).collect::<Vec<_>>().join("+");
    let flights = server.embedded().unwrap().flights();
    flights.iter().map(verbs).collect()
}

/// Returns the verbs of the commands that the work sends.
fn verbs_of(server: &TestServer, work: impl FnOnce()) -> Vec<String> {
    server.embedded().unwrap().clear_commands();
    work();
    let verb = |line: &String| line.split(' ').next().unwrap().to_owned();
    server.commands().iter().map(verb).collect()
}

/// Returns the same verbs without those that only open a session.
fn work_of(server: &TestServer, work: impl FnOnce()) -> Vec<String> {
    const LOGIN: [&str; 7] = ["USER", "PASS", "FEAT", "OPTS", "TYPE", "PWD", "SYST"];
    let mut verbs = verbs_of(server, work);
    verbs.retain(|verb| !LOGIN.contains(&verb.as_str()));
    verbs
}

/// A tree costs one listing per directory, and nothing per file.
#[test]
fn first_walk_lists_each_directory_once() {
    let (server, mount) = start();
    let verbs = work_of(&server, || drop(shell(mount.path(), "ls -lR")));
    let listings = verbs.iter().filter(|verb| *verb == "MLSD").count();
    assert_eq!(listings, 4, "{verbs:?}");
    assert!(
        verbs.iter().all(|verb| verb == "MLSD" || verb == "EPSV"),
        "{verbs:?}"
    );
}

/// A second walk is answered from the cache.
#[test]
fn second_walk_is_free() {
    let (server, mount) = start();
    shell(mount.path(), "ls -lR");
    await_arm(&server);
    let verbs = verbs_of(&server, || {
        drop(shell(mount.path(), "ls -lR; find . -newer one"));
    });
    assert!(verbs.is_empty(), "{verbs:?}");
}

/// Reading a recently listed file costs only the transfer.
#[test]
fn listed_file_costs_one_transfer() {
    let (server, mount) = start();
    shell(mount.path(), "ls -lR");
    let flights = flights_of(&server, || {
        drop(shell(mount.path(), "cat two/three/'file 1'"));
    });
    assert_eq!(
        flights.join("+"),
        "RETR+EPSV",
        "the EPSV is for the next one"
    );
}

/// Listing a directory also costs only the transfer if the data connection is already open.
#[test]
fn directory_costs_one_listing() {
    let (server, mount) = start();
    shell(mount.path(), "ls");
    let flights = flights_of(&server, || drop(shell(mount.path(), "ls one")));
    assert_eq!(flights.join("+"), "MLSD+EPSV");
}

/// A session is ready for its first transfer after login: the data connection is requested along
/// with the server's features.
#[test]
fn first_data_connection_costs_no_flight() {
    let server = TestServer::start_with(Kind::Embedded, |options| options.delay = ROUND_TRIP);
    let _mount = Mount::with_options(&server, &["connections=1"]);
    let flights = verbs_by_flight(&server);
    assert_eq!(
        flights,
        ["USER", "PASS", "FEAT+TYPE+EPSV", "OPTS", "SYST+PWD"]
    );
}

/// vsftpd's STAT lists like its LIST: that is found out without a second request.
#[test]
fn vsftpd_lists_a_directory_in_one_command() {
    let server = TestServer::start(Kind::Vsftpd);
    server.write("one/a file", "content");
    let mount = Mount::new(&server);
    let shown = shell(mount.path(), "ls; ls one").stdout;
    assert_eq!(shown, b"one\na file\n");
    let commands = server.commands();
    let of = |verb: &str| commands.iter().filter(|it| it.starts_with(verb)).count();
    assert_eq!((of("STAT"), of("LIST")), (2, 0), "{commands:?}");
}

/// A name is looked up once on each level, with no other requests. Pure-FTPd keeps no command log.
#[test]
fn a_path_six_directories_deep_costs_a_round_trip_a_level() {
    for kind in [Kind::Embedded, Kind::Vsftpd, Kind::Proftpd, Kind::Pyftpdlib] {
        let server = TestServer::start(kind);
        server.write("1/2/3/4/5/6/file", "content");
        server.hand_over();
        let mount = Mount::new(&server);
        let before = server.commands().len();
        fs::metadata(mount.join("1/2/3/4/5/6/file")).unwrap();
        let commands = server.commands();
        let asked: Vec<&String> = commands.iter().skip(before).collect();
        let of = |verb: &str| asked.iter().filter(|it| it.starts_with(verb)).count();
        assert_eq!(of("MLST") + of("STAT"), 7, "{kind:?}: {asked:?}");
        // MDTM travels with STAT.
        assert!(of("MDTM") <= of("STAT"), "{kind:?}: {asked:?}");
        assert_eq!(asked.len() - of("MDTM"), 7, "{kind:?}: {asked:?}");
    }
}

/// Where STAT lists like LIST, the listings along a path are requested two at a time. The last
/// directory's shows the file.
#[test]
fn a_path_six_directories_deep_costs_a_round_trip_for_two_levels_without_mlst() {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        options.delay = ROUND_TRIP;
        options.disabled = ["MLSD", "MLST"].map(str::to_owned).into();
    });
    server.write("known", "content");
    server.write("1/2/3/4/5/6/file", "content");
    let mount = Mount::with_options(&server, &["connections=1"]);
    // By then, STAT was compared with LIST.
    shell(mount.path(), "ls");
    let flights = {
        server.embedded().unwrap().clear_commands();
        fs::metadata(mount.join("1/2/3/4/5/6/file")).unwrap();
        server.embedded().unwrap().flights()
    };
    let expected = [
        &["STAT /1", "MDTM /1/2"][..],
        &["STAT /1/2", "STAT /1/2/3", "MDTM /1/2/3"],
        &["STAT /1/2/3/4", "STAT /1/2/3/4/5", "MDTM /1/2/3/4/5"],
        &[
            "STAT /1/2/3/4/5/6",
            "STAT /1/2/3/4/5/6/file",
            "MDTM /1/2/3/4/5/6/file",
        ],
    ];
    assert_eq!(flights, expected);
}

/// What ProFTPD says of an absent name means that it is absent only once a listing has shown it.
/// That listing then answers for the other names.
#[test]
fn a_listing_that_explains_a_refusal_answers_for_other_names() {
    let server = TestServer::start(Kind::Proftpd);
    for name in ["one", "two"] {
        server.write(Path::new("dir").join(name), "content");
    }
    server.hand_over();
    let mount = Mount::new(&server);
    fs::metadata(mount.join("dir/one")).unwrap();
    let before = server.commands().len();
    assert_errno(fs::metadata(mount.join("dir/absent")), libc::ENOENT);
    fs::metadata(mount.join("dir/two")).unwrap();
    let commands = server.commands();
    let asked = commands.iter().skip(before);
    let asked: Vec<&String> = asked.filter(|it| !it.starts_with("EPSV")).collect();
    assert_eq!(asked, ["MLST /dir/absent", "MLSD /dir"]);
}

/// Two names of a directory are looked up one by one; the third is answered by a listing, and so
/// are all others.
#[test]
fn the_third_name_of_a_directory_lists_it() {
    let server = TestServer::start(Kind::Embedded);
    for name in ["a", "b", "c", "d"] {
        server.write(Path::new("dir").join(name), "content");
    }
    let mount = Mount::new(&server);
    fs::metadata(mount.join("dir")).unwrap();
    let verbs = verbs_of(&server, || {
        for name in ["a", "b", "c", "d"] {
            fs::metadata(mount.join("dir").join(name)).unwrap();
        }
    });
    let asked: Vec<&str> = verbs
        .iter()
        .map(String::as_str)
        .filter(|verb| matches!(*verb, "MLST" | "MLSD"))
        .collect();
    assert_eq!(asked, ["MLST", "MLST", "MLSD"]);
}

/// Returns the verbs that `cp` of a small file to a distant server sends, by flight; `how` is an
/// option of `cp`.
fn flights_of_a_copy(without: &[&str], how: &str) -> Vec<String> {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        // A flight may take several writes, and a busy machine some time between them.
        options.delay = ROUND_TRIP * 5;
        options.disabled = without.iter().map(ToString::to_string).collect();
    });
    let source = server.write("one", "content");
    fs::set_permissions(&source, Permissions::from_mode(0o600)).unwrap();
    // Detecting the time zone would cost another request.
    let options = [
        "dir_ttl=600",
        "open_ttl=600",
        "connections=1",
        "timezone=UTC",
    ];
    let mount = Mount::with_options(&server, &options);
    shell(mount.path(), "ls -l");
    await_arm(&server);
    server.embedded().unwrap().clear_commands();
    let target = mount.join("new");
    crate::support::run_with(
        "cp",
        &[OsStr::new(how), source.as_os_str(), target.as_os_str()],
    );
    assert_eq!(server.read("new"), b"content");
    verbs_by_flight(&server)
}

/// Storing a small file on a distant server: the first flight has STOR, the check of what arrived
/// and the EPSV of the next transfer; then the file is renamed.
#[test]
fn new_file_costs_two_flights() {
    let place = "RNFR+RNTO";
    assert_eq!(
        flights_of_a_copy(&[], "--no-preserve=all"),
        ["STOR+EPSV+MLST", place]
    );
    let old = ["MLST", "MLSD"];
    assert_eq!(
        flights_of_a_copy(&old, "--no-preserve=all"),
        ["STOR+EPSV+SIZE+MDTM", place]
    );
}

/// With its own mode and time, the file costs no additional flight: they are set in the flight that
/// renames it.
#[test]
fn mode_and_time_of_a_new_file_cost_no_flight_more() {
    assert_eq!(
        flights_of_a_copy(&[], "--preserve=mode,timestamps"),
        ["STOR+EPSV+MLST", "SITE+MFMT+RNFR+RNTO"]
    );
}

/// Names missing from a listing are known not to exist.
#[test]
fn absent_names_are_free() {
    let (server, mount) = start();
    shell(mount.path(), "ls -l two");
    await_arm(&server);
    let verbs = verbs_of(&server, || {
        for number in 0..20 {
            let absent = mount.join(format!("two/absent {number}"));
            assert_errno(fs::metadata(absent), libc::ENOENT);
        }
    });
    assert!(verbs.is_empty(), "{verbs:?}");
}

/// The kernel keeps the content of an unchanged file.
#[test]
fn second_read_is_free() {
    let (server, mount) = start();
    shell(mount.path(), "ls -lR; cat one/'file 1'");
    await_arm(&server);
    let verbs = verbs_of(&server, || drop(shell(mount.path(), "cat one/'file 1'")));
    assert!(verbs.is_empty(), "{verbs:?}");
}

/// A new small file costs the transfer, one check of what arrived, and the rename.
#[test]
fn new_file_costs_a_transfer_and_its_name() {
    const NEEDED: [&str; 5] = ["EPSV", "STOR", "MLST", "RNFR", "RNTO"];
    let (server, mount) = start();
    let source = server.root().join("one/file 0");
    shell(mount.path(), "ls -lR");
    await_arm(&server);
    let verbs = work_of(&server, || {
        drop(crate::support::run_with(
            "cp",
            &[source.as_os_str(), mount.join("two/new").as_os_str()],
        ));
    });
    assert_eq!(server.read("two/new"), b"one 0");
    for needed in ["STOR", "RNTO"] {
        assert!(verbs.iter().any(|verb| verb == needed), "{verbs:?}");
    }
    let mut left = NEEDED.to_vec();
    for verb in &verbs {
        let place = left.iter().position(|needed| needed == verb);
        left.remove(place.unwrap_or_else(|| panic!("{verb} too much: {verbs:?}")));
    }
}

/// The mount knows the result of its own changes without asking the server.
#[test]
fn own_changes_need_no_listing() {
    let (server, mount) = start();
    shell(mount.path(), "ls -lR");
    shell(
        mount.path(),
        "cp one/'file 0' two/new; mkdir made; rm one/'file 3'; mv one/'file 1' made/moved",
    );
    let verbs = verbs_of(&server, || {
        shell(
            mount.path(),
            "test -f two/new; test -d made; test ! -e one/'file 3'; test ! -e one/'file 1'; stat made/moved",
        );
    });
    assert!(verbs.is_empty(), "{verbs:?}");
    assert_eq!(server.read("made/moved"), b"one 1");
}

/// Lists `dir`, and waits until the listing is older than `age`, its `open_ttl`, and so old that
/// it may be replaced, as what took long is trusted for longer.
fn list_until_older(mount: &Mount, age: Duration) {
    let began = std::time::Instant::now();
    shell(mount.path(), "ls dir");
    std::thread::sleep(age.max(began.elapsed() * 11));
}

/// Looking for many missing names asks a few questions per directory and `open_ttl`, even if the
/// listing is older and many programs look.
#[test]
fn missing_names_cost_a_few_requests() {
    let server = TestServer::start(Kind::Embedded);
    server.write("dir/file", "content");
    let mount = Mount::with_options(&server, &["dir_ttl=600", "open_ttl=3"]);
    list_until_older(&mount, Duration::from_millis(3100));
    let started = std::time::Instant::now();
    let verbs = work_of(&server, || {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let mount = &mount;
                scope.spawn(move || {
                    for number in 0..500 {
                        let absent = mount.join(format!("dir/absent {thread} {number}"));
                        assert_errno(fs::metadata(absent), libc::ENOENT);
                    }
                });
            }
        });
    });
    let periods = 1 + started.elapsed().as_secs() as usize / 3;
    let questions = verbs
        .iter()
        .filter(|verb| ["MLSD", "MLST", "LIST", "STAT", "SIZE", "MDTM"].contains(&&***verb));
    let questions = questions.count();
    assert!((1..=periods).contains(&questions), "{verbs:?}");
}

/// In a large directory, a few missing names are asked for one by one, and then it is listed.
#[test]
fn missing_names_of_a_large_directory_cost_a_few_requests() {
    let server = TestServer::start(Kind::Embedded);
    for number in 0..1001 {
        server.write(format!("dir/file {number}"), "");
    }
    let mount = Mount::with_options(&server, &["dir_ttl=600", "open_ttl=3"]);
    list_until_older(&mount, Duration::from_millis(3100));
    let absent = |number: usize| {
        let absent = mount.join(format!("dir/absent {number}"));
        assert_errno(fs::metadata(absent), libc::ENOENT);
    };
    let questions = |absent: &mut dyn FnMut()| {
        let mut verbs = work_of(&server, absent);
        verbs.retain(|verb| ["MLST", "MLSD"].contains(&&**verb));
        verbs
    };
    assert_eq!(questions(&mut || (0..2).for_each(absent)), ["MLST"; 2]);
    assert_eq!(questions(&mut || (2..20).for_each(absent)), ["MLSD"]);
}

/// Storing many small files in a directory whose listing is old asks for none of their names, which
/// are missing before. A listing in the background, at most one per `open_ttl`, replaces the old
/// one.
#[test]
fn new_files_in_an_old_listing_cost_no_questions() {
    const FILES: usize = 60;
    let server = TestServer::start(Kind::Embedded);
    server.write("dir/file", "content");
    let mount = Mount::with_options(&server, &["dir_ttl=600", "open_ttl=1"]);
    list_until_older(&mount, Duration::from_millis(1100));
    fs::write(mount.join("dir/first"), "content").unwrap();
    let started = std::time::Instant::now();
    let verbs = work_of(&server, || {
        // Not in this process, whose descriptors the programs of other tests have for a moment.
        let script = "
import sys, time
for number in range(int(sys.argv[1])):
    with open(f'dir/new {number}', 'w') as file:
        file.write('content')
    time.sleep(0.03)
";
        let written = Command::new("python3")
            .args(["-c", script, &FILES.to_string()])
            .current_dir(mount.path())
            .status();
        assert!(written.unwrap().success());
    });
    let periods = 1 + started.elapsed().as_secs() as usize;
    let count = |wanted: &str| verbs.iter().filter(|verb| *verb == wanted).count();
    assert_eq!(count("STOR"), FILES, "{verbs:?}");
    // One for each checks what arrived, and one for each period the directory itself.
    let checks = FILES..=FILES + periods;
    assert!(checks.contains(&count("MLST")), "{verbs:?}");
    assert!((1..=periods).contains(&count("MLSD")), "{verbs:?}");
}

/// A listing that took long is not fetched again soon because a name is missing from it, however
/// short `open_ttl` is.
#[test]
fn a_costly_listing_is_trusted_for_longer() {
    let server = TestServer::start_with(Kind::Embedded, |options| options.delay = ROUND_TRIP * 5);
    server.write("dir/file", "content");
    let mount = Mount::with_options(&server, &["dir_ttl=600", "open_ttl=0"]);
    shell(mount.path(), "ls dir");
    let verbs = work_of(&server, || {
        for number in 0..20 {
            let absent = mount.join(format!("dir/absent {number}"));
            assert_errno(fs::metadata(absent), libc::ENOENT);
        }
    });
    assert!(!verbs.iter().any(|verb| verb == "MLSD"), "{verbs:?}");
}

/// Returns how many commands that set a time the work sends.
fn times_set(server: &TestServer, work: impl FnOnce()) -> usize {
    let before = server.commands().len();
    work();
    let commands = server.commands();
    let sets = |line: &&String| {
        line.starts_with("MFMT") || line.starts_with("SITE UTIME") || line.starts_with("MDTM 2")
    };
    commands.iter().skip(before).filter(sets).count()
}

/// vsftpd and pyftpdlib set times of files only, so those of directories are not tried. The other
/// servers set them exactly, and once. Pure-FTPd keeps no command log.
#[test]
fn a_tree_copied_again_sets_the_times_of_its_directories_no_more() {
    const DIRECTORIES: usize = 8;
    let local = tempfile::tempdir().unwrap();
    for number in 0..DIRECTORIES {
        fs::create_dir(local.path().join(number.to_string())).unwrap();
    }
    shell(local.path(), "touch -d '2021-03-04 05:06:07' * .");
    for (kind, expected) in [
        (Kind::Embedded, DIRECTORIES),
        (Kind::Proftpd, DIRECTORIES),
        (Kind::Vsftpd, 0),
        (Kind::Pyftpdlib, 0),
    ] {
        let server = TestServer::start(kind);
        for number in 0..DIRECTORIES {
            fs::create_dir_all(server.root().join(format!("copy/{number}"))).unwrap();
        }
        server.hand_over();
        let mount = Mount::new(&server);
        let copy = || {
            let command = format!("rsync -a {}/* copy/", local.path().display());
            drop(shell(mount.path(), &command));
        };
        assert_eq!(times_set(&server, copy), expected, "{kind:?}");
        assert_eq!(times_set(&server, copy), 0, "{kind:?}");
        for number in 0..DIRECTORIES {
            let time = |top: &Path| {
                fs::metadata(top.join(number.to_string()))
                    .unwrap()
                    .modified()
            };
            let is_set = time(&server.root().join("copy")).unwrap() == time(local.path()).unwrap();
            assert_eq!(is_set, expected > 0, "{kind:?}");
        }
    }
}
