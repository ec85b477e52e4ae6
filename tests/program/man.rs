//! The manual pages, as man-db, groff and mandoc read them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

const PAGES: [(&str, &str, &str); 3] = [
    ("ftpfs", "1", "mount an FTP server as a local directory"),
    ("mount.ftpfs", "8", "mount an FTP server for mount(8)"),
    ("ftpfs.conf", "5", "sources and options of ftpfs"),
];

/// Runs a command and returns all that it prints.
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env("MANROFFSEQ", "")
        .env("MANWIDTH", "80")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {output:?}");
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn each_page_is_read_without_a_warning_and_found_by_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    for (name, section, about) in PAGES {
        let path = directory.path().join(format!("{name}.{section}"));
        fs::write(&path, printed(FTPFS, &["man", name])).unwrap();
        let path = path.to_str().unwrap();
        let formatted = ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path];
        let output = Command::new("man")
            .args(formatted)
            .env("LC_ALL", "C.UTF-8")
            .env("MANROFFSEQ", "")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
        assert!(output.status.success(), "{name}");
        let groff = Command::new("groff")
            .args(["-ww", "-man", "-Tutf8", path])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&groff.stderr), "", "{name}");
        let whatis = printed("lexgrog", &[path]);
        assert!(whatis.contains(&format!("{name} - {about}")), "{whatis}");
        // A date would make each build another one.
        let lint = Command::new("mandoc")
            .args(["-Tlint", "-Wwarning", path])
            .output()
            .unwrap();
        let lint = String::from_utf8(lint.stdout).unwrap();
        let others = lint.lines().filter(|line| !line.contains("missing date"));
        assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn the_page_of_the_program_is_the_default() {
    assert_eq!(printed(FTPFS, &["man"]), printed(FTPFS, &["man", "ftpfs"]));
}

/// ftpfs.conf(5) shows it, and the package has it.
#[test]
fn the_example_of_a_configuration_is_correct() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("ftpfs.conf");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/examples/ftpfs.conf");
    // The tree may be one that a group can write, where ftpfs reads no configuration.
    fs::write(&copy, fs::read(example).unwrap()).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    let checked = printed(FTPFS, &["config", "check", copy.to_str().unwrap()]);
    assert_eq!(checked, "the configuration is correct\n");
}
