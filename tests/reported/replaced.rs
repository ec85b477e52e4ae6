//! Another client interferes while a file is replaced, or the server loses what it received. No
//! file is deleted that may be the only copy of its content, and a file counts as stored only once
//! it has been seen.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::row::{Mounted, group, row};
use crate::support::{Answer, Quirks};

/// Does not rename onto a file. The first time that the name `/docs/a.txt` is free, another client
/// creates it.
fn another_makes_the_target(theirs: &'static str) -> Quirks {
    let was_made = AtomicBool::new(false);
    Quirks::none().hook(move |request, state| {
        let is_replacing = request.verb == "RNTO" && request.argument.ends_with("docs/a.txt");
        if !is_replacing {
            return None;
        }
        let is_free = !state.is_file(&request.argument);
        if is_free && !was_made.swap(true, Ordering::Relaxed) {
            state.tree.file("/docs/a.txt", theirs);
        }
        let exists = state.is_file(&request.argument);
        exists.then(|| Answer::say("550 File exists"))
    })
}

/// Returns the contents of the files in `/docs`.
fn contents(t: &Mounted) -> Vec<String> {
    let tree = t.server.tree();
    let names = tree.names("/docs").into_iter();
    names
        .map(|name| tree.text(&format!("/docs/{name}")).unwrap())
        .collect()
}

fn keeps_the_old_file(t: &Mounted) {
    let all = contents(t);
    assert!(all.iter().any(|text| text == "alpha\n"), "{all:?}");
    // The old file is visible to users.
    let shown = t.run("cat docs/*");
    assert!(shown.contains("alpha\n"), "{shown}");
}

#[test]
fn another_client_takes_the_name_of_a_file_that_is_replaced() {
    group([
        row(
            "the_old_file_is_kept_when_an_upload_finds_another_s_file",
            another_makes_the_target("theirs\n"),
            |t| {
                t.run("echo changed > docs/a.txt || true");
                keeps_the_old_file(t);
            },
        )
        .with(&["dir_ttl=0"]),
        row(
            "the_old_file_is_kept_when_a_rename_finds_another_s_file",
            another_makes_the_target("theirs, which are longer\n"),
            |t| {
                t.run("! mv docs/b.txt docs/a.txt");
                keeps_the_old_file(t);
                t.holds("/docs/a.txt", "theirs, which are longer\n");
                t.holds("/docs/b.txt", "beta\n");
            },
        )
        .with(&["dir_ttl=0"]),
    ]);
}

/// The server crashes at the rename, and removes unfinished uploads when it restarts.
fn loses_the_upload_once() -> Quirks {
    let was_lost = AtomicBool::new(false);
    Quirks::none().hook(move |request, state| {
        let from = state.rename_from.clone().unwrap_or_default();
        let is_lost = request.verb == "RNTO"
            && from.ends_with(".part")
            && !was_lost.swap(true, Ordering::Relaxed);
        if !is_lost {
            return None;
        }
        let _ = state.tree.delete(&from);
        Some(Answer::close())
    })
}

/// Stores with a single close: descriptors duplicated by the shell or dd would store an empty file.
const STORE: &str = "cp <(echo changed) docs/a.txt";

#[test]
fn an_upload_that_the_server_lost_is_not_taken_for_the_old_file() {
    group([
        row(
            "a_lost_upload_is_stored_again",
            loses_the_upload_once(),
            |t| {
                t.run(STORE);
                t.holds("/docs/a.txt", "changed\n");
            },
        ),
        row(
            "a_lost_upload_is_stored_again_where_only_list_tells_of_it",
            loses_the_upload_once().without_facts(),
            |t| {
                t.run(STORE);
                t.holds("/docs/a.txt", "changed\n");
            },
        ),
    ]);
}
