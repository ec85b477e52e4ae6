//! Completions in the real shells: bash, zsh and fish.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const FTPFS: &str = env!("CARGO_BIN_EXE_ftpfs");

/// Sources the completions, sets the variables of a completion as bash does, calls the function
/// that is registered for ftpfs, and prints the replies. Arguments: the script, the line, its
/// words.
const BASH: &str = r#"
. "$1"
COMP_LINE=$2 COMP_POINT=${#2}
shift 2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
registered=$(complete -p ftpfs)
[[ $registered =~ -F\ ([a-z_]+) ]] || exit 1
"${BASH_REMATCH[1]}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Types a line and Tab at a terminal, and writes the line that results to a file. Arguments: a
/// directory with the completions as `_ftpfs`, the file, the line.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell "zsh -f -i"
zpty -w shell "
fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -D -u
complete-and-print() { zle complete-word; print -r -- \"\$BUFFER\" >${(q)2}; exit }
zle -N complete-and-print; bindkey '^I' complete-and-print; print REA''DY"
zpty -r shell line '*READY*'
zpty -w -n shell "$3"$'\t'
while zpty -r shell line; do :; done
"#;

/// A directory with a few names, and the completions of a shell. One of the names is a running
/// mount in the table that the completions read.
struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new(shell: &str, script: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ftpfs-completions-")
            .tempdir()
            .unwrap();
        let root = directory.path();
        fs::create_dir(root.join("mounts")).unwrap();
        fs::create_dir(root.join("others")).unwrap();
        fs::create_dir(root.join("functions")).unwrap();
        fs::write(root.join("monday.pem"), "").unwrap();
        let settings = root.join("ftpfs");
        fs::create_dir(&settings).unwrap();
        let source = "[source.nautilus]\nurl = \"ftp://nas.example.org/\"\n";
        fs::write(settings.join("config"), source).unwrap();
        // Others must not be able to write them.
        for (path, mode) in [(settings.join("config"), 0o600), (settings, 0o700)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let output = Command::new(FTPFS)
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let completions = String::from_utf8(output.stdout).unwrap();
        assert!(completions.contains("/proc/self/mounts"));
        let table = root.join("table");
        let mounts = format!(
            "proc /proc proc rw 0 0\n\
             ftp://h/ {}/mounts fuse.ftpfs rw 0 0\n\
             ftp://h/ /srv/my\\040disk fuse.ftpfs rw 0 0\n\
             you@h: /srv/sshfs fuse.sshfs rw 0 0\n",
            root.canonicalize().unwrap().display()
        );
        fs::write(&table, mounts).unwrap();
        let completions = completions.replace("/proc/self/mounts", table.to_str().unwrap());
        fs::write(root.join(script), completions).unwrap();
        Self { directory }
    }

    /// Runs a shell here, without any user's settings, and returns what it prints.
    fn run(&self, arguments: &[&str]) -> String {
        let root = self.directory.path().canonicalize().unwrap();
        let mut path = Path::new(FTPFS).parent().unwrap().as_os_str().to_owned();
        path.push(":/usr/local/bin:/usr/bin:/bin");
        // A shell that waits for input is an error, not a wait.
        let output = Command::new("timeout")
            .arg("60")
            .args(arguments)
            .current_dir(&root)
            .env("PATH", &path)
            .env("HOME", &root)
            .env_remove("FTPFS_CONFIG")
            .env("XDG_CONFIG_HOME", &root)
            .env("XDG_DATA_HOME", &root)
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "dumb")
            .env_remove("ZDOTDIR")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        assert_eq!(errors, "", "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn bash_completes_options_values_subcommands_sources_and_mounts() {
    let desk = Desk::new("bash", "ftpfs.bash");
    // A bar is where bash begins a new word within a word: at = and :.
    for (typed, expected) in [
        ("ftpfs -o atom", vec!["atomic="]),
        ("ftpfs -oro,atom", vec!["-oro,atomic="]),
        ("ftpfs h|:| /mnt -o ro,tls", vec!["ro,tls", "ro,tls="]),
        (
            "ftpfs h|:| /mnt -o ro,atomic|=",
            vec!["auto", "never", "require"],
        ),
        ("ftpfs -o atomic|=|re", vec!["require"]),
        ("ftpfs -o port|=|21,atom", vec!["21,atomic="]),
        ("ftpfs -o cafile|=|mo", vec!["monday.pem", "mounts/"]),
        ("ftpfs -o spool|=|mo", vec!["mounts/"]),
        ("ftpfs -o uid|=|roo", vec!["root"]),
        ("ftpfs -o without|=|epsv+pipe", vec!["epsv+pipeline"]),
        ("ftpfs check h|:| -o atom", vec!["atomic="]),
        ("ftpfs sta", vec!["status"]),
        ("ftpfs nau", vec!["nautilus:"]),
        ("ftpfs check nau", vec!["nautilus:"]),
        ("ftpfs -o trust|=", vec!["first"]),
        ("ftpfs -o ro,tls|=|r", vec!["require"]),
        ("ftpfs -o log_level|=|o", vec!["off"]),
        ("ftpfs config show ", vec!["nautilus:"]),
        ("ftpfs status --pro", vec!["--prometheus"]),
        ("ftpfs umount mo", vec!["mounts"]),
        ("ftpfs umount ~/", vec!["~/mounts"]),
        ("ftpfs umount --wait /srv/", vec![r"/srv/my\ disk"]),
        ("ftpfs status /srv/", vec![r"/srv/my\ disk"]),
        ("ftpfs umount o", vec![]),
        ("ftpfs warmup mo", vec!["mounts"]),
        ("ftpfs h|:| mo", vec!["mounts"]),
        ("ftpfs limit m", vec!["mounts"]),
        ("ftpfs limit mounts ", vec!["down=", "up="]),
        ("ftpfs limit mounts down|=", vec!["off"]),
        ("ftpfs log m", vec!["mounts"]),
        ("ftpfs log mounts tr", vec!["trace"]),
        ("ftpfs man m", vec!["mount.ftpfs"]),
        ("ftpfs completions ", vec!["bash", "fish", "zsh"]),
    ] {
        let line = typed.replace('|', "");
        let words = typed.split([' ', '|']).filter(|word| !word.is_empty());
        let mut arguments = vec!["bash", "--norc", "-c", BASH, "bash", "./ftpfs.bash", &line];
        arguments.extend(words);
        if typed.ends_with(' ') {
            arguments.push("");
        }
        let replies = desk.run(&arguments);
        assert_eq!(sorted(&replies), expected, "{typed}");
    }
}

#[test]
fn zsh_completes_options_values_subcommands_sources_and_mounts() {
    let desk = Desk::new("zsh", "functions/_ftpfs");
    for (typed, completed) in [
        ("ftpfs -o atom", "ftpfs -o atomic="),
        ("ftpfs -oro,atom", "ftpfs -oro,atomic="),
        (
            "ftpfs h: /mnt -o ro,atomic=r",
            "ftpfs h: /mnt -o ro,atomic=require",
        ),
        ("ftpfs -o cafile=monday", "ftpfs -o cafile=monday.pem"),
        ("ftpfs -o uid=roo", "ftpfs -o uid=root"),
        (
            "ftpfs -o without=epsv+pipe",
            "ftpfs -o without=epsv+pipeline",
        ),
        ("ftpfs check h: -o atom", "ftpfs check h: -o atomic="),
        ("ftpfs sta", "ftpfs status"),
        ("ftpfs nau", "ftpfs nautilus:"),
        ("ftpfs -o ro nau", "ftpfs -o ro nautilus:"),
        ("ftpfs -o trust=", "ftpfs -o trust=first"),
        ("ftpfs -o ro,tls=", "ftpfs -o ro,tls=require"),
        ("ftpfs -o log_level=o", "ftpfs -o log_level=off"),
        ("ftpfs check nau", "ftpfs check nautilus:"),
        ("ftpfs config show n", "ftpfs config show nautilus:"),
        ("ftpfs status --pro", "ftpfs status --prometheus"),
        ("ftpfs umount m", "ftpfs umount mounts"),
        ("ftpfs umount ~/", "ftpfs umount ~/mounts"),
        (
            "ftpfs umount --wait /s",
            r"ftpfs umount --wait /srv/my\ disk",
        ),
        ("ftpfs status /s", r"ftpfs status /srv/my\ disk"),
        ("ftpfs umount o", "ftpfs umount o"),
        ("ftpfs limit m", "ftpfs limit mounts"),
        ("ftpfs limit mounts d", "ftpfs limit mounts down="),
        ("ftpfs limit mounts up=", "ftpfs limit mounts up=off"),
        ("ftpfs log m", "ftpfs log mounts"),
        ("ftpfs h: mou", "ftpfs h: mounts/"),
        ("ftpfs log mounts tra", "ftpfs log mounts trace"),
        ("ftpfs man m", "ftpfs man mount.ftpfs"),
    ] {
        let functions = desk.directory.path().join("functions");
        let line = desk.directory.path().join("line");
        let (functions, written) = (functions.to_str().unwrap(), line.to_str().unwrap());
        desk.run(&["zsh", "-f", "-c", ZSH, "zsh", functions, written, typed]);
        let text = fs::read_to_string(&line).unwrap();
        // A space, a comma or a plus shows that the word is complete.
        assert_eq!(
            text.trim_end_matches([' ', ',', '+', '\n']),
            completed,
            "{typed}"
        );
        fs::remove_file(&line).unwrap();
    }
}

#[test]
fn fish_completes_options_values_subcommands_sources_and_mounts() {
    let desk = Desk::new("fish", "ftpfs.fish");
    for (typed, expected) in [
        ("ftpfs -o atom", vec!["atomic="]),
        ("ftpfs -oro,atom", vec!["-oro,atomic="]),
        (
            "ftpfs h: /mnt -o ro,atomic=",
            vec!["ro,atomic=auto", "ro,atomic=never", "ro,atomic=require"],
        ),
        ("ftpfs -o cafile=mon", vec!["cafile=monday.pem"]),
        ("ftpfs -o spool=mo", vec!["spool=mounts/"]),
        ("ftpfs -o uid=roo", vec!["uid=root"]),
        ("ftpfs -o without=epsv+pipe", vec!["without=epsv+pipeline"]),
        ("ftpfs check h: -o atom", vec!["atomic="]),
        ("ftpfs stat", vec!["status"]),
        ("ftpfs nau", vec!["nautilus:"]),
        ("ftpfs check nau", vec!["nautilus:"]),
        ("ftpfs check h:mo", vec![]),
        ("ftpfs config check mon", vec!["monday.pem"]),
        ("ftpfs config show ", vec!["nautilus:"]),
        ("ftpfs -o trust=", vec!["trust=first"]),
        ("ftpfs -o ro,tls=", vec!["ro,tls=require"]),
        ("ftpfs -o log_level=o", vec!["log_level=off"]),
        ("ftpfs status --pro", vec!["--prometheus"]),
        ("ftpfs umount mo", vec!["mounts"]),
        ("ftpfs umount ~/", vec!["~/mounts"]),
        ("ftpfs umount --wait /srv/", vec!["/srv/my disk"]),
        ("ftpfs status /srv/", vec!["/srv/my disk"]),
        ("ftpfs umount oth", vec![]),
        ("ftpfs warmup mo", vec!["mounts/"]),
        ("ftpfs limit m", vec!["mounts"]),
        ("ftpfs limit mounts ", vec!["down=", "up="]),
        ("ftpfs log m", vec!["mounts"]),
        (
            "ftpfs log mounts ",
            vec!["debug", "error", "info", "off", "trace", "warn"],
        ),
        ("ftpfs man m", vec!["mount.ftpfs"]),
        ("ftpfs completions ", vec!["bash", "fish", "zsh"]),
    ] {
        let command = format!("source ftpfs.fish; complete -C '{typed}'");
        let printed = desk.run(&["fish", "--no-config", "-c", &command]);
        let words = printed.lines().map(|line| line.split('\t').next().unwrap());
        let words: Vec<&str> = words.collect();
        assert_eq!(sorted(&words.join("\n")), expected, "{typed}");
    }
}

/// With it, a user sees what an option does.
#[test]
fn fish_describes_the_options() {
    let desk = Desk::new("fish", "ftpfs.fish");
    let command = "source ftpfs.fish; complete -C 'ftpfs -o ro,write'";
    let printed = desk.run(&["fish", "--no-config", "-c", command]);
    assert!(
        printed.starts_with("ro,writeback\tReturn from close"),
        "{printed}"
    );
}
