//! Verification of the server's handshake signature with the key of a certificate that may be old.
//!
//! webpki only accepts X.509 version 3 and RSA keys of 2048 bits or more. If the certificate is
//! pinned or not checked, its version does not matter, and old appliances use RSA keys of 1024
//! bits.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::SignatureScheme;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Minimum length in bits of RSA keys without restrictions.
pub(super) const STRONG_RSA_BITS: usize = 2048;
/// Minimum length in bits of RSA keys that can be used at all.
const MIN_RSA_BITS: usize = 1024;

/// Signature schemes for RSA keys of [`MIN_RSA_BITS`] to [`STRONG_RSA_BITS`] bits. TLS 1.3 allows
/// none of them.
pub(super) const SHORT_RSA_SCHEMES: [SignatureScheme; 2] = [
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// Reason why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureProblem {
    /// The certificate cannot be parsed.
    Unreadable,
    /// An RSA key of this length, with a scheme that requires a longer one.
    ShortRsa(usize),
    /// An RSA key of this length, too short for any scheme.
    HopelessRsa(usize),
    /// The key does not match the scheme.
    OtherKey,
    /// The signature does not match the key.
    Forged,
}

/// Verifies `signature` over `message` with the key of `certificate` (DER).
pub(super) fn verify(
    scheme: SignatureScheme,
    certificate: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureProblem> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| SignatureProblem::Unreadable)?;
    let info = certificate.public_key();
    let algorithm = algorithm(scheme, info)?;
    UnparsedPublicKey::new(algorithm, &info.subject_public_key.data)
        .verify(message, signature)
        .map_err(|_| SignatureProblem::Forged)
}

/// Length in bits of a certificate's RSA key. `None` for other keys.
pub(super) fn rsa_bits(certificate: &[u8]) -> Option<usize> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => Some(key.key_size()),
        _ => None,
    }
}

fn algorithm(
    scheme: SignatureScheme,
    info: &SubjectPublicKeyInfo<'_>,
) -> Result<&'static dyn VerificationAlgorithm, SignatureProblem> {
    let key = info.parsed().map_err(|_| SignatureProblem::Unreadable)?;
    match key {
        PublicKey::RSA(key) => rsa_algorithm(scheme, key.key_size()),
        PublicKey::EC(_) => {
            let parameters = info.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|it| it.as_oid().ok());
            let curve = curve.ok_or(SignatureProblem::Unreadable)?;
            let is_p256 = curve == OID_EC_P256;
            let is_p384 = curve == OID_NIST_EC_P384;
            // TLS 1.2 does not tie the hash to the curve.
            match scheme {
                SignatureScheme::ECDSA_NISTP256_SHA256 if is_p256 => {
                    Ok(&signature::ECDSA_P256_SHA256_ASN1)
                }
                SignatureScheme::ECDSA_NISTP256_SHA256 if is_p384 => {
                    Ok(&signature::ECDSA_P384_SHA256_ASN1)
                }
                SignatureScheme::ECDSA_NISTP384_SHA384 if is_p256 => {
                    Ok(&signature::ECDSA_P256_SHA384_ASN1)
                }
                SignatureScheme::ECDSA_NISTP384_SHA384 if is_p384 => {
                    Ok(&signature::ECDSA_P384_SHA384_ASN1)
                }
                _ => Err(SignatureProblem::OtherKey),
            }
        }
        PublicKey::Unknown(_) if info.algorithm.algorithm == OID_SIG_ED25519 => match scheme {
            SignatureScheme::ED25519 => Ok(&signature::ED25519),
            _ => Err(SignatureProblem::OtherKey),
        },
        _ => Err(SignatureProblem::OtherKey),
    }
}

