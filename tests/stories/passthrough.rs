//! The kernel reads verified files of the persistent cache by itself (FUSE passthrough). Programs
//! get the right bytes and no error, also if the file changes meanwhile.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::support::{
    Kind, Mount, OPEN_DEVICE, Random, TestServer, in_own_namespace, installed, is_root, lines,
    run_with, shell, wait_for,
};

/// Longest that a test waits for what must happen.
const SOON: Duration = Duration::from_secs(30);

const DAY: Duration = Duration::from_secs(24 * 3600);

const SIZE: usize = 4 << 20;

/// What the log says of each handle.
const BY_ITSELF: &str = "the kernel reads handle";

/// A server with a file of 4 MiB, and a mount that has read all of it from its cache.
struct Read {
    mounted: Mount,
    server: TestServer,
    cache: TempDir,
    bytes: Vec<u8>,
}

/// Makes `name` on the server as old as `age`.
fn age(server: &TestServer, name: &str, age: Duration) {
    let file = File::options().write(true).open(server.root().join(name));
    let time = SystemTime::now() - age;
    file.unwrap().set_modified(time).unwrap();
}

fn mount(server: &TestServer, cache: &Path, options: &[&str]) -> Mount {
    let cache = format!("cache_dir={}", cache.display());
    let own = [cache.as_str(), "log_level=debug"];
    let options: Vec<&str> = options.iter().copied().chain(own).collect();
    Mount::with_options(server, &options)
}

impl Read {
    fn new(options: &[&str]) -> Self {
        Self::of(&Random::new().bytes(SIZE), options)
    }

    fn of(bytes: &[u8], options: &[&str]) -> Self {
        let server = TestServer::start(Kind::Embedded);
        let cache = TempDir::new().unwrap();
        let path = server.write("file", bytes);
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        age(&server, "file", 400 * DAY);
        let first = mount(&server, cache.path(), &[]);
        assert!(fs::read(first.join("file")).unwrap() == bytes);
        first.unmount();
        let mounted = mount(&server, cache.path(), options);
        let bytes = bytes.to_vec();
        let read = Self {
            mounted,
            server,
            cache,
            bytes,
        };
        assert!(fs::read(read.path()).unwrap() == read.bytes);
        assert_eq!(read.by_itself(), 0, "it was not verified before");
        read
    }

    fn path(&self) -> PathBuf {
        self.mounted.join("file")
    }

    /// How many handles the kernel reads by itself, or has.
    fn by_itself(&self) -> usize {
        self.mounted.log().matches(BY_ITSELF).count()
    }

    /// Opens the file so that the kernel reads it by itself. Waits until the last handle is
    /// released.
    fn open(&self) -> File {
        let before = self.by_itself();
        let mut opened = None;
        let is_possible = can_pass_through(self.cache.path());
        wait_for(SOON, || {
            opened = None;
            opened = Some(File::open(self.path()).unwrap());
            !is_possible || self.by_itself() > before
        });
        assert!(!is_possible || self.by_itself() > before);
        opened.unwrap()
    }

    /// Whether a handle has all bytes that the file had at first.
    fn is_as_before(&self, file: &File) -> bool {
        let mut bytes = vec![0; SIZE];
        let mut count = 0;
        while count < self.bytes.len() {
            match file.read_at(&mut bytes[count..], count as u64).unwrap() {
                0 => break,
                more => count += more,
            }
        }
        count == self.bytes.len() && bytes[..count] == self.bytes
    }

    /// Whether a program that opens the name gets what the server has.
    fn is_as_on_the_server(&self) -> bool {
        fs::read(self.path()).unwrap() == self.server.read("file")
    }

    /// The number of READ requests so far.
    fn reads(&self) -> usize {
        self.mounted.log().matches(" READ fh ").count()
    }

    /// Makes the kernel forget the pages that it has of the file.
    fn drop_pages(&self) {
        let dropped = shell(self.mounted.path(), "dd if=file iflag=nocache count=0");
        assert!(dropped.status.success(), "{dropped:?}");
    }
}

/// Whether this user and this machine can do it: root, Linux 6.9, and no overlayfs.
fn can_pass_through(cache: &Path) -> bool {
    let kind = run_with("stat", &["-f".as_ref(), "-c%T".as_ref(), cache.as_ref()]);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return false;
    };
    is_root() && (major, minor) >= (6, 9) && lines(&kind) != ["overlayfs"]
}

