//! What a builder is told, change by change.

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
        news: 0,
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
