//! What may be typed as SOURCE, and what it is taken for.

use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;

fn parse(typed: &str) -> Result<Source, SourceError> {
    Source::parse(OsStr::new(typed))
}

fn directory(typed: &str) -> String {
    let home = RemotePath::new(b"/home/me").unwrap();
    let source = parse(typed).unwrap();
    source.path.resolve(&home).unwrap().to_string()
}

#[test]
fn the_short_form_names_user_host_and_path() {
    let source = parse("me@ftp.example.org:pub/a b").unwrap();
    assert_eq!(source.host, "ftp.example.org");
    assert_eq!(source.user.as_deref(), Some("me"));
    assert_eq!(source.port, None);
    assert_eq!(source.path, StartPath::Relative(b"pub/a b".to_vec()));
    assert_eq!(source.shown, "me@ftp.example.org:pub/a b");
}

#[test]
fn a_login_name_may_be_a_mail_address() {
    let source = parse("me@mail.org@ftp.example.org:").unwrap();
    assert_eq!(source.user.as_deref(), Some("me@mail.org"));
    assert_eq!(source.host, "ftp.example.org");
}

#[test]
fn a_url_names_everything() {
    let source = parse("ftp://me:se%3Acret@ftp.example.org:2121/a%20b").unwrap();
    assert_eq!(source.host, "ftp.example.org");
    assert_eq!(source.user.as_deref(), Some("me"));
    assert_eq!(source.password.unwrap().reveal(), "se:cret");
    assert_eq!(source.port, Some(2121));
    assert_eq!(source.path, StartPath::Relative(b"a b".to_vec()));
    assert_eq!(source.shown, "ftp://me@ftp.example.org:2121/a%20b");
}

#[test]
fn the_scheme_says_how_the_connection_is_protected() {
    for (typed, scheme, port) in [
        ("h:", Scheme::Plain, None),
        ("ftp://h/", Scheme::Plain, None),
        ("ftpes://h/", Scheme::ExplicitTls, None),
        ("FTPS://h/", Scheme::ImplicitTls, None),
        ("ftps://h:21/", Scheme::ImplicitTls, Some(21)),
        ("ftps://h:80/", Scheme::ImplicitTls, Some(80)),
        ("ftpes://h:990/", Scheme::ExplicitTls, Some(990)),
    ] {
        let source = parse(typed).unwrap();
        assert_eq!((source.scheme, source.port), (scheme, port), "{typed}");
    }
    let source = parse("ftps://me:hunter2@[::1]//a%20b").unwrap();
    assert_eq!(source.host, "::1");
    assert_eq!(source.path, StartPath::Absolute(b"/a b".to_vec()));
    assert_eq!(source.shown, "ftps://me@[::1]//a%20b");
}

#[test]
fn ipv6_addresses_stand_in_brackets() {
    assert_eq!(parse("ftp://[::1]:2121/").unwrap().host, "::1");
    assert_eq!(parse("me@[::1]:/pub").unwrap().host, "::1");
    assert_eq!(parse("[fe80::1%eth0]:").unwrap().host, "fe80::1%eth0");
}

#[test]
fn paths_start_at_the_login_directory_unless_they_say_otherwise() {
    assert_eq!(directory("h:"), "/home/me");
    assert_eq!(directory("h:a/b/"), "/home/me/a/b");
    assert_eq!(directory("h:/a"), "/a");
    assert_eq!(directory("ftp://h"), "/home/me");
    assert_eq!(directory("ftp://h/"), "/home/me");
    assert_eq!(directory("ftp://h/a/./b"), "/home/me/a/b");
    assert_eq!(directory("ftp://h//a"), "/a");
    assert_eq!(directory("ftp://h/%2Fa"), "/a");
    assert_eq!(directory("ftp://h/%2F"), "/");
    assert_eq!(directory("ftp://h//"), "/");
}

#[test]
fn a_url_path_may_hold_any_byte_but_line_ends() {
    assert_eq!(directory("ftp://h/%E4?x%25;type=i"), "/home/me/\\xe4?x%");
    assert_eq!(directory("ftp://h/100%"), "/home/me/100%");
    assert_eq!(
        parse("ftp://h/a%0d%0aDELE%20x").unwrap_err(),
        SourceError::Path(PathError::Unsendable)
    );
}

#[test]
fn names_in_the_short_form_are_taken_byte_for_byte() {
    let typed = std::ffi::OsString::from_vec(b"h:\xe4%20".to_vec());
    let source = Source::parse(&typed).unwrap();
    assert_eq!(source.path, StartPath::Relative(b"\xe4%20".to_vec()));
}

