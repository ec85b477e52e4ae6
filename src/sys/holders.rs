//! Which process a request comes from, and whether a process has a file open (proc(5)).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Mask of the access mode in the flags of a descriptor (fcntl(2)).
const ACCESS_MODE: u32 = 0o3;

/// Returns the process of the thread with this number, or `None` if it has ended or is in another
/// PID namespace.
pub(crate) fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{thread}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    process.trim().parse().ok()
}

/// Whether `process` exists.
pub(crate) fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// Whether `process` has a descriptor that may write the file with this `name` and inode number.
/// Does not touch the file itself. False if this process may not look at it, as root without
/// capabilities may not look at root's other processes.
///
/// The kernel answers only after an execve(2) of that process has closed what it should close: do
/// not ask about a process that waits for the caller in a close.
pub(crate) fn may_still_write(process: u32, name: &[u8], inode: u64) -> bool {
    let process = Path::new("/proc").join(process.to_string());
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors.filter_map(Result::ok).any(|descriptor| {
        let is_named = fs::read_link(descriptor.path())
            .is_ok_and(|target| target.file_name() == Some(OsStr::from_bytes(name)));
        is_named
            && fs::read(process.join("fdinfo").join(descriptor.file_name()))
                .is_ok_and(|about| is_writer(&String::from_utf8_lossy(&about), inode))
    })
}

/// Whether `about`, the contents of a file in `fdinfo`, describes a descriptor that may write the
/// file with this inode number.
fn is_writer(about: &str, inode: u64) -> bool {
    let value = |name: &str| {
        let mut lines = about.lines();
        lines.find_map(|line| line.strip_prefix(name).map(str::trim))
    };
    let flags = value("flags:").and_then(|flags| u32::from_str_radix(flags, 8).ok());
    let may_write = flags.is_some_and(|flags| flags & ACCESS_MODE != 0);
    // The kernel of a 32-bit machine folds the number.
    let shown = [inode, (inode & 0xffff_ffff) ^ (inode >> 32)];
    may_write
        && value("ino:")
            .and_then(|ino| ino.parse().ok())
            .is_some_and(|ino: u64| shown.contains(&ino))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_thread_belongs_to_its_process() {
        let own = std::process::id();
        let thread = std::thread::spawn(|| rustix::thread::gettid().as_raw_pid());
        let other = thread.join().unwrap().cast_unsigned();
        assert_eq!(process_of(own), Some(own));
        assert_ne!(other, own);
        assert_eq!(process_of(u32::MAX), None);
        assert!(is_alive(own) && !is_alive(u32::MAX));
        let current = rustix::thread::gettid().as_raw_pid().cast_unsigned();
        assert_eq!(process_of(current), Some(own));
    }

    #[test]
    fn a_writer_is_found_until_it_closes_and_a_reader_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a \n name");
        let writer = fs::File::create(&path).unwrap();
        let inode = writer.metadata().unwrap().ino();
        let own = std::process::id();
        assert!(may_still_write(own, b"a \n name", inode));
        assert!(!may_still_write(own, b"a \n name", inode + 1));
        assert!(!may_still_write(own, b"another", inode));
        assert!(!may_still_write(u32::MAX, b"a \n name", inode));
        let again = writer.try_clone().unwrap();
        drop(writer);
        assert!(may_still_write(own, b"a \n name", inode));
        let _reader = fs::File::open(&path).unwrap();
        drop(again);
        assert!(!may_still_write(own, b"a \n name", inode));
    }

    #[test]
    fn what_fdinfo_says_is_read_with_or_without_an_inode_number() {
        assert!(is_writer(
            "pos:\t0\nflags:\t0100001\nmnt_id:\t29\nino:\t7\n",
            7
        ));
        assert!(is_writer("pos:\t0\nflags:\t02\nino:\t7\n", 7));
        let (flags, number) = ("flags:\t02\n", 0x0010_0001_0000_0002);
        for (shown, is_it) in [(number, true), (0x0010_0003, true), (2, false)] {
            assert_eq!(is_writer(&format!("{flags}ino:\t{shown}\n"), number), is_it);
        }
        assert!(!is_writer("pos:\t0\nflags:\t0100000\nino:\t7\n", 7));
        assert!(!is_writer("pos:\t0\nflags:\t0100001\n", 7));
        assert!(!is_writer("", 7));
    }
}
