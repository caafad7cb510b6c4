//! PURE: a view as its table tells it: entries by id, names by directory, and what each record changes. Never
//! touches a file; [`super::mirror`] carries the changes out.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use quicc_protocol::identifiers::{EntryId, ROOT};
use quicc_protocol::limits;
use quicc_protocol::message::run::SCRATCH_NAME;
use quicc_protocol::message::table::{EntryKind, PoisonKind, TableRecord};

pub use self::entry::{Child, Directory, FileEntry, Kind, Node};

mod entry;

/// Names, entries and poison together, one view may have: bounds a builder's memory and inodes. A directory of
/// 100,000 objects beside 5,000 headers is far below.
pub const NAMES: usize = 1 << 20;

/// Directories of the root that every mirror has, since the sandbox mounts over them.
pub const MOUNT_POINTS: [&[u8]; 3] = [b"proc", b"dev", SCRATCH_NAME];

/// Why a record cannot be applied: the client breaks the table's rules. The table is unusable from here on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Ids are given out upwards and once.
    #[error("entry {id} is defined after entry {highest}")]
    Reused {
        /// The id of the record.
        id: EntryId,
        /// The highest id so far.
        highest: EntryId,
    },
    /// No entry ever had the id.
    #[error("entry {id} was never defined")]
    Undefined {
        /// The id of the record.
        id: EntryId,
    },
    /// A parent is gone, or no directory.
    #[error("entry {id} is no directory of the table")]
    NoDirectory {
        /// The parent of the record.
        id: EntryId,
    },
    /// Below [`limits::PATH_DEPTH`] directories.
    #[error("an entry of directory {parent} lies too deep")]
    TooDeep {
        /// The parent of the record.
        parent: EntryId,
    },
    /// More than [`NAMES`].
    #[error("the table has more than {NAMES} names")]
    TooManyNames,
    /// A name of [`MOUNT_POINTS`] in the root that is no directory on the client.
    #[error("the sandbox needs a directory where the client has something else")]
    Reserved,
}

/// One name that is something else now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The directory.
    pub directory: EntryId,
    /// The name in it.
    pub name: Vec<u8>,
    /// What it is now; `None` for nothing.
    pub now: Option<Child>,
}

/// What a record did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Names that changed, in an order that makes each directory before what is in it.
    pub changes: Vec<Change>,
    /// Files that are entries no more.
    pub gone: Vec<(EntryId, FileEntry)>,
}

/// The entries of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<EntryId, Node>,
    /// Entries by the inode they share.
    inodes: BTreeMap<EntryId, BTreeSet<EntryId>>,
    highest: EntryId,
    names: usize,
    stamp: u64,
    departures: u64,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Node {
            parent: ROOT,
            name: Vec::new(),
            kind: Kind::Directory(Directory::new(None)),
            is_covered: false,
            depth: 0,
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            inodes: BTreeMap::new(),
            highest: ROOT,
            names: 0,
            stamp: 0,
            departures: 0,
        }
    }
}

impl Tree {
    /// Applies one record. After an error nothing has changed.
    pub fn apply(&mut self, record: &TableRecord) -> Result<Applied, TreeError> {
        match record {
            TableRecord::Define {
                id,
                parent,
                name,
                kind,
            } => self.define(*id, *parent, name, kind),
            TableRecord::Remove { id } => self.remove(*id),
            TableRecord::Poison { parent, names } => self.poison(*parent, names),
            TableRecord::Cure { parent, names } => self.cure(*parent, names),
        }
    }

