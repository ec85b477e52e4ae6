//! Names and messages that would lead outside the mount or control a terminal.

use super::*;

#[test]
fn names_that_lead_elsewhere_are_dropped_and_told_in_two_lines() {
    let long = "x".repeat(256);
    let mut listing = Vec::new();
    for name in [
        "a/b",
        "/etc/passwd",
        "../up",
        ".",
        "..",
        "",
        &long,
        "nul\0l",
        "cr\rcr",
        "fine",
        "fine",
        "\x1b[2Jcleared",
        "fine",
    ] {
        listing.extend_from_slice(file("1", name).as_bytes());
    }
    for _ in 0..10_000 {
        listing.extend_from_slice(file("1", "a/b").as_bytes());
    }
    let victim = Victim::of(Scripted::listing(listing));
    assert_eq!(
        names(victim.mount.path()).unwrap(),
        ["\x1b[2Jcleared", "fine", "good"]
    );
    assert_eq!(victim.said("gave no entry"), 1, "{}", victim.mount.log());
    victim.lives_within(MODEST);
    assert_harmless(victim.mount.log().as_bytes());
}

/// The same from a server that has only LIST.
#[test]
fn names_of_ls_that_lead_elsewhere_are_dropped() {
    let server = Scripted::start(|line| match line {
        "FEAT" => Act::say("500 no"),
        "LIST -a /" => {
            let line = |name: &str| format!("-rw-r--r-- 1 u g 1 Jan  1  2020 {name}\r\n");
            let lines: String = ["a/b", "..", "fine", "nul\0l", "fine"].map(line).concat();
            Act::send(lines + "drwxr-xr-x 2 u g 1 Jan  1  2020 good\r\n")
        }
        "LIST -a /good" => Act::send("-rw-r--r-- 1 u g 8 Jan  1  2020 alive\r\n"),
        _ if line.starts_with("MLS") => Act::say("500 no"),
        _ => None,
    });
    let victim = Victim::of(server);
    assert_eq!(names(victim.mount.path()).unwrap(), ["fine", "good"]);
    victim.lives_within(MODEST);
}

/// If a reply gives another name than the requested one, no entry appears under that name.
#[test]
fn a_name_asked_for_is_never_found_under_another() {
    let server = Scripted::start(|line| match line {
        "MLST /asked" => Act::say("250-it\n type=file;size=1; /../../etc/shadow\n250 is"),
        _ => None,
    });
    let victim = Victim::of(server);
    assert_eq!(fs::metadata(victim.mount.join("asked")).unwrap().len(), 1);
    victim.lives_within(MODEST);
}

#[test]
fn words_that_steer_a_terminal_are_told_escaped() {
    const WORDS: &str = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}";
    let server = Scripted::start(|line| match line {
        "CONNECT" => Act::say(&format!("220-{WORDS}\n220 {WORDS}")),
        "PWD" => Act::say(&format!("257 \"/{WORDS}\" {WORDS}")),
        "MLSD /" => Act::send("type=dir; bad\r\ntype=dir; good\r\n"),
        "MLSD /bad" => Act::say(&format!("550 {WORDS}")),
        _ if line.contains("owned") => Act::send(file("1", WORDS)),
        _ => None,
    });
    let url = server.url();
    let mount = Mount::of_url(&format!("{url}/"), "secret", &["log_level=debug"]);
    assert!(names(&mount.join("bad")).is_err());
    assert_eq!(names(&mount.join("good")).unwrap(), ["alive"]);
    let log = mount.log();
    assert!(log.contains("owned"), "{log}");
    assert_harmless(log.as_bytes());
    let output = ftpfs(&["check", &url]);
    assert_harmless(&output.stdout);
    assert_harmless(&output.stderr);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("owned"),
        "{output:?}"
    );
}

#[test]
fn a_refused_login_is_told_escaped() {
    let server = Scripted::start(|line| match line {
        _ if line.starts_with("PASS") => Act::say("530 \x1b[31mno\x07 entry"),
        _ => None,
    });
    let directory = tempfile::tempdir().unwrap();
    for command in [
        vec!["check", &server.url()],
        vec!["-f", &server.url(), directory.path().to_str().unwrap()],
    ] {
        let output = ftpfs(&command);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("entry"),
            "{output:?}"
        );
        assert_harmless(&output.stderr);
    }
}
