//! Addresses in commands and replies: 227 and 229, PORT and EPRT (RFC 959 §4.1.2, RFC 2428).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// The port in a 229's text: `… (|||port|)` with any delimiter in `|`'s place (RFC 2428 §3).
pub(super) fn extended_passive_port(text: &[u8]) -> Option<u16> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let inner = text.get(open + 1..)?;
    let [delimiter, rest @ ..] = inner else {
        return None;
    };
    let mut fields = rest.split(|byte| byte == delimiter);
    let (_family, _address, port) = (fields.next()?, fields.next()?, fields.next()?);
    number(port).filter(|port| *port != 0)
}

/// The address in a 227's text: the first six numbers that stand together, with commas between,
/// whatever is around them (RFC 959 says parentheses, not every server does).
pub(super) fn passive_address(text: &[u8]) -> Option<SocketAddrV4> {
    text.split(|byte| !byte.is_ascii_digit() && *byte != b',')
        .find_map(six_numbers)
}

/// PORT's argument.
pub(super) fn port_argument(address: SocketAddrV4) -> String {
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    format!("{a},{b},{c},{d},{high},{low}")
}

/// EPRT's argument (RFC 2428 §2).
pub(super) fn extended_port_argument(address: SocketAddr) -> String {
    let family = match address.ip() {
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 2,
    };
    format!("|{family}|{}|{}|", address.ip(), address.port())
}

fn six_numbers(text: &[u8]) -> Option<SocketAddrV4> {
    let numbers: Vec<u8> = text
        .split(|byte| *byte == b',')
        .map(number)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_229_gives_its_port() {
        assert_eq!(
            extended_passive_port(b"Entering Extended Passive Mode (|||6446|)"),
            Some(6446)
        );
        assert_eq!(extended_passive_port(b"EPSV ok (!!!21!)"), Some(21));
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
        ] {
            assert_eq!(passive_address(text), expected);
        }
        for bad in [
            b"(1,2,3,4,5)".as_slice(),
            b"(1,2,3,4,0,0)",
            b"(256,1,1,1,1,1)",
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
