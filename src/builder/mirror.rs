//! A builder's copy of one view: a directory tree kept equal to the table, in which every name stands for what
//! the client has there or fails loudly. Its files are private copies, never links into the store.
//!
//! Directories have their client's modification time, set again after each batch of records; a directory's
//! size, link count and inode are this machine's. The root's time is not known and stays this machine's.

use std::collections::BTreeSet;
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
use crate::host::files::{FileError, PathContext, close};
use crate::store::discard::{OwnedDirectory, discard};
use crate::store::{Cas, CasError};

use self::usage::Usage;
use self::waiting::Waiting;

pub use self::lacking::Lacking;
pub use self::still::{Needs, Still};

mod lacking;
mod still;
mod usage;
mod waiting;

/// Records applied, or files filled, in one go; between two goes, actions get a look at the mirror.
const RECORDS_AT_ONCE: usize = 32;
/// Names of poison put or taken away in one go.
const NAMES_AT_ONCE: usize = 1024;

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
    /// Bytes it may take when it is given more.
    limit: u64,
    /// Held by whoever applies records, from the first to the last, so that those of two streams never mix.
    turn: Mutex<()>,
    /// Held over work on the disk, for one go of it.
    state: Mutex<State>,
    /// Files that lack their bytes. Beside the state for those who must not wait for the disk; changed only with
    /// the state held.
    waiting: Waiting,
    position: watch::Sender<u64>,
    /// Taken of the disk; kept beside the state for those who must not wait for the disk.
    bytes: AtomicU64,
    /// [`Tree::departures`], kept beside the state likewise.
    departures: AtomicU64,
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    /// Files that have their bytes; the others are poison.
    filled: BTreeSet<EntryId>,
    /// Directories whose time is to be set again.
    dirty: BTreeSet<EntryId>,
    usage: Usage,
}

