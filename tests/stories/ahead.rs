//! Data that programs will request next is prefetched: the tests count round trips, not time.

use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Kind, Mount, TestServer, assert_errno, lines, shell, stories, wait_for};
use ftpfs::server::{Fault, Misdeed};

/// The round-trip time.
const DELAY: Duration = Duration::from_millis(30);

/// Starts a server `DELAY` away, without `disabled`, with `directories` two levels below its root.
fn start(directories: usize, disabled: &[&str]) -> TestServer {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        options.delay = DELAY;
        options.disabled = disabled.iter().map(|verb| (*verb).to_owned()).collect();
    });
    for number in 0..directories {
        let directory = server
            .root()
            .join(format!("{}/dir {number:03}", number % 8));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("a file"), "content").unwrap();
    }
    server
}

/// Returns the number of round trips that the busiest connection makes for the work.
fn round_trips(server: &TestServer, work: impl FnOnce()) -> usize {
    let server = server.embedded().unwrap();
    server.clear_commands();
    work();
    server.most_flights_of_a_session()
}

/// The listings of a walk are prefetched in parallel.
#[test]
fn a_walk_takes_a_round_trip_for_four_directories() {
    const DIRECTORIES: usize = 120;
    let server = start(DIRECTORIES, &[]);
    let mount = Mount::new(&server);
    let mut found = Vec::new();
    let trips = round_trips(&server, || {
        found = lines(&shell(mount.path(), "find . -type d"));
    });
    assert_eq!(found.len(), DIRECTORIES + 9);
    assert!(trips <= DIRECTORIES / 4, "{trips} round trips");
    let listings = server.commands();
    let listings = listings.iter().filter(|it| it.starts_with("MLSD"));
    assert_eq!(listings.count(), DIRECTORIES + 9, "each directory once");
}

/// Where STAT lists like LIST, one write requests many listings.
#[test]
fn a_walk_without_mlsd_takes_a_few_round_trips() {
    const DIRECTORIES: usize = 200;
    let server = start(DIRECTORIES, &["MLSD", "MLST"]);
    let mount = Mount::new(&server);
    let mut found = Vec::new();
    let trips = round_trips(&server, || {
        found = lines(&shell(mount.path(), "find . -type d"));
    });
    assert_eq!(found.len(), DIRECTORIES + 9);
    assert!(trips <= DIRECTORIES / 8, "{trips} round trips");
}

/// Starts a server with a directory of `files` small files.
fn with_files(files: usize) -> TestServer {
    let server = start(0, &[]);
    for number in 0..files {
        fs::write(
            server.root().join(format!("file {number:03}")),
            format!("content {number}"),
        )
        .unwrap();
    }
    server
}

/// Maximum number of files that are fetched ahead.
const MOST_AHEAD: usize = 16;

/// After such a pause of the program, what was fetched ahead is given up.
const PAUSE: Duration = Duration::from_secs(2);

/// Reads the files in order. Returns the longest time that one took.
fn read_all(mount: &Mount, files: usize) -> Duration {
    let read = |number| {
        let began = Instant::now();
        let read = fs::read_to_string(mount.join(format!("file {number:03}")));
        assert_eq!(read.unwrap(), format!("content {number}"));
        began.elapsed()
    };
    (0..files).map(read).max().unwrap()
}

/// Asserts that each of `files` files was transferred once. If reading one took `longest`, as a
/// busy machine may stop for a while, those that were fetched ahead are fetched again.
fn assert_transferred_once(server: &TestServer, files: usize, longest: Duration) {
    let commands = server.commands();
    let transfers = commands.iter().filter(|it| it.starts_with("RETR")).count();
    let again = if longest < PAUSE { 0 } else { MOST_AHEAD };
    assert!(
        (files..=files + again).contains(&transfers),
        "{longest:?}, {commands:?}"
    );
}

