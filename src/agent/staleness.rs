//! What a builder was told of and is no longer so: it is looked for and taken back. When, [`super::sweeps`] decides.

use std::collections::BTreeSet;

use quicc_protocol::message::table::PoisonKind;

use super::link::Link;
use super::sweeps::Looked;
use super::table::Table;
use super::telling::Told;
use crate::inputs::tree::{StatTuple, Tree, join};

/// Changed names that are compared with what was told on a thread that others wait for; more are left to another.
const CHANGES_AT_ONCE: usize = 64;
/// The same of what was told since the last look.
const FRESH_AT_ONCE: usize = 512;

/// Takes back every path a builder was told that is no longer what it was: a stale file must fail loudly,
/// also for a compile that reaches it unforeseen. Blocking.
pub fn sweep(link: &Link, tree: &Tree) {
    tree.refresh();
    let told = link.tell(|table| Ok(all_told(table, |_, _| true)));
    if let Ok(Told { value: told, .. }) = told {
        take_back(link, tree, &told);
    }
}

/// The same, but believes watches, and looks at no more than what was told or taken back by them since the last such
/// look: cheap enough for every unit. Blocking.
pub fn sweep_unwatched(link: &Link, tree: &Tree) {
    // Held to the end: whoever comes meanwhile must not take the work for done.
    let mut looked = link.looked();
    let Looked { mark, unproven } = std::mem::take(&mut *looked);
    let changes = mark.and_then(|mark| tree.changes_since(mark));
    let mark = changes
        .as_ref()
        .map_or_else(|| tree.refresh(), |changes| Some(changes.mark));
    let is_doubtful = |path: &[u8], told: &StatTuple| is_doubtful(tree, path, told);
    let doubtful = link.tell(|table| {
        let fresh = table.take_fresh();
        let Some(changes) = &changes else {
            return Ok(all_told(table, is_doubtful));
        };
        let lost = changes
            .names
            .iter()
            .map(|changed| join(&changed.directory, &changed.name));
        let paths: BTreeSet<_> = unproven.iter().cloned().chain(fresh).chain(lost).collect();
        let told = paths.into_iter().filter_map(|path| {
            let told = *table.stat(&path)?;
            is_doubtful(&path, &told).then_some((path, told))
        });
        Ok(told.collect())
    });
    let Ok(Told { value: doubtful, .. }) = doubtful else {
        return;
    };
    take_back(link, tree, &doubtful);
    let unproven = doubtful
        .into_iter()
        .filter(|(path, told)| is_doubtful(path, told));
    *looked = Looked {
        mark,
        unproven: unproven.map(|(path, _)| path).collect(),
    };
}

/// Whether such a look has nothing to look at: watches prove all that was told since the last one, and all that changed
/// since and was told. Then it counts as one. Looks at no file and waits for no other look.
pub fn is_swept(link: &Link, tree: &Tree) -> bool {
    let Some(mut looked) = link.looked_if_idle() else {
        return false;
    };
    let changes = looked.mark.and_then(|mark| tree.changes_since_at_once(mark));
    let Some(changes) = changes.filter(|changes| changes.names.len() <= CHANGES_AT_ONCE) else {
        return false;
    };
    if !looked.unproven.is_empty() {
        return false;
    }
    let is_proven = link.tell_at_once(|table| {
        let changed = changes.names.iter().map(|name| join(&name.directory, &name.name));
        let mut paths = changed.chain(table.fresh().iter().cloned());
        let is_proven = table.fresh().len() <= FRESH_AT_ONCE
            && !paths.any(|path| {
                table
                    .stat(&path)
                    .is_some_and(|told| is_doubtful(tree, &path, told))
            });
        if is_proven {
            table.take_fresh();
        }
        Ok(is_proven)
    });
    let is_swept = matches!(is_proven, Some(Ok(Told { value: true, .. })));
    if is_swept {
        looked.mark = Some(changes.mark);
    }
    is_swept
}

/// Whether watches do not prove that what was `told` of a path is so.
fn is_doubtful(tree: &Tree, path: &[u8], told: &StatTuple) -> bool {
    let proven = tree.proven(path).flatten();
    !proven.is_some_and(|now| is_unchanged(told, &now))
}

/// What was told, as far as it `is_wanted`.
fn all_told(table: &Table, is_wanted: impl Fn(&[u8], &StatTuple) -> bool) -> Vec<(Vec<u8>, StatTuple)> {
    let wanted = table.told().filter(|(path, told)| is_wanted(path, told));
    wanted.map(|(path, told)| (path.to_vec(), *told)).collect()
}

/// Takes back those of the `told` paths that are no longer what they were.
fn take_back(link: &Link, tree: &Tree, told: &[(Vec<u8>, StatTuple)]) {
    // Not under the table's lock: a file system may answer slowly, and every other unit has something to tell.
    let stale: Vec<_> = told
        .iter()
        .filter_map(|(path, told)| {
            let instead = what_instead(told, tree.stat(path))?;
            Some((path, told, instead))
        })
        .collect();
    if stale.is_empty() {
        return;
    }
    let _ = link.tell(|table| {
        for &(path, told, exists) in &stale {
            if table.stat(path) == Some(told) {
                table.forget(path, exists);
            }
        }
        Ok(())
    });
}

/// What stands at a told path now, if it is not what was told: poison or, as the inner `None`, nothing.
fn what_instead<E>(told: &StatTuple, now: Result<Option<StatTuple>, E>) -> Option<Option<PoisonKind>> {
    match now {
        Ok(Some(now)) if is_unchanged(told, &now) => None,
        Ok(Some(now)) => Some(Some(poison_kind(&now))),
        Ok(None) => Some(None),
        // It cannot be looked at: a compile that reaches it must fail loudly too, never find nothing.
        Err(_) => Some(Some(poison_kind(told))),
    }
}

fn is_unchanged(told: &StatTuple, now: &StatTuple) -> bool {
    // A directory's own times change with every file beside it.
    told == now || (told.is_directory() && now.is_directory())
}

fn poison_kind(stat: &StatTuple) -> PoisonKind {
    if stat.is_directory() {
        PoisonKind::Directory
    } else {
        PoisonKind::Link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_poison_and_not_absent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let told = StatTuple::from(&file.path().metadata().unwrap());
        assert_eq!(what_instead(&told, Ok::<_, ()>(Some(told))), None);
        assert_eq!(what_instead(&told, Ok::<_, ()>(None)), Some(None));
        assert_eq!(what_instead(&told, Err(())), Some(Some(PoisonKind::Link)));
    }
}
