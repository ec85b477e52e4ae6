//! Listings that omit names, show another directory, or cannot be obtained: what is shown, and what
//! is not overwritten.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::row::{Mounted, group, row};
use crate::support::{
    Answer, FileTree, Kind, Mount, Quirks, Request, State, TestServer, assert_errno,
};

/// Asserts what must hold for any mount of the usual tree: the files are shown, and none is
/// overwritten unnoticed.
fn nothing_is_lost(it: &Mounted) {
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().display();
    it.run(&format!(
        "mkdir {copy}/docs && echo kept > {copy}/docs/a.txt"
    ));
    it.run(&format!("rsync -a --delete ./ {copy}/"));
    it.run(&format!("test \"$(cat {copy}/docs/a.txt)\" = alpha"));
    it.run("test \"$(cat docs/b.txt)\" = beta");
    it.fails(
        "set -C; echo new > docs/a.txt",
        "cannot overwrite existing file",
    );
    it.run("echo new > /tmp/ftpfs-new.$$; cp -n /tmp/ftpfs-new.$$ docs/a.txt || true; rm /tmp/ftpfs-new.$$");
    it.fails("mkdir docs", "File exists");
    it.run("echo c > c.txt && mv -n c.txt docs/b.txt || true");
    it.holds("/docs/a.txt", "alpha\n");
    it.holds("/docs/b.txt", "beta\n");
    it.run("echo c > docs/c.txt && test \"$(cat docs/c.txt)\" = c");
    it.holds("/docs/c.txt", "c\n");
}

#[test]
fn nothing_is_lost_on_servers_that_misread_the_option_or_the_path_of_list() {
    let rows = [
        (
            "the option is a name",
            Quirks::none().without_facts().dash_is_a_name(),
        ),
        (
            "the option is refused with 451",
            Quirks::none()
                .without_facts()
                .dash_is_refused("451 Not implemented"),
        ),
        (
            "the option is refused with 553",
            Quirks::none()
                .without_facts()
                .dash_is_refused("553 Bad name"),
        ),
        (
            "the option is refused with 501",
            Quirks::none()
                .without_facts()
                .dash_is_refused("501 Bad parameter"),
        ),
        (
            "LIST ignores the path",
            Quirks::none()
                .without_facts()
                .ignores_path(&["LIST", "NLST", "STAT"]),
        ),
        (
            "MLSD ignores the path",
            Quirks::none().ignores_path(&["MLSD", "LIST", "NLST"]),
        ),
        (
            "the option is a name and the path is ignored",
            Quirks::none()
                .without_facts()
                .dash_is_a_name()
                .ignores_path(&["LIST", "NLST"]),
        ),
        (
            "LIST of a path is empty",
            Quirks::none().without_facts().hook(|request, _| {
                let has_path = request.is(&["LIST", "NLST"]) && request.argument.contains('/');
                has_path.then(|| Answer::send(""))
            }),
        ),
        (
            "only NLST lists",
            Quirks::none()
                .without_facts()
                .hook(|request, _| request.is(&["LIST", "STAT"]).then(|| Answer::send(""))),
        ),
        (
            "MLSD lists nothing",
            Quirks::none().hook(|request, _| request.is(&["MLSD"]).then(|| Answer::send(""))),
        ),
        ("all is well", Quirks::none()),
        ("all is well without MLSD", Quirks::none().without_facts()),
    ];
    group(rows.map(|(name, quirks)| row(name, quirks, nothing_is_lost)));
}

#[test]
fn a_mount_of_a_subdirectory_shows_that_directory_where_paths_are_ignored() {
    group([
        row(
            "LIST",
            Quirks::none()
                .without_facts()
                .ignores_path(&["LIST", "NLST"]),
            |it| it.lists(".", "a.txt b.txt"),
        )
        .at("docs"),
        row("MLSD", Quirks::none().ignores_path(&["MLSD"]), |it| {
            it.lists(".", "a.txt b.txt");
        })
        .at("docs"),
    ]);
}

