//! Every command of the pages for users runs as it is written, in the order of its page, on a
//! machine of its own: with the servers that the pages name, an /etc and a home directory.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// The first words of commands that a page shows and this test does not run, with the file that
/// does, or the reason why none can.
const ELSEWHERE: [(&str, &str); 17] = [
    ("scripts/demo", "scripts/test"),
    ("scripts/test", ".ci/run"),
    ("scripts/bench", "tests/program/bench.rs"),
    ("sudo scripts/resources", "tests/program/resources.rs"),
    ("sudo apt-get install", "scripts/roots-story"),
    ("sudo apt-get remove", "scripts/roots-story"),
    ("cargo install --path", "this one would change the machine"),
    ("sudo install -m 755", "this one would change the machine"),
    ("cargo uninstall", "this one would change the machine"),
    (
        "sudo systemctl enable",
        "no systemd runs here; scripts/test verifies the units",
    ),
    (
        "systemctl --user enable",
        "no systemd runs here; scripts/test verifies the units",
    ),
    (
        "systemctl status",
        "no systemd runs here; scripts/test verifies the units",
    ),
    (
        "sudo systemctl reload",
        "no systemd runs here; scripts/test verifies the units",
    ),
    ("ftpfs -o proxy=socks5h", "tests/stories/proxy.rs"),
    (
        "ftpfs web: /mnt/web -o allow_other",
        "the fstab lines of doc/recipes.md",
    ),
    (
        "docker run --rm -v /mnt:/mnt:rslave",
        "no engine for containers here",
    ),
    (
        "podman run --rm -v /mnt:/mnt:rslave",
        "no engine for containers here",
    ),
];

/// The machine of the pages. `$1` is ftpfs.
const MACHINE: &str = r#"
umount --all --lazy --types fuse.ftpfs 2>/dev/null || :
ip link set lo up
mkdir local && cp "$1" local/ftpfs
mount --bind local /usr/local/bin
for place in /mnt /run /var/lib /var/cache /var/backups; do mount -t tmpfs tmpfs "$place"; done
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cp -a /etc etc && chmod 700 etc && mount --bind etc /etc && chmod 755 /etc
printf '127.0.0.1 localhost ftp.example.org\n127.0.0.2 nas.example.org\n' > /etc/hosts
echo 'PRUNEFS="NFS nfs nfs4"' > /etc/updatedb.conf
: > /etc/fstab

# An authority that the machine trusts, with a certificate for the web host; one of its own for the NAS.
certificate() { openssl "$@" >> openssl.log 2>&1 || { cat openssl.log >&2; exit 1; }; }
key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
certificate req -x509 $key -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
certificate req $key -subj /CN=web -keyout web.key -out web.csr
echo 'subjectAltName=DNS:ftp.example.org' > names
certificate x509 -req -in web.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out web.pem
certificate req -x509 $key -days 2 -subj /CN=nas -addext subjectAltName=DNS:nas.example.org -keyout nas.key -out nas.pem
mkdir -p /etc/ssl/certs && cat ca.pem >> /etc/ssl/certs/ca-certificates.crt
# The authority is trusted by way of /etc here.
unset SSL_CERT_FILE SSL_CERT_DIR

mkdir -p served/pub served/photos served/volume1 && echo hello > served/pub/greeting
export FTPFS_CONFIG=none
serve() { FTPFS_PASSWORD=secret ftpfs serve served --user anna --listen "$@" & }
{
    serve 127.0.0.1:21 --tls=offered --tls-cert web.pem --tls-key web.key
    serve 127.0.0.1:990 --tls=implicit --tls-cert web.pem --tls-key web.key
    serve 127.0.0.1:2121 --tls=offered --tls-cert web.pem --tls-key web.key
    serve 127.0.0.2:21 --tls=offered --tls-cert nas.pem --tls-key nas.key
} > servers.log 2>&1
for server in 127.0.0.1/21 127.0.0.1/990 127.0.0.1/2121 127.0.0.2/21; do
    for _ in $(seq 400); do (exec 3<> "/dev/tcp/$server") 2>/dev/null && continue 2; sleep 0.05; done
    echo "no server at $server" >&2
    exit 1
done
unset FTPFS_CONFIG XDG_CONFIG_HOME XDG_STATE_HOME FTPFS_PASSWORD
mkdir home && cp nas.pem home/ && export HOME=$PWD/home && cd home
"#;

/// What the machine knows besides: a password that is not asked for, since there is no terminal.
const PASSWORD: &str = "export FTPFS_PASSWORD=secret\n";

