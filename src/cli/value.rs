//! Values of `-o` options: parses seconds, sizes, masks and others into types with units.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::{Offset, TimeZone};

use super::logging::LogFormat;
use super::proxy_env::Choice;
use super::settings::CacheChoice;
use crate::ftp::tls::Fingerprint;
use crate::ftp::{Bind, Capability};
use crate::mount::control::LimitChange;
use crate::remote::{Append, Atomic, Links, Verify};
use crate::source::parse_proxy;

/// Minimum limit in bytes per second. Slower transfers would run into timeouts.
const LEAST_RATE: u64 = 1024;

/// A description of the expected value. The caller knows the option's name and the typed text.
pub(super) type Expected = &'static str;

/// Parses a text without control characters.
pub(super) fn text(value: &OsStr) -> Result<String, Expected> {
    match value.to_str() {
        Some(text) if !text.is_empty() && !text.chars().any(char::is_control) => {
            Ok(text.to_owned())
        }
        _ => Err("text in UTF-8 without control characters"),
    }
}

/// Parses names of capabilities, joined by `+`.
pub(super) fn capabilities(value: &OsStr) -> Result<Vec<Capability>, Expected> {
    const EXPECTED: Expected =
        "names of capabilities joined by +, such as mlsd+epsv+pipeline (ftpfs check lists them)";
    let names = value.to_str().ok_or(EXPECTED)?.split('+');
    names
        .map(|name| Capability::named(name).ok_or(EXPECTED))
        .collect()
}

/// Parses one FTP command: a verb of letters and its argument.
pub(super) fn ftp_command(value: &OsStr) -> Result<String, Expected> {
    const EXPECTED: Expected = "a command of FTP, such as SITE IDLE 600";
    let line = text(value).map_err(|_| EXPECTED)?;
    let verb = line.split(' ').next().unwrap_or_default();
    if verb.is_empty() || !verb.chars().all(|letter| letter.is_ascii_alphabetic()) {
        return Err(EXPECTED);
    }
    Ok(line)
}

/// Parses a path and makes it absolute, because the background process works in `/`.
pub(super) fn path(value: &OsStr) -> Result<PathBuf, Expected> {
    std::path::absolute(value).map_err(|_| "a path")
}

/// Parses a certificate's digest: `sha256:` and 64 hexadecimal digits.
pub(super) fn fingerprint(value: &OsStr) -> Result<Fingerprint, Expected> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or("sha256: and 64 hexadecimal digits, with or without colons between pairs")
}

/// Parses an integer in `range`.
pub(super) fn number<T>(
    value: &OsStr,
    range: std::ops::RangeInclusive<T>,
    expected: Expected,
) -> Result<T, Expected>
where
    T: std::str::FromStr + PartialOrd,
{
    let digits = digits(value).ok_or(expected)?;
    let number = digits.parse().map_err(|_| expected)?;
    range.contains(&number).then_some(number).ok_or(expected)
}

/// Parses seconds, optionally with a fraction: `30`, `0.5`.
pub(super) fn seconds(value: &OsStr) -> Result<Duration, Expected> {
    const EXPECTED: Expected = "seconds, such as 30 or 0.5, up to a year";
    const YEAR: u64 = 366 * 24 * 60 * 60;
    let text = value.to_str().ok_or(EXPECTED)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let whole: u64 = number(OsStr::new(whole), 0..=YEAR, EXPECTED)?;
    let fraction = digits(OsStr::new(fraction)).ok_or(EXPECTED)?;
    let nanoseconds: u64 = format!("{fraction:0<9.9}").parse().map_err(|_| EXPECTED)?;
    Ok(Duration::from_secs(whole) + Duration::from_nanos(nanoseconds))
}

/// Parses seconds, more than zero.
pub(super) fn deadline(value: &OsStr) -> Result<Duration, Expected> {
    match seconds(value)? {
        Duration::ZERO => Err("more than 0 seconds"),
        duration => Ok(duration),
    }
}

/// Parses the interval of a repetition: a tenth of a second or more.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    match seconds(OsStr::new(text)) {
        Ok(interval) if interval >= LEAST => Ok(interval),
        Ok(_) => Err("at least 0.1 seconds is expected".to_owned()),
        Err(expected) => Err(format!("{expected} is expected")),
    }
}

