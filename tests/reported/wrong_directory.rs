//! Servers that list the current directory regardless of the path they are given.

use crate::row::{group, row};
use crate::support::{FileTree, Quirks};

fn tree(tree: &mut FileTree) {
    tree.file("/top.txt", "top");
    tree.file("/sub/one.txt", "one");
    tree.file("/sub/deep/two.txt", "two");
    tree.directory("/sub/hollow");
}

const TREE: &str = ". ./sub ./sub/deep ./sub/deep/two.txt ./sub/hollow ./sub/one.txt ./top.txt";

#[test]
fn the_path_is_ignored() {
    let mut rows = Vec::new();
    let variants: [(&str, Quirks); 5] = [
        ("by MLSD", Quirks::none().ignores_path(&["MLSD"])),
        (
            "by LIST",
            Quirks::none()
                .without_facts()
                .without("STAT")
                .ignores_path(&["LIST"]),
        ),
        (
            "by MLSD and LIST",
            Quirks::none()
                .without("STAT")
                .ignores_path(&["MLSD", "LIST"]),
        ),
        (
            "by LIST, STAT and NLST",
            Quirks::none()
                .without_facts()
                .ignores_path(&["LIST", "STAT", "NLST"]),
        ),
        (
            "by all, and dash a is a name",
            Quirks::none()
                .without_facts()
                .dash_is_a_name()
                .ignores_path(&["LIST", "STAT", "NLST"]),
        ),
    ];
    rows.extend(variants.clone().map(|(how, quirks)| {
        row(format!("the_tree_is_not_endless: {how}"), quirks, |t| {
            let found = t.run("find . -maxdepth 6 | sort");
            assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), TREE);
            assert_eq!(t.run("cat sub/one.txt sub/deep/two.txt"), "onetwo");
        })
        .holding(tree)
    }));
    rows.extend(variants.clone().map(|(how, quirks)| {
        row(format!("a_copy_is_right: {how}"), quirks, |t| {
            let copied = t.run(
                "copy=$(mktemp -d); trap 'rm -r $copy' EXIT; mkdir $copy/deep; echo two > $copy/deep/two.txt
                rsync -a --delete sub/ $copy/; cd $copy; find . | sort",
            );
            assert_eq!(copied, ".\n./deep\n./deep/two.txt\n./hollow\n./one.txt\n");
        })
        .holding(tree)
    }));
    rows.extend(variants.map(|(how, quirks)| {
        row(
            format!("changes_go_where_they_belong: {how}"),
            quirks,
            |t| {
                t.run("echo new > sub/new.txt; mkdir sub/deep/more; mv sub/one.txt sub/deep/");
                t.fails("set -C; echo mine > sub/deep/two.txt", "cannot overwrite");
                t.fails("cat sub/top.txt", "No such file");
                t.names("/sub", "deep hollow new.txt");
                t.names("/sub/deep", "more one.txt two.txt");
                t.lists("sub", "deep hollow new.txt");
            },
        )
        .holding(tree)
    }));
    group(rows);
}

#[test]
fn a_mounted_directory_and_its_twin() {
    group([
        row(
            "a_mounted_directory_is_not_the_root",
            Quirks::none().ignores_path(&["MLSD", "LIST", "STAT"]),
            |t| {
                t.lists(".", "deep hollow one.txt");
                t.lists("deep", "two.txt");
            },
        )
        .holding(tree)
        .at("sub"),
        row(
            "a_directory_like_its_parent_is_believed",
            Quirks::none(),
            |t| {
                t.lists("x", "same.txt x");
                t.lists("x/x", "");
                assert_eq!(t.run("cat x/same.txt"), "inner");
            },
        )
        .holding(|tree| {
            tree.file("/same.txt", "outer");
            tree.file("/x/same.txt", "inner");
            tree.directory("/x/x");
            for path in ["/same.txt", "/x", "/x/same.txt", "/x/x"] {
                tree.node_mut(path).unwrap().modified = 1_000_000_000;
            }
        }),
    ]);
}
