//! What is remembered of includes, against what is found by a memory of nothing: [`Fixture`] compares the two in each
//! discovery.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::graph::{GRAPH_SIZE, GRAPHS, GRAPHS_OF_A_CONTEXT};
use super::walk::Walker;
use super::{Closure, Fixture, Mapping, Object};
use crate::inputs::tree::Tree;

/// Two sources that include the same headers in several ways.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new(&["first", "second"]);
    fixture.write(
        "a.c",
        "#include \"x.h\"\n#include \"own.h\"\n#include <sub/y.h>\n",
    );
    fixture.write(
        "b.c",
        "#include <x.h>\n#include \"sub/y.h\"\n#include \"link.h\"\n",
    );
    fixture.write("own.h", "#include \"x.h\"\n");
    fixture.write(
        "second/x.h",
        "#include \"sub/y.h\"\n#if __has_include(<none.h>)\n",
    );
    fixture.write("second/sub/y.h", "#include_next <x.h>\n#include \"../z.h\"\n");
    fixture.write("second/z.h", "#define P __has_include\n#if P(\"p.h\")\n");
    fixture.directory("first");
    symlink("second/x.h", fixture.os_path("link.h")).unwrap();
    fixture.tree = Tree::watching();
    fixture.settle();
    fixture.discover();
    assert!(fixture.remembers(), "this machine has inotify");
    fixture
}

fn discover(fixture: &Fixture, source: &str) -> Closure {
    fixture.discover_with(|request| request.source = source.as_bytes())
}

#[test]
fn what_nothing_concerns_is_remembered() {
    let check = |what: &str, change: &dyn Fn(&Fixture), remembered: bool| {
        let fixture = fixture();
        change(&fixture);
        assert_eq!(fixture.remembers(), remembered, "{what}");
        discover(&fixture, "b.c");
        fixture.settle();
        discover(&fixture, "b.c");
        assert!(fixture.remembers(), "{what}: found anew");
    };
    let write = |name: &'static str| move |f: &Fixture| f.write(name, "");
    check("nothing", &|_| {}, true);
    check("an object", &write("a.o"), true);
    check("a neighbour", &write("second/neighbour.h"), true);
    check(
        "a directory nobody asked for",
        &|f| f.directory("first/other"),
        true,
    );
    check("elsewhere", &write("elsewhere/x.h"), true);
    check("a header found earlier", &write("first/x.h"), false);
    check("a name asked for", &write("first/none.h"), false);
    check("a precompiled header", &write("second/x.h.gch"), false);
    check("a header rewritten", &write("own.h"), false);
    check("a header removed", &|f| f.remove("second/z.h"), false);
    let replaced = |f: &Fixture| {
        f.write("temporary", "");
        fs::rename(f.os_path("temporary"), f.os_path("own.h")).unwrap();
    };
    check("a header replaced", &replaced, false);
    let linked = |f: &Fixture| {
        f.remove("link.h");
        symlink("own.h", f.os_path("link.h")).unwrap();
    };
    check("a link nobody asked for", &linked, true);
    let moved = |f: &Fixture| {
        fs::rename(f.os_path("second"), f.os_path("third")).unwrap();
        fs::rename(f.os_path("third"), f.os_path("second")).unwrap();
    };
    check("a directory moved away and back", &moved, false);
    let closed =
        |f: &Fixture| fs::set_permissions(f.os_path("first"), fs::Permissions::from_mode(0o700)).unwrap();
    check("a directory of other permissions", &closed, false);
}

/// One discovery after the other, each compared with one from nothing.
#[test]
fn what_lookups_depend_on_keeps_them_apart() {
    let fixture = fixture();
    fixture.write("c.c", "#include \"x.h\"\nasm(\".incbin \\\"blob\\\"\");\n");
    for name in [
        "quoted/x.h",
        "quoted/blob",
        "included/blob",
        "elsewhere/second/x.h",
    ] {
        fixture.write(name, name);
    }
    fixture.settle();
    let mut quoting = fixture.search.clone();
    quoting.quote.push(b"quoted".into());
    let (included, elsewhere) = ([b"included".to_vec()], fixture.path("elsewhere"));
    for _ in 0..2 {
        discover(&fixture, "c.c");
        fixture.discover_with(|request| (request.source, request.search) = (b"c.c", &quoting));
        fixture.discover_with(|request| (request.source, request.include_directories) = (b"c.c", &included));
        fixture.discover_with(|request| (request.source, request.cwd) = (b"../c.c", &elsewhere));
    }
}