#[test]
fn the_second_open_is_read_without_a_request() {
    let read = Read::new(&[]);
    let file = read.open();
    // Otherwise the pages of the first reading would answer.
    read.drop_pages();
    let before = read.reads();
    assert!(before >= 4, "the first reading is by requests");
    assert!(read.is_as_before(&file));
    let after = read.reads();
    assert_eq!(after > before, !can_pass_through(read.cache.path()));
    // A second handle shares it.
    assert!(read.is_as_before(&read.open()) && read.is_as_before(&file));
}

/// The handle that is open keeps what it has, and all others see the change.
#[test]
fn a_change_through_the_mount_disturbs_no_reader() {
    let changes = [
        "echo more >> file",
        "echo new > file",
        "truncate -s 100 file",
        "truncate -s 5M file",
        "printf xyz | dd of=file conv=notrunc bs=1 seek=4000 status=none",
        "chmod 600 file",
        "touch -d '2001-01-01 00:00' file",
        "mv file other && mv other file",
        "echo other > other && mv other file",
        "rm file && echo again > file",
        "cp file other && mv other file",
    ];
    for change in changes {
        let read = Read::new(&[]);
        let file = read.open();
        let done = shell(read.mounted.path(), change);
        assert!(done.status.success(), "{change}: {done:?}");
        assert!(read.is_as_before(&file), "{change}");
        assert!(read.is_as_on_the_server(), "{change}");
        file.metadata().unwrap();
        let opened = OpenOptions::new().read(true).write(true).open(read.path());
        opened.unwrap().write_all_at(b"!", 0).unwrap();
        assert!(read.is_as_before(&file), "{change}");
        assert!(read.is_as_on_the_server(), "{change}");
        assert!(read.server.read("file")[0] == b'!', "{change}");
    }
}

#[test]
fn a_new_version_on_the_server_is_seen_by_those_who_open_it() {
    let read = Read::new(&["open_ttl=0"]);
    let mut random = Random::new();
    for day in 0..3 {
        let file = read.open();
        let before = fs::read(read.path()).unwrap();
        read.server.write("file", random.bytes(SIZE));
        age(&read.server, "file", (300 - day) * DAY);
        assert!(read.is_as_on_the_server());
        let mut first = [0; 4096];
        file.read_exact_at(&mut first, 0).unwrap();
        assert!(first == before[..4096], "the handle keeps its version");
        file.metadata().unwrap();
        drop(file);
        // The next round needs it in the cache, and verified.
        assert!(wait_for(SOON, || {
            let by_itself = read.by_itself();
            read.drop_pages();
            assert!(read.is_as_on_the_server());
            !can_pass_through(read.cache.path()) || read.by_itself() > by_itself
        }));
    }
}

/// tail -f
#[test]
fn what_others_append_is_seen_by_a_handle_that_is_open() {
    let read = Read::new(&["open_ttl=0", "attr_ttl=0"]);
    let file = read.open();
    assert!(read.is_as_before(&file));
    let mut now = read.bytes.clone();
    for round in 0..3 {
        let more = format!("line {round}\n").repeat(1000 * round + 1);
        now.extend(more.as_bytes());
        read.server.write("file", &now);
        age(&read.server, "file", (300 - round as u32) * DAY);
        let mut seen = Vec::new();
        assert!(wait_for(SOON, || {
            file.metadata().unwrap();
            let mut bytes = vec![0; more.len() + 1];
            let from = now.len() - more.len();
            let count = file.read_at(&mut bytes, from as u64).unwrap();
            seen = bytes[..count].to_vec();
            !seen.is_empty()
        }));
        assert!(seen == more.as_bytes(), "{round}");
        assert!(read.is_as_on_the_server());
        assert_eq!(file.metadata().unwrap().len(), now.len() as u64);
    }
    drop(file);
    assert!(read.is_as_on_the_server());
}

#[test]
fn what_is_removed_from_the_cache_is_still_read() {
    for command in [&["trim", "--size=0"][..], &["clear"]] {
        let read = Read::new(&[]);
        let file = read.open();
        let mut program = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
        program.arg("cache").args(command);
        let dir = format!("--dir={}", read.cache.path().display());
        let done = program.arg(dir).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        assert!(read.is_as_before(&file), "{command:?}");
        assert!(read.is_as_on_the_server(), "{command:?}");
        drop(file);
        assert!(read.is_as_on_the_server(), "{command:?}");
    }
}

