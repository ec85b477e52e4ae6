//! Servers that fail on pipelined commands or on an early EPSV, or that keep a REST: nothing is
//! lost, and no byte is wrong.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use crate::row::{Mounted, group, row};
use crate::support::{Answer, FileTree, Pipelined, Quirks, Step};

/// Performs reads and changes of every kind, and asserts the exact result on the server.
fn works(t: &Mounted) {
    t.lists(".", "docs empty");
    t.lists("docs", "a.txt b.txt");
    assert_eq!(t.run("cat docs/a.txt docs/b.txt"), "alpha\nbeta\n");
    t.run("echo new > docs/new.txt; echo changed > docs/a.txt; echo more >> docs/b.txt");
    t.holds("/docs/new.txt", "new\n");
    t.holds("/docs/a.txt", "changed\n");
    t.holds("/docs/b.txt", "beta\nmore\n");
    t.run(
        "mkdir made; mv docs/new.txt made/moved.txt; rm docs/b.txt; rmdir empty; mv made renamed",
    );
    t.holds("/renamed/moved.txt", "new\n");
    t.names("/docs", "a.txt");
    t.names("/", "docs renamed");
    t.run(
        "mkdir many; for i in 1 2 3 4 5; do echo $i > many/$i; done; cat many/* renamed/*; ls -lR",
    );
    t.names("/many", "1 2 3 4 5");
    t.fails("set -C; echo mine > docs/a.txt", "cannot overwrite");
    t.run("rm -r many renamed");
    t.names("/", "docs");
}