/// A listing with one line that can be parsed and one that cannot.
const HALF: &str = "-rw-r--r-- 1 user group 6 Jan  1  2020 a.txt\n?? the line of b.txt ??";
/// A listing without a line that can be parsed.
const ODD: &str = "?? the line of a.txt ??\n?? the line of b.txt ??";

#[test]
fn a_name_on_an_unreadable_line_is_not_overwritten() {
    let names_below_are_kept = |it: &Mounted| {
        it.run("test \"$(cat docs/b.txt)\" = beta");
        it.fails(
            "set -C; echo new > docs/b.txt",
            "cannot overwrite existing file",
        );
        it.run("echo new > c.txt && mv -n c.txt docs/b.txt || true");
        it.run("echo new > d.txt && cp -n d.txt docs/b.txt || true");
        it.holds("/docs/b.txt", "beta\n");
        it.fails("cat docs/nosuch", "No such file");
        it.run("set -C; echo new > docs/new.txt");
        it.holds("/docs/new.txt", "new\n");
    };
    let without_facts = || Quirks::none().without_facts();
    group([
        row(
            "half",
            without_facts().raw_listing("/docs", HALF),
            move |it| {
                it.lists("docs", "a.txt");
                names_below_are_kept(it);
                let log = it.mount.log();
                let warnings = log.lines().filter(|line| line.contains("is not complete"));
                assert_eq!(warnings.count(), 1, "{log}");
            },
        ),
        row(
            "half, without SIZE and MDTM",
            without_facts()
                .without("SIZE")
                .without("MDTM")
                .raw_listing("/docs", HALF),
            names_below_are_kept,
        ),
        row(
            "no line",
            without_facts().raw_listing("/docs", ODD),
            move |it| {
                it.fails("ls docs", "Input/output error");
                assert!(
                    it.mount.log().contains("unknown LIST format"),
                    "{}",
                    it.mount.log()
                );
                names_below_are_kept(it);
            },
        ),
        row(
            "no line, with MLST",
            Quirks::none()
                .without("MLSD")
                .feature("MLST type*;size*;modify*;")
                .raw_listing("/docs", ODD),
            move |it| {
                it.fails("ls docs", "Input/output error");
                names_below_are_kept(it);
            },
        ),
        row(
            "cut short in words",
            without_facts().listing_of("/docs", &["LIST", "STAT"], || {
                Answer::send_lines("-rw-r--r-- 1 user group 6 Jan  1  2020 a.txt")
                    .ending_with("226 Output truncated to 1 match")
            }),
            names_below_are_kept,
        ),
    ]);
}

/// Asserts that a directory may be entered but not listed, regardless of the server's wording.
fn is_closed(it: &Mounted) {
    it.fails("ls docs", "Permission denied");
    it.run("test \"$(cat docs/a.txt)\" = alpha");
    it.fails(
        "set -C; echo new > docs/b.txt",
        "cannot overwrite existing file",
    );
    it.fails("cat docs/nosuch", "No such file");
    it.fails("mkdir docs/a.txt", "File exists");
    it.run("set -C; echo new > docs/new.txt");
    it.holds("/docs/b.txt", "beta\n");
    it.holds("/docs/new.txt", "new\n");
}