#[test]
fn whether_a_file_is_scanned_is_for_each_compile_to_say() {
    let fixture = fixture();
    let named = [b"own.h".to_vec()];
    let is_scanned = |closure: Closure| match closure.get(&fixture.path("own.h")) {
        Some(Object::File { scanned, .. }) => *scanned,
        other => panic!("{other:?}"),
    };
    for _ in 0..2 {
        assert!(is_scanned(fixture.discover()));
        let opaque =
            fixture.discover_with(|request| (request.source, request.further_files) = (b"b.c", &named));
        assert!(!is_scanned(opaque));
    }
}

/// Its watch says nothing of it (inotify(7), "Limitations and caveats").
#[test]
fn a_store_through_a_mapping_is_seen() {
    let fixture = fixture();
    fixture.write("own.h", "#include \"p.h\"\n");
    fixture.settle();
    let digest = |closure: &Closure| match closure.get(&fixture.path("own.h")) {
        Some(Object::File { digest, .. }) => *digest,
        other => panic!("{other:?}"),
    };
    let before = digest(&fixture.discover());
    let _mapping = Mapping::store(&fixture.os_path("own.h"), "#include \"q.h\"");
    assert!(fixture.remembers(), "watches tell nothing");
    assert_ne!(digest(&fixture.discover()), before);
}

#[test]
fn what_no_watch_proves_is_not_remembered() {
    let mut fixture = Fixture::new(&[]);
    fixture.tree = Tree::watching();
    fixture.write("a.c", "#include \"/dev/null\"\n");
    fixture.settle();
    fixture.discover();
    assert_eq!(fixture.graphs.len(), 0, "a device no closure tells of");
    fixture.write("a.c", "#include \"/none.h\"\n");
    fixture.settle();
    fixture.discover();
    assert_eq!(fixture.graphs.len(), 1, "a name it tells of");
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "");
    fixture.settle();
    fixture.discover();
    assert_eq!(fixture.graphs.len(), 0, "without watches");
}

/// A closure whose listings are later than its absences would be taken for a true one ever after.
#[test]
fn what_comes_during_a_discovery_is_not_overlooked() {
    let check = |what: &str, change: &dyn Fn(&Fixture), expected: bool| {
        assert_eq!(fixture().discovers_in_spite_of(change), expected, "{what}");
    };
    check("nothing", &|_| {}, true);
    check("a neighbour", &|f| f.write("first/neighbour.h", ""), true);
    check("a header found earlier", &|f| f.write("first/x.h", ""), false);
    check("a precompiled header", &|f| f.write("second/x.h.gch", ""), false);
    check(
        "a directory replaced",
        &|f| {
            fs::rename(f.os_path("first"), f.os_path("other")).unwrap();
            f.directory("first");
        },
        false,
    );
}

/// What other units rest on may change while this one looks elsewhere.
#[test]
fn what_changes_during_a_discovery_is_not_kept() {
    let check = |what: &str, change: &dyn Fn(&Fixture), kept: bool| {
        let fixture = fixture();
        let (_using, graph) = fixture.graphs.take(&fixture.tree, &fixture.request(b"a.c"));
        let graph = graph.expect("something is remembered");
        let walker = Walker::new(&fixture.tree, Some(graph.places)).unwrap();
        change(&fixture);
        assert_eq!(walker.proven(graph.mark).is_some(), kept, "{what}");
    };
    check("nothing", &|_| {}, true);
    check("a neighbour", &|f| f.write("first/neighbour.h", ""), true);
    check("a header found earlier", &|f| f.write("first/x.h", ""), false);
    check("a header removed", &|f| f.remove("second/z.h"), false);
    check("a header rewritten", &|f| f.write("own.h", ""), false);
}

#[test]
fn directories_are_as_they_are_now() {
    let fixture = fixture();
    fixture.write("a.o", "");
    let closure = fixture.discover();
    let root = fixture.path("");
    let Some(Object::Directory { stat }) = closure.get(&root[..root.len() - 1]) else {
        panic!("the working directory is in the closure");
    };
    assert_eq!(Tree::new().stat(&root[..root.len() - 1]).unwrap(), Some(*stat));
}

