//! The netrc file, as read by ftp(1) and curl: `machine`, `default`, `login`, `password`,
//! `account`, `macdef`. Words are separated by blanks, or in double quotes with `\` escapes.

use crate::ftp::Password;

/// The entry of one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NetrcEntry {
    /// The host; `None` is `default`, any host.
    pub(super) machine: Option<String>,
    /// The user.
    pub(super) login: Option<String>,
    /// The password.
    pub(super) password: Option<Password>,
    /// The account.
    pub(super) account: Option<String>,
}

/// Why the file cannot be parsed. No message contains a word of the file, because it could be the
/// password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NetrcError {
    /// An unknown keyword.
    #[error("line {0}: a word that is not machine, default, login, password, account or macdef")]
    UnknownWord(usize),
    /// `machine`, `login` and others as the last word.
    #[error("line {0}: {1} without a value")]
    NoValue(usize, &'static str),
    /// `login` and others before any `machine`.
    #[error("line {0}: {1} before the first machine")]
    NoMachine(usize, &'static str),
    /// A `"` without a closing one.
    #[error("line {0}: a quote that does not end")]
    OpenQuote(usize),
}

/// Parses the entries, in order.
pub(super) fn parse(text: &str) -> Result<Vec<NetrcEntry>, NetrcError> {
    let mut words = Words {
        rest: text,
        line: 1,
    };
    let mut entries: Vec<NetrcEntry> = Vec::new();
    while let Some(word) = words.next_word()? {
        let line = words.line;
        match word.as_str() {
            "machine" => entries.push(NetrcEntry {
                machine: Some(words.value("machine")?),
                ..NetrcEntry::default()
            }),
            "default" => entries.push(NetrcEntry::default()),
            "macdef" => words.skip_macro(),
            "login" => last(&mut entries, line, "login")?.login = Some(words.value("login")?),
            "password" => {
                let password = Password::new(words.value("password")?);
                last(&mut entries, line, "password")?.password = Some(password);
            }
            "account" => {
                last(&mut entries, line, "account")?.account = Some(words.value("account")?);
            }
            _ => return Err(NetrcError::UnknownWord(line)),
        }
    }
    Ok(entries)
}

/// Returns the first entry for `host`, and for `user` if it is known; otherwise the `default`
/// entry.
pub(super) fn find(entries: Vec<NetrcEntry>, host: &str, user: Option<&str>) -> Option<NetrcEntry> {
    let fits = |entry: &NetrcEntry| match (user, entry.login.as_deref()) {
        (Some(user), Some(login)) => user == login,
        _ => true,
    };
    let is_for_host = |entry: &NetrcEntry| {
        let machine = entry.machine.as_deref();
        machine.is_some_and(|machine| machine.eq_ignore_ascii_case(host))
    };
    let (named, other): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_for_host);
    let mut defaults = other.into_iter().filter(|entry| entry.machine.is_none());
    named
        .into_iter()
        .find(&fits)
        .or_else(|| defaults.find(&fits))
}

fn last<'a>(
    entries: &'a mut [NetrcEntry],
    line: usize,
    word: &'static str,
) -> Result<&'a mut NetrcEntry, NetrcError> {
    entries.last_mut().ok_or(NetrcError::NoMachine(line, word))
}

struct Words<'a> {
    rest: &'a str,
    line: usize,
}

