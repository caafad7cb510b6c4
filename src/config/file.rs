//! One TOML file: read, decoded, its paths made absolute. Knows no key.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::error::ConfigError;
use crate::host::files::PathContext;

/// A file's text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigText {
    path: PathBuf,
    text: String,
}

impl ConfigText {
    /// A text as if it had been read from `path`.
    pub fn new(path: &Path, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Reads the file at `path`, which must exist.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).context("read configuration", path)?;
        Ok(Self::new(path, &text))
    }

    /// Reads the file at `path`; one that does not exist is empty.
    pub fn read_optional(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::new(path, "")),
            read => Ok(Self::new(path, &read.context("read configuration", path)?)),
        }
    }

    /// The text as a `T`.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let (line, key) = self.place(error.span().unwrap_or_default());
            ConfigError::Entry {
                path: self.path.clone(),
                line,
                key,
                message: error.message().trim_end().replace('\n', ", "),
            }
        })
    }

    /// A path of the file as an absolute one: relative paths start at the file's directory.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    pub(super) fn value_error(&self, key: &'static str, rule: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            path: self.path.clone(),
            key,
            rule: rule.into(),
        }
    }

    pub(super) fn authentication_error(&self, section: &'static str, kind: &str) -> ConfigError {
        ConfigError::Authentication {
            path: self.path.clone(),
            section,
            kind: kind.to_owned(),
        }
    }

    /// The line a span begins in, and that line's key; never its value.
    fn place(&self, span: Range<usize>) -> (usize, Option<String>) {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count();
        let text = self.text.lines().nth(line).unwrap_or_default();
        let key = text.split_once('=').map(|(key, _)| key.trim());
        let is_key = |key: &&str| {
            let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            !key.is_empty() && key.bytes().all(is_bare)
        };
        (line + 1, key.filter(is_key).map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only decoded")]
        number: Option<u32>,
    }

    fn check(text: &str, expected: &str) {
        let error = ConfigText::new(Path::new("/etc/q.conf"), text)
            .decode::<Sample>()
            .unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn errors_name_file_line_key_and_what_is_allowed() {
        check(
            "# comment\nnumbr = 1\n",
            "/etc/q.conf:2: `numbr`: unknown field `numbr`, expected `number`",
        );
        check(
            "\n\nnumber = true",
            "/etc/q.conf:3: `number`: invalid type: boolean `true`, expected u32",
        );
    }

    #[test]
    fn a_broken_line_is_not_repeated() {
        let text = "\ntoken = \"my secret\nnumber = 1";
        let error = ConfigText::new(Path::new("q"), text)
            .decode::<Sample>()
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("q:2: `token`: ") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let file = ConfigText::new(Path::new("/etc/quicc/q.conf"), "");
        assert_eq!(file.resolve(Path::new("ca.pem")), Path::new("/etc/quicc/ca.pem"));
        assert_eq!(file.resolve(Path::new("/ca.pem")), Path::new("/ca.pem"));
    }

    #[test]
    fn a_missing_file_is_empty_only_where_that_is_allowed() {
        let scratch = tempfile::tempdir().unwrap();
        let missing = scratch.path().join("missing");
        assert_eq!(ConfigText::read_optional(&missing).unwrap().text, "");
        let error = ConfigText::read(&missing).unwrap_err().to_string();
        assert_eq!(error, format!("cannot read configuration {}", missing.display()));
        assert!(ConfigText::read_optional(scratch.path()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = ConfigText::new(Path::new("q"), &text).decode::<Sample>().map_err(|error| error.to_string());
        }
    }
}
