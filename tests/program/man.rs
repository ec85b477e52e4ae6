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

/// A package gives the date of its source.
#[test]
fn a_page_has_a_date_if_the_build_gives_one() {
    let page = |epoch: Option<&str>| {
        let mut command = Command::new(FTPFS);
        command.arg("man").env_remove("SOURCE_DATE_EPOCH");
        command.envs(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch)));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let title = |page: &str| {
        page.lines()
            .find(|line| line.starts_with(".TH"))
            .unwrap()
            .to_owned()
    };
    assert!(title(&page(Some("1772236800"))).contains(" 2026-02-28 "));
    assert!(title(&page(None)).starts_with(".TH FTPFS 1 \"\" "));
}

/// What `mount.ftpfs` requires has no default.
#[test]
fn the_page_of_the_helper_names_no_default_for_what_is_required() {
    let page = |name| printed(FTPFS, &["man", name]).replace('\n', " ");
    assert!(!page("mount.ftpfs").contains("the configured one"));
    assert!(page("ftpfs").contains("the configured one"));
}

/// The synopsis names each flag of `ftpfs serve`.
#[test]
fn the_synopsis_of_serve_is_complete() {
    let page = printed(FTPFS, &["man"]).replace('\\', "");
    let (synopsis, _) = page.split_once(".SH DESCRIPTION").unwrap();
    let help = printed(FTPFS, &["serve", "--help"]);
    let flags = help
        .split_whitespace()
        .filter(|word| word.starts_with("--"));
    let flags: Vec<&str> = flags
        .map(|word| word.split(['=', '[', ',']).next().unwrap())
        .filter(|flag| *flag != "--help" && flag.len() > 2)
        .collect();
    assert!(flags.len() > 10, "{flags:?}");
    for flag in flags {
        assert!(synopsis.contains(flag), "{flag}");
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
    // A user who copies it has no file of root's to name.
    let text = fs::read_to_string(example).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    assert!(!lines.any(|line| line.contains("/etc/")), "{text}");
    // The tree may be one that a group can write, where ftpfs reads no configuration.
    fs::write(&copy, fs::read(example).unwrap()).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    let checked = printed(FTPFS, &["config", "check", copy.to_str().unwrap()]);
    assert_eq!(checked, "the configuration is correct\n");
}
