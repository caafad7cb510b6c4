//! An agent's table and a builder's tree, each written without the other: whatever happens to the client's
//! files, the builder holds what the agent believes it told. A closure stands there whole, a name that was not
//! sent fails loudly, a name that is gone is gone, and files are one inode there exactly if they are here. Where the
//! table says that a directory is undisturbed, nothing came to it but what a compile sees whole.

mod client;

use std::collections::BTreeSet;

use quicc::agent::table::{Object, State, Table, TableError, split};
use quicc::builder::tree::{Child, Kind, Tree};
use quicc::inputs::tree::{Listing, StatTuple};
use quicc_protocol::identifiers::EntryId;
use quicc_protocol::message::Message;
use quicc_protocol::message::table::{PoisonKind, TableRecords};

use crate::mirror::{Paths, listed};

use self::client::{Client, Closure, Snapshot, is_ours};
use crate::script::Script;

/// Changes files, compiles and looks for stale files as `bytes` says.
pub fn check(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut client = Client::default();
    let mut pair = Pair::default();
    let mut earlier = Closure::default();
    let mut steps = 0_u32;
    while !script.is_over() {
        match script.below(9) {
            0..=5 => client.change(&mut script),
            6 => pair.sweep(&client),
            8 => pair.cover_earlier(&earlier),
            _ => {
                let closure = client.choose_closure(&mut script);
                pair.cover(&closure);
                earlier = closure;
            }
        }
        pair.check_agreement();
        pair.check_appearances();
        steps += 1;
        if steps % 4 == 0 {
            pair.before = pair.now();
        }
    }
}

/// What every name of a tree is, and which of them are regular files.
#[derive(Default)]
struct Moment {
    position: u64,
    names: Paths,
    files: BTreeSet<EntryId>,
}

/// Both ends of one table.
#[derive(Default)]
struct Pair {
    table: Table,
    tree: Tree,
    position: u64,
    /// An action began to run then.
    before: Moment,
}

impl Pair {
    fn now(&self) -> Moment {
        let names = listed(&self.tree);
        let ids = names.values().filter_map(|child| match child {
            Child::Entry(id) => Some(*id),
            Child::Poison(_) => None,
        });
        let files = ids.filter(|id| self.tree.file(*id).is_some()).collect();
        Moment {
            position: self.position,
            files,
            names,
        }
    }

    /// Whether the table says of a directory, or of one above it, that it was disturbed since then.
    fn is_disturbed(&self, directory: &[u8]) -> bool {
        let is_disturbed = self.table.is_disturbed(directory, self.before.position);
        is_disturbed || (directory != b"/" && self.is_disturbed(parent(directory)))
    }

    /// Names that changed where nothing was disturbed appeared, whole.
    fn check_appearances(&self) {
        let now = self.now();
        let paths: BTreeSet<_> = self.before.names.keys().chain(now.names.keys()).collect();
        for path in paths {
            if self.is_disturbed(parent(path)) {
                continue;
            }
            let is_whole = match (self.before.names.get(path), now.names.get(path)) {
                (None, Some(Child::Poison(_))) => true,
                (None | Some(Child::Poison(PoisonKind::Link)), Some(Child::Entry(id))) => {
                    now.files.contains(id)
                }
                (before, after) => before == after,
            };
            assert!(is_whole, "{} disturbed nobody", String::from_utf8_lossy(path));
        }
    }

    /// Sends what the table has to say.
    fn send(&mut self) {
        let (records, position) = self.table.take_records();
        self.position += records.len() as u64;
        assert_eq!(position, self.position);
        let message = TableRecords { records };
        assert_eq!(message.broken_rule(), None, "{message:?}");
        for record in &message.records {
            let applied = self.tree.apply(record);
            assert!(applied.is_ok(), "{record:?}: {applied:?}");
        }
    }

    fn tell(&mut self, closure: &Closure) -> Result<Vec<EntryId>, TableError> {
        let objects = closure.objects.iter().map(|snapshot| Object {
            path: &snapshot.path,
            state: &snapshot.state,
            stat: &snapshot.stat,
        });
        let listed = closure
            .listed
            .iter()
            .map(|(path, listed)| (path.as_slice(), listed));
        let told = self.table.cover(objects, listed, &is_ours);
        self.send();
        told
    }

