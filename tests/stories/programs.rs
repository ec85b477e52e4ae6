//! Programs that keep their data in a mounted server: backups with restic and borg, databases of
//! sqlite, git with gc, films with ffmpeg. The results are checked on the server's side.

use std::fs;
use std::path::Path;

use crate::support::{
    Kind, Mount, TestServer, assert_same_bytes, assert_same_tree, installed, lines, run_with,
    shell, stories_on,
};
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

/// Runs commands of the sqlite3 program on a database, and returns the lines that it prints.
fn sqlite(database: &Path, commands: &[&str]) -> Vec<String> {
    let mut arguments = vec!["-batch", "-bail", "-cmd", ".timeout 20000"];
    arguments.push(database.to_str().unwrap());
    arguments.extend(commands);
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let output = run_with("sqlite3", &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Creates a table and fills it: 600 rows in three transactions, and one that is rolled back.
const FILL: &str = "
    create table t(id integer primary key, x);
    create index by_x on t(x);
    begin; insert into t(x) select randomblob(300) from generate_series(1, 200); commit;
    begin; insert into t(x) select randomblob(300) from generate_series(1, 200); commit;
    begin; delete from t; insert into t(x) values ('rolled back'); rollback;
    begin; insert into t(x) select randomblob(300) from generate_series(1, 200); commit;";

/// Counts the rows and checks all pages and indexes.
const CHECK: &str = "select count(*) from t; pragma integrity_check";

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

    /// sqlite with its default rollback journal: transactions, a second process while the database
    /// is open, and one that is killed in a transaction, which the next process rolls back.
    fn sqlite_with_a_rollback_journal(server: &TestServer, mount: &Mount) {
        installed(&["sqlite3"]);
        let database = mount.join("a.db");
        let name = database.display();
        let second = format!(".system sqlite3 {name} 'insert into t(x) values (1)'");
        assert_eq!(sqlite(&database, &[FILL, &second, CHECK]), ["601", "ok"]);
        shell(mount.path(), &format!("! sqlite3 {name} {KILLED_IN_A_TRANSACTION}"));
        assert!(mount.join("a.db-journal").exists(), "nothing to roll back");
        assert_eq!(sqlite(&database, &[CHECK]), ["601", "ok"]);
        assert_eq!(sqlite(&database, &["vacuum", CHECK]), ["601", "ok"]);
        assert_eq!(sqlite(&server.root().join("a.db"), &[CHECK]), ["601", "ok"]);
        assert_eq!(server.names().len(), 1);
    }

    /// sqlite with a write-ahead log, whose index is memory shared by several processes: three of
    /// them write simultaneously, and one is killed in a transaction.
    fn sqlite_with_a_write_ahead_log(server: &TestServer, mount: &Mount) {
        installed(&["sqlite3"]);
        let database = mount.join("a.db");
        let name = database.display();
        assert_eq!(sqlite(&database, &["pragma journal_mode=wal", FILL, CHECK]), ["wal", "600", "ok"]);
        shell(mount.path(), &format!(
            "for writer in 1 2 3; do
                 for row in $(seq 20); do echo 'insert into t(x) values (randomblob(3000));'; done |
                     sqlite3 -bail -cmd '.timeout 20000' {name} & writers+=($!)
             done
             for writer in ${{writers[@]}}; do wait $writer; done"
        ));
        assert_eq!(sqlite(&database, &[CHECK]), ["660", "ok"]);
        shell(mount.path(), &format!("! sqlite3 {name} {KILLED_IN_A_TRANSACTION}"));
        assert!(mount.join("a.db-wal").exists() && mount.join("a.db-shm").exists());
        assert_eq!(sqlite(&database, &[CHECK]), ["660", "ok"]);
        assert_eq!(sqlite(&server.root().join("a.db"), &["pragma journal_mode", CHECK]), ["wal", "660", "ok"]);
    }

    /// sqlite with a write-ahead log and without shared memory, for one process at a time.
    fn sqlite_with_a_write_ahead_log_of_its_own(server: &TestServer, mount: &Mount) {
        installed(&["sqlite3"]);
        let exclusive = ["pragma locking_mode=exclusive", "pragma journal_mode=wal"];
        let database = mount.join("a.db");
        let list = format!(".system ls {}", mount.path().display());
        let output = sqlite(&database, &[exclusive[0], exclusive[1], FILL, &list, CHECK]);
        // sqlite prints its own lines at the end. There is no `a.db-shm`.
        assert_eq!(output, ["a.db", "a.db-wal", "exclusive", "wal", "600", "ok"]);
        assert_eq!(sqlite(&database, &[exclusive[0], CHECK]), ["exclusive", "600", "ok"]);
        assert_eq!(sqlite(&server.root().join("a.db"), &[CHECK]), ["600", "ok"]);
    }

    /// The index of git has the inode numbers of the files: on the next mount they are the same, so
    /// that a status reads none of the files again.
    fn git_status_reads_no_file_on_the_next_mount(server: &TestServer, mount: &Mount) {
        let git = "git -c user.name=T -c user.email=t@example.org -c gc.auto=0 -c safe.directory=*";
        let status = format!("{git} -C work status --porcelain");
        // Files of the same age as the index are read in any case.
        shell(mount.path(), &format!(
            "{git} init -q work; mkdir -p work/tree/{{a,b}}
             for n in $(seq 20); do echo $n | tee work/tree/a/$n > work/tree/b/$n; done
             find work/tree -exec touch -d '2 hours ago' {{}} +
             {git} -C work add .; {git} -C work commit -qm first; {status}; sync ."
        ));
        let numbers = "find work/tree -printf '%P %i\n' | LC_ALL=C sort";
        let before = lines(&shell(mount.path(), numbers));
        let next = Mount::new(server);
        let begin = server.commands().len();
        assert_eq!(shell(next.path(), &status).stdout, b"");
        let commands = server.commands();
        let read = commands[begin..].iter().filter(|it| it.starts_with("RETR") && it.contains("/tree/"));
        assert_eq!(read.collect::<Vec<_>>(), Vec::<&String>::new(), "{}", next.log());
        assert_eq!(lines(&shell(next.path(), numbers)), before);
    }

    /// A second backup of the mount, from the next mount, finds the inode numbers and times of the
    /// first one, and reads only the file that has changed.
    fn restic_reads_only_what_changed_on_the_next_mount(server: &TestServer, mount: &Mount) {
        installed(&["restic"]);
        for file in 0..20 {
            server.write(format!("tree/{}/{file}", file % 3), format!("contents of {file}"));
        }
        shell(server.root(), "find tree -exec touch -d '2 hours ago' {} +");
        server.hand_over();
        let local = tempfile::tempdir().unwrap();
        let restic = "export RESTIC_PASSWORD=secret XDG_CACHE_HOME=$PWD/cache RESTIC_REPOSITORY=$PWD/repository";
        // The tree has the same path for restic on each mount.
        let back_up = |mount: &Mount| lines(&shell(local.path(), &format!(
            "{restic}; ln -sfn {} mount; cd mount; restic backup tree | grep Files:", mount.path().display()
        )));
        shell(local.path(), &format!("{restic}; restic init -q"));
        assert_eq!(back_up(mount), ["Files:          20 new,     0 changed,     0 unmodified"]);
        shell(server.root(), "echo more >> tree/1/7");
        let next = Mount::new(server);
        // The kernel sees the files in another order.
        shell(next.path(), "ls -l tree/2");
        let found = back_up(&next);
        assert_eq!(found, ["Files:           0 new,     1 changed,    19 unmodified"], "{}", next.log());
    }

    /// git: commits, a merged branch, gc and fsck; then a clone from it and a push into it.
    fn git_with_gc_and_fsck(server: &TestServer, mount: &Mount) {
        let git = "git -c user.name=T -c user.email=t@example.org -c safe.directory=*";
        shell(mount.path(), &format!(
            "{git} init -q -b main work; cd work
             for n in $(seq 30); do seq $((n * 50)) > file$n; done; {git} add .; {git} commit -qm first
             {git} checkout -qb topic
             for n in 1 2 3; do echo topic >> file$n; {git} commit -qam topic$n; done
             {git} checkout -q main; echo main >> file9; {git} commit -qam second
             {git} merge -q --no-edit topic; {git} branch -qd topic
             {git} gc -q --aggressive --prune=now; {git} fsck --full --strict
             echo after >> file1; {git} commit -qam after; {git} repack -adq; {git} fsck --full --strict
             test -z \"$({git} status --porcelain)\""
        ));
        let local = tempfile::tempdir().unwrap();
        shell(local.path(), &format!(
            "{git} clone -q file://{}/work clone; cd clone; {git} fsck --full --strict
             test $({git} rev-list --count main) = 7; echo pushed > pushed; {git} add pushed
             {git} commit -qm pushed; {git} push -q origin main:pushed",
            mount.path().display()
        ));
        assert_same_bytes(server.root().join("work/file1"), local.path().join("clone/file1"));
        let count = "rev-list --count pushed";
        let there = shell(server.root(), &format!("cd work; {git} fsck --full --strict; {git} {count}"));
        assert_eq!(lines(&there), ["8"]);
    }

    /// ffmpeg: a film whose index is moved to the start after it is written, a picture from its
    /// middle, and a part cut out. The same work on a local disk has the same results.
    fn ffmpeg_writes_and_seeks(server: &TestServer, mount: &Mount) {
        installed(&["ffmpeg"]);
        let local = tempfile::tempdir().unwrap();
        let ffmpeg = "ffmpeg -v error -nostdin";
        shell(local.path(), &format!(
            "{ffmpeg} -f lavfi -i testsrc2=duration=20:size=320x240:rate=25 \
                 -c:v mpeg4 -q:v 3 -g 25 source.mkv"
        ));
        let work = format!(
            "{ffmpeg} -i {}/source.mkv -c copy -movflags faststart film.mp4
             grep -aboE 'moov|mdat' film.mp4 | sed -n '1s/.*://p' | grep -qx moov
             {ffmpeg} -ss 15.2 -i film.mp4 -frames:v 1 picture.ppm
             {ffmpeg} -ss 5 -t 5 -i film.mp4 -c copy -fflags +bitexact part.mkv
             {ffmpeg} -i film.mp4 -f framemd5 frames.txt",
            local.path().display()
        );
        fs::create_dir(local.path().join("expected")).unwrap();
        shell(local.path().join("expected"), &work);
        shell(mount.path(), &work);
        assert_same_tree(local.path().join("expected"), mount.path());
        assert_same_tree(local.path().join("expected"), server.root());
    }
}

/// Programs written in Go poll every file that they open. A file is always ready, as on a local
/// disk, and the log has no warning about it.
#[test]
fn a_polled_file_is_ready() {
    let server = TestServer::start(Kind::Embedded);
    let mount = Mount::new(&server);
    let poll = "import select; poll = select.poll(); file = open('f', 'w'); poll.register(file, select.POLLOUT)
assert [event for _, event in poll.poll(0)] == [select.POLLOUT]";
    shell(mount.path(), &format!("python3 -c \"{poll}\""));
    assert_eq!(mount.log(), "");
}

/// Arguments of sqlite3 for a transaction that reaches the disk and is not committed: sqlite kills
/// itself.
const KILLED_IN_A_TRANSACTION: &str = "'pragma cache_size=5' 'begin; delete from t where id < 300' \
     'insert into t(x) select randomblob(2000) from generate_series(1, 500)' \
     '.system kill -9 $PPID'";
