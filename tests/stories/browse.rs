//! Browsing a mounted server: ls, find, cat, grep, du, stat.

use std::fs;

use crate::support::{TestServer, assert_same_bytes, assert_same_tree, lines, shell, stories};

/// Creates a small tree with names and sizes to look for.
fn plant(server: &TestServer) {
    for (path, content) in [
        ("readme.txt", "read me\n"),
        ("src/main.c", "int main(void) { return 0; }\n"),
        ("src/lib/list.c", "/* needle */\n"),
        ("src/lib/list.h", "#pragma once\n"),
        (
            "docs/a manual.txt",
            "chapter one\nneedle in the second line\n",
        ),
        ("docs/.hidden", "not shown by ls\n"),
    ] {
        server.write(path, content);
    }
    server.write("docs/big.bin", vec![7_u8; 300_000]);
    fs::create_dir(server.root().join("empty")).unwrap();
    server.hand_over();
}

stories! {
    #![every_server]

    /// `ls` shows every name with its size and kind.
    fn ls_shows_names_sizes_and_kinds(server: &TestServer, mount: &Mount) {
        plant(server);
        let shown = lines(&shell(mount.path(), "ls"));
        assert_eq!(shown, ["docs", "empty", "readme.txt", "src"]);
        let long = shell(mount.path(), "ls -la docs | awk 'NR > 1 { print substr($1, 1, 1), $5, $9, $10 }'");
        let long = lines(&long);
        assert!(long.contains(&"- 300000 big.bin ".to_owned()), "{long:?}");
        assert!(long.contains(&"- 16 .hidden ".to_owned()), "{long:?}");
        assert!(long.contains(&"- 38 a manual.txt".to_owned()), "{long:?}");
        let kinds = lines(&shell(mount.path(), "ls -F"));
        assert_eq!(kinds, ["docs/", "empty/", "readme.txt", "src/"]);
    }

    /// `ls -lR` walks the whole tree.
    fn ls_walks_the_tree(server: &TestServer, mount: &Mount) {
        plant(server);
        let walked = lines(&shell(mount.path(), "ls -R | grep -v '^$'"));
        for name in ["./src/lib:", "list.c", "list.h", "main.c", "./empty:", "a manual.txt"] {
            assert!(walked.contains(&name.to_owned()), "{name} is not in {walked:?}");
        }
        shell(mount.path(), "ls -lR > /dev/null");
    }

    /// `find` finds by name, kind, size and age.
    fn find_finds(server: &TestServer, mount: &Mount) {
        plant(server);
        shell(server.root(), "touch -d '2001-01-01 12:00 UTC' readme.txt");
        let found = |test: &str| lines(&shell(mount.path(), &format!("find . {test}")));
        assert_eq!(found("-name '*.c'"), ["./src/lib/list.c", "./src/main.c"]);
        assert_eq!(found("-type d -empty"), ["./empty"]);
        assert_eq!(found("-size +100k"), ["./docs/big.bin"]);
        assert_eq!(found("-type f ! -newermt 2002-01-01"), ["./readme.txt"]);
        assert_eq!(found("-type d").len(), 5);
    }

    /// `cat`, `head`, `tail` and `wc` read the content to the last byte.
    fn cat_reads_to_the_last_byte(server: &TestServer, mount: &Mount) {
        let bytes: Vec<u8> = (0..1_234_567_u32).map(|n| (n % 251) as u8).collect();
        server.write("data.bin", &bytes);
        server.hand_over();
        assert!(shell(mount.path(), "cat data.bin").stdout == bytes, "cat brought other bytes");
        assert!(shell(mount.path(), "tail -c 1000 data.bin").stdout == bytes[1_233_567..]);
        assert!(shell(mount.path(), "head -c 1000 data.bin").stdout == bytes[..1_000]);
        assert_eq!(lines(&shell(mount.path(), "wc -c < data.bin")), ["1234567"]);
    }

    /// `grep -r` searches every file.
    fn grep_searches_the_tree(server: &TestServer, mount: &Mount) {
        plant(server);
        let found = lines(&shell(mount.path(), "grep -rl needle ."));
        assert_eq!(found, ["./docs/a manual.txt", "./src/lib/list.c"]);
        let numbered = lines(&shell(mount.path(), "grep -rn 'in the second' docs"));
        assert_eq!(numbered, ["docs/a manual.txt:2:needle in the second line"]);
    }

    /// `du` and `stat` report the actual sizes.
    fn du_and_stat_see_sizes(server: &TestServer, mount: &Mount) {
        plant(server);
        assert_eq!(lines(&shell(mount.path(), "du -b docs/big.bin")), ["300000\tdocs/big.bin"]);
        assert_eq!(lines(&shell(mount.path(), "stat -c '%s %F' readme.txt")), ["8 regular file"]);
        let time = "stat -c %Y readme.txt";
        let (here, there) = (shell(mount.path(), time), shell(server.root(), time));
        let seconds = |output| lines(output)[0].parse::<i64>().unwrap();
        // vsftpd reports times to the minute.
        let apart = seconds(&there) - seconds(&here);
        assert!((0..60).contains(&apart), "{apart} seconds apart");
    }

    /// A new file on the server is visible once the listing has expired.
    fn a_new_file_on_the_server_is_seen(server: &TestServer, mount: &Mount) with ["dir_ttl=0.2"] {
        plant(server);
        shell(mount.path(), "ls");
        server.write("late.txt", "late");
        server.hand_over();
        let seen = crate::support::wait_for(std::time::Duration::from_secs(10), || {
            fs::read(mount.join("late.txt")).is_ok_and(|content| content == b"late")
        });
        assert!(seen, "the file on the server never appeared");
    }

    /// A tree copied from the mount matches the server's, byte for byte.
    fn a_tree_comes_out_whole(server: &TestServer, mount: &Mount) {
        plant(server);
        let out = tempfile::tempdir().unwrap();
        shell(mount.path(), &format!("cp -r . {}/copy", out.path().display()));
        assert_same_tree(server.root(), out.path().join("copy"));
        assert_same_bytes(mount.join("docs/big.bin"), server.root().join("docs/big.bin"));
    }
}
