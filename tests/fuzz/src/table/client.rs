//! A client's file system in memory: hard links, inode numbers that are used again, and listings that are the
//! same value as long as their directory is unchanged.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quicc::agent::table::State;
use quicc::inputs::tree::{EntryKind, Listed, Listing, StatTuple};
use quicc_protocol::BlobDigest;

use super::parent;
use crate::script::Script;

const NAMES: [&[u8]; 3] = [b"a", b"b", b"made"];
/// Components of the longest path: enough for a subtree of a subtree.
const DEPTH: usize = 3;
const ROOT_INODE: u64 = 1;

/// Whether quicc itself published a name.
pub(super) fn is_ours(_directory: &[u8], name: &[u8]) -> bool {
    name == b"made"
}

/// One object as a discovery saw it.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) path: Vec<u8>,
    pub(super) state: State,
    pub(super) stat: StatTuple,
}

#[derive(Debug)]
struct Inode {
    state: State,
    mtime: i128,
    executable: bool,
    /// When anything in it changed.
    changed: i128,
}

/// What a discovery found at one moment.
#[derive(Debug, Default)]
pub(super) struct Closure {
    pub(super) objects: Vec<Snapshot>,
    pub(super) listed: Vec<(Vec<u8>, Listed)>,
}

/// The files of one machine.
#[derive(Debug)]
pub(super) struct Client {
    paths: BTreeMap<Vec<u8>, u64>,
    inodes: BTreeMap<u64, Inode>,
    now: i128,
    /// What was listed of each directory, as the agent remembers it.
    listings: RefCell<BTreeMap<Vec<u8>, Listed>>,
}

impl Default for Client {
    fn default() -> Self {
        let root = Inode {
            state: State::Directory,
            mtime: 0,
            executable: true,
            changed: 0,
        };
        Self {
            paths: BTreeMap::from([(b"/".to_vec(), ROOT_INODE)]),
            inodes: BTreeMap::from([(ROOT_INODE, root)]),
            now: 0,
            listings: RefCell::default(),
        }
    }
}

impl Client {
    /// What `stat` says of a path, links not followed.
    pub(super) fn stat(&self, path: &[u8]) -> Option<StatTuple> {
        let ino = *self.paths.get(path)?;
        let inode = self.inodes.get(&ino)?;
        let kind = match inode.state {
            State::Directory => 0o040_000,
            State::File(_) => 0o100_000,
            State::Symlink(_) => 0o120_000,
        };
        Some(StatTuple {
            dev: 1,
            ino,
            size: 1,
            mtime_ns: inode.mtime,
            ctime_ns: inode.changed,
            mode: kind | if inode.executable { 0o755 } else { 0o644 },
            nlink: self.paths.values().filter(|other| **other == ino).count() as u64,
            news: 0,
        })
    }

    /// One change as a user makes them.
    pub(super) fn change(&mut self, script: &mut Script<'_>) {
        self.now += 1;
        let verb = script.below(7);
        let Some(path) = self.choose_path(script) else {
            return;
        };
        match verb {
            0 | 1 => self.create(path, State::File(content(script)), script),
            2 if !self.is_directory(&path) => self.create(path, State::Directory, script),
            3 => {
                let target = script.choose(&NAMES).to_vec();
                self.create(path, State::Symlink(target), script);
            }
            4 => self.link(path, script),
            5 => self.remove(&path),
            _ => self.write(&path, script),
        }
        self.forget_unlinked();
    }

    /// Any part of the files, with listings of some of their directories.
    pub(super) fn choose_closure(&self, script: &mut Script<'_>) -> Closure {
        let objects = self.choose_objects(script);
        let listed = self.choose_listings(&objects, script);
        Closure { objects, listed }
    }

    /// Any part of the files, with the directories above them; the root itself aside.
    fn choose_objects(&self, script: &mut Script<'_>) -> Vec<Snapshot> {
        let mut chosen = BTreeSet::new();
        for path in self.paths.keys() {
            if path != b"/" && script.below(4) != 3 {
                chosen.insert(path.clone());
                let mut above = parent(path);
                while above != b"/" {
                    chosen.insert(above.to_vec());
                    above = parent(above);
                }
            }
        }
        chosen
            .into_iter()
            .filter_map(|path| {
                let state = self.inodes.get(self.paths.get(&path)?)?.state.clone();
                let stat = self.stat(&path)?;
                Some(Snapshot { path, state, stat })
            })
            .collect()
    }