/// The same, where a page needs passwords of files.
const NETRC: &str = "
for host in ftp nas; do echo \"machine $host.example.org login anna password secret\"; done > ~/.netrc
chmod 600 ~/.netrc
";

/// The file that README shows in fstab, and another page explains.
const SYSTEM_NETRC: &str = "cp ~/.netrc /etc/ftpfs.netrc\n";

/// Maximum time for a page in seconds.
const LIMIT: &str = "300";

/// A fenced block of a page.
struct Block {
    /// The line of its first fence, counted from 1.
    line: usize,
    /// The words after the fence.
    kind: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(kind), None) => {
                open = Some(Block {
                    line: index + 1,
                    kind: kind.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block does not end");
    blocks
}

fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("doc")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_name().unwrap().to_str().unwrap();
            pages.push(format!("doc/{name}"));
        }
    }
    pages.sort();
    pages
}

/// Returns the lines of a shell script that does what the page shows, or None if it shows no
/// command.
fn script(page: &str) -> Option<String> {
    let mut script = String::new();
    let mut has_commands = false;
    for Block { line, kind, text } in blocks(page) {
        let _ = writeln!(script, "echo '{page} line {line}' >&2");
        match kind.as_str() {
            "sh" => {
                has_commands = true;
                assert!(
                    !text.contains("> /etc/fstab"),
                    "{page} line {line} would overwrite the reader's file"
                );
                script.push_str(&text);
                // From here on, the file is the only place of the password.
                if text.contains(">> ~/.netrc") {
                    script.push_str("unset FTPFS_PASSWORD\n");
                }
            }
            "toml" => {
                let path = text.strip_prefix("# ").unwrap_or_default();
                let path = path.split([',', '\n']).next().unwrap();
                assert!(path.contains('/'), "{page} line {line}: which file is it?");
                let _ = writeln!(
                    script,
                    "mkdir -p \"$(dirname {path})\"\ncat > {path} <<'END'\n{text}END\nftpfs config check"
                );
            }
            "fstab" => {
                let _ = writeln!(script, "cat > /etc/fstab <<'END'\n{text}END");
                for line in text.lines().filter(|line| !line.starts_with('#')) {
                    let point = line.split_whitespace().nth(1).unwrap();
                    let _ = writeln!(
                        script,
                        "mkdir -p {point}\nmount {point}\nls {point}\numount {point}"
                    );
                }
            }
            "sh elsewhere" | "text" | "ini" => {}
            kind => panic!("{page} line {line}: a block of kind {kind:?}"),
        }
    }
    has_commands.then_some(script)
}

fn runs_as_written(page: &str) {
    let script = script(page).unwrap_or_else(|| panic!("{page} shows no commands"));
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secrets = match page {
        "README.md" => [NETRC, SYSTEM_NETRC].concat(),
        "doc/recipes.md" => NETRC.to_owned(),
        _ => PASSWORD.to_owned(),
    };
    let whole = format!(
        "{MACHINE}\n{secrets}\n{script}\nif grep -F fuse.ftpfs /proc/self/mounts >&2; then echo 'still mounted' >&2; exit 1; fi\n"
    );
    let output = Command::new("timeout")
        .args(["--kill-after=10", LIMIT, "unshare"])
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args([
            "--propagation",
            "private",
            "bash",
            "-euo",
            "pipefail",
            "-c",
            &whole,
        ])
        .args(["bash", FTPFS])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    let servers = fs::read_to_string(directory.path().join("servers.log")).unwrap_or_default();
    assert!(output.status.success(), "{words}\n{printed}\n{servers}");
}

#[test]
fn the_readme_runs_as_written() {
    runs_as_written("README.md");
}

#[test]
fn the_tutorial_runs_as_written() {
    runs_as_written("doc/tutorial.md");
}

#[test]
fn the_page_on_the_cache_runs_as_written() {
    runs_as_written("doc/cache.md");
}

#[test]
fn the_page_on_connecting_runs_as_written() {
    runs_as_written("doc/connecting.md");
}

#[test]
fn the_page_on_configuration_runs_as_written() {
    runs_as_written("doc/configuration.md");
}

#[test]
fn the_page_of_options_runs_as_written() {
    runs_as_written("doc/options.md");
}

#[test]
fn the_page_on_operating_runs_as_written() {
    runs_as_written("doc/operating.md");
}

#[test]
fn the_page_on_serving_runs_as_written() {
    runs_as_written("doc/serve.md");
}

