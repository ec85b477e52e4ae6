//! MLSD, MLST, LIST, NLST, STAT.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use crate::client::{Client, Served};

fn set_modified(served: &Served, name: &str, time: SystemTime) {
    std::fs::File::open(served.path(name))
        .unwrap()
        .set_modified(time)
        .unwrap();
}

#[test]
fn mlsd_tells_the_facts_of_every_kind_of_entry() {
    for served in Served::on_both_families() {
        std::fs::create_dir(served.path("sub")).unwrap();
        served.write("sub/file", "12345");
        std::fs::set_permissions(served.path("sub/file"), PermissionsExt::from_mode(0o640))
            .unwrap();
        set_modified(
            &served,
            "sub/file",
            SystemTime::UNIX_EPOCH + Duration::from_secs(951_827_696),
        );
        symlink("file", served.path("sub/link")).unwrap();
        symlink("a;b", served.path("sub/odd")).unwrap();
        std::fs::create_dir(served.path("sub/inner")).unwrap();
        let mut client = served.client();
        let lines = client.lines("MLSD sub");
        let of = |name: &str| {
            lines
                .iter()
                .find(|line| line.ends_with(&format!("; {name}")))
                .unwrap()
        };
        assert_eq!(lines.len(), 6, "{lines:?}");
        assert!(
            of("file").starts_with("type=file;size=5;modify=20000229123456;perm="),
            "{lines:?}"
        );
        assert!(of("file").contains(";UNIX.mode=0640;UNIX.owner="));
        assert!(of("link").starts_with("type=OS.unix=slink:file;modify="));
        assert!(of("odd").starts_with("type=OS.unix=symlink;modify="));
        assert!(of("inner").starts_with("type=dir;modify="));
        assert!(of(".").starts_with("type=cdir;"));
        assert!(of("..").starts_with("type=pdir;"));
        // The root shows nothing above it.
        assert!(
            !client
                .lines("MLSD /")
                .iter()
                .any(|line| line.ends_with("; .."))
        );
    }
}

