//! Addresses of data connections: PORT and PASV (RFC 959 §4.1.2), EPRT and EPSV (RFC 2428).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// An unsupported network protocol number, or text that is not an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadAddress {
    Syntax,
    Protocol,
}

/// Parses `h1,h2,h3,h4,p1,p2`, the argument of PORT.
pub(super) fn parse_port(argument: &[u8]) -> Result<SocketAddr, BadAddress> {
    let text = std::str::from_utf8(argument).map_err(|_| BadAddress::Syntax)?;
    let numbers: Vec<u8> = text
        .split(',')
        .map(|number| number.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|_| BadAddress::Syntax)?;
    let [a, b, c, d, high, low] = numbers[..] else {
        return Err(BadAddress::Syntax);
    };
    Ok((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

/// Parses `|1|132.235.1.2|6275|` or `|2|1080::8:800:200C:417A|5282|`, the argument of EPRT, with
/// any delimiter.
pub(super) fn parse_eprt(argument: &[u8]) -> Result<SocketAddr, BadAddress> {
    let text = std::str::from_utf8(argument).map_err(|_| BadAddress::Syntax)?;
    let delimiter = text.chars().next().ok_or(BadAddress::Syntax)?;
    let parts: Vec<&str> = text.split(delimiter).collect();
    let ["", protocol, host, port, ""] = parts[..] else {
        return Err(BadAddress::Syntax);
    };
    let host = match protocol {
        "1" => host
            .parse::<Ipv4Addr>()
            .map(IpAddr::from)
            .map_err(|_| BadAddress::Syntax)?,
        "2" => host
            .parse::<Ipv6Addr>()
            .map(IpAddr::from)
            .map_err(|_| BadAddress::Syntax)?,
        _ => return Err(BadAddress::Protocol),
    };
    let port = port.parse().map_err(|_| BadAddress::Syntax)?;
    Ok(SocketAddr::new(host, port))
}

/// Formats the text of a 227 reply.
pub(super) fn pasv_text(address: SocketAddrV4) -> String {
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    format!("Entering Passive Mode ({a},{b},{c},{d},{high},{low})")
}

/// Formats the text of a 229 reply.
pub(super) fn epsv_text(port: u16) -> String {
    format!("Entering Extended Passive Mode (|||{port}|)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_takes_six_numbers() {
        assert_eq!(
            parse_port(b"127,0,0,1,7,138"),
            Ok("127.0.0.1:1930".parse().unwrap())
        );
        for bad in [
            "",
            "1,2,3,4,5",
            "1,2,3,4,5,6,7",
            "256,0,0,1,1,1",
            "a,b,c,d,e,f",
            "1,2,3,4,5,-6",
        ] {
            assert_eq!(parse_port(bad.as_bytes()), Err(BadAddress::Syntax), "{bad}");
        }
    }

    #[test]
    fn eprt_takes_both_families_and_any_delimiter() {
        assert_eq!(
            parse_eprt(b"|1|132.235.1.2|6275|"),
            Ok("132.235.1.2:6275".parse().unwrap())
        );
        assert_eq!(
            parse_eprt(b"!2!::1!5282!"),
            Ok("[::1]:5282".parse().unwrap())
        );
        assert_eq!(parse_eprt(b"|3|host|1|"), Err(BadAddress::Protocol));
        for bad in [
            "",
            "|",
            "|1|::1|5|",
            "|2|1.2.3.4|5|",
            "|1|1.2.3.4|65536|",
            "|1|1.2.3.4|5",
        ] {
            assert_eq!(parse_eprt(bad.as_bytes()), Err(BadAddress::Syntax), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_address_survives_and_any_text_is_survived(address: SocketAddr, text: Vec<u8>) {
            let protocol = if address.is_ipv4() { 1 } else { 2 };
            let argument = format!("|{protocol}|{}|{}|", address.ip(), address.port());
            let same = SocketAddr::new(address.ip(), address.port());
            proptest::prop_assert_eq!(parse_eprt(argument.as_bytes()), Ok(same));
            // This only checks that they return.
            let _ = (parse_port(&text), parse_eprt(&text));
        }
    }

    #[test]
    fn passive_replies_carry_the_port() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1930);
        assert_eq!(
            pasv_text(address),
            "Entering Passive Mode (127,0,0,1,7,138)"
        );
        assert_eq!(epsv_text(1930), "Entering Extended Passive Mode (|||1930|)");
    }
}
