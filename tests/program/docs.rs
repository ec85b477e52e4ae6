//! The pages for contributors name files and types, all of which must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGES: [&str; 2] = ["doc/architecture.md", "CONTRIBUTING.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the words in backquotes.
fn named(page: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let words = text.lines().flat_map(|line| {
        let words = line.split('`').skip(1).step_by(2);
        words.flat_map(str::split_whitespace).map(str::to_owned)
    });
    words.collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let files = sources(&root().join("src"));
    for page in PAGES {
        for word in named(page) {
            let is_path =
                word.contains(".rs") || word.starts_with("scripts/") || word.ends_with('/');
            if !is_path {
                continue;
            }
            let word = word.trim_end_matches('/');
            let is_there =
                root().join(word).exists() || files.iter().any(|path| path.ends_with(word));
            let is_directory = root().join("src").join(word).is_dir();
            assert!(is_there || is_directory, "{page}: {word}");
        }
    }
}

#[test]
fn every_type_that_a_page_names_is_there() {
    let code: Vec<String> = sources(&root().join("src"))
        .iter()
        .chain(&sources(&root().join("tests/support")))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let is_defined = |name: &str| {
        ["struct", "enum", "trait"].iter().any(|keyword| {
            let start = format!("{keyword} {name}");
            code.iter().any(|text| {
                text.match_indices(&start).any(|(at, _)| {
                    let next = text[at + start.len()..].chars().next();
                    next.is_some_and(|next| !next.is_alphanumeric() && next != '_')
                })
            })
        })
    };
    for page in PAGES {
        for word in named(page) {
            let name = word.split("::").next().unwrap();
            let is_type = name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.chars().any(|letter| letter.is_ascii_lowercase())
                && name.chars().all(char::is_alphanumeric);
            assert!(!is_type || is_defined(name), "{page}: {word}");
        }
    }
}
