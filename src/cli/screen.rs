//! A text that is shown again and again: redrawn in place at a terminal, otherwise printed each
//! time.

use std::io::{self, IsTerminal, Stdout, Write};

/// Columns and rows of a terminal that does not report its size.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// Moves the cursor to the top left corner, and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// Moves the cursor to the top left corner.
const HOME: &str = "\x1b[H";
/// Clears the rest of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears everything below the cursor.
const CLEAR_BELOW: &str = "\x1b[J";

/// The standard output as a place for a changing text.
#[derive(Debug)]
pub(super) struct Screen {
    output: Stdout,
    is_terminal: bool,
    has_drawn: bool,
}

impl Screen {
    /// Creates a screen on the standard output.
    pub(super) fn new() -> Self {
        let output = io::stdout();
        Self {
            is_terminal: output.is_terminal(),
            output,
            has_drawn: false,
        }
    }

    /// Returns the number of columns of the terminal; `None` if it is none.
    pub(super) fn columns(&self) -> Option<usize> {
        self.is_terminal.then(|| size(&self.output).0)
    }

    /// Shows `text`.
    ///
    /// # Errors
    /// The output is closed.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        let shown = if self.is_terminal {
            let begin = if self.has_drawn { HOME } else { CLEAR };
            format!("{begin}{}", frame(text, size(&self.output)))
        } else if self.has_drawn {
            format!("\n{text}")
        } else {
            text.to_owned()
        };
        self.has_drawn = true;
        let mut output = self.output.lock();
        output.write_all(shown.as_bytes())?;
        output.flush()
    }
}

/// Returns `text` cut to the size of the terminal, with what clears the rest of the screen.
fn frame(text: &str, (columns, rows): (usize, usize)) -> String {
    // The last row is for the cursor.
    let lines = text.lines().take(rows.saturating_sub(1));
    let mut frame = String::new();
    for line in lines {
        frame.extend(line.chars().take(columns));
        frame.push_str(CLEAR_LINE);
        frame.push('\n');
    }
    frame.push_str(CLEAR_BELOW);
    frame
}

fn size(output: &Stdout) -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(output).ok();
    let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
    size.filter(|(columns, rows)| *columns > 0 && *rows > 0)
        .unwrap_or(DEFAULT_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_its_terminal() {
        assert_eq!(frame("abcd\nx\ny\n", (3, 3)), "abc\x1b[K\nx\x1b[K\n\x1b[J");
        assert_eq!(frame("a\n", (80, 24)), "a\x1b[K\n\x1b[J");
    }
}
