//! PURE. What one builder has been told of this agent's view, and which records make it know a closure.
//!
//! Paths are physical: real parent directory and name. Never looks at a file.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use foldhash::HashMap;
use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::{EntryId, ROOT, encode_ascending};
use quicc_protocol::limits;
use quicc_protocol::message::table::{EntryKind, FileTime, PoisonKind, TableRecord};

use crate::inputs::kept::Kept;
use crate::inputs::tree::{self, Listed, Listing, StatTuple, precompiled_header_of};

/// Closures remembered as a whole; beyond it all are told once more, which changes nothing.
const COVERED: usize = 8192;
/// Names in one record: with the longest names it is still a small part of a message.
const NAMES_PER_RECORD: usize = 1000;

/// What a path is on the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// A directory.
    Directory,
    /// A regular file with its content.
    File(BlobDigest),
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
}

/// One object of a closure.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    /// Its physical path.
    pub path: &'a [u8],
    /// What it is.
    pub state: &'a State,
    /// What the kernel said of it.
    pub stat: &'a StatTuple,
}

/// Why a closure cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Ids are used up: a new epoch must begin.
    #[error("the table's ids are used up")]
    Full,
    /// An object's parent directory is not part of the closure.
    #[error("a closure lacks the directory of one of its objects")]
    NoParent,
    /// The builder was told a later state of something in the closure: the closure is to be found again.
    #[error("a closure is older than what its builder was told")]
    Outdated,
    /// Something in the closure is in another state by now, or where an output goes is gone, likewise.
    #[error("{} changed since the inputs were found", String::from_utf8_lossy(path))]
    Changed {
        /// The first physical path found different.
        path: Vec<u8>,
    },
}

#[derive(Debug)]
struct Told {
    id: EntryId,
    state: State,
    stat: StatTuple,
}

#[derive(Debug, Default)]
struct DirectoryNames {
    poisoned: HashMap<Vec<u8>, PoisonKind>,
    /// The last listing judged, and what the kernel said of its directory.
    reconciled: Option<(Arc<Listing>, StatTuple)>,
    /// A name was told since that this listing lacks: should it go again, the same names are news.
    is_outgrown: bool,
    /// The position behind the last record of names in it.
    touched: u64,
    /// Behind the last that was no [appearance](Table#appearances).
    disturbed: u64,
}

/// One table: the ids of one epoch.
///
/// # Appearances
///
/// A name *appears* where a regular file comes to a name that was nothing or a poisonous link, or poison to a name that
/// was nothing. It does so at once and whole: the builder renames it into its place, and a file that lacks its bytes is
/// a poisonous link until it has them. No other change is an appearance:
///
/// - a directory or a symbolic link: names behind it that are yet to be told would be missing, and failed loudly before;
/// - what takes the place of a directory: where a file system cannot exchange the two, the name is gone for a moment;
/// - a precompiled header: compilers probe for those unasked;
/// - whatever goes, or is replaced.
#[derive(Debug)]
pub struct Table {
    told: HashMap<Arc<[u8]>, Told>,
    /// Its paths in order, so that those below a directory stand together.
    paths: BTreeSet<Arc<[u8]>>,
    /// Paths told since they were last taken.
    fresh: Vec<Vec<u8>>,
    directories: HashMap<Vec<u8>, DirectoryNames>,
    /// The paths told of each inode, by device and number.
    inodes: HashMap<(u64, u64), BTreeSet<Vec<u8>>>,
    next: EntryId,
    position: u64,
    /// Records not taken yet: they are to be sent whatever became of the closure they were made for.
    pending: Vec<TableRecord>,
    /// Closures the table was made to hold, by address, with its position then.
    covered: HashMap<usize, Covered>,
}

/// A closure the table held as a whole.
#[derive(Debug)]
struct Covered {
    position: u64,
    entries: Arc<[u8]>,
    /// Keeps the closure's address its own.
    _kept: Arc<Kept>,
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// A table of nothing but the root.
    pub fn new() -> Self {
        Self {
            told: HashMap::default(),
            paths: BTreeSet::new(),
            fresh: Vec::new(),
            directories: HashMap::default(),
            inodes: HashMap::default(),
            next: ROOT + 1,
            position: 0,
            pending: Vec::new(),
            covered: HashMap::default(),
        }
    }

