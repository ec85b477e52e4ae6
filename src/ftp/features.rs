//! What the server can do: FEAT's answer (RFC 2389 §3).

/// FEAT's lines, by name.
#[derive(Debug, Clone, Default)]
pub struct Features {}

impl Features {
    /// Whether FEAT named `feature` (case-insensitive): `MLST`, `MFMT`, `SIZE` …
    pub fn has(&self, _feature: &str) -> bool {
        todo!()
    }

    /// The parameters FEAT gave with `feature`: `MLST` -> `type*;size*;`.
    pub fn parameters(&self, _feature: &str) -> Option<&str> {
        todo!()
    }
}
