//! Listings in rare formats, and listings with nonsensical lines.

use crate::row::{Mounted, Row, group, row};
use crate::support::{Answer, FileTree, Quirks};

/// Returns a row whose server lists these lines for its root; `names` are the expected names.
fn listed(name: &str, lines: &'static str, names: &'static str) -> Row {
    let quirks = Quirks::none().without_facts().raw_listing("/", lines);
    row(format!("names_are_read: {name}"), quirks, move |t| {
        t.lists(".", names);
        assert_eq!(t.run("cat notes.txt"), "hello\n");
        t.fails("set -C; echo mine > notes.txt", "cannot overwrite");
    })
    .holding(notes)
}

fn notes(tree: &mut FileTree) {
    tree.file("/notes.txt", "hello\n");
    tree.file("/second.txt", "second\n");
    tree.file("/third.txt", "third\n");
    tree.directory("/sub");
}

#[test]
fn rare_forms() {
    group([
        listed(
            "AS/400",
            "QSECOFR         57344 11/30/19 18:40:02 *DIR       sub/
ANNE                6 07/15/21 09:12:33 *STMF      notes.txt",
            "notes.txt sub",
        ),
        listed(
            "OS/2",
            "                 0           DIR   09-14-99   06:05  sub
                 6     RA          11-05-104  19:45  notes.txt",
            "notes.txt sub",
        ),
        listed(
            "VxWorks",
            "  size            date        time        name
--------         ------      ------      --------
    2048    Mar-07-2011  08:15:42   sub               <DIR>
       6    NOV-30-2009  17:20:00   notes.txt         ",
            "notes.txt sub",
        ),
        listed(
            "seconds since 1970",
            "-rw-r--r--   1 u g  6 1456789012 notes.txt
drwxr-xr-x   1 u g  4096 1456789012 sub",
            "notes.txt sub",
        ),
        listed(
            "a date with a comma",
            "-rw-r-----   1 svc adm     6 Oct 08, 2002 09:47 notes.txt
drwxr-x---   1 svc adm     6 Oct 08, 2002 09:47 sub",
            "notes.txt sub",
        ),
        listed(
            "a German date",
            "-rw-r--r--   1 u g  6 26. Juli, 20:10 notes.txt
drwxr-xr-x   1 u g  4096 14. März, 2018 sub",
            "notes.txt sub",
        ),
        listed(
            "a French date",
            "-rw-r--r--   1 u g  6 3 août 2018 14:22 notes.txt",
            "notes.txt",
        ),
        listed(
            "a Japanese date",
            "-rw-r--r--   1 u g  6 2018年07月09日 21:34 notes.txt",
            "notes.txt",
        ),
        listed(
            "the day first with dashes",
            "-rw-r--r--   1 u g  6 24-04-2003 17:12 notes.txt
drwxr-xr-x   1 u g  4096 24-04-2003 17:12 sub",
            "notes.txt sub",
        ),
        listed(
            "an ISO time",
            "-rw-r--r--   1 u g  6 2019-03-07T22:14:05Z notes.txt
drwxr-xr-x   1 u g  4096 2019-03-07 22:14:05 sub",
            "notes.txt sub",
        ),
        listed(
            "no such day",
            "-rw-r--r--   1 u g  6 Jan 32  2019 notes.txt
drwxr-xr-x   1 u g  4096 Feb 30 10:00 sub",
            "notes.txt sub",
        ),
        listed(
            "permissions glued to the link count",
            "-rw-r--r--1024 u g 6 Sep  3  2018 notes.txt",
            "notes.txt",
        ),
        listed(
            "size glued to the group",
            "-rw-rw-r--   1 build releases6 Mar 14 09:26 notes.txt",
            "notes.txt",
        ),
        listed(
            "facts in answer to LIST",
            "Type=file;Size=6;Modify=20180504094100; notes.txt
type=dir;modify=20180504094100; sub",
            "notes.txt sub",
        ),
        listed(
            "rows that end in CR CR LF",
            "-rw-r--r--   1 u g  6 May  4  2018 notes.txt\r
drwxr-xr-x   1 u g  4096 May  4  2018 sub\r",
            "notes.txt sub",
        ),
        listed(
            "DOS rows that end in CR CR LF",
            "05-04-18  09:41AM                    6 notes.txt\r
05-04-18  09:41AM       <DIR>          sub\r",
            "notes.txt sub",
        ),
        listed(
            "no date",
            "-rw-rw----   5 svc svc     6 notes.txt",
            "notes.txt",
        ),
        listed(
            "NetWare",
            "- [R----F--] anne           6 May 12  2017 notes.txt",
            "notes.txt",
        ),
        listed(
            "VShell",
            "6  Nov 19, 2013 07:41 notes.txt\n0  Nov 19, 2013 07:40 sub/",
            "notes.txt sub",
        ),
        listed(
            "Windows CE",
            "11/30/07 06:45:00             6  notes.txt",
            "notes.txt",
        ),
    ]);
}