fn rsa_algorithm(
    scheme: SignatureScheme,
    bits: usize,
) -> Result<&'static dyn VerificationAlgorithm, SignatureProblem> {
    if bits < MIN_RSA_BITS {
        return Err(SignatureProblem::HopelessRsa(bits));
    }
    match scheme {
        SignatureScheme::RSA_PKCS1_SHA256 => {
            Ok(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY)
        }
        SignatureScheme::RSA_PKCS1_SHA512 => {
            Ok(&signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY)
        }
        _ if bits < STRONG_RSA_BITS => Err(SignatureProblem::ShortRsa(bits)),
        SignatureScheme::RSA_PKCS1_SHA384 => Ok(&signature::RSA_PKCS1_2048_8192_SHA384),
        SignatureScheme::RSA_PSS_SHA256 => Ok(&signature::RSA_PSS_2048_8192_SHA256),
        SignatureScheme::RSA_PSS_SHA384 => Ok(&signature::RSA_PSS_2048_8192_SHA384),
        SignatureScheme::RSA_PSS_SHA512 => Ok(&signature::RSA_PSS_2048_8192_SHA512),
        _ => Err(SignatureProblem::OtherKey),
    }
}

/// Whether TLS 1.3 allows the scheme in a handshake (RFC 8446 §4.2.3).
pub(super) fn is_for_tls13(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::ECDSA_NISTP256_SHA256
            | SignatureScheme::ECDSA_NISTP384_SHA384
            | SignatureScheme::ED25519
            | SignatureScheme::RSA_PSS_SHA256
            | SignatureScheme::RSA_PSS_SHA384
            | SignatureScheme::RSA_PSS_SHA512
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    #[track_caller]
    fn openssl(directory: &Path, arguments: &str) {
        let arguments = arguments.split(' ');
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Returns a self-signed certificate of version 1, with a key generated by `openssl genpkey`
    /// with these arguments, and its signature over `message`.
    fn signed(key: &str, message: &[u8], signing: &str) -> (Vec<u8>, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        std::fs::write(place.join("message"), message).unwrap();
        openssl(place, &format!("genpkey {key} -out key"));
        openssl(place, "req -new -key key -subj /CN=old -out request");
        openssl(
            place,
            "x509 -req -in request -signkey key -days 9 -outform DER -out certificate",
        );
        openssl(
            place,
            &format!("dgst {signing} -sign key -out signature message"),
        );
        let read = |name: &str| std::fs::read(place.join(name)).unwrap();
        (read("certificate"), read("signature"))
    }

    #[test]
    fn certificates_that_webpki_does_not_take_sign_handshakes() {
        use SignatureScheme as S;
        let rsa = |bits: u32| format!("-algorithm RSA -pkeyopt rsa_keygen_bits:{bits}");
        let ec = |curve: &str| format!("-algorithm EC -pkeyopt ec_paramgen_curve:{curve}");
        let pss = "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest";
        for (key, signing, scheme, expected) in [
            (rsa(1024), "-sha256", S::RSA_PKCS1_SHA256, Ok(())),
            (rsa(1024), "-sha512", S::RSA_PKCS1_SHA512, Ok(())),
            (
                rsa(1024),
                pss,
                S::RSA_PSS_SHA256,
                Err(SignatureProblem::ShortRsa(1024)),
            ),
            (
                rsa(512),
                "-sha256",
                S::RSA_PKCS1_SHA256,
                Err(SignatureProblem::HopelessRsa(512)),
            ),
            (rsa(2048), pss, S::RSA_PSS_SHA256, Ok(())),
            (rsa(2048), "-sha384", S::RSA_PKCS1_SHA384, Ok(())),
            (ec("P-256"), "-sha256", S::ECDSA_NISTP256_SHA256, Ok(())),
            (ec("P-384"), "-sha256", S::ECDSA_NISTP256_SHA256, Ok(())),
            (
                ec("P-256"),
                "-sha256",
                S::RSA_PSS_SHA256,
                Err(SignatureProblem::OtherKey),
            ),
        ] {
            let (certificate, signature) = signed(&key, b"the handshake", signing);
            let judged = verify(scheme, &certificate, b"the handshake", &signature);
            assert_eq!(judged, expected, "{key} {signing}");
            if expected.is_ok() {
                let forged = verify(scheme, &certificate, b"another handshake", &signature);
                assert_eq!(forged, Err(SignatureProblem::Forged), "{key} {signing}");
            }
        }
        let junk = verify(S::ED25519, b"junk", b"", b"");
        assert_eq!(junk, Err(SignatureProblem::Unreadable));
    }
}
