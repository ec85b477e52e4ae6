//! The requests that clients send: one line, whose first word is the verb.
//!
//! The arguments follow, separated by blanks. Bytes that are not printable ASCII, blanks and `%`
//! are written as `%` and two hexadecimal digits.

use std::fmt::Write;

use super::super::status::StatusForm;
use crate::ftp::RateLimits;

/// Maximum size of a request in bytes: a path of maximum length, with every byte escaped.
pub(super) const MAX_REQUEST: u64 = 16 << 10;

/// A request to a running mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlRequest {
    /// Report the status.
    Status(StatusForm),
    /// Forget what is cached of this path below the mountpoint.
    Refresh(Vec<u8>),
    /// Store the closed files at this path below the mountpoint.
    Flush(Vec<u8>),
    /// Fetch the listings at this path below the mountpoint.
    Warmup(Vec<u8>),
    /// Change limits.
    Limit(LimitChange),
    /// Set the log level.
    Log(log::LevelFilter),
    /// Wait until the mount has ended.
    AwaitEnd,
}

/// New limits; `None` keeps the current one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LimitChange {
    /// The new limit of downloads in bytes per second; 0 lifts it.
    pub down: Option<u64>,
    /// The new limit of uploads in bytes per second; 0 lifts it.
    pub up: Option<u64>,
}

impl LimitChange {
    /// Returns the limits after the change of `before`.
    pub(super) fn apply(self, before: RateLimits) -> RateLimits {
        let apply = |change: Option<u64>, before| change.map_or(before, Some);
        RateLimits {
            down: apply(self.down, before.down).filter(|rate| *rate > 0),
            up: apply(self.up, before.up).filter(|rate| *rate > 0),
        }
    }
}

impl ControlRequest {
    /// The verb, as in the name of the command.
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Status(StatusForm::Text) => "text",
            Self::Status(StatusForm::Json) => "json",
            Self::Status(StatusForm::Prometheus) => "prometheus",
            Self::Status(StatusForm::Bars(_)) => "bars",
            Self::Refresh(_) => "refresh",
            Self::Flush(_) => "flush",
            Self::Warmup(_) => "warmup",
            Self::Limit(_) => "limit",
            Self::Log(_) => "log",
            Self::AwaitEnd => "await-end",
        }
    }

    /// Returns the line, with a line feed.
    pub(super) fn format(&self) -> String {
        let mut line = self.verb().to_owned();
        let mut add = |argument: &[u8]| {
            line.push(' ');
            line.push_str(&escaped(argument));
        };
        match self {
            Self::Status(StatusForm::Bars(width)) => add(width.to_string().as_bytes()),
            Self::Refresh(path) | Self::Flush(path) | Self::Warmup(path) => add(path),
            Self::Limit(limits) => {
                for limit in [limits.down, limits.up] {
                    add(limit.map_or("-".to_owned(), |it| it.to_string()).as_bytes());
                }
            }
            Self::Log(level) => add(level.as_str().as_bytes()),
            Self::Status(_) | Self::AwaitEnd => {}
        }
        line.push('\n');
        line
    }

    /// Parses a line. Returns `None` if it is incomplete or no request.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let mut words = line.split(' ');
        let verb = words.next()?;
        let arguments: Vec<_> = words.map(unescaped).collect::<Option<_>>()?;
        let arguments: Vec<_> = arguments.iter().map(Vec::as_slice).collect();
        Some(match (verb, arguments.as_slice()) {
            ("text", []) => Self::Status(StatusForm::Text),
            ("json", []) => Self::Status(StatusForm::Json),
            ("prometheus", []) => Self::Status(StatusForm::Prometheus),
            ("bars", [width]) => Self::Status(StatusForm::Bars(number(width)?)),
            ("refresh", [path]) => Self::Refresh(path.to_vec()),
            ("flush", [path]) => Self::Flush(path.to_vec()),
            ("warmup", [path]) => Self::Warmup(path.to_vec()),
            ("limit", [down, up]) => {
                let mut change = LimitChange::default();
                for (limit, argument) in [(&mut change.down, down), (&mut change.up, up)] {
                    if *argument != b"-" {
                        *limit = Some(number(argument)?);
                    }
                }
                Self::Limit(change)
            }
            ("log", [level]) => Self::Log(number(level)?),
            ("await-end", []) => Self::AwaitEnd,
            _ => return None,
        })
    }
}

fn number<T: std::str::FromStr>(argument: &[u8]) -> Option<T> {
    std::str::from_utf8(argument).ok()?.parse().ok()
}

fn escaped(argument: &[u8]) -> String {
    let mut text = String::with_capacity(argument.len());
    for byte in argument {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

fn unescaped(word: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_parsed_as_they_are_formatted() {
        for request in [
            ControlRequest::Status(StatusForm::Text),
            ControlRequest::Status(StatusForm::Json),
            ControlRequest::Status(StatusForm::Prometheus),
            ControlRequest::Status(StatusForm::Bars(80)),
            ControlRequest::Refresh(Vec::new()),
            ControlRequest::Flush(b"a b/%\n\xff".to_vec()),
            ControlRequest::Warmup(b"a".to_vec()),
            ControlRequest::Limit(LimitChange {
                down: Some(5),
                up: None,
            }),
            ControlRequest::Limit(LimitChange {
                down: None,
                up: Some(0),
            }),
            ControlRequest::Log(log::LevelFilter::Debug),
            ControlRequest::AwaitEnd,
        ] {
            let line = request.format();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(
                ControlRequest::parse(line.as_bytes()),
                Some(request),
                "{line}"
            );
        }
        for nonsense in [
            "",
            "\n",
            "text",
            "text \n",
            "bars\n",
            "bars x\n",
            "refresh\n",
            "refresh %4\n",
            "refresh %zz\n",
            "limit 1\n",
            "limit 1 -1\n",
            "log loud\n",
            "await-end 1\n",
        ] {
            assert_eq!(
                ControlRequest::parse(nonsense.as_bytes()),
                None,
                "{nonsense:?}"
            );
        }
    }

    #[test]
    fn a_change_of_one_limit_keeps_the_other() {
        let before = RateLimits {
            down: Some(7),
            up: None,
        };
        let change = LimitChange {
            down: None,
            up: Some(3),
        };
        let after = change.apply(before);
        assert_eq!(
            after,
            RateLimits {
                down: Some(7),
                up: Some(3)
            }
        );
        let lifted = LimitChange {
            down: Some(0),
            up: None,
        };
        assert_eq!(
            lifted.apply(after),
            RateLimits {
                down: None,
                up: Some(3)
            }
        );
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line: Vec<u8>) {
            let _ = ControlRequest::parse(&line);
            let request = ControlRequest::Refresh(line);
            prop_assert_eq!(ControlRequest::parse(request.format().as_bytes()), Some(request));
        }
    }
}