/// Parses an address.
pub(super) fn address(value: &OsStr) -> Result<IpAddr, Expected> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or("an address, such as 192.0.2.1 or 2001:db8::1")
}

/// Parses a range of ports: `A-B`.
pub(super) fn ports(value: &OsStr) -> Result<RangeInclusive<u16>, Expected> {
    const EXPECTED: Expected = "two ports from 1 to 65535, the lower first, such as 50000-50100";
    let text = value.to_str().ok_or(EXPECTED)?;
    let (first, last) = text.split_once('-').ok_or(EXPECTED)?;
    let port = |text: &str| number(OsStr::new(text), 1..=u16::MAX, EXPECTED);
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(EXPECTED);
    }
    Ok(first..=last)
}

/// Parses the origin of connections: an address or a network interface of this machine.
pub(super) fn bind(value: &OsStr) -> Result<Bind, Expected> {
    const EXPECTED: Expected = "an address or the name of a network interface of this machine";
    let text = value.to_str().filter(|text| !text.is_empty());
    let text = text.ok_or(EXPECTED)?;
    let bind = match text.parse() {
        Ok(address) => Bind::Address(address),
        Err(_) => Bind::Interface(text.to_owned()),
    };
    bind.check().map(|()| bind).map_err(|_| EXPECTED)
}

/// Parses a size in bytes, at least `least`: `65536`, `64K`, `4M`, `1G`, `1T`, in powers of 1024.
pub(super) fn size(value: &OsStr, least: u64) -> Result<u64, Expected> {
    const EXPECTED: Expected = "a size, such as 65536, 512K, 64M or 2G";
    let text = value.to_str().ok_or(EXPECTED)?;
    let (number, shift) = match text.char_indices().next_back().ok_or(EXPECTED)? {
        (at, 'k' | 'K') => (text.split_at(at).0, 10),
        (at, 'm' | 'M') => (text.split_at(at).0, 20),
        (at, 'g' | 'G') => (text.split_at(at).0, 30),
        (at, 't' | 'T') => (text.split_at(at).0, 40),
        _ => (text, 0),
    };
    let number: u64 = self::number(OsStr::new(number), 0..=u64::MAX >> shift, EXPECTED)?;
    let size = number << shift;
    if size < least {
        return Err("a larger size");
    }
    Ok(size)
}

/// Parses the directory of the persistent cache, or `default`.
pub(super) fn cache_place(value: &OsStr) -> Result<CacheChoice, Expected> {
    if value == "default" {
        return Ok(CacheChoice::Usual);
    }
    path(value).map(CacheChoice::Directory)
}

/// Parses the size of a cache.
pub(super) fn cache_size(text: &str) -> Result<u64, String> {
    size(OsStr::new(text), 0).map_err(|expected| format!("{expected} is expected"))
}

/// Parses a rate in bytes per second: a [`size`], or `off` for no limit, which is 0.
pub(super) fn rate(value: &OsStr) -> Result<u64, Expected> {
    const EXPECTED: Expected = "bytes per second, such as 500K or 5M, at least 1K, or off";
    if value == "off" {
        return Ok(0);
    }
    size(value, LEAST_RATE).map_err(|_| EXPECTED)
}

/// Parses the change of one limit: `down=5M`, `up=off`.
pub(super) fn limit_change(text: &str) -> Result<LimitChange, String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let mut change = LimitChange::default();
    let limit = match name {
        "down" => &mut change.down,
        "up" => &mut change.up,
        _ => return Err("down=RATE or up=RATE is expected".to_owned()),
    };
    let rate = rate(OsStr::new(value)).map_err(|expected| format!("{expected} is expected"))?;
    *limit = Some(rate);
    Ok(change)
}

/// Parses a size that fits in memory.
pub(super) fn memory_size(value: &OsStr, least: u64) -> Result<usize, Expected> {
    usize::try_from(size(value, least)?).map_err(|_| "a size that fits into memory")
}

/// Parses permission bits in octal: `022`.
pub(super) fn mask(value: &OsStr) -> Result<u32, Expected> {
    const EXPECTED: Expected = "permission bits in octal, such as 022";
    let digits = digits(value).ok_or(EXPECTED)?;
    match u32::from_str_radix(digits, 8) {
        Ok(mask) if mask <= 0o777 => Ok(mask),
        _ => Err(EXPECTED),
    }
}

