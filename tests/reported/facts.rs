//! Facts, features and sizes in unusual formats.

use crate::row::{all_facts, group, listing, row, with_mlst};
use crate::support::{Answer, Quirks};

/// Changes the text of the answer to MLST.
fn mlst(change: fn(&str) -> String) -> Quirks {
    with_mlst(Quirks::none(), change)
}

#[test]
fn mlst_in_odd_ways() {
    let mut rows = Vec::new();
    let ways: [(&str, fn(&str) -> String); 7] = [
        ("four blanks before the facts", |lines| {
            lines.replace("\n ", "\n    ")
        }),
        ("a tab before the facts", |lines| {
            lines.replace("\n ", "\n\t")
        }),
        ("no blank before the facts", |lines| {
            lines.replace("\n ", "\n")
        }),
        ("no blank before the name", |lines| {
            lines.replace("; /", ";/")
        }),
        ("no name", |lines| {
            let facts = lines
                .lines()
                .map(|line| line.split("; ").next().unwrap_or_default());
            facts.map(|line| line.to_owned() + "\r\n").collect()
        }),
        ("no type", |lines| {
            lines.replace("type=dir;", "").replace("type=file;", "")
        }),
        ("no line", |lines| {
            lines
                .lines()
                .filter(|line| line.starts_with("250"))
                .map(|l| l.to_owned() + "\r\n")
                .collect()
        }),
    ];
    rows.extend(ways.map(|(how, change)| {
        row(
            format!("directories_are_directories: {how}"),
            mlst(change),
            |t| {
                assert_eq!(
                    t.run("stat -c %F docs docs/a.txt"),
                    "directory\nregular file\n"
                );
                t.lists("docs", "a.txt b.txt");
                assert_eq!(t.run("cat docs/a.txt"), "alpha\n");
                t.run("echo new > docs/new.txt; mkdir docs/sub");
                t.fails("set -C; echo mine > docs/b.txt", "cannot overwrite");
                t.names("/docs", "a.txt b.txt new.txt sub");
            },
        )
    }));
    rows.extend(ways.map(|(how, change)| {
        row(
            format!("a_directory_is_mounted: {how}"),
            mlst(change),
            |t| t.lists(".", "a.txt b.txt"),
        )
        .at("docs")
    }));
    group(rows);
}

#[test]
fn features_in_odd_ways() {
    let mut rows = Vec::new();
    let answers = [
        "211-MLST size*;\n211-SIZE\n211-MDTM\n211-REST STREAM\n211 End",
        "211-Features:\nMLST type*;size*;modify*;\nSIZE\nREST STREAM\n211 End",
        "211-Features:\n\tMLST type*;size*;modify*;\n\tSIZE\n211 End",
        "211-Features:\n    mlst type*;size*;modify*;\n    size\n211 END",
        "211-Features:\n211-MLST type*;size*;modify*;\n211-SIZE\n211 End",
        "211-Features:\n211- MLST type*;size*;modify*;\n211- SIZE\n211 End",
    ];
    rows.extend(answers.map(|answer| {
        row(
            format!("mlsd_is_used: {answer:?}"),
            Quirks::none().says("FEAT", answer),
            |t| {
                t.lists("docs", "a.txt b.txt");
                assert!(t.server.count("MLSD") > 0, "{:?}", t.server.commands());
            },
        )
    }));
    let refusals = [
        "500 What?",
        "502 Not implemented",
        "530 Not allowed",
        "550 No",
        "504 No features",
        "211 None",
        "202 Superfluous",
    ];
    rows.extend(refusals.map(|answer| {
        row(
            format!("the_server_is_used_without_features: {answer}"),
            Quirks::none().says("FEAT", answer),
            |t| {
                t.lists("docs", "a.txt b.txt");
                t.run("echo new > docs/new.txt");
                t.holds("/docs/new.txt", "new\n");
            },
        )
    }));
    group(rows);
}

