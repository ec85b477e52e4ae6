//! The few system calls that std does not provide: the only `unsafe` code in the crate.
//!
//! Hiding secrets in the process's arguments, going to the background, signals, unmounting,
//! inherited descriptors; in `privilege`, the privileges of the process; in `private_files`, files
//! that other users cannot write to.

#![allow(unsafe_code)]

mod clock;
mod holders;
mod memory;
pub(crate) mod private_files;
mod privilege;
mod process;
mod xdg;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, AtFlags};
use rustix::mount::UnmountFlags;
use rustix::process::{Resource, Rlimit};

pub(crate) use clock::{BootClock, slept};
pub(crate) use holders::{is_alive, may_still_write, process_of};
pub(crate) use memory::{set_up_allocator, trim};
pub(crate) use privilege::{forbid_dumps, keep_only_mounting, renounce};
pub(crate) use process::{ProcessHandle, end_process_tree, end_with_this_process};
pub(crate) use xdg::BaseDirectory;

/// Maximum number of bytes that one sendfile(2) sends, according to its manual page.
const MOST_SENT: usize = 0x7fff_f000;
/// The request for the number of bytes that were not sent yet, which libc lacks.
const SIOCOUTQNSD: libc::Ioctl = 0x894b;

/// Returns the effective user id.
pub(crate) fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Returns the effective group id.
pub(crate) fn effective_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Returns the time since the peer of `socket` last sent data or an acknowledgement (TCP_INFO,
/// tcp(7)).
pub(crate) fn last_heard(socket: &TcpStream) -> Option<Duration> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `info`, which has as many.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return None;
    }
    // SAFETY: the structure consists of integers, for which zeros are valid where the kernel has
    // written nothing.
    let info = unsafe { info.assume_init() };
    let milliseconds = info.tcpi_last_data_recv.min(info.tcpi_last_ack_recv);
    Some(Duration::from_millis(u64::from(milliseconds)))
}

/// Raises the limit of open descriptors to the highest allowed: waiting files have one each
/// (getrlimit(2)).
pub(crate) fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        log::debug!("cannot raise the limit of open files: {error}");
    }
}

/// Returns the limit of open descriptors.
pub(crate) fn descriptor_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current.unwrap_or(u64::MAX)
}

/// Makes files and directories that this process creates from now on inaccessible to other users
/// (umask(2)).
pub(crate) fn make_files_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Returns the user id and the process id of the other end of a socket, as they were when it
/// connected or began to listen (SO_PEERCRED, unix(7)).
///
/// # Errors
/// The socket is not connected.
pub(crate) fn peer_of(socket: &UnixStream) -> io::Result<(u32, i32)> {
    let peer = rustix::net::sockopt::socket_peercred(socket)?;
    Ok((peer.uid.as_raw(), peer.pid.as_raw_nonzero().get()))
}

/// Closes all descriptors except the standard streams. The parent process may have leaked them,
/// perhaps a lock, or a pipe whose reader waits for its end.
///
/// Must be called while this process uses no descriptors of its own.
///
/// # Errors
/// `/proc` cannot be read, or other threads are running already.
#[cfg(feature = "mount")]
pub(crate) fn close_inherited_descriptors() -> io::Result<()> {
    ProcessMemory::read()?.check_single_thread()?;
    let names = std::fs::read_dir("/proc/self/fd")?;
    let numbers: Vec<std::os::fd::RawFd> = names
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > libc::STDERR_FILENO)
        .collect();
    for number in numbers {
        // SAFETY: this is the only thread (checked above) and the caller uses no descriptor, so
        // this one has no owner. The one that listed the others is already closed, and closing a
        // number twice is an error without effect.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// Overwrites secrets in the arguments that other users see in `/proc/PID/cmdline`.
///
/// `secrets` is called for each argument in order, starting with the program's name, and returns
/// which of its bytes are secret.
///
/// # Errors
/// `/proc` cannot be read, or other threads are already running.
pub(crate) fn hide_arguments(secrets: impl FnMut(&[u8]) -> Vec<Range<usize>>) -> io::Result<()> {
    let memory = ProcessMemory::read()?;
    memory.check_single_thread()?;
    overwrite(memory.arguments, secrets);
    Ok(())
}

/// Removes a variable from the environment and returns its value. The value is overwritten in
/// `/proc/PID/environ`, and programs started later do not inherit it.
///
/// # Errors
/// `/proc` cannot be read, or other threads are already running.
pub(crate) fn take_environment_variable(name: &str) -> io::Result<Option<OsString>> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(None);
    };
    let memory = ProcessMemory::read()?;
    memory.check_single_thread()?;
    overwrite(memory.environment, |variable| {
        let named = variable.strip_prefix(name.as_bytes());
        let assigned = named.and_then(|rest| rest.strip_prefix(b"="));
        let value = assigned.map(|assigned| variable.len() - assigned.len()..variable.len());
        value.into_iter().collect()
    });
    // SAFETY: no other thread is running (checked above) that could read the environment.
    unsafe { std::env::remove_var(name) };
    Ok(Some(value))
}