/// Small files read in order are prefetched in parallel, each once, and the server is asked for
/// each file's attributes before the file is opened.
#[test]
fn small_files_in_order_take_half_a_round_trip_each() {
    const FILES: usize = 120;
    for age in [Duration::ZERO, Duration::from_millis(1500)] {
        let server = with_files(FILES);
        let mount = Mount::new(&server);
        fs::read_dir(mount.path()).unwrap().for_each(drop);
        thread::sleep(age);
        let mut longest = Duration::ZERO;
        let trips = round_trips(&server, || longest = read_all(&mount, FILES));
        assert!(trips <= FILES / 2, "{trips} round trips");
        assert_transferred_once(&server, FILES, longest);
    }
}

/// Starts a server with 25 directories of six small files each, as a source tree has them.
fn with_modules(disabled: &[&str]) -> TestServer {
    let server = start(0, disabled);
    for number in 0..MODULES * FILES_IN_MODULE {
        server.write(module_file(number), format!("content {number}"));
    }
    server
}

const MODULES: usize = 25;
const FILES_IN_MODULE: usize = 6;

fn module_file(number: usize) -> String {
    format!(
        "tree/{:02}/file {}",
        number / FILES_IN_MODULE,
        number % FILES_IN_MODULE
    )
}

/// Without MLST and MLSD, STAT lists a directory.
const WITH_AND_WITHOUT_MLSD: [&[&str]; 2] = [&[], &["MLSD", "MLST"]];

/// Programs such as rsync look up names in one directory after the other without opening them.
#[test]
fn names_looked_up_in_order_take_a_tenth_of_a_round_trip_each() {
    const NAMES: usize = MODULES * (FILES_IN_MODULE + 1);
    for disabled in WITH_AND_WITHOUT_MLSD {
        let server = with_modules(disabled);
        let mount = Mount::new(&server);
        let trips = round_trips(&server, || {
            for module in 0..MODULES {
                fs::metadata(mount.join(format!("tree/{module:02}"))).unwrap();
            }
            for number in 0..MODULES * FILES_IN_MODULE {
                fs::metadata(mount.join(module_file(number))).unwrap();
            }
        });
        assert!(
            trips <= NAMES / 10,
            "{trips} round trips without {disabled:?}"
        );
        let commands = server.commands();
        let listings = commands.iter().filter(|it| it.starts_with("MLSD"));
        assert!(listings.count() <= MODULES + 2, "each once: {commands:?}");
    }
}

/// Names looked up here and there list nothing ahead.
#[test]
fn names_looked_up_out_of_order_list_no_other_directory() {
    let server = with_modules(&[]);
    let mount = Mount::new(&server);
    shell(mount.path(), "ls tree");
    for module in [3, 20, 7, 1, 12] {
        fs::metadata(mount.join(module_file(module * FILES_IN_MODULE))).unwrap();
    }
    let commands = server.commands();
    let is_in_module = |it: &&String| it.starts_with("MLSD /tree/");
    assert_eq!(commands.iter().find(is_in_module), None);
}

/// Small files read in one directory after the other, as by git, are prefetched across directories.
#[test]
fn small_files_of_many_directories_take_a_third_of_a_round_trip_each() {
    const FILES: usize = MODULES * FILES_IN_MODULE;
    for disabled in WITH_AND_WITHOUT_MLSD {
        let server = with_modules(disabled);
        let mount = Mount::new(&server);
        shell(mount.path(), "find .");
        let mut longest = Duration::ZERO;
        let trips = round_trips(&server, || {
            for number in 0..FILES {
                let began = Instant::now();
                let read = fs::read_to_string(mount.join(module_file(number)));
                assert_eq!(read.unwrap(), format!("content {number}"));
                longest = longest.max(began.elapsed());
            }
        });
        assert!(
            trips <= FILES / 3,
            "{trips} round trips without {disabled:?}"
        );
        assert_transferred_once(&server, FILES, longest);
    }
}

