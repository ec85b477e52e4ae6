//! Servers that accept files but not temporary names or renames. A remaining `.part` or `.old` is a
//! leftover.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::row::{Mounted, group, row};
use crate::support::{Answer, Quirks, wait_for};

/// Asserts that new, replaced and additional files are stored without leftovers.
fn writes(t: &Mounted) {
    t.run("echo new > docs/new.txt; echo changed > docs/a.txt; echo more >> docs/b.txt; echo 2 > docs/2");
    t.holds("/docs/new.txt", "new\n");
    t.holds("/docs/a.txt", "changed\n");
    t.holds("/docs/b.txt", "beta\nmore\n");
    t.holds("/docs/2", "2\n");
    t.names("/docs", "2 a.txt b.txt new.txt");
    t.lists("docs", "2 a.txt b.txt new.txt");
    assert_eq!(t.run("cat docs/new.txt docs/a.txt"), "new\nchanged\n");
}

/// Refuses to store files whose names match.
fn refuses_names(refused: fn(&str) -> bool, lines: &'static str) -> Quirks {
    Quirks::none().hook(move |request, _| {
        let name = request.argument.rsplit('/').next().unwrap_or_default();
        (request.is(&["STOR", "APPE", "RNTO"]) && refused(name)).then(|| Answer::say(lines))
    })
}

fn has_dot(name: &str) -> bool {
    name.starts_with('.')
}

#[test]
fn renames_are_refused() {
    let mut rows = Vec::new();
    let refusals: [(&str, &str); 11] = [
        ("RNFR", "550 Permission denied"),
        ("RNFR", "553 Not on this server"),
        ("RNFR", "553 Requested action not taken"),
        ("RNFR", "450 Requested file action not taken"),
        ("RNFR", "451 Local error"),
        ("RNFR", "502 Command not implemented"),
        ("RNFR", "500 Unknown command"),
        ("RNTO", "553 Permission denied"),
        ("RNTO", "550 Rename failed"),
        ("RNTO", "502 Not implemented"),
        ("RNTO", "550 Umbenennen verweigert"),
    ];
    rows.extend(refusals.map(|(verb, lines)| {
        row(
            format!("files_are_written: {verb} {lines}"),
            Quirks::none().says(verb, lines),
            writes,
        )
    }));
    rows.extend(refusals.map(|(verb, lines)| {
        row(
            format!("files_are_written without MLST: {verb} {lines}"),
            Quirks::none().without_facts().says(verb, lines),
            writes,
        )
    }));
    rows.extend([
        row(
            "files_are_written: only to names that are free",
            Quirks::none().hook(|request, state| {
                let exists = state.is_file(&request.argument);
                (request.verb == "RNTO" && exists).then(|| Answer::say("550 File exists"))
            }),
            writes,
        ),
        row(
            "a_file_is_written_that_was_there: RNFR is always refused for the moment",
            Quirks::none().says("RNFR", "450 Not now"),
            |t| {
                t.run("for i in 1 2 3 4; do echo $i > docs/a.txt || true; done");
                t.holds("/docs/a.txt", "4\n");
                t.run("echo 5 > docs/a.txt; echo 6 > docs/b.txt");
                t.holds("/docs/b.txt", "6\n");
            },
        ),
        row(
            "files_are_written: to free names, and nothing is deleted",
            Quirks::none()
                .says("DELE", "550 Permission denied")
                .hook(|request, state| {
                    let exists = state.is_file(&request.argument);
                    (request.verb == "RNTO" && exists).then(|| Answer::say("550 File exists"))
                }),
            |t| {
                t.run(
                    "echo changed > docs/a.txt; echo new > docs/new.txt; echo again > docs/a.txt",
                );
                t.holds("/docs/a.txt", "again\n");
                t.holds("/docs/new.txt", "new\n");
            },
        ),
    ]);
    group(rows);
}