#[test]
fn a_directory_that_cannot_be_listed_is_refused_and_its_names_are_reached() {
    const LISTINGS: &[&str] = &["LIST", "NLST", "MLSD", "STAT"];
    let refused = |quirks: Quirks, lines: &'static str| {
        quirks.listing_of("/docs", LISTINGS, move || Answer::say(lines))
    };
    let mut rows = Vec::new();
    for lines in [
        "550 Permission denied.",
        "550 Failed to open directory.",
        "450 Cannot open directory",
        "550 Access is denied.",
        "553 Not allowed",
    ] {
        let quirks = refused(Quirks::none().without_facts(), lines);
        rows.push(row(format!("without MLST: {lines}"), quirks, is_closed));
        let quirks = refused(Quirks::none(), lines);
        rows.push(row(format!("with MLST: {lines}"), quirks, is_closed));
    }
    let itself = Quirks::none().without_facts().hook(|request, state| {
        let is_it = request.is(&["LIST", "STAT"]) && state.resolve(request.path()) == "/docs";
        let answer = if request.path().is_empty() {
            Answer::send("").ending_with("226 Transfer done (but failed to open directory).")
        } else {
            Answer::send_lines("d-wx--x--x 2 0 0 4096 Jan  1  2020 docs")
        };
        is_it.then_some(answer)
    });
    rows.push(row("it lists itself", itself, is_closed));
    let in_words = Quirks::none()
        .without_facts()
        .listing_of("/docs", LISTINGS, || {
            Answer::send("").ending_with("226 Transfer done (but failed to open directory).")
        });
    rows.push(row("the 226 says that it failed", in_words, is_closed));
    let nowhere = Quirks::none()
        .without_facts()
        .says("LIST", "550 Permission denied.")
        .says("NLST", "550 Permission denied.")
        .says("STAT", "550 Permission denied.");
    rows.push(row("nothing can be listed", nowhere, |it| {
        it.fails("ls", "Permission denied");
        is_closed(it);
    }));
    let drop_box = refused(Quirks::none().without_facts(), "550 Permission denied.");
    rows.push(
        row("a directory in it is mounted", drop_box, |it| {
            it.lists(".", "x");
        })
        .holding(|tree| tree.file("/docs/inner/x", "x"))
        .at("docs/inner"),
    );
    group(rows);
}

/// libunftp refuses to list a directory while one of its files is renamed.
#[test]
fn a_directory_is_listed_though_a_file_disappeared_from_it_meanwhile() {
    let mut rows = Vec::new();
    for with_facts in [true, false] {
        let quirks = if with_facts {
            Quirks::none()
        } else {
            Quirks::none().without_facts()
        };
        let refusals = AtomicUsize::new(0);
        let quirks = quirks.hook(move |request, state| {
            let is_it = request.is(&["LIST", "MLSD"])
                && state.resolve(request.path()) == "/docs"
                && refusals.fetch_add(1, Ordering::Relaxed) < 3;
            is_it.then(|| Answer::say("550 File not found"))
        });
        rows.push(row(format!("facts: {with_facts}"), quirks, |it| {
            it.lists("docs", "a.txt b.txt");
        }));
    }
    group(rows);
}

#[test]
fn an_empty_directory_is_empty_in_whatever_words() {
    let mut rows = Vec::new();
    for lines in [
        "550 No files found",
        "550 Directory is empty",
        "450 No files found",
    ] {
        for with_facts in [true, false] {
            let quirks = if with_facts {
                Quirks::none()
            } else {
                Quirks::none().without_facts()
            };
            let quirks =
                quirks.listing_of("/empty", &["LIST", "NLST", "MLSD", "STAT"], move || {
                    Answer::say(lines)
                });
            rows.push(row(format!("{lines}, facts: {with_facts}"), quirks, |it| {
                it.lists("empty", "");
                it.run("set -C; echo new > empty/new.txt");
                it.holds("/empty/new.txt", "new\n");
                it.fails("ls nosuch", "No such file");
            }));
        }
    }
    group(rows);
}

#[test]
fn a_refusal_that_does_not_say_empty_shows_no_empty_directory() {
    const LISTINGS: &[&str] = &["LIST", "NLST", "MLSD", "STAT"];
    let mut rows = Vec::new();
    for lines in [
        "451 No data connection could be made",
        "550 No data channel.",
        "550 No file handles available",
        "450 No files can be listed right now, try later",
        "450 Directory busy: no matching worker",
        "550 Das Verzeichnis kann nicht gelesen werden, keine Dateien verfuegbar",
        "550 No such file or directory",
        "550 File not found",
    ] {
        let quirks = Quirks::none().without_facts();
        let quirks = quirks.listing_of("/docs", LISTINGS, move || Answer::say(lines));
        rows.push(row(lines, quirks, is_closed));
    }
    group(rows);
}