#[test]
fn sizes_that_are_wrong() {
    let mut rows = Vec::new();
    let facts: [(&str, fn(&str) -> String); 5] = [
        ("-1", |lines| lines.replace("size=6;", "size=-1;")),
        ("-2147483648", |lines| {
            lines.replace("size=6;", "size=-2147483648;")
        }),
        ("18446744073709551615", |lines| {
            lines.replace("size=6;", "size=18446744073709551615;")
        }),
        ("no size", |lines| lines.replace("size=6;", "")),
        ("words", |lines| lines.replace("size=6;", "size=unknown;")),
    ];
    rows.extend(facts.map(|(how, change)| {
        row(
            format!("size_knows_better_than_facts: {how}"),
            listing(change),
            |t| {
                assert_eq!(t.run("tar c docs/a.txt | tar xO"), "alpha\n");
                assert_eq!(t.run("stat -c %s docs/a.txt"), "6\n");
            },
        )
    }));
    rows.extend(facts.map(|(how, change)| {
        row(
            format!("a_file_is_read_where_no_size_is_known: {how}"),
            listing(change).without("SIZE").without("MLST"),
            |t| {
                assert_eq!(t.run("cat docs/a.txt"), "alpha\n");
            },
        )
    }));
    let columns: [(&str, fn(&str) -> String); 2] = [
        ("-6", |lines| lines.replace(" 6 ", " -6 ")),
        ("-2147483648", |lines| lines.replace(" 6 ", " -2147483648 ")),
    ];
    rows.extend(columns.map(|(how, change)| {
        row(
            format!("a_file_is_whole_whatever_list_says: {how}"),
            listing(change).without_facts().without("STAT"),
            |t| {
                assert_eq!(t.run("cat docs/a.txt"), "alpha\n");
            },
        )
    }));
    let too_large: [(&str, fn(&str) -> String); 3] = [
        ("4294967295", |lines| {
            lines
                .replace("size=6;", "size=4294967295;")
                .replace(" 6 ", " 4294967295 ")
        }),
        ("2147483647", |lines| {
            lines
                .replace("size=6;", "size=2147483647;")
                .replace(" 6 ", " 2147483647 ")
        }),
        ("4096", |lines| {
            lines
                .replace("size=6;", "size=4096;")
                .replace(" 6 ", " 4096 ")
        }),
    ];
    rows.extend(too_large.map(|(how, change)| {
        row(
            format!("all_facts_are_wrong: {how}"),
            all_facts(change),
            |t| {
                t.lists("docs", "a.txt b.txt");
                for _ in 0..3 {
                    assert_eq!(t.run("cat docs/a.txt"), "alpha\n");
                }
                assert_eq!(t.run("stat -c %s docs/a.txt"), "6\n");
                t.run(
                    "echo more >> docs/a.txt; cp docs/b.txt docs/c.txt; cmp docs/b.txt docs/c.txt",
                );
                t.holds("/docs/a.txt", "alpha\nmore\n");
                t.holds("/docs/c.txt", "beta\n");
            },
        )
    }));
    rows.extend(too_large.map(|(how, change)| {
        row(
            format!("the_first_use_is_to_append: {how}"),
            all_facts(change),
            |t| {
                t.run("echo more >> docs/a.txt");
                t.holds("/docs/a.txt", "alpha\nmore\n");
                assert_eq!(t.run("cat docs/a.txt"), "alpha\nmore\n");
            },
        )
    }));
    // Like servers that use 32 bits to list files of more than 4 GiB.
    rows.push(row(
        "a_large_file_is_listed_as_a_small_one",
        all_facts(|lines| lines.replace("size=9000000;", "size=4705032;")),
        |t| {
            t.server.tree().file("/docs/large", vec![7; 9_000_000]);
            let read = "test $(cat docs/large | wc -c) = 9000000";
            t.run(&format!("cat docs/large > /dev/null || {read}"));
            t.run(read);
        },
    ));
    for facts in [true, false] {
        rows.extend(too_large.map(|(how, change)| {
            let quirks = listing(change).without("MLST").without("STAT");
            let quirks = if facts {
                quirks
            } else {
                quirks.without_facts()
            };
            row(
                format!("a_listed_size_is_wrong, with MLSD {facts}: {how}"),
                quirks,
                |t| {
                    t.lists("docs", "a.txt b.txt");
                    assert_eq!(t.run("cat docs/a.txt"), "alpha\n");
                    assert_eq!(t.run("tail -c 3 docs/a.txt"), "ha\n");
                    t.run("echo more >> docs/a.txt");
                    t.holds("/docs/a.txt", "alpha\nmore\n");
                },
            )
        }));
    }
    rows.extend(
        ["213 File status", "213 ", "213", "213 unknown", "213 -1"].map(|lines| {
            row(
                format!("size_has_no_number: {lines:?}"),
                Quirks::none().without_facts().says("SIZE", lines),
                |t| {
                    assert_eq!(t.run("stat -c %s docs/a.txt; cat docs/a.txt"), "6\nalpha\n");
                    assert_eq!(t.run("tar c docs/a.txt | tar xO"), "alpha\n");
                    t.run("echo new > docs/new.txt; echo more >> docs/a.txt");
                    assert_eq!(t.run("stat -c %s docs/a.txt docs/new.txt"), "11\n4\n");
                    t.holds("/docs/new.txt", "new\n");
                    t.holds("/docs/a.txt", "alpha\nmore\n");
                },
            )
        }),
    );
    rows.extend([
        row(
            "size_without_a_number",
            Quirks::none().without_facts().hook(|request, state| {
                let is_empty = state
                    .tree
                    .content(&state.resolve(&request.argument))
                    .is_some_and(|c| c.is_empty());
                (request.verb == "SIZE" && is_empty).then(|| Answer::say("213 File status"))
            }),
            |t| {
                t.run("touch docs/empty; : > docs/a.txt; cat docs/empty docs/a.txt");
                t.holds("/docs/empty", "");
                t.holds("/docs/a.txt", "");
            },
        ),
        row(
            "size_never_has_a_number",
            Quirks::none().says("SIZE", "213 File status"),
            |t| {
                t.run("echo new > docs/new.txt; echo more >> docs/a.txt");
                t.holds("/docs/new.txt", "new\n");
                t.holds("/docs/a.txt", "alpha\nmore\n");
            },
        ),
        row(
            "mlst_of_what_is_missing_is_a_bad_argument",
            Quirks::none().alter(|request, answer| {
                let is_it = request.verb == "MLST" && answer.is_refusal();
                if is_it {
                    Answer::say("501 Not a valid pathname.")
                } else {
                    answer
                }
            }),
            |t| {
                t.run("echo new > docs/new.txt; mkdir docs/sub; set -C; echo x > docs/x");
                t.fails("cat docs/nothing", "No such file");
                t.names("/docs", "a.txt b.txt new.txt sub x");
            },
        ),
        row(
            "mlsd_hides_dot_files_and_mlsd_a_shows_them",
            Quirks::none()
                .says("SYST", "215 UNIX Type: Apache FtpServer")
                .hook(|request, state| {
                    let is_plain = request.verb == "MLSD" && !request.argument.starts_with('-');
                    let path = state.resolve(&request.argument);
                    let names = state
                        .tree
                        .children(&path)
                        .filter(|(name, _)| !name.starts_with('.'));
                    let lines = names.map(|(name, node)| {
                        format!(
                            "type={};size={}; {name}\r\n",
                            if node.is_directory() { "dir" } else { "file" },
                            node.size()
                        )
                    });
                    is_plain.then(|| Answer::send(lines.collect::<String>()))
                }),
            |t| t.lists("docs", ".hidden a.txt"),
        )
        .holding(|tree| {
            tree.file("/docs/.hidden", "hidden");
            tree.file("/docs/a.txt", "alpha");
        }),
    ]);
    group(rows);
}

