//! A builder's tree under any sequence of records, rules kept or broken: it equals a plain list of paths, an
//! error changes nothing, and the changes it names are all that a mirror on disk needs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;

use quicc::builder::tree::{Applied, Child, Kind, Tree, is_mount_point};
use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::{EntryId, ROOT};
use quicc_protocol::limits;
use quicc_protocol::message::run::SCRATCH_NAME;
use quicc_protocol::message::table::{EntryKind, FileTime, PoisonKind, TableRecord};

use crate::script::Script;

/// Few enough to meet again, two of them special in the root.
const NAMES: [&[u8]; 4] = [b"a", b"b", b"proc", SCRATCH_NAME];

/// What stands at each path, without the leading slash of the root.
pub(crate) type Paths = BTreeMap<Vec<u8>, Child>;

/// Applies the records `bytes` describe.
pub fn check(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut world = World::default();
    while !script.is_over() {
        let record = world.record(&mut script);
        world.apply(&record);
    }
}

#[derive(Default)]
struct World {
    tree: Tree,
    /// What the records say.
    model: Paths,
    /// What a mirror that carries out the changes has.
    disk: Paths,
    /// What every entry ever was.
    kinds: BTreeMap<EntryId, EntryKind>,
}

impl World {
    fn highest(&self) -> EntryId {
        self.kinds.last_key_value().map_or(ROOT, |(id, _)| *id)
    }

    /// Any id given out, or the one after.
    fn id(&self, script: &mut Script<'_>) -> EntryId {
        script.below(self.highest() as usize + 2) as EntryId
    }

    fn record(&self, script: &mut Script<'_>) -> TableRecord {
        let verb = script.below(8);
        let parent = self.id(script);
        let name = script.choose(&NAMES).to_vec();
        match verb {
            0..=3 => {
                // Every fourth id or so is not the next one.
                let skip = [1, 1, 1, 0, 2][script.below(5)];
                TableRecord::Define {
                    id: self.highest() + skip,
                    parent,
                    name,
                    kind: self.kind(verb, script),
                }
            }
            4 => TableRecord::Remove { id: parent },
            5 => TableRecord::Cure {
                parent,
                names: vec![name],
            },
            _ => {
                let kind = *script.choose(&[PoisonKind::Link, PoisonKind::Directory]);
                let second = (script.choose(&NAMES).to_vec(), PoisonKind::Link);
                TableRecord::Poison {
                    parent,
                    names: vec![(name, kind), second],
                }
            }
        }
    }

    fn kind(&self, verb: usize, script: &mut Script<'_>) -> EntryKind {
        let modified = FileTime {
            seconds: 0,
            nanoseconds: 0,
        };
        match verb {
            0 | 1 => EntryKind::Directory { modified },
            2 => EntryKind::Symlink {
                target: b"a".to_vec(),
            },
            _ => EntryKind::File {
                content: BlobDigest::of(&[script.byte()]),
                size: 1,
                executable: false,
                modified,
                same_inode_as: (script.below(2) == 1).then(|| self.id(script)),
            },
        }
    }

    fn apply(&mut self, record: &TableRecord) {
        let before = self.tree.clone();
        match self.tree.apply(record) {
            Ok(applied) => {
                assert!(self.is_allowed(record), "{record:?} was applied");
                let gone = self.follow(record);
                let told: BTreeSet<_> = applied.gone.iter().map(|(id, _)| *id).collect();
                assert_eq!(told, gone, "{record:?}");
                self.carry_out(&applied);
            }
            Err(error) => {
                assert!(!self.is_allowed(record), "{record:?}: {error}");
                assert_eq!(self.tree, before, "an error changes nothing");
            }
        }
        let listed = listed(&self.tree);
        assert_eq!(listed, self.model, "{record:?}");
        assert_eq!(listed, self.disk, "{record:?}");
        self.check_entries();
    }

    /// The rules of a table, said once more.
    fn is_allowed(&self, record: &TableRecord) -> bool {
        match record {
            TableRecord::Define {
                id,
                parent,
                name,
                kind,
            } => {
                let Some(directory) = self.directory(*parent) else {
                    return false;
                };
                let depth = directory.iter().filter(|byte| **byte == b'/').count() + 1;
                let is_directory = matches!(kind, EntryKind::Directory { .. });
                let is_taken =
                    is_mount_point(*parent, name) && (!is_directory || name.as_slice() == SCRATCH_NAME);
                let knows_inode = match kind {
                    EntryKind::File {
                        same_inode_as: Some(same),
                        ..
                    } => *same <= self.highest(),
                    _ => true,
                };
                *id > self.highest() && depth <= limits::PATH_DEPTH && !is_taken && knows_inode
            }
            TableRecord::Remove { id } => *id <= self.highest(),
            TableRecord::Poison { parent, .. } | TableRecord::Cure { parent, .. } => {
                self.directory(*parent).is_some()
            }
        }
    }

