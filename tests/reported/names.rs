//! Servers that do not keep names: one file must never replace another.

use crate::row::{group, row};
use crate::support::Quirks;

#[test]
fn a_server_without_case() {
    let mut rows = Vec::new();
    let servers = [
        ("MLSD", Quirks::none().case_blind()),
        ("LIST", Quirks::none().case_blind().without_facts()),
    ];
    let stories: [(&str, fn(&crate::row::Mounted)); 2] = [
        ("a_name_can_change_its_case", |t| {
            t.run("mv docs/a.txt docs/A.txt; mv empty Empty");
            t.names("/docs", "A.txt b.txt");
            t.names("/", "Empty docs");
            t.lists("docs", "A.txt b.txt");
            assert_eq!(t.run("cat docs/A.txt"), "alpha\n");
        }),
        ("mkdir_of_another_spelling_is_refused", |t| {
            t.fails("mkdir DOCS", "exists");
            t.fails("mkdir docs/A.TXT", "exists");
            t.names("/", "docs empty");
        }),
    ];
    let with_facts: [(&str, fn(&crate::row::Mounted)); 4] = [
        (
            "an_exclusive_create_does_not_overwrite_another_spelling",
            |t| {
                t.fails("set -C; echo mine > docs/A.TXT", "cannot overwrite");
                t.fails("set -C; echo mine > DOCS/b.txt", "cannot overwrite");
                t.holds("/docs/a.txt", "alpha\n");
                t.holds("/docs/b.txt", "beta\n");
            },
        ),
        ("another_spelling_is_found", |t| {
            assert_eq!(
                t.run("cat docs/A.TXT Docs/b.TXT; stat -c %s docs/B.TXT"),
                "alpha\nbeta\n5\n"
            );
            t.fails("cat docs/C.TXT", "No such file");
        }),
        ("writing_to_another_spelling_replaces_the_file", |t| {
            t.run("echo new > docs/A.TXT");
            assert_eq!(t.run("cat docs/A.TXT docs/a.txt"), "new\nnew\n");
            assert_eq!(t.server.tree().names("/docs").len(), 2);
        }),
        (
            "an_archive_with_both_spellings_loses_none_in_silence",
            |t| {
                let unpacked = t.run(
                    "d=$(mktemp -d); trap 'rm -r $d' EXIT; echo one > $d/name; echo two > $d/NAME
                cp -n $d/name . && echo name; set -C; cat $d/NAME > NAME || echo refused",
                );
                assert_eq!(unpacked, "name\nrefused\n");
                t.holds("/name", "one\n");
            },
        ),
    ];
    for (how, quirks) in servers {
        rows.extend(
            stories.map(|(name, story)| row(format!("{name}: {how}"), quirks.clone(), story)),
        );
    }
    rows.extend(with_facts.map(|(name, story)| row(name, Quirks::none().case_blind(), story)));
    group(rows);
}

fn drop_dashes(name: &str) -> String {
    let words = name.split(' ').filter(|word| !word.starts_with('-'));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn directories_on_a_server_that_changes_names() {
    group([
        row(
            "a_directory_under_a_changed_name_is_not_reported_as_made",
            Quirks::none().changes_names(drop_dashes),
            |t| {
                t.run("! mkdir 'docs -new'");
                t.names("/", "docs empty");
            },
        ),
        row(
            "unusual_names_work_where_they_are_kept",
            Quirks::none(),
            |t| {
                t.run(
                "for n in 'a -b.txt' '-l' ' lead' 'trail ' 'dot.' 'ä' 'UPPER' 'a:b' 'a  b' \"$(printf 'x%.0s' {1..200})\"
                do echo \"$n\" > \"docs/$n\"; done; mkdir 'docs/-d -e' docs/É; mv docs/UPPER docs/upper",
            );
                assert_eq!(t.run("ls -A docs | wc -l"), "14\n");
                assert_eq!(t.server.tree().names("/docs").len(), 14);
                t.holds("/docs/a -b.txt", "a -b.txt\n");
            },
        ),
    ]);
}
