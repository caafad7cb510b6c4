//! Whether what a closure says of the client's files still holds, and what of it can be kept if not all does.
//!
//! Run before a remembered closure is used and again before a result is published. A directory that changed
//! is listed again and only the names some lookup asked for are judged: a build that writes its objects
//! beside its headers changes directories all the time.

use std::sync::Arc;

use super::closure::Object;
use super::kept::{Item, Kept};
use super::tree::{Listed, Listing, Mark, Tree, TreeError, join, may_be_mapped, precompiled_header_of};

/// What [`validate`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validity {
    /// The compile would read the same files.
    Unchanged {
        /// As long as [`Tree::refresh`] gives this mark and [`mapped_files_hold`], it stays so. `None` where watches do
        /// not see everything.
        proof: Option<Mark>,
    },
    /// It might not.
    Changed {
        /// The first physical path found different.
        path: Vec<u8>,
    },
}

/// Compares `kept` with the client's files. What cannot be examined any more counts as changed.
pub fn validate(tree: &Tree, kept: &Kept) -> Validity {
    let mark = tree.refresh();
    match examine(tree, kept) {
        Ok(Examined { edited }) if edited.is_empty() => Validity::Unchanged {
            proof: mark.filter(|_| is_proven(tree, kept)),
        },
        Ok(Examined { edited }) => Validity::Changed {
            path: edited
                .first()
                .and_then(|index| kept.items.get(*index))
                .map_or_else(Vec::new, |item| item.path.to_vec()),
        },
        Err(path) => Validity::Changed { path },
    }
}

/// A closure that holds now, made of one that held before.
#[derive(Debug)]
pub enum Revision {
    /// It holds as it is, or with newer listings, or with other bytes in files that refer to the same names.
    Holds {
        /// The closure now.
        kept: Arc<Kept>,
        /// As in [`Validity::Unchanged`].
        proof: Option<Mark>,
    },
    /// Other names may be looked up, or other files found: it must be discovered anew.
    Other,
}

/// Brings `kept` up to date where that takes no discovery. `is_ours` says of a name in a directory that quicc
/// published it, so that no lookup unforeseen will ask for it.
pub fn revise(tree: &Tree, kept: &Arc<Kept>, is_ours: &dyn Fn(&[u8], &[u8]) -> bool) -> Revision {
    let mark = tree.refresh();
    let Ok(examined) = examine(tree, kept) else {
        return Revision::Other;
    };
    let Some(edited) = reread(tree, kept, &examined.edited) else {
        return Revision::Other;
    };
    let Some(listed) = relist(tree, kept, is_ours) else {
        return Revision::Other;
    };
    let kept = if edited.is_empty() && listed.is_empty() {
        Arc::clone(kept)
    } else {
        let mut revised = Kept::clone(kept);
        if !edited.is_empty() {
            revised.replace(edited);
        }
        for (index, listed) in listed {
            revised.listed[index].1 = listed;
        }
        Arc::new(revised)
    };
    let proof = mark.filter(|_| is_proven(tree, &kept));
    Revision::Holds { kept, proof }
}

/// What differs and yet leaves every lookup as it was.
struct Examined {
    /// Files with other bytes or attributes, by index.
    edited: Vec<usize>,
}

/// Looks at everything. `Err` names the first path by which a lookup would end otherwise.
fn examine(tree: &Tree, kept: &Kept) -> Result<Examined, Vec<u8>> {
    let mut edited = Vec::new();
    for (index, item) in kept.items.iter().enumerate() {
        match compare(tree, &item.path, &item.object) {
            Ok(Standing::Same) => {}
            Ok(Standing::Edited) => edited.push(index),
            Ok(Standing::Other) | Err(_) => return Err(item.path.to_vec()),
        }
    }
    for (path, listed) in &kept.listed {
        match changed_name(tree, kept, path, listed) {
            Ok(None) => {}
            Ok(Some(name)) => return Err(join(path, &name)),
            Err(_) => return Err(path.to_vec()),
        }
    }
    let unlisted = kept.absent.iter().filter(|(path, _)| !kept.is_listed(path));
    for path in unlisted.flat_map(|(path, names)| names.iter().map(|name| join(path, name))) {
        if !matches!(tree.stat(&path), Ok(None)) {
            return Err(path);
        }
    }
    Ok(Examined { edited })
}

enum Standing {
    Same,
    /// A scanned file as before, with other bytes or attributes.
    Edited,
    Other,
}

fn compare(tree: &Tree, path: &[u8], object: &Object) -> Result<Standing, TreeError> {
    let Some(now) = tree.stat(path)? else {
        return Ok(Standing::Other);
    };
    let (same, otherwise) = match object {
        // Its names are judged one by one.
        Object::Directory { stat } => (now.is_same_inode(stat), Standing::Other),
        Object::File {
            stat,
            digest,
            settled,
            scanned,
            ..
        } => {
            let same = now == *stat && (*settled || tree.content(path, &now)?.digest == *digest);
            let is_text = now.is_file() && *scanned;
            (
                same,
                if is_text {
                    Standing::Edited
                } else {
                    Standing::Other
                },
            )
        }
        Object::Symlink { target, stat } => (
            now == *stat && (tree.is_proven(path) || tree.link_target(path)? == *target),
            Standing::Other,
        ),
    };
    Ok(if same { Standing::Same } else { otherwise })
}