impl Words<'_> {
    fn next_word(&mut self) -> Result<Option<String>, NetrcError> {
        loop {
            self.skip_blanks();
            if !self.rest.starts_with('#') {
                break;
            }
            self.skip_line();
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        match self.rest.strip_prefix('"') {
            Some(quoted) => self.quoted_word(quoted.len()).map(Some),
            None => Ok(Some(self.bare_word())),
        }
    }

    fn value(&mut self, of: &'static str) -> Result<String, NetrcError> {
        // A value may begin with `#`, which starts a comment only where a keyword is expected.
        self.skip_blanks();
        let line = self.line;
        if self.rest.is_empty() {
            return Err(NetrcError::NoValue(line, of));
        }
        match self.rest.strip_prefix('"') {
            Some(quoted) => self.quoted_word(quoted.len()),
            None => Ok(self.bare_word()),
        }
    }

    fn bare_word(&mut self) -> String {
        let end = self.rest.find(char::is_whitespace);
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word.to_owned()
    }

    /// Parses a quoted word. `length` is the length of the text after the opening quote.
    fn quoted_word(&mut self, length: usize) -> Result<String, NetrcError> {
        let line = self.line;
        let (_, text) = self.rest.split_at(self.rest.len() - length);
        let mut word = String::new();
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    let (_, rest) = text.split_at(at + 1);
                    self.rest = rest;
                    return Ok(word);
                }
                '\n' => break,
                '\\' => match chars.next() {
                    Some((_, 'n')) => word.push('\n'),
                    Some((_, 'r')) => word.push('\r'),
                    Some((_, 't')) => word.push('\t'),
                    Some((_, other)) => word.push(other),
                    None => break,
                },
                other => word.push(other),
            }
        }
        Err(NetrcError::OpenQuote(line))
    }

    fn skip_blanks(&mut self) {
        let trimmed = self.rest.trim_start();
        let (skipped, rest) = self.rest.split_at(self.rest.len() - trimmed.len());
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    fn skip_line(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let (_, rest) = self.rest.split_at(end);
        self.rest = rest;
    }

    /// A macro ends at the first empty line.
    fn skip_macro(&mut self) {
        let end = self.rest.find("\n\n").unwrap_or(self.rest.len());
        let (skipped, rest) = self.rest.split_at(end);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn login(text: &str, host: &str, user: Option<&str>) -> Option<(String, String)> {
        let entry = find(parse(text).unwrap(), host, user)?;
        let password = entry.password?;
        Some((entry.login?, password.reveal().to_owned()))
    }

    fn pair(user: &str, password: &str) -> (String, String) {
        (user.to_owned(), password.to_owned())
    }

    const FILE: &str = "\
# my servers
machine one.example login ann password one
machine two.example
    login bob
    password \"two words \\\"quoted\\\"\"
    account staff
macdef init
    cd /pub
    machine trap login no password no

machine one.example login eve password #three
default login anonymous password me@example
";

    #[test]
    fn the_machine_is_found_whatever_its_case() {
        assert_eq!(login(FILE, "ONE.example", None), Some(pair("ann", "one")));
        assert_eq!(
            login(FILE, "two.example", None),
            Some(pair("bob", "two words \"quoted\""))
        );
    }

    #[test]
    fn a_named_user_gets_his_own_entry() {
        assert_eq!(
            login(FILE, "one.example", Some("eve")),
            Some(pair("eve", "#three"))
        );
        assert_eq!(login(FILE, "one.example", Some("bob")), None);
    }

    #[test]
    fn other_machines_get_the_default() {
        assert_eq!(
            login(FILE, "x", None),
            Some(pair("anonymous", "me@example"))
        );
        assert_eq!(
            login(FILE, "trap", None),
            Some(pair("anonymous", "me@example"))
        );
        assert_eq!(login("machine a login b password c", "x", None), None);
    }

    #[test]
    fn a_mistake_is_told_by_its_line_and_never_by_its_words() {
        let cases = [
            ("machine a\npasswort x", NetrcError::UnknownWord(2)),
            ("machine", NetrcError::NoValue(1, "machine")),
            ("\n\nlogin me", NetrcError::NoMachine(3, "login")),
            ("machine a password \"x\n", NetrcError::OpenQuote(1)),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn no_words_make_it_panic(words in proptest::collection::vec(
            prop_oneof!["machine", "default", "login", "password", "macdef", "\"", "\\\\", "\n", "#", "x"],
            0..20,
        )) {
            let _ = parse(&words.join(" "));
        }
    }
}