#[test]
fn a_listing_without_the_line_that_all_others_have_shows_no_empty_directory() {
    let nothing = |quirks: Quirks| {
        quirks.listing_of("/docs", &["LIST", "NLST", "MLSD", "STAT"], || {
            Answer::send("").ending_with("226 Nothing to list")
        })
    };
    let silent = |request: &Request, state: &mut State<'_>| {
        let is_it = request.is(&["LIST", "NLST"]);
        let names = state.tree.names(&state.resolve(request.path()));
        let lines: String = names
            .iter()
            .map(|name| format!("drwxr-xr-x 1 user group 6 Jan  1  2020 {name}\r\n"))
            .collect();
        is_it.then(|| Answer::send(lines))
    };
    group([
        row("LIST -a", nothing(Quirks::none().without_facts()), |it| {
            it.lists(".", "docs empty");
            is_closed(it);
        }),
        row(
            "LIST -a, first",
            nothing(Quirks::none().without_facts()),
            is_closed,
        ),
        row("MLSD", nothing(Quirks::none()), is_closed),
        row(
            "no listing has that line",
            Quirks::none().without_facts().without("STAT").hook(silent),
            |it| {
                it.lists(".", "docs empty");
                it.lists("empty", "");
                it.run("set -C; echo new > empty/new.txt");
                it.holds("/empty/new.txt", "new\n");
            },
        ),
    ]);
}

#[test]
fn a_listing_after_cwd_does_not_prove_that_paths_are_heeded() {
    let quirks = || {
        Quirks::none()
            .without_facts()
            .without("STAT")
            .ignores_path(&["LIST", "NLST"])
    };
    let holds = |tree: &mut FileTree| {
        tree.file("/my dir/inner", "x");
        tree.file("/b/of-b", "x");
        tree.file("/e/f/of-f", "x");
        tree.file("/top", "x");
    };
    group([
        row("a name with a blank", quirks(), |it| {
            it.lists("my dir", "inner");
            it.lists(".", "b e my dir top");
            it.lists("b", "of-b");
            it.lists("e/f", "of-f");
        })
        .holding(holds),
        row("a file grows", quirks(), |it| {
            it.lists(".", "b e my dir top");
            it.server.tree().file("/top", "xx");
            it.lists("b", "of-b");
            it.lists("e", "f");
        })
        .holding(holds),
        row("it was entered before", quirks(), |it| {
            it.run("test -d b && test -f b/of-b");
            it.lists("b", "of-b");
            it.lists("e", "f");
            it.lists(".", "b e my dir top");
        })
        .holding(holds),
    ]);
}

#[test]
fn a_file_whose_listing_tells_no_size_is_not_stored_empty() {
    let lines = "-rw-r--r-- 1 user group -1 Jan  1  2020 a.txt\n\
                 -rw-r--r-- 1 user group 99999999999999999999 Jan  1  2020 b.txt";
    let quirks = Quirks::none().without_facts().raw_listing("/docs", lines);
    group([row("negative and absurd", quirks, |it| {
        it.run(
            "ls -l docs > /dev/null; test \"$(tar -cf - docs | tar -xOf - docs/a.txt)\" = alpha",
        );
        it.run("test \"$(stat -c %s docs/b.txt)\" = 5");
    })]);
}

