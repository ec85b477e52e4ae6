//! Listings that are endless, nonsensical, or different each time.

use super::*;

/// Maximum memory for listings alone, plus room for the rest.
const A_LISTING: u64 = 3 * (128 << 20);

#[test]
fn a_listing_without_an_end_takes_its_share_of_memory_and_no_more() {
    let server = Scripted::start(|line| match line {
        "MLST /endless" => Act::say("250-it\n type=dir; /endless\n250 is"),
        "MLSD /endless" => Act::transfer(|data| {
            for number in 0_u64.. {
                let line = |number| file("1", &format!("a name of middling length {number:012}"));
                let lines: String = (number * 500..(number + 1) * 500).map(line).collect();
                data.write_all(lines.as_bytes())?;
            }
            Ok(())
        }),
        _ => None,
    });
    let victim = Victim::with(server, &["cache_size=1M"]);
    assert_errno(
        fs::read_dir(victim.mount.join("endless")).map(drop),
        libc::EPROTO,
    );
    assert_eq!(
        victim.said("MiB of memory; see -o cache_size"),
        1,
        "{}",
        victim.mount.log()
    );
    victim.lives_within(A_LISTING);
}

/// Maximum memory, in bytes, of a mount with default options while it is flooded with listings.
const A_FLOOD: u64 = 700 << 20;

#[test]
fn listings_by_stat_that_flood_it_share_one_bound() {
    const FLOODS: [&str; 3] = ["flood0", "flood1", "flood2"];
    let itself = "drwxr-xr-x 2 u g 1 Jan  1  2020 .\n";
    let server = Scripted::start(move |line| match line {
        "CONNECT" => Act::say("220 (vsFTPd 3.0.5)"),
        "FEAT" => Act::say("211-Features\n EPRT\n PASV\n SIZE\n TVFS\n211 End"),
        "STAT /" => {
            let names = FLOODS.iter().chain(["good"].iter());
            let lines = names.map(|name| format!("drwxr-xr-x 2 u g 1 Jan  1  2020 {name}\n"));
            let lines = lines.collect::<String>();
            Act::say(&format!("213-Status\n{itself}{lines}213 End"))
        }
        "STAT /good" => {
            let alive = "-rw-r--r-- 1 u g 8 Jan  1  2020 alive\n";
            Act::say(&format!("213-Status\n{itself}{alive}213 End"))
        }
        "SIZE /good/alive" => Act::say("213 8"),
        _ if line.starts_with("STAT /flood") => Act::speak(move |control| {
            let itself = itself.replace('\n', "\r\n");
            control.write_all(format!("213-Status\r\n{itself}").as_bytes())?;
            let lines = b"+/,\tx\r\n".repeat(1 << 13);
            for _ in 0..400 {
                control.write_all(&lines)?;
            }
            control.write_all(b"213 End\r\n")
        }),
        _ => None,
    });
    let victim = Victim::of(server);
    std::thread::scope(|scope| {
        for name in FLOODS {
            let directory = victim.mount.join(name);
            scope.spawn(move || assert_errno(fs::read_dir(directory).map(drop), libc::EPROTO));
        }
    });
    assert!(
        victim.said("MiB of memory; see -o cache_size") >= 1,
        "{}",
        victim.mount.log()
    );
    victim.lives_within(A_FLOOD - victim.before);
}

#[test]
fn a_line_of_a_listing_without_an_end_is_passed_over() {
    let server = Scripted::start(|line| match line {
        "MLST /wide" => Act::say("250-it\n type=dir; /wide\n250 is"),
        "MLSD /wide" => Act::transfer(|data| {
            let piece = vec![b'x'; 64 << 10];
            data.write_all(b"type=file; ")?;
            for _ in 0..1024 {
                data.write_all(&piece)?;
            }
            data.write_all(b"\r\ntype=file;size=1; after\r\n")
        }),
        _ => None,
    });
    let victim = Victim::of(server);
    assert_eq!(names(&victim.mount.join("wide")).unwrap(), ["after"]);
    victim.lives_within(MODEST);
}

#[test]
fn a_listing_of_nonsense_is_told_once() {
    let server = Scripted::start(|line| match line {
        "MLST /noise" => Act::say("250-it\n type=dir; /noise\n250 is"),
        "MLSD /noise" => Act::transfer(|data| {
            let noise = b"no listing at all\r\n\xff\x1b[2J\r\n".repeat(1000);
            for _ in 0..200 {
                data.write_all(&noise)?;
            }
            data.write_all(b"type=file;size=1; after\r\n")
        }),
        _ => None,
    });
    let victim = Victim::of(server);
    assert_eq!(names(&victim.mount.join("noise")).unwrap(), ["after"]);
    assert_eq!(victim.said("gave no entry"), 1, "{}", victim.mount.log());
    victim.lives_within(MODEST);
    assert_harmless(victim.mount.log().as_bytes());
}

