//! A closure judged after its files changed, by a memory of nothing and by one that watches.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::inputs::closure::{Closure, Fixture};
use crate::inputs::tree::StatTuple;

/// What is found of a closure, without the proof.
fn validate(tree: &Tree, closure: &Closure) -> Validity {
    match super::validate(tree, &Kept::new(tree, closure.clone())) {
        Validity::Unchanged { .. } => UNCHANGED,
        changed => changed,
    }
}

const UNCHANGED: Validity = Validity::Unchanged { proof: None };

/// A source that includes `x.h` by way of `-I first -I second`, found in the second.
fn fixture() -> Fixture {
    let fixture = Fixture::new(&["first", "second"]);
    fixture.write(
        "a.c",
        "#include \"x.h\"\n#include \"own.h\"\n#include <sub/y.h>\n",
    );
    fixture.write("own.h", "");
    fixture.write("second/x.h", "one");
    fixture.write("second/sub/y.h", "");
    fixture.directory("first");
    fixture
}

/// What `change` does to a closure discovered before it; with `aged`, long after the files settled.
fn check(what: &str, change: impl Fn(&Fixture), expected: Option<&str>) {
    for aged in [false, true] {
        let fixture = fixture();
        if aged {
            fixture.settle();
        }
        let closure = fixture.discover();
        assert_eq!(validate(&fixture.tree, &closure), UNCHANGED, "{what}: before");
        change(&fixture);
        let expected = expected.map_or(UNCHANGED, |path| Validity::Changed {
            path: fixture.path(path),
        });
        assert_eq!(
            validate(&fixture.tree, &closure),
            expected,
            "{what}: after, aged: {aged}"
        );
        // A memory of nothing judges alike.
        assert_eq!(
            validate(&Tree::new(), &closure),
            expected,
            "{what}: new tree, aged: {aged}"
        );
    }
    check_watching(what, change, expected);
}

/// The same for a tree that knew everything by watches before the change.
fn check_watching(what: &str, change: impl Fn(&Fixture), expected: Option<&str>) {
    let mut fixture = fixture();
    fixture.tree = Tree::watching();
    fixture.settle();
    let closure = fixture.discover();
    for _ in 0..2 {
        assert_eq!(
            validate(&fixture.tree, &closure),
            UNCHANGED,
            "{what}: watched, before"
        );
    }
    change(&fixture);
    let expected = expected.map_or(UNCHANGED, |path| Validity::Changed {
        path: fixture.path(path),
    });
    for _ in 0..2 {
        assert_eq!(
            validate(&fixture.tree, &closure),
            expected,
            "{what}: watched, after"
        );
    }
}

#[test]
fn files_that_changed() {
    check("nothing", |_| {}, None);
    check("rewritten", |f| f.write("second/x.h", "two"), Some("second/x.h"));
    check("deleted", |f| f.remove("second/x.h"), Some("second/x.h"));
    check("the source", |f| f.write("a.c", ""), Some("a.c"));
    let touched = |f: &Fixture| {
        let file = fs::File::options()
            .write(true)
            .open(f.os_path("second/x.h"))
            .unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    };
    check("touched", touched, Some("second/x.h"));
    let became_link = |f: &Fixture| {
        fs::rename(f.os_path("second/x.h"), f.os_path("second/z.h")).unwrap();
        symlink("z.h", f.os_path("second/x.h")).unwrap();
    };
    check("became a link", became_link, Some("second/x.h"));
}

#[test]
fn equal_size_and_mtime_are_no_proof() {
    let keeping_mtime = |f: &Fixture, write: &dyn Fn()| {
        let mtime = fs::metadata(f.os_path("second/x.h")).unwrap().modified().unwrap();
        write();
        let file = fs::File::options()
            .write(true)
            .open(f.os_path("second/x.h"))
            .unwrap();
        file.set_modified(mtime).unwrap();
    };
    let in_place = |f: &Fixture| keeping_mtime(f, &|| f.write("second/x.h", "two"));
    check("edit and touch -r", in_place, Some("second/x.h"));
    let renamed = |f: &Fixture| {
        keeping_mtime(f, &|| {
            f.write("other", "two");
            fs::rename(f.os_path("other"), f.os_path("second/x.h")).unwrap();
        });
    };
    check("rename and touch -r", renamed, Some("second/x.h"));
}

