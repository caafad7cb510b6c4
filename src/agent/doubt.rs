//! PURE. Whether a compile that failed on a builder may have failed because of what the builder was told while it ran.
//! Knows the closure of the compile and the builder's table; never reads a file.
//!
//! Units share a mirror: while one runs, others have names told for themselves. Its failure is the source's own where
//! nothing of that can have made it fail in another way than here. A closure, which is validated before and after, says
//! which names a compile asks for and what else was in the directories it looks in:
//!
//! - A name that it *has* cannot appear any more. Whatever else becomes of it is a doubt.
//! - A name that it looked up *in vain* is a doubt if anything is there: `__has_include` may have found it, or a search
//!   that ends in a later directory here. It is asked for by itself, since appearing alone is no sign.
//! - *Any other* name is asked for only by a lookup that the scanner missed. Where it [appears](Table#appearances) in a
//!   directory that is listed, that lookup finds what the client has; or poison, which no failure that is shown has
//!   met, since an assembler, which passes it over in silence, is given only names that the scanner saw; or nothing, as
//!   the client had before. The compiler here finds the same of a file that comes while it runs.
//!   Any other change in a directory of the closure is a doubt. A directory that appears, say, lets the missed lookup fail silently until what is in
//!   it is told, and in a directory that is not listed a name may have been missing that the client had all along.

use super::table::Table;
use super::telling::Told;
use crate::inputs::closure::Object;
use crate::inputs::kept::Kept;

/// A path that may be why the compile of `kept` failed, which ran where `position` records of `table` were known before.
/// A closure of computed names does not say which names its compile asks for.
pub fn doubt(table: &Table, kept: &Kept, position: u64) -> Option<Vec<u8>> {
    let is_directory = |object: &Object| matches!(object, Object::Directory { .. });
    let directories = kept.items.iter().filter(|item| is_directory(&item.object));
    let mut directories = directories.map(|item| &*item.path).chain([&b"/"[..]]);
    let changed = directories.find(|directory| {
        table.is_touched(directory, position)
            && (!kept.is_listed(directory) || table.is_disturbed(directory, position))
    });
    let appeared = || kept.absent_paths().find(|path| table.has(path));
    changed.map(<[u8]>::to_vec).or_else(appeared)
}

