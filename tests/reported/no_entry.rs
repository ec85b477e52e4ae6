//! Directories that may be entered but not listed, and empty ones that are reported as errors.

use crate::row::{Mounted, group, row};
use crate::support::{Answer, FileTree, Quirks, Request, State};

const LISTS: &[&str] = &["LIST", "MLSD", "NLST", "STAT"];

fn tree(tree: &mut FileTree) {
    tree.file("/drop/inner.txt", "inner\n");
    tree.file("/drop/below/deep.txt", "deep\n");
    tree.file("/top.txt", "top\n");
}

/// Answers listings of `/drop` with this answer.
fn drop_says(answer: fn() -> Answer) -> Quirks {
    Quirks::none().listing_of("/drop", LISTS, answer)
}

#[test]
fn a_directory_that_may_be_entered_but_not_read() {
    const ITSELF: &str = "d-wx--x--x    2 1000     1000         4096 Nov 23  2020 drop";
    const ITS_PATH: &str = "d-wx--x--x    2 1000     1000         4096 Nov 23  2020 /drop";
    let variants: [(&str, Quirks); 9] = [
        (
            "it lists itself",
            Quirks::none()
                .without_facts()
                .without("STAT")
                .raw_listing("/drop", ITSELF)
                .says_to("NLST", "/drop", "550 Permission denied"),
        ),
        (
            "it lists its path",
            Quirks::none()
                .without_facts()
                .without("STAT")
                .raw_listing("/drop", ITS_PATH)
                .says_to("NLST", "/drop", "550 Permission denied"),
        ),
        (
            "226 with words",
            Quirks::none()
                .without_facts()
                .without("STAT")
                .listing_of("/drop", LISTS, || {
                    Answer::send("")
                        .ending_with("226 Transfer done (but failed to open directory).")
                }),
        ),
        (
            "226 with words after MLSD",
            drop_says(|| {
                Answer::send("").ending_with("226 Transfer done (but failed to open directory).")
            }),
        ),
        (
            "550 Permission denied",
            drop_says(|| Answer::say("550 Permission denied")),
        ),
        (
            "550 without MLST",
            drop_says(|| Answer::say("550 Permission denied")).without_facts(),
        ),
        (
            "550 Failed to list",
            drop_says(|| Answer::say("550 Failed to list directory")).without_facts(),
        ),
        (
            "550 Zugriff verweigert",
            drop_says(|| Answer::say("550 Zugriff verweigert")).without_facts(),
        ),
        (
            "450 Access denied",
            drop_says(|| Answer::say("450 drop: Access denied")).without_facts(),
        ),
    ];
    group(variants.map(|(how, quirks)| {
        row(
            format!("is_refused_and_its_files_are_there: {how}"),
            quirks,
            |t| {
                t.fails("ls drop", "Permission denied");
                assert_eq!(t.run("cat drop/inner.txt"), "inner\n");
                assert_eq!(
                    t.run("cat drop/below/deep.txt; ls drop/below"),
                    "deep\ndeep.txt\n"
                );
                t.fails("set -C; echo mine > drop/inner.txt", "cannot overwrite");
                t.fails("cat drop/nothing", "No such file");
                t.run("echo new > drop/new.txt; cp -n top.txt drop/inner.txt || true");
                t.fails("mkdir drop/below", "exists");
                t.holds("/drop/inner.txt", "inner\n");
                t.holds("/drop/new.txt", "new\n");
            },
        )
        .holding(tree)
    }));
}

