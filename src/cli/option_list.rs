//! Parses the text of `-o` into [`Settings`]: splits lists, finds each name in the table, and sets
//! its value.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::config::Settings;
use super::foreign_use::ForeignProxy;
use super::options::foreign::{Equivalent, ForeignOption, ProxyPart, Treatment, find_foreign};
use super::options::{self, Set, Spec};
use crate::ftp::Password;

/// An invalid `-o` option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OptionError {
    /// It is not in the table.
    Unknown {
        name: String,
        nearest: Option<&'static str>,
    },
    /// Mounting with the option `remount` changes a mount, which ftpfs cannot.
    Remount,
    /// It is not in the table, and cannot be an option's name.
    NoName,
    /// The value is missing.
    NeedsValue {
        name: &'static str,
        placeholder: &'static str,
    },
    /// The option takes no value.
    TakesNoValue(&'static str),
    /// An option of another program that cannot be ignored.
    Foreign {
        name: &'static str,
        advice: &'static str,
    },
    /// An invalid value, which may contain a password.
    BadSecret {
        name: &'static str,
        expected: &'static str,
    },
    /// An invalid value.
    BadValue {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
}

impl std::fmt::Display for OptionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { name, nearest } => {
                write!(f, "unknown option -o {name}")?;
                match nearest {
                    Some(nearest) => write!(f, " (did you mean {nearest}?)"),
                    None => write!(f, " (ftpfs --help lists them)"),
                }
            }
            Self::Remount => f.write_str(
                "the options of a running mount cannot be changed: unmount it and mount it again, without -o remount",
            ),
            Self::NoName => f.write_str(
                "the text after a comma in -o is not an option; write a comma in a value as \\,",
            ),
            Self::NeedsValue { name, placeholder } => {
                write!(f, "option -o {name} needs a value: {name}={placeholder}")
            }
            Self::Foreign { name, advice } => write!(f, "option -o {name}: {advice}"),
            Self::BadSecret { name, expected } => {
                write!(f, "option -o {name}: {expected} is expected")
            }
            Self::TakesNoValue(name) => write!(f, "option -o {name} takes no value"),
            Self::BadValue {
                name,
                value,
                expected,
            } => write!(f, "option -o {name}={value}: {expected} is expected"),
        }
    }
}

impl std::error::Error for OptionError {}

/// What happens to options that are not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// An error.
    Refuse,
    /// They are skipped, as mount(8) requests with -s.
    Skip,
}

/// The option that curlftpfs has too, with another form of its value.
const PROXY: &str = "proxy";

/// Parses these lists. Later options override earlier ones.
///
/// # Errors
/// The first option that is unknown or has an invalid value.
pub(super) fn parse<'a>(
    lists: impl IntoIterator<Item = &'a OsString>,
    unknown: Unknown,
) -> Result<Settings, OptionError> {
    let mut options = Settings::default();
    let mut proxy = ForeignProxy::default();
    for option in lists.into_iter().flat_map(|list| split(list)) {
        match set(&mut options, &mut proxy, &option) {
            Err(OptionError::Unknown { .. } | OptionError::NoName) if unknown == Unknown::Skip => {}
            outcome => outcome?,
        }
    }
    set_proxy(&mut options, &proxy)?;
    Ok(options)
}

/// Splits at commas. A backslash makes the next byte literal, as in mount.fuse.
fn split(list: &OsStr) -> Vec<OsString> {
    let mut options = vec![Vec::new()];
    let mut bytes = list.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        let literal = match byte {
            b',' => {
                options.push(Vec::new());
                continue;
            }
            b'\\' => bytes.next().unwrap_or(byte),
            _ => byte,
        };
        if let Some(option) = options.last_mut() {
            option.push(*literal);
        }
    }
    options.retain(|option| !option.is_empty());
    options.into_iter().map(OsString::from_vec).collect()
}

