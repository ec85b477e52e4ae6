//! Servers that take the `-a` of `LIST -a` for something else, and listings that are empty by mistake (FTP has no
//! answer "this is not the directory that you meant").

use crate::row::{Mounted, group, row};
use crate::support::{Answer, Quirks, Step};

/// Asserts that `docs` is not taken for an empty directory: what loses data where it is.
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