/// Sends up to `length` bytes of `file` from `offset` over a connection, from the page cache to the
/// socket without a copy (sendfile(2)). Returns the number of bytes sent, 0 at the end of the file.
///
/// Does not change the file's position. Bytes that are changed in the file before the peer has
/// acknowledged them may arrive changed.
///
/// # Errors
/// Those of the connection or the file. `WouldBlock` is the connection's write timeout.
pub(crate) fn send_file(
    connection: &TcpStream,
    file: &File,
    offset: u64,
    length: u64,
) -> io::Result<usize> {
    let mut offset = offset;
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(MOST_SENT);
    Ok(rustix::fs::sendfile(
        connection,
        file,
        Some(&mut offset),
        length,
    )?)
}

/// Returns the number of bytes written to `connection` that the peer has not acknowledged
/// (SIOCOUTQ, tcp(7)).
///
/// # Errors
/// The socket is not connected.
pub(crate) fn unacknowledged(connection: &TcpStream) -> io::Result<usize> {
    output_queue(connection, libc::TIOCOUTQ)
}

/// Returns the number of bytes written to `connection` that were not sent yet, with its end
/// (SIOCOUTQNSD, linux/sockios.h).
///
/// # Errors
/// The socket is not connected.
pub(crate) fn unsent(connection: &TcpStream) -> io::Result<usize> {
    output_queue(connection, SIOCOUTQNSD)
}

fn output_queue(connection: &TcpStream, request: libc::Ioctl) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed, and for both requests the kernel
    // writes one int to `bytes`.
    let outcome = unsafe { libc::ioctl(connection.as_raw_fd(), request, &raw mut bytes) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Returns the round-trip time of `connection`, smoothed by the kernel (TCP_INFO, tcp(7)).
///
/// # Errors
/// The socket is not connected.
pub(crate) fn round_trip(connection: &TcpStream) -> io::Result<Duration> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel writes at most
    // `length` bytes, which is the size of `info`.
    let outcome = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is made of integers, for which zeros are a value, and the kernel wrote over some
    // of them.
    let info = unsafe { info.assume_init() };
    Ok(Duration::from_micros(u64::from(info.tcpi_rtt)))
}

/// The process in which [`fork`] returned.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The original process, which waits until the other one is ready.
    Parent(Starting),
    /// The new process, which goes to the background.
    Child(FdReadiness),
}

/// The parent's end of the pipe: learns whether the child became ready.
#[derive(Debug)]
pub(crate) struct Starting(PipeReader);

/// The child's end of the pipe: notifies the parent, and detaches from the terminal.
#[derive(Debug)]
pub(crate) struct FdReadiness(PipeWriter);

/// Forks the process. Must be called before any thread is started, because threads are not copied.
///
/// # Errors
/// Other threads are already running, or the kernel refused.
pub(crate) fn fork() -> io::Result<Forked> {
    ProcessMemory::read()?.check_single_thread()?;
    let (reader, writer) = io::pipe()?;
    // SAFETY: this is the only thread (checked above), so no lock of another one can remain held in
    // the child, which may do everything that a process may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child(FdReadiness(writer))),
        _ => Ok(Forked::Parent(Starting(reader))),
    }
}

impl Starting {
    /// Waits for the child. Returns true when it is ready, and false if it ended before that.
    pub(crate) fn wait(&self) -> bool {
        (&self.0).read_exact(&mut [0]).is_ok()
    }

    /// Returns the child's [answer](FdReadiness::answer), empty if it ended without one.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub(crate) fn answer(&self) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        (&self.0).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

impl FdReadiness {
    /// Detaches from the terminal, its session and the working directory, then notifies the parent.
    ///
    /// This happens here and not at the fork, because until the mount is ready, Ctrl-C must reach
    /// this process, its messages must reach the terminal, and an automounter must find it in its
    /// own process group (autofs in the kernel would make any other process wait for the mount that
    /// is being created).
    ///
    /// # Errors
    /// The parent has exited, so this process is no longer wanted, or `/dev/null` cannot be opened.
    pub(crate) fn report(mut self) -> io::Result<()> {
        // It fails only for the leader of a group, which changes nothing.
        let _ = rustix::process::setsid();
        std::env::set_current_dir("/")?;
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        replace_standard_streams(&null)?;
        self.0.write_all(&[1])
    }

