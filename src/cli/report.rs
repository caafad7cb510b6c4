//! Failures as people read them: what failed, why, and what to do.

use std::error::Error;

use super::{FAILED, tell};
use crate::host::text;

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure in words.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// What the user can do.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints it and gives the exit code.
    pub(crate) fn print(&self) -> u8 {
        tell(&format!("quicc: error: {}", self.message));
        if let Some(hint) = &self.hint {
            tell(&format!("quicc: hint: {hint}"));
        }
        FAILED
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)?;
        self.hint
            .iter()
            .try_for_each(|hint| write!(formatter, " (hint: {hint})"))
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(text::chain(&error))
    }
}
