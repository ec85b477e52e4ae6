//! No path leads out of the root.

use std::os::unix::fs::symlink;

use crate::client::{Served, names};

/// Serves a root with every kind of link that leads out of it, next to a secret file.
fn with_ways_out() -> Served {
    let served = Served::start();
    std::fs::write(served.outside("secret"), "outside").unwrap();
    std::fs::create_dir(served.outside("neighbour")).unwrap();
    std::fs::create_dir(served.path("inside")).unwrap();
    served.write("inside/file", "inside");
    for (target, link) in [
        ("../secret", "relative"),
        ("/etc", "etc"),
        ("/etc/passwd", "passwd"),
        ("..", "up"),
        ("inside/../../secret", "around"),
        ("etc", "chained"),
        ("../neighbour/new", "dangling"),
    ] {
        symlink(target, served.path(link)).unwrap();
    }
    served
}

#[test]
fn dots_and_absolute_paths_stay_inside() {
    let served = with_ways_out();
    let mut client = served.client();
    for path in [
        "../secret",
        "/../secret",
        "inside/../../secret",
        "../../../../../../etc/passwd",
        "/etc/../../secret",
    ] {
        client.expect(format!("RETR {path}"), 550);
        client.expect(format!("SIZE {path}"), 550);
    }
    client.expect("CWD ..", 250);
    client.expect("CWD ../../..", 250);
    assert_eq!(client.expect("PWD", 257), "\"/\" is the working directory");
    client.expect("CDUP", 250);
    assert!(client.lines("NLST").contains(&"inside".to_owned()));
    client.expect("MKD ../../made", 257);
    assert!(served.path("made").is_dir());
}

#[test]
fn links_that_lead_out_are_not_read_through() {
    let served = with_ways_out();
    let mut client = served.client();
    for link in [
        "relative",
        "passwd",
        "around",
        "etc/passwd",
        "up/secret",
        "chained/passwd",
    ] {
        for verb in [
            "RETR",
            "SIZE",
            "MDTM",
            "SITE CHMOD 600",
            "MFMT 20200101000000",
        ] {
            assert_eq!(
                client.expect(format!("{verb} {link}"), 550),
                "Permission denied",
                "{verb} {link}"
            );
        }
    }
    for link in ["etc", "up", "chained"] {
        for verb in ["CWD", "MLSD"] {
            assert_eq!(
                client.expect(format!("{verb} {link}"), 550),
                "Permission denied",
                "{verb} {link}"
            );
        }
        // The link itself is listed; its target is not entered.
        assert_eq!(client.lines(format!("NLST {link}")), [link]);
    }
}

#[test]
fn links_that_lead_out_are_not_written_through() {
    let served = with_ways_out();
    let mut client = served.client();
    for line in [
        "STOR relative",
        "APPE relative",
        "STOR dangling",
        "STOR up/new",
        "STOR up/secret",
        "DELE up/secret",
        "MKD up/new",
        "RMD up/neighbour",
        "RNFR up/secret",
        "DELE etc/passwd",
        "MLST up/secret",
    ] {
        assert_eq!(client.expect(line, 550), "Permission denied", "{line}");
    }
    client.expect("RNFR inside/file", 350);
    assert_eq!(client.expect("RNTO up/stolen", 550), "Permission denied");
    assert_eq!(std::fs::read(served.outside("secret")).unwrap(), b"outside");
    assert_eq!(names(&served.outside("")), ["neighbour", "root", "secret"]);
    assert!(names(&served.outside("neighbour")).is_empty());
}

#[test]
fn a_link_that_leads_out_can_itself_be_seen_renamed_and_deleted() {
    let served = with_ways_out();
    let mut client = served.client();
    let facts = String::from_utf8(client.command("MLST relative").inner.concat()).unwrap();
    assert!(facts.contains("type=OS.unix=slink:../secret;"), "{facts}");
    client.expect("RNFR relative", 350);
    client.expect("RNTO inside/moved", 250);
    client.expect("DELE inside/moved", 250);
    assert!(served.outside("secret").exists());
    // A harmless link moved down one level may lead elsewhere: it is judged at its current place.
    symlink("file", served.path("inside/harmless")).unwrap();
    assert_eq!(client.receive("RETR inside/harmless").0, b"inside");
}

#[test]
fn links_that_stay_inside_are_followed() {
    let served = with_ways_out();
    symlink("inside", served.path("directory")).unwrap();
    symlink(served.path("inside/file"), served.path("absolute")).unwrap();
    symlink("inside/new", served.path("unborn")).unwrap();
    let mut client = served.client();
    assert_eq!(client.receive("RETR directory/file").0, b"inside");
    assert_eq!(client.receive("RETR absolute").0, b"inside");
    client.expect("CWD directory", 250);
    assert_eq!(client.lines("NLST"), ["file"]);
    assert_eq!(client.upload("STOR /unborn", b"born").code, 226);
    assert_eq!(served.read("inside/new"), b"born");
}
