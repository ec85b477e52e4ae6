//! Servers that do not preserve names: one file must never replace another.

use crate::row::{Row, group, row};
use crate::support::{FileTree, Quirks};

#[test]
fn a_server_without_case() {
    let mut rows = Vec::new();
    let servers = [
        ("MLSD", Quirks::none().case_blind()),
        ("LIST", Quirks::none().case_blind().without_facts()),
    ];
    let stories: [(&str, fn(&crate::row::Mounted)); 9] = [
        (
            "an_exclusive_create_does_not_overwrite_another_spelling",
            |t| {
                t.fails("set -C; echo mine > docs/A.TXT", "cannot overwrite");
                t.fails("set -C; echo mine > DOCS/b.txt", "cannot overwrite");
                t.holds("/docs/a.txt", "alpha\n");
                t.holds("/docs/b.txt", "beta\n");
            },
        ),
        ("a_listed_directory_does_not_change_that", |t| {
            t.run("ls docs");
            t.fails("set -C; echo mine > docs/A.txt", "cannot overwrite");
            t.holds("/docs/a.txt", "alpha\n");
        }),
        ("another_spelling_is_found", |t| {
            assert_eq!(
                t.run("cat docs/A.TXT Docs/b.TXT; stat -c %s docs/B.TXT"),
                "alpha\nbeta\n5\n"
            );
            t.fails("cat docs/C.TXT", "No such file");
        }),
        ("a_name_can_change_its_case", |t| {
            t.run("mv docs/a.txt docs/A.txt; mv -T empty Empty");
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
        ("cp_n_does_not_overwrite_another_spelling", |t| {
            t.run("cp -n /etc/hostname docs/A.TXT || true; mv -n docs/b.txt docs/A.txt || true");
            t.holds("/docs/a.txt", "alpha\n");
            t.holds("/docs/b.txt", "beta\n");
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
        ("removing_another_spelling_removes_it_everywhere", |t| {
            t.run("cat docs/a.txt docs/A.TXT; rm docs/A.TXT");
            t.fails("cat docs/a.txt", "No such file");
            t.lists("docs", "b.txt");
            t.names("/docs", "b.txt");
        }),
    ];
    for (how, quirks) in servers {
        rows.extend(
            stories.map(|(name, story)| row(format!("{name}: {how}"), quirks.clone(), story)),
        );
    }
    group(rows);
}

fn drop_dashes(name: &str) -> String {
    let words = name.split(' ').filter(|word| !word.starts_with('-'));
    words.collect::<Vec<_>>().join(" ")
}

fn cut_8_3(name: &str) -> String {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let (stem, extension): (String, String) = (
        stem.chars().take(8).collect(),
        extension.chars().take(3).collect(),
    );
    if extension.is_empty() {
        stem
    } else {
        format!("{stem}.{extension}")
    }
}

fn cut(name: &str, most: usize) -> String {
    name.chars().take(most).collect()
}

/// Returns rows for a server that has `first` and treats `second` as the same name.
fn twins(
    how: &str,
    change: fn(&str) -> String,
    first: &'static str,
    second: &'static str,
) -> [Row; 4] {
    let quirks = || Quirks::none().changes_names(change);
    let there = |tree: &mut FileTree| {
        tree.file("/other", "other\n");
    };
    let setup = move |t: &crate::row::Mounted| {
        let stored = t.server.tree().resolve("/", first);
        t.server.tree().file(&stored, "first\n");
        (stored, second)
    };
    [
        row(
            format!("a_new_file_does_not_replace_another: {how}"),
            quirks(),
            move |t| {
                let (stored, second) = setup(t);
                t.fails(&format!("echo second > '{second}'"), "");
                t.holds(&stored, "first\n");
            },
        )
        .holding(there),
        row(
            format!("an_exclusive_create_does_not_replace_another: {how}"),
            quirks(),
            move |t| {
                let (stored, second) = setup(t);
                t.fails(&format!("ls; set -C; echo second > '{second}'"), "");
                t.holds(&stored, "first\n");
            },
        )
        .holding(there),
        row(
            format!("a_rename_does_not_replace_another: {how}"),
            quirks().without_facts(),
            move |t| {
                let (stored, second) = setup(t);
                t.fails(&format!("mv other '{second}'"), "");
                t.holds(&stored, "first\n");
                t.holds("/other", "other\n");
            },
        )
        .holding(there),
        row(
            format!("the_second_of_two_does_not_replace_the_first: {how}"),
            quirks(),
            move |t| {
                let script =
                    format!("echo first > '{first}' || exit 0; ! echo second > '{second}'");
                t.run(&script);
                let stored = t.server.tree().resolve("/", first);
                let text = t.server.tree().text(&stored);
                assert_ne!(text.as_deref(), Some("second\n"), "{stored}");
            },
        )
        .holding(there),
    ]
}

#[test]
fn a_server_that_changes_names() {
    let mut rows = Vec::new();
    rows.extend(twins(
        "words with a dash are dropped",
        drop_dashes,
        "a",
        "a -b.txt",
    ));
    rows.extend(twins(
        "options are dropped",
        drop_dashes,
        "report.txt",
        "-l report.txt",
    ));
    rows.extend(twins(
        "8.3",
        cut_8_3,
        "document.tex",
        "document-of-today.text",
    ));
    rows.extend(twins(
        "20 characters",
        |name| cut(name, 20),
        "a-rather-long-name-of-one",
        "a-rather-long-name-of-two",
    ));
    rows.extend(twins(
        "64 characters",
        |name| cut(name, 64),
        "a-name-of-more-than-sixty-four-characters-which-some-servers-cut-1",
        "a-name-of-more-than-sixty-four-characters-which-some-servers-cut-2",
    ));
    rows.extend(twins(
        "U+FFFD for what is not ASCII",
        |name| {
            name.chars()
                .map(|c| if c.is_ascii() { c } else { '\u{fffd}' })
                .collect()
        },
        "ä.txt",
        "ö.txt",
    ));
    rows.extend(twins(
        "? for what is not ASCII",
        |name| {
            name.chars()
                .map(|c| if c.is_ascii() { c } else { '?' })
                .collect()
        },
        "é.txt",
        "à.txt",
    ));
    rows.extend(twins(
        "composed letters",
        |name| name.replace("e\u{301}", "é"),
        "café",
        "cafe\u{301}",
    ));
    rows.extend(twins(
        "decomposed letters",
        |name| name.replace('é', "e\u{301}"),
        "cafe\u{301}",
        "café",
    ));
    rows.extend(twins(
        "no dot at the end",
        |name| name.trim_end_matches('.').to_owned(),
        "name",
        "name.",
    ));
    rows.extend(twins(
        "no blank at the end",
        |name| name.trim_end().to_owned(),
        "name",
        "name ",
    ));
    rows.extend(twins(
        "no blank at the beginning",
        |name| name.trim_start().to_owned(),
        "name",
        " name",
    ));
    rows.extend(twins(
        "underscores",
        |name| name.replace([':', '?', '*'], "_"),
        "a_b",
        "a:b",
    ));
    rows.extend(twins(
        "one blank for two",
        |name| {
            name.split(' ')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        },
        "a b",
        "a  b",
    ));
    group(rows);
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
            "many_files_of_cut_names_stay_apart",
            Quirks::none().changes_names(|name| cut(name, 20)),
            |t| {
                t.run("for i in 1 2 3 4 5 6 7 8; do echo $i > docs/f$i & done; wait");
                for i in 1..9 {
                    t.holds(&format!("/docs/f{i}"), &format!("{i}\n"));
                }
                t.names("/docs", "a.txt b.txt f1 f2 f3 f4 f5 f6 f7 f8");
            },
        ),
        row(
            "many_files_of_short_names_stay_apart",
            Quirks::none().changes_names(cut_8_3),
            |t| {
                t.run("for i in 1 2 3 4 5 6 7 8; do echo $i > docs/f$i & done; wait");
                for i in 1..9 {
                    t.holds(&format!("/docs/f{i}"), &format!("{i}\n"));
                }
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
