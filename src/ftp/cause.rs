//! What a message or an error names as its cause.

use std::{fmt, io};

use log::kv::{ToValue, Value};

use super::path::{PathError, RemotePath};
use super::reply::Reply;

/// The cause of a failure: its text, and the server's reply that the text repeats.
pub trait Cause: fmt::Display {
    /// Returns the reply that the text repeats, if it repeats one.
    fn quoted_reply(&self) -> Option<&Reply> {
        None
    }
}

impl Cause for str {}
impl Cause for String {}
impl Cause for io::Error {}
impl Cause for PathError {}

impl<T: Cause + ?Sized> Cause for &T {
    fn quoted_reply(&self) -> Option<&Reply> {
        (**self).quoted_reply()
    }
}

impl Cause for Reply {
    fn quoted_reply(&self) -> Option<&Reply> {
        Some(self)
    }
}

/// A field of a log record, with the escapes of its text.
impl ToValue for Reply {
    fn to_value(&self) -> Value<'_> {
        Value::from_display(self)
    }
}

/// A field of a log record, with the escapes of its text.
impl ToValue for RemotePath {
    fn to_value(&self) -> Value<'_> {
        Value::from_display(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::ReplyCode;
    use super::*;

    #[test]
    fn a_reply_quotes_itself_and_a_text_nothing() {
        let reply = Reply::new(ReplyCode(550), vec![b"No such file".to_vec()]);
        let reference = &reply;
        let quoted = Cause::quoted_reply(&reference);
        assert_eq!(quoted.unwrap().to_value().to_string(), "550 No such file");
        assert!("no reply".quoted_reply().is_none());
    }
}