#[test]
fn a_mount_below_what_may_not_be_listed() {
    group([
        row(
            "a_directory_below_is_mounted",
            drop_says(|| Answer::say("550 Permission denied")).without_facts(),
            |t| t.lists(".", "deep.txt"),
        )
        .holding(tree)
        .at("drop/below"),
        row(
            "the_directory_itself_is_mounted",
            drop_says(|| Answer::say("550 Permission denied")).without_facts(),
            |t| assert_eq!(t.run("cat inner.txt below/deep.txt"), "inner\ndeep\n"),
        )
        .holding(tree)
        .at("drop"),
        row(
            "listing_is_disabled_everywhere",
            Quirks::none()
                .without_facts()
                .says("LIST", "550 Permission denied.")
                .says("NLST", "550 Permission denied.")
                .says("STAT", "550 Permission denied."),
            |t| {
                assert_eq!(
                    t.run("cat top.txt drop/inner.txt drop/below/deep.txt"),
                    "top\ninner\ndeep\n"
                );
                t.fails("ls drop", "Permission denied");
                t.fails("set -C; echo mine > drop/inner.txt", "cannot overwrite");
                t.run("echo new > drop/new.txt");
                t.holds("/drop/new.txt", "new\n");
            },
        )
        .holding(tree),
    ]);
}

/// Answers these lines when an empty directory is listed.
fn empty_is(quirks: Quirks, lines: &'static str) -> Quirks {
    quirks.hook(move |request, state| {
        let path = state.resolve(request.path());
        let is_empty = state.is_directory(&path) && state.tree.names(&path).is_empty();
        (request.is(LISTS) && is_empty).then(|| Answer::say(lines))
    })
}

#[test]
fn an_empty_directory_as_an_error() {
    let mut rows = Vec::new();
    let answers = [
        "550 No files found",
        "550 No files found.",
        "550 Directory is empty",
        "450 No files found",
        "550 Keine Dateien gefunden",
        "550 Aucun fichier trouvé",
        "550 The directory is empty.",
        "550 *: nothing matched",
        "550 *: No match",
    ];
    for facts in [true, false] {
        rows.extend(answers.map(|answer| {
            let quirks = empty_is(Quirks::none(), answer);
            let quirks = if facts {
                quirks
            } else {
                quirks.without_facts()
            };
            row(
                format!("is_empty, with facts {facts}: {answer}"),
                quirks,
                |t| {
                    t.lists("empty", "");
                    t.run("echo new > empty/new.txt; mkdir empty/sub");
                    t.names("/empty", "new.txt sub");
                    t.run("rm -r empty/new.txt empty/sub; rmdir empty");
                    t.names("/", "docs");
                    t.fails("ls nothing", "No such file");
                },
            )
        }));
    }
    group(rows);
}

/// Creates a tree in which `/drop` may not be listed, and `/drop/closed` not be entered either.
fn closed_tree(tree: &mut FileTree) {
    tree.file("/drop/inner.txt", "inner\n");
    tree.file("/drop/closed/x", "x\n");
    tree.file("/top.txt", "top\n");
}

/// Returns vsftpd's answers about `/drop/closed`; it has no MLST.
fn closed() -> Quirks {
    drop_says(|| Answer::say("550 Failed to open directory"))
        .without_facts()
        .without("STAT")
        .hook(|request, state| {
            let path = state.resolve(request.path());
            let is_it = path.starts_with("/drop/closed") && !request.is(&["RNFR", "RNTO"]);
            is_it.then(|| match request.verb.as_str() {
                "CWD" => Answer::say("550 Failed to change directory."),
                "SIZE" => Answer::say("550 Could not get file size."),
                "MDTM" => Answer::say("550 Could not get file modification time."),
                "MKD" => Answer::say("550 Create directory operation failed."),
                _ => Answer::say("550 Failed to open file."),
            })
        })
}

