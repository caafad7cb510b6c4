//! What can be wrong with certificate and key files, said to the person who can mend it: the error names the
//! file, [`FileError::hint`] what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a certificate or a key could not be kept or used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file does not exist.
    #[error("there is no {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory it was attempted on.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Others than its owner may read or write the private key.
    #[error("private key {} is open to others than its owner (mode {mode:04o})", path.display())]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is longer than [`crate::FILE_LENGTH_MAX`].
    #[error("{} is too long to be a certificate or a key", path.display())]
    Length {
        /// The file.
        path: PathBuf,
    },
    /// The file contains no certificate, or several.
    #[error("{} does not contain exactly one PEM certificate", path.display())]
    Count {
        /// The file.
        path: PathBuf,
    },
    /// The content is not what it should be.
    #[error("{} cannot be used", path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate was good once.
    #[error("certificate {} expired {} ago", path.display(), duration(*seconds))]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// For how long it has been expired.
        seconds: u64,
    },
    /// A new authority would replace this one.
    #[error("there is an authority already: {}", path.display())]
    AuthorityExists {
        /// The file that would be overwritten.
        path: PathBuf,
    },
}

impl FileError {
    /// What its reader can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { path } => {
                format!("make it with `quicc certgen`, or copy it to {}", path.display())
            }
            Self::Io { path, .. } => {
                format!("check the owner, the mode and the disk of {}", path.display())
            }
            Self::Exposed { path, .. } => format!(
                "`chmod 600 {}`, and issue another with `quicc certgen` if somebody else may have read it",
                path.display()
            ),
            Self::Length { path } | Self::Count { path } | Self::Garbled { path, .. } => format!(
                "copy {} again from where it was made, or make another with `quicc certgen`",
                path.display()
            ),
            Self::Expired { path, .. } => {
                format!(
                    "replace {} by a new one from `quicc certgen`, and check this machine's clock",
                    path.display()
                )
            }
            Self::AuthorityExists { path } => format!(
                "choose another directory, or move {} away: nothing it signed is trusted by a new authority",
                path.display()
            ),
        }
    }
}

/// Attaches an action and a path to an `io::Result`.
pub(super) trait FileContext<T> {
    /// Turns the error into a [`FileError`] naming `action` and `path`.
    fn context(self, action: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        let path = path.to_owned();
        self.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => FileError::Missing { path },
            _ => FileError::Io { action, path, source },
        })
    }
}

/// Makes of any other error a [`FileError::Garbled`] naming `path`.
pub(super) fn garbled<E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
) -> impl FnOnce(E) -> FileError {
    move |source| FileError::Garbled {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

/// About how long, in the largest unit that fits.
fn duration(seconds: u64) -> String {
    let units = [("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];
    let (unit, length) = units
        .into_iter()
        .find(|(_, length)| seconds >= *length)
        .unwrap_or(("second", 1));
    let count = seconds / length;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_well() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (7199, "1 hour"),
            (86_400, "1 day"),
            (10 * 86_400 - 1, "9 days"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }
}