#[test]
fn a_mapped_file_has_the_right_bytes_while_it_is_replaced() {
    installed(&["python3"]);
    let read = Read::new(&[]);
    let file = read.open();
    let script = "
import mmap, sys
want = open(sys.argv[2], 'rb').read()
with open(sys.argv[1], 'rb') as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert mapped[:1000] == want[:1000]
    open(sys.argv[1], 'r+b').write(b'changed')
    assert mapped[:] == want
";
    let want = read.cache.path().join("want");
    fs::write(&want, &read.bytes).unwrap();
    let path = read.path();
    let arguments = ["-c".as_ref(), script.as_ref(), path.as_ref(), want.as_ref()];
    let done = run_with("python3", &arguments);
    assert!(done.status.success(), "{done:?}");
    assert!(read.is_as_before(&file) && read.is_as_on_the_server());
}

#[test]
fn a_cached_program_runs() {
    let bash = fs::read("/bin/bash").unwrap();
    assert!(bash.len() > 1 << 20);
    let server = Read::of(&bash, &[]);
    let before = server.by_itself();
    let runs = |script: &str| {
        let done = Command::new(server.path()).args(["-c", script]).output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    assert!(wait_for(SOON, || {
        assert_eq!(runs("echo it runs"), "it runs\n");
        !can_pass_through(server.cache.path()) || server.by_itself() > before
    }));
    let mut long = Command::new(server.path());
    let long = long.args(["-c", "echo ready; read line; echo $line"]);
    let long = long.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = long.spawn().unwrap();
    let replaced = shell(server.mounted.path(), "cp /bin/bash new && mv new file");
    assert!(replaced.status.success(), "{replaced:?}");
    let mut child = child;
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"still\n").unwrap();
    let said = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "ready\nstill\n");
}

#[test]
fn a_killed_mount_leaves_a_good_cache() {
    let read = Read::new(&[]);
    let file = read.open();
    let Read {
        mounted,
        server,
        cache,
        bytes,
    } = read;
    mounted.kill_nine();
    let mut first = [0; 4096];
    // The backing file may still serve it. What it returns is right.
    if file.read_exact_at(&mut first, 8192).is_ok() {
        assert!(first == bytes[8192..][..4096]);
    }
    drop(file);
    let again = mount(&server, cache.path(), &[]);
    server.embedded().unwrap().clear_commands();
    assert!(fs::read(again.join("file")).unwrap() == bytes);
    let commands = server.commands();
    let is_fetched = commands.iter().any(|it| it.starts_with("RETR"));
    assert!(!is_fetched, "{commands:?}");
}

#[test]
fn damage_between_two_mounts_is_found() {
    let read = Read::new(&[]);
    drop(read.open());
    let Read {
        mounted,
        server,
        cache,
        bytes,
    } = read;
    mounted.unmount();
    let script = format!("find $PWD -path '*/files/*/*' -type f -size -{}c", SIZE + 1);
    let found = lines(&shell(cache.path(), &script));
    let mut damaged = 0;
    for path in found {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.unwrap();
        if file.metadata().unwrap().len() != SIZE as u64 {
            continue;
        }
        let mut byte = [0];
        file.read_exact_at(&mut byte, 3_000_000).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 3_000_000).unwrap();
        damaged += 1;
    }
    assert_eq!(damaged, 1);
    let again = mount(&server, cache.path(), &[]);
    for _ in 0..4 {
        assert!(fs::read(again.join("file")).unwrap() == bytes);
    }
}

/// Damage that another process does to the data file ends the verification.
#[test]
fn a_data_file_that_was_touched_is_verified_again() {
    let read = Read::new(&[]);
    drop(read.open());
    let script = format!("find $PWD -path '*/files/*/*' -size {SIZE}c");
    let found = lines(&shell(read.cache.path(), &script));
    assert_eq!(found.len(), 1);
    let data = OpenOptions::new().write(true).open(&found[0]).unwrap();
    data.write_all_at(&[read.bytes[5_000] ^ 1], 5_000).unwrap();
    read.drop_pages();
    assert!(fs::read(read.path()).unwrap() == read.bytes);
}

