//! Servers with an odd login, odd features or an odd passive mode: each can be mounted and used.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::row::{Mounted, group, row};
use crate::support::{Answer, Quirks};

/// Asserts that the server can be read and written, whatever it said before.
fn works(t: &Mounted) {
    t.lists("docs", "a.txt b.txt");
    t.run("cat docs/a.txt; echo new > docs/new.txt; mv docs/new.txt empty/; mkdir more; rm docs/b.txt");
    t.holds("/empty/new.txt", "new\n");
    t.names("/docs", "a.txt");
    t.names("/", "docs empty more");
}

/// Answers PASV with these words, where `#` is the address and port.
fn pasv(words: &'static str, separator: &'static str) -> Quirks {
    Quirks::none().without("EPSV").hook(move |request, state| {
        (request.verb == "PASV").then(|| {
            let port = state.listen().unwrap_or_default();
            let numbers = [127, 0, 0, 1, port >> 8, port & 255].map(|number| number.to_string());
            Answer::say(words.replace('#', &numbers.join(separator)))
        })
    })
}

#[test]
fn epsv_that_does_not_work() {
    group([
        row(
            "it_is_mounted_where_epsv_ends_the_session",
            Quirks::none().closes_at("EPSV"),
            works,
        ),
        row(
            "it_is_mounted_where_epsv_is_500",
            Quirks::none().without("EPSV"),
            works,
        ),
        row(
            "it_is_mounted_where_epsv_is_403",
            Quirks::none().says("EPSV", "403 What?"),
            works,
        ),
        row(
            "it_is_mounted_where_epsv_is_522",
            Quirks::none().says("EPSV", "522 Use (1)"),
            works,
        ),
        row(
            "it_is_mounted_where_epsv_has_no_port",
            Quirks::none().says("EPSV", "229 Entering"),
            works,
        ),
        row(
            "it_is_mounted_where_epsv_is_200",
            Quirks::none().says("EPSV", "200 OK"),
            works,
        ),
        row(
            "it_is_mounted_where_epsv_leads_nowhere",
            Quirks::none().says("EPSV", "229 Entering Extended Passive Mode (|||1|)"),
            works,
        ),
        row(
            "it_is_mounted_where_epsv_is_425",
            Quirks::none().says("EPSV", "425 Cannot open passive connection"),
            works,
        ),
        row(
            "it_is_mounted_where_epsv_is_425_without_facts",
            Quirks::none()
                .without_facts()
                .says("EPSV", "425 Cannot open passive connection"),
            works,
        ),
        row(
            "it_is_mounted_where_pasv_is_unknown",
            Quirks::none().without("PASV"),
            works,
        ),
    ]);
}

#[test]
fn epsv_is_tried_once_a_mount() {
    let story = |t: &Mounted| {
        t.run(
            "for i in 1 2 3 4 5 6; do (ls docs; cat docs/a.txt; ls empty) > /dev/null & done; wait",
        );
        works(t);
        let tried = t
            .server
            .sessions()
            .iter()
            .filter(|s| s.iter().any(|c| c == "EPSV"))
            .count();
        assert!(tried <= 2, "{tried} sessions try EPSV");
    };
    group([
        row(
            "epsv_is_tried_once: closed",
            Quirks::none().closes_at("EPSV"),
            story,
        ),
        row(
            "epsv_is_tried_once: leads nowhere",
            Quirks::none().says("EPSV", "229 Entering Extended Passive Mode (|||1|)"),
            story,
        ),
    ]);
}

/// Returns a server without PASV that does not answer its first EPSV.
fn epsv_alone_which_is_late_once() -> Quirks {
    let is_late = AtomicBool::new(true);
    Quirks::none().without("PASV").hook(move |request, _| {
        (request.verb == "EPSV" && is_late.swap(false, Ordering::Relaxed)).then(Answer::silence)
    })
}

#[test]
fn epsv_that_is_never_answered() {
    let story = |t: &Mounted| {
        works(t);
        let unanswered = t.server.count("EPSV");
        assert!(unanswered <= 2, "{:?}", t.server.commands());
    };
    group([
        row("pipelined", Quirks::none().silent_on("EPSV"), story).with(&["timeout=10"]),
        row(
            "epsv_is_all_there_is",
            epsv_alone_which_is_late_once(),
            |t| {
                let read = "test \"$(cat docs/a.txt)\" = alpha";
                t.run(&format!("{read} || sleep 1; {read} || sleep 1; {read}"));
            },
        )
        .with(&["timeout=10", "without=pipeline"]),
        row("one at a time", Quirks::none().silent_on("EPSV"), story)
            .with(&["timeout=10", "without=pipeline"]),
        row(
            "without facts",
            Quirks::none().without_facts().silent_on("EPSV"),
            story,
        )
        .with(&["timeout=10"]),
    ]);
}