impl Mirror {
    /// An empty mirror in an empty `directory`, whose files are taken from `cas`; they stay
    /// poison beyond `limit` bytes, names included.
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
            turn: Mutex::default(),
            state: Mutex::default(),
            waiting: Waiting::default(),
            position: watch::Sender::new(0),
            bytes: AtomicU64::new(0),
            departures: AtomicU64::new(0),
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
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_broken() {
            return Err(MirrorError::Broken);
        }
        let position = *self.position.borrow();
        let known = position
            .checked_sub(first)
            .ok_or(MirrorError::Gap { first, position })?;
        let new = records.get(known as usize..).unwrap_or_default();
        let applied = goes(new).try_for_each(|some| {
            self.apply_some(some)?;
            self.position
                .send_modify(|position| *position += some.len() as u64);
            Ok(())
        });
        self.broken.store(applied.is_err(), Ordering::Relaxed);
        applied
    }

    /// Applies what [`goes`] gave. A record of many names shows in parts: until its position is reached nobody
    /// relies on it.
    fn apply_some(&self, records: &[TableRecord]) -> Result<(), MirrorError> {
        match records {
            [TableRecord::Poison { parent, names }] => names.chunks(NAMES_AT_ONCE).try_for_each(|names| {
                let (parent, names) = (*parent, names.to_vec());
                self.apply_at_once(&[TableRecord::Poison { parent, names }])
            }),
            [TableRecord::Cure { parent, names }] => names.chunks(NAMES_AT_ONCE).try_for_each(|names| {
                let (parent, names) = (*parent, names.to_vec());
                self.apply_at_once(&[TableRecord::Cure { parent, names }])
            }),
            _ => self.apply_at_once(records),
        }
    }

    fn apply_at_once(&self, records: &[TableRecord]) -> Result<(), MirrorError> {
        let mut state = self.state();
        let applied = records
            .iter()
            .try_for_each(|record| self.apply_one(&mut state, record));
        self.settle(&mut state);
        applied
    }

    /// Gives the files that wait for a blob their bytes, if the store has it. Files that cannot be given theirs
    /// stay poison. Blocks on the disk.
    pub fn materialise(&self, digest: &BlobDigest) {
        for ids in self.waiting.files(digest).chunks(RECORDS_AT_ONCE) {
            let mut state = self.state();
            for &id in ids {
                let lacks = |file: &&FileEntry| file.content == *digest && !state.filled.contains(&id);
                if let Some(file) = state.tree.file(id).filter(lacks).copied()
                    && self.fill(&mut state, id, &file)
                {
                    let directory = state.tree.node(id).map_or(ROOT, |node| node.parent);
                    state.tree.mark_changed(directory);
                    state.dirty.insert(directory);
                }
            }
            self.settle(&mut state);
        }
    }

    /// Whether a file waits for this blob.
    pub fn awaits(&self, digest: &BlobDigest) -> bool {
        let _at_rest = self.state();
        self.waiting.contains(digest)
    }

    /// Whether a file waits for this blob, or is about to be given its bytes. Never waits for the disk.
    pub fn may_await(&self, digest: &BlobDigest) -> bool {
        self.waiting.contains(digest)
    }

    /// What these entries lack.
    pub fn needs(&self, ids: &[EntryId]) -> Needs {
        self.while_still(|still| still.needs(ids))
    }

    /// What entries lack that were looked at before.
    pub fn needs_still(&self, lacking: &mut Lacking) -> Needs {
        self.while_still(|still| lacking.look(still))
    }

    /// Entries that are entries no more, as of the last change. Never waits for the disk.
    pub fn departures(&self) -> u64 {
        self.departures.load(Ordering::Relaxed)
    }

    /// Where records stand, and how to wait for more of them.
    pub fn position(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    /// Bytes it takes of the disk: blocks of files, and one for every other name. Never waits.
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
        let directory = usage::directory_of(&state.tree, record);
        let names = usage::names_in(&state.tree, directory);
        let below = usage::names_below_displaced(&state.tree, record);
        let applied = state.tree.apply(record)?;
        let names_now = usage::names_in(&state.tree, directory);
        state.usage.named(names + below, names_now);
        for (id, file) in applied.gone {
            if state.filled.remove(&id) {
                state.usage.emptied(file.size);
            }
            self.waiting.remove(&file.content, id);
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
            Some((id, Kind::File(file))) => {
                // Before the store is asked: a blob that comes right after finds who waits for it.
                self.waiting.add(file.content, id);
                if !self.fill(state, id, &file) {
                    self.staging.put_poison(PoisonKind::Link, &target)?;
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Puts a file's bytes in its place; whether they are there now. What was there stays until then.
    fn fill(&self, state: &mut State, id: EntryId, file: &FileEntry) -> bool {
        let room = state.usage.has_room(file.size, self.limit);
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
        state.usage.filled(file.size);
        state.filled.insert(id);
        self.waiting.remove(&file.content, id);
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
            let stamped = stamp_file(&copy, mode, file.modified).and_then(|()| close(copy));
            if let Err(error) = stamped.context("finish", &staged) {
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
        self.bytes.store(state.usage.bytes(), Ordering::Relaxed);
        self.departures.store(state.tree.departures(), Ordering::Relaxed);
        for id in std::mem::take(&mut state.dirty) {
            let modified = state.tree.directory(id).and_then(|directory| directory.modified);
            if let Some(modified) = modified {
                // No compile is told apart by a directory's time: best effort.
                let _ = stamp_path(&self.root.join(state.tree.path(id)), modified);
            }
        }
    }
}

/// Parts of `records`, in order, each little enough for one go or a single record.
fn goes(mut records: &[TableRecord]) -> impl Iterator<Item = &[TableRecord]> {
    std::iter::from_fn(move || {
        let mut names = 0;
        let fitting = records.iter().take(RECORDS_AT_ONCE).take_while(|record| {
            names += match record {
                TableRecord::Poison { names, .. } => names.len(),
                TableRecord::Cure { names, .. } => names.len(),
                TableRecord::Define { .. } | TableRecord::Remove { .. } => 1,
            };
            names <= NAMES_AT_ONCE
        });
        let length = fitting.count().max(1).min(records.len());
        let (go, rest) = records.split_at(length);
        records = rest;
        (!go.is_empty()).then_some(go)
    })
}

#[cfg(test)]
mod tests;
