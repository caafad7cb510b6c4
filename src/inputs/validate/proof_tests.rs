//! How long a proof lasts, and what is done at once by it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::tests::{UNCHANGED, fixture, proof_of, revised};
use super::*;
use crate::inputs::closure::{Closure, Fixture, Mapping};

/// What is found of a closure by a memory of nothing, which has no news of its files.
fn examined_anew(kept: &Kept) -> Validity {
    let without_news = |item: &Arc<Item>| {
        let mut item = Item {
            path: Arc::clone(&item.path),
            object: item.object.clone(),
        };
        if let Object::File { stat, .. } = &mut item.object {
            stat.news = 0;
        }
        Arc::new(item)
    };
    let mut kept = kept.clone();
    kept.items = kept.items.iter().map(without_news).collect();
    super::validate(&Tree::new(), &kept)
}

#[test]
fn a_proof_ends_with_any_change_of_what_it_rests_on() {
    let (fixture, revision) = revised(false, true, |_| {});
    let Revision::Holds { proof, .. } = revision else {
        panic!("nothing changed")
    };
    for change in ["own.h", "second/x.h", "first/new.h"] {
        let before = fixture.tree.refresh();
        fixture.write(change, "changed");
        assert_ne!(fixture.tree.refresh(), before, "{change}");
        assert_ne!(fixture.tree.refresh(), proof, "{change}");
    }
    let kept = Kept::new(&Tree::new(), fixture.discover());
    assert_eq!(examined_anew(&kept), Validity::Unchanged { proof: None });
}

/// Names a lookup asked for are told from those beside them, or every object written would cost an examination.
#[test]
fn a_proof_outlasts_names_that_nobody_asked_for() {
    let check = |what: &str, change: &dyn Fn(&Fixture), outlasts: bool| {
        let mut fixture = fixture();
        fixture.tree = Tree::watching();
        fixture.settle();
        let kept = Kept::new(&fixture.tree, fixture.discover());
        let proof = proof_of(&fixture.tree, &kept).expect("this machine has inotify");
        change(&fixture);
        let newer = still_holds(&fixture.tree, &kept, proof);
        assert_eq!(newer.is_some(), outlasts, "{what}");
        if outlasts {
            assert_eq!(newer, fixture.tree.refresh(), "{what}");
            fixture.write("second/x.h", "two");
            let outdated = newer.and_then(|newer| still_holds(&fixture.tree, &kept, newer));
            assert_eq!(outdated, None, "{what}: then a change of an input");
        }
    };
    let replaced = |f: &Fixture| {
        f.write("second/temporary", "");
        fs::rename(f.os_path("second/temporary"), f.os_path("second/a.o")).unwrap();
    };
    check("nothing", &|_| {}, true);
    check("an object", &replaced, true);
    check("a neighbour", &|f| f.write("first/z.h", ""), true);
    check("a header found earlier", &|f| f.write("first/x.h", ""), false);
    check("a precompiled header", &|f| f.write("second/x.h.gch", ""), false);
    check("an input", &|f| f.write("own.h", "int edited;"), false);
    let moved = |f: &Fixture| fs::rename(f.os_path("second"), f.os_path("third")).unwrap();
    check("a directory", &moved, false);
    let many = |f: &Fixture| (0..5000).for_each(|n| f.write(&format!("second/{n}.o"), ""));
    check("more than is remembered", &many, false);
}

/// One change: a kind, and the paths it happens to, by number.
type Change = (u8, usize, usize);