#[test]
fn pasv_in_odd_words() {
    let mut rows = Vec::new();
    let ways = [
        ("227 Entering Passive Mode (#).", ", "),
        ("227 Entering Passive Mode (#)", " , "),
        ("227 Entering Passive Mode #", ","),
        ("227 =#", ","),
        ("227 Entering passive mode, 4 sessions of 10. [#]", ","),
        ("227 Passiver Modus ( # )", ","),
        ("227-Entering\n227 Passive Mode (#)", ","),
    ];
    rows.extend(ways.map(|(words, separator)| {
        row(
            format!("it_is_mounted: {words} with {separator:?}"),
            pasv(words, separator),
            works,
        )
    }));
    rows.extend([row(
        "it_is_mounted_where_pasv_names_a_private_address",
        Quirks::none().without("EPSV").hook(|request, state| {
            (request.verb == "PASV").then(|| {
                let port = state.listen().unwrap_or_default();
                Answer::say(format!(
                    "227 Entering Passive Mode (10,1,2,3,{},{})",
                    port >> 8,
                    port & 255
                ))
            })
        }),
        works,
    )]);
    group(rows);
}

#[test]
fn where_the_login_ends() {
    let mut rows = Vec::new();
    let answers = [
        "257 /",
        "257 / is the current directory",
        "257 \"C:\\ftp\"",
        "257 \"C:\\\" is current directory",
        "257 '/' is current",
        "257 \"\" is current",
        "250 \"/\"",
        "500 Unknown",
        "502 Not implemented",
        "550 Not here",
        "550 Access is denied",
    ];
    rows.extend(answers.map(|answer| {
        row(
            format!("it_is_mounted: PWD says {answer}"),
            Quirks::none().says("PWD", answer),
            works,
        )
    }));
    rows.extend(["500 Unknown", "257 /", "550 No"].map(|answer| {
        row(
            format!("a_directory_is_mounted: PWD says {answer}"),
            Quirks::none().says("PWD", answer),
            |t| {
                t.lists(".", "a.txt b.txt");
            },
        )
        .at("docs")
    }));
    group(rows);
}

#[test]
fn login_in_odd_words() {
    let mut rows = Vec::new();
    let greetings = [
        "Welcome to the archive\n220 Ready",
        "*** 220 users served ***\n220 Ready",
        "220 First\n220 Second\n220 Third",
        "220-Hello\n220 Ready\n220 Really",
        "220-Hello\n  220 inside\n 211 not the end\n220 Ready",
        "\n220 Ready",
        "120 Ready in a moment\n220 Ready",
        "220",
        "230 Logged in already",
    ];
    rows.extend(greetings.map(|greeting| {
        row(
            format!("it_is_mounted: {greeting:?}"),
            Quirks::none().greeting(greeting),
            works,
        )
    }));
    let twice = |verb: &'static str, lines: &'static str| {
        row(
            format!("it_is_mounted_where_{verb}_is_answered_twice: {lines:?}"),
            Quirks::none().says(verb, lines),
            works,
        )
    };
    rows.extend([
        twice("PASS", "230 Logged in\n230 Welcome"),
        twice("PASS", "230-Welcome\n230 Logged in\n230 Really"),
        twice(
            "FEAT",
            "211-Features:\n SIZE\n REST STREAM\n211 End\n211 End",
        ),
        twice(
            "FEAT",
            "211-Features:\n SIZE\n MLST type*;size*;modify*;\n211 End\n211-Features:\n SIZE\n211 End",
        ),
        twice("OPTS", "200 UTF8\n200 is on"),
        twice("TYPE", "200 Binary\n200 OK"),
        twice("SYST", "215 UNIX\n215 Type: L8"),
        twice("USER", "331 Password\n331 please"),
    ]);
    rows.extend([row(
        "it_is_mounted_where_CWD_is_answered_twice",
        Quirks::none().says_after("CWD", "250 Really there"),
        works,
    )]);
    let answers = [
        ("USER", "230 No password needed"),
        ("PASS", "202 Not needed"),
        ("PASS", "200 Welcome"),
        ("SYST", "500 Unknown"),
        ("SYST", "530 Not for you"),
        ("OPTS", "500 Unknown"),
        ("OPTS", "451 Local error"),
        ("TYPE", "226 Binary"),
        ("NOOP", "502 Unknown"),
        ("MODE", "500 Unknown"),
    ];
    rows.extend(answers.map(|(verb, lines)| {
        let quirks = Quirks::none().feature("OPTS").says(verb, lines);
        row(format!("it_is_mounted: {verb} says {lines}"), quirks, works)
    }));
    group(rows);
}

