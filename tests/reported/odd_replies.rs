//! Replies that contradict what was done, arrive twice, or arrive late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::row::{Mounted, all_facts, group, row};
use crate::support::{Answer, Quirks, Request, State, Step};

/// Omits modes from listings.
fn without_modes() -> Quirks {
    all_facts(|lines| lines.replace("UNIX.mode=0644;", ""))
}

/// A replacement for chmod: since coreutils 9.5, chmod ignores that a mode cannot be set.
const CHMOD: &str = "python3 -c 'import os; os.chmod(\"docs/a.txt\", 0o600)'";

/// Asserts that every kind of change works, and is complete when the program has ended.
fn changes(t: &Mounted) {
    t.run("echo new > docs/new.txt; echo changed > docs/a.txt; mkdir made; mv docs/new.txt made/moved.txt");
    t.holds("/made/moved.txt", "new\n");
    t.holds("/docs/a.txt", "changed\n");
    t.run("rm docs/b.txt; rmdir empty; mv made renamed; cat renamed/moved.txt docs/a.txt");
    t.names("/docs", "a.txt");
    t.names("/", "docs renamed");
    t.lists("renamed", "moved.txt");
}

#[test]
fn unusual_replies_to_what_is_done() {
    let does = |verb, lines| {
        (
            format!("{verb} says {lines}"),
            Quirks::none().does_and_says(verb, lines),
        )
    };
    group(
        [
            does("RNFR", "250 Ready"),
            does("RNFR", "200 OK"),
            does("RNFR", "350-Ready\n350 for RNTO"),
            does("RNTO", "200 Renamed"),
            does("RNTO", "226 Renamed"),
            does("RNTO", "257 Renamed"),
            does("DELE", "200 Deleted"),
            does("DELE", "226 Deleted"),
            does("DELE", "254 Deleted"),
            does("MKD", "250 Made"),
            does("MKD", "200 Made"),
            does("MKD", "257 made"),
            does("RMD", "257 Removed"),
            does("RMD", "200 Removed"),
            does("STOR", "250 Stored"),
            does("STOR", "200 Stored"),
            does("CWD", "200 There"),
        ]
        .map(|(name, quirks)| row(format!("changes_are_done: {name}"), quirks, changes)),
    );
}

#[test]
fn more_replies_than_one() {
    let mut rows = Vec::new();
    let before = |verb, lines| {
        (
            format!("{lines} before the reply to {verb}"),
            Quirks::none().says_before(verb, lines),
        )
    };
    let after = |verb, lines| {
        (
            format!("{lines} after the reply to {verb}"),
            Quirks::none().says_after(verb, lines),
        )
    };
    rows.extend(
        [
            before("DELE", "150 Deleting"),
            before("MKD", "150 Making"),
            before("RMD", "150 Removing"),
            before("RNTO", "150 Renaming"),
            before("RNTO", "125 Renaming"),
            after("STOR", "226 Transfer complete"),
            after("STOR", "226-Stored\n226 on disk"),
            after("RETR", "226 Transfer complete"),
            after("MLSD", "226 Transfer complete"),
            after("MLSD", "250 Listed"),
        ]
        .map(|(name, quirks)| row(format!("changes_are_done: {name}"), quirks, changes)),
    );
    rows.extend(
        [
            after("LIST", "226 Transfer complete"),
            after("STAT", "213 End"),
        ]
        .map(|(name, quirks)| {
            row(
                format!("changes_are_done: {name}"),
                quirks.without_facts(),
                changes,
            )
        }),
    );
    group(rows);
}

/// Returns the requested change, such as a rename or a removal, to carry out now or later.
fn carry_out(
    request: &Request,
    state: &State<'_>,
) -> Option<Box<dyn FnOnce(&mut crate::support::FileTree) + Send>> {
    let path = state.resolve(&request.argument);
    let from = state.rename_from.clone();
    match request.verb.as_str() {
        "RNTO" => Some(Box::new(move |tree| {
            let _ = tree.rename(&from.unwrap_or_default(), &path);
        })),
        "DELE" => Some(Box::new(move |tree| {
            let _ = tree.delete(&path);
        })),
        "MKD" => Some(Box::new(move |tree| {
            let _ = tree.make_directory(&path);
        })),
        "RMD" => Some(Box::new(move |tree| {
            let _ = tree.remove_directory(&path);
        })),
        _ => None,
    }
}

