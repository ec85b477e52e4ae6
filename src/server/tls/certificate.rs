//! The server's certificate and key: read from PEM files (RFC 7468) or generated.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{ToSpan, Zoned};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::unusable;

/// Subject of a generated certificate.
const SUBJECT: &str = "ftpfs serve";

/// A certificate chain and its private key.
#[derive(Clone)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    pem: String,
}

impl Certificate {
    /// Reads PEM files: the server's certificate followed by its issuers, and the key without
    /// passphrase (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    ///
    /// A file cannot be read or has no such contents; the message names it.
    pub fn from_files(certificate: &Path, key: &Path) -> io::Result<Self> {
        let pem = fs::read_to_string(certificate).map_err(|error| unusable(certificate, error))?;
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(certificate, error))?;
        if chain.is_empty() {
            return Err(unusable(certificate, "there is no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| unusable(key, format!("no private key: {error}")))?;
        Ok(Self {
            chain,
            key: Arc::new(key),
            pem,
        })
    }

    /// Generates a self-signed certificate for a server that listens on `address`, valid for one
    /// year and held in memory only. It names the address (all local addresses if that is
    /// unspecified) and `localhost`.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn made_for(address: IpAddr) -> io::Result<Self> {
        Self::make(address).map_err(io::Error::other)
    }

    fn make(address: IpAddr) -> Result<Self, rcgen::Error> {
        let mut addresses = vec![address];
        if address.is_unspecified() {
            addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        let names = addresses.iter().map(ToString::to_string);
        let names: Vec<String> = names.chain(["localhost".to_owned()]).collect();
        let mut asked = CertificateParams::new(names)?;
        asked.distinguished_name = DistinguishedName::new();
        asked.distinguished_name.push(DnType::CommonName, SUBJECT);
        asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Allow for a few hours of difference between the clocks of both machines.
        let today = Zoned::now().date();
        let midnight = |date: Date| {
            rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
        };
        asked.not_before = midnight(today.saturating_sub(1.day()));
        asked.not_after = midnight(today.saturating_add(1.year()));
        let key = KeyPair::generate()?;
        let made = asked.self_signed(&key)?;
        Ok(Self {
            chain: vec![made.der().clone()],
            key: Arc::new(PrivateKeyDer::Pkcs8(key.serialize_der().into())),
            pem: made.pem(),
        })
    }

    /// Returns `sha256:` followed by the SHA-256 digest of the DER form in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let sum = Sha256::digest(self.chain.first().map_or(&[][..], AsRef::as_ref));
        sum.iter().fold("sha256:".to_owned(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The certificate and its issuers in PEM, without the key.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn with_key(&self, provider: &CryptoProvider) -> io::Result<CertifiedKey> {
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), provider).map_err(
            |error| {
                let words = format!("the certificate and its key do not fit: {error}");
                io::Error::new(io::ErrorKind::InvalidInput, words)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn each_certificate_made_is_another_one() {
        let made = || Certificate::made_for(Ipv4Addr::LOCALHOST.into()).unwrap();
        let (first, second) = (made(), made());
        assert_eq!(first.fingerprint().len(), "sha256:".len() + 64);
        assert_ne!(first.fingerprint(), second.fingerprint());
        assert!(!first.pem().contains("PRIVATE"));
    }

    #[test]
    fn files_that_hold_no_certificate_or_no_key_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let made = Certificate::made_for(Ipv4Addr::LOCALHOST.into()).unwrap();
        let certificate = written(directory.path(), "cert.pem", made.pem());
        let empty = written(directory.path(), "empty.pem", "");
        let missing = directory.path().join("missing.pem");
        for (certificate, key, named) in [
            (&certificate, &certificate, "cert.pem: no private key"),
            (&empty, &empty, "empty.pem: there is no certificate"),
            (&missing, &missing, "missing.pem: No such file"),
        ] {
            let error = Certificate::from_files(certificate, key).err().unwrap();
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let one = Certificate::made_for(Ipv4Addr::LOCALHOST.into()).unwrap();
        let other = Certificate::made_for(Ipv4Addr::LOCALHOST.into()).unwrap();
        let mixed = Certificate {
            key: other.key,
            ..one
        };
        let error = mixed.with_key(&rustls::crypto::ring::default_provider());
        let error = error.err().unwrap().to_string();
        assert!(error.contains("do not fit"), "{error}");
    }
}