#[test]
fn a_file_has_one_unique_fact_wherever_it_is_seen() {
    let served = Served::start();
    served.write("one", "x");
    std::fs::hard_link(served.path("one"), served.path("two")).unwrap();
    served.write("three", "x");
    let mut client = served.client();
    client.expect("OPTS MLST unique;", 200);
    let unique = |client: &mut Client, name: &str| {
        let line = client.command(format!("MLST {name}")).inner.concat();
        String::from_utf8(line)
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(unique(&mut client, "one"), unique(&mut client, "two"));
    assert_ne!(unique(&mut client, "one"), unique(&mut client, "three"));
}

#[test]
fn opts_mlst_chooses_the_facts() {
    let served = Served::start();
    served.write("file", "12345");
    let mut client = served.client();
    assert_eq!(
        client.expect("OPTS MLST size;Type;nonsense;", 200),
        "MLST OPTS type;size;"
    );
    assert_eq!(
        client.lines("MLSD"),
        ["type=cdir; .", "type=file;size=5; file"]
    );
    let features = client.command("FEAT").inner;
    let line = features
        .iter()
        .find(|line| line.starts_with(b" MLST "))
        .unwrap();
    assert!(line.starts_with(b" MLST type*;size*;modify;perm;"));
    assert_eq!(client.expect("OPTS MLST", 200), "MLST OPTS ");
    assert_eq!(client.lines("MLSD"), [" .", " file"]);
}

#[test]
fn mlst_answers_on_the_control_connection_with_the_whole_path() {
    let served = Served::start();
    std::fs::create_dir(served.path("a dir")).unwrap();
    served.write("a dir/file", "x");
    let mut client = served.client();
    client.expect("CWD a dir", 250);
    let reply = client.command("MLST file");
    assert_eq!(reply.code, 250);
    assert_eq!(reply.inner.len(), 1);
    let line = String::from_utf8(reply.inner[0].clone()).unwrap();
    assert!(
        line.starts_with(" type=file;size=1;") && line.ends_with("; /a dir/file"),
        "{line}"
    );
    let root = String::from_utf8(client.command("MLST /").inner.concat()).unwrap();
    assert!(
        root.starts_with(" type=cdir;") && root.ends_with("; /"),
        "{root}"
    );
}

#[test]
fn list_looks_like_ls() {
    let served = Served::start();
    served.write("old", "12345");
    served.write(".hidden", "");
    let set = |mode| PermissionsExt::from_mode(mode);
    std::fs::set_permissions(served.path("old"), set(0o4755)).unwrap();
    set_modified(
        &served,
        "old",
        SystemTime::UNIX_EPOCH + Duration::from_secs(951_827_696),
    );
    std::fs::create_dir(served.path("dir")).unwrap();
    std::fs::set_permissions(served.path("dir"), set(0o1777)).unwrap();
    symlink("/somewhere else", served.path("link")).unwrap();
    let mut client = served.client();
    for line in ["LIST", "LIST -a", "LIST -al", "LIST -la /", "LIST ."] {
        let lines = client.lines(line);
        let of = |name: &str| {
            lines
                .iter()
                .find(|line| line.contains(&format!(" {name}")))
                .unwrap()
        };
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(of("old").starts_with("-rwsr-xr-x "), "{lines:?}");
        assert!(of("old").ends_with(" 5 Feb 29  2000 old"), "{lines:?}");
        assert!(of("dir").starts_with("drwxrwxrwt "), "{lines:?}");
        assert!(of("link").starts_with("lrwxrwxrwx "), "{lines:?}");
        assert!(
            of("link").ends_with(" link -> /somewhere else"),
            "{lines:?}"
        );
        let time = of(".hidden").rsplit(' ').nth(1).unwrap();
        assert!(
            time.len() == 5 && time.contains(':'),
            "a recent time shows its hour: {lines:?}"
        );
    }
    assert!(client.lines("LIST old")[0].ends_with(" old"));
    assert_eq!(
        client.expect("LIST missing", 550),
        "No such file or directory"
    );
}

#[test]
fn stat_lists_on_the_control_connection() {
    let served = Served::start();
    std::fs::create_dir(served.path("a dir")).unwrap();
    served.write("a dir/file", "x");
    let mut client = served.client();
    let listed = client.lines("LIST a dir");
    let reply = client.command("STAT a dir");
    assert_eq!(reply.code, 213);
    let lines: Vec<String> = reply
        .inner
        .into_iter()
        .map(|line| String::from_utf8(line).unwrap())
        .collect();
    let (own, entries) = lines.split_at(2);
    assert!(own[0].starts_with('d') && own[0].ends_with(" .") && own[1].ends_with(" .."));
    assert_eq!(entries, listed);
    assert_eq!(
        client.expect("STAT missing", 550),
        "No such file or directory"
    );
    assert_eq!(client.command("STAT").code, 211);
    let many = "STAT a dir\r\n".repeat(100);
    client.send(many.as_bytes());
    for _ in 0..100 {
        assert_eq!(client.reply().inner.len(), 3);
    }
}

#[test]
fn nlst_gives_paths_that_can_be_used() {
    let served = Served::start();
    std::fs::create_dir(served.path("dir")).unwrap();
    served.write("dir/file", "x");
    let mut client = served.client();
    assert_eq!(client.lines("NLST"), ["dir"]);
    assert_eq!(client.lines("NLST dir"), ["dir/file"]);
    assert_eq!(client.lines("NLST -a /dir/"), ["/dir/file"]);
    assert_eq!(client.lines("NLST dir/file"), ["dir/file"]);
}

#[test]
fn any_name_a_file_can_have_is_listed_and_works() {
    let names: [&[u8]; 16] = [
        b"two words",
        b" leading",
        b"trailing ",
        b"qu\"ote",
        b"it's",
        b"[a]*?",
        b"-dash",
        b"-al",
        b"back\\slash",
        "größe ☃".as_bytes(),
        b"latin\xe9",
        b"\xff\xff",
        b"y\xff",
        b"semi;colon= x",
        b"~",
        b"$HOME;#",
    ];
    for served in Served::on_both_families() {
        let mut client = served.client();
        for name in names {
            // According to TELNET, 0xFF is doubled on the control connection.
            let sent: Vec<u8> = name
                .iter()
                .flat_map(|&b| vec![b; if b == 0xff { 2 } else { 1 }])
                .collect();
            let path = [b"/".as_slice(), &sent].concat();
            let line = |verb: &[u8]| [verb, b" ", &path].concat();
            assert_eq!(client.upload(line(b"STOR"), name).code, 226, "{name:?}");
            assert_eq!(
                std::fs::read(served.path("").join(OsStr::from_bytes(name))).unwrap(),
                name
            );
            assert_eq!(client.receive(line(b"RETR")).0, name);
            let fact = client.command(line(b"MLST")).inner.concat();
            assert!(
                fact.ends_with(&[b"; ", path.as_slice()].concat()),
                "{fact:?}"
            );
            let (listing, _) = client.receive("MLSD");
            let shown = [b"; ", name, b"\r\n"].concat();
            assert!(
                listing.windows(shown.len()).any(|window| window == shown),
                "{name:?}"
            );
            client.expect(line(b"DELE"), 250);
            client.expect(line(b"MKD"), 257);
            client.expect(line(b"CWD"), 250);
            let quoted = client.expect("PWD", 257);
            assert_eq!(quoted.matches('"').count() % 2, 0);
            client.expect("CDUP", 250);
            client.expect(line(b"RMD"), 250);
        }
    }
}

#[test]
fn a_quote_is_doubled_in_257() {
    let served = Served::start();
    let mut client = served.client();
    assert_eq!(client.expect("MKD a\"b", 257), "\"/a\"\"b\" created");
}

#[test]
fn a_name_of_255_bytes_is_a_name_like_any_other() {
    let served = Served::start();
    let name = "n".repeat(255);
    let mut client = served.client();
    assert_eq!(client.upload(format!("STOR {name}"), b"x").code, 226);
    assert_eq!(client.lines("NLST"), [name]);
}

#[test]
fn a_name_with_a_line_end_does_not_break_the_listing() {
    let served = Served::start();
    served.write("good", "x");
    served.write("bad\nname", "x");
    served.write("bad\rname", "x");
    symlink("bad\r\ntarget", served.path("link")).unwrap();
    let mut client = served.client();
    let mut names = client.lines("NLST");
    names.sort();
    assert_eq!(names, ["good", "link"]);
    assert_eq!(client.lines("LIST").len(), 2);
    assert_eq!(client.lines("MLSD").len(), 3);
}

#[test]
fn twenty_thousand_files_are_listed_completely() {
    let served = Served::start();
    for number in 0..20_000 {
        std::fs::File::create(served.path(&format!("file{number:05}"))).unwrap();
    }
    let mut client = served.client();
    for (command, extra) in [("MLSD", 1), ("LIST", 0), ("NLST", 0)] {
        let lines = client.lines(command);
        let mut names: Vec<&str> = lines
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 20_000 + extra, "{command}");
    }
    assert_eq!(client.command("STAT /").inner.len(), 20_002);
}