#[test]
fn done_though_refused() {
    let refusals: [(&str, &str); 3] = [
        ("RNTO", "553 Rename failed"),
        ("RNTO", "550 Rename failed"),
        ("RNTO", "451 Local error"),
    ];
    group(refusals.map(|(verb, lines)| {
        let quirks = Quirks::none().alter(move |request, answer| {
            if request.verb == verb && !answer.is_refusal() {
                Answer::say(lines)
            } else {
                answer
            }
        });
        row(
            format!("what_is_done_is_not_a_failure: {verb} {lines}"),
            quirks,
            changes,
        )
    }));
}

#[test]
fn done_a_moment_later() {
    let replies: [(&str, &str); 2] = [("RNTO", "553 Rename failed"), ("RNTO", "250 Renamed")];
    group(replies.map(|(verb, lines)| {
        let quirks = Quirks::none().hook(move |request, state| {
            let change = (request.verb == verb).then(|| carry_out(request, state))??;
            Some(Answer::say(lines).then(Step::Later(Duration::from_secs(1), change)))
        });
        row(
            format!("no_file_is_lost_that_is_renamed_a_moment_later: {verb} {lines}"),
            quirks,
            |t| {
                t.run("echo changed > docs/a.txt || true; echo new > docs/new.txt || true");
                let is_settled = crate::support::wait_for(Duration::from_secs(20), || {
                    let names = t.server.tree().names("/docs");
                    let text = t.server.tree().text("/docs/a.txt");
                    names
                        .iter()
                        .all(|name| !name.starts_with('.') && !name.ends_with(".part"))
                        && matches!(text.as_deref(), Some("alpha\n" | "changed\n"))
                });
                let tree = t.server.tree();
                assert!(
                    is_settled,
                    "{:?} {:?}",
                    tree.names("/docs"),
                    tree.text("/docs/a.txt")
                );
            },
        )
    }));
}

#[test]
fn a_completion_that_is_slow() {
    let seconds = Duration::from_secs;
    group([
        row(
            "a_file_is_stored_though_its_226_is_late",
            Quirks::none().slow_to_end("STOR", seconds(8)),
            |t| {
                t.run("f=$(mktemp); echo new > $f; cp $f docs/new.txt; rm $f");
                t.holds("/docs/new.txt", "new\n");
                t.names("/docs", "a.txt b.txt new.txt");
                assert_eq!(t.server.count("STOR"), 1);
            },
        )
        .with(&["timeout=4"]),
        row(
            "a_file_is_read_though_its_226_is_late",
            Quirks::none().slow_to_end("RETR", seconds(3)),
            |t| {
                assert_eq!(t.run("cat docs/a.txt docs/b.txt"), "alpha\nbeta\n");
                t.run("echo new > docs/new.txt");
            },
        ),
        row(
            "a_listing_is_shown_though_its_226_is_late",
            Quirks::none().slow_to_end("MLSD", seconds(2)),
            |t| {
                t.lists("docs", "a.txt b.txt");
            },
        ),
    ]);
}

/// The server does not find the first file whose time is set, as if a rename were still in
/// progress.
fn missed_once() -> Quirks {
    let was_missed = AtomicBool::new(false);
    Quirks::none().hook(move |request, _| {
        let is_first = request.verb == "MFMT" && !was_missed.swap(true, Ordering::Relaxed);
        is_first.then(|| Answer::say("550 No such file"))
    })
}

