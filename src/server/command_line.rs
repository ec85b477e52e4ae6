//! Command lines (RFC 959 §5.3) and the TELNET commands in them (RFC 854).

use std::collections::VecDeque;
use std::time::Instant;

/// Stands for the moment of connecting in [`Fault::on`](super::Fault::on), where the greeting is
/// due. In lower case, unlike any verb.
pub const CONNECT: &str = "connect";

/// Maximum length of a command line in bytes. Longer lines are answered with 500.
pub(super) const LINE_LIMIT: usize = 8 << 10;

/// Approximate memory limit for queued lines in bytes. At the limit, nothing more is read until
/// some are answered.
const QUEUE_LIMIT: usize = 64 << 10;

/// Overhead of a queued line in bytes.
const LINE_COST: usize = 64;

const IAC: u8 = 0xff;

/// A verb and its argument.
pub(super) struct Command {
    /// In upper case. Includes the sub-command of SITE: `SITE CHMOD`.
    pub(super) verb: String,
    /// Everything after the single blank that follows the verb, byte for byte.
    pub(super) argument: Vec<u8>,
}

impl Command {
    /// Stands for the act of connecting.
    pub(super) fn connecting() -> Self {
        Self {
            verb: CONNECT.to_owned(),
            argument: Vec::new(),
        }
    }

    /// Parses a line without its line end.
    pub(super) fn parse(line: &[u8]) -> Self {
        let line = without_telnet(line);
        let (verb, argument) = first_word(&line);
        if verb != "SITE" {
            return Self {
                verb,
                argument: argument.to_vec(),
            };
        }
        let (word, argument) = first_word(argument);
        Self {
            verb: format!("SITE {word}"),
            argument: argument.to_vec(),
        }
    }
}

/// A line from the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Complete(Vec<u8>),
    TooLong,
}

/// Assembles received bytes into lines.
#[derive(Default)]
pub(super) struct LineQueue {
    lines: VecDeque<(Line, Instant)>,
    cost: usize,
    partial: Vec<u8>,
    /// The current line exceeds the limit; the rest of it is discarded.
    overlong: bool,
}

