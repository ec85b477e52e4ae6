//! Names that listings omit: they are accessible, and not overwritten.

use crate::row::{Mounted, group, row};
use crate::support::{Answer, Quirks, Request, State};

#[test]
fn a_refusal_of_mlst_without_a_reason_does_not_free_a_name() {
    let mut rows = Vec::new();
    for lines in [
        "550 Too many open files",
        "550 Server busy",
        "550 Internal error",
    ] {
        let quirks = Quirks::none().hook(move |request, _| {
            let is_it = request.is(&["MLST"]) && request.argument.ends_with("docs/b.txt");
            is_it.then(|| Answer::say(lines))
        });
        rows.push(row(lines, quirks, |it| {
            it.run("test -f docs/a.txt");
            it.fails(
                "set -C; echo new > docs/b.txt",
                "cannot overwrite existing file",
            );
            it.holds("/docs/b.txt", "beta\n");
        }));
    }
    group(rows);
}

#[test]
fn a_name_that_listings_hide_is_not_overwritten() {
    let hiding =
        |quirks: Quirks| quirks.hides(|name| name.starts_with('.') && !matches!(name, "." | ".."));
    // Like `HideFiles` of ProFTPD.
    let without_line = |request: &Request, state: &mut State<'_>| {
        let path = state.resolve(&request.argument);
        let is_it = request.is(&["MLST"]) && path.contains("/.") && state.is_file(&path);
        is_it.then(|| Answer::say("250-Start of list for it\r\n250 End of list"))
    };
    let list_only = || hiding(Quirks::none().without_facts());
    let is_kept = |it: &Mounted| {
        it.fails(
            "set -C; echo new > .hidden",
            "cannot overwrite existing file",
        );
        it.run("echo other > other; mv -n other .hidden || true");
        it.fails("mkdir .hidden", "File exists");
        it.fails("mkdir .git", "File exists");
        it.fails("mkdir .hidden/x", "Not a directory");
        it.holds("/.hidden", "old\n");
        it.run("test \"$(cat .hidden)\" = old && test -d .git");
        it.fails("cat .nosuch", "No such file");
        it.run("set -C; echo new > .new; mkdir .made; mv -n .new .made/.moved");
        it.holds("/.made/.moved", "new\n");
    };
    let mut rows = Vec::new();
    for (name, quirks) in [
        ("LIST -a", list_only()),
        ("LIST -a without STAT", list_only().without("STAT")),
        ("LIST -a without MDTM", list_only().without("MDTM")),
        ("LIST -a without SIZE", list_only().without("SIZE")),
        ("MLSD", hiding(Quirks::none())),
        ("MLSD and MLST", hiding(Quirks::none()).hook(without_line)),
    ] {
        rows.push(row(name, quirks.clone(), is_kept));
        rows.push(row(format!("{name}, listed before"), quirks, move |it| {
            it.lists(".", "a");
            is_kept(it);
        }));
    }
    group(rows.into_iter().map(|row| {
        row.holding(|tree| {
            tree.file("/a", "old\n");
            tree.file("/.hidden", "old\n");
            tree.file("/.git/config", "old\n");
        })
    }));
}

#[test]
fn one_passing_refusal_does_not_hide_names() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let refuse_once = |verb: &'static str| {
        let was_refused = AtomicBool::new(false);
        move |request: &Request, _: &mut State<'_>| {
            let is_it = request.is(&[verb]) && request.argument.starts_with("-a");
            (is_it && !was_refused.swap(true, Ordering::Relaxed))
                .then(|| Answer::say("451 Try again"))
        }
    };
    let hides = |request: &Request, state: &mut State<'_>| {
        if !request.is(&["LIST"]) {
            return None;
        }
        let has_option = request.argument.starts_with("-a");
        let names = state.tree.names(&state.resolve(request.path()));
        let lines: String = names
            .iter()
            .filter(|name| has_option || !name.starts_with('.'))
            .map(|name| format!("-rw-r--r-- 1 user group 1 Jan  1  2020 {name}\r\n"))
            .collect();
        Some(Answer::send(lines))
    };
    let quirks = Quirks::none().without_facts().without("STAT");
    group([row(
        "LIST -a",
        quirks.hook(refuse_once("LIST")).hook(hides),
        |it| it.lists(".", ".hidden a"),
    )
    .holding(|tree| {
        tree.file("/a", "x");
        tree.file("/.hidden", "x");
    })]);
}