#[test]
fn a_thousand_bad_directories_do_not_fill_the_log() {
    let server = Scripted::start(|line| match line {
        "MLST /bad" => Act::say("250-it\n type=dir; /bad\n250 is"),
        _ if line == "MLSD /bad" => Act::send(
            (0..200)
                .map(|n| format!("type=dir; d{n}\r\n"))
                .collect::<String>(),
        ),
        _ if line.starts_with("MLSD /bad/") => Act::send("nonsense\r\ntype=file; a/b\r\n"),
        _ => None,
    });
    let victim = Victim::of(server);
    let directory = victim.mount.join("bad");
    for name in names(&directory).unwrap() {
        assert!(names(&directory.join(name)).unwrap().is_empty());
    }
    assert!(
        victim.said("gave no entry") <= 2 * 20,
        "{}",
        victim.mount.log()
    );
    assert!(victim.said("only counted") >= 1, "{}", victim.mount.log());
    victim.lives_within(MODEST);
}

#[test]
fn a_listing_that_drips_is_not_waited_for_and_holds_nothing_else_up() {
    let server = Scripted::start(|line| match line {
        "MLST /slow" => Act::say("250-it\n type=dir; /slow\n250 is"),
        "MLSD /slow" => Act::transfer(|data| drip(data, b"t")),
        _ => None,
    });
    let victim = Victim::with(server, &["timeout=2"]);
    let slow = victim.mount.join("slow");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fs::read_dir(&slow).map(drop));
        assert!(wait_for(Duration::from_secs(10), || {
            victim
                .server
                .commands()
                .iter()
                .any(|line| line == "MLSD /slow")
        }));
        victim.lives_within(MODEST);
        assert_errno(waiting.join().unwrap(), libc::ETIMEDOUT);
    });
    victim.lives_within(MODEST);
}

#[test]
fn sizes_and_times_beyond_belief_are_unknown() {
    let sizes = [
        "-1",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e9",
        "",
        "0x10",
    ];
    let times = [
        "00000000000000",
        "99999999999999",
        "20260230000000",
        "-1",
        "",
        "20260102030405.999999999999",
    ];
    let mut listing = String::new();
    for (number, size) in sizes.iter().enumerate() {
        listing += &format!("type=file;size={size}; size{number}\r\n");
    }
    for (number, time) in times.iter().enumerate() {
        listing += &format!("type=file;size=1;modify={time}; time{number}\r\n");
    }
    listing +=
        "perm=\x07\x1b;type=file;size=1; perm\r\nsize=1; no type\r\ntype=;size=1; empty type\r\n";
    listing += "type=OS.unix=chr-1/3;size=1; device\r\ntype=file;UNIX.mode=7777777777777; mode\r\n";
    let victim = Victim::of(Scripted::listing(listing));
    let seen = names(victim.mount.path()).unwrap();
    assert_eq!(seen.len(), sizes.len() + times.len() + 6, "{seen:?}");
    for name in &seen {
        let attributes = fs::symlink_metadata(victim.mount.join(name)).unwrap();
        assert!(i64::try_from(attributes.len()).is_ok(), "{name:?}");
        if name.as_bytes().starts_with(b"size") {
            assert_eq!(attributes.len(), 0, "{name:?}");
        }
    }
    support::run_with("ls", &["-l".as_ref(), victim.mount.path().as_os_str()]);
    victim.lives_within(MODEST);
}

#[test]
fn a_reader_of_a_directory_sees_one_listing_though_each_is_another() {
    let asked = Arc::new(AtomicUsize::new(0));
    let server = Scripted::start(move |line| match line {
        "MLSD /" => Act::send("type=dir; many\r\ntype=dir; good\r\n"),
        "MLST /many" => Act::say("250-it\n type=dir; /many\n250 is"),
        "MLSD /many" => {
            let round = asked.fetch_add(1, Ordering::Relaxed);
            Act::send(
                (0..5_000)
                    .map(|n| file("1", &format!("{round}-{n:04}")))
                    .collect::<String>(),
            )
        }
        _ => None,
    });
    let victim = Victim::with(server, &["dir_ttl=0", "attr_ttl=0"]);
    let many = victim.mount.join("many");
    let mut reader = fs::read_dir(&many).unwrap();
    let mut seen: Vec<OsString> = reader
        .by_ref()
        .take(10)
        .map(|entry| entry.unwrap().file_name())
        .collect();
    // Other programs read the directory again in the meantime.
    assert_eq!(names(&many).unwrap().len(), 5_000);
    seen.extend(reader.map(|entry| entry.unwrap().file_name()));
    seen.sort();
    let round = seen[0].as_bytes()[0];
    assert_eq!(seen.len(), 5_000);
    assert!(seen.iter().all(|name| name.as_bytes()[0] == round));
    victim.lives_within(MODEST);
}