    /// The entries of `kept`, as [`encode_ascending`] writes them, if the table was made to hold it and has not
    /// changed since.
    pub fn recall(&self, kept: &Arc<Kept>) -> Option<Arc<[u8]>> {
        let covered = self.covered.get(&address(kept))?;
        (covered.position == self.next_position()).then(|| Arc::clone(&covered.entries))
    }

    /// Remembers that the table holds `kept` as `entries`.
    pub fn remember(&mut self, kept: &Arc<Kept>, entries: &[EntryId]) -> Arc<[u8]> {
        if self.covered.len() >= COVERED {
            self.covered.clear();
        }
        let entries: Arc<[u8]> = encode_ascending(entries).into();
        let covered = Covered {
            position: self.next_position(),
            entries: Arc::clone(&entries),
            _kept: Arc::clone(kept),
        };
        self.covered.insert(address(kept), covered);
        entries
    }

    /// The position once all pending records are told.
    fn next_position(&self) -> u64 {
        self.position + self.pending.len() as u64
    }

    /// Makes the table hold `objects` (parents before children) and makes every other name of the `listed`
    /// directories fail loudly. A name for which `is_ours` holds was published by quicc: nothing looks it up
    /// unless a reference names it, and then it is an object. Gives the entries of the closure, ascending.
    pub fn cover<'a>(
        &mut self,
        objects: impl Iterator<Item = Object<'a>>,
        listed: impl Iterator<Item = (&'a [u8], &'a Listed)>,
        is_ours: &dyn Fn(&[u8], &[u8]) -> bool,
    ) -> Result<Vec<EntryId>, TableError> {
        let (older, listed): (Vec<_>, Vec<_>) =
            listed.partition(|(directory, listed)| self.newer_listing(directory, listed).is_some());
        let objects: Vec<_> = objects.filter(|object| object.path != b"/").collect();
        // A build that writes beside its headers lists a directory anew for every unit; only what is gone by now makes
        // an older listing matter.
        for (directory, listed) in older {
            let Some(newer) = self.newer_listing(directory, listed) else {
                continue;
            };
            let is_gone = |object: &Object<'_>| {
                let (parent, name) = split(object.path);
                parent == directory && !newer.names.contains_key(name)
            };
            if objects.iter().any(is_gone) {
                // A clock that was set back makes what is newest look old: the next closure is believed.
                if let Some(names) = self.directories.get_mut(directory) {
                    names.reconciled = None;
                }
                return Err(TableError::Outdated);
            }
        }
        let mut entries = Vec::with_capacity(objects.len());
        for object in objects {
            entries.push(self.tell(object)?);
        }
        for (directory, listed) in listed {
            self.reconcile(directory, listed, is_ours);
        }
        entries.sort_unstable();
        entries.dedup();
        Ok(entries)
    }

    /// The records made since the last call, in order, and the position after them.
    pub fn take_records(&mut self) -> (Vec<TableRecord>, u64) {
        self.position = self.next_position();
        (std::mem::take(&mut self.pending), self.position)
    }

    /// The id of a path, if it is told.
    pub fn id(&self, path: &[u8]) -> Option<EntryId> {
        if path == b"/" {
            Some(ROOT)
        } else {
            self.told.get(path).map(|told| told.id)
        }
    }

    /// What the kernel said of a path when it was told.
    pub fn stat(&self, path: &[u8]) -> Option<&StatTuple> {
        self.told.get(path).map(|told| &told.stat)
    }

    /// Whether a name in a directory became another thing since the table stood at `position`.
    pub fn is_touched(&self, directory: &[u8], position: u64) -> bool {
        let names = self.directories.get(directory);
        names.is_some_and(|names| names.touched > position)
    }

    /// The same, other than by [appearing](Self#appearances).
    pub fn is_disturbed(&self, directory: &[u8], position: u64) -> bool {
        let names = self.directories.get(directory);
        names.is_some_and(|names| names.disturbed > position)
    }

    /// Whether the builder has anything at a path: what was told, or poison.
    pub fn has(&self, path: &[u8]) -> bool {
        let (directory, name) = split(path);
        self.id(path).is_some() || self.poison_at(directory, name).is_some()
    }

    /// Whether the names of a directory were judged by this very listing, so that to be told of it costs nothing.
    pub fn is_judged_by(&self, directory: &[u8], listed: &Listed) -> bool {
        let names = self.directories.get(directory);
        names.is_some_and(|names| {
            let last = names.reconciled.as_ref();
            !names.is_outgrown && last.is_some_and(|(last, _)| Arc::ptr_eq(last, &listed.listing))
        })
    }

    /// The position after the records that were taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What [`Self::take_fresh`] would give.
    pub fn fresh(&self) -> &[Vec<u8>] {
        &self.fresh
    }

    /// The paths told since the last call; some may have been taken back since.
    pub fn take_fresh(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.fresh)
    }

    /// Everything told, with what the kernel said when it was.
    pub fn told(&self) -> impl Iterator<Item = (&[u8], &StatTuple)> {
        self.told.iter().map(|(path, told)| (&**path, &told.stat))
    }

    /// Takes back a path that is no longer what was told; `exists` says whether the name is still there and must
    /// fail loudly.
    pub fn forget(&mut self, path: &[u8], exists: Option<PoisonKind>) {
        let Some(told) = self.drop_told(path) else { return };
        let (directory, name) = split(path);
        let poison = self.id(directory).zip(exists);
        // Poison takes the place of what was told: in between, a question for the name would find nothing. Builders mount
        // on some names of the root directory, and poison none of these.
        if poison.is_none() || directory == b"/" {
            self.record(directory, true, TableRecord::Remove { id: told.id });
        }
        if let Some((parent, kind)) = poison {
            let names = vec![(name.to_vec(), kind)];
            self.record(directory, true, TableRecord::Poison { parent, names });
            self.directories
                .entry(directory.to_vec())
                .or_default()
                .poisoned
                .insert(name.to_vec(), kind);
        } else if let Some(names) = self.directories.get_mut(directory) {
            names.reconciled = None;
        }
    }

    fn tell(&mut self, object: Object<'_>) -> Result<EntryId, TableError> {
        if let Some(told) = self.told.get_mut(object.path) {
            if is_same(told, object) {
                told.stat = *object.stat;
                return Ok(told.id);
            }
            // No program can set a change time: the later one is the later state.
            if told.stat.ctime_ns > object.stat.ctime_ns {
                return Err(TableError::Outdated);
            }
        }
        if self.next >= limits::TABLE_ENTRIES {
            return Err(TableError::Full);
        }
        let (directory, name) = split(object.path);
        let parent = self.id(directory).ok_or(TableError::NoParent)?;
        let is_new = self.drop_told(object.path).is_none();
        let id = self.next;
        self.next += 1;
        let kind = self.kind(object);
        let is_file = matches!(kind, EntryKind::File { .. }) && precompiled_header_of(name).is_none();
        let is_disturbing =
            !is_new || !is_file || self.poison_at(directory, name) == Some(PoisonKind::Directory);
        let define = TableRecord::Define {
            id,
            parent,
            name: name.to_vec(),
            kind,
        };
        self.record(directory, is_disturbing, define);
        if let Some(names) = self.directories.get_mut(directory) {
            names.poisoned.remove(name);
            let last = names.reconciled.as_ref();
            names.is_outgrown |= last.is_some_and(|(last, _)| !last.names.contains_key(name));
        }
        self.note_inode(object);
        let told = Told {
            id,
            state: object.state.clone(),
            stat: *object.stat,
        };
        let path: Arc<[u8]> = object.path.into();
        self.paths.insert(Arc::clone(&path));
        self.told.insert(path, told);
        self.fresh.push(object.path.to_vec());
        Ok(id)
    }

    /// Has a record about names in `directory` sent, which [`Self::is_disturbed`] tells of if it `is_disturbing`.
    fn record(&mut self, directory: &[u8], is_disturbing: bool, record: TableRecord) {
        self.pending.push(record);
        let position = self.next_position();
        let names = self.directories.entry(directory.to_vec()).or_default();
        names.touched = position;
        if is_disturbing {
            names.disturbed = position;
        }
    }

    fn poison_at(&self, directory: &[u8], name: &[u8]) -> Option<PoisonKind> {
        self.directories.get(directory)?.poisoned.get(name).copied()
    }

    fn kind(&self, object: Object<'_>) -> EntryKind {
        let modified = file_time(object.stat.mtime_ns);
        match object.state {
            State::Directory => EntryKind::Directory { modified },
            State::Symlink(target) => EntryKind::Symlink {
                target: target.clone(),
            },
            State::File(content) => EntryKind::File {
                content: *content,
                size: object.stat.size,
                executable: object.stat.is_executable(),
                modified,
                same_inode_as: self.same_inode(object),
            },
        }
    }

    /// Remembers that a path was told of its inode: a second name may be made for it at any time.
    fn note_inode(&mut self, object: Object<'_>) {
        if object.stat.is_file() {
            let paths = self.inodes.entry(inode_of(object.stat)).or_default();
            paths.insert(object.path.to_vec());
        }
    }

    fn drop_inode(&mut self, path: &[u8], stat: &StatTuple) {
        if let Some(paths) = self.inodes.get_mut(&inode_of(stat)) {
            paths.remove(path);
            if paths.is_empty() {
                self.inodes.remove(&inode_of(stat));
            }
        }
    }

    /// Another path told as the same inode with the same content. Asked of every file, whatever its number of
    /// names: two told paths are one inode on the builder exactly if what was told of them is.
    fn same_inode(&self, object: Object<'_>) -> Option<EntryId> {
        let paths = self.inodes.get(&inode_of(object.stat))?;
        paths
            .iter()
            .filter_map(|path| self.told.get(path.as_slice()))
            .find(|other| &other.state == object.state && other.stat.mtime_ns == object.stat.mtime_ns)
            .map(|other| other.id)
    }

    /// Forgets a path and all below it, as the builder does when a record supersedes it.
    fn drop_told(&mut self, path: &[u8]) -> Option<Told> {
        let told = self.drop_one(path)?;
        if told.state == State::Directory {
            let prefix = join(path, b"");
            let below: Vec<_> = self.told_below(&prefix).map(Arc::clone).collect();
            for path in below {
                self.drop_one(&path);
            }
            self.directories
                .retain(|directory, _| directory != path && !directory.starts_with(&prefix));
        }
        Some(told)
    }

    fn drop_one(&mut self, path: &[u8]) -> Option<Told> {
        let told = self.told.remove(path)?;
        self.paths.remove(path);
        self.drop_inode(path, &told.stat);
        Some(told)
    }

    /// The told paths that begin with `prefix`, the path of a directory and a slash.
    fn told_below<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = &'a Arc<[u8]>> {
        self.paths
            .range::<[u8], _>((Bound::Excluded(prefix), Bound::Unbounded))
            .take_while(move |path| path.starts_with(prefix))
    }

    /// The listing a directory was last judged by, if it is of the same inode at a later time than `listed`.
    fn newer_listing(&self, directory: &[u8], listed: &Listed) -> Option<Arc<Listing>> {
        let (last, stat) = self.directories.get(directory)?.reconciled.as_ref()?;
        let is_newer = inode_of(stat) == inode_of(&listed.stat) && stat.ctime_ns > listed.stat.ctime_ns;
        is_newer.then(|| Arc::clone(last))
    }

    fn reconcile(&mut self, directory: &[u8], listed: &Listed, is_ours: &dyn Fn(&[u8], &[u8]) -> bool) {
        let Some(parent) = self.id(directory) else {
            return;
        };
        let listing = &listed.listing;
        let names = self.directories.get_mut(directory);
        let last = names
            .filter(|names| !names.is_outgrown)
            .and_then(|names| names.reconciled.as_mut());
        if let Some((last, stat)) = last
            && Arc::ptr_eq(last, listing)
        {
            // The same names at a later time, which an older listing must not overtake.
            if stat.ctime_ns < listed.stat.ctime_ns {
                *stat = listed.stat;
            }
            return;
        }
        let last = last.map(|(last, _)| Arc::clone(last));
        // Of each name the last listing has it is known what became of it.
        let difference = last.as_deref().map(|last| last.difference(listing));
        let vanished = match &difference {
            Some((gone, _)) => gone.iter().map(|name| join(directory, name)).collect(),
            None => self.told_in(directory),
        };
        let is_outgrown = self.take_back_vanished(directory, vanished, listed);
        let mut names = self.directories.remove(directory).unwrap_or_default();
        let is_cured = |name: &[u8]| names.poisoned.contains_key(name) && !listing.names.contains_key(name);
        let cured: Vec<_> = match &difference {
            Some((gone, _)) => gone
                .iter()
                .map(|name| name.to_vec())
                .filter(|name| is_cured(name))
                .collect(),
            None => names
                .poisoned
                .keys()
                .filter(|name| is_cured(name))
                .cloned()
                .collect(),
        };
        let come = match difference {
            Some((_, come)) => come,
            None => listing
                .names
                .iter()
                .map(|(name, kind)| (&**name, *kind))
                .collect(),
        };
        let poisoned: Vec<_> = come
            .into_iter()
            .filter(|(name, _)| {
                !names.poisoned.contains_key(*name)
                    && self.id(&join(directory, name)).is_none()
                    && !is_ours(directory, name)
            })
            .map(|(name, kind)| (name.to_vec(), poison_kind(kind)))
            .collect();
        for name in &cured {
            names.poisoned.remove(name);
        }
        names.poisoned.extend(poisoned.iter().cloned());
        names.reconciled = Some((Arc::clone(listing), listed.stat));
        names.is_outgrown = is_outgrown;
        self.directories.insert(directory.to_vec(), names);
        for names in cured.chunks(NAMES_PER_RECORD) {
            let names = names.to_vec();
            self.record(directory, true, TableRecord::Cure { parent, names });
        }
        for names in poisoned.chunks(NAMES_PER_RECORD) {
            let names = names.to_vec();
            let is_probed_for = names
                .iter()
                .any(|(name, _)| precompiled_header_of(name).is_some());
            self.record(directory, is_probed_for, TableRecord::Poison { parent, names });
        }
    }

    /// Takes back those of the told `paths` in a directory whose names no longer exist. Says whether one is left that was
    /// seen later than the listing: it came after it.
    fn take_back_vanished(&mut self, directory: &[u8], paths: Vec<Vec<u8>>, listed: &Listed) -> bool {
        let mut is_outgrown = false;
        for path in paths {
            let Some(told) = self.told.get(path.as_slice()) else {
                continue;
            };
            if listed.listing.names.contains_key(split(&path).1) {
                continue;
            }
            if told.stat.ctime_ns > listed.stat.ctime_ns {
                is_outgrown = true;
            } else if let Some(told) = self.drop_told(&path) {
                self.record(directory, true, TableRecord::Remove { id: told.id });
            }
        }
        is_outgrown
    }

    /// The told names in a directory.
    fn told_in(&self, directory: &[u8]) -> Vec<Vec<u8>> {
        let prefix = join(directory, b"");
        self.told_below(&prefix)
            .filter(|path| !path[prefix.len()..].contains(&b'/'))
            .map(|path| path.to_vec())
            .collect()
    }
}

