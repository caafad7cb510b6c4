//! Whether what a closure says of the client's files still holds.
//!
//! Run before a remembered closure is used and again before a result is published. A directory that changed
//! is listed again and only the names some lookup asked for are judged: a build that writes its objects
//! beside its headers changes directories all the time.

use std::collections::BTreeSet;

use super::closure::{Closure, Object};
use super::tree::{Listed, Listing, Tree, TreeError, join, precompiled_header_of};

/// What [`validate`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validity {
    /// The compile would read the same files.
    Unchanged,
    /// It might not.
    Changed {
        /// The first physical path found different.
        path: Vec<u8>,
    },
}

/// Compares `closure` with the client's files. What cannot be examined any more counts as changed.
pub fn validate(tree: &Tree, closure: &Closure) -> Validity {
    tree.refresh();
    let objects = closure
        .objects
        .iter()
        .find(|(path, object)| !holds(tree, path, object).unwrap_or(false));
    if let Some((path, _)) = objects {
        return Validity::Changed { path: path.clone() };
    }
    let nothing = BTreeSet::new();
    for (path, listed) in &closure.listed {
        let absent = closure.absent.get(path).unwrap_or(&nothing);
        match changed_name(tree, closure, path, listed, absent) {
            Ok(None) => {}
            Ok(Some(name)) => {
                return Validity::Changed {
                    path: join(path, &name),
                };
            }
            Err(_) => return Validity::Changed { path: path.clone() },
        }
    }
    let unlisted = closure
        .absent
        .iter()
        .filter(|(path, _)| !closure.listed.contains_key(*path));
    for path in unlisted.flat_map(|(path, names)| names.iter().map(|name| join(path, name))) {
        if !matches!(tree.stat(&path), Ok(None)) {
            return Validity::Changed { path };
        }
    }
    Validity::Unchanged
}

fn holds(tree: &Tree, path: &[u8], object: &Object) -> Result<bool, TreeError> {
    let Some(now) = tree.stat(path)? else {
        return Ok(false);
    };
    Ok(match object {
        // Its names are judged one by one.
        Object::Directory { stat } => now.is_same_inode(stat),
        Object::File {
            stat,
            digest,
            settled,
            ..
        } => now == *stat && (*settled || tree.content(path, &now)?.digest == *digest),
        Object::Symlink { target, stat } => now == *stat && tree.link_target(path)? == *target,
    })
}

/// A name that was looked up in vain in `path` and is there now.
fn changed_name(
    tree: &Tree,
    closure: &Closure,
    path: &[u8],
    listed: &Listed,
    absent: &BTreeSet<Vec<u8>>,
) -> Result<Option<Vec<u8>>, TreeError> {
    if listed.settled && tree.stat(path)? == Some(listed.stat) {
        return Ok(None);
    }
    let now = tree.listing(path)?.listing;
    if let Some(name) = absent.iter().find(|name| now.names.contains_key(*name)) {
        return Ok(Some(name.clone()));
    }
    let was_asked_for =
        |header: &[u8]| absent.contains(header) || closure.objects.contains_key(&join(path, header));
    Ok(new_precompiled(&listed.listing, &now, was_asked_for))
}

/// A precompiled header that was not there before, of a header `was_asked_for`: compilers probe for it
/// unasked.
fn new_precompiled(
    before: &Listing,
    now: &Listing,
    was_asked_for: impl Fn(&[u8]) -> bool,
) -> Option<Vec<u8>> {
    if !now.has_precompiled {
        return None;
    }
    let mut added = now.names.keys().filter(|name| !before.names.contains_key(*name));
    added
        .find(|name| precompiled_header_of(name).is_some_and(&was_asked_for))
        .cloned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::inputs::closure::Fixture;

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
            assert_eq!(
                validate(&fixture.tree, &closure),
                Validity::Unchanged,
                "{what}: before"
            );
            change(&fixture);
            let expected = expected.map_or(Validity::Unchanged, |path| Validity::Changed {
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
            assert_eq!(validate(&fixture.tree, &closure), Validity::Unchanged, "{what}: watched, before");
        }
        change(&fixture);
        let expected = expected.map_or(Validity::Unchanged, |path| Validity::Changed {
            path: fixture.path(path),
        });
        for _ in 0..2 {
            assert_eq!(validate(&fixture.tree, &closure), expected, "{what}: watched, after");
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
        check(Validity::Unchanged);
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
        assert_eq!(validate(&fixture.tree, &closure), Validity::Unchanged);
        fs::remove_file(fixture.os_path("link")).unwrap();
        symlink("two", fixture.os_path("link")).unwrap();
        assert_eq!(
            validate(&fixture.tree, &closure),
            Validity::Changed {
                path: fixture.path("link")
            }
        );
    }
}