#[test]
fn replies_that_are_no_yes() {
    let unknown = |lines| {
        Quirks::none()
            .without("SITE")
            .without("MFMT")
            .without("MDTM")
            .unknown_verbs(lines)
    };
    group([
        row(
            "mkdir_that_202_did_not_do_fails",
            Quirks::none().says("MKD", "202 Superfluous"),
            |t| {
                t.run("! mkdir new");
                t.lists(".", "docs empty");
            },
        ),
        row(
            "rm_that_202_did_not_do_fails",
            Quirks::none().says("DELE", "202 Superfluous"),
            |t| {
                t.run("! rm docs/a.txt");
                t.lists("docs", "a.txt b.txt");
            },
        ),
        row(
            "rmdir_that_202_did_not_do_fails",
            Quirks::none().says("RMD", "202 Superfluous"),
            |t| {
                t.run("! rmdir empty");
                t.lists(".", "docs empty");
            },
        ),
        row(
            "chmod_that_202_did_not_do_fails",
            Quirks::none().says("SITE", "202 Superfluous"),
            |t| {
                t.fails(CHMOD, "not supported");
            },
        ),
        row(
            "touch_that_202_did_not_do_fails",
            Quirks::none()
                .says("MFMT", "202 Superfluous")
                .without("SITE")
                .without("MDTM"),
            |t| t.fails("touch -d 2001-02-03 docs/a.txt", "not supported"),
        ),
        row(
            "what_is_unknown_as_402_is_not_supported",
            unknown("402 Unknown command"),
            |t| {
                t.fails(CHMOD, "not supported");
                t.fails("touch -d 2001-02-03 docs/a.txt", "not supported");
            },
        ),
        row(
            "what_is_unknown_as_504_is_not_supported",
            unknown("504 Not for that parameter"),
            |t| {
                t.fails(CHMOD, "not supported");
                t.fails("touch -d 2001-02-03 docs/a.txt", "not supported");
            },
        ),
        row("a_mode_is_set_where_none_is_listed", without_modes(), |t| {
            t.run("chmod 644 docs/a.txt");
            assert_eq!(t.server.count("SITE CHMOD 644 /docs/a.txt"), 1);
        }),
        row(
            "a_mode_that_is_shown_is_no_error_where_none_can_be_set",
            without_modes().without("SITE"),
            |t| {
                t.run("chmod 644 docs/a.txt");
                t.fails(CHMOD, "not supported");
            },
        ),
        row(
            "modes_of_files_are_set_where_those_of_directories_are_refused",
            Quirks::none().hook(|request, state| {
                let of_directory = request.verb == "SITE"
                    && state.is_directory(request.argument.rsplit(' ').next().unwrap_or_default());
                of_directory.then(|| Answer::say("550 Operation not permitted"))
            }),
            |t| {
                t.run("for i in 1 2 3 4 5 6 7 8; do mkdir d$i; ! chmod 700 d$i; done");
                t.run("chmod 600 docs/a.txt");
                assert_eq!(t.run("stat -c %a docs/a.txt"), "600\n");
            },
        ),
        row(
            "what_cannot_be_set_is_asked_once",
            unknown("500 Unknown command"),
            |t| {
                t.run("mkdir many; for i in 1 2 3 4 5; do echo $i > many/$i; done");
                t.run("for i in many/*; do touch -d 2001-02-03 $i || true; chmod 600 $i || true; done");
                let asked = (t.server.count("MFMT"), t.server.count("SITE CHMOD"));
                assert!(asked.0 <= 1 && asked.1 <= 1, "{asked:?}");
            },
        ),
        row(
            "a_time_that_was_refused_of_a_file_just_renamed_is_set_and_so_is_the_next_one",
            missed_once(),
            |t| {
                t.run("touch -d 2001-02-03 docs/a.txt docs/b.txt");
                t.run(
                    "test $(date -r docs/a.txt +%Y) = 2001; test $(date -r docs/b.txt +%Y) = 2001",
                );
                assert_eq!(t.server.count("MFMT"), 3);
                assert_eq!(t.server.count("SITE"), 0, "no other way is tried");
            },
        ),
        row(
            "times_of_files_are_set_where_those_of_directories_are_refused",
            Quirks::none().hook(|request, state| {
                let (_, path) = request.argument.split_once(' ')?;
                let is_it = request.verb == "MFMT" && state.is_directory(&state.resolve(path));
                is_it.then(|| Answer::say("550 Not retrievable"))
            }),
            |t| {
                t.run("mkdir d{1..9}; touch -d 2001-02-03 d*");
                assert!(
                    t.server.count("MFMT") <= 5,
                    "the server is asked a few times"
                );
                t.run("touch -d 2001-02-03 docs/a.txt; test $(date -r docs/a.txt +%Y) = 2001");
                assert_eq!(t.server.count("SITE"), 0, "no other way is tried");
            },
        ),
        row(
            "times_of_files_are_set_where_those_of_directories_are_not_supported",
            Quirks::none().hook(|request, state| {
                let (_, path) = request.argument.split_once(' ')?;
                let is_it = request.verb == "MFMT" && state.is_directory(&state.resolve(path));
                is_it.then(|| Answer::say("504 Not for directories"))
            }),
            |t| {
                t.run("touch -d 2001-02-03 docs/a.txt docs docs/b.txt");
                t.run(
                    "test $(date -r docs/a.txt +%Y) = 2001; test $(date -r docs/b.txt +%Y) = 2001",
                );
            },
        ),
        row(
            "rmdir_of_a_directory_with_files_says_so: 451",
            Quirks::none().says("RMD", "451 Local error"),
            |t| {
                t.fails("rmdir docs", "not empty");
            },
        ),
        row(
            "rmdir_of_a_directory_with_files_says_so: 550",
            Quirks::none().says("RMD", "550 Permission denied"),
            |t| t.fails("rmdir docs", "not empty"),
        ),
        row(
            "a_directory_does_not_replace_one_with_files",
            Quirks::none().hook(|request, state| {
                let to = state.resolve(&request.argument);
                let from = state.rename_from.clone()?;
                (request.verb == "RNTO" && state.is_directory(&to)).then(|| {
                    for name in state.tree.names(&to) {
                        let _ = state.tree.delete(&format!("{to}/{name}"));
                    }
                    let _ = state.tree.remove_directory(&to);
                    let _ = state.tree.rename(&from, &to);
                    Answer::say("250 Done")
                })
            }),
            |t| {
                t.fails("mv -T empty docs", "not empty");
                t.names("/docs", "a.txt b.txt");
                t.names("/", "docs empty");
            },
        ),
    ]);
}

