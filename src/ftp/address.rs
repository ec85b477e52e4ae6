//! Addresses in commands and replies: 227, 229, PORT and EPRT (RFC 959 §4.1.2, RFC 2428).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// Four numbers for the address and two for the port.
const ADDRESS_NUMBERS: usize = 6;

/// Parses the port in the text of a 229: `… (|||port|)` with any delimiter in place of `|` (RFC
/// 2428 §3). Some servers omit the brackets or the last delimiter, or put blanks around the port.
pub(super) fn extended_passive_port(text: &[u8]) -> Option<u16> {
    let is_delimiter = |byte: u8| byte.is_ascii_punctuation() && !b"()[]{}".contains(&byte);
    (0..text.len()).find_map(|start| {
        let (delimiter, rest) = text.get(start..)?.split_first()?;
        if !is_delimiter(*delimiter) {
            return None;
        }
        let mut fields = rest.split(|byte| byte == delimiter);
        let (family, address, port) = (fields.next()?, fields.next()?, fields.next()?);
        let is_address = |byte: &u8| byte.is_ascii_hexdigit() || b".: ".contains(byte);
        if !family.trim_ascii().iter().all(u8::is_ascii_digit) || !address.iter().all(is_address) {
            return None;
        }
        let port = port.strip_suffix(b")").unwrap_or(port).trim_ascii();
        number(port).filter(|port| *port != 0)
    })
}

/// Parses the address in the text of a 227: six numbers separated by commas, in any context. RFC
/// 959 does not specify the format; servers omit the brackets, or put blanks around the commas or
/// other numbers before the address. Prefers six numbers in brackets, then six that stand alone,
/// then the last six of a longer row.
pub(super) fn passive_address(text: &[u8]) -> Option<SocketAddrV4> {
    let rows: Vec<_> = rows(text).collect();
    let whole = |row: &&NumberRow<'_>| row.numbers.len() == ADDRESS_NUMBERS;
    let bracketed = rows.iter().filter(whole).filter(|row| row.is_bracketed);
    bracketed
        .chain(rows.iter().filter(whole))
        .chain(rows.iter().filter(|row| !row.is_bracketed))
        .find_map(|row| address_of(&row.numbers))
}

/// A row of numbers separated only by commas and blanks.
struct NumberRow<'a> {
    numbers: Vec<&'a [u8]>,
    /// The first number directly follows a bracket.
    is_bracketed: bool,
}

/// Iterates over all rows of numbers in `text`.
fn rows(text: &[u8]) -> impl Iterator<Item = NumberRow<'_>> {
    let mut rest = text;
    let mut before = None;
    std::iter::from_fn(move || {
        let start = rest.iter().position(u8::is_ascii_digit)?;
        let head = rest.get(..start).unwrap_or_default().trim_ascii_end();
        let is_bracketed = head.last().copied().or(before) == Some(b'(');
        rest = rest.get(start..)?;
        let mut numbers = Vec::new();
        loop {
            let end = rest.iter().position(|byte| !byte.is_ascii_digit());
            let (digits, after) = rest.split_at(end.unwrap_or(rest.len()));
            numbers.push(digits);
            rest = after;
            before = None;
            let next = after.trim_ascii_start().strip_prefix(b",");
            match next.map(<[u8]>::trim_ascii_start) {
                Some(next) if next.first().is_some_and(u8::is_ascii_digit) => rest = next,
                _ => break,
            }
        }
        Some(NumberRow {
            numbers,
            is_bracketed,
        })
    })
}

/// Formats the argument of PORT.
pub(super) fn port_argument(address: SocketAddrV4) -> String {
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    format!("{a},{b},{c},{d},{high},{low}")
}

/// Formats the argument of EPRT (RFC 2428 §2).
pub(super) fn extended_port_argument(address: SocketAddr) -> String {
    let family = match address.ip() {
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 2,
    };
    format!("|{family}|{}|{}|", address.ip(), address.port())
}

/// Returns the address formed by the last six of `numbers`.
fn address_of(numbers: &[&[u8]]) -> Option<SocketAddrV4> {
    let last = numbers.len().checked_sub(ADDRESS_NUMBERS)?;
    let numbers: Vec<u8> = numbers
        .get(last..)?
        .iter()
        .map(|digits| number(digits))
        .collect::<Option<_>>()?;
    let [a, b, c, d, high, low] = numbers.as_slice() else {
        return None;
    };
    let port = u16::from_be_bytes([*high, *low]);
    (port != 0).then(|| SocketAddrV4::new(Ipv4Addr::new(*a, *b, *c, *d), port))
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Formats `host:port`, with IPv6 addresses in brackets.
pub(super) fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_229_gives_its_port() {
        assert_eq!(
            extended_passive_port(b"Entering Extended Passive Mode (|||6446|)"),
            Some(6446)
        );
        for text in [
            b"EPSV ok (!!!21!)".as_slice(),
            b"Entering Extended Passive Mode |||21|",
            b"(EPSV) ok: ( ||| 21 | )",
            b"Entering ... Mode (|1|192.0.2.1|21|)",
            b"ok (|||21)",
        ] {
            assert_eq!(extended_passive_port(text), Some(21));
        }
        for bad in [
            b"ok".as_slice(),
            b"(|||0|)",
            b"(|||65536|)",
            b"(|||-1|)",
            b"(",
            b"(||)",
        ] {
            assert_eq!(extended_passive_port(bad), None);
        }
    }

    #[test]
    fn a_227_gives_six_numbers_wherever_they_stand() {
        let expected = Some(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 4 * 256 + 2));
        for text in [
            b"Entering Passive Mode (10,0,0,1,4,2).".as_slice(),
            b"Entering Passive Mode 10,0,0,1,4,2",
            b"=10,0,0,1,4,2 (1.2)",
            b"Entering Passive Mode (10, 0, 0, 1, 4, 2)",
            b"( 10 ,0 , 0,1 ,4,2 )",
            b"Passive mode 2 on, port 7: (010,000,000,001,004,002)",
            b"mode 3, (10,0,0,1,4,2)",
            b"mode 3, 10,0,0,1,4,2",
            b"1,2,3,4,5,6 (10,0,0,1,4,2)",
            b"10,0,0,1,4,2.",
        ] {
            assert_eq!(
                passive_address(text),
                expected,
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        for bad in [
            b"(1,2,3,4,5)".as_slice(),
            b"(1,2,3,4,0,0)",
            b"(256,1,1,1,1,1)",
            b"(1,2,3,4,5,6,7)",
            b"1,2,3,4,5,",
            b"",
        ] {
            assert_eq!(passive_address(bad), None);
        }
    }

    #[test]
    fn an_address_is_written_as_the_rfcs_say() {
        assert_eq!(
            port_argument("127.0.0.1:1027".parse().unwrap()),
            "127,0,0,1,4,3"
        );
        assert_eq!(
            extended_port_argument("127.0.0.1:1".parse().unwrap()),
            "|1|127.0.0.1|1|"
        );
        assert_eq!(
            extended_port_argument("[::1]:2".parse().unwrap()),
            "|2|::1|2|"
        );
    }
}