/// A file that someone else changes before a sequential reader reaches it is read with the change.
#[test]
fn a_file_fetched_ahead_and_changed_since_is_read_as_it_is() {
    const FILES: usize = 30;
    let server = with_files(FILES);
    let mount = Mount::with_options(&server, &["open_ttl=0.2"]);
    fs::read_dir(mount.path()).unwrap().for_each(drop);
    read_all(&mount, 4);
    let fetched = |number: usize| {
        let commands = server.commands();
        commands.contains(&format!("RETR /file {number:03}"))
    };
    assert!(
        wait_for(Duration::from_secs(10), || fetched(6)),
        "it is fetched ahead"
    );
    for number in 4..FILES {
        let path = server.root().join(format!("file {number:03}"));
        fs::write(&path, format!("changed {number}")).unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        let time = SystemTime::now() - Duration::from_secs(5000);
        file.set_modified(time).unwrap();
    }
    // Longer than the server's answers stay valid.
    thread::sleep(Duration::from_millis(400));
    for number in 4..FILES {
        let read = fs::read_to_string(mount.join(format!("file {number:03}")));
        assert_eq!(read.unwrap(), format!("changed {number}"));
    }
}

/// A program reads its own changes, not content prefetched before them.
#[test]
fn a_file_fetched_ahead_and_changed_through_the_mount_is_read_as_it_is() {
    let server = with_files(30);
    let mount = Mount::new(&server);
    fs::read_dir(mount.path()).unwrap().for_each(drop);
    read_all(&mount, 5);
    fs::write(mount.join("file 006"), "written 6").unwrap();
    fs::rename(mount.join("file 010"), mount.join("file 007")).unwrap();
    let read = |name: &str| fs::read_to_string(mount.join(name)).unwrap();
    assert_eq!(read("file 005"), "content 5");
    assert_eq!(read("file 006"), "written 6");
    assert_eq!(read("file 007"), "content 10");
    fs::remove_file(mount.join("file 008")).unwrap();
    assert!(fs::read(mount.join("file 008")).is_err());
}

/// A file fetched ahead is read when all of it has arrived, a round trip before the server confirms
/// that, as a file that is not fetched ahead.
#[test]
fn a_file_fetched_ahead_is_read_before_its_completion() {
    const FILES: usize = 20;
    let server = with_files(FILES);
    let mount = Mount::with_options(&server, &["timeout=5"]);
    fs::read_dir(mount.path()).unwrap().for_each(drop);
    read_all(&mount, 4);
    let fault = Fault::on("RETR", Misdeed::NoReply).times(2);
    server.embedded().unwrap().faults().add(fault);
    read_all(&mount, FILES);
    let commands = server.commands();
    for number in 4..FILES {
        let line = format!("RETR /file {number:03}");
        let transfers = commands.iter().filter(|it| **it == line).count();
        assert_eq!(transfers, 1, "{line}: {commands:?}");
    }
}

/// A failed prefetch has no effect on the program that later requests the data.
#[test]
fn failures_of_what_nobody_asked_for_are_nobodys() {
    const FILES: usize = 40;
    let server = with_files(FILES);
    let directories = ["a", "b", "c", "d", "e"];
    for directory in directories {
        server.write(format!("tree/{directory}/file"), "content");
    }
    let mount = Mount::new(&server);
    let faults = [
        Fault::on("RETR", Misdeed::DropControl).skip(3).times(4),
        Fault::on("RETR", Misdeed::ShortThen226 { after: 3 })
            .skip(10)
            .times(2),
        Fault::on("MLSD", Misdeed::DropControl).skip(3).times(2),
    ];
    for fault in faults {
        server.embedded().unwrap().faults().add(fault);
    }
    assert_eq!(lines(&shell(mount.path(), "find tree -type d")).len(), 6);
    read_all(&mount, FILES);
}

