//! Digests of files computed by servers: HASH (draft-bryan-ftpext-hash), and the older XSHA256,
//! XSHA1, XMD5 and XCRC, which are widespread but in no RFC.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha512};

use super::Reply;

/// Number of file bytes to hash at a time.
const PIECE: usize = 256 << 10;

/// Digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-512.
    Sha512,
    /// SHA-256.
    Sha256,
    /// SHA-1.
    Sha1,
    /// MD5.
    Md5,
    /// CRC-32 as in zip and Ethernet.
    Crc32,
}

/// Command that requests a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestCommand {
    /// HASH, with the algorithm selected by the server.
    Hash,
    /// XSHA256.
    Xsha256,
    /// XSHA1.
    Xsha1,
    /// XMD5.
    Xmd5,
    /// XCRC.
    Xcrc,
}

/// Digest of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Algorithm {
    /// Length of a digest in bytes.
    fn length(self) -> usize {
        match self {
            Self::Sha512 => 64,
            Self::Sha256 => 32,
            Self::Sha1 => 20,
            Self::Md5 => 16,
            Self::Crc32 => 4,
        }
    }

    /// All algorithms.
    pub const ALL: [Self; 5] = [
        Self::Sha512,
        Self::Sha256,
        Self::Sha1,
        Self::Md5,
        Self::Crc32,
    ];

    /// Name in HASH, its replies and its line in FEAT (draft-bryan-ftpext-hash §3).
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha512 => "SHA-512",
            Self::Sha256 => "SHA-256",
            Self::Sha1 => "SHA-1",
            Self::Md5 => "MD5",
            Self::Crc32 => "CRC32",
        }
    }

    /// Returns the algorithm with this name, in any case.
    fn named(name: &str) -> Option<Self> {
        let is_named = |algorithm: &Self| algorithm.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_named)
    }
}

impl DigestCommand {
    /// All commands in order of preference. HASH accepts any path; ProFTPD's other commands do not
    /// accept blanks.
    pub const ALL: [Self; 5] = [
        Self::Hash,
        Self::Xsha256,
        Self::Xsha1,
        Self::Xmd5,
        Self::Xcrc,
    ];

    /// Returns the algorithm of the command, or `None` for HASH, which has several.
    pub fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Hash => None,
            Self::Xsha256 => Some(Algorithm::Sha256),
            Self::Xsha1 => Some(Algorithm::Sha1),
            Self::Xmd5 => Some(Algorithm::Md5),
            Self::Xcrc => Some(Algorithm::Crc32),
        }
    }

    /// Name of the command, as sent and as listed by FEAT.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Hash => "HASH",
            Self::Xsha256 => "XSHA256",
            Self::Xsha1 => "XSHA1",
            Self::Xmd5 => "XMD5",
            Self::Xcrc => "XCRC",
        }
    }

    /// Parses the reply: `213 SHA-256 0-49 6ae8… path` for HASH, `250 6AE8…` for the others. Some
    /// servers put the path before the digest, and ProFTPD adds a line saying that it is at work.
    pub(super) fn parse_reply(self, reply: &Reply) -> Option<Digest> {
        let text = String::from_utf8_lossy(reply.lines().last()?).into_owned();
        let mut words = text.split_ascii_whitespace();
        let Some(algorithm) = self.algorithm() else {
            let algorithm = Algorithm::named(words.next()?)?;
            let _range = words.next()?;
            return Digest::parse(algorithm, words.next()?);
        };
        Digest::parse(algorithm, words.next_back()?)
    }
}

impl Digest {
    /// Algorithm of this digest.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the digits of this digest in hexadecimal.
    pub fn hexadecimal(&self) -> String {
        let digits = self.bytes.iter().map(|byte| format!("{byte:02x}"));
        digits.collect()
    }

