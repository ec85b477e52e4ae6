//! Options that contradict each other, and where they come from.

use super::build;
use super::config::{ConfigurationError, ConfiguredOption};
use super::settings::Settings;
use crate::source::Source;

/// Checks that the options agree with each other and with the source. An error says which of the
/// `configured` options it is about.
///
/// # Errors
/// They do not.
pub(super) fn check(
    source: &Source,
    settings: &Settings,
    configured: &[ConfiguredOption],
) -> Result<(), ConfigurationError> {
    let Err(failure) = build::check(source, settings) else {
        return Ok(());
    };
    let message = failure.to_string();
    let names = |option: &&ConfiguredOption| {
        let name = format!("-o {}", option.spec.name);
        let mut rests = message
            .match_indices(&name)
            .map(|(at, _)| &message[at + name.len()..]);
        rests.any(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    };
    Err(match configured.iter().find(names) {
        Some(option) => ConfigurationError::Contradiction(option.place.clone(), message),
        None => ConfigurationError::Typed(message),
    })
}
