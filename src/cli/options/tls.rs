//! Whether the connection is protected, and whom to trust.

use super::{Group, Set, Spec, flag, valued};
use crate::cli::value;

pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "tls",
        placeholder: "require",
        default: "on for ftpes:// and ftps://, else off",
        help: "Protect everything by TLS (explicit, as ftpes:// does); a server that cannot is refused, never spoken to in the clear. `tls` and `tls=require` mean the same",
        group: Group::Tls,
        set: Set::Optional(|to, value| {
            if value.is_some_and(|value| value != "require") {
                return Err("require, or no value: there is no TLS that falls back to none");
            }
            to.tls = true;
            Ok(())
        }),
    },
    valued(
        Group::Tls,
        "cafile",
        "FILE",
        "the system's",
        "Trust the certificates in FILE (PEM) and what they have signed, and no other",
        |to, value| {
            to.cafile = Some(value::path(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Tls,
        "fingerprint",
        "sha256:HEX",
        "",
        "Trust the one server certificate with this digest, whatever else it says, and no other",
        |to, value| {
            to.fingerprint = Some(value::fingerprint(value)?);
            Ok(())
        },
    ),
    flag(
        Group::Tls,
        "insecure",
        "Trust any certificate: anybody on the way can then read and change everything",
        |to| to.insecure = true,
    ),
    valued(
        Group::Tls,
        "cert",
        "FILE",
        "",
        "Show the server the client certificate in FILE (PEM)",
        |to, value| {
            to.cert = Some(value::path(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Tls,
        "key",
        "FILE",
        "in cert's FILE",
        "Read the client certificate's private key from FILE (PEM, without a passphrase)",
        |to, value| {
            to.key = Some(value::path(value)?);
            Ok(())
        },
    ),
];