#[test]
fn a_drop_box() {
    let mut rows = Vec::new();
    let drop_box = |rename: &'static str| {
        Quirks::none()
            .says("RNFR", rename)
            .says("DELE", "550 Permission denied")
            .says("MKD", "550 Permission denied")
            .says("RMD", "550 Permission denied")
    };
    for rename in [
        "550 Permission denied.",
        "502 Not allowed",
        "553 Not on this server",
    ] {
        rows.extend([
            row(
                format!("many_files_leave_one_leftover_at_most: {rename}"),
                drop_box(rename),
                |t| {
                    t.run("for i in 1 2 3 4 5; do echo $i > empty/f$i; done");
                    for i in 1..6 {
                        t.holds(&format!("/empty/f{i}"), &format!("{i}\n"));
                    }
                    let names = t.server.tree().names("/empty");
                    assert!(names.len() <= 6, "{names:?}");
                    t.lists("empty", "f1 f2 f3 f4 f5");
                },
            ),
            row(
                format!("many_files_at_once_are_stored: {rename}"),
                drop_box(rename),
                |t| {
                    t.run("for i in 1 2 3 4 5 6 7 8; do echo $i > empty/f$i & done; wait");
                    for i in 1..9 {
                        t.holds(&format!("/empty/f{i}"), &format!("{i}\n"));
                    }
                },
            ),
        ]);
    }
    group(rows);
}

/// A server stops, and its sessions carry out the commands they received once it continues: a file
/// created then by an unanswered upload is deleted, too.
#[test]
fn uploads_that_are_carried_out_late() {
    let late = Mutex::new(None);
    let quirks = Quirks::none().hook(move |request, state| {
        let mut late = late.lock().unwrap();
        match &*late {
            None if request.verb == "STOR" => {
                *late = Some((state.resolve(&request.argument), Instant::now()));
                return Some(Answer::close());
            }
            Some((path, since)) if since.elapsed() > Duration::from_secs(2) => {
                if !path.is_empty() {
                    state.tree.file(path, "late");
                }
                *late = Some((String::new(), *since));
            }
            Some(_) | None => {}
        }
        None
    });
    group([row("the connection is lost", quirks, |t| {
        let part = || {
            let names = t.server.tree().names("/docs");
            names.iter().any(|name| has_dot(name))
        };
        t.run("echo new > docs/new.txt");
        t.holds("/docs/new.txt", "new\n");
        // The server could still truncate a file that is stored under the name of the lost one.
        let stored = |command: &String| command.starts_with("STOR ");
        let mut names: Vec<_> = t.server.commands().into_iter().filter(stored).collect();
        let attempts = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), attempts, "{names:?}");
        assert!(wait_for(Duration::from_secs(10), || {
            t.run("test ! -e docs/absent$RANDOM");
            part()
        }));
        assert!(wait_for(Duration::from_secs(30), || !part()));
    })
    .with(&["dir_ttl=0", "attr_ttl=0"])]);
}

#[test]
fn names_that_begin_with_a_dot() {
    let mut rows = Vec::new();
    let refusals = [
        "550 No such file or directory",
        "553 Could not create file",
        "553 Prohibited file name: .ftpfs",
        "500 Illegal name",
        "501 Invalid file name",
        "451 Local error",
        "550 Permission denied",
    ];
    rows.extend(refusals.map(|lines| {
        row(
            format!("files_are_written_where_dot_names_are_refused: {lines}"),
            refuses_names(has_dot, lines),
            writes,
        )
    }));
    let hidden = || Quirks::none().hides(has_dot);
    let unseen = |verbs: &'static [&'static str], lines: &'static str| {
        hidden().hook(move |request, _| {
            let name = request.argument.rsplit('/').next().unwrap_or_default();
            (request.is(verbs) && has_dot(name)).then(|| Answer::say(lines))
        })
    };
    rows.extend([
        row(
            "files_are_written_where_dot_names_are_hidden",
            hidden(),
            writes,
        ),
        row(
            "files_are_written_where_dot_names_are_hidden_from_list",
            hidden().without_facts(),
            writes,
        ),
        row(
            "many_files_cost_one_listing_where_dot_names_are_hidden",
            hidden(),
            |t| {
                t.run("ls docs");
                let before = t.server.count("MLSD");
                t.run("for i in {1..8}; do echo $i > docs/f$i; done");
                let listings = t.server.count("MLSD") - before;
                assert!(listings <= 2, "{listings} listings for 8 files");
            },
        ),
        row(
            "files_are_written_where_mlst_of_a_dot_name_has_no_line",
            unseen(&["MLST"], "250-Begin\n250 End"),
            writes,
        ),
        row(
            "files_are_written_where_a_dot_name_is_not_seen",
            unseen(&["MLST", "SIZE", "MDTM"], "550 No such file"),
            writes,
        ),
        row(
            "files_are_written_where_a_dot_name_cannot_be_renamed",
            unseen(
                &["MLST", "SIZE", "MDTM", "RNFR", "DELE"],
                "550 No such file or directory",
            ),
            |t| {
                t.run("echo new > docs/new.txt; echo changed > docs/a.txt; echo 2 > docs/2; echo 3 > docs/3");
                t.holds("/docs/new.txt", "new\n");
                t.holds("/docs/a.txt", "changed\n");
                t.lists("docs", "2 3 a.txt b.txt new.txt");
                let leftovers = t.server.tree().names("/docs").len() - 5;
                assert!(leftovers <= 2, "{leftovers} leftovers");
            },
        ),
    ]);
    group(rows);
}