    /// Sends `answer` to the parent, for a child that only finds something out.
    ///
    /// # Errors
    /// The parent has exited.
    pub(crate) fn answer(mut self, answer: &[u8]) -> io::Result<()> {
        self.0.write_all(answer)
    }
}

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`, stopping a service, or a shutdown.
    Terminate,
    /// The terminal was closed.
    HangUp,
}

/// The signals that ask the process to end, blocked so that they do not end it immediately.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks SIGINT, SIGTERM and SIGHUP in this thread and all threads that it starts from now on.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset writes the whole set before sigaddset and pthread_sigmask read it;
        // the signal numbers are valid.
        let (set, failure) = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::sigaddset(set.as_mut_ptr(), number);
            }
            let set = set.assume_init();
            let failure =
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            (set, failure)
        };
        match failure {
            0 => Ok(Self(set)),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Waits for the next of these signals.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn wait(&self) -> io::Result<Signal> {
        let mut number = 0;
        // SAFETY: the set was initialised by `block`, the number is written before it is read.
        match unsafe { libc::sigwait(&raw const self.0, &raw mut number) } {
            0 => Ok(match number {
                libc::SIGINT => Signal::Interrupt,
                libc::SIGHUP => Signal::HangUp,
                _ => Signal::Terminate,
            }),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Unmounts the file system at `mountpoint`, which requires privileges.
///
/// With `lazy`, it disappears from the tree immediately and ends when it is no longer in use
/// (MNT_DETACH).
///
/// # Errors
/// EBUSY if it is in use and `lazy` is false, EPERM without the privilege.
pub(crate) fn unmount(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, lazy);
    Ok(rustix::mount::unmount(mountpoint, flags)?)
}

/// Whether this process may open `path` for reading and writing. Does not open it.
pub(crate) fn may_read_and_write(path: impl AsRef<OsStr>) -> bool {
    let wanted = Access::READ_OK | Access::WRITE_OK;
    rustix::fs::accessat(rustix::fs::CWD, path.as_ref(), wanted, AtFlags::EACCESS).is_ok()
}

fn replace_standard_streams(with: &File) -> io::Result<()> {
    rustix::stdio::dup2_stdin(with)?;
    rustix::stdio::dup2_stdout(with)?;
    Ok(rustix::stdio::dup2_stderr(with)?)
}

/// The addresses of the process's arguments and environment, and its number of threads: fields 48
/// to 51 and 20 of `/proc/self/stat` (proc_pid_stat(5)).
struct ProcessMemory {
    arguments: Range<usize>,
    environment: Range<usize>,
    threads: usize,
}

impl ProcessMemory {
    fn read() -> io::Result<Self> {
        let stat = std::fs::read("/proc/self/stat")?;
        Self::parse(&stat).ok_or_else(|| io::Error::other("cannot parse /proc/self/stat"))
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The second field, the program's name, is in parentheses and may contain blanks and other
        // characters.
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self {
            arguments: field(48)?..field(49)?,
            environment: field(50)?..field(51)?,
            threads: field(20)?,
        })
    }

    fn check_single_thread(&self) -> io::Result<()> {
        match self.threads {
            1 => Ok(()),
            _ => Err(io::Error::other("other threads are already running")),
        }
    }
}

/// Overwrites with stars the ranges that `secrets` returns for each NUL-terminated string of
/// `region`.
fn overwrite(region: Range<usize>, mut secrets: impl FnMut(&[u8]) -> Vec<Range<usize>>) {
    if region.is_empty() || region.start == 0 {
        return;
    }
    let start = std::ptr::with_exposed_provenance_mut::<u8>(region.start);
    // SAFETY: according to the kernel, the arguments (environment) of this process are at these
    // addresses: writable bytes at the top of the stack, which stay mapped while the process lives.
    // The callers checked that this is the only thread, and nothing else reads them during the
    // loop.
    let strings = unsafe { std::slice::from_raw_parts_mut(start, region.len()) };
    for string in strings.split_mut(|byte| *byte == 0) {
        for range in secrets(string) {
            if let Some(bytes) = string.get_mut(range) {
                bytes.fill(b'*');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_found_behind_a_program_name_with_blanks_and_parentheses() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = format!("7 (a) b (c) S {}\n", numbers.join(" "));
        let memory = ProcessMemory::parse(stat.as_bytes()).unwrap();
        assert_eq!(memory.arguments, 48..49);
        assert_eq!(memory.environment, 50..51);
        assert_eq!(memory.threads, 20);
    }

    #[test]
    fn a_cut_stat_line_is_no_place_to_write_to() {
        assert!(ProcessMemory::parse(b"7 (a) S 1 2 3").is_none());
        assert!(ProcessMemory::parse(b"").is_none());
    }

    #[test]
    fn with_threads_running_nothing_is_overwritten_and_nothing_forks_or_is_closed() {
        // The test harness runs this in a separate thread.
        assert!(hide_arguments(|_| Vec::new()).is_err());
        assert!(fork().is_err());
        assert!(close_inherited_descriptors().is_err());
    }

    #[test]
    fn what_is_not_mounted_cannot_be_unmounted() {
        assert!(unmount(Path::new("/nonexistent"), false).is_err());
    }
}