/// Whether a failure is the source's own: the table it ran with, of `epoch`, is that of which `found` says what
/// [`doubt`] found. Of one that was given up meanwhile nothing is known.
pub fn is_certain(epoch: u64, found: &Told<Option<Vec<u8>>>) -> bool {
    found.epoch == epoch && found.value.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use quicc_protocol::BlobDigest;

    use crate::agent::table::{self, State};
    use crate::inputs::closure::Closure;
    use crate::inputs::tree::{EntryKind, Listed, Listing, StatTuple, Tree};

    fn stat(mode: u32) -> StatTuple {
        StatTuple {
            dev: 1,
            ino: 1,
            size: 3,
            mtime_ns: 5,
            ctime_ns: 5,
            mode,
            nlink: 1,
            news: 0,
        }
    }

    fn listed(names: &[&str]) -> Listed {
        let names = names.iter().map(|name| (name.as_bytes().into(), EntryKind::File));
        Listed {
            stat: stat(0o040_755),
            settled: true,
            listing: Arc::new(Listing {
                names: names.collect(),
                has_precompiled: false,
            }),
        }
    }

    /// The closure of a unit in `/s` that has `a.h`, looked for `b.h` there and for `c.h` in `/s/i` in vain, and lists all
    /// directories but `/s/u`.
    fn kept() -> Kept {
        let directory = Object::Directory {
            stat: stat(0o040_755),
        };
        let file = Object::File {
            stat: stat(0o100_644),
            digest: [7; 32],
            executable: false,
            settled: true,
            scanned: true,
        };
        let objects = [
            (&b"/s"[..], directory.clone()),
            (b"/s/a.h", file),
            (b"/s/i", directory.clone()),
            (b"/s/p", directory.clone()),
            (b"/s/u", directory),
        ];
        let absent = [(&b"/s"[..], &b"b.h"[..]), (b"/s/i", b"c.h")];
        let mut closure = Closure {
            absent: absent
                .map(|(path, name)| (path.into(), std::iter::once(name).collect()))
                .into(),
            listed: ["/", "/s", "/s/i", "/s/p"]
                .map(|path| (path.as_bytes().into(), listed(&[])))
                .into(),
            ..Closure::default()
        };
        for (path, object) in objects {
            closure.put(path, object);
        }
        Kept::new(&Tree::new(), closure)
    }

    fn tell(table: &mut Table, paths: &[(&str, State)], listings: &[(&str, &[&str])]) {
        let stats = paths.iter().map(|(_, state)| match state {
            State::Directory => stat(0o040_755),
            State::File(_) => stat(0o100_644),
            State::Symlink(_) => stat(0o120_777),
        });
        let stats: Vec<_> = stats.collect();
        let objects = paths
            .iter()
            .zip(&stats)
            .map(|((path, state), stat)| table::Object {
                path: path.as_bytes(),
                state,
                stat,
            });
        let listings = listings.iter().map(|(path, names)| (*path, listed(names)));
        let listings: Vec<_> = listings.collect();
        let listings = listings.iter().map(|(path, listed)| (path.as_bytes(), listed));
        table.cover(objects, listings, &|_, _| false).unwrap();
        table.take_records();
    }

    fn file() -> State {
        State::File(BlobDigest::from_bytes([7; 32]))
    }

    /// A table that was told the unit's files, and a directory of nobody's.
    fn told() -> Table {
        let mut table = Table::new();
        let directories = ["/s", "/s/i", "/s/p", "/s/u", "/o"].map(|path| (path, State::Directory));
        tell(&mut table, &directories, &[]);
        tell(
            &mut table,
            &[("/s/a.h", file())],
            &[("/s", &["a.h", "i", "p", "u"])],
        );
        table
    }

    #[test]
    fn a_failure_is_in_doubt_by_what_it_may_have_seen() {
        let kept = kept();
        let check = |paths: &[(&str, State)], listed: &[(&str, &[&str])], expected: Option<&str>| {
            let mut table = told();
            let position = table.position();
            assert_eq!(doubt(&table, &kept, position), None);
            tell(&mut table, paths, listed);
            let doubtful = doubt(&table, &kept, position).map(|path| String::from_utf8(path).unwrap());
            assert_eq!(doubtful.as_deref(), expected, "{paths:?} {listed:?}");
        };
        check(&[("/s/x.h", file()), ("/s/p/x.h", file())], &[], None);
        check(&[], &[("/s", &["a.h", "i", "p", "u", "x.h"])], None);
        check(&[("/s/u/x.h", file())], &[], Some("/s/u"));
        check(&[], &[("/s/u", &["x.h"])], Some("/s/u"));
        for place in ["/s", "/s/p", ""] {
            let (above, path) = (if place.is_empty() { "/" } else { place }, format!("{place}/d"));
            check(&[(&path, State::Directory)], &[], Some(above));
            check(&[(&path, State::Symlink(b"x".to_vec()))], &[], Some(above));
        }
        check(&[("/o/d", State::Directory)], &[], None);
        check(
            &[("/s/a.h", State::File(BlobDigest::of(b"other")))],
            &[],
            Some("/s"),
        );
        check(&[], &[("/s", &["i", "p", "u"])], Some("/s"));
        for path in ["/s/b.h", "/s/i/c.h"] {
            check(&[(path, file())], &[], Some(path));
        }
        check(&[], &[("/s/i", &["c.h"])], Some("/s/i/c.h"));
    }

    #[test]
    fn what_was_told_before_it_ran_is_no_doubt_and_what_came_and_went_is() {
        let (kept, mut table) = (kept(), told());
        tell(&mut table, &[("/s/d", State::Directory)], &[]);
        let position = table.position();
        assert_eq!(doubt(&table, &kept, position), None);
        tell(&mut table, &[("/s/b.h", file())], &[]);
        table.forget(b"/s/b.h", None);
        assert_eq!(doubt(&table, &kept, position), Some(b"/s".to_vec()));
    }

    #[test]
    fn nothing_is_certain_of_a_table_that_was_given_up() {
        let found = |epoch, path: Option<&str>| Told {
            epoch,
            position: 9,
            value: path.map(|path| path.as_bytes().to_vec()),
        };
        assert!(is_certain(3, &found(3, None)));
        assert!(!is_certain(3, &found(3, Some("/s"))));
        assert!(!is_certain(3, &found(4, None)), "begun anew meanwhile");
    }
}
