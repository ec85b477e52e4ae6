//! Tests of lists of `-o` options.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cli::proxy_env::Choice;
use crate::credentials::Netrc;

fn options(lists: &[&str]) -> Result<Settings, OptionError> {
    let lists: Vec<OsString> = lists.iter().map(OsString::from).collect();
    let typed = parse(&lists, Unknown::Refuse, Settings::default())?;
    Ok(typed.settings)
}

fn message(list: &str) -> String {
    options(&[list]).unwrap_err().to_string()
}

#[test]
fn lists_and_repeats_add_up_and_the_last_one_wins() {
    let options = options(&["ro,timeout=1.5,", "connections=3", "timeout=2,rw"]).unwrap();
    assert_eq!(options.timeout, Duration::from_secs(2));
    assert_eq!(options.connections, 3);
    assert!(!options.read_only);
}

#[test]
fn a_comma_in_a_value_is_escaped() {
    let options = options(&[r"fsname=a\,b\\c,ro"]).unwrap();
    assert_eq!(options.fsname.as_deref(), Some(r"a,b\c"));
    assert!(options.read_only);
}

#[test]
fn what_mount_and_systemd_write_into_a_line_is_taken() {
    let line = "rw,_netdev,nofail,noauto,user,netrc,x-systemd.automount,\
                x-systemd.idle-timeout=60,comment=hello,dev,suid,relatime,defaults,X-mount.mkdir";
    let options = options(&[line]).unwrap();
    let expected = Settings {
        netrc: Netrc::Home,
        ..Settings::default()
    };
    assert_eq!(options, expected);
}

#[test]
fn user_with_a_value_is_the_login() {
    assert_eq!(options(&["user=me"]).unwrap().user.as_deref(), Some("me"));
    assert_eq!(options(&["user"]).unwrap().user, None);
}

#[test]
fn netrc_may_name_its_file() {
    let options = options(&["netrc=/etc/ftp.netrc"]).unwrap();
    assert_eq!(options.netrc, Netrc::File(PathBuf::from("/etc/ftp.netrc")));
}

#[test]
fn an_unknown_option_is_named_with_the_nearest_known_one() {
    assert_eq!(
        message("conections=4"),
        "unknown option -o conections (did you mean connections?)"
    );
    assert!(message("password=hunter2").contains("did you mean password_file?"));
    assert!(!message("password=hunter2").contains("hunter2"));
    assert_eq!(
        message("q"),
        "unknown option -o q (ftpfs --help lists them)"
    );
    for far in ["reclaim", "quota=user", "colour"] {
        assert!(message(far).ends_with("(ftpfs --help lists them)"), "{far}");
    }
}

#[test]
fn the_words_of_sshfs_and_mount_are_understood() {
    assert_eq!(options(&["reconnect"]).unwrap(), Settings::default());
    assert!(message("ro,remount").contains("unmount it and mount it again"));
    let lists = [OsString::from("remount")];
    assert!(parse(&lists, Unknown::Skip, Settings::default()).is_err());
}

#[test]
fn mount_s_sloppy_flag_skips_what_is_unknown_and_nothing_else() {
    let lists = [OsString::from("nonsense,ro")];
    assert!(
        parse(&lists, Unknown::Skip, Settings::default())
            .unwrap()
            .settings
            .read_only
    );
    let lists = [OsString::from("timeout=nonsense")];
    assert!(parse(&lists, Unknown::Skip, Settings::default()).is_err());
}

#[test]
fn a_wrong_value_is_told_what_is_expected() {
    assert_eq!(
        message("timeout=soon"),
        "option -o timeout=soon: seconds, such as 30 or 0.5, up to a year is expected"
    );
    assert_eq!(
        message("umask=999"),
        "option -o umask=999: permission bits in octal, such as 022 is expected"
    );
    assert_eq!(message("ro=yes"), "option -o ro takes no value");
    assert_eq!(
        message("timeout"),
        "option -o timeout needs a value: timeout=SECONDS"
    );
    for wrong in [
        "connections=0",
        "port=0",
        "port=70000",
        "uid=no-such-user",
        "timezone=Mars",
    ] {
        assert!(
            matches!(options(&[wrong]), Err(OptionError::BadValue { .. })),
            "{wrong}"
        );
    }
}

#[test]
fn no_message_repeats_what_may_be_a_password() {
    for list in [
        "proxy=socks5://me:hunter2@h:x",
        "proxy=socks4://me:hunter2@h:1",
        "proxy=hunter2@",
        "proxy=me:hunter2@",
        "proxy=h:1,proxy_user=me:hunter2,socks4",
        "proxy=socks5://h:1,proxy_user=me:hunter2",
        "user=:hunter2",
        "user=me:hunter2\u{7}",
        "pass=hunter2",
        "proxy=socks5://me:a,hunter2@h:1",
        "password=hunter2",
    ] {
        let message = message(list);
        assert!(!message.contains("hunter2"), "{message}");
    }
    let message = message("proxy=socks5://me:a,hunter2@h:1");
    assert!(
        message.contains("a port") || message.contains(r"\,"),
        "{message}"
    );
}