#[test]
fn the_recipes_run_as_written() {
    runs_as_written("doc/recipes.md");
}

/// No page shows a command that no test runs.
#[test]
fn every_page_with_commands_is_run() {
    let run = [
        "README.md",
        "doc/cache.md",
        "doc/configuration.md",
        "doc/connecting.md",
        "doc/operating.md",
        "doc/options.md",
        "doc/recipes.md",
        "doc/serve.md",
        "doc/tutorial.md",
    ];
    let mut shown = BTreeSet::new();
    for page in pages() {
        let shows_commands = script(&page).is_some();
        assert_eq!(shows_commands, run.contains(&page.as_str()), "{page}");
        for block in blocks(&page) {
            if block.kind != "sh elsewhere" {
                continue;
            }
            for line in block.text.lines() {
                let known = ELSEWHERE.iter().find(|(words, _)| line.starts_with(words));
                let known = known.unwrap_or_else(|| panic!("{page} line {}: {line}", block.line));
                shown.insert(known.0);
            }
        }
    }
    for (words, _) in ELSEWHERE {
        assert!(shown.contains(words), "no page shows {words}");
    }
}

#[test]
fn what_runs_other_commands_is_there() {
    for (words, place) in ELSEWHERE {
        assert!(
            place.contains(' ') || root().join(place).exists(),
            "{words}: {place}"
        );
    }
}

/// README shows a part of the measured table.
#[test]
fn the_comparison_in_the_readme_is_the_measured_one() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let comparison = fs::read_to_string(root().join("doc/comparison.md")).unwrap();
    let between = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("<!-- {name} -->")).unwrap();
        let (inside, _) = rest.split_once(&format!("<!-- /{name} -->")).unwrap();
        let rows = inside.lines().filter(|line| line.starts_with("| "));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    let measured = between(&comparison, "day");
    let shown = between(&readme, "day-summary");
    assert!(shown.len() > 5, "{shown:?}");
    for row in shown {
        assert!(measured.contains(&row), "{row}");
    }
}

/// Messages of the kernel and the C library, which programs on a mount show.
const OF_THE_SYSTEM: [&str; 9] = [
    "Transport endpoint is not connected",
    "Connection refused",
    "Device or resource busy",
    "Permission denied",
    "Stale file handle",
    "No space left on device",
    "Operation not permitted",
    "Connection timed out",
    "line",
];

/// Each message of the page on troubleshooting is one that ftpfs has.
#[test]
fn every_message_that_is_explained_exists() {
    let sources = sources(&root().join("src"));
    // Rust wraps long texts with a backslash at the end of the line.
    let sources = sources.replace("\\\n", " ");
    let sources: Vec<&str> = sources.split_whitespace().collect();
    let sources = sources.join(" ").replace("{DEVICE}", "/dev/fuse");
    let page = fs::read_to_string(root().join("doc/troubleshooting.md")).unwrap();
    let mut explained = 0;
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let message = row.split(" | ").next().unwrap();
        for part in message
            .split('`')
            .skip(1)
            .step_by(2)
            .flat_map(|text| text.split('…'))
        {
            let part = part.trim_matches([' ', ',', ':']);
            if part.is_empty() || OF_THE_SYSTEM.contains(&part) || part.starts_with(['[', '-']) {
                continue;
            }
            explained += 1;
            let is_tool = ["chown", "rsync -a", "tar x"].contains(&part) || part == "timeout";
            assert!(is_tool || sources.contains(part), "no such message: {part}");
        }
    }
    assert!(explained > 30, "{explained}");
}

/// Returns the text of all files below `directory`.
fn sources(directory: &Path) -> String {
    let entries = fs::read_dir(directory).unwrap();
    let texts = entries.map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path)
        } else {
            fs::read_to_string(path).unwrap()
        }
    });
    texts.collect()
}

/// Links between the pages lead to files and headings that exist.
#[test]
fn every_link_leads_somewhere() {
    for page in pages()
        .iter()
        .map(String::as_str)
        .chain(["CONTRIBUTING.md"])
    {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let place = root().join(page);
            let target = if file.is_empty() {
                place
            } else {
                place.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{page}: {link}");
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let headings = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(anchor);
                assert!(
                    headings.into_iter().any(|known| known == heading),
                    "{page}: {link}"
                );
            }
        }
    }
}

/// Returns the anchor of a heading, as GitHub derives it.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let words = words.replace(' ', "-");
    words
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_')
        .collect()
}