/// The exact time that is requested together with a listing may fail in any way: the name is found
/// all the same, and so are the others.
#[test]
fn a_listing_does_not_depend_on_the_time_requested_with_it() {
    let refused = |code| Misdeed::Refuse {
        code,
        text: "No".to_owned(),
    };
    let misdeeds = [500, 502, 550, 421].map(refused).into_iter().chain([
        Misdeed::DropControl,
        Misdeed::CutReply(2),
        Misdeed::NoReply,
    ]);
    for misdeed in misdeeds {
        let server = start(0, &["MLSD", "MLST"]);
        server.write("known", "content");
        server.write("one/two/file.c", "content");
        server.write("one/two/other.c", "content");
        server.write("one/three/file.c", "content");
        let mount = Mount::with_options(&server, &["timeout=5", "charset=latin1"]);
        // By then, STAT was compared with LIST.
        shell(mount.path(), "ls; ls one");
        let fault = Fault::on("MDTM", misdeed.clone());
        server.embedded().unwrap().faults().add(fault);
        let shown = fs::metadata(mount.join("one/two/file.c"));
        assert_eq!(shown.unwrap().len(), 7, "{misdeed:?}");
        assert_eq!(fs::read(mount.join("one/two/other.c")).unwrap(), b"content");
        // One that cannot be requested.
        let absent = fs::metadata(mount.join("one/three/日本"));
        assert_errno(absent, libc::ENOENT);
    }
}

/// A server that accepts one connection is walked and read without prefetching.
#[test]
fn one_connection_is_enough() {
    let server = TestServer::start_with(Kind::Embedded, |options| options.max_sessions = Some(1));
    for number in 0..20 {
        server.write(format!("{number}/file"), format!("content {number}"));
    }
    let mount = Mount::new(&server);
    assert_eq!(lines(&shell(mount.path(), "cat */file")).len(), 1);
    assert_eq!(lines(&shell(mount.path(), "find . -type d")).len(), 21);
    assert_eq!(server.embedded().unwrap().sessions(), 1);
}

stories! {
    /// A walk finds all names: those that servers take for patterns, options or several arguments,
    /// and hidden and empty directories.
    fn a_walk_finds_every_name(server: &TestServer, mount: &Mount) {
        let names = ["a b", ".hidden", "-al", "[q]*", "*", "what?", "a -b", "{x,y}", "~", "plain", "q"];
        let mut expected = vec![".".to_owned()];
        for name in names {
            for below in ["", "/empty", "/.dot", "/sub dir", "/sub dir/deep"] {
                let path = format!("tree/{name}{below}");
                fs::create_dir_all(server.root().join(&path)).unwrap();
                expected.push(format!("./{name}{below}"));
            }
            server.write(format!("tree/{name}/.dot/file"), "content");
            expected.push(format!("./{name}/.dot/file"));
        }
        expected.sort();
        let found = lines(&shell(mount.join("tree"), "find ."));
        assert_eq!(found, expected);
    }

    /// Small files have the right content, whether or not they are read in order.
    fn a_run_reads_what_the_server_has(server: &TestServer, mount: &Mount) {
        let mut expected = Vec::new();
        for number in 0..60 {
            let content = format!("{number} ").repeat(number * 40);
            server.write(format!("files/file {number:02}"), &content);
            expected.push(content);
        }
        for _ in 0..2 {
            let read = shell(mount.join("files"), "cat *").stdout;
            assert!(read == expected.concat().into_bytes());
        }
    }
}

