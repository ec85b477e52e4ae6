//! Features of the server, from the FEAT reply (RFC 2389 §3).

use std::collections::HashMap;

use super::reply::Reply;

/// Maximum number of stored features. Servers list a few dozen.
const MAX_FEATURES: usize = 500;

/// Features by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    by_name: HashMap<String, String>,
}

impl Features {
    /// Parses the lines of a 211: name and parameters, after a blank that some servers omit. The
    /// first and last line are text, unless a server without a heading begins with a feature.
    pub(super) fn parse(reply: &Reply) -> Self {
        let (first, inner, last) = match reply.lines() {
            [first, inner @ .., last] => (Some(first), inner, Some(last)),
            _ => (None, [].as_slice(), None),
        };
        let first = first.filter(|line| is_feature(line));
        let last = last.filter(|line| is_feature(line));
        let inner = first
            .into_iter()
            .chain(inner)
            .chain(last)
            .take(MAX_FEATURES);
        let mut by_name = HashMap::new();
        for line in inner {
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            let (name, parameters) = line.split_once(' ').unwrap_or((line, ""));
            if name.is_empty() {
                continue;
            }
            // Some servers send a separate SITE line for each subcommand.
            let all: &mut String = by_name.entry(name.to_ascii_uppercase()).or_default();
            if !all.is_empty() {
                all.push(' ');
            }
            all.push_str(parameters);
        }
        Self { by_name }
    }

    /// Builds features as if FEAT had listed them.
    #[cfg(test)]
    pub(super) fn named(features: &[&str]) -> Self {
        let lines = [&["Features:"], features, &["End"]].concat();
        let lines = lines.into_iter().map(|line| line.as_bytes().to_vec());
        Self::parse(&Reply::new(super::reply::ReplyCode(211), lines.collect()))
    }

    /// Whether FEAT lists `feature`, in any case: `MLST`, `MFMT`, `SIZE`. For two words, whether it
    /// lists the first with the second among its parameters: `SITE UTIME`.
    pub fn has(&self, feature: &str) -> bool {
        match feature.split_once(' ') {
            None => self.parameters(feature).is_some(),
            Some((name, parameter)) => self.parameters(name).is_some_and(|parameters| {
                parameters
                    .split([' ', ';', ','])
                    .any(|given| given.eq_ignore_ascii_case(parameter))
            }),
        }
    }

    /// Parameters of `feature`: for `MLST`, `type*;size*;`.
    pub fn parameters(&self, feature: &str) -> Option<&str> {
        self.by_name
            .get(&feature.to_ascii_uppercase())
            .map(String::as_str)
    }

    /// Returns all names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

/// Whether the first or last line of a 211 is a feature.
fn is_feature(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let known = [
        "MLST", "SIZE", "MDTM", "MFMT", "UTF8", "TVFS", "EPSV", "EPRT",
    ];
    match (words.next(), words.next(), words.next()) {
        (Some("MLST"), Some(facts), None) => facts.contains(';'),
        (Some("REST"), Some("STREAM"), None) => true,
        (Some(name), None, None) => known.contains(&name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::reply::ReplyCode;

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

    #[test]
    fn the_blank_before_a_feature_may_be_missing() {
        let features = features(&["Features:", "MLST size*;", " UTF8", "\tMDTM", "End"]);
        assert_eq!(features.names(), ["MDTM", "MLST", "UTF8"]);
        assert_eq!(features.parameters("MLST"), Some("size*;"));
        assert!(
            super::Features::parse(&Reply::new(ReplyCode(211), vec![b" UTF8".to_vec()]))
                .names()
                .is_empty()
        );
    }

    #[test]
    fn the_heading_may_be_missing() {
        let listed = features(&["MLST size*;", "SIZE", "REST STREAM", "End"]);
        assert_eq!(listed.names(), ["MLST", "REST", "SIZE"]);
        let listed = features(&["SIZE", " MDTM", "REST STREAM"]);
        assert_eq!(listed.names(), ["MDTM", "REST", "SIZE"]);
        let listed = features(&["Extensions supported:", " SIZE", "End of features"]);
        assert_eq!(listed.names(), ["SIZE"]);
    }

    #[test]
    fn a_word_of_site_is_found_however_it_is_listed() {
        for lines in [
            ["Features:", " SITE CHMOD", " SITE UTIME", "End"].as_slice(),
            &["Features:", " SITE CHMOD;UTIME;", "End"],
            &["Features:", " SITE chmod utime", "End"],
        ] {
            let features = features(lines);
            assert!(features.has("SITE CHMOD") && features.has("site utime"));
            assert!(features.has("SITE") && !features.has("SITE SYMLINK"));
        }
        assert!(!features(&["Features:", " UTF8", "End"]).has("SITE CHMOD"));
    }
}
