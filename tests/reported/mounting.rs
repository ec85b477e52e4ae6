//! Servers whose login, features or passive mode are odd: each is mounted, and works.

use crate::row::{Mounted, group, row};
use crate::support::{Answer, Quirks};

/// Whatever the server said before, it can be read and written.
fn works(t: &Mounted) {
    t.lists("docs", "a.txt b.txt");
    t.run("cat docs/a.txt; echo new > docs/new.txt; mv docs/new.txt empty/; mkdir more; rm docs/b.txt");
    t.holds("/empty/new.txt", "new\n");
    t.names("/docs", "a.txt");
    t.names("/", "docs empty more");
}

/// Answers PASV in these words, where `#` is the address and port.
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
        twice("CWD", "250 There\n250 Really there"),
    ]);
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

/// Eight readers of files at the same time, on a server that takes three sessions.
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
