//! Whole trees transferred with lftp, and access by Python's ftplib.

use std::path::Path;
use std::process::Command;

use crate::client::{Served, names, pattern};

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn make_tree(root: &Path) {
    std::fs::create_dir_all(root.join("a dir/inner")).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::write(root.join("large"), pattern(3_000_000)).unwrap();
    std::fs::write(root.join("a dir/größe \"x\""), "odd").unwrap();
    for number in 0..50 {
        std::fs::write(
            root.join(format!("a dir/inner/{number}")),
            number.to_string(),
        )
        .unwrap();
    }
}

fn same_trees(left: &Path, right: &Path) {
    run(
        "diff",
        &[
            "--recursive",
            left.to_str().unwrap(),
            right.to_str().unwrap(),
        ],
    );
    assert_eq!(names(left), names(right));
}

#[test]
fn lftp_mirrors_a_tree_down_and_up() {
    for served in Served::on_both_families() {
        make_tree(&served.path(""));
        let copy = served.outside("copy");
        let port = served.server.address().port().to_string();
        let host = served.server.address().ip().to_string();
        let open = format!("set cmd:fail-exit yes; set net:max-retries 2; open -p {port} {host}");
        let down = format!("{open}; mirror --parallel=3 / {}", copy.display());
        run("lftp", &["--norc", "-c", &down]);
        same_trees(&served.path(""), &copy);
        let up = format!(
            "{open}; mirror --reverse --parallel=3 {} /again",
            copy.display()
        );
        run("lftp", &["--norc", "-c", &up]);
        same_trees(&served.path("again"), &copy);
        run(
            "lftp",
            &[
                "--norc",
                "-c",
                &format!("{open}; rm -r /again; mv large moved; chmod 600 moved"),
            ],
        );
        assert_eq!(names(&served.path("")), ["a dir", "empty", "moved"]);
    }
}

const PYTHON: &str = r#"
import ftplib, io, sys
ftp = ftplib.FTP(encoding="utf-8")
ftp.connect(sys.argv[1], int(sys.argv[2]), timeout=20)
ftp.login()
ftp.set_pasv(True)
assert ftp.pwd() == "/"
assert ftp.mkd('di"r') == '/di"r', "quotes"
ftp.cwd('di"r')
ftp.storbinary("STOR größe", io.BytesIO(b"x" * 100000))
assert ftp.size("größe") == 100000
got = io.BytesIO()
ftp.retrbinary("RETR größe", got.write, rest=99990)
assert got.getvalue() == b"x" * 10
facts = dict(ftp.mlsd(facts=["type", "size", "modify"]))
assert facts["größe"]["size"] == "100000", facts
assert facts["größe"]["type"] == "file", facts
assert ftp.nlst() == ["größe"]
lines = []
ftp.retrlines("LIST", lines.append)
assert len(lines) == 1 and lines[0].endswith(" größe"), lines
ftp.rename("größe", "b")
data, size = ftp.ntransfercmd("RETR b")
assert size == 100000 or size is None, size
data.recv(10)
data.close()
try:
    ftp.voidresp()
except ftplib.error_temp:
    pass
data = ftp.transfercmd("STOR part")
data.sendall(b"part")
ftp.abort()
data.close()
ftp.voidresp()
ftp.delete("part")
ftp.delete("b")
ftp.cwd("..")
ftp.rmd('di"r')
try:
    ftp.cwd("missing")
except ftplib.error_perm as error:
    assert "No such file" in str(error), error
else:
    raise AssertionError("a missing directory was entered")
ftp.quit()
"#;

#[test]
fn pythons_ftplib_does_all_it_can() {
    for served in Served::on_both_families() {
        let address = served.server.address();
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        run("python3", &["-c", PYTHON, &host, &port]);
        assert!(names(&served.path("")).is_empty());
    }
}
