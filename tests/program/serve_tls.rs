//! `ftpfs serve --tls`: a server that a mount trusts by the option it prints, or by given files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::{Mount, run_with};
use tempfile::TempDir;

const PASSWORD: &str = "of-serve";

/// A running `ftpfs serve`; it is stopped on drop.
struct Serve {
    program: Child,
    output: BufReader<ChildStdout>,
    url: String,
    directory: TempDir,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
    command.arg("serve").args(arguments);
    command.env("FTPFS_PASSWORD", PASSWORD).stdin(Stdio::null());
    command
}

impl Serve {
    /// Starts the server, with files of `scripts/ftpd certificates` next to its root for use in
    /// `arguments`.
    fn start(arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ftpd");
        run_with(
            script,
            &["certificates".as_ref(), directory.path().as_os_str()],
        );
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        let arguments = arguments(directory.path());
        let root = root.to_str().unwrap();
        let mut words = vec![root, "--user", "joe", "--listen", "127.0.0.1:0"];
        words.extend(arguments.iter().map(String::as_str));
        let mut program = command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        let mut url = String::new();
        output.read_line(&mut url).unwrap();
        Self {
            program,
            output,
            url: url.trim_end().to_owned(),
            directory,
        }
    }

    /// Returns the option that the server prints for a self-made certificate.
    fn told_option(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let (_, option) = line.trim_end().split_once(" -o ").expect(&line);
        option.to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Stores a file through a mount with these options.
    fn stores(&self, options: &[&str]) {
        let mount = Mount::of_url(&self.url, PASSWORD, options);
        fs::write(mount.join("file"), "stored").unwrap();
        mount.unmount();
        assert_eq!(fs::read(self.file("root/file")).unwrap(), b"stored");
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn a_certificate_made_on_the_spot_is_trusted_by_the_words_printed() {
    for (tls, scheme) in [
        ("--tls", "ftpes://joe@127.0.0.1:"),
        ("--tls=offered", "ftpes://joe@127.0.0.1:"),
        ("--tls=implicit", "ftps://joe@127.0.0.1:"),
    ] {
        let mut serve = Serve::start(|_| vec![tls.into(), "--tls-reuse".into()]);
        assert!(serve.url.starts_with(scheme), "{}", serve.url);
        let option = serve.told_option();
        assert!(option.starts_with("fingerprint=sha256:"), "{option}");
        serve.stores(&[&option]);
    }
}

#[test]
fn a_certificate_from_files_is_trusted_by_its_authority_and_a_client_by_its_own() {
    let serve = Serve::start(|files| {
        let file = |name: &str| files.join(name).to_str().unwrap().to_owned();
        vec![
            "--tls".into(),
            "--tls-cert".into(),
            file("server.pem"),
            "--tls-key".into(),
            file("server.key"),
            "--tls-client-ca".into(),
            file("ca.pem"),
        ]
    });
    let option = |name, file| format!("{name}={}", serve.file(file).display());
    serve.stores(&[
        &option("cafile", "ca.pem"),
        &option("cert", "client.pem"),
        &option("key", "client.key"),
    ]);
}

#[test]
fn what_makes_no_sense_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let base = [path, "--user", "joe", "--listen", "127.0.0.1:0"];
    for (arguments, words) in [
        (&["--tls-reuse"][..], "--tls"),
        (&["--tls", "--tls-cert", "x"], "--tls-key"),
        (&["--tls=maybe"], "required, offered, implicit"),
        (
            &["--tls", "--tls-cert", "/none.pem", "--tls-key", "/none.key"],
            "/none.pem: No such file",
        ),
        (&["--tls", "--tls-client-ca", "/none.pem"], "/none.pem: "),
    ] {
        let output = command(&[&base, arguments].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
