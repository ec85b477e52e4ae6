//! Every promise in doc/security.md names a test that shows it; that test must exist, like those
//! that doc/comparison.md names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The heading of the table columns that name tests.
const SHOWN_BY: &str = "Shown by |";

#[test]
fn every_promise_of_the_security_document_is_shown_by_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("doc/security.md")).unwrap();
    let mut named = BTreeSet::new();
    let mut in_table = false;
    for line in text.lines() {
        in_table = line.starts_with('|') && (in_table || line.ends_with(SHOWN_BY));
        let is_row = in_table && !line.ends_with(SHOWN_BY) && !line.starts_with("|--");
        let tests = line.split('`').filter_map(|word| word.split_once(".rs::"));
        let tests: Vec<_> = tests.collect();
        assert!(!is_row || !tests.is_empty(), "no test shows this: {line}");
        named.extend(tests);
    }
    assert!(named.len() > 30, "{named:?}");
    let other = fs::read_to_string(root.join("doc/comparison.md")).unwrap();
    let tests = other.split('`').filter_map(|word| word.split_once(".rs::"));
    let before = named.len();
    named.extend(tests);
    assert!(named.len() > before, "{other}");
    for (file, name) in named {
        let path = root.join(file).with_extension("rs");
        let code = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            code.contains(&format!("fn {name}(")),
            "there is no {name} in {}",
            path.display()
        );
    }
}
