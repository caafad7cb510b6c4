//! Records on one side, a real directory tree on the other.

use super::usage::BLOCK;
use super::*;
use crate::store::discard::Discarder;
use proptest::prelude::*;
use quicc_protocol::message::table::{EntryKind, FileTime};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;

const TIME: FileTime = FileTime {
    seconds: 1_000_000_007,
    nanoseconds: 123_456_789,
};

struct World {
    scratch: tempfile::TempDir,
    cas: Cas,
    mirror: Mirror,
}

impl World {
    fn new(limit: u64) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let cas = Cas::open(scratch.path(), 1 << 20).unwrap();
        let directory = Discarder::start()
            .unwrap()
            .create(scratch.path().join("mirror"))
            .unwrap();
        let mirror = Mirror::create(directory, cas.clone(), limit).unwrap();
        Self { scratch, cas, mirror }
    }

    fn store(&self, bytes: &[u8]) {
        let mut writer = self
            .cas
            .insert_writer(BlobDigest::of(bytes), bytes.len() as u64)
            .unwrap();
        writer.write_all(bytes).unwrap();
        writer.commit().unwrap();
    }

    fn arrive(&self, bytes: &[u8]) {
        self.store(bytes);
        self.mirror.materialise(&BlobDigest::of(bytes));
    }

    fn try_apply(&self, records: &[TableRecord]) -> Result<(), MirrorError> {
        let position = *self.mirror.position().borrow();
        self.mirror.apply(position, records)
    }

    fn apply(&self, records: &[TableRecord]) {
        self.try_apply(records).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.mirror.root().join(path)
    }

    /// One letter for what a path is: `-` nothing, `f` file, `d` directory, `l` link, `L` and `D` poison.
    fn kind(&self, path: &str) -> char {
        kind(&self.path(path))
    }
}

fn kind(path: &Path) -> char {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return '-';
    };
    if metadata.is_dir() {
        if metadata.mode() & 0o777 == 0o444 {
            'D'
        } else {
            'd'
        }
    } else if metadata.is_symlink() {
        let own_name = fs::read_link(path).unwrap() == Path::new(path.file_name().unwrap());
        if own_name { 'L' } else { 'l' }
    } else {
        'f'
    }
}

fn file(bytes: &[u8]) -> EntryKind {
    EntryKind::File {
        content: BlobDigest::of(bytes),
        size: bytes.len() as u64,
        executable: bytes.starts_with(b"#!"),
        modified: TIME,
        same_inode_as: None,
    }
}

fn same_inode(bytes: &[u8], other: EntryId) -> EntryKind {
    match file(bytes) {
        EntryKind::File {
            content,
            size,
            executable,
            modified,
            ..
        } => EntryKind::File {
            content,
            size,
            executable,
            modified,
            same_inode_as: Some(other),
        },
        kind => kind,
    }
}

fn directory() -> EntryKind {
    EntryKind::Directory { modified: TIME }
}

fn link(target: &[u8]) -> EntryKind {
    EntryKind::Symlink {
        target: target.to_vec(),
    }
}

fn define(id: EntryId, parent: EntryId, name: impl AsRef<[u8]>, kind: EntryKind) -> TableRecord {
    TableRecord::Define {
        id,
        parent,
        name: name.as_ref().to_vec(),
        kind,
    }
}

fn poison(parent: EntryId, name: &str, kind: PoisonKind) -> TableRecord {
    TableRecord::Poison {
        parent,
        names: vec![(name.into(), kind)],
    }
}