/// A file that changed within the last day is probably written to.
#[test]
fn a_file_that_changed_recently_is_read_by_requests() {
    let server = TestServer::start(Kind::Embedded);
    let cache = TempDir::new().unwrap();
    let bytes = Random::new().bytes(SIZE);
    server.write("file", &bytes);
    age(&server, "file", DAY / 2);
    for _ in 0..2 {
        let mounted = mount(&server, cache.path(), &[]);
        for _ in 0..3 {
            assert!(fs::read(mounted.join("file")).unwrap() == bytes);
        }
        assert!(!mounted.log().contains(BY_ITSELF));
    }
}

/// Readers and writers in any order: no error at all.
#[test]
fn readers_and_writers_together_get_no_error() {
    let read = Read::new(&["dir_ttl=60", "open_ttl=60"]);
    let start = Barrier::new(6);
    thread::scope(|scope| {
        for thread in 0..6 {
            let (read, start) = (&read, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..30 {
                    let path = read.path();
                    if thread == 0 && round % 10 == 0 {
                        let file = OpenOptions::new().write(true).open(&path).unwrap();
                        file.write_all_at(&read.bytes[..10], 0).unwrap();
                    } else {
                        let file = File::open(&path).unwrap();
                        assert!(read.is_as_before(&file), "{thread} {round}");
                        file.metadata().unwrap();
                    }
                }
            });
        }
    });
    assert!(read.is_as_on_the_server());
}

/// Mounts in a namespace of its own after `prepare`, with the prefix `by`, and reads the file as
/// often as the kernel needs to read it by itself; longer if it `can`, and has not. Returns the
/// log.
fn read_in_namespace(prepare: &str, by: &str, can: bool) -> String {
    let most = if can { 600 } else { 5 };
    let server = TestServer::start(Kind::Embedded);
    let home = TempDir::new().unwrap();
    server.write("file", Random::new().bytes(SIZE));
    age(&server, "file", 400 * DAY);
    let script = format!(
        "
        mkdir mnt
        {prepare}
        for mount in 1 2; do
            FTPFS_PASSWORD=$3 {by} \"$1\" \"$2\" mnt \
                -o cache_dir=$PWD/cache,log_level=debug,log_file=$PWD/cache/log
            trap '{by} fusermount3 -u mnt' EXIT
            for round in $(seq {most}); do
                {by} cmp mnt/file $4/file; sleep 0.1
                [ $round -lt 5 ] || {{ [ $mount = 2 ] && ! grep -q \"{BY_ITSELF}\" cache/log; }} || break
            done
            {by} fusermount3 -u mnt
            trap - EXIT
        done
        cat cache/log
        "
    );
    let url = server.url();
    let arguments = [
        env!("CARGO_BIN_EXE_ftpfs").as_ref(),
        url.as_ref(),
        server.password().as_ref(),
        server.root().as_os_str(),
    ];
    let output = in_own_namespace(home.path(), &script, &arguments);
    assert!(output.status.success(), "{output:?}");
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(log.contains(" READ fh "), "{log}");
    log
}

#[test]
fn a_cache_on_tmpfs_is_read_by_the_kernel() {
    let prepare = "mkdir cache; mount -t tmpfs -o mode=700 disk cache";
    let can = can_pass_through(Path::new("/dev/shm"));
    let log = read_in_namespace(prepare, "", can);
    assert_eq!(log.contains(BY_ITSELF), can, "{log}");
}

#[test]
fn a_cache_on_overlayfs_is_read_by_requests() {
    let prepare = "
        mkdir disk; mount -t tmpfs disk disk
        mkdir disk/lower disk/upper disk/work cache
        mount -t overlay -o lowerdir=disk/lower,upperdir=disk/upper,workdir=disk/work o cache
        chmod 700 cache
    ";
    let log = read_in_namespace(prepare, "", false);
    assert!(!log.contains(BY_ITSELF));
    if is_root() {
        let refused = log.matches("does not read the cache by itself").count();
        assert_eq!(refused, 1, "it is not tried again: {log}");
    }
}

#[test]
fn an_ordinary_user_reads_by_requests() {
    let prepare = format!(
        "{OPEN_DEVICE}
        mkdir -m 700 cache; chown nobody cache; chmod 755 $4; chmod 644 $4/file"
    );
    let log = read_in_namespace(&prepare, "as_nobody env HOME=/nonexistent ", false);
    assert!(!log.contains(BY_ITSELF) && !log.contains("read the cache by itself"));
}
