//! `ftpfs demo`: mounts a sample tree of the embedded server.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;

use clap::ArgMatches;

use super::logging::{self, LogOptions};
use super::settings::Settings;
use super::{Failure, build, command, sample_tree};
use crate::credentials::{Credentials, CredentialsOrigin};
use crate::ftp::Password;
use crate::mount::{self, LocalPaths, Mount, Mountpoint, Privileged};
use crate::server::{Access, Server, ServerOptions};
use crate::source::{Scheme, Source, StartPath};
use crate::sys::Signals;

const USER: &str = "demo";

/// Environment variables for COMMAND: the mounted directory, and the same directory on the server's
/// side.
const MOUNTPOINT_VARIABLE: &str = "FTPFS_DEMO_MOUNTPOINT";
const SERVED_VARIABLE: &str = "FTPFS_DEMO_SERVED";

/// Serves and mounts until a signal arrives, the mount is unmounted or COMMAND has ended.
///
/// # Errors
/// As for a mount. Everything created for the demo is removed.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let signals = Signals::block()?;
    let options = Settings::default();
    logging::start(LogOptions::at_terminal(options.log_level))?;
    let tree = tempfile::Builder::new()
        .prefix("ftpfs-demo-served-")
        .tempdir()?;
    sample_tree::create(tree.path())?;
    let password = random_password()?;
    let server = Server::start(server_options(tree.path(), &password))
        .map_err(|error| format!("cannot serve the sample tree: {error}"))?;
    let place = DemoPlace::new(matches.get_one::<PathBuf>(command::MOUNTPOINT))?;
    let mountpoint = Mountpoint::check(&place.path, false)?;
    let source = source(server.address());
    let url = source.shown.clone();
    let login = Credentials {
        user: USER.to_owned(),
        password: Password::new(password.as_str()),
        account: String::new(),
        origin: CredentialsOrigin::Given,
    };
    let kernel = build::kernel(&source.shown, &options, false);
    mount::check(&mountpoint, &kernel, &LocalPaths::default())?;
    let to_mount = build::mount(source, &options, login, None, kernel, None)?;
    // This thread keeps its privileges, because COMMAND is the user's own program.
    let mount = Mount::start(&mountpoint, to_mount, signals, Privileged::start()?)?;
    if let Some(words) = matches.get_many::<OsString>(command::COMMAND) {
        return run_command(mount, mountpoint.path(), tree.path(), words.collect());
    }
    explain(mountpoint.path(), tree.path(), &password, &url)?;
    mount.wait()?;
    Ok(ExitCode::SUCCESS)
}

fn server_options(root: &Path, password: &str) -> ServerOptions {
    let access = Access::Account {
        user: USER.to_owned(),
        password: password.to_owned(),
    };
    ServerOptions {
        digests: true,
        ..ServerOptions::new(root, access)
    }
}

fn source(address: SocketAddr) -> Source {
    Source {
        scheme: Scheme::Plain,
        host: address.ip().to_string(),
        port: Some(address.port()),
        user: Some(USER.to_owned()),
        password: None,
        path: StartPath::Absolute(b"/".to_vec()),
        shown: format!("ftp://{USER}@{address}/"),
    }
}

/// Other users of this machine can reach the demo's server, so it needs a password.
fn random_password() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// The mountpoint, which is removed at the end if it was created for the demo.
struct DemoPlace {
    path: PathBuf,
    made: bool,
}

impl DemoPlace {
    fn new(wanted: Option<&PathBuf>) -> io::Result<Self> {
        match wanted {
            Some(path) => Ok(Self {
                path: path.clone(),
                made: false,
            }),
            None => Ok(Self {
                path: tempfile::Builder::new()
                    .prefix("ftpfs-demo-")
                    .tempdir()?
                    .keep(),
                made: true,
            }),
        }
    }
}

impl Drop for DemoPlace {
    fn drop(&mut self) {
        // Does not remove the contents: if it is still mounted, those are the server's files.
        if self.made
            && let Err(error) = fs::remove_dir(&self.path)
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn explain(mountpoint: &Path, served: &Path, password: &str, url: &str) -> io::Result<()> {
    let place = mountpoint.display();
    let mut output = io::stdout();
    writeln!(
        output,
        "An FTP server with a sample tree is mounted at {place}\n\
         (on the server's side it is {served}).\n\n\
         In another terminal, try:\n\
         \x20 cd {place} && cat README.txt\n\
         \x20 ls -lR\n\
         \x20 grep -r boat .\n\
         \x20 cp data/noise.bin copy.bin && cmp copy.bin {served}/data/noise.bin\n\
         \x20 sed -i s/six/seven/ letters/reply.txt\n\n\
         Or mount it elsewhere, as any other server:\n\
         \x20 FTPFS_PASSWORD={password} ftpfs {url} DIRECTORY\n\n\
         Ctrl-C here unmounts it and cleans up.",
        served = served.display(),
    )?;
    output.flush()
}

/// Runs the command in parallel to the mount, which ends with it.
fn run_command(
    mount: Mount,
    mountpoint: &Path,
    served: &Path,
    words: Vec<&OsString>,
) -> Result<ExitCode, Failure> {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().ok_or("COMMAND is missing")?);
    command
        .args(words)
        .current_dir(mountpoint)
        .env(MOUNTPOINT_VARIABLE, mountpoint)
        .env(SERVED_VARIABLE, served);
    let stopper = mount.stopper();
    let running = thread::spawn(move || {
        let status = command.status();
        stopper.stop();
        status
    });
    mount.wait()?;
    let status = running
        .join()
        .map_err(|_| "the thread that ran COMMAND panicked")?;
    let status = status.map_err(|error| format!("cannot run COMMAND: {error}"))?;
    Ok(exit_code(status))
}

/// Converts the status of a command that was ended by a signal as shells do.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
