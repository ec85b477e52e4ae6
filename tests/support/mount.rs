//! A real mount by the real program, always taken down again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::{Process, TestServer, wait_for};

/// Maximum time for a mount to answer. A busy virtual machine may stop for half a minute.
const START: Duration = Duration::from_secs(180);

/// Maximum time for a mount to open its control socket.
const SOCKET: Duration = Duration::from_secs(5);

/// Maximum time that a mountpoint may stay busy after the last program has ended.
const UNBUSY: Duration = Duration::from_secs(10);

/// Maximum time for ftpfs to exit after it is unmounted.
const END: Duration = Duration::from_secs(30);

/// A running `ftpfs -f` and its mountpoint. On drop it is unmounted, and ftpfs must exit cleanly.
pub(crate) struct Mount {
    program: Child,
    point: PathBuf,
    log: PathBuf,
    /// Already killed and unmounted.
    is_down: bool,
    _directory: TempDir,
}

impl Mount {
    /// Mounts the server's root with no options.
    pub(crate) fn new(server: &TestServer) -> Self {
        Self::with_options(server, &[])
    }

    /// Mounts the server's root with `-o` for each option: `["dir_ttl=60", "ro"]`.
    pub(crate) fn with_options(server: &TestServer, options: &[&str]) -> Self {
        Self::of_server(server, options, None)
    }

    /// Mounts any URL; the password is passed in the environment.
    pub(crate) fn of_url(url: &str, password: &str, options: &[&str]) -> Self {
        Self::start(url, password, options, None, &[])
    }

    /// Mounts any URL with additional environment variables.
    pub(crate) fn in_environment(
        url: &str,
        password: &str,
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        Self::start(url, password, options, None, variables)
    }

    /// Mounts the server with `state` as the state directory, which may come from an earlier mount.
    pub(crate) fn with_state(server: &TestServer, options: &[&str], state: &Path) -> Self {
        Self::of_server(server, options, Some(state))
    }

    fn of_server(server: &TestServer, options: &[&str], state: Option<&Path>) -> Self {
        let needed = server.needed_options();
        let needed = needed.iter().map(String::as_str);
        let options: Vec<&str> = needed.chain(options.iter().copied()).collect();
        Self::start(&server.url(), server.password(), &options, state, &[])
    }