#[test]
fn a_missing_name_is_missing_whatever_mlst_says() {
    let mut rows = Vec::new();
    for lines in [
        "501 Not a valid pathname.",
        "550 Not found",
        "550 Failure",
        "250-Listing\n250 End",
        "250-Listing\n size=8;modify=20200101000000; x\n250 End",
    ] {
        let quirks = Quirks::none().hook(move |request, state| {
            let path = state.resolve(&request.argument);
            let is_missing =
                request.is(&["MLST"]) && !state.is_file(&path) && !state.is_directory(&path);
            is_missing.then(|| Answer::say(lines))
        });
        rows.push(row(lines, quirks, |it| {
            it.fails("cat docs/nosuch", "No such file");
            it.run("set -C; echo new > docs/new.txt; mkdir docs/dir; mv -n docs/new.txt docs/moved.txt");
            it.holds("/docs/moved.txt", "new\n");
            it.fails("set -C; echo new > docs/a.txt", "cannot overwrite existing file");
        }));
        let always = Quirks::none().says("MLST", lines);
        rows.push(row(format!("always {lines}"), always, |it| {
            it.fails("cat docs/nosuch", "No such file");
            it.fails(
                "set -C; echo new > docs/a.txt",
                "cannot overwrite existing file",
            );
            it.run("test \"$(cat docs/a.txt)\" = alpha");
        }));
    }
    group(rows);
}

/// All listings are empty, and nothing else known about the server shows whether they are true.
#[test]
fn a_server_that_has_listed_nothing_yet_is_asked_for_each_name() {
    let lists_nothing = |quirks: Quirks| {
        quirks
            .hook(|request, _| request.is(&["LIST", "NLST"]).then(|| Answer::send("")))
            .without_facts()
            .without("STAT")
    };
    let is_kept = |it: &Mounted| {
        it.fails(
            "set -C; echo new > docs/a.txt",
            "cannot overwrite existing file",
        );
        it.fails("mkdir docs", "File exists");
        it.run("echo other > other; mv -n other docs/a.txt || true");
        it.holds("/docs/a.txt", "alpha\n");
        it.run("test \"$(cat docs/a.txt)\" = alpha");
    };
    let servers = || {
        [
            ("with SIZE and MDTM", lists_nothing(Quirks::none())),
            ("with MDTM", lists_nothing(Quirks::none().without("SIZE"))),
            (
                "with CWD and RNFR alone",
                lists_nothing(Quirks::none().without("SIZE").without("MDTM")),
            ),
        ]
    };
    let hiding = servers().map(|(name, quirks)| row(name, quirks, is_kept));
    let fresh = servers().map(|(name, quirks)| {
        row(format!("an empty account, {name}"), quirks, |it| {
            it.lists(".", "");
            it.run("set -C; echo new > new.txt; mkdir made; echo inner > made/inner.txt");
            it.holds("/new.txt", "new\n");
            it.holds("/made/inner.txt", "inner\n");
            it.run("test \"$(cat new.txt)\" = new && mv new.txt moved.txt && rm moved.txt");
        })
        .holding(|_| {})
    });
    group(hiding.into_iter().chain(fresh));
}

/// A drop box on a server that says about a file only that it is not a directory.
#[test]
fn what_cwd_calls_no_directory_is_a_file() {
    let quirks = Quirks::none()
        .without_facts()
        .without("STAT")
        .without("SIZE")
        .without("MDTM")
        .says("RNFR", "550 Permission denied")
        .hook(|request, _| request.is(&["LIST", "NLST"]).then(|| Answer::send("")))
        .hook(|request, state| {
            let is_it = request.is(&["CWD"]) && state.is_file(&state.resolve(&request.argument));
            is_it.then(|| Answer::say("550 Not a directory"))
        });
    group([row("a drop box", quirks, |it| {
        it.fails(
            "set -C; echo new > docs/a.txt",
            "cannot overwrite existing file",
        );
        it.holds("/docs/a.txt", "alpha\n");
    })]);
}

/// The server uses the same words for a missing name and for one it cannot report on at present.
#[test]
fn words_of_mlst_that_refused_a_name_that_is_there_say_nothing() {
    let quirks = Quirks::none().hook(|request, state| {
        let path = state.resolve(&request.argument);
        let is_told = state.is_directory(&path) || path.ends_with("b.txt");
        (request.is(&["MLST"]) && !is_told).then(|| Answer::say("550 Failed"))
    });
    let story = |first: &'static str| {
        move |it: &Mounted| {
            it.run("test -f docs/b.txt");
            it.run(first);
            it.fails("cat docs/nosuch", "No such file");
            it.fails("cat docs/nosuch2", "No such file");
            it.run("test -f docs/a.txt");
            it.fails(
                "set -C; echo new > docs/a.txt",
                "cannot overwrite existing file",
            );
            it.holds("/docs/a.txt", "alpha\n");
        }
    };
    group([
        row("it is looked at first", quirks, story("test -f docs/a.txt"))
            .with(&["dir_ttl=0", "attr_ttl=0"]),
    ]);
}

/// Programs that write under their own temporary names pay for a doubt once, not once per file.
#[test]
fn a_server_that_lists_dot_names_is_not_asked_for_each() {
    let story = |it: &Mounted| {
        it.run("for i in {1..12}; do echo $i > docs/.t$i; mv docs/.t$i docs/f$i; done");
        it.run("test \"$(cat docs/f12)\" = 12");
        let asked = it.server.count("CWD");
        assert!(asked < 24, "{asked} questions about 12 names");
    };
    group([row("LIST -a", Quirks::none().without_facts(), story)]);
}