/// Sets one option, own or of another program. What describes a proxy in parts is collected in
/// `proxy`.
fn set(
    options: &mut Settings,
    proxy: &mut ForeignProxy,
    option: &OsStr,
) -> Result<(), OptionError> {
    let (name, value) = parts(option);
    if name == "remount" {
        return Err(OptionError::Remount);
    }
    if name == PROXY
        && let Some(place) = value.and_then(OsStr::to_str).filter(|text| is_place(text))
    {
        proxy.place = Some(Password::new(place));
        return Ok(());
    }
    if name == PROXY {
        proxy.place = None;
    }
    if let Some(spec) = find(&name) {
        return set_own(options, spec, spec.name, value);
    }
    match find_foreign(&name, value.is_some()) {
        Some(foreign) => set_foreign(options, proxy, foreign, value),
        None => Err(unknown(&name)),
    }
}

/// Splits an option at its first `=`.
fn parts(option: &OsStr) -> (String, Option<&OsStr>) {
    let mut parts = option.as_bytes().splitn(2, |byte| *byte == b'=');
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
    (name.into_owned(), parts.next().map(OsStr::from_bytes))
}

/// Sets an own option that was typed as `typed`.
fn set_own(
    options: &mut Settings,
    spec: &Spec,
    typed: &'static str,
    value: Option<&OsStr>,
) -> Result<(), OptionError> {
    let secret = |expected| OptionError::BadSecret {
        name: typed,
        expected,
    };
    let outcome = match (&spec.set, value) {
        (Set::Flag(_), Some(_)) => return Err(OptionError::TakesNoValue(typed)),
        (Set::Flag(set), None) => {
            set(options);
            Ok(())
        }
        (Set::Value(_) | Set::Secret(_), None) => {
            return Err(OptionError::NeedsValue {
                name: typed,
                placeholder: spec.placeholder,
            });
        }
        (Set::Secret(set), Some(value)) => return set(options, value).map_err(secret),
        (Set::OptionalSecret(set), value) => return set(options, value).map_err(secret),
        (Set::Value(set), Some(value)) => set(options, value),
        (Set::Optional(set), value) => set(options, value),
        (Set::Nothing, _) => Ok(()),
    };
    outcome.map_err(|expected| OptionError::BadValue {
        name: typed,
        value: value
            .unwrap_or_default()
            .to_string_lossy()
            .escape_debug()
            .to_string(),
        expected,
    })
}

/// Sets what an option of another program stands for.
fn set_foreign(
    options: &mut Settings,
    proxy: &mut ForeignProxy,
    foreign: &'static ForeignOption,
    value: Option<&OsStr>,
) -> Result<(), OptionError> {
    let name = foreign.name;
    let refuse = |advice| OptionError::Foreign { name, advice };
    if foreign.is_flag() && value.is_some() {
        return Err(OptionError::TakesNoValue(name));
    }
    match foreign.treatment {
        Treatment::Means(own) => {
            set_all(options, name, own)?;
            options.foreign.add_replaced(name, own);
        }
        Treatment::Renamed(own) => {
            let spec = find(own).ok_or_else(|| unknown(own))?;
            set_own(options, spec, name, value)?;
            let typed = format!("{name}=");
            options.foreign.add_replaced(&typed, &format!("{own}="));
        }
        Treatment::ByValue(equivalent) => {
            let text = value.and_then(OsStr::to_str).unwrap_or_default();
            match equivalent(text).map_err(refuse)? {
                Equivalent::Means(own) => {
                    set_all(options, name, &own)?;
                    let typed = format!("{name}={text}");
                    options.foreign.add_replaced(&typed, &own);
                }
                Equivalent::Ignored => options.foreign.add_ignored(name),
            }
        }
        Treatment::Proxy(ProxyPart::Scheme(scheme)) => proxy.scheme = Some(scheme),
        Treatment::Proxy(ProxyPart::Login) => {
            let login = value.and_then(OsStr::to_str);
            let login = login.ok_or_else(|| refuse("user:password in UTF-8 is expected"))?;
            proxy.login = Some(Password::new(login));
        }
        Treatment::Ignored => options.foreign.add_ignored(name),
        Treatment::Refused(advice) => return Err(refuse(advice)),
    }
    Ok(())
}

