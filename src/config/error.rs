//! What can be wrong with a configuration file. Every error names the file, the key, and what is allowed.
//!
//! Never repeats a line of a file: it may hold a secret of sccache's.

use std::path::PathBuf;

use crate::host::files::FileError;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no TOML, has a key that is not known, or a value of a wrong kind.
    #[error("{}:{line}: {}{message}", path.display(), in_key(key))]
    Entry {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key of that line, when it has one.
        key: Option<String>,
        /// What is wrong, and what is allowed.
        message: String,
    },
    /// A value is of the right kind, but not allowed.
    #[error("{}: `{key}`: {rule}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: &'static str,
        /// What is allowed.
        rule: String,
    },
    /// A way of authentication of sccache's that quicc has not.
    #[error(
        "{}: `{section}.type`: `{kind}` is not supported: peers of quicc know each other by certificate. \
         Make certificates with `quicc certgen`, then remove `[{section}]` or write `type = \"certificate\"`",
        path.display()
    )]
    Authentication {
        /// The file.
        path: PathBuf,
        /// The table: `client_auth`, `dist.auth` …
        section: &'static str,
        /// The type asked for.
        kind: String,
    },
}

fn in_key(key: &Option<String>) -> String {
    key.as_ref().map(|key| format!("`{key}`: ")).unwrap_or_default()
}
