//! Files that do not match their size, and uploads that were not accepted.

use super::*;

#[test]
fn a_file_that_ends_before_its_size_is_an_error() {
    let victim = Victim::of(with_file(1_000_000, "short"));
    assert_errno(fs::read(victim.mount.join("file")), libc::EIO);
    victim.lives_within(MODEST);
}

#[test]
fn a_file_as_large_as_can_be_takes_no_memory() {
    let victim = Victim::of(with_file(i64::MAX as u64, "short"));
    let mut opened = File::open(victim.mount.join("file")).unwrap();
    assert_errno(io::copy(&mut opened, &mut io::sink()), libc::EIO);
    victim.lives_within(MODEST);
}

/// The server sends text with changed line ends, regardless of the TYPE it agreed to.
#[test]
fn more_than_a_files_size_is_noticed() {
    let victim = Victim::of(with_file(6, "a\r\nb\r\nc\r\n"));
    let mut seen = Vec::new();
    let mut opened = File::open(victim.mount.join("file")).unwrap();
    let read = opened.read_to_end(&mut seen);
    assert!(read.is_err() || seen.len() == 6, "{read:?} {seen:?}");
    assert!(wait_for(Duration::from_secs(10), || victim
        .said("more came than")
        == 1));
    victim.lives_within(MODEST);
}

#[test]
fn a_file_without_an_end_is_read_to_its_size() {
    let server = Scripted::start(move |line| match line {
        "MLSD /" => Act::send(file("1000", "file") + "type=dir; good\r\n"),
        "MLST /file" => {
            Act::say("250-it\n type=file;size=1000;modify=20260102030405; /file\n250 is")
        }
        "RETR /file" => Act::transfer(|data| for_ever(data, b"x")),
        _ => None,
    });
    let victim = Victim::of(server);
    let read = fs::read(victim.mount.join("file"));
    assert!(
        read.is_err() || read.as_ref().unwrap().len() == 1000,
        "{read:?}"
    );
    victim.lives_within(MODEST);
}

/// The server reports a different size each time.
#[test]
fn a_file_whose_size_is_another_each_time_is_never_half_of_two() {
    let asked = Arc::new(AtomicUsize::new(10));
    let server = Scripted::start(move |line| {
        let size = asked.fetch_add(1, Ordering::Relaxed);
        match line {
            "MLST /file" => Act::say(&format!("250-it\n type=file;size={size}; /file\n250 is")),
            "RETR /file" => Act::send(vec![b'x'; 5]),
            _ => None,
        }
    });
    let victim = Victim::of(server);
    let read = fs::read(victim.mount.join("file")).unwrap_err();
    assert!(
        matches!(read.raw_os_error(), Some(libc::ESTALE | libc::EIO)),
        "{read}"
    );
    victim.lives_within(MODEST);
}

/// A server that sends 226 before it has received anything has stored nothing.
#[test]
fn an_upload_acknowledged_before_it_was_taken_is_an_error() {
    let stored: Arc<Mutex<Vec<String>>> = Arc::default();
    let server = Scripted::start(move |line| match line.split_once(' ') {
        Some(("STOR", path)) => {
            stored.lock().unwrap().push(path.to_owned());
            Act::transfer(|_| Ok(()))
        }
        Some(("MLST", path)) if stored.lock().unwrap().iter().any(|it| it == path) => {
            Act::say(&format!("250-it\n type=file;size=0; {path}\n250 is"))
        }
        Some(("SIZE", path)) if stored.lock().unwrap().iter().any(|it| it == path) => {
            Act::say("213 0")
        }
        Some(("DELE", _)) => Act::say("250 gone"),
        Some(("RNFR", _)) => Act::say("350 and to?"),
        Some(("RNTO", _)) => Act::say("250 moved"),
        _ => None,
    });
    let victim = Victim::of(server);
    let mut made = File::create(victim.mount.join("new")).unwrap();
    made.write_all(&vec![b'x'; 4 << 20]).unwrap();
    assert!(made.sync_all().is_err());
    drop(made);
    victim.lives_within(MODEST);
}

