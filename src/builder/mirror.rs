//! A builder's copy of one view: a directory tree kept equal to the table, in which every name stands for what
//! the client has there or fails loudly. Its files are private copies, never links into the store.
//!
//! Directories have their client's modification time, set again after each batch of records; a directory's
//! size, link count and inode are this machine's. The root's time is not known and stays this machine's.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::{EntryId, ROOT};
use quicc_protocol::message::table::{PoisonKind, TableRecord};
use tokio::sync::watch;

use super::place::{Staging, stamp_file, stamp_path};
use super::tree::{self, Change, Child, FileEntry, Kind, Tree, TreeError};
use crate::host::files::{FileError, PathContext};
use crate::store::discard::{OwnedDirectory, discard};
use crate::store::{Cas, CasError};

pub use self::still::{Needs, Still};

mod still;

/// Files are counted against the quota in blocks, as file systems keep them.
const BLOCK: u64 = 4096;

/// Records applied in one go; between two goes, actions get a look at the mirror.
const RECORDS_AT_ONCE: usize = 32;

/// Why a mirror cannot follow its table.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The client broke the table's rules.
    #[error("the table breaks its rules")]
    Table {
        /// Which rule.
        #[from]
        source: TreeError,
    },
    /// Not even poison could be put where it belongs.
    #[error("the mirror cannot be kept")]
    File {
        /// What failed.
        #[from]
        source: FileError,
    },
    /// An earlier failure left the mirror behind its table.
    #[error("the mirror is behind its table")]
    Broken,
    /// Records are missing before these.
    #[error("record {first} came after {position} records")]
    Gap {
        /// Records of the table before the first of these.
        first: u64,
        /// Records applied.
        position: u64,
    },
}

/// One tree on disk and the table it follows.
#[derive(Debug)]
pub struct Mirror {
    /// Holds `root` and `staging`, and removes both.
    _directory: OwnedDirectory,
    root: PathBuf,
    staging: Staging,
    cas: Cas,
    /// Most bytes of its files.
    limit: u64,
    state: Mutex<State>,
    position: watch::Sender<u64>,
    /// Of its files; kept beside the state for those who must not wait for the disk.
    bytes: AtomicU64,
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    /// Files that have their bytes; the others are poison.
    filled: BTreeSet<EntryId>,
    /// Files that do not, by the blob they lack.
    waiting: BTreeMap<BlobDigest, BTreeSet<EntryId>>,
    /// Directories whose time is to be set again.
    dirty: BTreeSet<EntryId>,
    bytes: u64,
}

impl Mirror {
    /// An empty mirror in an empty `directory`, with at most `limit` bytes of files taken from `cas`.
    pub fn create(directory: OwnedDirectory, cas: Cas, limit: u64) -> Result<Self, MirrorError> {
        let root = directory.path().join("root");
        let staging = directory.path().join("staging");
        for path in [&root, &staging] {
            fs::create_dir(path).context("create", path)?;
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).context("set the mode of", &root)?;
        let mirror = Self {
            _directory: directory,
            staging: Staging::new(staging),
            root,
            cas,
            limit,
            state: Mutex::default(),
            position: watch::Sender::new(0),
            bytes: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        };
        for name in tree::MOUNT_POINTS {
            mirror
                .staging
                .put_directory(&mirror.path_of(&Tree::default(), ROOT, name))?;
        }
        Ok(mirror)
    }

    /// Applies records in order; `first` records of the table came before them. Those applied already are
    /// skipped, so that a table may be told again from any earlier position. After an error the mirror takes no
    /// more of them. Blocks on the disk.
    pub fn apply(&self, first: u64, records: &[TableRecord]) -> Result<(), MirrorError> {
        let mut number = first;
        for some in records.chunks(RECORDS_AT_ONCE) {
            self.apply_some(number, some)?;
            number += some.len() as u64;
        }
        Ok(())
    }

    fn apply_some(&self, first: u64, records: &[TableRecord]) -> Result<(), MirrorError> {
        let mut state = self.state();
        if self.is_broken() {
            return Err(MirrorError::Broken);
        }
        let position = *self.position.borrow();
        let known = position
            .checked_sub(first)
            .ok_or(MirrorError::Gap { first, position })?;
        let new = records.get(known as usize..).unwrap_or_default();
        let applied = new
            .iter()
            .try_for_each(|record| self.apply_one(&mut state, record));
        self.settle(&mut state);
        self.broken.store(applied.is_err(), Ordering::Relaxed);
        if applied.is_ok() {
            self.position
                .send_modify(|position| *position += new.len() as u64);
        }
        applied
    }

    /// Gives the files that wait for a blob their bytes, if the store has it. Files that cannot be given theirs
    /// stay poison. Blocks on the disk.
    pub fn materialise(&self, digest: &BlobDigest) {
        let mut state = self.state();
        let Some(waiting) = state.waiting.get(digest).cloned() else {
            return;
        };
        for id in waiting {
            if let Some(file) = state.tree.file(id).copied()
                && self.fill(&mut state, id, &file)
            {
                let directory = state.tree.node(id).map_or(ROOT, |node| node.parent);
                state.tree.mark_changed(directory);
                state.dirty.insert(directory);
            }
        }
        self.settle(&mut state);
    }

    /// Whether a file waits for this blob.
    pub fn awaits(&self, digest: &BlobDigest) -> bool {
        self.state().waiting.contains_key(digest)
    }

