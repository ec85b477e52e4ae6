//! Text of a server, made fit for a message.

/// Escapes the beginning of an invalid line for a message.
pub(super) fn escaped(line: &[u8]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = super::path::escape(
        line.get(..line.len().min(80)).unwrap_or_default(),
        &mut text,
    );
    text
}