#[test]
fn any_name_a_program_asks_for_is_sent_whole_or_not_at_all() {
    let server = Scripted::listing("");
    let victim = Victim::of(server);
    for name in [
        b"x\r\nDELE good".as_slice(),
        b"x\nDELE good",
        b"x\rDELE good",
    ] {
        let path = victim.mount.join(OsStr::from_bytes(name));
        assert_errno(fs::metadata(&path), libc::EINVAL);
        assert_errno(fs::remove_file(&path), libc::EINVAL);
    }
    assert!(
        !victim
            .server
            .commands()
            .iter()
            .any(|line| line.starts_with("DELE"))
    );
    let name = OsString::from_vec(b"\xff\xf4 telnet".to_vec());
    assert_errno(fs::metadata(victim.mount.join(name)), libc::ENOENT);
    victim.lives_within(MODEST);
}

/// Compressed data (RFC 959 §3.4.3), which was not requested, is not the file's content.
#[test]
fn a_server_that_compresses_unasked_is_an_error() {
    // `to be compressed` eight times, 128 bytes in total.
    let packed: &[u8] = b"\x78\xda\x2b\xc9\x57\x48\x4a\x55\x48\xce\xcf\x2d\x28\x4a\x2d\x2e\x4e\x4d\x29\xa1\x33\x1f\x00\x45\xd4\x30\xf9";
    let server = Scripted::start(move |line| match line {
        "FEAT" => Act::say("211-Features\n MLST type*;size*;modify*;\n SIZE\n MODE Z\n211 End"),
        "MLSD /" => Act::send(file("128", "file") + "type=dir; good\r\n"),
        "MLST /file" => {
            Act::say("250-it\n type=file;size=128;modify=20260102030405; /file\n250 is")
        }
        "REST 27" => Act::say("502 from the start or not at all"),
        "MLSD /packed" | "RETR /file" => Act::send(packed),
        _ => None,
    });
    let victim = Victim::of(server);
    assert_errno(fs::read(victim.mount.join("file")), libc::EIO);
    assert!(names(&victim.mount.join("packed")).is_err());
    let commands = victim.server.commands();
    assert!(!commands.iter().any(|line| line.starts_with("MODE")));
    victim.lives_within(MODEST);
}

/// The server answers REST with 350, like everything else, and sends the file from its start. These
/// bytes must not be returned for those at the offset.
#[test]
fn a_server_that_takes_rest_and_begins_at_the_start_is_found_out() {
    const SIZE: usize = 3_000_000;
    let content: Vec<u8> = (0..SIZE).flat_map(usize::to_be_bytes).take(SIZE).collect();
    for (first, tail) in [(SIZE, 2_000_000..2_001_000), (SIZE / 2, 0..SIZE)] {
        let (sent, first) = (content.clone(), AtomicUsize::new(first));
        let server = Scripted::start(move |line| match line {
            "MLSD /" => Act::send(file(&SIZE.to_string(), "file") + "type=dir; good\r\n"),
            "MLST /file" => Act::say(&format!(
                "250-it\n type=file;size={SIZE};modify=20260102030405; /file\n250 is"
            )),
            "SIZE /file" => Act::say(&format!("213 {SIZE}")),
            "RETR /file" => Act::send(&sent[..first.swap(SIZE, Ordering::Relaxed)]),
            _ => None,
        });
        let victim = Victim::of(server);
        let mut read = vec![0; tail.len()];
        let opened = File::open(victim.mount.join("file")).unwrap();
        opened.read_exact_at(&mut read, tail.start as u64).unwrap();
        assert!(read == content[tail.clone()], "{tail:?}");
        assert_eq!(victim.said("starts at the beginning"), 1, "{tail:?}");
        victim.lives_within(MODEST);
    }
}
