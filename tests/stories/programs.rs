//! Programs that keep their data in a mounted server: backups with restic and borg.

use std::fs;

use crate::support::{assert_same_tree, installed, lines, run_with, shell, stories_on};
use tempfile::TempDir;

/// Creates a directory with a tree to back up, `tree`: thirty texts, a large file, a link.
fn tree_to_back_up() -> TempDir {
    let local = tempfile::tempdir().unwrap();
    shell(
        local.path(),
        "mkdir -p tree/texts tree/empty
         for n in $(seq 30); do seq $((n * 200)) > tree/texts/file$n; done
         head -c 3000000 /dev/urandom > tree/large
         ln -s large tree/link; chmod 600 tree/texts/file1",
    );
    local
}

/// Keeps the tree as `first` and changes it: a file changed, removed, renamed, added.
const CHANGE_THE_TREE: &str = "cp -a tree first; echo more >> tree/texts/file3
    rm tree/texts/file4; mv tree/texts/file5 tree/five; head -c 500000 /dev/urandom > tree/new";

stories_on! {
    [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd]

    /// restic: two backups of a changing tree, a check of all data, both restored, the first one
    /// forgotten and its data pruned. The repository on the server is sound.
    fn restic_backs_up_and_restores(server: &TestServer, mount: &Mount) {
        installed(&["restic"]);
        let local = tree_to_back_up();
        let restic = format!(
            "export RESTIC_PASSWORD=secret XDG_CACHE_HOME=$PWD/cache RESTIC_REPOSITORY={}/repository",
            mount.path().display()
        );
        shell(local.path(), &format!(
            "{restic}; restic init -q; restic backup -q --tag first tree
             {CHANGE_THE_TREE}; restic backup -q --tag second tree; restic check -q --read-data
             restic restore -q --tag first --target one latest
             restic restore -q --tag second --target two latest"
        ));
        assert_same_tree(local.path().join("first"), local.path().join("one/tree"));
        assert_same_tree(local.path().join("tree"), local.path().join("two/tree"));
        shell(local.path(), &format!(
            "{restic}; restic forget -q --keep-last 1 --prune
             restic restore -q --target pruned latest"
        ));
        assert_same_tree(local.path().join("tree"), local.path().join("pruned/tree"));
        let check = "export RESTIC_PASSWORD=secret; restic -r repository --no-cache check --read-data";
        shell(server.root(), check);
        assert_eq!(fs::read_dir(server.root().join("repository/snapshots")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(server.root().join("repository/locks")).unwrap().count(), 0);
    }

    /// borg: two backups of a changing tree, a check of all data, both restored, the first one
    /// deleted and the repository compacted. The repository on the server is sound.
    fn borg_backs_up_and_restores(server: &TestServer, mount: &Mount) {
        installed(&["borg"]);
        let local = tree_to_back_up();
        let borg = format!(
            "export BORG_PASSPHRASE=secret BORG_BASE_DIR=$PWD/borg BORG_REPO={}/repository
             export BORG_RELOCATED_REPO_ACCESS_IS_OK=yes",
            mount.path().display()
        );
        shell(local.path(), &format!(
            "{borg}; borg init -e repokey; borg create ::first tree
             {CHANGE_THE_TREE}; borg create ::second tree; borg check --verify-data
             mkdir one two; (cd one; borg extract ::first); (cd two; borg extract ::second)"
        ));
        assert_same_tree(local.path().join("first"), local.path().join("one/tree"));
        assert_same_tree(local.path().join("tree"), local.path().join("two/tree"));
        shell(local.path(), &format!(
            "{borg}; borg delete ::first; borg compact
             mkdir compacted; cd compacted; borg extract ::second"
        ));
        assert_same_tree(local.path().join("tree"), local.path().join("compacted/tree"));
        let there = format!(
            "{borg}; export BORG_REPO={}/repository; borg check --verify-data; borg list --short",
            server.root().display()
        );
        assert_eq!(lines(&shell(local.path(), &there)), ["second"]);
    }
}