#[test]
fn hidden_names_are_shown_where_mlsd_needs_an_option_for_them() {
    let quirks = |answer: &'static str| {
        Quirks::none()
            .says("SYST", "215 UNIX Type: Apache FtpServer")
            .hook(move |request, state| {
                let has_option = request.argument.starts_with("-a");
                if !request.is(&["MLSD"]) {
                    return None;
                }
                if has_option && !answer.is_empty() {
                    return Some(Answer::say(answer));
                }
                let directory = state.resolve(request.path());
                let shown = state.tree.names(&directory).into_iter();
                let shown = shown.filter(|name| has_option || !name.starts_with('.'));
                let lines: String = shown
                    .map(|name| format!("type=file;size=1; {name}\r\n"))
                    .collect();
                Some(Answer::send(lines))
            })
    };
    let shows = |names: &'static str| move |it: &Mounted| it.lists(".", names);
    let holds = |tree: &mut FileTree| {
        tree.file("/a", "x");
        tree.file("/.hidden", "x");
    };
    group([
        row("with the option", quirks(""), shows(".hidden a")).holding(holds),
        row(
            "the option is refused",
            quirks("501 Not a valid pathname."),
            shows("a"),
        )
        .holding(holds),
    ]);
}

#[test]
fn directories_that_are_not_wholly_understood_are_counted() {
    let quirks = Quirks::none().without_facts().raw_listing("/docs", HALF);
    group([row("half", quirks, |it| {
        it.lists("docs", "a.txt");
        let ftpfs = env!("CARGO_BIN_EXE_ftpfs");
        let text = it.run(&format!("{ftpfs} status ."));
        assert!(
            text.contains("1 directories, one is /docs: 1 line gave no entry"),
            "{text}"
        );
        let json = it.run(&format!("{ftpfs} status --json ."));
        assert!(
            json.contains("\"incomplete_listings\":{\"directories\":1,\"path\":\"/docs\""),
            "{json}"
        );
        let url = it.server.url();
        let check = it.run(&format!("FTPFS_PASSWORD=x {ftpfs} check {url}docs"));
        assert!(
            check.contains("1 lines of the listing gave no entry"),
            "{check}"
        );
    })]);
}

#[test]
fn a_directory_that_real_servers_may_enter_and_not_read_is_refused_and_its_names_are_reached() {
    for kind in [Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd] {
        let server = TestServer::start(kind);
        server.write("drop/a.txt", "alpha\n");
        server.write("drop/inner/x", "x");
        server.write("drop/closed/x", "x");
        server.hand_over();
        let drop_box = server.root().join("drop");
        let closed = drop_box.join("closed");
        fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(&drop_box, Permissions::from_mode(0o311)).unwrap();
        let mount = Mount::new(&server);
        assert_errno(fs::read_dir(mount.join("drop")).map(drop), libc::EACCES);
        let read = |name: &str| fs::read_to_string(mount.join(name)).unwrap();
        assert_eq!(read("drop/a.txt"), "alpha\n", "{kind:?}");
        assert_eq!(read("drop/inner/x"), "x", "{kind:?}");
        let missing = fs::metadata(mount.join("drop/nosuch")).map(drop);
        assert_errno(missing, libc::ENOENT);
        let taken = File::create_new(mount.join("drop/a.txt")).map(drop);
        assert_errno(taken, libc::EEXIST);
        let closed = mount.join("drop/closed");
        assert!(fs::metadata(&closed).unwrap().is_dir(), "{kind:?}");
        assert_errno(File::create_new(&closed).map(drop), libc::EEXIST);
        assert_errno(fs::create_dir(&closed), libc::EEXIST);
        assert_errno(fs::read_dir(&closed).map(drop), libc::EACCES);
        fs::write(mount.join("drop/new"), "new").unwrap();
        assert_eq!(server.read("drop/new"), b"new", "{kind:?}");
        let inner = format!("{}drop/inner", server.url());
        let inner = Mount::of_url(&inner, server.password(), &[]);
        assert_eq!(
            fs::read_to_string(inner.join("x")).unwrap(),
            "x",
            "{kind:?}"
        );
    }
}
