//! Listings and lookups, with and without RFC 3659.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use ftpfs::ftp::Kind;
use ftpfs::testing::remote::ErrorKind;

use crate::support::{Site, path};

/// The disabled features of servers of four ages.
const AGES: [&[&str]; 4] = [&[], &["MLST"], &["MLSD"], &["MLSD", "MLST"]];

#[test]
fn a_directory_is_listed_with_sizes_kinds_and_times() {
    for disabled in AGES {
        let site = Site::without(disabled);
        site.make("dir/sub");
        site.put("dir/file", b"12345");
        let modified = SystemTime::now() - Duration::from_secs(3600);
        let file = File::options()
            .append(true)
            .open(site.local("dir/file"))
            .unwrap();
        file.set_modified(modified).unwrap();

        let mut entries = site.remote.list(&path("/dir")).unwrap().entries;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let [file, sub] = entries.as_slice() else {
            panic!("{disabled:?}: {entries:?}")
        };
        assert_eq!(
            (file.name.as_slice(), file.kind),
            (b"file".as_slice(), Kind::File)
        );
        assert_eq!(
            (sub.name.as_slice(), sub.kind),
            (b"sub".as_slice(), Kind::Directory)
        );
        assert_eq!(file.size, Some(5));
        let listed = file.modified.unwrap();
        let expected = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        assert!(listed.utc);
        assert!((listed.seconds - expected).abs() <= 60, "{disabled:?}");
    }
}

#[test]
fn looking_up_tells_what_is_there_and_what_is_not() {
    for disabled in AGES {
        let site = Site::without(disabled);
        site.make("dir");
        site.put("dir/file", b"12345");
        let kind_of = |name: &str| site.remote.stat(&path(name)).map_err(|error| error.kind);

        let file = kind_of("/dir/file").unwrap();
        assert_eq!(
            (file.name.as_slice(), file.size),
            (b"file".as_slice(), Some(5))
        );
        assert_eq!(kind_of("/dir").unwrap().kind, Kind::Directory);
        assert_eq!(kind_of("/").unwrap().kind, Kind::Directory);
        assert_eq!(
            kind_of("/dir/none"),
            Err(ErrorKind::NotFound),
            "{disabled:?}"
        );
        assert_eq!(
            kind_of("/none/none"),
            Err(ErrorKind::NotFound),
            "{disabled:?}"
        );
        let below_a_file = kind_of("/dir/file/none").unwrap_err();
        assert!(
            matches!(below_a_file, ErrorKind::NotFound | ErrorKind::NotDirectory),
            "{disabled:?}: {below_a_file:?}"
        );
        // FEAT announces both under a single name, MLST.
        assert_eq!(site.remote.can_stat(), disabled.is_empty());
    }
}

#[test]
fn only_directories_are_listed() {
    for disabled in AGES {
        let site = Site::without(disabled);
        site.make("empty");
        site.put("file", b"x");
        let list = |name: &str| {
            let listed = site.remote.list(&path(name));
            listed
                .map(|listing| listing.entries.len())
                .map_err(|error| error.kind)
        };
        assert_eq!(list("/empty"), Ok(0), "{disabled:?}");
        assert_eq!(list("/file"), Err(ErrorKind::NotDirectory), "{disabled:?}");
        assert_eq!(list("/none"), Err(ErrorKind::NotFound), "{disabled:?}");
        assert_eq!(list("/none/none"), Err(ErrorKind::NotFound), "{disabled:?}");
    }
}

#[test]
fn a_directory_with_a_file_of_its_own_name_is_no_file() {
    for disabled in AGES {
        let site = Site::without(disabled);
        site.make("same");
        site.put("same/same", b"x");
        assert_eq!(site.listed("/same"), ["same"], "{disabled:?}");
    }
}

#[test]
fn odd_names_are_kept_byte_for_byte() {
    let names = [
        "with blank",
        " leading",
        "trailing ",
        "-dash",
        "quo\"te",
        "back\\slash",
        "[glob]*?",
        "~tilde",
        "ünïcode",
        "a -> b",
    ];
    for disabled in [&[] as &[&str], &["MLSD", "MLST"]] {
        let site = Site::without(disabled);
        for name in names {
            site.make(&format!("odd/{name}"));
            site.put(&format!("odd/{name}/{name}"), name);
        }
        let mut expected = names.to_vec();
        expected.sort_unstable();
        assert_eq!(site.listed("/odd"), expected, "{disabled:?}");
        for name in names {
            assert_eq!(site.listed(&format!("/odd/{name}")), [name], "{disabled:?}");
            let file = format!("/odd/{name}/{name}");
            assert_eq!(site.read(&file, 0).unwrap(), name.as_bytes());
            assert_eq!(site.remote.stat(&path(&file)).unwrap().kind, Kind::File);
        }
    }
}

#[test]
fn unfinished_uploads_do_not_show_and_names_like_theirs_do() {
    let site = Site::new();
    site.put(".ftpfs-0123456789abcdef.part", b"");
    site.put(".ftpfs-mine.part", b"");
    assert_eq!(site.listed("/"), [".ftpfs-mine.part"]);
}

#[test]
fn a_listing_is_one_command_and_a_lookup_one() {
    let site = Site::new();
    site.put("file", b"x");
    site.listed("/");
    assert_eq!(site.verbs(), ["MLSD"]);
    site.remote.stat(&path("/file")).unwrap();
    assert_eq!(site.verbs(), ["MLST"]);
}

#[test]
fn what_a_server_lacks_is_asked_only_once() {
    let site = Site::without(&["MLSD"]);
    site.put("file", b"x");
    for _ in 0..3 {
        site.listed("/");
    }
    let tries = site.verbs().iter().filter(|verb| *verb == "MLSD").count();
    assert!(tries <= 1, "{tries}");
}

#[test]
fn a_links_target_is_told_where_the_server_lists_it() {
    let site = Site::new();
    site.put("file", b"x");
    std::os::unix::fs::symlink("file", site.local("link")).unwrap();
    match site.remote.read_link(&path("/link")) {
        Ok(target) => assert_eq!(target, b"file"),
        Err(error) => assert_eq!(error.kind, ErrorKind::Unsupported),
    }
    assert_eq!(
        fs::read_link(site.local("link")).unwrap().to_str(),
        Some("file")
    );
    let missing = site.remote.read_link(&path("/none")).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound);
}

#[test]
fn the_home_directory_is_known_and_space_only_where_told() {
    let site = Site::without(&["AVBL"]);
    assert_eq!(site.remote.home().unwrap(), path("/"));
    for _ in 0..2 {
        assert_eq!(site.remote.space(&path("/")), None);
    }
    assert_eq!(site.verbs(), ["SITE"], "its quota is asked for once");
}
