//! Contents of a certificate (RFC 5280 §4), for users who decide whether to trust it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Maximum number of characters shown of a name, which the server chooses.
const MAX_CHARACTERS: usize = 120;
/// Maximum number of stored names. Some certificates have hundreds.
const MAX_NAMES: usize = 64;
/// Number of names shown in one line. The others are counted.
const SHOWN_NAMES: usize = 6;

/// SHA-256 digest of a certificate in DER form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// The displayed fields of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Subject; may be empty.
    pub subject: String,
    /// Subject of the issuer.
    pub issuer: String,
    /// Host names and addresses (subjectAltName).
    pub names: Vec<String>,
    /// Start of the validity period, in UTC seconds since the epoch.
    pub not_before: i64,
    /// End of the validity period, in UTC seconds since the epoch.
    pub not_after: i64,
    /// Digest of the certificate, which a pin compares.
    pub fingerprint: Fingerprint,
    /// Digest of the public key (subjectPublicKeyInfo), which a renewed certificate may keep.
    pub key: Fingerprint,
}

impl Fingerprint {
    /// Bytes of the digest.
    pub(in crate::ftp) fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Computes the digest of a certificate in DER form.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    /// Parses `sha256:` and 64 hexadecimal digits, with or without colons between pairs.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (algorithm, digits) = text.split_once(':').ok_or(())?;
        if !algorithm.eq_ignore_ascii_case("sha256") {
            return Err(());
        }
        let digits: Vec<u8> = digits
            .chars()
            .filter(|character| *character != ':')
            .map(|character| character.to_digit(16).map(|digit| digit as u8).ok_or(()))
            .collect::<Result<_, _>>()?;
        let pairs = digits.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(());
        }
        let bytes: Vec<u8> = pairs
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect();
        bytes.try_into().map(Self).map_err(|_| ())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Certificate {
    /// The first day of the validity period, as text.
    pub fn first_day(&self) -> String {
        day(self.not_before)
    }

    /// The last day of the validity period, as text.
    pub fn last_day(&self) -> String {
        day(self.not_after)
    }

    /// Parses a certificate. An unreadable one is shown as such, because its fingerprint still
    /// identifies it.
    pub(super) fn read(der: &[u8]) -> Self {
        let fingerprint = Fingerprint::of(der);
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Self {
                subject: "not readable".to_owned(),
                issuer: "not readable".to_owned(),
                names: Vec::new(),
                not_before: i64::MIN,
                not_after: i64::MAX,
                fingerprint,
                key: fingerprint,
            };
        };
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map_or_else(Vec::new, |names| {
            let names = names.value.general_names.iter();
            names.filter_map(display_name).take(MAX_NAMES).collect()
        });
        Self {
            subject: escaped(&certificate.subject().to_string()),
            issuer: escaped(&certificate.issuer().to_string()),
            names,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            fingerprint,
            key: Fingerprint::of(certificate.public_key().raw),
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if self.names.is_empty() {
            "no names".to_owned()
        } else {
            let shown: Vec<_> = self.names.iter().take(SHOWN_NAMES).cloned().collect();
            let more = self.names.len() - shown.len();
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("{}{more}", shown.join(", "))
        };
        // The server chooses subject and names: whatever they contain comes after the fingerprint.
        write!(
            f,
            "{}: {} for {names}, valid from {} to {}",
            self.fingerprint,
            if self.subject.is_empty() {
                "no subject"
            } else {
                &self.subject
            },
            day(self.not_before),
            day(self.not_after),
        )
    }
}

/// Formats the day of a UTC time.
pub(super) fn day(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => "an unknown day".to_owned(),
    }
}

fn display_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) if is_host_name(name) => Some(escaped(name)),
        GeneralName::DNSName(name) => Some(format!("\"{}\"", escaped(name))),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    }
}

/// Whether a name can be one of a host, or of all hosts of a domain.
fn is_host_name(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.*".contains(c))
}

/// Escapes text from the server for terminals and logs.
fn escaped(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_CHARACTERS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MAX_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_with_and_without_colons_in_any_case() {
        let hex = "0123456789abcdef".repeat(4);
        let plain: Fingerprint = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(plain.to_string(), format!("sha256:{hex}"));
        let pairs: Vec<_> = hex
            .as_bytes()
            .chunks(2)
            .map(String::from_utf8_lossy)
            .collect();
        let colons = format!("SHA256:{}", pairs.join(":").to_uppercase());
        assert_eq!(colons.parse(), Ok(plain));
        for bad in [
            hex.as_str(),
            "sha256:",
            "sha256:12",
            "sha1:0123456789abcdef0123456789abcdef01234567",
            &format!("sha256:{hex}0"),
            &format!("sha256:{hex}00"),
            &format!("sha256:{}g", &hex[1..]),
        ] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_shown_by_its_fingerprint() {
        let certificate = Certificate::read(b"junk");
        let text = certificate.to_string();
        assert!(text.contains("not readable"), "{text}");
        assert!(
            text.contains(&Fingerprint::of(b"junk").to_string()),
            "{text}"
        );
    }

    #[test]
    fn a_name_cannot_write_on_the_terminal() {
        assert_eq!(escaped("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(
            escaped(&"x".repeat(1000)).chars().count(),
            MAX_CHARACTERS + 1
        );
    }

    /// A name that looks like the rest of the description does not hide the fingerprint.
    #[test]
    fn a_name_cannot_be_mistaken_for_the_fingerprint() {
        let fake = "127.0.0.1, valid from 2026-01-01, sha256:00";
        let name = display_name(&GeneralName::DNSName(fake)).unwrap();
        assert_eq!(name, format!("\"{fake}\""));
        for honest in ["nas.example.org", "*.example.org", "my_nas"] {
            let name = display_name(&GeneralName::DNSName(honest)).unwrap();
            assert_eq!(name, honest);
        }
        let certificate = Certificate {
            subject: format!("CN={fake}"),
            ..Certificate::read(b"no certificate")
        };
        let shown = certificate.to_string();
        assert!(
            shown.starts_with(&certificate.fingerprint.to_string()),
            "{shown}"
        );
    }
}