#[test]
fn a_directory_that_may_not_be_entered_is_there() {
    let is_there = |t: &Mounted| {
        assert_eq!(t.run("cat drop/inner.txt"), "inner\n");
        t.fails("ls drop/closed", "Permission denied");
        t.fails("set -C; echo new > drop/closed", "Is a directory");
        t.fails("mkdir drop/closed", "File exists");
        t.run("mv -n top.txt drop/closed || true");
        t.holds("/drop/closed/x", "x\n");
        t.fails("cat drop/nosuch", "No such file");
        t.run("set -C; echo new > drop/new.txt; mkdir drop/made");
        t.holds("/drop/new.txt", "new\n");
    };
    let creates = |t: &Mounted| {
        assert_eq!(t.run("cat drop/inner.txt"), "inner\n");
        t.fails("set -C; echo new > drop/inner.txt", "cannot overwrite");
        t.fails("cat drop/nosuch", "No such file");
        t.run("set -C; echo new > drop/new.txt");
        t.holds("/drop/new.txt", "new\n");
        t.holds("/drop/closed/x", "x\n");
    };
    let missing = |lines: &'static str| {
        move |request: &Request, state: &mut State<'_>| {
            let path = state.resolve(request.path());
            let is_missing =
                request.is(&["RNFR"]) && !state.is_file(&path) && !state.is_directory(&path);
            is_missing.then(|| Answer::say(lines))
        }
    };
    group([
        row("RNFR says so", closed(), is_there).holding(closed_tree),
        row(
            "RNFR says so without a reason",
            closed().hook(missing("550 RNFR command failed.")),
            is_there,
        )
        .holding(closed_tree),
        row(
            "CWD says that it may not",
            closed().hook(missing("550 RNFR command failed.")).says_to(
                "CWD",
                "/drop/closed",
                "550 Permission denied",
            ),
            is_there,
        )
        .holding(closed_tree),
        row(
            "RNFR is refused",
            closed().says("RNFR", "550 Permission denied."),
            creates,
        )
        .holding(closed_tree),
        row(
            "there is no RNFR",
            closed().says("RNFR", "502 Unknown"),
            creates,
        )
        .holding(closed_tree),
        row(
            "RNFR takes every name",
            closed().hook(missing("350 Ready")),
            creates,
        )
        .holding(closed_tree),
    ]);
}

#[test]
fn a_file_whose_size_the_server_will_not_tell_is_there() {
    let quirks = || {
        drop_says(|| Answer::say("550 Failed to open directory"))
            .without_facts()
            .without("STAT")
            .without("MDTM")
    };
    let not_in_ascii = || quirks().says("SIZE", "550 SIZE not allowed in ASCII mode");
    let no_reason = || quirks().says("SIZE", "550 Could not get file size.");
    let missing = |lines: &'static str| {
        move |request: &Request, state: &mut State<'_>| {
            let path = state.resolve(request.path());
            let is_missing =
                request.is(&["RNFR"]) && !state.is_file(&path) && !state.is_directory(&path);
            is_missing.then(|| Answer::say(lines))
        }
    };
    let is_kept = |t: &Mounted| {
        t.fails("set -C; echo new > drop/inner.txt", "cannot overwrite");
        t.fails("mkdir drop/inner.txt", "File exists");
        assert_eq!(t.run("cat drop/inner.txt"), "inner\n");
        t.holds("/drop/inner.txt", "inner\n");
        t.fails("cat drop/nosuch", "No such file");
        t.run("set -C; echo new > drop/new.txt");
        t.holds("/drop/new.txt", "new\n");
    };
    // Nothing proves that a name is free, so none is used.
    let is_unknown = |t: &Mounted| {
        t.fails("set -C; echo new > drop/inner.txt", "drop/inner.txt");
        t.run("mv -n top.txt drop/inner.txt || true");
        t.holds("/drop/inner.txt", "inner\n");
    };
    let failed = "550 RNFR command failed.";
    group(
        [
            row("in ASCII", not_in_ascii().hook(missing(failed)), is_kept),
            row("no reason", no_reason().hook(missing(failed)), is_kept),
            row("a reason for RNFR", no_reason(), is_kept),
            row("no RNFR", no_reason().says("RNFR", "502 No"), is_unknown),
            row(
                "in ASCII and no RNFR",
                not_in_ascii().says("RNFR", "502 No"),
                is_unknown,
            ),
        ]
        .map(|row| row.holding(closed_tree)),
    );
}
