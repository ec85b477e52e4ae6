//! Log records as JSON: one object per line (`-o log_format=json`).

use std::path::Path;

use jiff::Timestamp;
use log::Record;
use serde_json::{Map, Value};

use super::log_fields::LogFields;

/// Formats records of one mount.
#[derive(Debug, Clone)]
pub(super) struct JsonLines {
    /// The mountpoint; bytes that are not UTF-8 are replaced, as in `ftpfs status --json`.
    mount: Option<String>,
}

impl JsonLines {
    /// Creates a format whose objects name this mountpoint.
    pub(super) fn new(mountpoint: Option<&Path>) -> Self {
        Self {
            mount: mountpoint.map(|path| path.to_string_lossy().into_owned()),
        }
    }

    /// Returns the object of `record`, logged at `now`, without the line break. It contains no
    /// control characters.
    pub(super) fn format(&self, record: &Record<'_>, now: Timestamp) -> String {
        let fields = LogFields::of(record);
        let level = record.level().as_str().to_ascii_lowercase();
        let mut object = Map::new();
        for (name, value) in [
            ("time", Some(format!("{now:.6}"))),
            ("level", Some(level)),
            ("mount", self.mount.clone()),
            ("path", fields.path),
            ("reply", fields.reply),
            ("message", Some(record.args().to_string())),
        ] {
            if let Some(value) = value {
                object.insert(name.to_owned(), Value::String(value));
            }
        }
        Value::Object(object).to_string()
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;
    use crate::ftp::RemotePath;

    #[test]
    fn a_record_is_one_line_whatever_it_contains() {
        let path = RemotePath::new(b"/b\xffd").unwrap();
        let pairs = [("path", &path)];
        let mut record = Record::builder();
        record.level(Level::Warn).key_values(&pairs);
        let lines = JsonLines::new(Some(Path::new("/mnt/a\nb")));
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let line = lines.format(
            &record
                .args(format_args!("\"odd\"\r\n\u{1b}[2J \u{85}"))
                .build(),
            now,
        );
        assert!(!line.contains(['\n', '\r', '\u{1b}']), "{line}");
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["time"], "2027-01-15T08:00:00.000000Z");
        assert_eq!(object["level"], "warn");
        assert_eq!(object["mount"], "/mnt/a\nb");
        assert_eq!(object["path"], "/b\\xffd");
        assert_eq!(object["message"], "\"odd\"\r\n\u{1b}[2J \u{85}");
        assert!(object.get("reply").is_none());
    }
}