/// Sets a list of own options, for which `typed` stands.
fn set_all(options: &mut Settings, typed: &'static str, own: &str) -> Result<(), OptionError> {
    for option in split(OsStr::new(own)) {
        let (name, value) = parts(&option);
        let spec = find(&name).ok_or_else(|| unknown(&name))?;
        set_own(options, spec, typed, value)?;
    }
    Ok(())
}

/// Whether the value of `proxy` is that of curlftpfs: a host and port without a scheme.
fn is_place(text: &str) -> bool {
    text != "none" && !text.contains("://")
}

/// Sets the proxy that was described in parts.
fn set_proxy(options: &mut Settings, proxy: &ForeignProxy) -> Result<(), OptionError> {
    let Some(url) = proxy.url() else {
        if let Some(scheme) = proxy.scheme {
            let name = if scheme == "http" {
                "httpproxy"
            } else {
                "socks5"
            };
            options.foreign.add_ignored(name);
        }
        // Without a place, the proxy's kind has no effect, but a login may belong to a URL.
        return match proxy.login {
            Some(_) => Err(OptionError::Foreign {
                name: "proxy_user",
                advice: "write the login in the proxy's URL: proxy=http://user:password@host:port",
            }),
            None => Ok(()),
        };
    };
    let spec = find(PROXY).ok_or_else(|| unknown(PROXY))?;
    set_own(options, spec, PROXY, Some(OsStr::new(url.reveal())))?;
    let instead = "proxy=SCHEME://[user:password@]host:port";
    options.foreign.add_replaced("proxy=host:port", instead);
    Ok(())
}

/// A text that cannot be an option's name is not repeated, because it may be the part of a password
/// after a comma.
fn unknown(name: &str) -> OptionError {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !name.chars().all(is_name) {
        return OptionError::NoName;
    }
    OptionError::Unknown {
        nearest: nearest(name),
        name: name.to_owned(),
    }
}

fn find(name: &str) -> Option<&'static Spec> {
    options::all().find(|spec| match spec.name.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => spec.name == name,
    })
}

/// Returns the known option that `name` most likely stands for.
fn nearest(name: &str) -> Option<&'static str> {
    options::all()
        .map(|spec| spec.name)
        .filter(|known| is_likely(name, known))
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

/// Whether `typed` can be a slip for `known`: it is an abbreviation, or at most one letter in three
/// differs.
fn is_likely(typed: &str, known: &str) -> bool {
    /// Minimum length of an abbreviation; fewer letters stand for many options.
    const LEAST: usize = 4;
    let letters = typed.chars().count().max(known.len());
    (typed.len() >= LEAST && known.starts_with(typed))
        || strsim::osa_distance(typed, known) <= letters / 3
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::cli::proxy_env::Choice;
    use crate::credentials::Netrc;

    fn options(lists: &[&str]) -> Result<Settings, OptionError> {
        let lists: Vec<OsString> = lists.iter().map(OsString::from).collect();
        parse(&lists, Unknown::Refuse)
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
        assert!(parse(&lists, Unknown::Skip).is_err());
    }

    #[test]
    fn mount_s_sloppy_flag_skips_what_is_unknown_and_nothing_else() {
        let lists = [OsString::from("nonsense,ro")];
        assert!(parse(&lists, Unknown::Skip).unwrap().read_only);
        let lists = [OsString::from("timeout=nonsense")];
        assert!(parse(&lists, Unknown::Skip).is_err());
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
        assert!(parse(&lists, Unknown::Skip).is_err());
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
            let _ = parse(&[OsString::from_vec(bytes)], Unknown::Refuse);
        }

        #[test]
        fn no_value_makes_it_panic(at in 0..super::options::all().count(), value in ".*") {
            let name = super::options::all().nth(at).unwrap().name;
            let _ = parse(&[OsString::from(format!("{name}={value}"))], Unknown::Refuse);
        }
    }
}
