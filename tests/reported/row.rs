//! A row of the table, and the code that runs a group of rows.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;

use crate::support::{Answer, FileTree, Mount, Quirks, QuirkyServer, Step};

/// Number of rows that run in parallel.
const ABREAST: usize = 6;

/// What a row does with its mount.
type Story = Box<dyn Fn(&Mounted) + Send>;

/// A server with its quirks and its files, and what a user does on a mount of it.
pub(crate) struct Row {
    name: String,
    quirks: Quirks,
    holds: fn(&mut FileTree),
    options: Vec<&'static str>,
    path: &'static str,
    story: Story,
}

/// Returns a row without mount options, on a server that holds `/docs/a.txt`, `/docs/b.txt` and an
/// empty `/empty`.
pub(crate) fn row(
    name: impl Into<String>,
    quirks: Quirks,
    story: impl Fn(&Mounted) + Send + 'static,
) -> Row {
    Row {
        name: name.into(),
        quirks,
        holds: |tree| {
            tree.file("/docs/a.txt", "alpha\n");
            tree.file("/docs/b.txt", "beta\n");
            tree.directory("/empty");
        },
        options: Vec::new(),
        path: "",
        story: Box::new(story),
    }
}

impl Row {
    /// Replaces the files that the server holds.
    pub(crate) fn holding(mut self, holds: fn(&mut FileTree)) -> Self {
        self.holds = holds;
        self
    }

    /// Sets the mount options.
    pub(crate) fn with(mut self, options: &[&'static str]) -> Self {
        self.options.extend(options);
        self
    }

    /// Sets the path on the server that is mounted, as written in the URL.
    pub(crate) fn at(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    fn run(&self) {
        let server = QuirkyServer::start(self.quirks.clone());
        (self.holds)(&mut server.tree());
        let url = format!("{}{}", server.url(), self.path);
        let mount = Mount::of_url(&url, "secret", &self.options);
        (self.story)(&Mounted { mount, server });
    }
}

/// A mounted server.
pub(crate) struct Mounted {
    pub(crate) mount: Mount,
    // Last, so that it outlives the mount.
    pub(crate) server: QuirkyServer,
}

impl Mounted {
    /// Runs a bash script in the mountpoint, asserts that it succeeds, and returns its output.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> String {
        let output = self.bash(script);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{script}\n{}: {said}",
            output.status
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a bash script and asserts that it fails with these words on its standard error.
    #[track_caller]
    pub(crate) fn fails(&self, script: &str, words: &str) {
        let output = self.bash(script);
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            !output.status.success(),
            "{script}\nsucceeds and prints {printed:?}"
        );
        assert!(
            said.contains(words),
            "{script}\nsays {said:?} instead of {words:?}"
        );
    }

    /// Asserts the output of `ls -A`, with names separated by blanks.
    #[track_caller]
    pub(crate) fn lists(&self, directory: &str, names: &str) {
        let printed = self.run(&format!("ls -A -- '{directory}'"));
        assert_eq!(
            printed.lines().collect::<Vec<_>>().join(" "),
            names,
            "ls {directory}"
        );
    }

    /// Asserts the content of a file on the server.
    #[track_caller]
    pub(crate) fn holds(&self, path: &str, text: &str) {
        assert_eq!(
            self.server.tree().text(path).as_deref(),
            Some(text),
            "{path} on the server"
        );
    }

    /// Asserts the names in a directory on the server, separated by blanks.
    #[track_caller]
    pub(crate) fn names(&self, path: &str, names: &str) {
        assert_eq!(
            self.server.tree().names(path).join(" "),
            names,
            "{path} on the server"
        );
    }

    fn bash(&self, script: &str) -> Output {
        let mut command = Command::new("bash");
        // The builtin does not report the result of close(2).
        let script = format!("echo() {{ /bin/echo \"$@\"; }}\n{script}");
        command.args(["-euo", "pipefail", "-c", &script]);
        command.current_dir(self.mount.path());
        command
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command.output().unwrap()
    }
}

/// Runs the rows, several in parallel, and fails with the names of all failed rows.
#[track_caller]
pub(crate) fn group(rows: impl IntoIterator<Item = Row>) {
    let rows: Mutex<VecDeque<Row>> = Mutex::new(rows.into_iter().collect());
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some(row) = rows.lock().unwrap().pop_front() else {
                return;
            };
            if let Err(cause) = catch_unwind(AssertUnwindSafe(|| row.run())) {
                let words = cause.downcast_ref::<String>().cloned();
                let words = words.or_else(|| cause.downcast_ref::<&str>().map(|w| (*w).to_owned()));
                failed
                    .lock()
                    .unwrap()
                    .push(format!("{}: {}", row.name, words.unwrap_or_default()));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} rows fail:\n\n{}\n",
        failed.len(),
        failed.join("\n\n")
    );
}

/// Changes every listing that is sent.
pub(crate) fn listing(change: fn(&str) -> String) -> Quirks {
    Quirks::none().alter_verbs(&["MLSD", "LIST"], move |answer| {
        let steps = answer.steps.into_iter().map(|step| match step {
            Step::Send(bytes) => Step::Send(change(&String::from_utf8_lossy(&bytes)).into_bytes()),
            step => step,
        });
        Answer {
            steps: steps.collect(),
        }
    })
}

/// Changes every listing and the text of the answer to MLST.
pub(crate) fn all_facts(change: fn(&str) -> String) -> Quirks {
    with_mlst(listing(change), change)
}

/// Changes the text of the answer to MLST.
pub(crate) fn with_mlst(quirks: Quirks, change: fn(&str) -> String) -> Quirks {
    quirks.alter_verbs(&["MLST"], move |answer| match answer.steps.first() {
        Some(Step::Say(lines)) => Answer::say(change(lines)),
        _ => answer,
    })
}
