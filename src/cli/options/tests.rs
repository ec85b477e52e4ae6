use super::*;

#[test]
fn no_option_is_there_twice() {
    let mut names: Vec<&str> = all().map(|spec| spec.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn the_defaults_shown_are_the_defaults_used() {
    for spec in all() {
        let Set::Value(set) = spec.set else { continue };
        let mut settings = Settings::default();
        // A default in words describes what happens without a value.
        if set(&mut settings, OsStr::new(spec.default)).is_ok()
            && ![
                "uid",
                "gid",
                "fsname",
                "subtype",
                "spool",
                "cache_dir",
                "log_file",
                "password_file",
                "cafile",
                "key",
                "config",
            ]
            .contains(&spec.name)
        {
            assert_eq!(settings, Settings::default(), "{}", spec.name);
        }
    }
}

#[test]
fn every_option_that_does_something_is_explained() {
    for spec in all().filter(|spec| spec.group != Group::Elsewhere) {
        assert!(
            !spec.help.is_empty() && !spec.help.ends_with('.'),
            "{}",
            spec.name
        );
    }
}