    /// What these entries lack.
    pub fn needs(&self, ids: &[EntryId]) -> Needs {
        self.while_still(|still| still.needs(ids))
    }

    /// Where records stand, and how to wait for more of them.
    pub fn position(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    /// Bytes of its files. Never waits.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether an error stopped it from following its table. Never waits.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The directory a sandbox takes for the root of its files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Calls `look` while nothing changes the mirror, on disk neither.
    pub fn while_still<T>(&self, look: impl FnOnce(&Still<'_>) -> T) -> T {
        let state = self.state();
        look(&Still {
            tree: &state.tree,
            filled: &state.filled,
            root: &self.root,
        })
    }

    /// See [`Tree::changed_since`].
    pub fn changed_since(&self, stamp: u64, ids: &[EntryId]) -> bool {
        self.state().tree.changed_since(stamp, ids)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, tree: &Tree, directory: EntryId, name: &[u8]) -> PathBuf {
        let mut path = self.root.join(tree.path(directory));
        path.push(OsStr::from_bytes(name));
        path
    }

    fn apply_one(&self, state: &mut State, record: &TableRecord) -> Result<(), MirrorError> {
        let applied = state.tree.apply(record)?;
        for (id, file) in applied.gone {
            if state.filled.remove(&id) {
                state.bytes = state.bytes.saturating_sub(blocks(file.size));
            }
            if let Some(waiting) = state.waiting.get_mut(&file.content) {
                waiting.remove(&id);
                if waiting.is_empty() {
                    state.waiting.remove(&file.content);
                }
            }
        }
        for change in &applied.changes {
            self.carry_out(state, change)?;
            state.dirty.insert(change.directory);
        }
        Ok(())
    }

    fn carry_out(&self, state: &mut State, change: &Change) -> Result<(), MirrorError> {
        let target = self.path_of(&state.tree, change.directory, &change.name);
        let kind = match change.now {
            None if tree::is_mount_point(change.directory, &change.name) => {
                return Ok(self.staging.put_directory(&target)?);
            }
            None => return Ok(self.staging.remove(&target)?),
            Some(Child::Poison(kind)) => return Ok(self.staging.put_poison(kind, &target)?),
            Some(Child::Entry(id)) => state.tree.node(id).map(|node| (id, node.kind.clone())),
        };
        match kind {
            Some((id, Kind::Directory(_))) => {
                self.staging.put_directory(&target)?;
                state.dirty.insert(id);
            }
            Some((_, Kind::Symlink(points_to))) => {
                let points_to = Path::new(OsStr::from_bytes(&points_to));
                self.staging.put_link(points_to, &target)?;
            }
            Some((id, Kind::File(file))) if !self.fill(state, id, &file) => {
                self.staging.put_poison(PoisonKind::Link, &target)?;
                state.waiting.entry(file.content).or_default().insert(id);
            }
            Some((_, Kind::File(_))) | None => {}
        }
        Ok(())
    }

    /// Puts a file's bytes in its place; whether they are there now. What was there stays until then.
    fn fill(&self, state: &mut State, id: EntryId, file: &FileEntry) -> bool {
        let size = blocks(file.size);
        let room = state.bytes + size <= self.limit;
        if !room || (!self.cas.has(&file.content) && self.twin(state, id, file).is_none()) {
            return false;
        }
        if let Err(error) = self.place_file(state, id, file) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a file of a mirror stays poison"
            );
            return false;
        }
        state.bytes += size;
        state.filled.insert(id);
        if let Some(waiting) = state.waiting.get_mut(&file.content) {
            waiting.remove(&id);
            if waiting.is_empty() {
                state.waiting.remove(&file.content);
            }
        }
        true
    }

    fn place_file(&self, state: &State, id: EntryId, file: &FileEntry) -> Result<(), CasError> {
        let staged = self.staging.name();
        let target = self.root.join(state.tree.path(id));
        let linked = self
            .twin(state, id, file)
            .is_some_and(|twin| fs::hard_link(self.root.join(state.tree.path(twin)), &staged).is_ok());
        if !linked {
            let copy = self.cas.copy_to(&file.content, &staged)?;
            let mode = if file.executable { 0o755 } else { 0o644 };
            if let Err(error) = stamp_file(&copy, mode, file.modified).context("set the time of", &staged) {
                discard(&staged)?;
                return Err(error.into());
            }
        }
        Ok(self.staging.put(&staged, &target)?)
    }

    /// A file that is in place, is the same inode on the client, and agrees in all that an inode holds.
    fn twin(&self, state: &State, id: EntryId, file: &FileEntry) -> Option<EntryId> {
        state
            .tree
            .same_inode(file.inode)
            .filter(|twin| *twin != id && state.filled.contains(twin))
            .find(|twin| state.tree.file(*twin) == Some(file))
    }

    /// Ends a change: publishes the size, gives directories in which something was placed their client's time back.
    fn settle(&self, state: &mut State) {
        self.bytes.store(state.bytes, Ordering::Relaxed);
        for id in std::mem::take(&mut state.dirty) {
            let modified = state.tree.directory(id).and_then(|directory| directory.modified);
            if let Some(modified) = modified {
                // No compile is told apart by a directory's time: best effort.
                let _ = stamp_path(&self.root.join(state.tree.path(id)), modified);
            }
        }
    }
}

fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK).max(1) * BLOCK
}

#[cfg(test)]
mod tests;