/// The first login of a mount is made step by step, all others in one write.
#[test]
fn a_further_connection_logs_in_with_one_flight() {
    let server = start(32, &[]);
    let mount = Mount::new(&server);
    // The listings of the walk are fetched over several connections.
    shell(mount.path(), "find .");
    let verbs = |flight: &Vec<String>| -> String {
        let verbs: Vec<_> = flight
            .iter()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        verbs.join("+")
    };
    let mut logins = Vec::new();
    // Another connection may still be logging in.
    let are_in_one_flight = || {
        logins = server
            .embedded()
            .unwrap()
            .flights()
            .iter()
            .map(verbs)
            .collect();
        logins.retain(|verbs: &String| verbs.starts_with("USER"));
        let further = logins.get(1..).unwrap_or_default();
        !further.is_empty() && further.iter().all(|it| it == "USER+PASS+TYPE+OPTS+EPSV")
    };
    assert!(
        wait_for(Duration::from_secs(10), are_in_one_flight),
        "{logins:?}"
    );
    assert_eq!(logins[0], "USER");
}

/// A program that looked up several names of a directory, and then one in a directory below, most
/// likely goes on in the directories beside that.
#[test]
fn names_looked_up_below_a_directory_list_the_directories_beside_ahead() {
    let server = start(8, &[]);
    let mount = Mount::new(&server);
    let look = |name: &str| assert!(mount.join(name).exists());
    ["0", "1", "2"].into_iter().for_each(look);
    let listed = |directory: &str| {
        let line = format!("MLSD {directory}");
        server.commands().contains(&line)
    };
    assert!(listed("/"), "by the third name");
    assert!(!listed("/0") && !listed("/7"));
    look("0/dir 000");
    assert!(
        wait_for(Duration::from_secs(10), || listed("/7")),
        "{:?}",
        server.commands()
    );
    let is_single = |line: &&String| line.starts_with("MLST /0/");
    assert_eq!(server.commands().iter().filter(is_single).count(), 0);
}

/// A program that looked into two of a few directories most likely looks into the others.
#[test]
fn names_looked_up_in_two_of_few_directories_list_the_others_ahead() {
    let server = start(0, &[]);
    for directory in ["a", "b", "c", "d"] {
        server.write(format!("git/{directory}/file"), "content");
    }
    let mount = Mount::new(&server);
    shell(mount.path(), "ls git");
    let listed = |directory: &str| {
        let line = format!("MLSD {directory}");
        server.commands().contains(&line)
    };
    fs::metadata(mount.join("git/a/file")).unwrap();
    assert!(!listed("/git/c"), "one says nothing");
    fs::metadata(mount.join("git/b/file")).unwrap();
    assert!(
        wait_for(Duration::from_secs(10), || listed("/git/c")
            && listed("/git/d")),
        "{:?}",
        server.commands()
    );
}

/// A program that comes back after a while, as git does to `.git`, waits for one new listing: those
/// of the directories below that it looked into are replaced at the same time.
#[test]
fn old_listings_are_replaced_together() {
    let server = TestServer::start_with(Kind::Embedded, |options| {
        options.disabled = ["MLSD", "MLST"].map(str::to_owned).into();
    });
    for directory in ["refs", "info", "hooks"] {
        server.write(format!("git/{directory}/file"), "content");
    }
    let mount = Mount::with_options(&server, &["open_ttl=0.2"]);
    let absent = |name: &str| assert!(fs::metadata(mount.join(name)).is_err());
    for directory in ["git", "git/info", "git/refs"] {
        absent(&format!("{directory}/absent"));
    }
    thread::sleep(Duration::from_secs(1));
    server.embedded().unwrap().clear_commands();
    let listed = |directory: &str| {
        let line = format!("STAT {directory}");
        server.commands().contains(&line)
    };
    assert!(
        wait_for(Duration::from_secs(10), || {
            // A listing that took long is not replaced that soon.
            absent("git/absent");
            let listings = ["/git", "/git/info", "/git/refs"];
            listings.iter().all(|it| listed(it))
        }),
        "{:?}",
        server.commands()
    );
}