/// libunftp: MLSD and SIZE report a link as a file with the length of its target's name, while LIST
/// shows the link.
#[test]
fn links_that_are_told_as_files() {
    let mut quirks = Quirks::none();
    for verb in ["MLST", "MFMT"] {
        quirks = quirks.without(verb);
    }
    let quirks = quirks
        .feature("MLSD")
        .feature("MLST")
        .feature("SITE MD5")
        .listing_of("/docs", &["MLSD"], || {
            Answer::send_lines(
                "type=file;size=5;modify=20240102030405; to-a\n\
                 type=file;size=6;modify=20240102030405; a.txt",
            )
        })
        .listing_of("/docs", &["LIST"], || {
            Answer::send_lines(
                "lrwxrwxrwx  1 0 0 5 Jan 02  2024 to-a -> a.txt\n\
                 -rw-r--r--  1 0 0 6 Jan 02  2024 a.txt",
            )
        })
        .says_to("SIZE", "/docs/to-a", "213 5")
        .hook(|request, _| {
            let is_read = request.verb == "RETR" && request.argument == "/docs/to-a";
            is_read.then(|| Answer::send("alpha\n"))
        });
    group([row("a_file_behind_a_link_is_whole", quirks, |t| {
        assert_eq!(t.run("cat docs/to-a"), "alpha\n");
        assert_eq!(t.run("ls docs"), "a.txt\nto-a\n");
        assert_eq!(t.run("cat docs/to-a; readlink docs/to-a"), "alpha\na.txt\n");
    })]);
}

/// A server whose `perm` facts deny everything, although it allows everything, is asked once and
/// then not believed any more.
#[test]
fn perm_facts_that_are_wrong() {
    let denied = |lines: &str| {
        lines
            .replace("perm=cdeflmp", "perm=el")
            .replace("perm=adfrw", "perm=r")
    };
    group([
        row("a file is created all the same", all_facts(denied), |t| {
            t.lists("docs", "a.txt b.txt");
            t.run("echo new > docs/new.txt");
            assert_eq!(t.run("cat docs/new.txt"), "new\n");
            t.run("echo changed > docs/a.txt; echo more >> docs/b.txt");
            assert_eq!(t.run("cat docs/a.txt docs/b.txt"), "changed\nbeta\nmore\n");
            t.names("/docs", "a.txt b.txt new.txt");
        }),
        row("the user switches them off", all_facts(denied), |t| {
            t.lists("docs", "a.txt b.txt");
            t.run("echo changed > docs/a.txt");
            assert_eq!(t.run("cat docs/a.txt"), "changed\n");
        })
        .with(&["without=perm"]),
        row("they are believed until then", all_facts(denied), |t| {
            t.lists("docs", "a.txt b.txt");
            t.fails("echo changed > docs/a.txt", "Permission denied");
        }),
    ]);
}
