//! Files beyond 4 GiB, transfers with little memory, and directories with many names.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::support::{Kind, Mount, TestServer, run_with};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Maximum memory that a mount may ever have used, regardless of file sizes.
const MEMORY: u64 = 150 * MIB;

const MANY: usize = 20_000;

/// Returns the peak memory use of the mount so far, in bytes.
fn peak_memory(mount: &Mount) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", mount.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.unwrap().parse::<u64>().unwrap() * 1024
}

/// Returns a block that is unique within the file.
fn block(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(MIB as usize / 8)
}

/// Reads marks below, across and beyond the offsets that 32 bits can represent.
fn marks_beyond_4_gib(kind: Kind) {
    let server = TestServer::start(kind);
    let size = 5 * GIB;
    let marks = [0, 2 * GIB - 3, 4 * GIB - 3, 4 * GIB + 123_457, size - 6];
    let file = File::create(server.root().join("large")).unwrap();
    file.set_len(size).unwrap();
    for (number, mark) in marks.iter().enumerate() {
        file.write_all_at(format!("MARK {number}").as_bytes(), *mark)
            .unwrap();
    }
    server.hand_over();

    let mount = Mount::new(&server);
    let large = File::open(mount.join("large")).unwrap();
    assert_eq!(large.metadata().unwrap().len(), size);
    for (number, mark) in marks.iter().enumerate().rev() {
        let mut seen = [0; 6];
        large.read_exact_at(&mut seen, *mark).unwrap();
        assert_eq!(seen, format!("MARK {number}").as_bytes(), "at byte {mark}");
    }
    let mut last = [0; 64];
    assert_eq!(large.read_at(&mut last, size - 1).unwrap(), 1);
    assert_eq!(large.read_at(&mut last, size).unwrap(), 0);
    assert!(peak_memory(&mount) < MEMORY);
}

#[test]
fn marks_beyond_4_gib_embedded() {
    marks_beyond_4_gib(Kind::Embedded);
}

#[test]
fn marks_beyond_4_gib_vsftpd() {
    marks_beyond_4_gib(Kind::Vsftpd);
}

/// 300 MiB pass through the mount in each direction while its memory use stays small.
fn little_memory(kind: Kind) {
    const BLOCKS: u64 = 300;
    let server = TestServer::start(kind);
    let mount = Mount::new(&server);
    let mut written = File::create(mount.join("written")).unwrap();
    for number in 0..BLOCKS {
        written.write_all(&block(number)).unwrap();
    }
    written.sync_all().unwrap();
    drop(written);
    assert_eq!(
        fs::metadata(server.root().join("written")).unwrap().size(),
        BLOCKS * MIB
    );
    let after_writing = peak_memory(&mount);
    assert!(after_writing < MEMORY, "{after_writing} bytes to write");
    mount.unmount();

    let mount = Mount::new(&server);
    let mut read = File::open(mount.join("written")).unwrap();
    let mut seen = vec![0; MIB as usize];
    for number in 0..BLOCKS {
        read.read_exact(&mut seen).unwrap();
        assert!(seen == block(number), "block {number}");
    }
    assert_eq!(read.read(&mut seen).unwrap(), 0);
    let after_reading = peak_memory(&mount);
    assert!(after_reading < MEMORY, "{after_reading} bytes to read");
}

#[test]
fn little_memory_embedded() {
    little_memory(Kind::Embedded);
}

#[test]
fn little_memory_vsftpd() {
    little_memory(Kind::Vsftpd);
}

/// A directory of 20,000 names is listed completely, and one of them is found.
fn many_names(kind: Kind) {
    let server = TestServer::start(kind);
    let directory = server.root().join("many");
    fs::create_dir(&directory).unwrap();
    for number in 0..MANY {
        fs::write(directory.join(format!("file {number:05}")), []).unwrap();
    }
    server.write("many/file 12345", "this one");
    let mount = Mount::new(&server);
    assert_eq!(
        fs::read(mount.join("many/file 12345")).unwrap(),
        b"this one"
    );
    let mut names: Vec<_> = fs::read_dir(mount.join("many"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected: Vec<_> = (0..MANY)
        .map(|number| format!("file {number:05}"))
        .collect();
    assert!(names == expected, "{} names", names.len());
    let found = run_with(
        "find",
        &[mount.path().as_os_str(), "-size".as_ref(), "8c".as_ref()],
    );
    let expected = format!("{}\n", mount.join("many/file 12345").display());
    assert_eq!(String::from_utf8(found.stdout).unwrap(), expected);
    assert!(peak_memory(&mount) < MEMORY);
}

#[test]
fn many_names_embedded() {
    many_names(Kind::Embedded);
}

#[test]
fn many_names_vsftpd() {
    many_names(Kind::Vsftpd);
}

#[test]
fn many_names_pure_ftpd() {
    many_names(Kind::PureFtpd);
}