#[test]
fn each_wrong_source_is_told_what_is_wrong() {
    let cases = [
        ("", SourceError::NoForm),
        ("host", SourceError::NoForm),
        ("/mnt/x", SourceError::NoForm),
        (":path", SourceError::NoHost),
        ("me@:path", SourceError::NoHost),
        ("@host:", SourceError::BadHost),
        ("a b:", SourceError::BadHost),
        ("./a:b", SourceError::BadHost),
        ("[::1:x]:", SourceError::BadHost),
        ("http://h/", SourceError::OtherScheme("http".to_owned())),
        ("SFTP://h/", SourceError::OtherScheme("sftp".to_owned())),
        ("ftp://", SourceError::NoHost),
        ("ftp:///path", SourceError::NoHost),
        ("ftp://u:p@/path", SourceError::NoHost),
        ("ftp://h:99999/", SourceError::BadPort),
        ("ftp://h:x/", SourceError::BadPort),
        ("ftp://h:0/", SourceError::BadPort),
        ("ftp://u:pa/ss@h/", SourceError::BadPort),
        ("ftp://h/a#b", SourceError::Fragment),
        ("ftp://h/a\r\nDELE x", SourceError::ControlCharacter),
        ("h:a\nb", SourceError::ControlCharacter),
        ("ftp://u%0d:p@h/", SourceError::ControlCharacter),
        ("ftp://u:%ff@h/", SourceError::LoginNotUtf8),
        ("u:secret@h:path", SourceError::PasswordInShortForm),
        ("h:a/../b", SourceError::Path(PathError::NotAName)),
    ];
    for (typed, error) in cases {
        assert_eq!(parse(typed).unwrap_err(), error, "{typed}");
    }
}

#[test]
fn no_message_and_no_debug_output_repeats_a_password() {
    for typed in ["ftp://u:hunter2@/", "u:hunter2@h:", "ftp://u:hunter2/x@h/"] {
        assert!(!parse(typed).unwrap_err().to_string().contains("hunter2"));
    }
    let source = parse("ftp://u:hunter2@h/").unwrap();
    assert!(!format!("{source:?}").contains("hunter2"));
}

#[test]
fn the_password_in_an_argument_is_found() {
    let hidden = |argument: &str| {
        let range = password_ranges(argument.as_bytes()).pop()?;
        Some(argument[range].to_owned())
    };
    assert_eq!(hidden("ftp://u:p@q@h:21/x:y@z").as_deref(), Some("p@q"));
    assert_eq!(hidden("ftp://u:p:q@h").as_deref(), Some("p:q"));
    assert_eq!(hidden("ftp://u@h:21/"), None);
    assert_eq!(hidden("ftp://h:21/a:b@c"), None);
    assert_eq!(hidden("h:path"), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = password_ranges(&bytes);
        let _ = Source::parse(OsStr::from_bytes(&bytes));
    }

    #[test]
    fn no_url_makes_it_panic_or_reach_the_wire_with_a_line_end(rest in ".*") {
        if let Ok(source) = parse(&format!("ftp://{rest}")) {
            let sendable = |text: &str| !text.contains(['\r', '\n', '\0']);
            prop_assert!(sendable(&source.host));
            prop_assert!(source.user.as_deref().is_none_or(sendable));
            prop_assert!(source.password.as_ref().is_none_or(|p| sendable(p.reveal())));
        }
    }
}

#[test]
fn digits_after_the_colon_look_like_a_port() {
    for (typed, port, url) in [
        ("h:2121", "2121", "ftp://h:2121/"),
        ("me@h:2121/dir/sub", "2121", "ftp://me@h:2121/dir/sub"),
        ("h:21:dir", "21", "ftp://h:21/dir"),
        ("[::1]:2121/dir", "2121", "ftp://[::1]:2121/dir"),
    ] {
        let source = Source::parse(OsStr::new(typed)).unwrap();
        let expected = Some((port.to_owned(), url.to_owned()));
        assert_eq!(source.mistaken_port(), expected, "{typed}");
    }
    for typed in [
        "h:",
        "h:dir",
        "h:/2121",
        "h:2121x",
        "h:99999",
        "h:0/d",
        "ftp://h/2121",
    ] {
        let source = Source::parse(OsStr::new(typed)).unwrap();
        assert_eq!(source.mistaken_port(), None, "{typed}");
    }
}

#[test]
fn the_url_with_explicit_tls_has_its_port_and_no_password() {
    for (typed, url) in [
        ("ftps://h", "ftpes://h/"),
        ("ftps://me:secret@h:990/d", "ftpes://me@h/d"),
        ("ftps://h:2121//d", "ftpes://h:2121//d"),
    ] {
        let source = Source::parse(OsStr::new(typed)).unwrap();
        assert_eq!(source.with_explicit_tls(), url, "{typed}");
    }
}
