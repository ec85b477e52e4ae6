//! The fields of a log record beside its message: the key-values `path` and `reply` of the macros
//! of `log`.

use log::Record;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};

/// Fields of one record, as text with the escapes of the message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LogFields {
    /// The path on the server that the record is about.
    pub(super) path: Option<String>,
    /// The server's reply that the record repeats.
    pub(super) reply: Option<String>,
}

impl LogFields {
    /// Returns the fields of `record`.
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut fields = Self::default();
        // The visitors below do not fail.
        let _ = record.key_values().visit(&mut fields);
        fields
    }
}

impl<'a> VisitSource<'a> for LogFields {
    fn visit_pair(&mut self, key: Key<'a>, value: Value<'a>) -> Result<(), Error> {
        let field = match key.as_str() {
            "path" => &mut self.path,
            "reply" => &mut self.reply,
            _ => return Ok(()),
        };
        let mut text = FieldText(None);
        value.visit(&mut text)?;
        *field = text.0;
        Ok(())
    }
}

/// The text of a value; `None` for an absent one.
struct FieldText(Option<String>);

impl VisitValue<'_> for FieldText {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = Some(value.to_string());
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::{RemotePath, Reply, ReplyCode};

    #[test]
    fn a_record_has_the_fields_that_it_is_given() {
        let path = RemotePath::new(b"/a\xff").unwrap();
        let none: Option<&Reply> = None;
        let pairs = [("path", Value::from_display(&path))];
        let record = |source: &dyn Fn(&Record<'_>)| {
            source(&Record::builder().key_values(&pairs).build());
        };
        record(&|record| {
            let fields = LogFields::of(record);
            assert_eq!(fields.path.as_deref(), Some("/a\\xff"));
            assert_eq!(fields.reply, None);
        });
        let reply = Reply::new(ReplyCode(550), vec![b"no".to_vec()]);
        let pairs = [("reply", Some(&reply)), ("path", none)];
        let fields = LogFields::of(&Record::builder().key_values(&pairs).build());
        assert_eq!(fields.reply.as_deref(), Some("550 no"));
        assert_eq!(fields.path, None);
    }
}
