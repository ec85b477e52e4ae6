//! `scripts/notices`: the licences that the package hands on.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Words of the texts that the script knows.
const APACHE: &str =
    "Apache License\n\nTERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION\n";

/// A program with three dependencies: `plain`, `macros` of `plain`, and `tests` for its tests only.
struct Crates {
    directory: TempDir,
}

impl Crates {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["program", "plain", "macros", "tests"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs the script; `licence` is that of `macros`.
    fn notices(&self, licence: &str) -> Output {
        let package = |name: &str, licence: &str| {
            let manifest = self.directory.path().join(name).join("Cargo.toml");
            json!({"id": name, "name": name, "version": "1.0.0", "license": licence, "license_file": null,
                   "authors": ["Ada"], "manifest_path": manifest})
        };
        let normal = |name: &str| json!({"pkg": name, "dep_kinds": [{"kind": null}]});
        let for_tests = |name: &str| json!({"pkg": name, "dep_kinds": [{"kind": "dev"}]});
        let node = |name: &str, deps: &[Value]| json!({"id": name, "deps": deps});
        let metadata = json!({
            "packages": [package("program", "MIT"), package("plain", "MIT"), package("macros", licence), package("tests", "MIT")],
            "resolve": {
                "root": "program",
                "nodes": [
                    node("program", &[normal("plain"), for_tests("tests")]),
                    node("plain", &[normal("macros")]),
                    node("macros", &[]),
                    node("tests", &[]),
                ],
            },
        });
        let file = self.directory.path().join("metadata.json");
        fs::write(&file, metadata.to_string()).unwrap();
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/notices"))
            .arg("--metadata")
            .arg(file)
            .output()
            .unwrap()
    }
}

#[test]
fn each_text_is_there_once_with_its_crates() {
    let crates = Crates::new();
    crates.write("plain/LICENSE-MIT", "Copyright Ada\nMIT\n");
    crates.write("plain/src/taken/COPYING", "Copyright Bob\n");
    crates.write("plain/src/license.rs", "code\n");
    crates.write("macros/license.txt", "Copyright Ada\r\nMIT  \r\n\r\n");
    crates.write("tests/LICENSE", "Copyright Eve\n");
    crates.write("program/LICENSE", "Copyright Own\n");
    let output = crates.notices("MIT");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("Copyright Ada").count(), 1, "{text}");
    assert!(text.contains("\nmacros 1.0.0, plain 1.0.0\n"), "{text}");
    assert!(text.contains("Copyright Bob"), "{text}");
    for absent in ["Eve", "Own", "code", "tests"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
}

#[test]
fn a_crate_without_a_text_needs_a_licence_whose_text_is_there() {
    let crates = Crates::new();
    crates.write("plain/LICENSE", "Copyright Ada\nMIT\n");
    for licence in ["MIT", "MIT OR Apache-2.0"] {
        let output = crates.notices(licence);
        assert!(!output.status.success(), "{licence}: {output:?}");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains("macros 1.0.0"), "{complaint}");
    }
    crates.write("plain/LICENSE-APACHE", APACHE);
    for (licence, is_enough) in [
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("MIT", false),
        ("MIT AND Apache-2.0", false),
        ("(MIT OR Apache-2.0) AND ISC", false),
    ] {
        let output = crates.notices(licence);
        assert_eq!(output.status.success(), is_enough, "{licence}: {output:?}");
    }
}
