//! The status of a mount as text, for people and for programs.

mod figures;
mod json;
mod line;
mod openmetrics;
mod text;

use std::path::PathBuf;

use crate::vfs::{HealthSummary, Report};

pub(super) use figures::shown;
pub(crate) use figures::size;
pub(crate) use openmetrics::merge;

/// Properties of a mount that do not change.
#[derive(Debug, Clone)]
pub(super) struct MountIdentity {
    pub(super) mountpoint: PathBuf,
    /// Shown as the mount's source.
    pub(super) source: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
}

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusForm {
    /// For people.
    Text,
    /// For people at a terminal with this number of columns: with progress bars.
    Bars(usize),
    /// For programs.
    Json,
    /// For Prometheus (OpenMetrics 1.0).
    Prometheus,
}

/// The content of a status reply.
struct StatusContent<'a> {
    identity: &'a MountIdentity,
    /// Whether it is unmounted and still storing files.
    is_ending: bool,
    report: &'a Report,
}

/// Returns the status in this format. `is_ending` says that the mount is unmounted and still
/// storing files.
pub(super) fn render(
    form: StatusForm,
    identity: &MountIdentity,
    is_ending: bool,
    report: &Report,
) -> String {
    let status = StatusContent {
        identity,
        is_ending,
        report,
    };
    match form {
        StatusForm::Text => text::of(&status, None),
        StatusForm::Bars(width) => text::of(&status, Some(width)),
        StatusForm::Json => json::of(&status),
        StatusForm::Prometheus => openmetrics::of(&status),
    }
}

/// Returns the status in one line.
pub(super) fn line(identity: &MountIdentity, is_ending: bool, summary: &HealthSummary) -> String {
    line::of(identity, is_ending, summary)
}

/// Returns a path as text; bytes that are not UTF-8 are replaced.
fn lossy(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}
