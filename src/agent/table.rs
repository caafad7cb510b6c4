//! PURE. What one builder has been told of this agent's view, and which records make it know a closure.
//!
//! Paths are physical: real parent directory and name. Never looks at a file.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Something in the closure is in another state by now, likewise.
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
    told: BTreeMap<Vec<u8>, Told>,
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
            told: BTreeMap::new(),
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

    /// The position after the records that were taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether [`Self::take_fresh`] would give anything.
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// The paths told since the last call; some may have been taken back since.
    pub fn take_fresh(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.fresh)
    }

    /// Everything told, with what the kernel said when it was.
    pub fn told(&self) -> impl Iterator<Item = (&[u8], &StatTuple)> {
        self.told.iter().map(|(path, told)| (path.as_slice(), &told.stat))
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
        self.told.insert(object.path.to_vec(), told);
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
            .filter_map(|path| self.told.get(path))
            .find(|other| &other.state == object.state && other.stat.mtime_ns == object.stat.mtime_ns)
            .map(|other| other.id)
    }

    /// Forgets a path and all below it, as the builder does when a record supersedes it.
    fn drop_told(&mut self, path: &[u8]) -> Option<Told> {
        let told = self.told.remove(path)?;
        self.drop_inode(path, &told.stat);
        if told.state == State::Directory {
            let mut prefix = path.to_vec();
            prefix.push(b'/');
            let below: Vec<_> = self
                .told
                .range::<Vec<u8>, _>((Bound::Excluded(&prefix), Bound::Unbounded))
                .map(|(below, _)| below)
                .take_while(|below| below.starts_with(&prefix))
                .cloned()
                .collect();
            for path in below {
                if let Some(told) = self.told.remove(&path) {
                    self.drop_inode(&path, &told.stat);
                }
            }
            self.directories
                .retain(|directory, _| directory != path && !directory.starts_with(&prefix));
        }
        Some(told)
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
            let Some(told) = self.told.get(&path) else {
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
        self.told
            .range::<Vec<u8>, _>((Bound::Excluded(&prefix), Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter(|(path, _)| !path[prefix.len()..].contains(&b'/'))
            .map(|(path, _)| path.clone())
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stat(mode: u32, mtime: i128, ino: u64) -> StatTuple {
        StatTuple {
            dev: 1,
            ino,
            size: 3,
            mtime_ns: mtime,
            ctime_ns: 0,
            mode,
            nlink: 1,
        }
    }

    fn file(text: &str) -> State {
        State::File(BlobDigest::of(text.as_bytes()))
    }

    fn listing(changed: i128, names: &[(&str, tree::EntryKind)]) -> Listed {
        let names = names
            .iter()
            .map(|(name, kind)| (name.as_bytes().into(), *kind))
            .collect();
        let listing = Arc::new(Listing {
            names,
            ..Listing::default()
        });
        let stat = StatTuple {
            ctime_ns: changed,
            ..stat(0o040_755, 1, 1)
        };
        Listed {
            stat,
            settled: true,
            listing,
        }
    }

    struct World(Table);

    impl World {
        fn try_cover(
            &mut self,
            objects: &[(&str, State, StatTuple)],
            listed: &[(&str, &Listed)],
        ) -> Result<(Vec<TableRecord>, Vec<EntryId>), TableError> {
            let objects = objects.iter().map(|(path, state, stat)| Object {
                path: path.as_bytes(),
                state,
                stat,
            });
            let listed = listed.iter().map(|(path, listed)| (path.as_bytes(), *listed));
            let ours = |_: &[u8], name: &[u8]| name.ends_with(b".o");
            let entries = self.0.cover(objects, listed, &ours)?;
            Ok((self.0.take_records().0, entries))
        }

        fn cover(
            &mut self,
            objects: &[(&str, State, StatTuple)],
            listed: &[(&str, &Listed)],
        ) -> (Vec<TableRecord>, Vec<EntryId>) {
            self.try_cover(objects, listed).unwrap()
        }
    }

    fn directory() -> (&'static str, State, StatTuple) {
        ("/s", State::Directory, stat(0o040_755, 1, 1))
    }

    #[test]
    fn what_is_told_once_is_named_by_id() {
        let mut world = World(Table::new());
        let header = ("/s/a.h", file("a"), stat(0o100_644, 5, 2));
        let (records, entries) = world.cover(&[directory(), header.clone()], &[]);
        assert_eq!((records.len(), entries.as_slice()), (2, &[1, 2][..]));
        let touched_directory = ("/s", State::Directory, stat(0o040_755, 99, 1));
        let (records, entries) = world.cover(&[touched_directory, header], &[]);
        assert_eq!((records.len(), entries.as_slice()), (0, &[1, 2][..]));
        let edited = ("/s/a.h", file("b"), stat(0o100_644, 6, 2));
        let (records, entries) = world.cover(&[directory(), edited], &[]);
        assert_eq!(
            (records.len(), entries.as_slice()),
            (1, &[1, 3][..]),
            "a new id for new bytes"
        );
    }

    #[test]
    fn unsent_names_are_poison_and_our_own_are_not() {
        let mut world = World(Table::new());
        let (plain, sub) = (tree::EntryKind::File, tree::EntryKind::Directory);
        let names = listing(5, &[("a.h", plain), ("b.h", plain), ("sub", sub), ("x.o", plain)]);
        let header = ("/s/a.h", file("a"), stat(0o100_644, 5, 2));
        let (records, _) = world.cover(&[directory(), header.clone()], &[("/s", &names)]);
        let expected = vec![
            (b"b.h".to_vec(), PoisonKind::Link),
            (b"sub".to_vec(), PoisonKind::Directory),
        ];
        assert_eq!(
            records.last(),
            Some(&TableRecord::Poison {
                parent: 1,
                names: expected
            })
        );
        let (records, _) = world.cover(&[directory(), header.clone()], &[("/s", &names)]);
        assert_eq!(records, [], "a listing is judged once");
        let fewer = listing(6, &[("sub", sub)]);
        let (records, _) = world.cover(&[directory()], &[("/s", &fewer)]);
        let cure = TableRecord::Cure {
            parent: 1,
            names: vec![b"b.h".to_vec()],
        };
        assert_eq!(records, [TableRecord::Remove { id: 2 }, cure]);
    }

    #[test]
    fn a_directory_that_becomes_a_link_takes_its_subtree_along() {
        let mut world = World(Table::new());
        let header = ("/s/a.h", file("a"), stat(0o100_644, 5, 2));
        world.cover(&[directory(), header.clone()], &[]);
        let link = ("/s", State::Symlink(b"t".to_vec()), stat(0o120_777, 1, 9));
        let (records, entries) = world.cover(&[link], &[]);
        assert_eq!((records.len(), entries.as_slice()), (1, &[3][..]));
        assert_eq!(world.0.id(b"/s/a.h"), None);
        let (records, _) = world.cover(&[directory(), header], &[]);
        assert_eq!(records.len(), 2, "all is told again under the new directory");
    }

    #[test]
    fn an_older_state_never_follows_a_newer_one() {
        let mut world = World(Table::new());
        let at = |text: &str, changed| {
            (
                "/s/a.h",
                file(text),
                StatTuple {
                    ctime_ns: changed,
                    ..stat(0o100_644, 5, 2)
                },
            )
        };
        world.cover(&[directory(), at("new", 9)], &[]);
        assert_eq!(
            world.try_cover(&[directory(), at("old", 8)], &[]),
            Err(TableError::Outdated)
        );
        world.cover(&[directory(), at("newer", 10)], &[]);
        let (later, earlier) = (listing(9, &[("a.h", tree::EntryKind::File)]), listing(8, &[]));
        world.cover(&[directory()], &[("/s", &later)]);
        let (records, _) = world.cover(&[directory()], &[("/s", &earlier)]);
        assert_eq!(records, [], "the later listing stands");
        assert!(world.0.id(b"/s/a.h").is_some());
        let gone = ("/s/gone.h", file("x"), stat(0o100_644, 5, 3));
        assert_eq!(
            world.try_cover(&[directory(), gone], &[("/s", &earlier)]),
            Err(TableError::Outdated),
            "a file that the later listing lacks"
        );
        assert_eq!(world.0.id(b"/s/gone.h"), None, "it was not told on the way");
    }

    #[test]
    fn equal_inodes_are_told_as_such() {
        let mut world = World(Table::new());
        let linked = StatTuple {
            nlink: 2,
            ..stat(0o100_644, 5, 7)
        };
        let objects = [
            directory(),
            ("/s/a", file("a"), linked),
            ("/s/b", file("a"), linked),
        ];
        let (records, _) = world.cover(&objects, &[]);
        let inodes: Vec<_> = records
            .iter()
            .filter_map(|record| match record {
                TableRecord::Define {
                    kind: EntryKind::File { same_inode_as, .. },
                    ..
                } => Some(*same_inode_as),
                _ => None,
            })
            .collect();
        assert_eq!(inodes, [None, Some(2)]);
    }

    #[test]
    fn a_second_name_made_later_is_the_same_inode() {
        let mut world = World(Table::new());
        let alone = stat(0o100_644, 5, 7);
        world.cover(&[directory(), ("/s/a", file("a"), alone)], &[]);
        let linked = StatTuple { nlink: 2, ..alone };
        let (records, _) = world.cover(
            &[
                directory(),
                ("/s/a", file("a"), linked),
                ("/s/b", file("a"), linked),
            ],
            &[],
        );
        let [
            TableRecord::Define {
                kind: EntryKind::File { same_inode_as, .. },
                ..
            },
        ] = records.as_slice()
        else {
            panic!("{records:?}");
        };
        assert_eq!(*same_inode_as, Some(2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        /// Whatever was told before, every name that is there is told, poison or ours, and none that is not is poison.
        #[test]
        fn names_are_told_poison_or_ours(
            steps in prop::collection::vec((any::<[bool; 4]>(), any::<[bool; 4]>(), any::<bool>(), 0..4_usize), 1..12),
        ) {
            const NAMES: [&str; 4] = ["a.h", "b.h", "c.h", "d.o"];
            let mut world = World(Table::new());
            for (time, (there, told, is_forgotten, which)) in (1..).zip(steps) {
                let names: Vec<_> = (0..4).filter(|&at| there[at]).map(|at| (NAMES[at], tree::EntryKind::File)).collect();
                let paths: Vec<_> = (0..4).map(|at| format!("/s/{}", NAMES[at])).collect();
                let objects = (0..4).filter(|&at| there[at] && told[at]);
                let objects = objects.map(|at| (paths[at].as_str(), file("x"), stat(0o100_644, 1, at as u64)));
                let listed = listing(time, &names);
                world.cover(&[directory()].into_iter().chain(objects).collect::<Vec<_>>(), &[("/s", &listed)]);
                for (at, name) in NAMES.iter().enumerate() {
                    let path = join(b"/s", name.as_bytes());
                    let is_told = world.0.id(&path).is_some();
                    let is_poison = world.0.directories[&b"/s"[..]].poisoned.contains_key(name.as_bytes());
                    prop_assert!(!(is_told && is_poison), "{name} is both");
                    prop_assert_eq!(is_told || is_poison, there[at] && (!name.ends_with(".o") || is_told || is_poison));
                }
                if is_forgotten {
                    let exists = there[which].then_some(PoisonKind::Link);
                    world.0.forget(paths[which].as_bytes(), exists);
                }
            }
        }
    }

    /// A listing with the same names as one judged before says as much as any other at its time.
    #[test]
    fn a_listing_that_is_shared_is_judged_at_its_own_time() {
        let kind = tree::EntryKind::File;
        let header = |changed| {
            let stat = StatTuple {
                ctime_ns: changed,
                ..stat(0o100_644, 5, 3)
            };
            ("/s/b.h", file("b"), stat)
        };
        for is_shared in [false, true] {
            let again = |first: &Listed, changed, names: &[(&str, tree::EntryKind)]| Listed {
                listing: if is_shared {
                    Arc::clone(&first.listing)
                } else {
                    listing(changed, names).listing
                },
                ..listing(changed, names)
            };
            let mut world = World(Table::new());
            let first = listing(5, &[("b.h", kind)]);
            world.cover(&[directory(), header(0)], &[("/s", &first)]);
            let later = again(&first, 9, &[("b.h", kind)]);
            world.cover(&[directory(), header(9)], &[("/s", &later)]);
            let between = listing(8, &[]);
            let (records, _) = world.cover(&[directory()], &[("/s", &between)]);
            assert_eq!(
                records,
                [],
                "shared: {is_shared}: an older one takes nothing back"
            );

            let mut world = World(Table::new());
            let first = listing(5, &[("a.h", kind)]);
            world.cover(&[directory()], &[("/s", &first)]);
            // Told for a closure that does not list the directory, and gone since.
            world.cover(&[directory(), header(0)], &[]);
            let later = again(&first, 9, &[("a.h", kind)]);
            let (records, _) = world.cover(&[directory()], &[("/s", &later)]);
            assert_eq!(records, [TableRecord::Remove { id: 2 }], "shared: {is_shared}");
        }
    }

    /// It is in use by whom it was told for.
    #[test]
    fn a_file_that_came_after_a_listing_is_not_taken_back_by_it() {
        let mut world = World(Table::new());
        let first = listing(5, &[("a.h", tree::EntryKind::File)]);
        world.cover(&[directory()], &[("/s", &first)]);
        let stat = StatTuple {
            ctime_ns: 7,
            ..stat(0o100_644, 5, 3)
        };
        world.cover(&[directory(), ("/s/gen.c", file("gen"), stat)], &[]);
        let (records, _) = world.cover(&[directory()], &[("/s", &first)]);
        assert_eq!(records, []);
    }

    #[test]
    fn a_name_that_appears_whole_disturbs_nobody() {
        let (plain, sub) = (tree::EntryKind::File, tree::EntryKind::Directory);
        let new = || file("new");
        let link = || State::Symlink(b"a.h".to_vec());
        let before = listing(5, &[("a.h", plain), ("link", plain), ("sub", sub)]);
        let check = |name: &str, state: Option<State>, names: &[(&str, tree::EntryKind)], disturbs: bool| {
            let mut world = World(Table::new());
            let header = ("/s/a.h", file("a"), stat(0o100_644, 5, 2));
            world.cover(&[directory(), header], &[("/s", &before)]);
            let position = world.0.position();
            let path = format!("/s/{name}");
            let mode = match state {
                Some(State::Directory) => 0o040_755,
                Some(State::Symlink(_)) => 0o120_777,
                _ => 0o100_644,
            };
            let told: Vec<_> = state
                .into_iter()
                .map(|state| (path.as_str(), state, stat(mode, 6, 3)))
                .collect();
            let later = listing(6, names);
            let listed = [("/s", &later)];
            let (records, _) = world.cover(&told, if names.is_empty() { &[] } else { &listed });
            assert!(!records.is_empty(), "{name} {told:?}");
            assert_eq!(world.0.is_disturbed(b"/s", position), disturbs, "{name} {told:?}");
            assert!(!world.0.is_disturbed(b"/s", world.0.position()));
            assert!(!world.0.is_disturbed(b"/s/sub", position));
        };
        check("b.h", Some(new()), &[], false);
        check("link", Some(new()), &[], false);
        check("sub", Some(new()), &[], true);
        check("a.h", Some(new()), &[], true);
        check("a.h.gch", Some(new()), &[], true);
        for name in ["b.h", "link", "sub", "a.h"] {
            check(name, Some(State::Directory), &[], true);
            check(name, Some(link()), &[], true);
        }
        let all = [("a.h", plain), ("link", plain), ("sub", sub)];
        check(
            "",
            None,
            &[&all[..], &[("new", plain), ("new-sub", sub)]].concat(),
            false,
        );
        check("", None, &[&all[..], &[("b.h.gch", plain)]].concat(), true);
        check("", None, &all[..2], true);
        check("", None, &all[1..], true);
    }

    #[test]
    fn a_file_that_outlasts_an_older_listing_is_taken_back_by_a_later_one() {
        let mut world = World(Table::new());
        let kind = tree::EntryKind::File;
        world.cover(&[directory()], &[("/s", &listing(1, &[("b.h", kind)]))]);
        let came = StatTuple {
            ctime_ns: 5,
            ..stat(0o100_644, 1, 7)
        };
        world.cover(&[directory(), ("/s/a.h", file("a"), came)], &[]);
        world.cover(&[], &[("/s", &listing(3, &[("b.h", kind), ("c.h", kind)]))]);
        let id = world.0.id(b"/s/a.h").expect("it came after the listing");
        let (records, _) = world.cover(&[], &[("/s", &listing(6, &[("b.h", kind)]))]);
        assert!(records.contains(&TableRecord::Remove { id }), "{records:?}");
    }

    #[test]
    fn a_stale_entry_is_taken_back_and_poisoned() {
        let mut world = World(Table::new());
        let header = ("/s/a.h", file("a"), stat(0o100_644, 5, 2));
        world.cover(&[directory(), header], &[]);
        let before = world.0.position();
        world.0.forget(b"/s/a.h", Some(PoisonKind::Link));
        let (records, position) = world.0.take_records();
        // In one step: between two a question for the name would find nothing.
        let names = vec![(b"a.h".to_vec(), PoisonKind::Link)];
        let parent = world.0.id(b"/s").unwrap();
        assert_eq!(records, [TableRecord::Poison { parent, names }]);
        assert!(world.0.is_disturbed(b"/s", before) && world.0.has(b"/s/a.h"));
        assert_eq!((world.0.id(b"/s/a.h"), position), (None, 3));
        // A builder that mounts there does not poison it.
        world.0.forget(b"/s", Some(PoisonKind::Directory));
        let (records, _) = world.0.take_records();
        let [removed, poison] = &records[..] else {
            panic!("{records:?}")
        };
        assert_eq!(*removed, TableRecord::Remove { id: parent });
        assert!(matches!(poison, TableRecord::Poison { .. }));
    }
}
