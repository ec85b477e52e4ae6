//! What the server can do: FEAT's answer (RFC 2389 §3).

use std::collections::HashMap;

use super::reply::Reply;

/// Most features remembered; servers list a few dozen.
const MOST: usize = 500;

/// FEAT's lines, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    by_name: HashMap<String, String>,
}

impl Features {
    /// The features in a 211's inner lines: one blank, the name, its parameters.
    pub(super) fn parse(reply: &Reply) -> Self {
        let inner = reply
            .lines()
            .iter()
            .filter(|line| line.first() == Some(&b' '))
            .take(MOST);
        let by_name = inner
            .filter_map(|line| {
                let line = String::from_utf8_lossy(line);
                let line = line.trim();
                let (name, parameters) = line.split_once(' ').unwrap_or((line, ""));
                (!name.is_empty()).then(|| (name.to_ascii_uppercase(), parameters.to_owned()))
            })
            .collect();
        Self { by_name }
    }

    /// Whether FEAT named `feature`, in any case: `MLST`, `MFMT`, `SIZE` …
    pub fn has(&self, feature: &str) -> bool {
        self.parameters(feature).is_some()
    }

    /// The parameters FEAT gave with `feature`: for `MLST`, `type*;size*;`.
    pub fn parameters(&self, feature: &str) -> Option<&str> {
        self.by_name
            .get(&feature.to_ascii_uppercase())
            .map(String::as_str)
    }

    /// All names, sorted, for showing.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::ReplyCode;
    use super::*;

    fn features(lines: &[&str]) -> Features {
        let lines = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        Features::parse(&Reply::new(ReplyCode(211), lines))
    }

    #[test]
    fn features_are_found_in_any_case_with_their_parameters() {
        let features = features(&[
            "Features:",
            " mlst Type*;Size*;",
            " UTF8",
            " REST STREAM",
            "End",
        ]);
        assert_eq!(features.parameters("MLST"), Some("Type*;Size*;"));
        assert!(features.has("utf8") && features.has("REST"));
        assert!(!features.has("End") && !features.has("Features:"));
    }
}