#[test]
fn every_kind_replaces_every_other() {
    let world = World::new(1 << 20);
    world.store(b"x");
    let kinds: [(char, &dyn Fn(EntryId) -> TableRecord); 6] = [
        ('f', &|id| define(id, ROOT, "n", file(b"x"))),
        ('L', &|id| define(id, ROOT, "n", file(b"not here"))),
        ('d', &|id| define(id, ROOT, "n", directory())),
        ('l', &|id| define(id, ROOT, "n", link(b"elsewhere"))),
        ('L', &|_| poison(ROOT, "n", PoisonKind::Link)),
        ('D', &|_| poison(ROOT, "n", PoisonKind::Directory)),
    ];
    let mut next = 1;
    for (before, make_before) in kinds {
        for (after, make_after) in kinds {
            world.apply(&[make_before(next)]);
            assert_eq!(world.kind("n"), before);
            if before == 'd' {
                world.apply(&[define(next + 1, next, "inside", directory())]);
            }
            world.apply(&[make_after(next + 2)]);
            assert_eq!(world.kind("n"), after, "{before} then {after}");
            next += 3;
        }
    }
    assert_eq!(
        fs::read_dir(world.scratch.path().join("mirror/staging"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn removed_and_cured_names_are_gone() {
    let world = World::new(1 << 20);
    world.apply(&[
        define(1, ROOT, "a", directory()),
        define(2, 1, "b", directory()),
        define(3, 2, "c", link(b"x")),
        poison(1, "p", PoisonKind::Directory),
    ]);
    let cure = TableRecord::Cure {
        parent: 1,
        names: vec![b"p".to_vec(), b"b".to_vec()],
    };
    world.apply(&[cure]);
    assert_eq!((world.kind("a/p"), world.kind("a/b/c")), ('-', 'l'));
    world.apply(&[TableRecord::Remove { id: 1 }]);
    assert_eq!(world.kind("a"), '-');
}

#[test]
fn a_late_blob_fills_all_that_wait_for_it() {
    let world = World::new(1 << 20);
    world.apply(&[
        define(1, ROOT, "a", file(b"late")),
        define(2, ROOT, "b", file(b"late")),
        define(3, ROOT, "c", file(b"late")),
        poison(ROOT, "c", PoisonKind::Link),
        define(4, ROOT, "dir", directory()),
    ]);
    let digest = BlobDigest::of(b"late");
    assert_eq!(
        world.mirror.needs(&[1, 2, 4]),
        Needs::Blobs(BTreeMap::from([(digest, 4)]))
    );
    assert_eq!(world.mirror.needs(&[1, 3]), Needs::Current(3));
    assert!(world.mirror.awaits(&digest));
    assert_eq!(
        fs::read(world.path("a")).unwrap_err().raw_os_error(),
        Some(40),
        "ELOOP"
    );
    let stamp = world.mirror.while_still(|still| still.tree.stamp());
    world.arrive(b"late");
    assert!(world.mirror.changed_since(stamp, &[1]) && !world.mirror.awaits(&digest));
    assert_eq!(world.mirror.needs(&[1, 2, 4]), Needs::Nothing);
    for name in ["a", "b"] {
        assert_eq!(fs::read(world.path(name)).unwrap(), b"late");
    }
    assert_eq!(world.kind("c"), 'L');
}

#[test]
fn what_was_in_place_is_looked_at_again_only_when_an_entry_goes() {
    const FILES: EntryId = 100;
    let world = World::new(1 << 20);
    let bytes = |id: EntryId| id.to_le_bytes();
    let ids: Vec<EntryId> = (1..=FILES).collect();
    let records: Vec<_> = ids
        .iter()
        .map(|id| define(*id, ROOT, id.to_string(), file(&bytes(*id))))
        .collect();
    world.apply(&records);
    let mut lacking = Lacking::new(ids.into());
    let mut look = |expected: usize| {
        let before = lacking.checks();
        match world.mirror.needs_still(&mut lacking) {
            Needs::Blobs(blobs) => assert_eq!(blobs.len(), expected),
            needs => assert!(needs == Needs::Nothing && expected == 0, "{needs:?}"),
        }
        lacking.checks() - before
    };
    assert_eq!(look(100), 100);
    (1..=90).for_each(|id| world.arrive(&bytes(id)));
    assert_eq!(look(10), 100);
    world.arrive(&bytes(91));
    assert_eq!((look(9), look(9)), (10, 9));
    // Another entry comes, is replaced, and what takes its place is none of these.
    world.apply(&[define(101, ROOT, "other", directory())]);
    assert_eq!(look(9), 9);
    world.apply(&[define(102, ROOT, "other", directory())]);
    assert_eq!((look(9), look(9)), (109, 9));
    (92..=100).for_each(|id| world.arrive(&bytes(id)));
    assert_eq!((look(0), look(0)), (9, 0));
    world.apply(&[define(103, ROOT, "7", file(&bytes(7)))]);
    assert_eq!(world.mirror.needs_still(&mut lacking), Needs::Current(7));
    assert_eq!(world.mirror.needs_still(&mut lacking), Needs::Current(7), "still");
}

#[test]
fn equal_bytes_are_two_inodes_and_one_inode_stays_one() {
    let world = World::new(1 << 20);
    world.store(b"x");
    world.apply(&[
        define(1, ROOT, "a", file(b"x")),
        define(2, ROOT, "b", file(b"x")),
        define(3, ROOT, "c", same_inode(b"x", 1)),
        define(4, ROOT, "late", file(b"late")),
        define(5, ROOT, "late-too", same_inode(b"late", 4)),
        define(6, ROOT, "other-bytes", same_inode(b"late", 1)),
    ]);
    world.arrive(b"late");
    let inode = |name| fs::metadata(world.path(name)).unwrap().ino();
    assert_ne!(inode("a"), inode("b"));
    assert_eq!(inode("a"), inode("c"));
    assert_eq!(inode("late"), inode("late-too"));
    assert_ne!(inode("other-bytes"), inode("a"));
    assert_eq!(
        fs::metadata(world.path("a")).unwrap().nlink(),
        2,
        "none in the store"
    );
    world.apply(&[define(7, ROOT, "a", same_inode(b"x", 3))]);
    assert_eq!(inode("a"), inode("c"), "a name replaced by its own inode");
}

#[test]
fn times_and_modes_are_the_clients() {
    let world = World::new(1 << 20);
    world.store(b"#!x");
    world.store(b"x");
    world.apply(&[
        define(1, ROOT, "d", directory()),
        define(2, 1, "tool", file(b"#!x")),
        define(3, 1, "plain", file(b"x")),
        define(4, 1, "late", file(b"late")),
    ]);
    world.arrive(b"late");
    for (name, mode) in [
        ("d", 0o755),
        ("d/tool", 0o755),
        ("d/plain", 0o644),
        ("d/late", 0o644),
    ] {
        let metadata = fs::metadata(world.path(name)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, mode, "{name}");
        assert_eq!(
            (metadata.mtime(), metadata.mtime_nsec()),
            (TIME.seconds, i64::from(TIME.nanoseconds)),
            "{name}"
        );
    }
}

#[test]
fn links_are_never_followed() {
    let world = World::new(1 << 20);
    world.store(b"x");
    let outside = world.scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap().as_bytes();
    world.apply(&[define(1, ROOT, "way-out", link(target))]);
    let through = world.try_apply(&[define(2, 1, "x", file(b"x"))]);
    assert!(matches!(
        through,
        Err(MirrorError::Table {
            source: TreeError::NoDirectory { id: 1 }
        })
    ));
    assert!(matches!(
        world.try_apply(&[poison(ROOT, "x", PoisonKind::Link)]),
        Err(MirrorError::Broken)
    ));
    let world = World::new(1 << 20);
    world.apply(&[
        define(1, ROOT, "d", directory()),
        define(2, ROOT, "d", link(target)),
        define(3, ROOT, "d", directory()),
        define(4, 3, "x", link(b"y")),
    ]);
    assert_eq!(world.kind("d/x"), 'l');
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn names_are_bytes() {
    let world = World::new(1 << 20);
    let name = b"\xff\xfe \n#".to_vec();
    world.apply(&[
        define(1, ROOT, &name, directory()),
        define(2, 1, "x", link(b"\xff")),
    ]);
    use std::os::unix::ffi::OsStrExt;
    let path = world
        .mirror
        .root()
        .join(std::ffi::OsStr::from_bytes(&name))
        .join("x");
    assert_eq!(fs::read_link(path).unwrap().as_os_str().as_bytes(), b"\xff");
}

#[test]
fn what_has_no_room_stays_poison_until_there_is_some() {
    let world = World::new(2 * BLOCK);
    for bytes in [b"1", b"2", b"3"] {
        world.store(bytes);
    }
    world.apply(&[
        define(1, ROOT, "1", file(b"1")),
        define(2, ROOT, "2", file(b"2")),
        define(3, ROOT, "3", file(b"3")),
    ]);
    assert_eq!(
        (world.kind("2"), world.kind("3"), world.mirror.bytes()),
        ('f', 'L', 3 * BLOCK)
    );
    world.apply(&[TableRecord::Remove { id: 1 }]);
    world.mirror.materialise(&BlobDigest::of(b"3"));
    assert_eq!((world.kind("3"), world.mirror.bytes()), ('f', 2 * BLOCK));
}

#[test]
fn a_damaged_blob_leaves_poison() {
    let world = World::new(1 << 20);
    world.store(b"x");
    let hex = BlobDigest::of(b"x").to_string();
    fs::write(
        world.scratch.path().join("cas").join(&hex[..2]).join(&hex[2..]),
        "y",
    )
    .unwrap();
    world.apply(&[define(1, ROOT, "x", file(b"x"))]);
    assert_eq!(world.kind("x"), 'L');
    world.arrive(b"x");
    assert_eq!(world.kind("x"), 'f');
}

#[test]
fn the_sandbox_finds_its_mount_points() {
    let world = World::new(1 << 20);
    let kinds = || ["proc", "dev", ".quicc-scratch"].map(|name| world.kind(name));
    assert_eq!(kinds(), ['d'; 3]);
    world.apply(&[
        define(1, ROOT, "proc", directory()),
        poison(ROOT, "dev", PoisonKind::Link),
    ]);
    assert_eq!(kinds(), ['d'; 3]);
    world.apply(&[TableRecord::Remove { id: 1 }]);
    assert_eq!(kinds(), ['d'; 3]);
}

#[test]
fn what_the_sandbox_mounts_over_is_never_in_place() {
    let world = World::new(1 << 20);
    world.store(b"x");
    world.apply(&[
        define(1, ROOT, "dev", directory()),
        define(2, 1, "shm", directory()),
        define(3, 2, "a.h", file(b"x")),
        define(4, ROOT, "src", directory()),
        define(5, 4, "dev", directory()),
        define(6, 5, "a.h", file(b"x")),
        poison(2, "b.h", PoisonKind::Link),
    ]);
    for covered in [2, 3] {
        assert_eq!(world.mirror.needs(&[1, covered, 6]), Needs::Covered(covered));
    }
    assert_eq!(world.mirror.needs(&[1, 4, 5, 6]), Needs::Nothing);
    world.apply(&[define(7, 4, "b.h", file(b"x"))]);
    assert_eq!(world.mirror.needs(&[7]), Needs::Nothing, "the table goes on");
}

#[test]
fn a_dropped_mirror_leaves_nothing_and_positions_count_records() {
    let world = World::new(1 << 20);
    let position = world.mirror.position();
    world.apply(&[define(1, ROOT, "a", directory()), define(2, 1, "b", directory())]);
    world.apply(&[TableRecord::Remove { id: 1 }]);
    assert_eq!(*position.borrow(), 3);
    let World { scratch, mirror, .. } = world;
    drop(mirror);
    assert_eq!(kind(&scratch.path().join("mirror")), '-');
}

#[test]
fn a_table_told_again_is_applied_once() {
    let world = World::new(1 << 20);
    let records: Vec<_> = (1..100)
        .map(|id| define(id, ROOT, id.to_string(), directory()))
        .collect();
    world.mirror.apply(0, &records[..40]).unwrap();
    world.mirror.apply(10, &records[10..90]).unwrap();
    world.mirror.apply(0, &records[..20]).unwrap();
    assert_eq!(*world.mirror.position().borrow(), 90);
    assert!(matches!(
        world.mirror.apply(91, &records[91..]),
        Err(MirrorError::Gap {
            first: 91,
            position: 90
        })
    ));
    world.mirror.apply(0, &records).unwrap();
    assert_eq!(
        fs::read_dir(world.mirror.root()).unwrap().count(),
        99 + tree::MOUNT_POINTS.len()
    );
}

#[test]
fn a_go_is_bounded_in_records_and_names() {
    let many = |parent, names: usize| TableRecord::Poison {
        parent,
        names: vec![(b"n".to_vec(), PoisonKind::Link); names],
    };
    let check = |names: &[usize], expected: &[usize]| {
        let records: Vec<_> = names.iter().map(|&names| many(ROOT, names)).collect();
        let lengths: Vec<_> = goes(&records).map(<[_]>::len).collect();
        assert_eq!(lengths, expected, "{names:?}");
    };
    check(&[], &[]);
    check(&[1; 70], &[32, 32, 6]);
    check(&[NAMES_AT_ONCE, 1, NAMES_AT_ONCE], &[1, 1, 1]);
    check(&[NAMES_AT_ONCE - 1, 1, 0, 1], &[3, 1]);
    check(&[5 * NAMES_AT_ONCE, 1, 1], &[1, 2]);
}

#[test]
fn a_record_of_very_many_names_is_applied_whole() {
    let world = World::new(1 << 30);
    let names: Vec<_> = (0..2 * NAMES_AT_ONCE + 3)
        .map(|name| name.to_string().into_bytes())
        .collect();
    let poison = names
        .iter()
        .map(|name| (name.clone(), PoisonKind::Link))
        .collect();
    world.apply(&[
        define(1, ROOT, "d", directory()),
        TableRecord::Poison {
            parent: 1,
            names: poison,
        },
    ]);
    assert_equal_to_table(&world.mirror);
    assert_eq!(fs::read_dir(world.path("d")).unwrap().count(), names.len());
    world.apply(&[TableRecord::Cure { parent: 1, names }]);
    assert_eq!(fs::read_dir(world.path("d")).unwrap().count(), 0);
    assert_eq!(*world.mirror.position().borrow(), 3);
}

#[test]
fn who_may_await_a_blob_is_known_while_the_disk_is_busy() {
    let world = World::new(1 << 20);
    world.apply(&[define(1, ROOT, "a", file(b"late"))]);
    world.mirror.while_still(|_| {
        assert!(world.mirror.may_await(&BlobDigest::of(b"late")));
        assert!(!world.mirror.may_await(&BlobDigest::of(b"other")));
    });
}

#[test]
fn every_name_takes_a_block_and_large_files_more() {
    let world = World::new(1 << 20);
    let large = vec![0; 2 * BLOCK as usize + 1];
    world.store(&large);
    let check = |record: TableRecord, blocks: u64| {
        world.apply(std::slice::from_ref(&record));
        assert_eq!(world.mirror.bytes(), blocks * BLOCK, "{record:?}");
    };
    check(define(1, ROOT, "d", directory()), 1);
    check(define(2, 1, "e", directory()), 2);
    check(define(3, 2, "link", link(b"x")), 3);
    check(poison(2, "p", PoisonKind::Directory), 4);
    check(poison(2, "p", PoisonKind::Link), 4);
    check(define(4, 2, "large", file(&large)), 7);
    check(define(5, 2, "late", file(b"late")), 8);
    check(poison(1, "e", PoisonKind::Link), 2);
    check(define(6, 1, "large", file(&large)), 5);
    let twice = vec![(b"large".to_vec(), PoisonKind::Link); 2];
    check(
        TableRecord::Poison {
            parent: 1,
            names: twice,
        },
        3,
    );
    check(poison(ROOT, "dev", PoisonKind::Link), 3);
    check(TableRecord::Remove { id: 2 }, 3);
    check(TableRecord::Remove { id: 1 }, 0);
}

/// Every name of the tree on disk is what the table says, and nothing else is there.
fn assert_equal_to_table(mirror: &Mirror) {
    let state = mirror.state();
    let mut directories = vec![ROOT];
    let mut blocks = 0;
    while let Some(id) = directories.pop() {
        let path = mirror.root().join(state.tree.path(id));
        let names = &state.tree.directory(id).unwrap().names;
        blocks += names.len() as u64;
        for (name, child) in names {
            let letter = kind(&path.join(std::str::from_utf8(name).unwrap()));
            let expected = match child {
                Child::Poison(PoisonKind::Link) => 'L',
                Child::Poison(PoisonKind::Directory) => 'D',
                Child::Entry(id) => match state.tree.node(*id).unwrap().kind {
                    Kind::Directory(_) => {
                        directories.push(*id);
                        'd'
                    }
                    Kind::Symlink(_) => 'l',
                    Kind::File(_) if state.filled.contains(id) => 'f',
                    Kind::File(_) => 'L',
                },
            };
            assert_eq!(letter, expected, "{}", path.display());
        }
        let own = if id == ROOT { tree::MOUNT_POINTS.len() } else { 0 };
        assert_eq!(fs::read_dir(path).unwrap().count(), names.len() + own);
    }
    assert_eq!(mirror.bytes(), blocks * BLOCK, "no file here is larger");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_tree_on_disk_equals_its_table(steps in proptest::collection::vec((0_u8..8, any::<usize>(), 0_u8..4), 0..40)) {
        let world = World::new(1 << 20);
        world.store(b"here");
        let mut next = 1;
        for (verb, target, name) in steps {
            let directories: Vec<EntryId> =
                world.mirror.while_still(|still| (0..next).filter(|id| still.tree.directory(*id).is_some()).collect());
            let parent = directories[target % directories.len()];
            let name = char::from(b'a' + name).to_string();
            let mut entry = |kind| { next += 1; define(next - 1, parent, &name, kind) };
            let record = match verb {
                0 => entry(directory()),
                1 => entry(file(b"here")),
                2 => entry(file(b"late")),
                3 => entry(link(b"elsewhere")),
                4 => poison(parent, &name, PoisonKind::Link),
                5 => poison(parent, &name, PoisonKind::Directory),
                6 => TableRecord::Cure { parent, names: vec![name.into()] },
                _ => TableRecord::Remove { id: (target as EntryId % next).max(1).min(next - 1) },
            };
            if next > 1 || verb != 7 {
                world.apply(&[record]);
            }
            assert_equal_to_table(&world.mirror);
        }
        world.arrive(b"late");
        assert_equal_to_table(&world.mirror);
    }
}