fn apply(fixture: &Fixture, (kind, one, other): Change) {
    const PATHS: [&str; 12] = [
        "own.h",
        "x.h",
        "first",
        "first/x.h",
        "first/sub",
        "second",
        "second/x.h",
        "second/x.h.gch",
        "second/a.o",
        "second/sub",
        "second/sub/y.h",
        "a.o",
    ];
    let path = |number: usize| fixture.os_path(PATHS[number % PATHS.len()]);
    // What is impossible now changes nothing.
    let _ = match kind % 6 {
        0 => fs::write(path(one), "text"),
        1 => fs::remove_file(path(one)),
        2 => fs::rename(path(one), path(other)),
        3 => fs::hard_link(path(one), path(other)),
        4 => symlink("x.h", path(one)),
        _ => fs::create_dir(path(one)),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_proof_that_lasts_is_right(changes in prop::collection::vec(any::<Change>(), 1..16)) {
        let mut fixture = fixture();
        fixture.tree = Tree::watching();
        fixture.settle();
        let kept = Kept::new(&fixture.tree, fixture.discover());
        let mut proof = proof_of(&fixture.tree, &kept);
        prop_assert!(proof.is_some());
        for change in changes {
            apply(&fixture, change);
            proof = proof.and_then(|proof| still_holds(&fixture.tree, &kept, proof));
            if proof.is_some() {
                let examined = examined_anew(&kept);
                prop_assert_eq!(examined, UNCHANGED, "after {:?}", change);
            }
        }
    }
}

/// A memory that watches, and a mark of it from before `change` and what was found since. What it says of a closure
/// found before `change` by another memory.
fn prove_after(change: impl Fn(&Fixture)) -> Option<Mark> {
    let mut fixture = fixture();
    fixture.settle();
    let kept = Kept::new(&Tree::new(), fixture.discover());
    fixture.tree = Tree::watching();
    // As if a unit before had listed all: its names are told of since.
    fixture.discover();
    fixture.tree.refresh();
    let mark = fixture.tree.refresh().unwrap();
    change(&fixture);
    fixture.settle();
    fixture.discover();
    prove(&fixture.tree, &kept, mark).and_then(|mark| still_holds(&fixture.tree, &kept, mark))
}

#[test]
fn what_is_found_proves_only_what_is_the_same() {
    assert!(prove_after(|_| {}).is_some());
    for (name, text) in [("second/x.h", "two"), ("a.c", "int a;")] {
        assert_eq!(prove_after(|f| f.write(name, text)), None, "{name}");
    }
    assert_eq!(prove_after(|f| f.write("first/x.h", "")), None);
}

/// Nothing was told of what changed before a memory began to watch it.
#[test]
fn what_is_found_proves_nothing_of_what_was_found_elsewhere_before() {
    let check = |change: &dyn Fn(&Fixture), holds: bool| {
        let mut fixture = fixture();
        symlink("second/x.h", fixture.os_path("named.h")).unwrap();
        // Where anybody's names come and go nothing is listed.
        fixture.directory("open");
        fs::set_permissions(fixture.os_path("open"), PermissionsExt::from_mode(0o1777)).unwrap();
        let absolute = fixture.os_path("open/z.h");
        let text = format!(
            "#include \"x.h\"\n#include \"named.h\"\n#include \"{}\"\n",
            absolute.display()
        );
        fixture.write("a.c", &text);
        fixture.settle();
        let kept = Kept::new(&Tree::new(), fixture.discover());
        change(&fixture);
        fixture.settle();
        fixture.tree = Tree::watching();
        fixture.discover();
        let mark = fixture.tree.refresh().unwrap();
        assert_eq!(prove(&fixture.tree, &kept, mark).is_some(), holds);
    };
    check(&|_| {}, true);
    check(&|f| f.write("second/x.h", "two"), false);
    check(&|f| f.remove("second/x.h"), false);
    check(&|f| f.write("open/z.h", ""), false);
    check(
        &|f| {
            f.remove("named.h");
            symlink("own.h", f.os_path("named.h")).unwrap();
        },
        false,
    );
    check(
        &|f| {
            fs::rename(f.os_path("first"), f.os_path("other")).unwrap();
            f.directory("first");
        },
        false,
    );
}

#[test]
fn names_that_came_before_they_were_told_of_are_not_overlooked() {
    let mut fixture = fixture();
    fixture.settle();
    let kept = Kept::new(&Tree::new(), fixture.discover());
    fixture.tree = Tree::watching();
    let mark = fixture.tree.refresh().unwrap();
    fixture.write("first/x.h", "found earlier");
    fixture.discover();
    for item in &kept.items {
        fixture.tree.stat(&item.path).unwrap();
    }
    assert_eq!(prove(&fixture.tree, &kept, mark), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn what_proves_a_discovery_is_right(changes in prop::collection::vec(any::<Change>(), 0..4)) {
        let mut fixture = fixture();
        fixture.tree = Tree::watching();
        fixture.settle();
        let mark = fixture.tree.refresh().unwrap();
        let kept = Kept::new(&fixture.tree, fixture.discover());
        if changes.is_empty() {
            prop_assert_eq!(prove(&fixture.tree, &kept, mark), Some(mark));
        }
        for change in &changes {
            apply(&fixture, *change);
            // Another unit looks at what there is now.
            fixture.tree.refresh();
            for item in &kept.items {
                let _ = fixture.tree.stat(&item.path);
            }
        }
        let proof = prove(&fixture.tree, &kept, mark);
        if proof.and_then(|proof| still_holds(&fixture.tree, &kept, proof)).is_some() {
            let examined = examined_anew(&kept);
            prop_assert_eq!(examined, UNCHANGED, "after {:?}", changes);
        }
    }
}

/// More events than the kernel keeps: nothing is believed any more that was known by them.
fn overflow(fixture: &Fixture) {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    fixture.directory("elsewhere");
    fixture.tree.stat(&fixture.path("elsewhere/x")).unwrap();
    let before = fixture.tree.refresh().unwrap();
    for number in 0..limit {
        fixture.write(&format!("elsewhere/{number}"), "");
        fixture.remove(&format!("elsewhere/{number}"));
    }
    assert_ne!(
        fixture.tree.refresh().unwrap().0,
        before.0,
        "the queue overflowed"
    );
}

#[test]
fn names_are_told_of_after_the_watches_began_anew() {
    let (fixture, revision) = revised(false, true, |_| {});
    let Revision::Holds { kept, proof } = revision else {
        panic!("nothing changed")
    };
    overflow(&fixture);
    let (mut kept, mut proof) = (kept, proof);
    // What was forgotten takes a look or two to be proven again.
    for _ in 0..3 {
        let Revision::Holds {
            kept: now,
            proof: newer,
        } = revise(&fixture.tree, &kept, proof, &|_, _| false)
        else {
            panic!("nothing changed")
        };
        (kept, proof) = (now, newer);
    }
    let revised = proof.expect("all of it is watched");
    assert!(still_holds(&fixture.tree, &kept, revised).is_some());
    let anew = Kept::new(&fixture.tree, fixture.discover());
    let discovered = proof_of(&fixture.tree, &anew).expect("all of it is watched");
    fixture.write("first/x.h", "found earlier");
    assert_eq!(still_holds(&fixture.tree, &kept, revised), None);
    assert_eq!(still_holds(&fixture.tree, &anew, discovered), None);
}

/// A proof that moves on while a unit runs must not hide a name from what is told and decided for the next.
#[test]
fn a_name_that_came_while_a_proof_moved_on_is_seen() {
    let check = |computed: bool, by_validate: bool| {
        let (fixture, revision) = revised(computed, true, |_| {});
        let Revision::Holds {
            kept,
            proof: Some(proof),
        } = revision
        else {
            panic!("nothing changed")
        };
        fixture.write("first/unforeseen.h", "");
        let newer = if by_validate {
            proof_of(&fixture.tree, &kept)
        } else {
            still_holds(&fixture.tree, &kept, proof)
        };
        assert!(newer.is_some(), "no lookup is about it");
        let seen = |proof| match revise(&fixture.tree, &kept, proof, &|_, _| false) {
            Revision::Holds { kept, .. } => {
                let listed = kept
                    .listed
                    .iter()
                    .find(|(path, _)| **path == *fixture.path("first"));
                Some(listed.unwrap().1.listing.names.contains_key(&b"unforeseen.h"[..]))
            }
            Revision::Other => None,
        };
        let expected = (!computed).then_some(true);
        assert_eq!(
            seen(newer),
            expected,
            "computed: {computed}, by validate: {by_validate}"
        );
        assert_eq!(seen(None), expected, "computed: {computed}, looked at anew");
    };
    for computed in [false, true] {
        check(computed, false);
        check(computed, true);
    }
}

/// Revises, proves and discovers as an agent does while files change and another unit looks at the same.
fn chase(fixture: &Fixture, computed: bool, changes: &[(Change, u8)]) -> Result<(), TestCaseError> {
    let tree = &fixture.tree;
    let mut state: Option<(Arc<Kept>, Option<Mark>)> = None;
    for &(change, step) in changes {
        if state.is_none()
            && let Ok(closure) = fixture.try_discover(|_| {})
        {
            let kept = Arc::new(Kept::new(tree, Closure { computed, ..closure }));
            let proof = proof_of(tree, &kept);
            state = Some((kept, proof));
        }
        if step % 4 == 3 {
            let (there, back) = (fixture.os_path("second"), fixture.os_path("moved"));
            let _ = fs::rename(&there, &back).and_then(|()| fs::rename(&back, &there));
        }
        apply(fixture, change);
        let Some((kept, proof)) = state.take() else {
            continue;
        };
        state = if step % 2 == 0 {
            let is_ours = |_: &[u8], name: &[u8]| name == b"a.o";
            let at_once = proof.filter(|_| step % 4 == 2);
            let revised = at_once.and_then(|proof| revise_at_once(tree, &kept, proof, &is_ours));
            let revision = match revised {
                Some((kept, proof)) => Revision::Holds {
                    kept,
                    proof: Some(proof),
                },
                None => revise(tree, &kept, proof, &is_ours),
            };
            match revision {
                Revision::Holds { kept, proof } => {
                    for (path, listed) in &kept.listed {
                        let fresh = Tree::new().listing(path).unwrap();
                        prop_assert_eq!(&fresh.listing, &listed.listing, "after {:?}", change);
                    }
                    Some((kept, proof))
                }
                Revision::Other => None,
            }
        } else if let Some(newer) = proof.and_then(|proof| still_holds(tree, &kept, proof)) {
            Some((kept, Some(newer)))
        } else {
            match super::validate(tree, &kept) {
                Validity::Unchanged { proof } => Some((kept, proof)),
                Validity::Changed { .. } => None,
            }
        };
        if let Some((kept, _)) = &state {
            let examined = examined_anew(kept);
            prop_assert_eq!(examined, UNCHANGED, "after {:?}", change);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_chain_of_proofs_is_right(
        computed in any::<bool>(),
        changes in prop::collection::vec((any::<Change>(), any::<u8>()), 1..40),
    ) {
        let mut fixture = fixture();
        fixture.tree = Tree::watching();
        fixture.settle();
        let ended = AtomicBool::new(false);
        let (tree, ended) = (&fixture.tree, &ended);
        let paths = ["own.h", "first/x.h", "second/x.h", "first", "second", "second/sub"].map(|name| fixture.path(name));
        std::thread::scope(|scope| {
            scope.spawn(|| while !ended.load(Ordering::Relaxed) {
                tree.refresh();
                for path in &paths {
                    let _ = (tree.stat(path), tree.listing(path));
                }
            });
            let chased = chase(&fixture, computed, &changes);
            ended.store(true, Ordering::Relaxed);
            chased
        })?;
    }
}

#[test]
fn at_once_only_names_beside_are_looked_at() {
    let check = |what: &str, change: &dyn Fn(&Fixture), holds: bool| {
        let mut fixture = fixture();
        fixture.tree = Tree::watching();
        fixture.settle();
        let kept = Arc::new(Kept::new(&fixture.tree, fixture.discover()));
        let proof = proof_of(&fixture.tree, &kept).expect(what);
        change(&fixture);
        let revised = revise_at_once(&fixture.tree, &kept, proof, &|_, _| false);
        assert_eq!(revised.is_some(), holds, "{what}");
        for (path, listed) in revised.iter().flat_map(|(kept, _)| &kept.listed) {
            let fresh = Tree::new().listing(path).unwrap();
            assert_eq!(fresh.listing, listed.listing, "{what}");
        }
        assert_eq!(
            revise_at_once(&Tree::new(), &kept, proof, &|_, _| false).map(|(_, proof)| proof),
            None,
            "{what}: no watch"
        );
    };
    check("nothing", &|_| {}, true);
    check("an object beside", &|f| f.write("first/a.o", ""), true);
    check("a header edited", &|f| f.write("own.h", "two"), false);
    check("a header that was missed", &|f| f.write("first/x.h", ""), false);
    check("a precompiled one", &|f| f.write("second/x.h.gch", ""), false);
}

/// A listing may be read later than all else was examined: what it shows by then is judged.
#[test]
fn a_listing_that_is_newer_than_its_closure_is_judged() {
    for name in ["first/x.h.gch", "first/x.h"] {
        let fixture = fixture();
        fixture.settle();
        fixture.write("first/x.h.pch", "");
        fixture.remove("first/x.h.pch");
        let kept = Kept::new(&fixture.tree, fixture.discover());
        fixture.write(name, "");
        assert!(
            relist(&kept, |path| fixture.tree.listing(path).ok(), &|_, _| false).is_none(),
            "{name}"
        );
    }
}

/// Of the files that a store may change without a word, only those named are looked at; watches are asked of all.
#[test]
fn only_doubtful_files_are_looked_at() {
    let holds = |what: &str, change: &dyn Fn(&Fixture), doubtful: &str| {
        let mut fixture = fixture();
        fixture.tree = Tree::watching();
        fixture.settle();
        let kept = Kept::new(&fixture.tree, fixture.discover());
        let proof = proof_of(&fixture.tree, &kept).expect(what);
        change(&fixture);
        let is_doubtful = |item: &&Item| *item.path == *fixture.path(doubtful);
        let doubtful: Vec<_> = kept.mapped().filter(is_doubtful).collect();
        still_holds_if(&fixture.tree, &kept, proof, &doubtful).is_some()
    };
    assert!(holds("nothing", &|_| {}, "own.h"));
    assert!(holds("an object beside", &|f| f.write("second/a.o", ""), ""));
    assert!(!holds("an input", &|f| f.write("own.h", "edited"), ""));
    assert!(!holds("found earlier", &|f| f.write("first/x.h", ""), ""));
    // A store through a mapping that stays.
    for (doubtful, expected) in [("own.h", true), ("second/x.h", false)] {
        let mapping = std::cell::Cell::new(None);
        let store = |f: &Fixture| mapping.set(Some(Mapping::store(&f.os_path("second/x.h"), "X")));
        assert_eq!(holds("a mapping", &store, doubtful), expected, "{doubtful}");
    }
}