#[test]
fn commands_of_its_own() {
    let armed: Arc<Mutex<HashSet<usize>>> = Arc::default();
    let pret = Quirks::none().feature("PRET").hook(move |request, state| {
        let mut armed = armed.lock().unwrap();
        match request.verb.as_str() {
            "PRET" => {
                armed.insert(state.session);
                Some(Answer::say("200 OK, planning to use that"))
            }
            "EPSV" | "PASV" if !armed.remove(&state.session) => Some(Answer::say(
                "500 You need to use a client supporting PRET (PRE Transfer) to use PASV",
            )),
            _ => None,
        }
    });
    let greeted: Arc<Mutex<HashSet<usize>>> = Arc::default();
    let own = Quirks::none().hook(move |request, state| {
        let mut greeted = greeted.lock().unwrap();
        if request.verb == "SITE" && request.argument == "VAULT main" {
            greeted.insert(state.session);
            return Some(Answer::say("200 Vault main"));
        }
        let is_early = [
            "MLSD", "LIST", "STAT", "RETR", "STOR", "NLST", "MLST", "CWD",
        ];
        (request.is(&is_early) && !greeted.contains(&state.session))
            .then(|| Answer::say("503 Choose a vault first"))
    });
    group([
        row("it_is_mounted_where_pret_is_needed", pret, works),
        row("it_is_mounted_with_a_login_command", own, works)
            .with(&["login_command=SITE VAULT main"]),
    ]);
}

/// Runs eight readers at the same time, on a server that accepts three sessions.
fn reads(t: &Mounted) {
    let read = t.run("for i in 1 2 3 4 5 6 7 8; do cat many/$i & done; wait");
    assert_eq!(read.lines().count(), 8, "{read}");
    t.run("for i in 1 2 3 4 5 6 7 8; do cat many/$i > /dev/null & echo $i > many/n$i & done; wait");
    assert_eq!(t.server.tree().names("/many").len(), 16);
    let logins = t.server.sessions().len();
    assert!(logins <= 12, "{logins} logins");
}

#[test]
fn a_server_that_is_full() {
    let mut rows = Vec::new();
    let words = [
        "421 I can't accept more than 3 connections as the same user",
        "421 Too many users, sorry",
        "421 Maximum number of sessions reached",
        "530 User has exceeded the number of connections",
        "530 Sorry, the maximum number of clients (3) for this user are already connected.",
        "421 Es sind zu viele Verbindungen offen",
        "530 The number of connections is exceeded",
        "450 Try again later",
        "421 Service not available",
        "426 Only 3 per host",
    ];
    let many = |tree: &mut crate::support::FileTree| {
        for i in 1..9 {
            tree.file(&format!("/many/{i}"), format!("{i}\n"));
        }
    };
    rows.extend(words.map(|lines| {
        row(
            format!("the_limit_is_learned_at_the_greeting: {lines}"),
            Quirks::none().most_sessions(3, lines),
            reads,
        )
        .holding(many)
    }));
    rows.extend(words.map(|lines| {
        let quirks = Quirks::none().hook(move |request, state| {
            (request.verb == "PASS" && state.open > 3).then(|| Answer::say(lines))
        });
        row(
            format!("the_limit_is_learned_at_the_password: {lines}"),
            quirks,
            reads,
        )
        .holding(many)
    }));
    group(rows);
}

#[test]
fn modes_and_addresses() {
    let lines =
        "drw-rw-rw-   2 1 1 4096 May  4  2018 docs\ndrw-------   2 1 1 4096 May  4  2018 empty";
    group([
        row(
            "a_directory_with_no_x_can_be_entered",
            Quirks::none().without_facts().raw_listing("/", lines),
            |t| assert_eq!(t.run("stat -c %A docs empty"), "drwxrwxrwx\ndrwx------\n"),
        ),
        row(
            "data_comes_from_the_address_of_the_control_connection",
            Quirks::none(),
            works,
        )
        .with(&["bind=127.0.0.2"]),
        row("mlsd_can_be_left_out", Quirks::none(), |t| {
            works(t);
            assert_eq!(t.server.count("MLSD"), 0);
        })
        .with(&["without=mlsd"]),
        row("epsv_and_mlst_can_be_left_out", Quirks::none(), |t| {
            works(t);
            assert_eq!(t.server.count("EPSV"), 0);
        })
        .with(&["without=epsv+pipeline"]),
    ]);
}
