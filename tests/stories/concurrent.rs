//! Many programs use a mount in parallel, even if the server allows fewer sessions than there are
//! programs.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use crate::support::{Kind, Mount, TestServer, shell, stories};

const PROGRAMS: usize = 8;

/// Returns the content of one program's file: no two are equal, and none is a multiple of a block.
fn content(program: usize) -> Vec<u8> {
    let words = 150_000 + 1_000 * program as u64;
    let seed = program as u64 + 1;
    (0..words)
        .flat_map(|word| (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed).to_le_bytes())
        .chain([b'!'; 3])
        .collect()
}

/// Runs one thread for each program, all started together.
fn all_at_once(programs: usize, program: impl Fn(usize) + Sync) {
    let start = Barrier::new(programs);
    thread::scope(|scope| {
        for number in 0..programs {
            let (start, program) = (&start, &program);
            scope.spawn(move || {
                start.wait();
                program(number);
            });
        }
    });
}

fn write(path: &Path, content: &[u8]) {
    let mut file = File::create(path).unwrap();
    for piece in content.chunks(100_000) {
        file.write_all(piece).unwrap();
    }
    file.sync_all().unwrap();
}

/// Half of the programs each read their own file while the other half write theirs; then they swap.
fn each_its_own_file(server: &TestServer, mount: &Mount) {
    for program in 0..PROGRAMS {
        server.write(format!("in/{program}"), content(program));
    }
    fs::create_dir(server.root().join("out")).unwrap();
    server.hand_over();
    let read = |program: usize| {
        let seen = fs::read(mount.join(format!("in/{program}"))).unwrap();
        assert!(seen == content(program), "read of {program}");
    };
    let store = |program: usize| {
        write(&mount.join(format!("out/{program}")), &content(program));
    };
    all_at_once(PROGRAMS, |program| {
        if program % 2 == 0 {
            read(program);
            store(program);
        } else {
            store(program);
            read(program);
        }
    });
    for program in 0..PROGRAMS {
        assert!(
            server.read(format!("out/{program}")) == content(program),
            "write of {program}"
        );
    }
    assert_eq!(
        fs::read_dir(server.root().join("out")).unwrap().count(),
        PROGRAMS
    );
}

stories! {
    /// Eight programs copy in and out at the same time.
    fn eight_programs(server: &TestServer, mount: &Mount) {
        each_its_own_file(server, mount);
    }

    /// Four programs read one file, each from a different offset.
    fn four_readers_of_one_file(server: &TestServer, mount: &Mount) {
        let whole = content(7);
        server.write("file", &whole);
        all_at_once(4, |reader| {
            let file = File::open(mount.join("file")).unwrap();
            let begin = reader * whole.len() / 4;
            let mut seen = vec![0; whole.len() - begin];
            file.read_exact_at(&mut seen, begin as u64).unwrap();
            assert!(seen.iter().eq(whole.iter().skip(begin)), "from {begin}");
            let mut head = vec![0; begin];
            file.read_exact_at(&mut head, 0).unwrap();
            assert!(head.iter().eq(whole.iter().take(begin)), "up to {begin}");
        });
    }

    /// Four programs write four parts of one file.
    fn four_writers_of_one_file(server: &TestServer, mount: &Mount) {
        let whole = content(3);
        server.write("file", vec![b'.'; whole.len()]);
        let part = whole.len().div_ceil(4);
        let parts: Vec<&[u8]> = whole.chunks(part).collect();
        all_at_once(4, |writer| {
            let file = OpenOptions::new().write(true).open(mount.join("file")).unwrap();
            let begin = (writer * part) as u64;
            for (number, piece) in parts.get(writer).unwrap().chunks(50_000).enumerate() {
                file.write_all_at(piece, begin + number as u64 * 50_000).unwrap();
            }
            file.sync_all().unwrap();
        });
        assert!(server.read("file") == whole);
        assert!(fs::read(mount.join("file")).unwrap() == whole);
    }

    /// `cmp` holds two files open together; even with one session, neither waits for the other.
    fn two_files_over_one_connection(server: &TestServer, mount: &Mount) with ["connections=1"] {
        let whole = content(0);
        server.write("a", &whole);
        server.write("b", &whole);
        shell(mount.path(), "timeout 60 cmp a b");
        shell(mount.path(), "timeout 60 cp a c; timeout 60 cmp a c");
        assert!(server.read("c") == whole);
    }

    /// A file that is being read does not prevent others from being listed, written and removed.
    fn reader_does_not_hold_the_only_connection(server: &TestServer, mount: &Mount) with ["connections=1"] {
        let whole = content(5).repeat(4);
        server.write("large", &whole);
        server.write("dir/file", "content");
        let mut reader = File::open(mount.join("large")).unwrap();
        let mut seen = vec![0; 100_000];
        reader.read_exact(&mut seen).unwrap();
        shell(mount.path(), "timeout 60 ls -lR > /dev/null; timeout 60 cp dir/file dir/copy; timeout 60 rm dir/file");
        assert_eq!(server.read("dir/copy"), b"content");
        reader.read_to_end(&mut seen).unwrap();
        assert!(seen == whole);
    }
}

/// The server allows two sessions, the mount would use eight: programs wait their turn, and none
/// fails.
mod server_with_two_sessions {
    use super::*;

    fn tell(server: &TestServer) {
        let mount = Mount::new(server);
        each_its_own_file(server, &mount);
    }

    #[test]
    fn embedded() {
        tell(&TestServer::start_with(Kind::Embedded, |options| {
            options.max_sessions = Some(2);
        }));
    }

    #[test]
    fn vsftpd() {
        tell(&TestServer::start_with_arguments(
            Kind::Vsftpd,
            &["--max-per-ip", "2"],
        ));
    }

    #[test]
    fn vsftpd_for_all_clients() {
        tell(&TestServer::start_with_arguments(
            Kind::Vsftpd,
            &["--max-clients", "2"],
        ));
    }

    #[test]
    fn proftpd() {
        tell(&TestServer::start_with_arguments(
            Kind::Proftpd,
            &["--max-per-ip", "2"],
        ));
    }

    #[test]
    fn pure_ftpd() {
        tell(&TestServer::start_with_arguments(
            Kind::PureFtpd,
            &["--max-per-ip", "2"],
        ));
    }

    #[test]
    fn pyftpdlib() {
        tell(&TestServer::start_with_arguments(
            Kind::Pyftpdlib,
            &["--max-per-ip", "2"],
        ));
    }
}
