//! Servers that misinterpret the `-a` of `LIST -a`, and listings that are empty by mistake (FTP has
//! no reply for "this is not the directory that you meant").

use crate::row::{Mounted, group, row};
use crate::support::{Answer, Quirks, Step};

/// Asserts that `docs` is not taken for an empty directory, which would lose data.
fn is_not_emptied(t: &Mounted) {
    t.run(
        "copy=$(mktemp -d); trap 'rm -r $copy' EXIT; echo alpha > $copy/a.txt; echo beta > $copy/b.txt
        rsync -a --delete docs/ $copy/ || true
        cat $copy/a.txt $copy/b.txt",
    );
    t.run("set -C; ! echo mine > docs/a.txt");
    t.run("cp -n /etc/hostname docs/b.txt || true");
    t.holds("/docs/a.txt", "alpha\n");
    t.holds("/docs/b.txt", "beta\n");
}

#[test]
fn dash_a_is_taken_for_a_name() {
    let quirks = || Quirks::none().without_facts().dash_is_a_name();
    group([
        row(
            "a_directory_is_not_emptied_by_rsync_delete",
            quirks(),
            is_not_emptied,
        ),
        row(
            "a_directory_is_not_emptied_without_stat",
            quirks().without("STAT"),
            is_not_emptied,
        ),
        row("names_are_shown", quirks(), |t| {
            t.lists(".", "docs empty");
            t.lists("docs", "a.txt b.txt");
            assert_eq!(t.run("cat docs/a.txt"), "alpha\n");
        }),
        row("an_empty_directory_is_empty", quirks(), |t| {
            t.lists("empty", "");
            t.run("echo new > empty/new; rm empty/new; rmdir empty");
            t.names("/", "docs");
        }),
        row(
            "deep_directories_are_shown",
            quirks().without("STAT"),
            |t| {
                t.lists("a/b/c d", "e");
                assert_eq!(t.run("find . | sort | tail -1"), "./a/b/c d/e\n");
            },
        )
        .holding(|tree| tree.file("/a/b/c d/e", "deep")),
        row("the_answer_is_remembered", quirks().without("STAT"), |t| {
            t.run("for i in 1 2 3 4 5 6 7 8; do ls d$i; done");
            let asked = t.server.count("LIST -");
            assert!(asked <= 3, "LIST with options is sent {asked} times");
        })
        .holding(|tree| (1..9).for_each(|i| tree.file(&format!("/d{i}/x"), "x"))),
    ]);
}

#[test]
fn dash_a_is_refused() {
    let refusals = [
        "500 'LIST -a': command not understood",
        "501 Invalid option",
        "502 Not implemented",
        "504 Parameter not implemented",
        "451 Requested action aborted: local error",
        "450 No such file or directory",
        "550 -a: No such file or directory",
        "550 Le fichier spécifié est introuvable",
        "553 Path not allowed",
        "550 Permission denied",
    ];
    group(refusals.map(|refusal| {
        let quirks = Quirks::none()
            .without_facts()
            .without("STAT")
            .dash_is_refused(refusal);
        row(format!("names_are_shown_after: {refusal}"), quirks, |t| {
            t.lists(".", "docs empty");
            t.lists("docs", "a.txt b.txt");
            t.fails("ls nothing", "No such file");
            t.fails("set -C; echo mine > docs/a.txt", "cannot overwrite");
            t.run("echo new > docs/new.txt");
            t.holds("/docs/new.txt", "new\n");
        })
    }));
}

#[test]
fn a_listing_that_is_empty_by_mistake() {
    let empty = |verbs: &'static [&'static str]| {
        Quirks::none().listing_of("/docs", verbs, || Answer::send(""))
    };
    let after_cwd = Quirks::none()
        .without_facts()
        .without("STAT")
        .hook(|request, _| {
            let is_of_path = request.verb == "LIST" && !request.argument.is_empty();
            is_of_path.then(|| Answer::send(""))
        });
    group([
        row(
            "mlsd_says_nothing_and_list_knows",
            empty(&["MLSD"]),
            is_not_emptied,
        ),
        row(
            "only_list_without_argument_lists",
            after_cwd.clone(),
            is_not_emptied,
        ),
        row("only_list_without_argument_lists_names", after_cwd, |t| {
            t.lists("docs", "a.txt b.txt");
            t.lists("empty", "");
        }),
        row(
            "mlsd_of_a_path_says_nothing_and_mlsd_after_cwd_lists",
            Quirks::none()
                .without("LIST")
                .without("NLST")
                .without("STAT")
                .hook(|request, _| {
                    let is_of_path = request.verb == "MLSD" && !request.argument.is_empty();
                    is_of_path.then(|| Answer::send(""))
                }),
            is_not_emptied,
        ),
    ]);
}

#[test]
fn a_listing_that_breaks_off() {
    let answers: [(&str, fn() -> Answer); 5] = [
        ("226 without a 150", || Answer::say("226 Done")),
        ("250 without a 150", || Answer::say("250 Done")),
        ("a data connection that is reset", || {
            let reset = Answer::say("150 Here").then(Step::SendAndReset(Vec::new()));
            reset.then_say("226 Done")
        }),
        ("426 after the lines", || {
            Answer::send_lines("type=file;size=1; z").ending_with("426 Aborted")
        }),
        ("451 after no line", || {
            Answer::send("").ending_with("451 Read error")
        }),
    ];
    group(answers.map(|(how, answer)| {
        let quirks = Quirks::none().listing_of("/docs", &["MLSD", "LIST", "NLST", "STAT"], answer);
        row(format!("is_no_empty_directory: {how}"), quirks, |t| {
            t.fails("ls docs", "");
            is_not_emptied(t);
        })
    }));
}
