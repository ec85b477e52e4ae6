//! Replies that say something else than what was done, come twice, or come late.

use std::time::Duration;

use crate::row::{Mounted, group, row};
use crate::support::{Answer, Quirks, Request, State, Step};

/// Every kind of change works, and is done when the program has ended.
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

/// Carries out a rename or a removal, now or later.
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