    /// The path of a directory that stands now.
    fn directory(&self, id: EntryId) -> Option<Vec<u8>> {
        if id == ROOT {
            return Some(Vec::new());
        }
        let is_directory = matches!(self.kinds.get(&id), Some(EntryKind::Directory { .. }));
        self.path_of(id).filter(|_| is_directory)
    }

    fn path_of(&self, id: EntryId) -> Option<Vec<u8>> {
        let entry = self.model.iter().find(|(_, child)| **child == Child::Entry(id))?;
        Some(entry.0.clone())
    }

    /// Does to the model what the record says; the files that are gone.
    fn follow(&mut self, record: &TableRecord) -> BTreeSet<EntryId> {
        let before = self.files();
        match record {
            TableRecord::Define {
                id,
                parent,
                name,
                kind,
            } => {
                let path = self.child(*parent, name);
                replace(&mut self.model, path, Some(Child::Entry(*id)));
                self.kinds.insert(*id, kind.clone());
            }
            TableRecord::Remove { id } => {
                if let Some(path) = self.path_of(*id) {
                    replace(&mut self.model, path, None);
                }
            }
            TableRecord::Poison { parent, names } => {
                for (name, kind) in names {
                    let path = self.child(*parent, name);
                    if !is_mount_point(*parent, name) {
                        replace(&mut self.model, path, Some(Child::Poison(*kind)));
                    }
                }
            }
            TableRecord::Cure { parent, names } => {
                for name in names {
                    let path = self.child(*parent, name);
                    if matches!(self.model.get(&path), Some(Child::Poison(_))) {
                        self.model.remove(&path);
                    }
                }
            }
        }
        let after = self.files();
        before.difference(&after).copied().collect()
    }

    fn child(&self, parent: EntryId, name: &[u8]) -> Vec<u8> {
        let directory = self.directory(parent).expect("the record was allowed");
        [&directory, b"/".as_slice(), name].concat()
    }

    fn files(&self) -> BTreeSet<EntryId> {
        let file = |child: &Child| match child {
            Child::Entry(id) if matches!(self.kinds.get(id), Some(EntryKind::File { .. })) => Some(*id),
            _ => None,
        };
        self.model.values().filter_map(file).collect()
    }

    fn carry_out(&mut self, applied: &Applied) {
        for change in &applied.changes {
            let directory = self.tree.path(change.directory);
            let path = [
                absolute(directory.as_os_str().as_bytes()).as_slice(),
                b"/",
                &change.name,
            ]
            .concat();
            replace(&mut self.disk, path, change.now);
        }
    }

    /// Entries are found by id and by path, and an inode knows its entries.
    fn check_entries(&self) {
        for (path, child) in &self.model {
            let Child::Entry(id) = child else { continue };
            assert_eq!(self.tree.find(path), Some(*id));
            assert_eq!(absolute(self.tree.path(*id).as_os_str().as_bytes()), *path);
            if let Some(file) = self.tree.file(*id) {
                assert!(self.tree.same_inode(file.inode).any(|same| same == *id));
            }
        }
    }
}

/// A relative path with a leading slash; nothing for the root.
fn absolute(relative: &[u8]) -> Vec<u8> {
    if relative.is_empty() {
        Vec::new()
    } else {
        [b"/", relative].concat()
    }
}

/// Makes a path something else, and all below it nothing.
fn replace(paths: &mut Paths, path: Vec<u8>, now: Option<Child>) {
    let below = [&path, b"/".as_slice()].concat();
    paths.retain(|known, _| *known != path && !known.starts_with(&below));
    if let Some(child) = now {
        paths.insert(path, child);
    }
}

/// Every name of a tree.
pub(crate) fn listed(tree: &Tree) -> Paths {
    let mut paths = Paths::new();
    let mut waiting = vec![(ROOT, Vec::new())];
    while let Some((id, directory)) = waiting.pop() {
        let names = tree.directory(id).map(|directory| &directory.names);
        for (name, child) in names.into_iter().flatten() {
            let path = [&directory, b"/".as_slice(), name].concat();
            if let Child::Entry(id) = child
                && let Some(Kind::Directory(_)) = tree.node(*id).map(|node| &node.kind)
            {
                waiting.push((*id, path.clone()));
            }
            paths.insert(path, *child);
        }
    }
    paths
}