fn address(kept: &Arc<Kept>) -> usize {
    Arc::as_ptr(kept).addr()
}

const fn poison_kind(kind: tree::EntryKind) -> PoisonKind {
    match kind {
        tree::EntryKind::Directory => PoisonKind::Directory,
        tree::EntryKind::File | tree::EntryKind::Symlink | tree::EntryKind::Other => PoisonKind::Link,
    }
}

/// Whether the builder needs no word: a directory's own times are not observed by compilers.
fn is_same(told: &Told, object: Object<'_>) -> bool {
    if &told.state != object.state {
        return false;
    }
    match object.state {
        State::Directory | State::Symlink(_) => true,
        State::File(_) => {
            let (old, new) = (&told.stat, object.stat);
            // A name that is another inode now may not stay the same inode on the builder.
            old.mtime_ns == new.mtime_ns
                && old.is_executable() == new.is_executable()
                && inode_of(old) == inode_of(new)
        }
    }
}

const fn inode_of(stat: &StatTuple) -> (u64, u64) {
    (stat.dev, stat.ino)
}

/// Nanoseconds since 1970 as `stat` gives them.
fn file_time(nanoseconds: i128) -> FileTime {
    FileTime {
        seconds: nanoseconds.div_euclid(1_000_000_000) as i64,
        nanoseconds: nanoseconds.rem_euclid(1_000_000_000) as u32,
    }
}

/// Parent directory and name of an absolute path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(0) | None => (b"/", path.strip_prefix(b"/").unwrap_or(path)),
        Some(slash) => (&path[..slash], &path[slash + 1..]),
    }
}

/// A directory's path and a name in it.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.strip_suffix(b"/").unwrap_or(directory).to_vec();
    path.push(b'/');
    path.extend(name);
    path
}

#[cfg(test)]
mod tests;