    /// Computes the digest of the first `length` bytes of `file`.
    ///
    /// # Errors
    /// The file cannot be read or is shorter.
    pub fn of(algorithm: Algorithm, file: &File, length: u64) -> io::Result<Self> {
        let mut state = State::new(algorithm);
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < length {
            let wanted = usize::try_from(length - at).map_or(PIECE, |left| left.min(PIECE));
            let part = piece.get_mut(..wanted).unwrap_or_default();
            file.read_exact_at(part, at)?;
            state.update(part);
            at += wanted as u64;
        }
        Ok(Self {
            algorithm,
            bytes: state.end(),
        })
    }

    /// Parses hexadecimal digits. A CRC may lack leading zeros.
    fn parse(algorithm: Algorithm, digits: &str) -> Option<Self> {
        let length = algorithm.length() * 2;
        let is_whole = digits.len() == length
            || (algorithm == Algorithm::Crc32 && (1..length).contains(&digits.len()));
        if !is_whole || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let digits = format!("{digits:0>length$}");
        let pair = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        let bytes = (0..length).step_by(2).map(pair).collect::<Option<_>>()?;
        Some(Self { algorithm, bytes })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.algorithm, self.hexadecimal())
    }
}

/// State of a digest computation.
enum State {
    Long(Box<dyn DynDigest>),
    Crc(crc32fast::Hasher),
}

impl State {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha512 => Self::Long(Box::new(Sha512::default())),
            Algorithm::Sha256 => Self::Long(Box::new(Sha256::default())),
            Algorithm::Sha1 => Self::Long(Box::new(Sha1::default())),
            Algorithm::Md5 => Self::Long(Box::new(Md5::default())),
            Algorithm::Crc32 => Self::Crc(crc32fast::Hasher::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Long(state) => state.update(bytes),
            Self::Crc(state) => state.update(bytes),
        }
    }

    fn end(self) -> Vec<u8> {
        match self {
            Self::Long(state) => state.finalize().into_vec(),
            Self::Crc(state) => state.finalize().to_be_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::ftp::ReplyCode;

    fn parse_reply(command: DigestCommand, text: &str) -> Option<Digest> {
        let lines = vec![b"Computing".to_vec(), text.into()];
        command.parse_reply(&Reply::new(ReplyCode(250), lines))
    }

    /// Digests of `abc` from FIPS 180-4, RFC 1321 and cksum.
    #[test]
    fn a_digest_is_the_one_in_the_books_however_it_is_told() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abcdef").unwrap();
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let cases = [
            (DigestCommand::Xsha256, sha256.to_uppercase()),
            (DigestCommand::Hash, format!("SHA-256 0-3 {sha256} /a b")),
            (
                DigestCommand::Xsha1,
                "a9993e364706816aba3e25717850c26c9cd0d89d".to_owned(),
            ),
            (
                DigestCommand::Xmd5,
                "/abc 900150983CD24FB0D6963F7D28E17F72".to_owned(),
            ),
            (DigestCommand::Xcrc, "352441C2".to_owned()),
        ];
        for (command, text) in cases {
            let parsed = parse_reply(command, &text).unwrap();
            let made = Digest::of(parsed.algorithm(), &file, 3).unwrap();
            assert_eq!(parsed, made, "{command:?}");
            let longer = Digest::of(parsed.algorithm(), &file, 4).unwrap();
            assert_ne!(parsed, longer, "{command:?}");
        }
    }

    #[test]
    fn what_is_no_digest_is_none() {
        for (command, text) in [
            (DigestCommand::Xmd5, ""),
            (DigestCommand::Xmd5, "900150983CD24FB0D6963F7D28E17F7"),
            (DigestCommand::Xmd5, "900150983CD24FB0D6963F7D28E17F7x"),
            (DigestCommand::Xcrc, "352441C2A"),
            (DigestCommand::Xcrc, "é"),
            (DigestCommand::Hash, "TTH 0-3 352441C2 /a"),
            (DigestCommand::Hash, "CRC32"),
        ] {
            assert_eq!(parse_reply(command, text), None, "{text}");
        }
        let zeros = parse_reply(DigestCommand::Xcrc, "1f").unwrap();
        assert_eq!(zeros.to_string(), "Crc32 0000001f");
    }
}
