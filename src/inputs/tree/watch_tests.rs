//! A watching memory against a real file system that changes under it.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::inputs::closure::Mapping;

const DIRECTORIES: [&str; 3] = ["a", "b", "a/c"];
const NAMES: [&str; 4] = ["x.h", "y.h", "x.h.gch", "c"];

/// One change of the file system: a kind, and the paths it happens to, by number.
type Change = (u8, usize, usize);

struct World {
    _guard: tempfile::TempDir,
    root: PathBuf,
    tree: Tree,
}

impl World {
    fn new() -> Self {
        let guard = tempfile::tempdir().unwrap();
        let root = guard.path().canonicalize().unwrap();
        for directory in DIRECTORIES {
            fs::create_dir(root.join(directory)).unwrap();
        }
        Self {
            _guard: guard,
            root,
            tree: Tree::watching(),
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let names = DIRECTORIES
            .iter()
            .flat_map(|directory| NAMES.map(|name| self.root.join(directory).join(name)));
        names
            .chain(DIRECTORIES.map(|directory| self.root.join(directory)))
            .collect()
    }

    /// Makes a change; one that is impossible now is none.
    fn change(&self, (kind, one, other): Change) {
        let paths = self.paths();
        let (one, other) = (&paths[one % paths.len()], &paths[other % paths.len()]);
        let _ = match kind % 10 {
            0 => fs::write(one, "text"),
            1 => fs::remove_file(one),
            2 => fs::rename(one, other),
            3 => fs::hard_link(one, other),
            4 => symlink("x.h", one),
            5 => fs::create_dir(one),
            6 => fs::remove_dir(one),
            7 => fs::set_permissions(one, PermissionsExt::from_mode(0o700 + kind as u32 % 8)),
            8 => File::options()
                .append(true)
                .open(one)
                .and_then(|mut file| file.write_all(b"more")),
            _ => File::options()
                .write(true)
                .open(one)
                .and_then(|file| file.set_modified(UNIX_EPOCH)),
        };
    }

    fn check(&self, what: impl std::fmt::Debug) {
        self.tree.refresh();
        // Of news nobody knows who does not watch.
        let said = |tree: &Tree, path: &[u8]| {
            let stat = tree.stat(path).ok()?;
            Some(stat.map(|stat| StatTuple { news: 0, ..stat }))
        };
        for path in self.paths() {
            let path = path.as_os_str().as_bytes();
            // Twice: what was just learned is believed as well.
            for _ in 0..2 {
                // A loop of symlinks on the way is an error in both.
                assert_eq!(
                    said(&self.tree, path),
                    said(&Tree::new(), path),
                    "{} after {what:?}",
                    String::from_utf8_lossy(path)
                );
            }
            // Nobody asks for the names in a directory by the path of a link to it.
            if fs::symlink_metadata(as_path(path)).is_ok_and(|data| data.is_symlink()) {
                continue;
            }
            for _ in 0..2 {
                let names = |tree: &Tree| tree.listing(path).ok().map(|listed| listed.listing);
                assert_eq!(
                    names(&self.tree),
                    names(&Tree::new()),
                    "{} after {what:?}",
                    String::from_utf8_lossy(path)
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn every_change_is_noticed(changes in prop::collection::vec(any::<Change>(), 1..24)) {
        let world = World::new();
        world.check("nothing");
        for change in changes {
            world.change(change);
            world.check(change);
        }
    }
}

#[test]
fn what_is_read_otherwise_than_it_is_known_is_not_known_any_more() {
    let world = World::new();
    fs::write(world.root.join("a/x.h"), "").unwrap();
    let path = bytes(&world, "a/x.h");
    let now = world.tree.stat(&path).unwrap().unwrap();
    let mark = world.tree.refresh();
    world.tree.watch.compare(&path, now);
    assert_eq!(world.tree.proven(&path), Some(Some(now)));
    // As if an attribute had changed, of which no watch tells.
    let ctime_ns = now.ctime_ns + 1;
    world.tree.watch.compare(&path, StatTuple { ctime_ns, ..now });
    assert_eq!(world.tree.proven(&path), None);
    assert_ne!(world.tree.refresh(), mark, "whoever relied on it looks again");
}

#[test]
fn an_unchanged_path_is_not_asked_again() {
    let world = World::new();
    let path = bytes(&world, "a/x.h");
    fs::write(world.root.join("a/x.h"), "").unwrap();
    let mark = world.tree.refresh();
    assert!(mark.is_some(), "this machine has inotify");
    assert_eq!(world.tree.watch.answer(&path), None);
    let stat = world.tree.stat(&path).unwrap();
    assert_eq!(world.tree.watch.answer(&path), Some(stat));
    assert_eq!(world.tree.refresh(), mark);
    fs::write(world.root.join("b/x.h"), "").unwrap();
    assert_eq!(world.tree.refresh(), mark, "nobody asked of b");
    fs::write(world.root.join("a/y.h"), "").unwrap();
    assert_eq!(world.tree.refresh(), mark, "nobody asked of the neighbour");
    assert_eq!(world.tree.watch.answer(&path), Some(stat));
    fs::write(world.root.join("a/x.h"), "").unwrap();
    assert_ne!(world.tree.refresh(), mark);
}

/// The names known of `a`, and whether the directory was read to know them after `change`.
fn names_after(world: &World, change: impl FnOnce()) -> (Vec<String>, bool) {
    let path = bytes(world, "a");
    let names = || world.tree.listing(&path).unwrap().listing;
    let before = names();
    change();
    world.tree.refresh();
    let after = names();
    let is_shared = |name: &Arc<[u8]>| before.names.keys().any(|other| Arc::ptr_eq(name, other));
    let text = |name: &Arc<[u8]>| String::from_utf8_lossy(name).into_owned();
    let is_read = !after.names.keys().any(is_shared);
    (after.names.keys().map(text).collect(), is_read)
}

#[test]
fn a_directory_is_followed_by_the_names_its_watch_tells_of() {
    let world = World::new();
    let at = |name: &str| world.root.join("a").join(name);
    fs::write(at("x.h"), "").unwrap();
    let check = |change: &dyn Fn(), names: &[&str], is_read: bool| {
        let expected = (names.iter().map(|&name| name.to_owned()).collect(), is_read);
        assert_eq!(names_after(&world, change), expected);
    };
    check(&|| {}, &["c", "x.h"], false);
    check(&|| fs::write(at("b.o"), "").unwrap(), &["b.o", "c", "x.h"], false);
    check(
        &|| fs::rename(at("b.o"), at("d.o")).unwrap(),
        &["c", "d.o", "x.h"],
        false,
    );
    check(&|| fs::remove_file(at("d.o")).unwrap(), &["c", "x.h"], false);
    let many = || {
        for number in 0..=FOLLOWED_NAMES {
            fs::write(at("e.o"), "").unwrap();
            fs::rename(at("e.o"), at(&number.to_string())).unwrap();
        }
        for number in 1..=FOLLOWED_NAMES {
            fs::remove_file(at(&number.to_string())).unwrap();
        }
    };
    check(&many, &["0", "c", "x.h"], true);
    // In another directory by that name nothing was told of.
    let replaced = || {
        fs::rename(at(""), world.root.join("old")).unwrap();
        fs::create_dir(at("")).unwrap();
        fs::write(at("x.h"), "").unwrap();
    };
    check(&replaced, &["x.h"], true);
    // Who edits a file has it read anew.
    world.tree.stat(&bytes(&world, "a/x.h")).unwrap();
    let edited = || {
        fs::write(at("x.h"), "edited").unwrap();
        fs::write(at("y.h"), "").unwrap();
    };
    check(&edited, &["x.h", "y.h"], true);
}

#[test]
fn a_directory_of_many_names_is_one_of_few_once_they_went() {
    let world = World::new();
    let path = bytes(&world, "b");
    let few = || {
        world.tree.refresh();
        let listed = world.tree.listing_of_few(&path, 2).unwrap();
        listed.map(|listed| listed.listing.names.len())
    };
    let at = |number: usize| world.root.join("b").join(format!("{number}.h"));
    for number in 0..4 {
        fs::write(at(number), "").unwrap();
    }
    assert_eq!(few(), None);
    fs::remove_file(at(0)).unwrap();
    assert_eq!(few(), None, "three are left");
    fs::remove_file(at(1)).unwrap();
    assert_eq!(few(), Some(2));
    fs::write(at(4), "").unwrap();
    assert_eq!(few(), None);
}

#[test]
fn a_name_that_becomes_another_thing_is_noticed() {
    let world = World::new();
    let (path, file) = (bytes(&world, "a"), world.root.join("a/x.h"));
    fs::write(&file, "").unwrap();
    let kind = || world.tree.listing(&path).unwrap().listing.names[&b"x.h"[..]];
    assert_eq!(kind(), EntryKind::File);
    fs::remove_file(&file).unwrap();
    symlink("y.h", &file).unwrap();
    world.tree.refresh();
    assert_eq!(kind(), EntryKind::Symlink);
}

fn bytes(world: &World, name: &str) -> Vec<u8> {
    world.root.join(name).as_os_str().as_bytes().to_vec()
}

/// What the tree says of `a/x.h` must follow `change`.
fn follows(change: impl FnOnce(&World)) {
    let world = World::new();
    fs::write(world.root.join("a/x.h"), "one").unwrap();
    world.check("the start");
    change(&world);
    world.check("the change");
}

#[test]
fn a_name_in_a_directory_asked_of_only_itself_is_noticed() {
    let world = World::new();
    let directory = bytes(&world, "a");
    let before = world.tree.stat(&directory).unwrap();
    fs::write(world.root.join("a/x.h"), "").unwrap();
    world.tree.refresh();
    assert_ne!(world.tree.stat(&directory).unwrap(), before);
}

#[test]
fn writes_by_other_ways_are_noticed() {
    follows(|world| {
        // A second name, made after the first was asked of, in a directory nobody watches.
        let elsewhere = tempfile::tempdir_in(world.root.parent().unwrap()).unwrap();
        let second = elsewhere.path().join("second");
        fs::hard_link(world.root.join("a/x.h"), &second).unwrap();
        world.tree.refresh();
        fs::write(&second, "another").unwrap();
    });
    follows(|world| {
        let mut file = File::options()
            .write(true)
            .open(world.root.join("a/x.h"))
            .unwrap();
        world.check("opened");
        file.write_all(b"two").unwrap();
        world.check("written");
        file.rewind().unwrap();
        file.write_all(b"three").unwrap();
    });
    follows(|world| {
        fs::rename(world.root.join("a"), world.root.join("d")).unwrap();
        fs::create_dir(world.root.join("a")).unwrap();
    });
    follows(|world| fs::remove_dir_all(&world.root).unwrap());
}

/// A store through a mapping that stays open raises no event.
#[test]
fn a_mapped_store_is_noticed() {
    let world = World::new();
    let file = world.root.join("a/x.h");
    fs::write(&file, "one").unwrap();
    world.check("the start");
    let mapping = Mapping::store(&file, "two");
    world.check("the store");
    drop(mapping);
}

#[test]
fn only_installed_files_are_never_mapped() {
    for path in ["/usr/include/stdio.h", "/opt/x/a.h", "/nix/store/x/a.h"] {
        assert!(!may_be_mapped(path.as_bytes()), "{path}");
    }
    for path in [
        "/home/me/a.h",
        "/usr/local/src/a.h",
        "/usr/src/linux/a.h",
        "/usrx/a.h",
        "/tmp/a.h",
    ] {
        assert!(may_be_mapped(path.as_bytes()), "{path}");
    }
}

#[test]
fn an_overflowing_queue_is_no_proof() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    follows(|world| {
        // Two names in turn: the kernel merges equal events that follow each other.
        for number in 0..limit / 2 + 10 {
            let file = world.root.join("b").join(["x.h", "y.h"][number % 2]);
            fs::write(&file, "").unwrap();
            fs::remove_file(&file).unwrap();
        }
        fs::write(world.root.join("a/x.h"), "lost").unwrap();
    });
}