    fn cover(&mut self, closure: &Closure) {
        let entries = self
            .tell(closure)
            .expect("a closure of this moment is never outdated");
        self.check_entries(closure, &entries);
        for (directory, listed) in &closure.listed {
            self.check_listing(directory, &listed.listing);
        }
        self.check_inodes(&closure.objects);
    }

    /// A closure that was found before others were told: refused, or told whole.
    fn cover_earlier(&mut self, closure: &Closure) {
        match self.tell(closure) {
            Ok(entries) => self.check_entries(closure, &entries),
            Err(TableError::Outdated) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn check_entries(&self, closure: &Closure, entries: &[EntryId]) {
        let mut ids: Vec<_> = closure
            .objects
            .iter()
            .map(|snapshot| self.check_object(snapshot))
            .collect();
        ids.sort_unstable();
        assert_eq!(entries, ids, "an action names its closure");
    }

    /// What the agent does between compiles: takes back what is no longer what was told.
    fn sweep(&mut self, client: &Client) {
        let stale: Vec<_> = self
            .table
            .told()
            .filter_map(|(path, told)| match client.stat(path) {
                Some(now) if now == *told || (told.is_directory() && now.is_directory()) => None,
                now => Some((path.to_vec(), now.map(poison_kind))),
            })
            .collect();
        for (path, exists) in stale {
            self.table.forget(&path, exists);
        }
        self.send();
    }

    /// Every path that was told has the same id at both ends.
    fn check_agreement(&self) {
        for (path, _) in self.table.told() {
            let id = self.table.id(path);
            assert_eq!(self.tree.find(path), id, "{}", String::from_utf8_lossy(path));
        }
        let entries = listed(&self.tree)
            .into_values()
            .filter(|child| matches!(child, Child::Entry(_)));
        assert_eq!(
            entries.count(),
            self.table.told().count(),
            "the builder has entries the agent forgot"
        );
    }

    fn check_object(&self, snapshot: &Snapshot) -> EntryId {
        let id = self.table.id(&snapshot.path).expect("an object is told");
        let kind = self.tree.node(id).map(|node| &node.kind);
        let is_equal = match (&snapshot.state, kind) {
            (State::Directory, Some(Kind::Directory(_))) => true,
            (State::Symlink(here), Some(Kind::Symlink(there))) => here == there,
            (State::File(content), Some(Kind::File(file))) => {
                let time =
                    i128::from(file.modified.seconds) * 1_000_000_000 + i128::from(file.modified.nanoseconds);
                file.content == *content
                    && file.size == snapshot.stat.size
                    && time == snapshot.stat.mtime_ns
                    && file.executable == snapshot.stat.is_executable()
            }
            _ => false,
        };
        assert!(is_equal, "{snapshot:?} is {kind:?} on the builder");
        id
    }

    fn check_listing(&self, directory: &[u8], listing: &Listing) {
        let id = self.table.id(directory).expect("a listed directory is told");
        let names = &self.tree.directory(id).expect("as a directory").names;
        for name in names.keys() {
            assert!(
                listing.names.contains_key(name.as_slice()),
                "{} is gone from {}",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(directory)
            );
        }
        for name in listing.names.keys() {
            assert!(
                names.contains_key(&**name) || is_ours(directory, name),
                "{} of {} would not fail loudly",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(directory)
            );
        }
    }

    fn check_inodes(&self, objects: &[Snapshot]) {
        let files: Vec<_> = objects
            .iter()
            .filter_map(|snapshot| Some((snapshot, self.tree.file(self.table.id(&snapshot.path)?)?)))
            .collect();
        for (index, (near, near_file)) in files.iter().enumerate() {
            for (far, far_file) in &files[..index] {
                assert_eq!(
                    near.stat.ino == far.stat.ino,
                    near_file.inode == far_file.inode,
                    "{near:?} and {far:?}: one inode here exactly if on the builder"
                );
            }
        }
    }
}

fn poison_kind(stat: StatTuple) -> PoisonKind {
    if stat.is_directory() {
        PoisonKind::Directory
    } else {
        PoisonKind::Link
    }
}

/// The directory of a path.
fn parent(path: &[u8]) -> &[u8] {
    split(path).0
}