#[test]
fn names_that_appeared() {
    check(
        "earlier in the list",
        |f| f.write("first/x.h", ""),
        Some("first/x.h"),
    );
    check("beside the includer", |f| f.write("x.h", ""), Some("x.h"));
    check(
        "a directory on the way",
        |f| f.directory("first/sub"),
        Some("first/sub"),
    );
    check(
        "a dangling link",
        |f| symlink("nowhere", f.os_path("x.h")).unwrap(),
        Some("x.h"),
    );
    check("an object beside headers", |f| f.write("second/a.o", ""), None);
    check("an object beside the source", |f| f.write("a.o", ""), None);
    check("an unrelated header", |f| f.write("first/z.h", ""), None);
    check(
        "a precompiled header",
        |f| f.write("second/x.h.gch", ""),
        Some("second/x.h.gch"),
    );
    check(
        "one without its header",
        |f| f.write("first/x.h.pch", ""),
        Some("first/x.h.pch"),
    );
    check(
        "an unrelated precompiled one",
        |f| f.write("first/z.h.gch", ""),
        None,
    );
}

#[test]
fn directories_that_changed() {
    let moved = |f: &Fixture| {
        fs::rename(f.os_path("second"), f.os_path("third")).unwrap();
        f.write("second/x.h", "one");
    };
    check("replaced", moved, Some("second"));
    check(
        "emptied",
        |f| fs::remove_dir_all(f.os_path("second/sub")).unwrap(),
        Some("second/sub"),
    );
    check(
        "removed",
        |f| fs::remove_dir(f.os_path("first")).unwrap(),
        Some("first"),
    );
}

#[test]
fn a_missing_search_directory_that_appears_is_a_change() {
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "");
    let mut search = fixture.search.clone();
    search.ignored.push(b"later/include".to_vec());
    let closure = fixture.discover_with(|request| request.search = &search);
    let check = |expected| assert_eq!(validate(&fixture.tree, &closure), expected);
    check(UNCHANGED);
    fixture.directory("later/include");
    check(Validity::Changed {
        path: fixture.path("later"),
    });
}

#[test]
fn a_link_to_another_target_is_a_change() {
    let fixture = Fixture::new(&["link"]);
    fixture.write("a.c", "#include <x.h>\n");
    fixture.write("one/x.h", "");
    fixture.write("two/x.h", "");
    symlink("one", fixture.os_path("link")).unwrap();
    let closure = fixture.discover();
    assert_eq!(validate(&fixture.tree, &closure), UNCHANGED);
    fs::remove_file(fixture.os_path("link")).unwrap();
    symlink("two", fixture.os_path("link")).unwrap();
    assert_eq!(
        validate(&fixture.tree, &closure),
        Validity::Changed {
            path: fixture.path("link")
        }
    );
}

/// A watched closure of the fixture after `change`, brought up to date, with `computed` set as given.
fn revised(computed: bool, proven: bool, change: impl Fn(&Fixture)) -> (Fixture, Revision) {
    let mut fixture = fixture();
    fixture.tree = Tree::watching();
    fixture.settle();
    let closure = Closure {
        computed,
        ..fixture.discover()
    };
    let kept = Arc::new(Kept::new(&fixture.tree, closure));
    let proof = proof_of(&fixture.tree, &kept);
    change(&fixture);
    let is_ours = |_: &[u8], name: &[u8]| name == b"a.o";
    let proof = proof.filter(|_| proven);
    let revision = revise(&fixture.tree, &kept, proof, &is_ours);
    (fixture, revision)
}

fn proof_of(tree: &Tree, kept: &Kept) -> Option<Mark> {
    match super::validate(tree, kept) {
        Validity::Unchanged { proof } => proof,
        Validity::Changed { .. } => None,
    }
}

/// The items, without the times of directories, which change with every name and tell nobody anything.
fn timeless(kept: &Kept) -> Vec<(&[u8], Object)> {
    let timeless = |object: &Object| match object {
        Object::Directory { stat } => Object::Directory {
            stat: StatTuple {
                size: 0,
                mtime_ns: 0,
                ctime_ns: 0,
                nlink: 0,
                ..*stat
            },
        },
        other => other.clone(),
    };
    kept.items
        .iter()
        .map(|item| (&*item.path, timeless(&item.object)))
        .collect()
}

#[test]
fn a_name_that_comes_meanwhile_takes_no_proof_away() {
    let mut fixture = fixture();
    fixture.tree = Tree::watching();
    fixture.settle();
    let closure = Closure {
        computed: true,
        ..fixture.discover()
    };
    let kept = Arc::new(Kept::new(&fixture.tree, closure));
    assert!(proof_of(&fixture.tree, &kept).is_some());
    fixture.write("a.o", "");
    let asked = std::cell::Cell::new(0);
    let is_ours = |_: &[u8], name: &[u8]| {
        asked.set(asked.get() + 1);
        // As another unit does that is published and one that begins.
        fixture.write("meanwhile.o", "");
        fixture.tree.refresh();
        name == b"a.o"
    };
    let revision = revise(&fixture.tree, &kept, None, &is_ours);
    assert!(
        matches!(revision, Revision::Holds { proof: Some(_), .. }),
        "{revision:?}"
    );
    assert_ne!(asked.get(), 0);
}