impl LineQueue {
    /// Adds bytes received at `now`.
    pub(super) fn push(&mut self, mut bytes: &[u8], now: Instant) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (head, rest) = bytes.split_at(end);
            self.extend(head);
            self.finish_line(now);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.extend(bytes);
    }

    /// Takes the next line and the time of its arrival.
    pub(super) fn pop(&mut self) -> Option<(Line, Instant)> {
        let (line, arrived) = self.lines.pop_front()?;
        self.cost -= cost(&line);
        Some((line, arrived))
    }

    /// Whether the queue is full, so that no more must be read.
    pub(super) fn is_full(&self) -> bool {
        self.cost >= QUEUE_LIMIT
    }

    /// Whether the queue holds nothing, not even the beginning of a line.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.partial.is_empty() && !self.overlong
    }

    /// Whether one of the queued lines is ABOR.
    pub(super) fn has_abort(&self) -> bool {
        self.lines.iter().any(|(line, _)| match line {
            Line::Complete(bytes) => Command::parse(bytes).verb == "ABOR",
            Line::TooLong => false,
        })
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.overlong || self.partial.len() + bytes.len() > LINE_LIMIT {
            self.overlong = true;
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    fn finish_line(&mut self, now: Instant) {
        let mut bytes = std::mem::take(&mut self.partial);
        let line = if std::mem::take(&mut self.overlong) {
            Line::TooLong
        } else {
            bytes.pop_if(|last| *last == b'\r');
            Line::Complete(bytes)
        };
        self.cost += cost(&line);
        self.lines.push_back((line, now));
    }
}

/// Doubles IAC bytes, as TELNET requires on the control connection.
pub(super) fn with_telnet(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for &byte in text {
        escaped.push(byte);
        if byte == IAC {
            escaped.push(IAC);
        }
    }
    escaped
}

fn cost(line: &Line) -> usize {
    match line {
        Line::Complete(bytes) => bytes.len() + LINE_COST,
        Line::TooLong => LINE_COST,
    }
}

fn first_word(line: &[u8]) -> (String, &[u8]) {
    let mut parts = line.splitn(2, |&byte| byte == b' ');
    let word = parts.next().unwrap_or_default();
    (
        String::from_utf8_lossy(word).to_ascii_uppercase(),
        parts.next().unwrap_or_default(),
    )
}

/// Removes TELNET commands before the verb (`IAC IP IAC DM` precedes ABOR) and halves doubled IACs.
/// A single IAC inside the line remains: clients that ignore TELNET send Latin-1 names as they are.
fn without_telnet(mut line: &[u8]) -> Vec<u8> {
    loop {
        line = match line {
            [IAC, 0xfb..=0xfe, _, rest @ ..] | [IAC, 0xf0..=0xfa, rest @ ..] => rest,
            _ => break,
        };
    }
    let mut plain = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        plain.push(byte);
        if byte == IAC {
            bytes.next_if_eq(&IAC);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[u8]) -> (String, Vec<u8>) {
        let command = Command::parse(line);
        (command.verb, command.argument)
    }

    fn all(queue: &mut LineQueue) -> Vec<Line> {
        std::iter::from_fn(|| queue.pop())
            .map(|(line, _)| line)
            .collect()
    }

    #[test]
    fn the_argument_keeps_its_blanks_and_bytes() {
        assert_eq!(parsed(b"retr  a b "), ("RETR".into(), b" a b ".to_vec()));
        assert_eq!(
            parsed(b"RETR caf\xe9"),
            ("RETR".into(), b"caf\xe9".to_vec())
        );
        assert_eq!(
            parsed(b"site chmod 644 x y"),
            ("SITE CHMOD".into(), b"644 x y".to_vec())
        );
        assert_eq!(parsed(b"NOOP"), ("NOOP".into(), Vec::new()));
    }

    #[test]
    fn telnet_is_taken_by_the_letter_before_the_verb_and_leniently_behind_it() {
        assert_eq!(parsed(b"\xff\xf4\xff\xf2ABOR").0, "ABOR");
        assert_eq!(parsed(b"\xff\xfd\x06NOOP").0, "NOOP");
        assert_eq!(parsed(b"DELE \xff\xff").1, b"\xff");
        assert_eq!(parsed(b"DELE \xff\xf4").1, b"\xff\xf4");
        assert_eq!(parsed(&with_telnet(b"DELE a\xff")).1, b"a\xff");
    }

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let mut queue = LineQueue::default();
        for byte in b"NOOP\r\nPWD\nRE" {
            queue.push(&[*byte], Instant::now());
        }
        assert_eq!(
            all(&mut queue),
            [
                Line::Complete(b"NOOP".to_vec()),
                Line::Complete(b"PWD".to_vec())
            ]
        );
        queue.push(b"TR a\r\n", Instant::now());
        assert_eq!(all(&mut queue), [Line::Complete(b"RETR a".to_vec())]);
    }

    #[test]
    fn an_endless_line_costs_no_memory_and_the_next_one_is_read() {
        let mut queue = LineQueue::default();
        for _ in 0..1000 {
            queue.push(&[b'x'; 4096], Instant::now());
            assert!(queue.partial.capacity() <= 2 * LINE_LIMIT);
        }
        queue.push(b"\r\nNOOP\r\n", Instant::now());
        assert_eq!(
            all(&mut queue),
            [Line::TooLong, Line::Complete(b"NOOP".to_vec())]
        );
    }

    #[test]
    fn a_flood_of_empty_lines_fills_the_queue() {
        let mut queue = LineQueue::default();
        queue.push(&[b'\n'; 2048], Instant::now());
        assert!(queue.is_full());
        all(&mut queue);
        assert!(!queue.is_full());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_upset_it_and_none_of_an_argument_is_lost(bytes: Vec<u8>, cut: usize) {
            let mut queue = LineQueue::default();
            let (head, rest) = bytes.split_at(cut % (bytes.len() + 1));
            queue.push(head, Instant::now());
            queue.push(rest, Instant::now());
            let ends = bytes.split(|byte| *byte == b'\n').count() - 1;
            proptest::prop_assert_eq!(all(&mut queue).len(), ends);
            let line = [b"STOR ".as_slice(), &with_telnet(&bytes)].concat();
            proptest::prop_assert_eq!(Command::parse(&line).argument, bytes);
        }
    }

    #[test]
    fn an_abort_is_seen_behind_other_commands() {
        let mut queue = LineQueue::default();
        queue.push(b"NOOP\r\nRETR ABOR\r\n", Instant::now());
        assert!(!queue.has_abort());
        queue.push(b"\xff\xf4\xff\xf2abor\r\n", Instant::now());
        assert!(queue.has_abort());
    }
}
