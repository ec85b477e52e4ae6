//! The examples for programs that use the FTP client.

use std::fs;
use std::process::{Command, Output};

use crate::support::{Kind, PASSWORD, TestServer, USER};

/// Runs an example with these arguments and the server's login.
fn run(example: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--example", example, "--"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("FTP_USER", USER)
        .env("FTP_PASSWORD", PASSWORD)
        .output()
        .unwrap()
}

#[test]
fn a_directory_is_listed_and_a_file_fetched() {
    let server = TestServer::start(Kind::Embedded);
    server.write("dir/letter.txt", "Dear captain\n");
    fs::create_dir(server.root().join("dir/more")).unwrap();
    let host = format!("127.0.0.1:{}", server.port());
    let listed = run("list_and_fetch", &[&host, "/dir"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("          13 letter.txt\n"), "{text}");
    assert!(text.contains(" more/\n"), "{text}");
    let fetched = run("list_and_fetch", &[&host, "/dir/letter.txt"]);
    assert_eq!(fetched.stdout, b"Dear captain\n");
    let missing = run("list_and_fetch", &[&host, "/dir/none"]);
    assert!(!missing.status.success());
}

#[test]
fn an_upload_goes_on_where_the_server_has_got_to() {
    let server = TestServer::start(Kind::Embedded);
    let local = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(local.path(), &content).unwrap();
    server.write("half", &content[..250_000]);
    server.hand_over();
    let host = format!("127.0.0.1:{}", server.port());
    let file = local.path().to_str().unwrap();
    for (path, said) in [
        ("/half", "sent 150000 bytes from 250000 on\n"),
        ("/new", "sent 400000 bytes from 0 on\n"),
    ] {
        let output = run("upload", &[file, &host, path]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
        assert_eq!(server.read(path.trim_start_matches('/')), content);
    }
}