#[test]
fn what_takes_no_discovery_is_brought_up_to_date() {
    let check_with = |what: &str, computed, proven, change: &dyn Fn(&Fixture), expected: bool| {
        let (fixture, revision) = revised(computed, proven, change);
        let holds = match revision {
            Revision::Holds { kept, proof } => {
                let fresh = Kept::new(&fixture.tree, fixture.discover());
                assert_eq!(timeless(&kept), timeless(&fresh), "{what}: as if discovered");
                assert_eq!(kept.absent, fresh.absent, "{what}: as if discovered");
                let names = |kept: &Kept| -> Vec<_> {
                    let listed = kept.listed.iter();
                    listed
                        .map(|(path, listed)| (path.clone(), listed.listing.clone()))
                        .collect()
                };
                assert_eq!(names(&kept), names(&fresh), "{what}: as if discovered");
                assert!(proof.is_some(), "{what}: all of it is watched");
                assert_eq!(fixture.tree.refresh(), proof, "{what}");
                true
            }
            Revision::Other => false,
        };
        assert_eq!(holds, expected, "{what}, computed: {computed}, proven: {proven}");
    };
    let check = |what: &str, computed, change: &dyn Fn(&Fixture), expected: bool| {
        check_with(what, computed, false, change, expected);
        check_with(what, computed, true, change, expected);
    };
    let body = |f: &Fixture| f.write("own.h", "int edited;");
    let directive = |f: &Fixture| f.write("own.h", "#include \"new.h\"");
    let shadowed = |f: &Fixture| f.write("first/x.h", "");
    let object = |f: &Fixture| f.write("a.o", "");
    let neighbour = |f: &Fixture| f.write("unrelated.h", "");
    check("nothing", false, &|_| {}, true);
    check("a body", false, &body, true);
    check("a directive", false, &directive, false);
    check("a header found earlier", false, &shadowed, false);
    check("a header deleted", false, &|f| f.remove("own.h"), false);
    check("an object of ours", false, &object, true);
    check("a neighbour", false, &neighbour, true);
    // Any byte and any name may decide a computed include.
    check("nothing", true, &|_| {}, true);
    check("a body", true, &body, false);
    check("an object of ours", true, &object, true);
    check("a neighbour", true, &neighbour, false);
}

#[test]
fn an_edit_of_a_definition_takes_discovery_where_it_may_decide() {
    let check = |source: &str, before: &str, after: &str, expected: bool| {
        let fixture = Fixture::new(&[]);
        fixture.write("a.c", &format!("#include \"own.h\"\n{source}"));
        fixture.write("own.h", before);
        fixture.write("x.h", "");
        fixture.settle();
        let kept = Arc::new(Kept::new(&fixture.tree, fixture.discover()));
        fixture.write("own.h", after);
        let holds = matches!(
            revise(&fixture.tree, &kept, None, &|_, _| false),
            Revision::Holds { .. }
        );
        assert_eq!(holds, expected, "{source:?}: {before:?} to {after:?}");
    };
    let define = "#define H \"x.h\"\n";
    check("#include H\n", "", define, false);
    check("#include H\n", define, "", false);
    check("#include H\n", define, "#define H \"y.h\"\n", false);
    check("#if __has_include(H)\n#endif\n", "", define, false);
    check("#include I\n#define I H\n", "", define, false);
    // A word of the name becomes a macro.
    check("#include I\n#define I <x.h>\n", "", "#define x y\n", false);
    check("#include H\n", "", "#define OTHER 1\n", true);
    check("#include H\n", "int before;\n", "int after;\n", true);
    check("", "", define, true);
}

/// Any byte of a file that is no source text may decide what is read, a response file's say.
#[test]
fn an_edit_of_what_was_never_scanned_takes_discovery() {
    let fixture = fixture();
    fixture.write("flags.rsp", "");
    fixture.settle();
    let files = [b"flags.rsp".to_vec()];
    let closure = fixture.discover_with(|request| request.further_files = &files);
    assert!(
        fixture.tree.references_of(&blake3::hash(b"").into()).is_some(),
        "a header of the same bytes was scanned"
    );
    let kept = Arc::new(Kept::new(&fixture.tree, closure));
    fixture.write("flags.rsp", "-I/elsewhere");
    let revision = revise(&fixture.tree, &kept, None, &|_, _| false);
    assert!(matches!(revision, Revision::Other), "{revision:?}");
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
    let plain = Tree::new();
    let kept = Kept::new(&plain, fixture.discover());
    assert_eq!(
        super::validate(&plain, &kept),
        Validity::Unchanged { proof: None }
    );
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
                let examined = super::validate(&Tree::new(), &kept);
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
            let examined = super::validate(&Tree::new(), &kept);
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
            let examined = super::validate(&Tree::new(), kept);
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
