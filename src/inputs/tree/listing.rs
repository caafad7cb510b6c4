//! The names in one directory, read so that they belong to its stat tuple.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::FileType;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

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

impl From<&StatTuple> for EntryKind {
    fn from(stat: &StatTuple) -> Self {
        if stat.is_file() {
            Self::File
        } else if stat.is_directory() {
            Self::Directory
        } else if stat.is_symlink() {
            Self::Symlink
        } else {
            Self::Other
        }
    }
}

/// The names in a directory, without `.` and `..`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Each name and its kind. Names are shared with the listings before and after it: a directory that a build writes
    /// to has another listing for every unit.
    pub names: BTreeMap<Arc<[u8]>, EntryKind>,
    /// Whether a name ends in `.gch` or `.pch`: precompiled headers are probed for without being named.
    pub has_precompiled: bool,
}

impl Listing {
    pub(super) fn new(names: BTreeMap<Arc<[u8]>, EntryKind>) -> Self {
        let has_precompiled = names.keys().any(|name| precompiled_header_of(name).is_some());
        Self {
            names,
            has_precompiled,
        }
    }
}

/// Names that went, and names that came and what they stand for.
type Difference<'a> = (Vec<&'a [u8]>, Vec<(&'a [u8], EntryKind)>);

impl Listing {
    /// The names that are in one of two listings only: those that went with `later`, and those that came.
    pub(crate) fn difference<'a>(&'a self, later: &'a Self) -> Difference<'a> {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let (mut before, mut after) = (self.names.iter().peekable(), later.names.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => return (gone, come),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((one, _)), Some((other, _))) if Arc::ptr_eq(one, other) => Ordering::Equal,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            if order != Ordering::Greater {
                let name = before.next().map(|(name, _)| &**name);
                gone.extend(name.filter(|_| order.is_lt()));
            }
            if order != Ordering::Less {
                let entry = after.next().map(|(name, kind)| (&**name, *kind));
                come.extend(entry.filter(|_| order.is_gt()));
            }
        }
    }

    /// The same directory once some of its names stand for other things, or for nothing. `None` if that alone does not
    /// tell: whether a directory ignores case shows only by the names in it.
    pub(super) fn with(&self, changed: &[(Vec<u8>, Option<EntryKind>)]) -> Option<Self> {
        self.names.keys().find_map(|name| in_other_case(name))?;
        let mut names = self.names.clone();
        for (name, kind) in changed {
            match kind {
                Some(kind) => drop(names.insert(name.as_slice().into(), *kind)),
                None => drop(names.remove(name.as_slice())),
            }
        }
        if names.len() > LISTING_NAMES {
            return None;
        }
        let is_precompiled = |(name, _): &(Vec<u8>, _)| precompiled_header_of(name).is_some();
        Some(if changed.iter().any(is_precompiled) {
            Self::new(names)
        } else {
            Self {
                names,
                has_precompiled: self.has_precompiled,
            }
        })
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
            require_searchable(path)?;
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

fn read_names(path: &[u8]) -> Result<BTreeMap<Arc<[u8]>, EntryKind>, TreeError> {
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
        names.insert(entry.file_name().into_vec().into(), kind);
    }
    Ok(names)
}

/// Where names may be read but not looked up, a compiler that asks for one that is not there gets an error.
fn require_searchable(path: &[u8]) -> Result<(), TreeError> {
    let path = as_path(path);
    std::fs::symlink_metadata(path.join(".")).context("search", path)?;
    Ok(())
}

/// Asks for one of the names in another case. The flag itself (`FS_CASEFOLD_FL`) takes an ioctl.
fn refuse_ignored_case(path: &[u8], names: &BTreeMap<Arc<[u8]>, EntryKind>) -> Result<(), TreeError> {
    let Some(other) = names.keys().find_map(|name| in_other_case(name)) else {
        return Ok(());
    };
    if names.contains_key(other.as_slice()) {
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

    fn listing(names: &[&str]) -> Listing {
        let names = names.iter().map(|name| (name.as_bytes().into(), EntryKind::File));
        Listing::new(names.collect())
    }

    #[test]
    fn a_listing_changes_by_names() {
        let change = |name: &str, kind| [(name.as_bytes().to_vec(), kind)];
        let file = Some(EntryKind::File);
        let before = listing(&["a", "b"]);
        assert_eq!(before.with(&change("c", file)), Some(listing(&["a", "b", "c"])));
        assert_eq!(before.with(&change("a", None)), Some(listing(&["b"])));
        assert_eq!(before.with(&change("z", None)), Some(before.clone()));
        let with_precompiled = before.with(&change("b.gch", file)).unwrap();
        assert!(with_precompiled.has_precompiled);
        assert_eq!(with_precompiled.with(&change("b.gch", None)), Some(before));
        assert_eq!(
            listing(&["1"]).with(&change("a", file)),
            None,
            "case was not asked"
        );
        let full: Vec<String> = (0..LISTING_NAMES).map(|number| format!("n{number}")).collect();
        let full = listing(&full.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(full.with(&change("a", file)), None);
        assert!(full.with(&change("n1", file)).is_some());
    }

    #[test]
    fn what_is_in_one_of_two_listings() {
        let check = |before: &[&str], after: &[&str], gone: &[&str], come: &[&str]| {
            let (before, after) = (listing(before), listing(after));
            let (left, came) = before.difference(&after);
            assert_eq!(left, gone.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
            let came: Vec<_> = came.into_iter().map(|(name, _)| name).collect();
            assert_eq!(came, come.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
        };
        check(&[], &[], &[], &[]);
        check(&["a", "c"], &["a", "c"], &[], &[]);
        check(&["a", "b", "d"], &["b", "c", "e"], &["a", "d"], &["c", "e"]);
        check(&["a"], &[], &["a"], &[]);
        check(&[], &["a"], &[], &["a"]);
    }

    #[test]
    fn the_other_case_of_a_name() {
        assert_eq!(in_other_case(b"Foo.h"), Some(b"fOO.H".to_vec()));
        assert_eq!(in_other_case(b"12_3"), None);
    }
}
