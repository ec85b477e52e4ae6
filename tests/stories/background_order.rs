//! `-o writeback=names`: nothing is replaced on the strength of what was not stored, and work goes
//! on without a server and after kills.

use std::fs;
use std::time::Duration;

use crate::offline::{find_again, lose, status};
use crate::support::{
    Kind, Mount, TestServer, assert_same_tree, lines, shell, stories_on, wait_for,
};
use ftpfs::server::{Fault, Misdeed};
use tempfile::TempDir;

/// Maximum time for background work.
const SOON: Duration = Duration::from_secs(60);

const GIT: &str = "git -c user.name=T -c user.email=t@example.org -c gc.auto=0 -c safe.directory=*";

/// The server has no room for a pack: the branch that refers to it stays as it is.
#[test]
fn a_branch_is_not_replaced_if_its_pack_is_refused() {
    let server = TestServer::start(Kind::Embedded);
    let local = TempDir::new().unwrap();
    let root = server.root().display().to_string();
    shell(
        local.path(),
        &format!(
            "{GIT} init -q -b main work; cd work; echo one > file; {GIT} add .; {GIT} commit -qm one
             {GIT} clone -q --bare . {root}/bare.git
             head -c 400000 /dev/urandom > large; {GIT} add .; {GIT} commit -qm two"
        ),
    );
    let branch = |directory: &std::path::Path| {
        let found = shell(directory, &format!("{GIT} -C bare.git rev-parse main"));
        lines(&found).remove(0)
    };
    shell(
        server.root(),
        "cd bare.git; main=$(git rev-parse main); git config gc.auto 0; mkdir -p refs/heads; echo $main > refs/heads/main",
    );
    let old = branch(server.root());
    let mount = Mount::with_options(&server, &["writeback=names"]);
    shell(mount.path(), "ls -lR bare.git > /dev/null");
    let embedded = server.embedded().unwrap();
    let faults = embedded.faults();
    // Nothing is decided before git has replaced the branch. It syncs packs by default, and fails.
    let text = "later".to_owned();
    let later = Fault::on("STOR", Misdeed::Refuse { code: 450, text });
    faults.add(later.always());
    let work = local.path().join("work").display().to_string();
    shell(
        mount.path(),
        &format!(
            "cd bare.git; {GIT} -c core.fsync=none -c fetch.unpackLimit=1 fetch -q {work} main:main"
        ),
    );
    let new = branch(mount.path());
    assert_ne!(new, old);
    let full = Misdeed::BreakData {
        after: 100_000,
        code: 552,
    };
    faults.replace(Fault::on("STOR", full).always());
    let failed = || status(&mount, "uploads")["failed"].as_u64() >= Some(2);
    assert!(wait_for(SOON, failed), "{}", mount.log());
    let packs = || lines(&shell(server.root(), "ls bare.git/objects/pack")).join(" ");
    assert!(!packs().contains("tmp_pack"), "{}", packs());
    assert_eq!(branch(server.root()), old);
    let check = format!("{GIT} -C bare.git fsck --strict && {GIT} -C bare.git log main");
    shell(server.root(), &check);
    // There is room again, and a program asks.
    faults.clear();
    shell(mount.path(), "sync . || sync .");
    assert_eq!(branch(server.root()), new, "{}", mount.log());
    shell(server.root(), &check);
}

/// The copies of stored files go, although no program waits for anything.
#[test]
fn the_copies_of_stored_files_go_while_nothing_else_happens() {
    let server = TestServer::start(Kind::Embedded);
    let state = TempDir::new().unwrap();
    let mount = Mount::with_state(&server, &["writeback=names"], state.path());
    let embedded = server.embedded().unwrap();
    // They are stored when all that the programs did is on the disk already.
    let late = Misdeed::LateReply(Duration::from_secs(3));
    embedded.faults().add(Fault::on("STOR", late).always());
    shell(mount.path(), "for n in 1 2 3; do echo $n > $n; done");
    assert!(wait_for(SOON, || server.names() == ["1", "2", "3"]));
    let copies = || lines(&shell(state.path(), "find . -name '*.data'"));
    assert!(wait_for(SOON, || copies().is_empty()), "{:?}", copies());
}

stories_on! {
    [embedded Embedded, vsftpd Vsftpd, proftpd Proftpd, pure_ftpd PureFtpd]

    /// What programs do without the server is kept by kills, and is on the server when it is back.
    fn work_goes_on_offline_and_after_kills(server: &TestServer, mount: &Mount) {
        shell(server.root(), "mkdir -p d/sub; for n in 1 2 3 4; do echo $n > d/$n; done; touch -d yesterday d/*");
        server.hand_over();
        let home = TempDir::new().unwrap();
        let cache = format!("cache_dir={}", home.path().join("cache").display());
        let options = [cache.as_str(), "writeback=names", "offline=yes"];
        let first = Mount::with_state(server, &options, home.path());
        shell(first.path(), "ls -lR > /dev/null; cat d/[1-4] > /dev/null; mkdir d/own; echo x > d/own/x; sync .");
        lose(server, &first);
        shell(first.path(), "
            cd d; rm 1; mv 2 two; echo more > new; mkdir own/below; mv new own/below/moved
            echo three > 3~; mv 3~ 3; echo draft > own/draft; test ! -e 1; test \"$(cat 3)\" = three");
        first.kill_nine();
        let second = Mount::with_state(server, &options, home.path());
        let expected = TempDir::new().unwrap();
        shell(expected.path(), "
            mkdir -p d/sub d/own/below; cd d; echo 2 > two; echo three > 3; echo 4 > 4; echo x > own/x
            echo more > own/below/moved; echo draft > own/draft");
        // What was renamed without the server can be read when it is back.
        let seen = "cd d; find . | sort; cat 3 4 own/below/moved own/draft";
        let see = |directory: &std::path::Path, seen: &str| lines(&shell(directory, seen));
        assert_eq!(see(second.path(), seen), see(expected.path(), seen));
        shell(second.path(), "cd d; mv own/draft own/below/final; rm 4; echo again > 3; rm own/x");
        second.kill_nine();
        let third = Mount::with_state(server, &options, home.path());
        shell(expected.path(), "cd d; mv own/draft own/below/final; rm 4; echo again > 3; rm own/x");
        let seen = "cd d; find . | sort; cat 3 own/below/moved own/below/final";
        assert_eq!(see(third.path(), seen), see(expected.path(), seen));
        find_again(server, &third);
        shell(third.path(), "sync . || { sleep 2; sync .; }");
        assert_same_tree(expected.path().join("d"), server.root().join("d"));
        assert_same_tree(expected.path().join("d"), third.join("d"));
        let parts = shell(server.root(), "find . -name '.ftpfs-*'");
        third.unmount();
        assert_eq!(lines(&parts), [""; 0]);
        assert!(fs::read(server.root().join("d/two")).is_ok());
    }
}