/// The edited files as they are now; `None` if one refers to other names than before, or if what it refers to
/// says less than its text: if a macro may decide what is read that one defines or defined.
fn reread(tree: &Tree, kept: &Kept, edited: &[usize]) -> Option<Vec<(usize, Arc<Item>)>> {
    // A computed name may depend on any byte.
    if (kept.computed || kept.aliased_probe) && !edited.is_empty() {
        return None;
    }
    edited
        .iter()
        .map(|&index| {
            let item = kept.items.get(index)?;
            let Object::File { digest, .. } = &item.object else {
                return None;
            };
            let before = tree.references_of(digest)?;
            let now = tree.stat(&item.path).ok()??;
            let (content, references) = tree.scanned(&item.path, &now).ok()?;
            let object = Object::File {
                stat: content.stat,
                digest: content.digest,
                executable: content.stat.is_executable(),
                settled: content.settled,
                scanned: true,
            };
            let defines = |name: &[u8]| before.defined.may_hold(name) || references.defined.may_hold(name);
            let refers_alike = references.refers_as(&before) && !kept.expanded.iter().any(defines);
            refers_alike.then(|| (index, tree.share(item.path.to_vec(), object)))
        })
        .collect()
}

/// Newer listings of directories in which nothing came or went that a lookup asked for; `None` where names are
/// computed and one appeared that is not ours.
fn relist(tree: &Tree, kept: &Kept, is_ours: &dyn Fn(&[u8], &[u8]) -> bool) -> Option<Vec<(usize, Listed)>> {
    let mut newer = Vec::new();
    for (index, (path, before)) in kept.listed.iter().enumerate() {
        let now = tree.listing(path).ok()?;
        if Arc::ptr_eq(&now.listing, &before.listing) {
            continue;
        }
        let appeared = |name: &&Vec<u8>| !before.listing.names.contains_key(*name);
        if kept.computed
            && now
                .listing
                .names
                .keys()
                .filter(appeared)
                .any(|name| !is_ours(path, name))
        {
            return None;
        }
        newer.push((index, now));
    }
    Some(newer)
}

/// Whether the files still stand that may change without a word to their watches, while a proof of all else holds.
pub fn mapped_files_hold(tree: &Tree, kept: &Kept) -> bool {
    let mut mapped = kept.items.iter().filter(|item| may_be_mapped(&item.path));
    mapped.all(|item| match &item.object {
        Object::File { stat, settled, .. } => {
            *settled && matches!(tree.stat(&item.path), Ok(Some(now)) if now == *stat)
        }
        Object::Directory { .. } | Object::Symlink { .. } => true,
    })
}

/// Whether every word of the kernel that `kept` rests on is watched.
fn is_proven(tree: &Tree, kept: &Kept) -> bool {
    kept.items.iter().all(|item| tree.is_proven(&item.path))
        && kept.listed.iter().all(|(path, _)| tree.is_proven(path))
        && kept
            .absent
            .iter()
            .filter(|(path, _)| !kept.is_listed(path))
            .all(|(path, names)| names.iter().all(|name| tree.is_proven(&join(path, name))))
}

/// A name that was looked up in vain in `path` and is there now.
fn changed_name(
    tree: &Tree,
    kept: &Kept,
    path: &[u8],
    listed: &Listed,
) -> Result<Option<Vec<u8>>, TreeError> {
    if listed.settled && tree.stat(path)? == Some(listed.stat) {
        return Ok(None);
    }
    let now = tree.listing(path)?.listing;
    let absent = kept.absent_in(path);
    if let Some(name) = absent
        .into_iter()
        .flat_map(|names| names.iter())
        .find(|name| now.names.contains_key(*name))
    {
        return Ok(Some(name.to_vec()));
    }
    let was_asked_for = |header: &[u8]| {
        absent.is_some_and(|names| names.contains(header)) || kept.get(&join(path, header)).is_some()
    };
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
    fn revised(computed: bool, change: impl Fn(&Fixture)) -> (Fixture, Revision) {
        let mut fixture = fixture();
        fixture.tree = Tree::watching();
        fixture.settle();
        let closure = Closure {
            computed,
            ..fixture.discover()
        };
        let kept = Arc::new(Kept::new(&fixture.tree, closure));
        change(&fixture);
        let is_ours = |_: &[u8], name: &[u8]| name == b"a.o";
        let revision = revise(&fixture.tree, &kept, &is_ours);
        (fixture, revision)
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
    fn what_takes_no_discovery_is_brought_up_to_date() {
        let check = |what: &str, computed, change: &dyn Fn(&Fixture), expected: bool| {
            let (fixture, revision) = revised(computed, change);
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
            assert_eq!(holds, expected, "{what}, computed: {computed}");
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
                revise(&fixture.tree, &kept, &|_, _| false),
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
        let revision = revise(&fixture.tree, &kept, &|_, _| false);
        assert!(matches!(revision, Revision::Other), "{revision:?}");
    }

    #[test]
    fn a_proof_ends_with_any_change_of_what_it_rests_on() {
        let (fixture, revision) = revised(false, |_| {});
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
}
