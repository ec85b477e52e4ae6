//! Options for the connection to the server.

use super::{Group, Set, Spec, flag, valued};
use crate::cli::value;
use crate::remote::RetryMode;

pub(super) static SPECS: &[Spec] = &[
    valued(
        Group::Connection,
        "port",
        "N",
        "the source's, else 21",
        "Connect to port N",
        |to, value| {
            to.port = Some(value::number(
                value,
                1..=u16::MAX,
                "a port from 1 to 65535",
            )?);
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "connections",
        "N",
        "8",
        "Open at most N connections to the server; fewer if it allows fewer",
        |to, value| {
            to.connections = value::number(value, 1..=256, "a number from 1 to 256")?;
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "timeout",
        "SECONDS",
        "30",
        "Maximum time without data from the server. One that is away for less costs a wait, not an error",
        |to, value| {
            to.timeout = value::deadline(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "connect_timeout",
        "SECONDS",
        "10",
        "Maximum time to establish a connection",
        |to, value| {
            to.connect_timeout = value::deadline(value)?;
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "limit_down",
        "RATE",
        "off",
        "Maximum rate of all downloads together in bytes per second, such as 5M; ftpfs limit changes it",
        |to, value| {
            to.limits.down = Some(value::rate(value)?).filter(|rate| *rate > 0);
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "limit_up",
        "RATE",
        "off",
        "Maximum rate of all uploads together in bytes per second",
        |to, value| {
            to.limits.up = Some(value::rate(value)?).filter(|rate| *rate > 0);
            Ok(())
        },
    ),
    flag(
        Group::Connection,
        "soft",
        "Fail operations when the server has been away for the timeout (default)",
        |to| to.retry = RetryMode::Soft,
    ),
    flag(
        Group::Connection,
        "hard",
        "Wait for a server that is away as long as it takes. Ctrl-C and umount still work",
        |to| to.retry = RetryMode::Hard,
    ),
    valued(
        Group::Connection,
        "offline",
        "yes/no",
        "yes with cache_dir",
        "Whether to work without a server that cannot be reached: answer from what is cached, fail the rest immediately",
        |to, value| {
            to.offline = Some(value::yes_or_no(value)?);
            Ok(())
        },
    ),
    flag(
        Group::Connection,
        "delay_connect",
        "Mount without contacting the server. The first access connects",
        |to| to.delay_connect = true,
    ),
    Spec {
        name: "proxy",
        placeholder: "URL",
        default: "the environment's",
        help: "Connect through a proxy: socks5://, socks5h:// or http:// with [user:password@]host:port; none disables it",
        group: Group::Connection,
        set: Set::Secret(|to, value| {
            to.proxy = value::proxy(value)?;
            Ok(())
        }),
    },
    flag(
        Group::Connection,
        "active",
        "Use active mode: the server connects to this machine for data (EPRT, PORT)",
        |to| to.active = true,
    ),
    valued(
        Group::Connection,
        "active_ports",
        "A-B",
        "any",
        "With active: listen on a port from A to B, which the firewall allows",
        |to, value| {
            to.local.active_ports = Some(value::ports(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "active_address",
        "ADDRESS",
        "the connection's own",
        "With active: make the server connect to ADDRESS, which NAT translates to this machine's",
        |to, value| {
            to.local.active_address = Some(value::address(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "bind",
        "ADDRESS",
        "by the routing table",
        "Connect from this local address, or over this network interface",
        |to, value| {
            to.local.bind = Some(value::bind(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Connection,
        "without",
        "NAME[+NAME...]",
        "",
        "Do not use these server capabilities: pipeline, epsv, mlsd, stat, rang, mfmt, utf8 and others that ftpfs check lists",
        |to, value| {
            to.without.extend(value::capabilities(value)?);
            Ok(())
        },
    ),
    Spec {
        name: "login_command",
        placeholder: "COMMAND",
        default: "",
        help: "Send COMMAND after each login, for servers that require it; can be repeated",
        group: Group::Connection,
        set: Set::Secret(|to, value| {
            to.login_commands.push(value::ftp_command(value)?);
            Ok(())
        }),
    },
    flag(
        Group::Connection,
        "pasv_address",
        "Connect to the address in the server's PASV reply instead of the server's own",
        |to| to.pasv_address = true,
    ),
];