/// Parses a mode in octal, including the sticky bit and its neighbours: `644`, `1777`.
pub(super) fn mode(value: &OsStr) -> Result<u32, Expected> {
    const EXPECTED: Expected = "a mode in octal, such as 644";
    let digits = digits(value).ok_or(EXPECTED)?;
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(EXPECTED),
    }
}

/// Parses a charset by its WHATWG label. UTF-8 is `None`, because names are then taken byte for
/// byte.
pub(super) fn charset(value: &OsStr) -> Result<Option<&'static encoding_rs::Encoding>, Expected> {
    let encoding = encoding_rs::Encoding::for_label_no_replacement(value.as_bytes())
        .ok_or("a charset, such as windows-1252, koi8-r or shift_jis")?;
    if !encoding.is_ascii_compatible() {
        return Err("a charset that contains ASCII, for FTP's commands are ASCII");
    }
    Ok((encoding != encoding_rs::UTF_8).then_some(encoding))
}

/// Parses how files are overwritten.
pub(super) fn atomic(value: &OsStr) -> Result<Atomic, Expected> {
    match value.as_bytes() {
        b"never" => Ok(Atomic::Never),
        b"auto" => Ok(Atomic::Auto),
        b"require" => Ok(Atomic::Require),
        _ => Err("never, auto or require"),
    }
}

/// Parses how files are appended to.
pub(super) fn append(value: &OsStr) -> Result<Append, Expected> {
    match value.as_bytes() {
        b"auto" => Ok(Append::Auto),
        b"never" => Ok(Append::Never),
        _ => Err("auto or never"),
    }
}

/// Parses what is done in the background. Returns whether that includes names.
pub(super) fn background_names(value: &OsStr) -> Result<bool, Expected> {
    match value.as_bytes() {
        b"data" => Ok(false),
        b"names" => Ok(true),
        _ => Err("data or names"),
    }
}

/// Parses how uploads are verified.
pub(super) fn verify(value: &OsStr) -> Result<Verify, Expected> {
    match value.as_bytes() {
        b"size" => Ok(Verify::Size),
        b"digest" => Ok(Verify::Digest),
        _ => Err("size or digest"),
    }
}

/// Parses a choice.
pub(super) fn yes_or_no(value: &OsStr) -> Result<bool, Expected> {
    match value.as_bytes() {
        b"yes" => Ok(true),
        b"no" => Ok(false),
        _ => Err("yes or no"),
    }
}

/// Parses how symbolic links are presented.
pub(super) fn links(value: &OsStr) -> Result<Links, Expected> {
    match value.as_bytes() {
        b"follow" => Ok(Links::Follow),
        b"show" => Ok(Links::Show),
        b"hide" => Ok(Links::Hide),
        _ => Err("follow, show or hide"),
    }
}

/// Parses a time zone by its name in the time zone database, or an offset: `Europe/Berlin`, `UTC`,
/// `+02:00`.
pub(super) fn time_zone(value: &OsStr) -> Result<TimeZone, Expected> {
    const EXPECTED: Expected = "a time zone, such as UTC, +02:00 or Europe/Berlin";
    let name = value.to_str().ok_or(EXPECTED)?;
    let sign = match name.chars().next() {
        Some('+') => 1,
        Some('-') => -1,
        _ => return TimeZone::get(name).map_err(|_| EXPECTED),
    };
    let digits: String = name.chars().skip(1).filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        1 | 2 => (digits.as_str(), "0"),
        4 => digits.split_at_checked(2).ok_or(EXPECTED)?,
        _ => return Err(EXPECTED),
    };
    let hours: i32 = number(OsStr::new(hours), 0..=14, EXPECTED)?;
    let minutes: i32 = number(OsStr::new(minutes), 0..=59, EXPECTED)?;
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60))
        .map(TimeZone::fixed)
        .map_err(|_| EXPECTED)
}

/// Parses a proxy URL, or `none`.
pub(super) fn proxy(value: &OsStr) -> Result<Choice, Expected> {
    if value == "none" {
        return Ok(Choice::Straight);
    }
    let url = value.to_str().ok_or("a proxy's URL in UTF-8")?;
    match parse_proxy(url) {
        Ok(proxy) => Ok(Choice::By(proxy)),
        Err(error) => Err(error.expected()),
    }
}

