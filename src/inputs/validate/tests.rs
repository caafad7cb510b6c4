//! A closure judged after its files changed, by a memory of nothing and by one that watches.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::inputs::closure::{Closure, Fixture, Mapping};
use crate::inputs::tree::StatTuple;

/// What is found of a closure, without the proof.
fn validate(tree: &Tree, closure: &Closure) -> Validity {
    match super::validate(tree, &Kept::new(tree, closure.clone())) {
        Validity::Unchanged { .. } => UNCHANGED,
        changed => changed,
    }
}

pub(super) const UNCHANGED: Validity = Validity::Unchanged { proof: None };

/// A source that includes `x.h` by way of `-I first -I second`, found in the second.
pub(super) fn fixture() -> Fixture {
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

/// Whatever it was made of at the wrong moment: no later listing would ever differ.
#[test]
fn a_closure_that_lists_what_it_says_is_absent_does_not_hold() {
    let fixture = fixture();
    fixture.settle();
    let mut closure = fixture.discover();
    let second: Arc<[u8]> = fixture.path("second").into();
    let absent = closure.absent.entry(second).or_default();
    let with_another = absent.iter().chain([&b"sub"[..]]).collect();
    *absent = with_another;
    let changed = Validity::Changed {
        path: fixture.path("second/sub"),
    };
    assert_eq!(validate(&fixture.tree, &closure), changed);
    assert_eq!(validate(&Tree::new(), &closure), changed);
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

/// They leave its times as the first one did.
#[test]
fn later_stores_through_a_mapping_show_once_it_ends() {
    let mut fixture = fixture();
    fixture.tree = Tree::watching();
    let mut mapping = Mapping::store(&fixture.os_path("second/x.h"), "1");
    fixture.settle();
    let closure = fixture.discover();
    assert_eq!(validate(&fixture.tree, &closure), UNCHANGED);
    mapping.store_again("2");
    drop(mapping);
    let path = fixture.path("second/x.h");
    assert_eq!(validate(&fixture.tree, &closure), Validity::Changed { path });
    assert_ne!(fixture.discover().items, closure.items);
}

/// A link made in the place of another may have its inode and, within a tick of the file system's clock, its times.
#[test]
fn a_link_of_equal_times_may_lead_elsewhere() {
    let mut fixture = Fixture::new(&["link"]);
    fixture.tree = Tree::watching();
    fixture.write("a.c", "#include <x.h>\n");
    fixture.write("one/x.h", "");
    symlink("one", fixture.os_path("link")).unwrap();
    let mut closure = fixture.discover();
    let path = fixture.path("link");
    let Some(Object::Symlink { stat, .. }) = closure.get(&path).cloned() else {
        panic!("it is a link")
    };
    closure.items.retain(|item| *item.path != *path);
    let target = b"two".to_vec();
    closure.put(&path, Object::Symlink { target, stat });
    assert_eq!(validate(&fixture.tree, &closure), Validity::Changed { path });
}

/// A watched closure of the fixture after `change`, brought up to date, with `computed` set as given.
pub(super) fn revised(computed: bool, proven: bool, change: impl Fn(&Fixture)) -> (Fixture, Revision) {
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

pub(super) fn proof_of(tree: &Tree, kept: &Kept) -> Option<Mark> {
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
                news: 0,
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
