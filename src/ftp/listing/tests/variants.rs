//! Variants of the recorded lines, in other languages, widths and orders, and mixed.

/// Variants of the fixtures: a listing, and the meanings of its lines that give an entry.
pub(super) const VARIANTS: &[(&[&str], &[&str])] = &[
    // Unix: other languages, widths, owners and sizes.
    (
        &["-rw-r--r--   1 u g  640 26. Juli, 20:10 a"],
        &["a|file|640|2026-07-26T20:10|-"],
    ),
    (
        &["-rw-r--r--   1 u g  640 Oct 08, 2002 09:47 a b"],
        &["a b|file|640|2002-10-08T09:47|-"],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 24-04-2003 17:12 a",
            "-rw-r--r--   1 u g  640 05-04-2003 17:12 b",
        ],
        &[
            "a|file|640|2003-04-24T17:12|-",
            "b|file|640|2003-04-05T17:12|-",
        ],
    ),
    (
        &[
            "-rw-r--r--   1 u g  1.2M Jun 11  2019 a",
            "-rw-r--r--   1 u g  1.2 MB Jun 11  2019 b",
        ],
        &["a|file|-|2019-06-11|-", "b|file|-|2019-06-11|-"],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 Jan 32  2019 a",
            "-rw-r--r--   1 u g  640 32 Jan 12:00 b",
        ],
        &["a|file|640|-|-", "b|file|640|-|-"],
    ),
    (
        &[
            "drwxr-xr-x   1 u g  - 3 févr. 2018 07:08 a/",
            "-rw-r--r-- 1 u g 7 12 дек. 2019 23:59 b",
        ],
        &["a|dir|-|2018-02-03T07:08|-", "b|file|7|2019-12-12T23:59|-"],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 2019年12月31日 23:59 a",
            "-rw-r--r-- 1 u g 7 2019년 1월 2일 b",
        ],
        &["a|file|640|2019-12-31T23:59|-", "b|file|7|2019-01-02|-"],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 2019-03-07T22:14:05-0330 a",
            "-rw-r--r-- 1 u g 7 20190307221405 b",
        ],
        &[
            "a|file|640|2019-03-08T01:44:05|-",
            "b|file|7|2019-03-07T22:14:05|-",
        ],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 lör feb 29 06:07:08 2020 a",
            "-rw-r--r-- 1 u g 7 Tue Mar  3 06:07:08 UTC 2020 b",
        ],
        &[
            "a|file|640|2020-02-29T06:07:08|-",
            "b|file|7|2020-03-03T06:07:08|-",
        ],
    ),
    (
        &[
            "-rw-r--r--   1 u g  640 Sat, 29 Feb 2020 06:07:08 GMT a",
            "-rw-r--r--   1 u g  640 Mar  3 2020 06:07:08 +0100 b",
        ],
        &[
            "a|file|640|2020-02-29T06:07:08|-",
            "b|file|640|2020-03-03T05:07:08|-",
        ],
    ),
    // A name can begin with what looks like a time.
    (
        &[
            "-rw-r--r--   1 u g  640 May  4  2018 09:41 talk",
            "-rw-r--r--   1 u g  640 Jan 29 03:26 am report",
        ],
        &[
            "09:41 talk|file|640|2018-05-04|-",
            "am report|file|640|2026-01-29T03:26|-",
        ],
    ),
    (
        &["99 4 drwxr-xr-x   2 u g  64 Jan 29 03:26 a"],
        &["a|dir|-|2026-01-29T03:26|-"],
    ),
    (
        &["-rw-r--r--   1 u g  640 Jan 29 03:26 a\\r\\r"],
        &["a|file|640|2026-01-29T03:26|-"],
    ),
    // For `ls -F`, every directory must have a slash.
    (
        &[
            "drwxr-xr-x 2 u g 4 Jan 12  2019 d/",
            "drwxr-xr-x 2 u g 4 Jan 12  2019 e",
            "-rwxr-xr-x 1 u g 8 Jan 12  2019 run*",
        ],
        &[
            "d|dir|-|2019-01-12|-",
            "e|dir|-|2019-01-12|-",
            "run*|file|8|2019-01-12|-",
        ],
    ),
    (
        &[
            "-rwxr-xr-x 1 u g 8 Jan 12  2019 run*",
            "-rw-r--r-- 1 u g 8 Jan 12  2019 b*",
            "drwxr-xr-x 2 u g 4 Jan 12  2019 ./",
        ],
        &["run|file|8|2019-01-12|-", "b*|file|8|2019-01-12|-"],
    ),
    (
        &["-rwxr-xr-x 1 u g 8 Jan 12  2019 run*"],
        &["run*|file|8|2019-01-12|-"],
    ),
    // VMS: the newest version, wherever it is; a name without columns.
    (
        &[
            "Directory DISK$A:<PUB>",
            "A.TXT;2 4/6 9-MAY-2011 08:30",
            "B.C;1",
            "A.TXT;10 4/6 9-JUN-2012 08:30",
            "Total of 3 files, 8/12 blocks.",
        ],
        &["A.TXT|file|-|2012-06-09T08:30|-", "B.C|file|-|-|-"],
    ),
    (
        &[
            "A_VERY_LONG_NAME_OF_SOMETHING.TXT;1",
            "      %RMS-E-PRV, insufficient privilege",
            "X.DIR;1 1 2-SEP-2011 08:15:00",
        ],
        &[
            "A_VERY_LONG_NAME_OF_SOMETHING.TXT|file|-|-|-",
            "X|dir|-|2011-09-02T08:15:00|-",
        ],
    ),
    // Numeric dates, resolved by another line.
    (
        &[
            "ANNE 640 04/05/06 10:11:12 *STMF a",
            "ANNE 640 30/05/06 10:11:12 *STMF b",
        ],
        &[
            "a|file|640|2006-05-04T10:11:12|-",
            "b|file|640|2006-05-30T10:11:12|-",
        ],
    ),
    (
        &[
            "25/03/2018  09:41    <DIR>          a",
            "05/04/2018  09:41                 7 b",
        ],
        &["a|dir|-|2018-03-25T09:41|-", "b|file|7|2018-04-05T09:41|-"],
    ),
    (
        &[
            "  77   DIR   09-14-99   06:05  A",
            "  0  RASH  01-02-119  19:45  b c",
        ],
        &[
            "A|dir|-|1999-09-14T06:05|-",
            "b c|file|0|2019-01-02T19:45|-",
        ],
    ),
    // Dialects mixed in one listing.
    (
        &[
            "total 3",
            "-rw-r--r-- 1 u g 5 Jan 29 03:26 a",
            "04-27-00  09:09PM       <DIR>          b",
            "type=file;size=3; c",
            "+r,s1,\\td",
        ],
        &[
            "a|file|5|2026-01-29T03:26|-",
            "b|dir|-|2000-04-27T21:09|-",
            "c|file|3|-|-",
            "d|file|1|-|-",
        ],
    ),
    // Only the first line is a sum without a label; others can be names with sizes.
    (
        &[
            "gesamt 48",
            "-rw-r--r-- 1 u g 5 Jan 29 03:26 a",
            "README 531",
            " 1234 name 5",
        ],
        &[
            "a|file|5|2026-01-29T03:26|-",
            "-|unparsable|-|-|-",
            "-|unparsable|-|-|-",
        ],
    ),
    // Unix lines are recognised below a heading, too.
    (
        &[
            " Name      VV.MM   Created       Changed       Size  Init   Mod   Id",
            "-rw-r--r-- 1 u g 5 Jan 29 03:26 a",
            "MEMBER",
        ],
        &["a|file|5|2026-01-29T03:26|-", "-|unparsable|-|-|-"],
    ),
];
