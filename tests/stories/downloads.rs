//! Whatever happens to a download, a program reads the whole file as it was when opened, or gets an
//! error.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::{Kind, Mount, TestServer, assert_errno, stories};
use ftpfs::server::{Fault, Misdeed};

const SIZE: usize = 12 << 20;

/// Longer than cached attributes of a file are valid.
const A_WHILE: Duration = Duration::from_millis(1200);

fn pattern(size: usize, stamp: u8) -> Vec<u8> {
    (0..size)
        .map(|at| ((at / 251 + at) as u8).wrapping_mul(31) ^ stamp)
        .collect()
}

/// Replaces `file` like an upload by someone else, with a time that FTP can distinguish from the
/// old one.
fn replace(file: &Path, content: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, content).unwrap();
    let time = SystemTime::now() - Duration::from_secs(5000);
    let handle = OpenOptions::new().append(true).open(&new).unwrap();
    handle.set_modified(time).unwrap();
    fs::rename(new, file).unwrap();
}

stories! {
    /// A program that seeks in a file never gets bytes of another file.
    fn a_file_that_is_replaced_is_no_mixture(server: &TestServer, mount: &Mount) {
        let on_server = server.write("file", pattern(64 << 20, 1));
        let file = File::open(mount.join("file")).unwrap();
        let mut start = [0; 4096];
        file.read_exact_at(&mut start, 0).unwrap();
        thread::sleep(A_WHILE);
        replace(&on_server, &pattern(64 << 20, 2));
        assert_errno(file.read_exact_at(&mut [0; 4096], 48 << 20), libc::ESTALE);
        drop(file);
        assert!(fs::read(mount.join("file")).unwrap() == pattern(64 << 20, 2));
    }

    /// If a file grows, shrinks or is overwritten during a sequential read, the read fails instead
    /// of returning a short or mixed copy.
    fn a_file_that_changes_under_a_long_read_is_told(server: &TestServer, mount: &Mount) {
        for size in [SIZE + 1, SIZE - 1, SIZE] {
            let on_server = server.write("file", pattern(SIZE, 1));
            thread::sleep(A_WHILE);
            let mut file = File::open(mount.join("file")).unwrap();
            file.read_exact(&mut [0; 4096]).unwrap();
            let time = SystemTime::now() - Duration::from_secs(60 + size as u64);
            fs::write(&on_server, pattern(size, 2)).unwrap();
            let handle = OpenOptions::new().append(true).open(&on_server).unwrap();
            handle.set_modified(time).unwrap();
            assert_errno(file.read_to_end(&mut Vec::new()), libc::ESTALE);
            drop(file);
            assert!(fs::read(mount.join("file")).unwrap() == pattern(size, 2));
        }
    }
}

/// Reads a large file from a server with `faults`; returns the result and how many faults struck.
fn read_under(faults: &[Fault], options: &[&str]) -> (std::io::Result<Vec<u8>>, u64) {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", pattern(SIZE, 1));
    let mount = Mount::with_options(&server, options);
    let embedded = server.embedded().unwrap();
    for fault in faults {
        embedded.faults().add(fault.clone());
    }
    let read = fs::read(mount.join("file"));
    (read, embedded.faults().happened())
}

fn breaks(code: u16) -> Misdeed {
    let after = 5 << 20;
    Misdeed::BreakData { after, code }
}

#[test]
fn a_transfer_that_breaks_or_ends_early_is_read_on() {
    let cases = [
        breaks(426),
        Misdeed::DropData { after: 5 << 20 },
        Misdeed::ShortThen226 { after: 5 << 20 },
        Misdeed::DropControl,
        Misdeed::DoneThenDrop,
        Misdeed::RefuseData,
        Misdeed::CutReply(7),
        breaks(451),
    ];
    for misdeed in cases {
        let fault = Fault::on("RETR", misdeed.clone()).times(2);
        let (read, happened) = read_under(&[fault], &[]);
        assert!(read.unwrap() == pattern(SIZE, 1), "{misdeed:?}");
        assert!(happened >= 1, "{misdeed:?}");
    }
}

#[test]
fn a_transfer_that_stalls_is_read_on_after_its_deadline() {
    let stall = Misdeed::StallData { after: 5 << 20 };
    let (read, happened) = read_under(&[Fault::on("RETR", stall)], &["timeout=5"]);
    assert!(read.unwrap() == pattern(SIZE, 1));
    assert_eq!(happened, 1);
}

#[test]
fn a_server_that_knows_no_restart_is_read_on_all_the_same() {
    let unknown = Misdeed::Refuse {
        code: 502,
        text: "REST is not implemented".to_owned(),
    };
    let faults = [
        Fault::on("REST", unknown).always(),
        Fault::on("RETR", breaks(426)),
    ];
    let (read, happened) = read_under(&faults, &[]);
    assert!(read.unwrap() == pattern(SIZE, 1));
    assert_eq!(happened, 2, "REST is asked for once");
}

#[test]
fn data_that_always_ends_early_is_an_error_and_never_the_end() {
    for after in [0, 100] {
        let short = Misdeed::ShortThen226 { after };
        let (read, _) = read_under(&[Fault::on("RETR", short).always()], &[]);
        assert_errno(read, libc::EIO);
    }
}
