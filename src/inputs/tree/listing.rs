//! The names in one directory, read so that they belong to its stat tuple.

use std::collections::BTreeMap;
use std::fs::FileType;
use std::os::unix::ffi::OsStringExt;

use super::{LISTING_NAMES, READ_ATTEMPTS, StatTuple, TreeError, as_path};
use crate::host::clock;
use crate::host::files::PathContext;

/// What a name stands for, symlinks not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink,
    /// A device, FIFO or socket.
    Other,
}

impl From<FileType> for EntryKind {
    fn from(kind: FileType) -> Self {
        if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Symlink
        } else {
            Self::Other
        }
    }
}

/// The names in a directory, without `.` and `..`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Each name and its kind.
    pub names: BTreeMap<Vec<u8>, EntryKind>,
    /// Whether a name ends in `.gch` or `.pch`: precompiled headers are probed for without being named.
    pub has_precompiled: bool,
}

impl Listing {
    pub(super) fn new(names: BTreeMap<Vec<u8>, EntryKind>) -> Self {
        let has_precompiled = names.keys().any(|name| precompiled_header_of(name).is_some());
        Self {
            names,
            has_precompiled,
        }
    }
}

/// The header that `name` is a precompiled form of, if it is named like one.
pub(crate) fn precompiled_header_of(name: &[u8]) -> Option<&[u8]> {
    name.strip_suffix(b".gch").or_else(|| name.strip_suffix(b".pch"))
}

/// Reads the directory at `path`, and when that began.
pub(super) fn read(path: &[u8]) -> Result<(StatTuple, Listing, i128), TreeError> {
    for _ in 0..READ_ATTEMPTS {
        let read_at = clock::unix_nanos();
        let before = stat_of(path)?;
        let names = read_names(path)?;
        if stat_of(path)? == before {
            refuse_ignored_case(path, &names)?;
            return Ok((before, Listing::new(names), read_at));
        }
    }
    Err(TreeError::Raced {
        path: as_path(path).to_owned(),
    })
}

fn stat_of(path: &[u8]) -> Result<StatTuple, TreeError> {
    let path = as_path(path);
    Ok(StatTuple::from(
        &std::fs::symlink_metadata(path).context("examine", path)?,
    ))
}

fn read_names(path: &[u8]) -> Result<BTreeMap<Vec<u8>, EntryKind>, TreeError> {
    let path = as_path(path);
    let mut names = BTreeMap::new();
    for entry in std::fs::read_dir(path).context("list", path)? {
        let entry = entry.context("list", path)?;
        if names.len() == LISTING_NAMES {
            return Err(TreeError::DirectoryTooLarge {
                path: path.to_owned(),
            });
        }
        // A name that vanished before its kind was known shows in the directory's own times.
        let kind = entry.file_type().map_or(EntryKind::Other, EntryKind::from);
        names.insert(entry.file_name().into_vec(), kind);
    }
    Ok(names)
}

/// Asks for one of the names in another case. The flag itself (`FS_CASEFOLD_FL`) takes an ioctl.
fn refuse_ignored_case(path: &[u8], names: &BTreeMap<Vec<u8>, EntryKind>) -> Result<(), TreeError> {
    let Some(other) = names.keys().find_map(|name| in_other_case(name)) else {
        return Ok(());
    };
    if names.contains_key(&other) {
        return Ok(());
    }
    let directory = as_path(path);
    if std::fs::symlink_metadata(directory.join(as_path(&other))).is_ok() {
        return Err(TreeError::IgnoresCase {
            path: directory.to_owned(),
        });
    }
    Ok(())
}

/// `name` with the case of its ASCII letters turned, if it has any.
fn in_other_case(name: &[u8]) -> Option<Vec<u8>> {
    let turn = |byte: &u8| {
        if byte.is_ascii_lowercase() {
            byte.to_ascii_uppercase()
        } else {
            byte.to_ascii_lowercase()
        }
    };
    let turned: Vec<u8> = name.iter().map(turn).collect();
    (turned != name).then_some(turned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_precompiled_headers() {
        let check = |name: &str, header: Option<&str>| {
            assert_eq!(
                precompiled_header_of(name.as_bytes()),
                header.map(str::as_bytes),
                "{name}"
            );
        };
        check("a.h.gch", Some("a.h"));
        check("a.h.pch", Some("a.h"));
        check("a.h", None);
        check("gch", None);
    }

    #[test]
    fn the_other_case_of_a_name() {
        assert_eq!(in_other_case(b"Foo.h"), Some(b"fOO.H".to_vec()));
        assert_eq!(in_other_case(b"12_3"), None);
    }
}
