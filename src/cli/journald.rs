//! systemd's journal, by its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): one datagram of fields per record.

use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use log::{Log, Metadata, Record};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};

use super::log_fields::LogFields;
use super::syslog::{FACILITY, severity};

/// The journal's socket.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// The environment variable that names the device and the inode of a stream to the journal
/// (systemd.exec(5)).
const STREAM_VARIABLE: &str = "JOURNAL_STREAM";

/// Sends the records of one mount to the journal.
#[derive(Debug)]
pub(super) struct JournaldLog {
    socket: UnixDatagram,
    /// The journal's socket.
    journal: PathBuf,
    /// The fields that are the same in each record.
    constant: Vec<u8>,
}

impl JournaldLog {
    /// Opens the journal for the records of the mount at `mountpoint`. Returns `None` if there is
    /// no journal.
    ///
    /// # Errors
    /// There is no free descriptor.
    pub(super) fn open(mountpoint: Option<&Path>) -> io::Result<Option<Self>> {
        Self::open_at(Path::new(JOURNAL_SOCKET), mountpoint)
    }

    fn open_at(journal: &Path, mountpoint: Option<&Path>) -> io::Result<Option<Self>> {
        let socket = UnixDatagram::unbound()?;
        // If the journal is stuck, records are lost, because logging must not block.
        socket.set_nonblocking(true)?;
        // The journal ignores an empty datagram.
        match socket.send_to(&[], journal) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Ok(None),
            Ok(_) | Err(_) => {}
        }
        let mut constant = Vec::new();
        add(&mut constant, "SYSLOG_IDENTIFIER", b"ftpfs");
        add(
            &mut constant,
            "SYSLOG_FACILITY",
            FACILITY.to_string().as_bytes(),
        );
        if let Some(mountpoint) = mountpoint {
            add(
                &mut constant,
                "FTPFS_MOUNT",
                mountpoint.as_os_str().as_bytes(),
            );
        }
        Ok(Some(Self {
            socket,
            journal: journal.to_owned(),
            constant,
        }))
    }

    fn payload(&self, record: &Record<'_>) -> Vec<u8> {
        let mut payload = self.constant.clone();
        let priority = severity(record.level()).to_string();
        add(&mut payload, "PRIORITY", priority.as_bytes());
        let fields = LogFields::of(record);
        if let Some(path) = fields.path {
            add(&mut payload, "FTPFS_PATH", path.as_bytes());
        }
        if let Some(reply) = fields.reply {
            add(&mut payload, "FTPFS_REPLY", reply.as_bytes());
        }
        add(
            &mut payload,
            "MESSAGE",
            record.args().to_string().as_bytes(),
        );
        payload
    }

    fn send(&self, payload: &[u8]) -> io::Result<()> {
        match self.socket.send_to(payload, &self.journal) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => self.send_file(payload),
            outcome => outcome.map(drop),
        }
    }

    /// Sends a record that is too large for a datagram, as a sealed file in memory.
    fn send_file(&self, payload: &[u8]) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("ftpfs-log", flags)?);
        file.write_all(payload)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(&file, seals)?;
        let descriptors = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        message.push(SendAncillaryMessage::ScmRights(&descriptors));
        let to = SocketAddrUnix::new(&self.journal)?;
        sendmsg_addr(&self.socket, &to, &[], &mut message, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Log for JournaldLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // There is no other place to report a journal that is stuck or gone.
        let _ = self.send(&self.payload(record));
    }

    fn flush(&self) {}
}

/// Whether the standard error is connected to the journal.
pub(super) fn has_standard_error() -> bool {
    let stream = std::env::var(STREAM_VARIABLE).ok();
    let names = |stream: &str| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    };
    let actual = fstat(io::stderr()).map(|stat| (stat.st_dev, stat.st_ino));
    actual.is_ok_and(|actual| stream.as_deref().and_then(names) == Some(actual))
}

/// Adds a field. A value with a line break has its length before it, and no end mark.
fn add(payload: &mut Vec<u8>, name: &str, value: &[u8]) {
    payload.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        payload.push(b'\n');
        payload.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        payload.push(b'=');
    }
    payload.extend_from_slice(value);
    payload.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use log::Level;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// Returns a journal, the log that writes to it, and the directory of its socket.
    fn journal(mountpoint: &str) -> (UnixDatagram, JournaldLog, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let patience = Duration::from_secs(20);
        journal.set_read_timeout(Some(patience)).unwrap();
        let log = JournaldLog::open_at(&path, Some(Path::new(mountpoint))).unwrap();
        assert_eq!(journal.recv(&mut []).unwrap(), 0);
        (journal, log.unwrap(), directory)
    }

    #[test]
    fn a_record_that_is_too_large_for_a_datagram_arrives_in_a_file() {
        let (journal, log, _directory) = journal("/mnt/x");
        let text = "x".repeat(4 << 20);
        let mut record = Record::builder();
        record.level(Level::Warn);
        log.log(&record.args(format_args!("{text}")).build());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut received = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&journal, &mut [], &mut received, RecvFlags::empty()).unwrap();
        let message = received.drain().next();
        let Some(RecvAncillaryMessage::ScmRights(mut descriptors)) = message else {
            panic!("no descriptor");
        };
        let mut file = File::from(descriptors.next().unwrap());
        assert!(
            file.write_all(b"more").is_err(),
            "the journal requires seals"
        );
        let mut payload = String::new();
        std::io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut payload).unwrap();
        assert!(payload.contains("PRIORITY=4\n") && payload.contains("FTPFS_MOUNT=/mnt/x\n"));
        assert!(payload.ends_with(&format!("MESSAGE={text}\n")));
    }

    #[test]
    fn a_journal_that_reads_nothing_does_not_block() {
        let (_journal, log, _directory) = journal("/mnt/x");
        for _ in 0..10_000 {
            log.log(&Record::builder().args(format_args!("lost")).build());
        }
    }

    #[test]
    fn without_a_journal_there_is_no_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert!(JournaldLog::open_at(&path, None).unwrap().is_none());
        // A journal that has ended leaves its socket.
        drop(UnixDatagram::bind(&path).unwrap());
        assert!(JournaldLog::open_at(&path, None).unwrap().is_none());
    }

    #[test]
    fn a_value_with_a_line_break_cannot_begin_another_field() {
        let mut payload = Vec::new();
        add(&mut payload, "MESSAGE", b"one\nPRIORITY=0");
        add(&mut payload, "FTPFS_MOUNT", b"/mnt/\xff=");
        assert_eq!(
            payload,
            b"MESSAGE\n\x0e\0\0\0\0\0\0\0one\nPRIORITY=0\nFTPFS_MOUNT=/mnt/\xff=\n"
        );
    }
}