#[test]
fn a_transfer_that_is_refused_after_its_150_says_why() {
    let refused = |lines: &'static str| {
        Quirks::none().hook(move |request, _| {
            let is_it = request.is(&["RETR"]) && request.argument.ends_with("a.txt");
            is_it.then(|| Answer::send("").ending_with(lines))
        })
    };
    group(
        [
            ("550 a.txt: Permission denied", "Permission denied"),
            ("550 a.txt: Is a directory", "Is a directory"),
            ("550 File not found", "No such file"),
            ("426 Transfer aborted", "Input/output error"),
            ("451 Local error", "Input/output error"),
        ]
        .map(|(lines, words)| {
            row(lines, refused(lines), move |it| {
                it.lists("docs", "a.txt b.txt");
                it.fails("cat docs/a.txt", words);
            })
        }),
    );
}

#[test]
fn a_mode_that_is_not_set() {
    let story = |t: &Mounted| {
        t.run("echo script > ../local; chmod 755 ../local; cp -p ../local docs/1; cp -p ../local docs/2");
        let modes = t.run("stat -c %a docs/1 docs/2; ls docs >/dev/null; stat -c %a docs/1 docs/2");
        assert_eq!(modes, "644\n".repeat(4));
        let log = t.mount.log();
        let warnings = log.lines().filter(|line| line.contains("WARN"));
        assert!(warnings.count() <= 1, "{log}");
    };
    let refused = || Quirks::none().says("SITE", "550 Operation not permitted");
    group([
        row("the_server_s_mode_is_shown", refused(), story),
        row(
            "the_server_s_mode_is_shown_where_only_list_tells_it",
            refused().without_facts(),
            story,
        ),
    ]);
}