    /// Listings of some of the directories among `objects` and of the root.
    fn choose_listings(&self, objects: &[Snapshot], script: &mut Script<'_>) -> Vec<(Vec<u8>, Listed)> {
        let directories = objects
            .iter()
            .filter(|snapshot| snapshot.state == State::Directory)
            .map(|snapshot| snapshot.path.clone());
        std::iter::once(b"/".to_vec())
            .chain(directories)
            .filter(|_| script.below(4) != 3)
            .filter_map(|directory| {
                let listed = self.listing(&directory)?;
                Some((directory, listed))
            })
            .collect()
    }

    fn listing(&self, directory: &[u8]) -> Option<Listed> {
        let stat = self.stat(directory)?;
        let mut listings = self.listings.borrow_mut();
        if let Some(known) = listings.get(directory).filter(|known| known.stat == stat) {
            return Some(known.clone());
        }
        let names = self
            .paths
            .iter()
            .filter(|(path, _)| path.as_slice() != b"/" && parent(path) == directory)
            .map(|(path, ino)| {
                let kind = match self.inodes[ino].state {
                    State::Directory => EntryKind::Directory,
                    State::File(_) => EntryKind::File,
                    State::Symlink(_) => EntryKind::Symlink,
                };
                (quicc::agent::table::split(path).1.into(), kind)
            })
            .collect();
        let listing = Arc::new(Listing {
            names,
            has_precompiled: false,
        });
        let listed = Listed {
            stat,
            settled: true,
            listing,
        };
        listings.insert(directory.to_vec(), listed.clone());
        Some(listed)
    }

    /// A path in a directory that exists, whether anything is there or not.
    fn choose_path(&self, script: &mut Script<'_>) -> Option<Vec<u8>> {
        let directories: Vec<_> = self.paths.keys().filter(|path| self.is_directory(path)).collect();
        let directory = script.choose(&directories).as_slice();
        let name = *script.choose(&NAMES);
        let directory = if directory == b"/" { b"" } else { directory };
        let path = [directory, b"/", name].concat();
        (path.iter().filter(|byte| **byte == b'/').count() <= DEPTH).then_some(path)
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        let state = self.paths.get(path).map(|ino| &self.inodes[ino].state);
        state == Some(&State::Directory)
    }

    /// Something new under a new inode, as by rename.
    fn create(&mut self, path: Vec<u8>, state: State, script: &mut Script<'_>) {
        self.remove(&path);
        self.forget_unlinked();
        let free = (ROOT_INODE..).find(|ino| !self.inodes.contains_key(ino));
        let Some(ino) = free else { return };
        let inode = Inode {
            state,
            mtime: script.below(2) as i128,
            executable: script.below(2) == 1,
            changed: self.now,
        };
        self.inodes.insert(ino, inode);
        self.paths.insert(path, ino);
    }

    fn link(&mut self, path: Vec<u8>, script: &mut Script<'_>) {
        let files: Vec<_> = self
            .paths
            .values()
            .filter(|ino| matches!(self.inodes[ino].state, State::File(_)))
            .copied()
            .collect();
        if files.is_empty() || self.paths.contains_key(&path) {
            return;
        }
        let ino = *script.choose(&files);
        self.touch_directory(&path);
        self.paths.insert(path, ino);
        self.touch(ino);
    }

    /// New bytes in the same inode.
    fn write(&mut self, path: &[u8], script: &mut Script<'_>) {
        let (state, mtime) = (State::File(content(script)), script.below(2) as i128);
        let inode = self.paths.get(path).and_then(|ino| self.inodes.get_mut(ino));
        if let Some(inode) = inode.filter(|inode| matches!(inode.state, State::File(_))) {
            inode.state = state;
            inode.mtime = mtime;
            inode.changed = self.now;
        }
    }

    fn remove(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        self.touch_directory(path);
        if let Some(ino) = self.paths.get(path).copied() {
            self.touch(ino);
        }
        self.paths
            .retain(|known, _| known != path && !known.starts_with(&below));
    }

    fn touch_directory(&mut self, path: &[u8]) {
        if let Some(ino) = self.paths.get(parent(path)).copied() {
            self.touch(ino);
        }
    }

    fn touch(&mut self, ino: u64) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.changed = self.now;
        }
    }

    fn forget_unlinked(&mut self) {
        let linked: BTreeSet<_> = self.paths.values().copied().collect();
        self.inodes.retain(|ino, _| linked.contains(ino));
    }
}

fn content(script: &mut Script<'_>) -> BlobDigest {
    BlobDigest::from_bytes([script.below(2) as u8; 32])
}
