//! Replies that are endless, of the wrong kind or too many, and their data connection parameters.

use super::*;

#[test]
fn data_is_fetched_from_the_server_and_from_nobody_it_names() {
    let elsewhere = TcpListener::bind("127.0.0.2:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let server = Scripted::start(move |line| match line {
        "EPSV" => Act::say(&format!("229 there (|1|127.0.0.2|{port}|)")),
        "PASV" => Act::say(&format!(
            "227 there (127,0,0,2,{},{})",
            port >> 8,
            port & 255
        )),
        _ => None,
    });
    let mount = Mount::of_url(&server.url(), "secret", &["connect_timeout=1"]);
    // Nothing listens on that port of the server's own address.
    assert!(names(mount.path()).is_err());
    assert!(server.commands().iter().any(|line| line == "PASV"));
    let called = elsewhere.accept().map(|(_, from)| from);
    assert!(called.is_err(), "called by {called:?}");
}

#[test]
fn a_reply_without_an_end_is_cut_off() {
    for piece in [b"250-and more\r\n".as_slice(), b"x"] {
        let server = Scripted::start(move |line| match line {
            "MLST /endless" => Act::speak(move |control| {
                control.write_all(b"250-it\r\n")?;
                for_ever(control, piece)
            }),
            _ => None,
        });
        let victim = Victim::of(server);
        assert_errno(fs::metadata(victim.mount.join("endless")), libc::EPROTO);
        victim.lives_within(MODEST);
    }
}

#[test]
fn replies_of_many_features_are_taken_up_to_a_bound() {
    let bomb = |lines: usize| {
        Scripted::start(move |line| match line {
            "FEAT" => {
                let features: String = (0..lines)
                    .map(|n| format!(" X{n} {}\n", "y".repeat(60)))
                    .collect();
                Act::say(&format!(
                    "211-Features\n MLST type*;size*;\n{features}211 End"
                ))
            }
            _ => None,
        })
    };
    Victim::of(bomb(1_500)).lives_within(MODEST);
    let server = bomb(100_000);
    let output = ftpfs(&["check", &server.url()]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        words.contains("more than") && words.contains("in a reply"),
        "{words}"
    );
}

/// One byte from time to time keeps every single wait short, and could block a program forever.
#[test]
fn a_reply_that_drips_is_not_waited_for() {
    let server = Scripted::start(|line| match line {
        "MLST /slow" => Act::speak(|control| drip(control, b"2")),
        _ => None,
    });
    let victim = Victim::with(server, &["timeout=2"]);
    assert_errno(fs::metadata(victim.mount.join("slow")), libc::ETIMEDOUT);
    victim.lives_within(MODEST);
}

#[test]
fn a_greeting_that_drips_is_not_waited_for() {
    let server = Scripted::start(|line| match line {
        "CONNECT" => Act::speak(|control| drip(control, b"220-x\r\n")),
        _ => None,
    });
    let output = ftpfs(&["check", &server.url(), "-o", "timeout=2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("greeting"),
        "{output:?}"
    );
}

#[test]
fn a_reply_more_than_was_asked_for_answers_nothing_else() {
    let server = Scripted::start(|line| match line {
        "MLST /first" => Act::say(
            "250-it\n type=file;size=1; /first\n250 is\n250-it\n type=dir; /second\n250 is",
        ),
        "MLST /second" => Act::say("550 no such file"),
        "RETR /good/alive" => {
            let act = |data: &mut std::net::TcpStream| data.write_all(ALIVE.as_bytes());
            Some(Act::Transfer(
                Box::new(act),
                "226 done\r\n226 again\r\n213 999\r\n",
            ))
        }
        _ => None,
    });
    let victim = Victim::of(server);
    for _ in 0..3 {
        assert!(fs::metadata(victim.mount.join("first")).unwrap().is_file());
        assert_errno(fs::metadata(victim.mount.join("second")), libc::ENOENT);
        victim.lives_within(MODEST);
    }
}

/// A 1yz with no further reply, or a 2yz where a 3yz is due, is not taken for success.
#[test]
fn replies_of_the_wrong_kind_are_not_taken_for_success() {
    let server = Scripted::start(|line| match line {
        "MLSD /" => Act::send(file("1", "file") + "type=dir; good\r\n"),
        "MLST /file" => Act::say("250-it\n type=file;size=1; /file\n250 is"),
        "RNFR /file" => Act::say("250 done already"),
        "DELE /file" => Act::say("150 soon"),
        "MKD /new" => Act::say("350 go on"),
        _ => None,
    });
    let victim = Victim::with(server, &["timeout=3"]);
    let join = |name: &str| victim.mount.join(name);
    assert!(fs::rename(join("file"), join("other")).is_err());
    assert!(fs::remove_file(join("file")).is_err());
    assert!(fs::create_dir(join("new")).is_err());
    assert!(names(victim.mount.path()).unwrap().contains(&"file".into()));
    victim.lives_within(MODEST);
}

#[test]
fn a_home_that_is_no_path_stops_nothing_that_does_not_need_it() {
    for answer in [
        "257 \"/../../etc\"",
        "257 no quotes",
        "257 \"\"",
        "550 no",
        "257 \"/a\0b\"",
    ] {
        let server = Scripted::start(move |line| match line {
            "PWD" => Act::say(answer),
            _ => None,
        });
        // `//` starts at the server's root, regardless of the login directory.
        let mount = Mount::of_url(&format!("{}/", server.url()), "secret", &[]);
        assert_eq!(names(&mount.join("good")).unwrap(), ["alive"], "{answer}");
    }
}

/// None of this follows the RFCs, but all of it comes from servers in use.
#[test]
fn a_server_of_odd_manners_is_mounted() {
    let passive = |line: &str| (line == "EPSV").then(|| Act::say("402 unknown")).flatten();
    let answers: [(&str, &str); 7] = [
        ("CONNECT", "This is a wrapper.\n220 one\n220 two"),
        ("CONNECT", "120 a moment\n220-Hello\n220 three"),
        ("PASS", "230 in\n230 in"),
        (
            "FEAT",
            "211-Its\n MLST type*;size*;\n211 End\n211-Its\n MLST type*;size*;\n211 End",
        ),
        ("PWD", "257 \"C:\\ftp\""),
        ("NOOP", "502 unknown"),
        ("EPSV", ""),
    ];
    for (command, answer) in answers {
        let server = Scripted::start(move |line| {
            let word = line.split(' ').next().unwrap_or_default();
            match word {
                "EPSV" if command == "EPSV" => {
                    Act::speak(|control| control.shutdown(std::net::Shutdown::Both))
                }
                _ if word == command => Act::say(answer),
                _ => passive(line),
            }
        });
        let mount = Mount::of_url(&server.url(), "secret", &[]);
        let alive = fs::read_to_string(mount.join("good/alive"));
        assert_eq!(alive.unwrap(), ALIVE, "{command}: {answer}");
    }
}
