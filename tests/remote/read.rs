//! Downloads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ftpfs::server::{Fault, Misdeed};
use ftpfs::testing::remote::ErrorKind;

use crate::servers::{Act, Scripted};
use crate::support::{Site, connect, path, pattern, pool_options, rest_of, wait_for};

#[test]
fn a_file_is_read_whole_and_from_any_offset() {
    for disabled in [&[] as &[&str], &["EPSV"]] {
        let site = Site::without(disabled);
        let content = pattern(300_000);
        site.put("file", &content);
        site.put("empty", b"");
        for offset in [0, 1, 299_999, 300_000] {
            let read = site.read("/file", offset as u64).unwrap();
            assert!(read == content[offset..], "{disabled:?} from {offset}");
        }
        assert_eq!(site.read("/empty", 0).unwrap(), b"");
        site.assert_few_sessions();
    }
}

#[test]
fn reading_costs_one_command() {
    let site = Site::new();
    site.put("file", b"content");
    site.read("/file", 0).unwrap();
    assert_eq!(site.verbs(), ["RETR"]);
}

#[test]
fn what_cannot_be_read_says_why() {
    let site = Site::new();
    site.make("dir");
    site.put("file", b"x");
    for (name, kind) in [
        ("/none", ErrorKind::NotFound),
        ("/none/none", ErrorKind::NotFound),
        ("/dir", ErrorKind::IsDirectory),
    ] {
        let error = site.read(name, 0).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert_eq!(error.path, path(name));
    }
    assert_eq!(site.read("/file", 0).unwrap(), b"x", "the session lives on");
    site.assert_few_sessions();
}

#[test]
fn a_download_given_up_leaves_no_session_out_of_step() {
    let site = Site::new();
    let content = pattern(8 << 20);
    site.put("file", &content);
    for _ in 0..3 {
        let mut download = site.remote.open_at(&path("/file"), 0).unwrap();
        let mut some = [0; 1000];
        let count = download.read(&mut some).unwrap();
        assert_eq!(some[..count], content[..count]);
        download.abandon();
        assert_eq!(site.listed("/"), ["file"]);
    }
    site.assert_few_sessions();
}

#[test]
fn a_download_that_breaks_is_never_taken_for_the_end() {
    let site = Site::new();
    site.put("file", pattern(64 << 20));
    let mut download = site.remote.open_at(&path("/file"), 0).unwrap();
    let mut buffer = vec![0; 1 << 16];
    download.read(&mut buffer).unwrap();
    site.server.drop_sessions();
    let error = loop {
        match download.read(&mut buffer) {
            Ok(0) => panic!("taken for the end"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error.kind, ErrorKind::ConnectionLost | ErrorKind::Truncated),
        "{error}"
    );
    let again = download.read(&mut buffer).unwrap_err();
    assert_eq!(again.kind, error.kind, "it stays broken");
    drop(download);
    wait_for("the place to be free", || {
        site.remote.pool_stats().leased == 0
    });
    assert_eq!(site.listed("/"), ["file"], "on a new session");
}

/// Uses draft-bryan-ftp-range; without it, the reader has to end the transfer.
#[test]
fn a_part_of_a_file_ends_by_itself_where_the_server_knows_ranges() {
    for (disabled, mark) in [(vec![], "RANG 10 19"), (vec!["RANG"], "REST 10")] {
        let site = Site::without(&disabled);
        let content = pattern(1 << 20);
        site.put("file", &content);
        let version = site.remote.version(&path("/file")).unwrap();
        let spare = site.remote.spare(Duration::from_secs(10)).unwrap();
        let mut part = spare
            .open_within(&path("/file"), &version, &(10..20))
            .unwrap();
        let mut bytes = [0; 10];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += part.read(&mut bytes[filled..]).unwrap();
        }
        assert_eq!(bytes, content[10..20]);
        let is_over = part.read(&mut [0; 1]).unwrap() == 0;
        assert_eq!(is_over, mark.starts_with("RANG"));
        assert!(site.server.commands().iter().any(|line| line == mark));
    }
}

/// If all parts of a file began at its start, they would form a different file.
#[test]
fn no_part_is_begun_where_rest_is_not_what_it_says() {
    const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";
    for honest in [true, false] {
        let restart = AtomicUsize::new(0);
        let server = Scripted::start(move |line| match line.split_once(' ') {
            Some(("MLST", "/file")) => Act::say("250-it\n type=file;size=26; /file\n250 is"),
            Some(("SIZE", "/file")) => Act::say("213 26"),
            Some(("REST", offset)) if honest => {
                restart.store(offset.parse().unwrap(), Ordering::Relaxed);
                None
            }
            Some(("RETR", "/file")) => Act::send(&LETTERS[restart.swap(0, Ordering::Relaxed)..]),
            _ => None,
        });
        let mut pool = pool_options();
        pool.connect.port = server.port();
        let remote = connect(pool).unwrap();
        let version = remote.version(&path("/file")).unwrap();
        let begin = || {
            let spare = remote.spare(Duration::from_secs(10)).unwrap();
            spare.open_within(&path("/file"), &version, &(10..20))
        };
        if !honest {
            assert_eq!(begin().unwrap_err().kind, ErrorKind::Unsupported);
            continue;
        }
        for _ in 0..2 {
            let mut some = [0; 5];
            assert_eq!(begin().unwrap().read(&mut some).unwrap(), 5);
            assert_eq!(&some, b"klmno");
        }
        let commands = server.commands();
        let looks = commands.iter().filter(|line| *line == "REST 25");
        assert_eq!(looks.count(), 1, "it is proven: {commands:?}");
    }
}