/// Parses a log level.
pub(super) fn log_level(value: &OsStr) -> Result<log::LevelFilter, Expected> {
    const EXPECTED: Expected = "error, warn, info, debug or trace";
    value
        .to_str()
        .ok_or(EXPECTED)?
        .parse()
        .map_err(|_| EXPECTED)
}

/// Parses a log format.
pub(super) fn log_format(value: &OsStr) -> Result<LogFormat, Expected> {
    match value.as_bytes() {
        b"text" => Ok(LogFormat::Text),
        b"json" => Ok(LogFormat::Json),
        _ => Err("text or json"),
    }
}

/// Parses `ADDRESS:PORT` to listen on.
pub(super) fn listen_address(text: &str) -> Result<std::net::SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    match text.parse::<IpAddr>() {
        Ok(address) => Err(format!("a port is missing, as in {address}:2121")),
        Err(_) => Err("not an address and port, as in 127.0.0.1:2121 or [::1]:2121".to_owned()),
    }
}

/// Parses the ports of passive data connections: `A-B`, or `A` for a single port.
pub(super) fn passive_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        number(OsStr::new(text), 1..=u16::MAX, "").map_err(|_| {
            format!("\"{text}\" is not a port from 1 to 65535; a range is written as 50000-50100")
        })
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!(
            "the range ends before it begins; write the lower port first: {last}-{first}"
        ));
    }
    Ok(first..=last)
}

/// Parses an IPv4 address or a host name, which is resolved now and not again.
pub(super) fn public_address(text: &str) -> Result<Ipv4Addr, String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => return Ok(address),
        Ok(IpAddr::V6(_)) => {
            return Err(
                "an IPv6 address needs no announcement, because clients use EPSV, which contains \
                 none; give the IPv4 address that PASV announces"
                    .to_owned(),
            );
        }
        Err(_) => {}
    }
    let found = (text, 0).to_socket_addrs().map_err(|error| {
        format!("not an IPv4 address such as 203.0.113.7, nor the name of a host: {error}")
    })?;
    let mut addresses = found.filter_map(|found| match found.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    addresses.next().ok_or_else(|| {
        "this host has no IPv4 address, which is what PASV announces; give one such as 203.0.113.7"
            .to_owned()
    })
}

/// Parses a number of sessions.
pub(super) fn sessions(text: &str) -> Result<usize, String> {
    number(
        OsStr::new(text),
        1..=usize::MAX,
        "a number of sessions from 1 on, such as 50",
    )
    .map_err(|expected| format!("not {expected}"))
}

