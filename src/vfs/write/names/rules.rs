//! The rules of the log, each of which the model tests switch off to show that it is needed.

/// Which rules hold.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each rule can be switched off alone"
)]
pub(super) struct LogRules {
    /// Nothing is combined with a change that may have been sent.
    pub(super) frozen: bool,
    /// Changes are combined only if none between them is about a path of theirs.
    pub(super) between: bool,
    /// Related changes share a flight only as MKD and below, or removal and RMD of the parent.
    pub(super) flight: bool,
    /// The changes of a domain are made in the order of the program.
    pub(super) order: bool,
    /// What depends on a refused change is not sent.
    pub(super) cascade: bool,
    /// Removals and replacements behind an add of their domain that was refused are not sent.
    pub(super) tail: bool,
    /// Stores that were given up behind a refused change are not sent until a program asks.
    pub(super) asks: bool,
}

impl LogRules {
    /// All rules.
    pub(super) const ALL: Self = Self {
        frozen: true,
        between: true,
        flight: true,
        order: true,
        cascade: true,
        tail: true,
        asks: true,
    };
}