#[test]
fn names_of_a_kind_only() {
    group([
        row(
            "files_are_written_where_only_some_extensions_may_be",
            refuses_names(|name| !name.ends_with(".txt"), "553 File type not allowed"),
            |t| {
                t.run(
                    "echo new > docs/new.txt; echo changed > docs/a.txt; echo more >> docs/b.txt",
                );
                t.holds("/docs/new.txt", "new\n");
                t.holds("/docs/a.txt", "changed\n");
                t.holds("/docs/b.txt", "beta\nmore\n");
                t.names("/docs", "a.txt b.txt new.txt");
                t.run("! echo no > docs/no.exe");
                t.names("/docs", "a.txt b.txt new.txt");
            },
        ),
        row(
            "files_are_written_where_long_names_may_not_be",
            refuses_names(|name| name.len() > 12, "501 File name too long"),
            writes,
        ),
        row(
            "files_are_written_where_unfinished_files_are_taken_away",
            // The server moves every upload elsewhere, so that a rename finds nothing.
            Quirks::none().hook(|request, state| {
                let name = request.argument.rsplit('/').next().unwrap_or_default();
                if request.verb == "RNFR" && (name.ends_with(".part") || has_dot(name)) {
                    let path = state.resolve(&request.argument);
                    let _ = state.tree.delete(&path);
                    return Some(Answer::say("550 No such file"));
                }
                None
            }),
            writes,
        ),
        row(
            "an_old_file_gets_its_name_back",
            // The server refuses to rename onto a file, and to rename an upload: the old file
            // cannot be replaced by a rename.
            Quirks::none().hook(|request, state| {
                let from = state.rename_from.clone().unwrap_or_default();
                let is_refused = state.is_file(&request.argument) || from.ends_with(".part");
                (request.verb == "RNTO" && is_refused).then(|| Answer::say("553 Not allowed"))
            }),
            |t| {
                t.run("echo changed > docs/a.txt || true");
                let text = t.server.tree().text("/docs/a.txt");
                assert!(
                    matches!(text.as_deref(), Some("alpha\n" | "changed\n")),
                    "{text:?}"
                );
                t.names("/docs", "a.txt b.txt");
            },
        ),
        row(
            "a_full_server_leaves_the_old_file",
            Quirks::none().alter_verbs(&["STOR"], |answer| answer.ending_with("452 No space left")),
            |t| {
                t.fails("echo changed > docs/a.txt", "No space left");
                t.holds("/docs/a.txt", "alpha\n");
                t.names("/docs", "a.txt b.txt");
            },
        ),
        row(
            "a_file_that_is_too_large_says_so",
            Quirks::none()
                .alter_verbs(&["STOR"], |answer| answer.ending_with("552 File too large")),
            |t| {
                t.fails("echo changed > docs/a.txt", "File too large");
                t.holds("/docs/a.txt", "alpha\n");
            },
        ),
    ]);
}
