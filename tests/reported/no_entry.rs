//! Directories that may be entered but not listed, and empty ones that are reported as errors.

use crate::row::{group, row};
use crate::support::{Answer, FileTree, Quirks};

const LISTS: &[&str] = &["LIST", "MLSD", "NLST", "STAT"];

fn tree(tree: &mut FileTree) {
    tree.file("/drop/inner.txt", "inner\n");
    tree.file("/drop/below/deep.txt", "deep\n");
    tree.file("/top.txt", "top\n");
}

/// What `/drop` answers when it is listed.
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

/// Says this of an empty directory when these verbs ask for it.
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