    fn start(
        url: &str,
        password: &str,
        options: &[&str],
        state: Option<&Path>,
        variables: &[(&str, &str)],
    ) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ftpfs-mount-")
            .tempdir()
            .unwrap();
        let point = directory.path().join("mnt");
        fs::create_dir(&point).unwrap();
        let log = directory.path().join("log");
        let output = File::create(&log).unwrap();
        let mut command = super::command(env!("CARGO_BIN_EXE_ftpfs"));
        command.arg("-f").arg(url).arg(&point);
        for option in options {
            command.args(["-o", option]);
        }
        let own_state = directory.path().join("state");
        let program = command
            .env("FTPFS_PASSWORD", password)
            .env("XDG_STATE_HOME", state.unwrap_or(&own_state))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("the ftpfs program starts");
        let mut mount = Self {
            program,
            point,
            log,
            is_down: false,
            _directory: directory,
        };
        mount.wait_until_it_answers();
        mount
    }

    /// Returns the mountpoint.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// Returns a path below the mountpoint.
    pub(crate) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.point.join(path)
    }

    /// Returns the ID of the process that serves the mount.
    pub(crate) fn pid(&self) -> u32 {
        self.program.id()
    }

    /// Returns what ftpfs has printed so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Kills ftpfs with SIGKILL, removes the dead mount, and returns what ftpfs had printed.
    pub(crate) fn kill_nine(mut self) -> String {
        self.kill();
        unmount(&self.point, true).expect("a dead mount can be unmounted");
        self.is_down = true;
        self.log()
    }

    /// Ends the mount by SIGTERM, or by an unmount from elsewhere, while the server may be gone.
    /// Returns the exit status of ftpfs and what it printed. Ftpfs must exit within `patience`.
    pub(crate) fn end_within(mut self, patience: Duration, by: Ending) -> (ExitStatus, String) {
        match by {
            Ending::Signal => {
                let pid = self.pid().to_string();
                super::run_with("kill", &["-TERM".as_ref(), pid.as_ref()]);
            }
            Ending::Unmount => unmount(&self.point, false).expect("nobody uses it"),
        }
        let mut status = None;
        wait_for(patience, || {
            status = self.ended();
            status.is_some()
        });
        let Some(status) = status else {
            panic!("ftpfs goes on {patience:?} after it was to end");
        };
        assert!(!is_mounted(&self.point), "it leaves its mount behind");
        self.is_down = true;
        (status, self.log())
    }

    /// Forgets a mount whose process was killed and whose mountpoint is already unmounted.
    pub(crate) fn forget(mut self) {
        assert!(!is_mounted(&self.point));
        let _ = self.program.wait();
        self.is_down = true;
    }

    /// Takes the mount down now, as drop would. Afterwards, all written data is on the server.
    pub(crate) fn unmount(self) {
        drop(self);
    }

    fn wait_until_it_answers(&mut self) {
        let mut ended = None;
        wait_for(START, || {
            ended = self.ended();
            ended.is_some() || is_mounted(&self.point)
        });
        if let Some(status) = ended {
            panic!("ftpfs ended before it mounted ({status}):\n{}", self.log());
        }
        assert!(
            is_mounted(&self.point),
            "not mounted after {START:?}:\n{}\n{}",
            self.log(),
            Process::of(self.pid()).waits()
        );
        // It comes after the mount. Not every mount of a test has one.
        wait_for(SOCKET, || self.has_control_socket());
    }

    /// Whether `ftpfs status` finds the mount, which is root's.
    fn has_control_socket(&self) -> bool {
        let end = format!("-{}.sock", self.pid());
        let Ok(sockets) = fs::read_dir("/run/ftpfs") else {
            return false;
        };
        sockets.flatten().any(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().ends_with(end.as_bytes())
        })
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.program.try_wait().expect("our own child")
    }

    /// Unmounts, waits for the program to exit, and returns what went wrong, if anything.
    fn take_down(&mut self) -> Result<(), String> {
        let mut words = String::new();
        let unmounted = wait_for(UNBUSY, || match unmount(&self.point, false) {
            Ok(()) => true,
            Err(error) => {
                words = error;
                !is_mounted(&self.point)
            }
        });
        if !unmounted {
            self.kill();
            let _ = unmount(&self.point, true);
            return Err(format!(
                "{} is leaked or busy: {words}",
                self.point.display()
            ));
        }
        let mut status = None;
        wait_for(END, || {
            status = self.ended();
            status.is_some()
        });
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("ftpfs ended with {status}")),
            None => {
                self.kill();
                Err(format!("ftpfs had not ended {END:?} after the unmount"))
            }
        }
    }

    fn kill(&mut self) {
        let _ = self.program.kill();
        let mut has_ended = || self.program.try_wait().expect("our own child").is_some();
        if wait_for(END, &mut has_ended) {
            return;
        }
        // A thread of it waits in the kernel for a lock that a request of the mount holds, which
        // only ends with the connection.
        let _ = Command::new("umount").arg("-f").arg(&self.point).output();
        assert!(wait_for(END, has_ended), "ftpfs cannot be killed");
    }
}

/// How a mount is ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Signal,
    Unmount,
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_down {
            return;
        }
        let outcome = self.take_down();
        if thread::panicking() {
            eprintln!("the log of the mount:\n{}", self.log());
        } else if let Err(problem) = outcome {
            panic!("{problem}; its log:\n{}", self.log());
        }
    }
}

/// Whether something is mounted exactly at `point`.
pub(crate) fn is_mounted(point: &Path) -> bool {
    let point = point.to_str().expect("a mountpoint of ours is UTF-8");
    let escaped = point.replace('\\', "\\134").replace(' ', "\\040");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("Linux tells its mounts");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&escaped))
}

/// Unmounts `point`: directly as root, by fusermount3 as any other user.
/// Unmounts `point`, which no program uses. A program that another test starts may have a copy of a
/// descriptor for a moment.
pub(crate) fn unmount_unused(point: &Path) {
    let mut outcome = Ok(());
    wait_for(UNBUSY, || {
        outcome = unmount(point, false);
        outcome
            .as_ref()
            .err()
            .is_none_or(|why| !why.contains("busy"))
    });
    outcome.unwrap();
}

fn unmount(point: &Path, lazily: bool) -> Result<(), String> {
    let mut command = if super::shell::is_root() {
        Command::new("umount")
    } else {
        let mut command = Command::new("fusermount3");
        command.arg("-u");
        command
    };
    if lazily {
        command.arg(if super::shell::is_root() { "-l" } else { "-z" });
    }
    let output = command
        .arg(point)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