    /// The entry, if it is one now.
    pub fn node(&self, id: EntryId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// The directory of that id, if it is one now.
    pub fn directory(&self, id: EntryId) -> Option<&Directory> {
        match &self.nodes.get(&id)?.kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// The file of that id, if it is one now.
    pub fn file(&self, id: EntryId) -> Option<&FileEntry> {
        match &self.nodes.get(&id)?.kind {
            Kind::File(file) => Some(file),
            _ => None,
        }
    }

    /// Entries that are one inode on the client.
    pub fn same_inode(&self, inode: EntryId) -> impl Iterator<Item = EntryId> + '_ {
        self.inodes.get(&inode).into_iter().flatten().copied()
    }

    /// The entry's path relative to the root of the view. Every component but the last is a directory of the
    /// table, so that no symbolic link is followed on the way; none is `..`.
    pub fn path(&self, id: EntryId) -> PathBuf {
        let mut components = Vec::new();
        let mut current = id;
        while let Some(node) = self.nodes.get(&current).filter(|_| current != ROOT) {
            components.push(OsStr::from_bytes(&node.name));
            current = node.parent;
        }
        components.iter().rev().collect()
    }

    /// The entry at an absolute path, provided every component before the last is a directory of the table.
    pub fn find(&self, path: &[u8]) -> Option<EntryId> {
        let components = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        components.into_iter().try_fold(ROOT, |directory, name| {
            match self.directory(directory)?.names.get(name)? {
                Child::Entry(id) => Some(*id),
                Child::Poison(_) => None,
            }
        })
    }

    /// Counts the changes so far; for [`Self::changed_since`].
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Counts the entries that are entries no more. While it stands still, whatever was an entry is one, in the same place.
    pub fn departures(&self) -> u64 {
        self.departures
    }

    /// Records that the content of a directory changed by other means than a record.
    pub fn mark_changed(&mut self, directory: EntryId) {
        self.stamp += 1;
        let stamp = self.stamp;
        if let Some(directory) = self.directory_mut(directory) {
            directory.changed = stamp;
        }
    }

    /// Whether anything changed after `stamp` in the directories of these entries, in those of them that are
    /// directories, or whether one of them is gone.
    pub fn changed_since(&self, stamp: u64, ids: &[EntryId]) -> bool {
        let directory_changed = |id| {
            self.directory(id)
                .is_none_or(|directory| directory.changed > stamp)
        };
        ids.iter().any(|&id| {
            self.nodes.get(&id).is_none_or(|node| {
                directory_changed(node.parent)
                    || matches!(&node.kind, Kind::Directory(directory) if directory.changed > stamp)
            })
        })
    }

    fn directory_mut(&mut self, id: EntryId) -> Option<&mut Directory> {
        match &mut self.nodes.get_mut(&id)?.kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn define(
        &mut self,
        id: EntryId,
        parent: EntryId,
        name: &[u8],
        kind: &EntryKind,
    ) -> Result<Applied, TreeError> {
        if id <= self.highest {
            return Err(TreeError::Reused {
                id,
                highest: self.highest,
            });
        }
        let above = self.nodes.get(&parent);
        let depth = above.map_or(0, |node| node.depth) + 1;
        let is_covered = above.is_some_and(|node| node.is_covered || is_mount_point(node.parent, &node.name));
        self.room_in(parent, 1)?;
        if depth > limits::PATH_DEPTH {
            return Err(TreeError::TooDeep { parent });
        }
        let directory = matches!(kind, EntryKind::Directory { .. });
        if is_mount_point(parent, name) && (!directory || name == SCRATCH_NAME) {
            return Err(TreeError::Reserved);
        }
        let kind = match kind {
            EntryKind::Directory { modified } => Kind::Directory(Directory::new(Some(*modified))),
            EntryKind::Symlink { target } => Kind::Symlink(target.clone()),
            EntryKind::File {
                content,
                size,
                executable,
                modified,
                same_inode_as,
            } => Kind::File(FileEntry {
                content: *content,
                size: *size,
                executable: *executable,
                modified: *modified,
                inode: self.inode_of(id, *same_inode_as)?,
            }),
        };
        let mut applied = Applied::default();
        self.set(parent, name, Some(Child::Entry(id)), &mut applied);
        self.highest = id;
        if let Kind::File(file) = &kind {
            self.inodes.entry(file.inode).or_default().insert(id);
        }
        self.nodes.insert(
            id,
            Node {
                parent,
                name: name.to_vec(),
                kind,
                is_covered,
                depth,
            },
        );
        Ok(applied)
    }

    /// The inode's first entry; an entry that is gone names no inode any more.
    fn inode_of(&self, id: EntryId, same: Option<EntryId>) -> Result<EntryId, TreeError> {
        match same {
            Some(same) if same > self.highest => Err(TreeError::Undefined { id: same }),
            Some(same) => Ok(self.file(same).map_or(id, |file| file.inode)),
            None => Ok(id),
        }
    }

    fn remove(&mut self, id: EntryId) -> Result<Applied, TreeError> {
        if id > self.highest {
            return Err(TreeError::Undefined { id });
        }
        let mut applied = Applied::default();
        if let Some(node) = self.nodes.get(&id).filter(|_| id != ROOT) {
            let (parent, name) = (node.parent, node.name.clone());
            self.set(parent, &name, None, &mut applied);
        }
        Ok(applied)
    }

    fn poison(&mut self, parent: EntryId, names: &[(Vec<u8>, PoisonKind)]) -> Result<Applied, TreeError> {
        self.room_in(parent, names.len())?;
        let mut applied = Applied::default();
        for (name, kind) in names {
            let poison = Child::Poison(*kind);
            let known = self
                .directory(parent)
                .and_then(|directory| directory.names.get(name));
            if known != Some(&poison) && !(is_mount_point(parent, name)) {
                self.set(parent, name, Some(poison), &mut applied);
            }
        }
        Ok(applied)
    }

    fn cure(&mut self, parent: EntryId, names: &[Vec<u8>]) -> Result<Applied, TreeError> {
        self.room_in(parent, 0)?;
        let mut applied = Applied::default();
        for name in names {
            let known = self
                .directory(parent)
                .and_then(|directory| directory.names.get(name));
            if matches!(known, Some(Child::Poison(_))) {
                self.set(parent, name, None, &mut applied);
            }
        }
        Ok(applied)
    }

    fn room_in(&self, parent: EntryId, more: usize) -> Result<(), TreeError> {
        if self.directory(parent).is_none() {
            Err(TreeError::NoDirectory { id: parent })
        } else if self.names + more > NAMES {
            Err(TreeError::TooManyNames)
        } else {
            Ok(())
        }
    }

    /// Makes a name something else; an entry that had it goes with all below it.
    fn set(&mut self, parent: EntryId, name: &[u8], now: Option<Child>, applied: &mut Applied) {
        self.stamp += 1;
        let stamp = self.stamp;
        let Some(directory) = self.directory_mut(parent) else {
            return;
        };
        directory.changed = stamp;
        let before = match now {
            Some(child) => directory.names.insert(name.to_vec(), child),
            None => directory.names.remove(name),
        };
        self.names += usize::from(now.is_some());
        self.names -= usize::from(before.is_some());
        if let Some(Child::Entry(id)) = before {
            self.forget(id, &mut applied.gone);
        }
        applied.changes.push(Change {
            directory: parent,
            name: name.to_vec(),
            now,
        });
    }

    fn forget(&mut self, id: EntryId, gone: &mut Vec<(EntryId, FileEntry)>) {
        let mut ids = vec![id];
        while let Some(id) = ids.pop() {
            let Some(node) = self.nodes.remove(&id) else {
                continue;
            };
            self.departures += 1;
            match node.kind {
                Kind::Directory(directory) => {
                    self.names -= directory.names.len();
                    ids.extend(directory.names.into_values().filter_map(|child| match child {
                        Child::Entry(id) => Some(id),
                        Child::Poison(_) => None,
                    }));
                }
                Kind::File(file) => {
                    if let Some(entries) = self.inodes.get_mut(&file.inode) {
                        entries.remove(&id);
                        if entries.is_empty() {
                            self.inodes.remove(&file.inode);
                        }
                    }
                    gone.push((id, file));
                }
                Kind::Symlink(_) => {}
            }
        }
    }
}

/// Whether the sandbox mounts over that name.
pub fn is_mount_point(parent: EntryId, name: &[u8]) -> bool {
    parent == ROOT && MOUNT_POINTS.contains(&name)
}

#[cfg(test)]
mod tests;