#[test]
fn a_proxy_is_read_and_can_be_declined() {
    let proxy = options(&["proxy=socks5h://me:x@h:1"]).unwrap().proxy;
    assert!(matches!(proxy, Choice::By(proxy) if proxy.host == "h"));
    let none = options(&["proxy=socks5://h:1,proxy=none"]).unwrap().proxy;
    assert_eq!(none, Choice::Straight);
}

#[test]
fn a_shown_source_holds_no_password() {
    let options = options(&["fsname=ftp://me:hunter2@h/"]).unwrap();
    assert_eq!(options.fsname.as_deref(), Some("ftp://me:****@h/"));
}

#[test]
fn an_old_line_of_curlftpfs_means_what_it_meant() {
    let line = "rw,ssl,no_verify_peer,codepage=cp1251,disable_epsv,interface=lo,utf8,\
                ftp_port=-,connect_timeout=60,cache_timeout=7,nomulticonn,tcp_nodelay,\
                user=me:hunter2:x,allow_other,cert_type=PEM,iocharset=utf8,cache=yes";
    let options = options(&[line]).unwrap();
    assert!(options.tls && options.insecure && options.active);
    assert_eq!(options.charset, Some(encoding_rs::WINDOWS_1251));
    assert_eq!(options.without, [crate::ftp::Capability::Epsv]);
    assert!(options.local.bind.is_some());
    assert_eq!(options.dir_ttl, Duration::from_secs(7));
    assert_eq!(options.attr_ttl, Duration::from_secs(7));
    assert_eq!(options.connect_timeout, Duration::from_secs(60));
    assert_eq!(options.connections, 1);
    assert_eq!(options.user.as_deref(), Some("me"));
    assert_eq!(options.password, Some(Password::new("hunter2:x")));
    let hint = options.foreign.hint().unwrap();
    assert!(!hint.contains("hunter2"), "{hint}");
    for part in [
        "tls for ssl",
        "insecure for no_verify_peer",
        "charset= for codepage=",
        "active for ftp_port=-",
        "leave out utf8, tcp_nodelay",
    ] {
        assert!(hint.contains(part), "{hint}");
    }
}

#[test]
fn tls_that_may_fall_back_becomes_tls_that_does_not() {
    for old in ["ssl", "ssl_control", "ssl_try"] {
        assert!(options(&[old]).unwrap().tls, "{old}");
    }
}

#[test]
fn an_old_line_of_sshfs_is_taken() {
    let line = "reconnect,ServerAliveInterval=15,IdentityFile=/root/.ssh/id,follow_symlinks,\
                StrictHostKeyChecking=no,idmap=user,compression=yes,max_conns=4,port=2121,\
                cache=no,workaround=rename,kernel_cache,password_stdin,delay_connect";
    let options = options(&[line]).unwrap();
    assert_eq!(options.symlinks, crate::remote::Links::Follow);
    assert_eq!(options.connections, 4);
    assert_eq!(options.dir_ttl, Duration::ZERO);
    assert_eq!(options.password_file, Some(PathBuf::from("-")));
}

#[test]
fn what_cannot_be_ignored_is_refused_with_advice() {
    for (list, advice) in [
        ("capath=/etc/certs", "cafile=FILE"),
        ("ProxyJump=bastion", "proxy=socks5h://"),
        ("ProxyCommand=nc", "proxy=socks5h://"),
        ("proxy=h:1,socks4", "proxy=socks5://"),
        ("proxy=socks5://h:1,proxy_user=a:b", "proxy's URL"),
        ("cert_type=DER", "PEM"),
        ("iocharset=latin1", "charset=NAME"),
        ("modules=iconv", "charset=NAME"),
        ("HostName=other", "SOURCE"),
    ] {
        let message = message(list);
        assert!(message.contains(advice), "{message}");
    }
    assert!(message("codepage=klingon").starts_with("option -o codepage=klingon: "));
    let lists = [OsString::from("capath=/etc/certs")];
    assert!(parse(&lists, Unknown::Skip, Settings::default()).is_err());
}

#[test]
fn a_proxy_in_the_words_of_curlftpfs_is_read() {
    for (list, url) in [
        ("proxy=h:3128,proxytunnel", "http://h:3128"),
        ("proxy_user=me:x,proxy=h:1,socks5", "socks5://me:x@h:1"),
        ("proxy=socks5h://a:1,proxy=h:1", "http://h:1"),
        ("proxy=h:1,proxy=socks5h://a:1", "socks5h://a:1"),
    ] {
        let proxy = options(&[list]).unwrap().proxy;
        let expected = crate::source::parse_proxy(url).unwrap();
        assert_eq!(proxy, Choice::By(expected), "{list}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = parse(&[OsString::from_vec(bytes)], Unknown::Refuse, Settings::default());
    }

    #[test]
    fn no_value_makes_it_panic(at in 0..super::options::all().count(), value in ".*") {
        let name = super::options::all().nth(at).unwrap().name;
        let _ = parse(&[OsString::from(format!("{name}={value}"))], Unknown::Refuse, Settings::default());
    }
}
