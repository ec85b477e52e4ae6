//! The hosts of a `[host."PATTERN"]` section.

use std::net::IpAddr;

use super::error::EntryError;

/// The hosts of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    /// All hosts below this domain, which begins with a dot.
    Domain(String),
    /// This host.
    Exact(String),
}

impl HostPattern {
    /// Parses `HOST` or `*.DOMAIN`.
    ///
    /// # Errors
    /// No source can have such a host.
    pub(super) fn parse(text: &str) -> Result<Self, EntryError> {
        let (is_domain, name) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, text),
        };
        let is_host = |c: char| c.is_alphanumeric() || ".-_:[]%".contains(c);
        let canonical = canonical(name);
        if canonical.is_empty() || canonical.starts_with('.') || !name.chars().all(is_host) {
            return Err(EntryError::BadHost);
        }
        Ok(if is_domain {
            Self::Domain(format!(".{canonical}"))
        } else {
            Self::Exact(canonical)
        })
    }

    /// Whether the section is about `host`.
    pub(super) fn matches(&self, host: &str) -> bool {
        let host = canonical(host);
        match self {
            Self::Domain(domain) => host.len() > domain.len() && host.ends_with(domain.as_str()),
            Self::Exact(name) => host == *name,
        }
    }

    /// Whether the section is about one host.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// Orders patterns from the general to the particular.
    pub(super) fn precision(&self) -> (bool, usize) {
        match self {
            Self::Domain(domain) => (false, domain.len()),
            Self::Exact(name) => (true, name.len()),
        }
    }
}

/// Returns the one form of all spellings of a host: names have no case (RFC 4343) and may end with
/// the root's dot; international names are written in ASCII (RFC 5891), addresses in their shortest
/// form.
fn canonical(host: &str) -> String {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let bare = bare.unwrap_or(host);
    let (number, zone) = bare.split_once('%').unwrap_or((bare, ""));
    if let Ok(address) = number.parse::<IpAddr>() {
        let mark = if zone.is_empty() { "" } else { "%" };
        return format!("{address}{mark}{zone}");
    }
    let name = bare.strip_suffix('.').unwrap_or(bare).to_lowercase();
    match url::Host::parse(&name) {
        Ok(host) => host.to_string(),
        Err(_) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, host: &str) -> bool {
        HostPattern::parse(pattern).unwrap().matches(host)
    }

    #[test]
    fn a_host_is_matched_whole_or_by_its_domain() {
        assert!(matches("h.example.org", "H.example.org"));
        assert!(matches("*.example.org", "a.b.example.org"));
        assert!(!matches("*.example.org", "example.org"));
        assert!(!matches("*.example.org", "badexample.org"));
        let precision = |pattern: &str| HostPattern::parse(pattern).unwrap().precision();
        assert!(precision("*.org") < precision("*.example.org"));
        assert!(precision("*.example.org") < precision("h"));
        for wrong in ["", "*", "*.", "a b", "a/b", ".", "*..org"] {
            assert!(HostPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_spelling_of_a_host_is_the_same_host() {
        for (pattern, host) in [
            ("nas.example.org", "nas.example.org."),
            ("nas.example.org.", "NAS.example.org"),
            ("*.example.org", "nas.example.org."),
            ("münchen.example", "xn--mnchen-3ya.example"),
            ("*.münchen.example", "ftp.xn--mnchen-3ya.example"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("[::1]", "::1"),
            ("fe80::1%eth0", "fe80:0::1%eth0"),
            ("127.0.0.1", "127.0.0.1"),
            ("my_nas", "MY_NAS"),
        ] {
            assert!(matches(pattern, host), "{pattern} {host}");
        }
        assert!(!matches("fe80::1%eth0", "fe80::1%eth1"));
    }
}
