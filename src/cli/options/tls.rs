//! Options for TLS and trust.

use super::{Group, Set, Spec, flag, valued};
use crate::cli::value;

pub(super) static SPECS: &[Spec] = &[
    Spec {
        name: "tls",
        placeholder: "require",
        default: "on for ftpes:// and ftps://, otherwise off",
        help: "Require TLS (explicit, as with ftpes://); never falls back to plaintext. `tls` and `tls=require` mean the same",
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
        "Trust only the certificates in FILE (PEM) and those that they have signed",
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
        "Trust only the server certificate with this digest, whatever its other contents",
        |to, value| {
            to.fingerprint = Some(value::fingerprint(value)?);
            Ok(())
        },
    ),
    valued(
        Group::Tls,
        "trust",
        "first",
        "",
        "Trust the server's first certificate, whatever its contents, and from then on only that one. Asks at a terminal; pins it in the state directory",
        |to, value| {
            if value != "first" {
                return Err("first");
            }
            to.trust_first = true;
            Ok(())
        },
    ),
    flag(
        Group::Tls,
        "insecure",
        "Trust any certificate: anyone on the network path can then read and change everything",
        |to| to.insecure = true,
    ),
    valued(
        Group::Tls,
        "cert",
        "FILE",
        "",
        "Present the client certificate in FILE (PEM) to the server",
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