#[test]
fn sizes_that_are_not_exact_are_asked() {
    let sizes = ["1.2K", "0.1M", "12K", "-1", "-", "????"];
    group(sizes.map(|size| {
        let lines: &'static str = Box::leak(
            format!("-rw-r--r--   2 u g        {size} Jun 11  2019 notes.txt").into_boxed_str(),
        );
        let quirks = Quirks::none().without_facts().raw_listing("/", lines);
        row(format!("a_size_is_exact: {size}"), quirks, |t| {
            assert_eq!(t.run("stat -c %s notes.txt; cat notes.txt"), "6\nhello\n");
            assert_eq!(t.run("tar c notes.txt | tar xO"), "hello\n");
        })
        .holding(notes)
    }));
}

#[test]
fn no_line_is_understood() {
    let listings = [
        ("words", "this is not the listing\nthat you are looking for"),
        (
            "HTML",
            "<html><body>\n<a href=\"notes.txt\">notes.txt</a>\n</body></html>",
        ),
        ("JSON", "[{\"name\": \"notes.txt\", \"size\": 6}]"),
        ("another script", "文件 笔记 六\n目录 子"),
        ("control characters", "\u{1}\u{2}\u{3}\u{4}\n\u{5}\u{6}"),
        (
            "an error in place of the listing",
            "ftpd: /: Permission denied",
        ),
        ("numbers", "1 2 3\n4 5 6\n7 8 9"),
    ];
    group(listings.map(|(name, lines)| {
        let quirks = Quirks::none()
            .without_facts()
            .without("NLST")
            .raw_listing("/", lines);
        row(format!("is_no_empty_directory: {name}"), quirks, |t| {
            t.fails("ls", "");
            t.run(
                "copy=$(mktemp -d); trap 'rm -r $copy' EXIT; echo hello > $copy/notes.txt
                rsync -a --delete ./ $copy/ || true; cat $copy/notes.txt",
            );
            t.run("! (set -C; echo mine > notes.txt)");
            t.run("cp -n /etc/hostname notes.txt || true; mkdir sub || true");
            t.holds("/notes.txt", "hello\n");
        })
        .holding(notes)
    }));
}

#[test]
fn listings_that_say_nothing() {
    let is_shown = |t: &Mounted| {
        t.lists(".", "notes.txt second.txt sub third.txt");
        assert_eq!(t.run("cat notes.txt"), "hello\n");
        t.fails("set -C; echo mine > notes.txt", "cannot overwrite");
        t.lists("sub", "");
        t.holds("/notes.txt", "hello\n");
    };
    let says = |lines: &'static str| {
        Quirks::none()
            .without_facts()
            .without("STAT")
            .listing_of("/", &["LIST"], move || Answer::send(lines))
    };
    group(
        [
            ("list_says_nothing_and_nlst_knows", ""),
            ("only_blank_lines", "\r\n\r\n"),
            ("only_blanks", "   \r\n"),
            ("only_a_total_line", "total 0\r\n"),
            ("only_a_total_line_of_blocks", "total 8\r\n"),
        ]
        .map(|(name, lines)| row(name, says(lines), is_shown).holding(notes)),
    );
}

/// One meaningful line and three nonsensical ones.
const LINES: &str = "-rw-r--r--   1 u g  6 May  4  2018 third.txt
=== 6 of u/g, on the day after yesterday: notes.txt
=== 7 of u/g, on the day after yesterday: second.txt
=== (directory) sub";

#[test]
fn some_lines_are_not_understood() {
    let mut rows = Vec::new();
    let quirks = || Quirks::none().without_facts().raw_listing("/", LINES);
    let asked: [(&str, Quirks); 5] = [
        ("SIZE, MDTM and CWD", quirks()),
        (
            "MLST",
            Quirks::none()
                .without("MLSD")
                .feature("MLST type*;size*;")
                .raw_listing("/", LINES),
        ),
        ("SIZE and CWD", quirks().without("MDTM")),
        ("MDTM and CWD", quirks().without("SIZE")),
        ("NLST and CWD", quirks().without("SIZE").without("MDTM")),
    ];
    rows.extend(asked.map(|(how, quirks)| {
        row(
            format!("names_that_are_not_shown_are_asked: {how}"),
            quirks,
            |t| {
                assert_eq!(
                    t.run("cat notes.txt second.txt third.txt"),
                    "hello\nsecond\nthird\n"
                );
                t.fails("set -C; echo mine > notes.txt", "cannot overwrite");
                t.run("cp -n /etc/hostname second.txt || true");
                t.fails("mkdir sub", "exists");
                t.fails("cat nothing", "No such file");
                t.run("echo new > new.txt; mkdir new; echo below > sub/below.txt");
                t.holds("/notes.txt", "hello\n");
                t.holds("/second.txt", "second\n");
                t.holds("/new.txt", "new\n");
                t.holds("/sub/below.txt", "below\n");
            },
        )
        .holding(notes)
    }));
    rows.extend([
        row("renames_do_not_replace_what_is_not_shown", quirks(), |t| {
            t.run("mv -n third.txt notes.txt || true");
            t.fails("mv -T third.txt sub", "");
            t.holds("/notes.txt", "hello\n");
            t.holds("/third.txt", "third\n");
        })
        .holding(notes),
        row("one_warning_is_logged", quirks(), |t| {
            t.run("ls; cat notes.txt; ls sub");
            let log = t.mount.log();
            let warnings = log.lines().filter(|line| line.contains("WARN")).count();
            assert_eq!(warnings, 1, "{log}");
        })
        .holding(notes),
    ]);
    group(rows);
}
