//! Choice of the proxy: the option `proxy`, otherwise the environment variables that curl and other
//! programs use.

use std::net::IpAddr;

use super::Failure;
use crate::ftp::{Password, Proxy};
use crate::source::parse_proxy;

/// Variables that may name a proxy; the first one that is set counts. `http_proxy` is not among
/// them, because it is for HTTP.
pub(super) const NAMES: [&str; 4] = ["ftp_proxy", "FTP_PROXY", "all_proxy", "ALL_PROXY"];

/// Variables that may name hosts to reach directly.
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The value of the option.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Choice {
    /// The environment decides.
    #[default]
    Environment,
    /// No proxy, whatever the environment says.
    Straight,
    /// This proxy, for every host.
    By(Proxy),
}

/// The values from the environment.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// The variable's name and its value, which may contain a password.
    proxy: Option<(&'static str, Password)>,
    exceptions: String,
}

/// Reads the environment with `variable`. An empty variable counts as not set.
pub(super) fn variables(variable: impl Fn(&str) -> Option<String>) -> Variables {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let proxy = |name| Some((name, Password::new(set(name)?)));
    Variables {
        proxy: NAMES.into_iter().find_map(proxy),
        exceptions: EXCEPTIONS.into_iter().find_map(set).unwrap_or_default(),
    }
}

/// Returns the proxy for `host`.
///
/// # Errors
/// The environment names one that cannot be used.
pub(super) fn choose(
    choice: &Choice,
    variables: &Variables,
    host: &str,
) -> Result<Option<Proxy>, Failure> {
    match choice {
        Choice::Straight => return Ok(None),
        Choice::By(proxy) => return Ok(Some(proxy.clone())),
        Choice::Environment => {}
    }
    let Some((name, value)) = &variables.proxy else {
        return Ok(None);
    };
    if is_excepted(host, &variables.exceptions) {
        return Ok(None);
    }
    let value = value.reveal();
    // A URL without a scheme is an HTTP proxy, as in curl.
    let url = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    let proxy = parse_proxy(&url).map_err(|error| {
        format!("{name} in the environment: {error} is expected (-o proxy=none ignores it)")
    })?;
    Ok(Some(proxy))
}

/// Whether the list contains `host`, or a domain or network that contains it; `*` is every host.
fn is_excepted(host: &str, list: &str) -> bool {
    let words = list.split([',', ' ']).filter(|word| !word.is_empty());
    words.into_iter().any(|word| {
        word == "*"
            || match host.parse::<IpAddr>() {
                Ok(address) => is_in_network(address, word),
                Err(_) => is_in_domain(host, word),
            }
    })
}

fn is_in_domain(host: &str, domain: &str) -> bool {
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let before = host.strip_suffix(&domain);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// `network` is an address, optionally with the number of its significant leading bits (RFC 4632
/// §3.1).
fn is_in_network(address: IpAddr, network: &str) -> bool {
    let network = network.trim_start_matches('[').trim_end_matches(']');
    let (network, bits) = match network.split_once('/') {
        Some((network, bits)) => (network, bits.parse().ok()),
        None => (network, Some(128)),
    };
    let (Ok(network), Some(bits)) = (network.parse::<IpAddr>(), bits) else {
        return false;
    };
    let same = |one: u128, other: u128, width: u32| {
        let differing = one ^ other;
        differing
            .checked_shr(width.saturating_sub(bits))
            .unwrap_or(0)
            == 0
    };
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            same(one.to_bits().into(), other.to_bits().into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(set: &[(&str, &str)], host: &str) -> Result<Option<String>, String> {
        let variables = variables(|name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        match choose(&Choice::Environment, &variables, host) {
            Ok(proxy) => Ok(proxy.map(|proxy| proxy.to_string())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_variable_for_ftp_wins_over_the_one_for_all() {
        let one = Ok(Some("socks5://one:1080".to_owned()));
        assert_eq!(
            chosen(
                &[("ALL_PROXY", "http://two:1"), ("FTP_PROXY", "socks5://one")],
                "h"
            ),
            one
        );
        assert_eq!(
            chosen(&[("ftp_proxy", ""), ("all_proxy", "socks5://one")], "h"),
            one
        );
        let bare = chosen(&[("FTP_PROXY", "one:3128")], "h");
        assert_eq!(bare, Ok(Some("http://one:3128".to_owned())));
        assert_eq!(chosen(&[("http_proxy", "http://one:1")], "h"), Ok(None));
        assert_eq!(chosen(&[], "h"), Ok(None));
    }

    #[test]
    fn a_variable_that_cannot_be_is_named_and_not_repeated() {
        let message = chosen(&[("ALL_PROXY", "socks4://me:hunter2@h:1")], "h").unwrap_err();
        assert!(message.contains("ALL_PROXY") && message.contains("proxy=none"));
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn hosts_of_the_exceptions_are_reached_straight() {
        for (list, host, is_excepted) in [
            ("*", "h", true),
            ("example.org", "ftp.Example.org", true),
            (".example.org", "example.org", true),
            ("example.org", "counterexample.org", false),
            ("a, b c", "c", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("::1", "::1", true),
            ("[fd00::]/8", "fd12::1", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/129", "fd12::1", false),
            ("0.0.0.1", "10.0.0.1", false),
            ("", "h", false),
        ] {
            assert_eq!(super::is_excepted(host, list), is_excepted, "{list} {host}");
        }
    }

    #[test]
    fn what_was_typed_wins_over_the_environment() {
        let variables = variables(|_| Some("socks5://environment".to_owned()));
        let chosen = |choice| choose(&choice, &variables, "h").unwrap();
        assert_eq!(chosen(Choice::Straight), None);
        let typed = parse_proxy("http://typed").unwrap();
        assert_eq!(chosen(Choice::By(typed.clone())), Some(typed));
    }
}
