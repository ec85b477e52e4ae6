//! The privileges of a mount's process, the descriptors it holds, and the users it lets in.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{
    Ending, Kind, Mount, OPEN_DEVICE, PASSWORD, Process, TestServer, in_own_namespace, is_mounted,
    run_with, wait_for,
};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Maximum time to wait for anything here.
const LIMIT: Duration = Duration::from_secs(20);

/// The thread that mounts and unmounts.
const MOUNTING: &str = "mounting";

/// CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH (capabilities(7)).
const TO_MOUNT: &str = "0000000000200004";
const NONE: &str = "0000000000000000";

/// The user ID of the unprivileged account nobody.
const NOBODY: u32 = 65534;

fn filled_server() -> TestServer {
    let server = TestServer::start(Kind::Embedded);
    server.write("file", "content");
    server
}

/// Runs a command as nobody; returns whether it succeeded.
fn nobody_can(program: &str, path: &Path) -> bool {
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        program,
    ]);
    let status = command
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    status.status().unwrap().success()
}

fn allow_everyone(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn by_root_no_thread_but_the_one_that_unmounts_keeps_a_capability() {
    let server = filled_server();
    let mount = Mount::new(&server);
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
    let process = Process::of(mount.pid());
    for set in ["CapPrm:", "CapEff:"] {
        let threads = process.threads(set);
        assert!(threads.len() > 4, "{threads:?}");
        let mounting = threads.iter().filter(|(name, _)| name == MOUNTING);
        assert_eq!(mounting.count(), 1, "{threads:?}");
        for (name, held) in threads {
            let expected = if name == MOUNTING { TO_MOUNT } else { NONE };
            assert_eq!(held, expected, "{set} {name}");
        }
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert!(process.threads(set).iter().all(|(_, held)| held == NONE));
    }
    let gains = process.threads("NoNewPrivs:");
    assert!(gains.iter().all(|(_, none)| none == "1"), "{gains:?}");
    let (status, log) = mount.end_within(LIMIT, Ending::Signal);
    assert!(status.success(), "{log}");
}

/// Root without capabilities cannot enter another user's home, but a mountpoint in it works
/// nevertheless.
#[test]
fn root_mounts_and_unmounts_below_a_directory_that_is_closed_to_others() {
    let server = filled_server();
    let home = tempfile::tempdir().unwrap();
    chown(home.path(), Some(NOBODY), None).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mountpoint = home.path().join("mnt");
    fs::create_dir(&mountpoint).unwrap();
    let state = tempfile::tempdir().unwrap();
    let mut program = Command::new(FTPFS)
        .args(["-f", &server.url_with_password()])
        .arg(&mountpoint)
        .env("XDG_STATE_HOME", state.path())
        .spawn()
        .unwrap();
    assert!(wait_for(LIMIT, || is_mounted(&mountpoint)));
    assert_eq!(fs::read(mountpoint.join("file")).unwrap(), b"content");
    run_with(
        "kill",
        &["-TERM".as_ref(), program.id().to_string().as_ref()],
    );
    assert!(program.wait().unwrap().success());
    assert!(!is_mounted(&mountpoint));
}

/// fusermount3 keeps running next to ftpfs, started by the thread that may mount.
#[test]
fn auto_unmount_takes_away_the_mount_of_a_killed_process() {
    let server = filled_server();
    let mount = Mount::with_options(&server, &["auto_unmount,allow_other"]);
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"content");
    let point = mount.path().to_owned();
    let pid = mount.pid().to_string();
    run_with("kill", &["-KILL".as_ref(), pid.as_ref()]);
    assert!(wait_for(LIMIT, || !is_mounted(&point)));
    mount.forget();
}

/// fusermount3 is set-user-ID: only the thread that starts it may gain privileges by it.
#[test]
fn by_an_ordinary_user_no_thread_but_the_one_that_unmounts_can_gain_privileges() {
    let server = filled_server();
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("mnt")).unwrap();
    let script = format!(
        "{OPEN_DEVICE}
        mkdir state; chown nobody state; export XDG_STATE_HOME=$PWD/state FTPFS_PASSWORD=\"$3\"
        setpriv --reuid=nobody --regid=nogroup --clear-groups \"$1\" -f \"$2\" mnt & mounted=$!
        for i in {{1..2000}}; do grep -q ' fuse.ftpfs .*user_id=65534' /proc/self/mounts && break; sleep 0.01; done
        as_nobody cat mnt/file > /dev/null
        for thread in /proc/$mounted/task/*; do
            echo $(sed -nE 's/^(Name|NoNewPrivs|CapPrm):\\s*//p' $thread/status)
        done
        kill $mounted
        wait $mounted
        ! grep ' fuse.ftpfs .*user_id=65534' /proc/self/mounts >&2"
    );
    let url = server.url();
    let output = in_own_namespace(
        home.path(),
        &script,
        &[FTPFS, &url, PASSWORD].map(OsStr::new),
    );
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {words}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() > 4, "{text}");
    // A thread that ended during the check has an empty line.
    for thread in text.lines().filter(|line| !line.is_empty()) {
        let gains_nothing = thread.ends_with(&format!("{NONE} 1"));
        assert_eq!(gains_nothing, !thread.starts_with(MOUNTING), "{text}");
    }
}

