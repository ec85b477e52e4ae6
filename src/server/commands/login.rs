//! USER, PASS, ACCT, QUIT (RFC 959 §4.1.1).

use crate::server::Access;
use crate::server::path::VirtualPath;
use crate::server::reply::{Answer, Reply, refused};
use crate::server::session::{Login, Session};
use crate::server::session_summary::SessionEnd;

/// Maximum number of wrong passwords before the session is closed (RFC 2577 §5).
const MAX_FAILURES: u32 = 3;

pub(super) fn user(session: &mut Session, argument: &[u8]) -> Answer {
    if session.security.is_required() && !session.control.is_secure() {
        return Err(refused(530, "TLS is required: say AUTH TLS first"));
    }
    let failures = match session.login {
        Login::Nobody { failures } | Login::Named { failures, .. } => failures,
        Login::Done => 0,
    };
    session.log_out();
    session.login = Login::Named {
        user: argument.to_vec(),
        failures,
    };
    session.directory = VirtualPath::default();
    Ok(match &session.serving.options.access {
        Access::Anonymous if is_anonymous(argument) => Reply::new(331, "Any password will do"),
        Access::Anonymous | Access::Account { .. } => Reply::new(331, "Password required"),
    })
}

pub(super) fn pass(session: &mut Session, argument: &[u8]) -> Answer {
    let Login::Named { user, failures } = &session.login else {
        return Err(refused(503, "Say USER first"));
    };
    if admits(&session.serving.options.access, user, argument) {
        session.summary.log_in(user);
        session.login = Login::Done;
        return Ok(Reply::new(230, "Logged in"));
    }
    let failures = failures + 1;
    session.login = Login::Nobody { failures };
    session.summary.refuse_login();
    log::info!("server: wrong login from {}", session.peer);
    if failures >= MAX_FAILURES {
        session.summary.end(SessionEnd::Refused);
        return Err(refused(
            421,
            "Too many wrong logins, closing the connection",
        ));
    }
    Err(refused(530, "Login incorrect"))
}

pub(super) fn acct(_: &mut Session, _: &[u8]) -> Answer {
    Ok(Reply::new(202, "No account is needed"))
}

pub(super) fn quit(session: &mut Session, _: &[u8]) -> Answer {
    session.summary.end(SessionEnd::Quit);
    Ok(Reply::new(221, "Goodbye"))
}

fn admits(access: &Access, user: &[u8], password: &[u8]) -> bool {
    match access {
        Access::Anonymous => is_anonymous(user),
        Access::Account {
            user: known,
            password: right,
        } => {
            // Compare both in any case: the time of the reply must not reveal which one was wrong.
            same(user, known.as_bytes()) & same(password, right.as_bytes())
        }
    }
}

fn is_anonymous(user: &[u8]) -> bool {
    user.eq_ignore_ascii_case(b"anonymous") || user.eq_ignore_ascii_case(b"ftp")
}

/// Compares in a time that depends only on the length of the client's input.
fn same(given: &[u8], right: &[u8]) -> bool {
    let padded = right.iter().copied().chain(std::iter::repeat(0));
    let differences = given
        .iter()
        .zip(padded)
        .fold(0, |all, (a, b)| all | (a ^ b));
    differences == 0 && given.len() == right.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_same_bytes_are_the_same() {
        assert!(same(b"", b""));
        assert!(same(b"secret", b"secret"));
        for (given, right) in [
            ("", "x"),
            ("x", ""),
            ("secre", "secret"),
            ("secret\0", "secret"),
            ("Secret", "secret"),
        ] {
            assert!(
                !same(given.as_bytes(), right.as_bytes()),
                "{given:?} {right:?}"
            );
        }
    }

    #[test]
    fn both_name_and_password_must_be_right() {
        let access = Access::Account {
            user: "joe".into(),
            password: "secret".into(),
        };
        assert!(admits(&access, b"joe", b"secret"));
        assert!(!admits(&access, b"joe", b"wrong"));
        assert!(!admits(&access, b"eve", b"secret"));
        assert!(!admits(&access, b"anonymous", b""));
        assert!(admits(&Access::Anonymous, b"FTP", b""));
        assert!(!admits(&Access::Anonymous, b"joe", b"secret"));
    }
}