/// Returns the text of the value if it consists only of digits: no sign, no blank.
fn digits(value: &OsStr) -> Option<&str> {
    let text = value.to_str()?;
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn os(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(seconds(os("30")), Ok(Duration::from_secs(30)));
        assert_eq!(seconds(os("0.5")), Ok(Duration::from_millis(500)));
        assert_eq!(seconds(os("1.0000000019")), Ok(Duration::new(1, 1)));
        for wrong in [
            "",
            "-1",
            "1e9",
            ".5",
            "5.",
            "1.5.2",
            "ten",
            "99999999999",
            "3s",
        ] {
            assert!(seconds(os(wrong)).is_err(), "{wrong}");
        }
        assert!(deadline(os("0.0")).is_err());
    }

    #[test]
    fn sizes_take_a_letter() {
        assert_eq!(size(os("65536"), 0), Ok(65536));
        assert_eq!(size(os("64k"), 0), Ok(65536));
        assert_eq!(size(os("4M"), 0), Ok(4 << 20));
        assert_eq!(size(os("2G"), 0), Ok(2 << 30));
        for wrong in ["", "K", "-1K", "4MB", "1.5M", "99999999999G", "é"] {
            assert!(size(os(wrong), 0).is_err(), "{wrong}");
        }
        assert!(size(os("1K"), 4096).is_err());
    }

    #[test]
    fn rates_are_sizes_or_off() {
        assert_eq!(rate(os("5M")), Ok(5 << 20));
        assert_eq!(rate(os("off")), Ok(0));
        for wrong in ["", "0", "1", "1023", "5MB", "-5M", "no"] {
            assert!(rate(os(wrong)).is_err(), "{wrong}");
        }
        let change = |down, up| Ok(LimitChange { down, up });
        assert_eq!(limit_change("down=5M"), change(Some(5 << 20), None));
        assert_eq!(limit_change("up=off"), change(None, Some(0)));
        for wrong in ["", "5M", "down", "down=", "left=5M", "down=x"] {
            assert!(limit_change(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn masks_are_octal() {
        assert_eq!(mask(os("022")), Ok(0o22));
        for wrong in ["", "8", "1000", "0x12", "-1"] {
            assert!(mask(os(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode(os("644")), Ok(0o644));
        assert_eq!(mode(os("1777")), Ok(0o1777));
        for wrong in ["", "8", "10000", "rw", "u=rw", "-1"] {
            assert!(mode(os(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn charsets_are_known_by_label() {
        assert_eq!(charset(os("latin1")), Ok(Some(encoding_rs::WINDOWS_1252)));
        assert_eq!(charset(os("utf-8")), Ok(None));
        assert!(charset(os("utf-16le")).is_err());
        assert!(charset(os("klingon")).is_err());
    }

    #[test]
    fn zones_are_names_or_offsets() {
        let seconds = |zone: &str| {
            let zone = time_zone(os(zone)).unwrap();
            zone.to_offset(jiff::Timestamp::UNIX_EPOCH).seconds()
        };
        assert_eq!(seconds("UTC"), 0);
        assert_eq!(seconds("+02:00"), 7200);
        assert_eq!(seconds("-0330"), -12600);
        assert_eq!(seconds("+5"), 18000);
        for wrong in ["+\u{57045}", "", "+", "+99", "+1:2:3", "Nowhere/Town"] {
            assert!(time_zone(os(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_a_range_and_a_bind_is_of_this_machine() {
        assert_eq!(ports(os("5000-5001")), Ok(5000..=5001));
        assert_eq!(ports(os("7-7")), Ok(7..=7));
        for wrong in ["", "5000", "2-1", "0-5", "1-70000", "1-2-3", "a-b", "-"] {
            assert!(ports(os(wrong)).is_err(), "{wrong}");
        }
        let loopback = Bind::Address("127.0.0.2".parse().unwrap());
        assert_eq!(bind(os("127.0.0.2")), Ok(loopback));
        assert_eq!(bind(os("lo")), Ok(Bind::Interface("lo".into())));
        for wrong in ["", "192.0.2.1", "none-such-interface", "1.2.3"] {
            assert!(bind(os(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_to_listen_on_needs_its_port() {
        assert!(listen_address("127.0.0.1:0").is_ok());
        assert!(listen_address("[::1]:2121").is_ok());
        assert!(listen_address("127.0.0.1").unwrap_err().contains("port"));
        assert!(listen_address("here:1").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_value_panic(text in ".*") {
            let value = os(&text);
            let _ = (seconds(value), size(value, 0), mask(value), mode(value), time_zone(value), charset(value), atomic(value), append(value), background_names(value), verify(value), links(value));
        }
    }

    #[test]
    fn what_serve_announces_is_checked() {
        assert_eq!(passive_ports("50000-50100"), Ok(50_000..=50_100));
        assert_eq!(passive_ports("50000"), Ok(50_000..=50_000));
        for (wrong, words) in [
            ("0-5", "\"0\" is not a port"),
            ("1-65536", "\"65536\" is not a port"),
            ("-5", "\"\" is not a port"),
            ("5-", "\"\" is not a port"),
            ("1-2-3", "\"2-3\" is not a port"),
            ("60000-50000", "the lower port first: 50000-60000"),
        ] {
            let error = passive_ports(wrong).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
        assert_eq!(public_address("203.0.113.7"), Ok([203, 0, 113, 7].into()));
        assert_eq!(public_address("localhost"), Ok(Ipv4Addr::LOCALHOST));
        for (wrong, words) in [("::1", "EPSV"), ("", "not an IPv4 address")] {
            let error = public_address(wrong).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
        assert_eq!(sessions("2"), Ok(2));
        for wrong in ["0", "-1", "x", "99999999999999999999999"] {
            assert!(
                sessions(wrong).unwrap_err().contains("from 1 on"),
                "{wrong}"
            );
        }
    }
}