#[test]
fn no_program_that_it_starts_gets_its_descriptors() {
    let server = filled_server();
    let mount = Mount::new(&server);
    let mut open = File::create(mount.join("new")).unwrap();
    std::io::Write::write_all(&mut open, b"spooled").unwrap();
    let _read = File::open(mount.join("file")).unwrap();
    let descriptors = Process::of(mount.pid()).descriptors();
    assert!(
        descriptors
            .iter()
            .any(|(_, path, _)| path == Path::new("/dev/fuse")),
        "{descriptors:?}"
    );
    assert!(descriptors.len() > 6, "{descriptors:?}");
    for (number, path, closes) in descriptors {
        assert!(closes || number <= 2, "{number}: {}", path.display());
    }
}

/// A lock or a pipe that a script has open would otherwise be held as long as the mount lives.
#[test]
fn what_its_starter_left_open_is_closed() {
    let server = filled_server();
    let home = tempfile::tempdir().unwrap();
    let mountpoint = home.path().join("mnt");
    fs::create_dir(&mountpoint).unwrap();
    let script = "exec 7> held 8<> held 9< .; \"$1\" \"$2\" \"$3\"";
    let output = Command::new("bash")
        .args(["-euc", script, "bash", FTPFS, &server.url_with_password()])
        .arg(&mountpoint)
        .current_dir(home.path())
        .env("XDG_STATE_HOME", home.path().join("state"))
        .output()
        .unwrap();
    assert!(output.status.success());
    let process = Process::with_argument(mountpoint.to_str().unwrap()).unwrap();
    let open = process.descriptors();
    crate::support::unmount_unused(&mountpoint);
    assert!(open.len() > 4, "{open:?}");
    let held = home.path().join("held");
    assert!(
        open.iter()
            .all(|(_, path, _)| *path != held && path != home.path()),
        "{open:?}"
    );
}

#[test]
fn other_users_are_kept_out_unless_they_are_let_in() {
    let server = filled_server();
    let mount = Mount::new(&server);
    allow_everyone(mount.path().parent().unwrap());
    assert!(!nobody_can("ls", mount.path()));
    assert!(!nobody_can("cat", &mount.join("file")));
    let shared = Mount::with_options(&server, &["allow_other"]);
    allow_everyone(shared.path().parent().unwrap());
    assert!(nobody_can("ls", shared.path()));
    assert!(nobody_can("cat", &shared.join("file")));
}

/// A state directory prepared by another user is not used, and its target is left alone.
#[test]
fn a_state_directory_that_another_user_planted_is_not_used() {
    let server = filled_server();
    for plant in [
        (|state: &Path, _: &Path| {
            fs::create_dir(state).unwrap();
            chown(state, Some(NOBODY), None).unwrap();
        }) as fn(&Path, &Path),
        |state, elsewhere| {
            symlink(elsewhere, state).unwrap();
            lchown(state, Some(NOBODY), None).unwrap();
        },
    ] {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let state = home.path().join("ftpfs");
        plant(&state, elsewhere.path());
        let mount = Mount::with_state(&server, &[], home.path());
        fs::write(mount.join("written"), "all the same").unwrap();
        assert_eq!(server.read("written"), b"all the same");
        assert!(mount.log().contains("another user"), "{}", mount.log());
        assert!(!state.join("lock").exists());
        let places = fs::read_dir(&state).unwrap().flatten();
        let mut files = places.flat_map(|place| fs::read_dir(place.path()).unwrap());
        assert!(files.next().is_none(), "a file was put there");
    }
}

#[test]
fn a_spool_directory_in_which_others_could_put_files_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mountpoint = directory.path().join("mnt");
    let spool = directory.path().join("spool");
    fs::create_dir(&mountpoint).unwrap();
    fs::create_dir(&spool).unwrap();
    let tried = || {
        let option = format!("spool={}", spool.display());
        let mut command = Command::new(FTPFS);
        command.args([
            "nonexistent.invalid:",
            mountpoint.to_str().unwrap(),
            "-o",
            &option,
        ]);
        let state = directory.path().join("state");
        let output = command.env("XDG_STATE_HOME", state).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let set_mode = |mode| fs::set_permissions(&spool, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o777, 0o775, 0o702] {
        set_mode(mode);
        assert!(tried().contains("chmod go-w or +t"), "{mode:o}");
    }
    set_mode(0o755);
    chown(&spool, Some(NOBODY), None).unwrap();
    assert!(tried().contains("it belongs to another user"));
    chown(&spool, Some(0), None).unwrap();
    for mode in [0o1777, 0o700, 0o755] {
        set_mode(mode);
        assert!(tried().contains("cannot find the host"), "{mode:o}");
    }
}