/// A program looks into two of the directories in one, and then into those in another, as git does
/// with its objects and the working tree. What was listed ahead on the first way does not stop the
/// second.
#[test]
fn a_way_that_was_left_does_not_stop_the_next_one() {
    let server = with_modules(&["MLSD", "MLST"]);
    // As many as are listed ahead when a way begins, and two.
    for number in 0..18 {
        server.write(format!("objects/{number:02}/file"), "content");
    }
    let mount = Mount::new(&server);
    let is_listed = |directory: &str| {
        let line = format!("STAT {directory}");
        wait_for(Duration::from_secs(10), || {
            server.commands().contains(&line)
        })
    };
    for number in 0..2 {
        fs::metadata(mount.join(format!("objects/{number:02}/file"))).unwrap();
    }
    assert!(is_listed("/objects/17"), "{:?}", server.commands());
    for module in 0..2 {
        fs::metadata(mount.join(module_file(module * FILES_IN_MODULE))).unwrap();
    }
    assert!(is_listed("/tree/10"), "{:?}", server.commands());
}

/// A program that looks at one name in some of many directories, such as those of users, lists none
/// of them.
#[test]
fn names_looked_up_below_a_directory_of_many_list_none_of_them() {
    let server = start(0, &[]);
    shell(
        server.root(),
        "for n in $(seq 40); do mkdir user$n; echo > user$n/x; done",
    );
    let mount = Mount::new(&server);
    shell(mount.path(), "stat user1 user2 user3");
    shell(mount.path(), "for n in 31 7 25; do stat user$n/x; done");
    let commands = server.commands();
    let is_below = |line: &&String| line.starts_with("MLSD /") && line.len() > "MLSD /".len();
    assert_eq!(commands.iter().find(is_below), None, "{commands:?}");
}

/// `rsync -a` on a new mount sends nothing of an unchanged tree again, although the listings show
/// no seconds: at most the first file, at which it is not known that times are compared. The names
/// of files end with `extension`: one without may be that of a directory. Returns what was sent.
fn rsync_takes_an_unchanged_tree_for_one(server: &TestServer, extension: &str) -> Vec<String> {
    const DIRECTORIES: usize = 6;
    const FILES: usize = 7;
    let local = tempfile::tempdir().unwrap();
    // A recent time, which listings show to the minute, and an old one, which they show to the day.
    let now = SystemTime::now();
    let times = [86_400 + 13, 800 * 86_400 + 13].map(|ago| now - Duration::from_secs(ago));
    for root in [local.path(), server.root()] {
        for number in 0..DIRECTORIES * FILES {
            let directory = root.join(format!("t/deep/{}", number / FILES));
            fs::create_dir_all(&directory).unwrap();
            let path = directory.join(format!("file {number}{extension}"));
            fs::write(&path, format!("content {number}")).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(times[number % 2]).unwrap();
        }
    }
    server.hand_over();
    let mount = Mount::new(server);
    let sync = format!("rsync -a --itemize-changes {}/t .", local.path().display());
    let sent = lines(&shell(mount.path(), &sync));
    let sent = sent.into_iter().filter(|line| line.starts_with(">f"));
    let sent: Vec<_> = sent.collect();
    // A machine that stops for seconds makes it begin again.
    assert!(sent.len() <= 3, "{sent:?}");
    sent
}

#[test]
fn rsync_takes_an_unchanged_tree_for_one_without_mlsd() {
    for extension in ["", ".c"] {
        rsync_takes_an_unchanged_tree_for_one(&start(0, &["MLSD", "MLST"]), extension);
    }
}

#[test]
fn rsync_takes_an_unchanged_tree_for_one_on_vsftpd() {
    for extension in ["", ".c"] {
        let server = TestServer::start(Kind::Vsftpd);
        let sent = rsync_takes_an_unchanged_tree_for_one(&server, extension);
        // Its time was requested together with the listing of its directory.
        let is_first = |line: &&String| line.contains("/deep/0/file 0");
        assert_eq!(sent.iter().find(is_first), None, "{sent:?}");
    }
}