fn manners() -> [(&'static str, Quirks); 12] {
    let pipelined = |pipelined| Quirks::none().pipelined(pipelined);
    [
        ("they end the session", pipelined(Pipelined::Closes)),
        (
            "all get one 500",
            pipelined(Pipelined::OneAnswer("500 Command too long")),
        ),
        (
            "all get one 501",
            pipelined(Pipelined::OneAnswer("501 Syntax error")),
        ),
        ("all get one 200", pipelined(Pipelined::OneAnswer("200 OK"))),
        ("the last is answered first", pipelined(Pipelined::Reversed)),
        ("refusals overtake", pipelined(Pipelined::RefusalsFirst)),
        ("all but the first are lost", pipelined(Pipelined::Lost)),
        (
            "no command is read after EPSV",
            Quirks::none().epsv_blocks(),
        ),
        (
            "none after EPSV, and all but the first are lost",
            pipelined(Pipelined::Lost).epsv_blocks(),
        ),
        (
            "they end the session, and there are no facts",
            pipelined(Pipelined::Closes).without_facts(),
        ),
        (
            "the last is answered first, and there are no facts",
            pipelined(Pipelined::Reversed).without_facts(),
        ),
        (
            "a command on a waiting data connection",
            Quirks::none().hook(|request, state| {
                let is_it = request.is(&["MLST", "SIZE", "MDTM", "PWD"]) && state.is_listening();
                is_it.then(|| {
                    Answer::say("150 Here")
                        .then(Step::Send(b"what?".to_vec()))
                        .then_say("226 Done")
                })
            }),
        ),
    ]
}

#[test]
fn pipelined_commands() {
    group(manners().map(|(how, quirks)| {
        row(format!("everything_works: {how}"), quirks, works).with(&["timeout=10"])
    }));
}

#[test]
fn pipelined_commands_are_given_up_once() {
    group(manners().map(|(how, quirks)| {
        row(format!("one_session_pays: {how}"), quirks, |t| {
            t.run("for i in 1 2 3 4 5 6; do (ls docs; cat docs/a.txt; echo $i > empty/$i) > /dev/null & done; wait");
            t.names("/empty", "1 2 3 4 5 6");
            let logins = t.server.sessions().len();
            assert!(logins <= 14, "{logins} logins");
        })
        .with(&["timeout=10"])
    }));
}

#[test]
fn pipelining_can_be_left_out() {
    group(manners().map(|(how, quirks)| {
        row(format!("without_pipeline: {how}"), quirks, works)
            .with(&["timeout=10", "without=pipeline"])
    }));
}

/// Creates a file whose content differs at every offset.
fn numbered(tree: &mut FileTree) {
    let lines = (0..300_000).map(|i| format!("{i:09}\n"));
    tree.file("/big", lines.collect::<String>());
    tree.file("/small", "small\n");
}

#[test]
fn a_rest_that_sticks() {
    let refuses_once = |quirks: Quirks| {
        // The first RETR after each REST is refused.
        let refused: Mutex<HashSet<u64>> = Mutex::default();
        quirks.hook(move |request, state| {
            let is_first = request.verb == "RETR"
                && state.rest > 0
                && refused.lock().unwrap().insert(state.rest);
            is_first.then(|| Answer::say("450 Busy, try again"))
        })
    };
    let servers = [
        ("kept", Quirks::none().rest_sticks()),
        (
            "kept, without facts",
            Quirks::none().rest_sticks().without_facts(),
        ),
        (
            "kept after a refusal",
            refuses_once(Quirks::none().rest_sticks()),
        ),
        (
            "kept, one command at a time",
            Quirks::none().rest_sticks().pipelined(Pipelined::Closes),
        ),
        ("not kept", Quirks::none()),
    ];
    group(servers.map(|(how, quirks)| {
        row(format!("no_byte_is_wrong: {how}"), quirks, |t| {
            let read = t.run(
                "for k in 250000 7 133333 299999 60000 1 200000; do
                    dd if=big bs=10 skip=$k count=1 2> /dev/null; head -c 6 small; done",
            );
            let right = [250_000, 7, 133_333, 299_999, 60_000, 1, 200_000];
            assert_eq!(read, right.map(|k| format!("{k:09}\nsmall\n")).concat());
            t.run("dd if=big bs=10 skip=150000 count=1 status=none; echo written > new; cat small; echo more >> small");
            t.holds("/new", "written\n");
            t.holds("/small", "small\nmore\n");
            t.run("tail -c 100 big > /dev/null; ls -la; cp small other; echo over > small");
            t.holds("/other", "small\nmore\n");
            t.holds("/small", "over\n");
            assert_eq!(t.run("cat big | wc -c; head -c 10 big"), "3000000\n000000000\n");
        })
        .holding(numbered)
        .with(&["open_ttl=0"])
    }));
}

#[test]
fn replies_to_an_abort() {
    let mut rows = Vec::new();
    let abort: [(&str, &[&str]); 6] = [
        ("426 and 226", &["426 Aborted", "226 Abort done"]),
        ("226 and 226", &["226 Done", "226 Nothing to abort"]),
        ("226 alone", &["226 Aborted"]),
        ("225 alone", &["225 No transfer to abort"]),
        (
            "426, 226 and one more",
            &["426 Aborted", "226 Aborted.", "226 Closing"],
        ),
        ("502", &["502 Not implemented"]),
    ];
    rows.extend(abort.map(|(how, lines)| {
        let quirks = Quirks::none().hook(move |request, _| {
            let last = lines.last()?;
            (request.verb == "ABOR").then(|| Answer::say(*last))
        });
        let quirks = quirks.alter(move |request, answer| {
            if request.verb == "ABOR" && lines.len() > 2 {
                answer.after(Step::Say("226 Aborted.".to_owned()))
            } else {
                answer
            }
        });
        row(format!("the_next_file_is_right: {how}"), quirks, |t| {
            for _ in 0..3 {
                assert_eq!(t.run("head -c 10 big; cat small"), "000000000\nsmall\n");
                t.run(
                    "dd if=big bs=10 skip=200000 count=1 status=none; echo written > new; cat new",
                );
            }
            t.holds("/new", "written\n");
        })
        .holding(numbered)
        .with(&["open_ttl=0"])
    }));
    rows.extend([
        row(
            "two_final_replies_to_an_aborted_download",
            Quirks::none().says_after_abort("226 Aborted."),
            |t| {
                for _ in 0..4 {
                    assert_eq!(t.run("head -c 10 big; cat small"), "000000000\nsmall\n");
                    t.run("echo written > new; ls; cat new");
                }
                t.holds("/new", "written\n");
            },
        )
        .holding(numbered)
        .with(&["open_ttl=0"]),
        row(
            "a_late_second_reply",
            Quirks::none().alter_verbs(&["RETR"], |answer| {
                answer
                    .then(Step::Wait(Duration::from_millis(50)))
                    .then_say("226 Once more")
            }),
            |t| {
                assert_eq!(
                    t.run("cat small; head -c 10 big; cat small"),
                    "small\n000000000\nsmall\n"
                );
                t.run("echo written > new; mv new newer; ls");
                t.holds("/newer", "written\n");
            },
        )
        .holding(numbered),
    ]);
    group(rows);
}
