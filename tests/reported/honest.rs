//! The quirky server itself: without quirks it behaves like any other.

use crate::row::{group, row};
use crate::support::Quirks;

#[test]
fn an_honest_server() {
    group([
        row("files_are_read_and_listed", Quirks::none(), |t| {
            t.lists(".", "docs empty");
            t.lists("docs", "a.txt b.txt");
            assert_eq!(t.run("cat docs/*"), "alpha\nbeta\n");
            t.fails("cat docs/c.txt", "No such file");
            t.fails("rmdir docs", "not empty");
        }),
        row("files_are_written_and_replaced", Quirks::none(), |t| {
            t.run("echo gamma > docs/c.txt; echo new > docs/a.txt; echo more >> docs/b.txt");
            t.holds("/docs/c.txt", "gamma\n");
            t.holds("/docs/a.txt", "new\n");
            t.holds("/docs/b.txt", "beta\nmore\n");
            t.names("/docs", "a.txt b.txt c.txt");
            t.fails("set -C; echo over > docs/a.txt", "cannot overwrite");
        }),
        row("trees_are_changed", Quirks::none(), |t| {
            t.run("mkdir -p new/sub; mv docs/a.txt new/sub/x; rm docs/b.txt; rmdir docs empty");
            t.run("mv new moved; chmod 600 moved/sub/x; touch -d 2001-02-03T04:05:06 moved/sub/x");
            t.names("/", "moved");
            t.holds("/moved/sub/x", "alpha\n");
            assert_eq!(t.run("stat -c '%a %Y' moved/sub/x"), "600 981173106\n");
        }),
        row(
            "plain_listings_are_read",
            Quirks::none().without_facts(),
            |t| {
                t.run("echo gamma > docs/c.txt; mkdir docs/sub");
                t.lists("docs", "a.txt b.txt c.txt sub");
                assert_eq!(t.run("cat docs/?.txt"), "alpha\nbeta\ngamma\n");
            },
        ),
        row("a_directory_is_mounted", Quirks::none(), |t| {
            t.lists("sub", "x");
        })
        .holding(|tree| tree.file("/top/sub/x", "x"))
        .at("top")
        .with(&["dir_ttl=0"]),
    ]);
}