/// The file used to probe REST may grow, and a connection may break: neither says anything about
/// REST or keeps a program from reading.
#[test]
fn rest_is_not_given_up_for_a_file_that_grows_or_a_connection_that_breaks() {
    for breaks in [true, false] {
        let size = AtomicUsize::new(100);
        let restart = AtomicUsize::new(0);
        let is_first = AtomicBool::new(true);
        let server = Scripted::start(move |line| match line.split_once(' ') {
            Some(("SIZE", "/file")) => Act::say(&format!("213 {}", size.load(Ordering::Relaxed))),
            Some(("REST", offset)) => {
                restart.store(offset.parse().unwrap(), Ordering::Relaxed);
                None
            }
            Some(("RETR", "/file")) => {
                if is_first.swap(false, Ordering::Relaxed) {
                    if breaks {
                        return Some(Act::Transfer(Box::new(|_| Ok(())), "426 broken\r\n"));
                    }
                    size.store(300, Ordering::Relaxed);
                }
                let begin = restart.swap(0, Ordering::Relaxed);
                Act::send(pattern(size.load(Ordering::Relaxed))[begin..].to_vec())
            }
            _ => None,
        });
        let mut pool = pool_options();
        pool.connect.port = server.port();
        let remote = connect(pool).unwrap();
        for offset in [50, 60] {
            let transfer = remote.open_at(&path("/file"), offset).unwrap();
            assert_eq!(transfer.start(), offset, "breaks: {breaks}");
            let rest = rest_of(transfer).unwrap();
            assert!(pattern(300)[offset as usize..].starts_with(&rest) && !rest.is_empty());
        }
    }
}

#[test]
fn no_part_is_begun_of_another_version() {
    let site = Site::new();
    site.put("file", b"content");
    let version = site.remote.version(&path("/file")).unwrap();
    site.put("file", b"another content");
    let spare = site.remote.spare(Duration::from_secs(10)).unwrap();
    let error = spare
        .open_within(&path("/file"), &version, &(1..2))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(
        !site
            .server
            .commands()
            .iter()
            .any(|line| line.starts_with("RETR"))
    );
}

/// The offset holds until a transfer begins (RFC 3659 §5.3): a refused transfer leaves the offset
/// to the next one.
#[test]
fn an_offset_is_not_left_to_the_next_transfer_when_its_own_is_refused() {
    let text = || "not now".to_owned();
    for disabled in [&["RANG"][..], &[]] {
        let refused = |code| Misdeed::Refuse { code, text: text() };
        let done = |code| Misdeed::DoneThenRefuse { code, text: text() };
        for fault in [
            Fault::on("RETR", refused(450)),
            Fault::on("RETR", refused(550)),
            Fault::on("REST", done(451)),
            Fault::on("RANG", done(451)),
        ] {
            let site = Site::without(disabled);
            let content = pattern(300_000);
            site.put("file", &content);
            let version = site.remote.version(&path("/file")).unwrap();
            site.server.faults().add(fault.clone());
            let spare = site.remote.spare(Duration::from_secs(10)).unwrap();
            let begun = spare.open_within(&path("/file"), &version, &(100_000..200_000));
            drop(begun);
            // Over all existing sessions.
            let transfers = [0; 2].map(|offset| site.remote.open_at(&path("/file"), offset));
            for transfer in transfers {
                let whole = rest_of(transfer.unwrap()).unwrap();
                assert!(whole == content, "{fault:?}: {} bytes", whole.len());
            }
        }
    }
}

/// A server that announces ranges in FEAT but refuses one is not asked for ranges again.
#[test]
fn a_server_that_refuses_the_ranges_it_promised_is_read_from_an_offset() {
    let site = Site::new();
    let (code, text) = (501, "no ranges".to_owned());
    let refuse = Misdeed::Refuse { code, text };
    site.server.faults().add(Fault::on("RANG", refuse));
    let content = pattern(1 << 10);
    site.put("file", &content);
    let version = site.remote.version(&path("/file")).unwrap();
    let begin = || {
        let spare = site.remote.spare(Duration::from_secs(10)).unwrap();
        spare.open_within(&path("/file"), &version, &(10..20))
    };
    // The RETR after it sent the whole file, which ended the session.
    assert!(begin().is_err());
    let mut byte = [0; 1];
    assert_eq!(begin().unwrap().read(&mut byte).unwrap(), 1);
    assert_eq!(byte[0], content[10]);
    let asked = site.server.commands();
    let ranges = asked.iter().filter(|line| line.starts_with("RANG"));
    assert_eq!(ranges.count(), 1);
}