#[test]
fn an_error_is_found_anew() {
    let fixture = fixture();
    fs::create_dir(fixture.os_path("d.c")).unwrap();
    let fails = |source: &str| {
        fixture
            .try_discover(|request| request.source = source.as_bytes())
            .is_err()
    };
    assert!(fails("missing.c"));
    fixture.discover();
    assert!(fails("d.c"));
    fixture.discover();
    assert!(fixture.remembers());
}

#[test]
fn what_is_remembered_is_bounded() {
    let fixture = fixture();
    let searches: Vec<_> = (0..GRAPHS)
        .map(|number| {
            let mut search = fixture.search.clone();
            search.angle.push(format!("{number}").into());
            search
        })
        .collect();
    for search in &searches[1..] {
        fixture.discover_with(|request| request.search = search);
    }
    assert!(fixture.remembers(), "as many are");
    for search in &searches {
        fixture.discover_with(|request| request.search = search);
    }
    assert!(!fixture.remembers(), "the oldest is forgotten");
    assert_eq!(fixture.graphs.len(), GRAPHS);
    let many: String = (0..GRAPH_SIZE / 2)
        .map(|number| format!("#include <none{number}.h>\n"))
        .collect();
    fixture.write("many.c", &many);
    fixture.settle();
    fixture.discover();
    assert!(fixture.remembers());
    discover(&fixture, "many.c");
    assert!(!fixture.remembers(), "too large");
}

#[test]
fn discoveries_at_the_same_time_are_remembered_up_to_a_bound() {
    let fixture = fixture();
    let request = fixture.request(b"a.c");
    let graphs: Vec<_> = (0..=GRAPHS_OF_A_CONTEXT)
        .map(|_| {
            let (using, graph) = fixture.graphs.take(&fixture.tree, &request);
            // Others would wait for it.
            drop(using);
            fixture.discover();
            graph.unwrap()
        })
        .collect();
    assert_eq!(fixture.graphs.len(), 1);
    assert!(graphs.into_iter().all(|graph| fixture.graphs.put(graph)));
    assert_eq!(fixture.graphs.len(), GRAPHS_OF_A_CONTEXT);
}

/// One change: a kind, and the paths it happens to, by number.
type Change = (u8, usize, usize);

fn apply(fixture: &Fixture, (kind, one, other): Change) {
    const PATHS: [&str; 22] = [
        "a.c",
        "b.c",
        "own.h",
        "x.h",
        "link.h",
        "none.h",
        "first",
        "first/x.h",
        "first/sub",
        "first/sub/y.h",
        "second",
        "second/x.h",
        "second/x.h.gch",
        "second/sub",
        "second/sub/y.h",
        "second/z.h",
        "second/sub/p.h",
        "a.o",
        "b.o",
        "first/neighbour.h",
        "second/neighbour.h",
        "second/sub/neighbour",
    ];
    const TEXTS: [&str; 6] = [
        "",
        "#include \"x.h\"\n",
        "#include_next <x.h>\n",
        "#include <sub/y.h>\n#include \"none.h\"\n",
        "#define Q __has_include\n#if Q(<z.h>)\n#endif\n",
        "#include \"/dev/null\"\n",
    ];
    let path = |number: usize| fixture.os_path(PATHS[number % PATHS.len()]);
    let text = TEXTS[other % TEXTS.len()];
    // What is impossible now changes nothing.
    let _ = match kind % 8 {
        0 => fs::write(path(one), text),
        1 => fs::remove_file(path(one)),
        2 => fs::rename(path(one), path(other)),
        3 => fs::hard_link(path(one), path(other)),
        4 => symlink("x.h", path(one)),
        5 => fs::create_dir(path(one)),
        6 => fs::write(path(17), text).and_then(|()| fs::rename(path(17), path(one))),
        _ => fs::set_permissions(path(one), fs::Permissions::from_mode(0o755)),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn what_is_remembered_is_what_would_be_found(
        steps in prop::collection::vec((any::<Change>(), any::<u8>()), 1..16),
    ) {
        let fixture = fixture();
        for (change, step) in steps {
            apply(&fixture, change);
            if step % 4 == 0 && fixture.os_path("a.c").is_file() && fixture.try_discover(|_| {}).is_ok() {
                fixture.settle();
            }
            let source: &[u8] = if step % 2 == 0 { b"b.c" } else { b"a.c" };
            // That both fail alike counts as well.
            let _ = fixture.try_discover(|request| request.source = source);
        }
    }
}
