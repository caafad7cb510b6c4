//! Whether what a closure says of the client's files still holds, and what of it can be kept if not all does.
//!
//! Run before a remembered closure is used and again before a result is published. A directory that changed
//! is listed again and only the names some lookup asked for are judged: a build that writes its objects
//! beside its headers changes directories all the time.

use std::cell::Cell;
use std::sync::Arc;

use super::closure::{Item, Object};
use super::kept::Kept;
use super::tree::{
    ChangedName, Changes, FOLLOWED_NAMES, Listed, Listing, Mark, Scanned, Tree, TreeError, join,
    precompiled_header_of,
};

/// Files that are looked at on a thread that others wait for; with more another does it.
const LOOKED_AT_ONCE: usize = 256;

/// What [`validate`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validity {
    /// The compile would read the same files.
    Unchanged {
        /// [`still_holds`] takes it. `None` where watches do not see everything.
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
            proof: mark.filter(|mark| is_proven(tree, kept, *mark)),
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

/// What proves that `kept` holds which was found since `mark`, without another look at its files: that all it says is
/// what watches say. `None` where they cannot, or say otherwise.
pub fn prove(tree: &Tree, kept: &Kept, mark: Mark) -> Option<Mark> {
    let is_as_found = |item: &Arc<Item>| match &item.object {
        Object::Directory { stat } => tree.is_directory_proven(&item.path, stat),
        Object::File { stat, settled, .. } => *settled && tree.proven(&item.path) == Some(Some(*stat)),
        Object::Symlink { stat, .. } => tree.proven(&item.path) == Some(Some(*stat)),
    };
    let is_proven = kept.items.iter().all(is_as_found)
        && kept
            .listed
            .iter()
            .all(|(path, _)| tree.is_listing_proven(path, mark))
        && unlisted_absences(kept).all(|path| tree.proven(&path) == Some(None));
    is_proven.then_some(mark)
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

/// Whether the files of `kept` that somebody may have mapped are so few that a thread may look at them that others wait
/// for.
pub fn is_looked_at_in_no_time(kept: &Kept) -> bool {
    kept.mapped().count() <= LOOKED_AT_ONCE
}

/// Whether `kept` holds that held as of `proof`, and a newer proof: without a look at anything but files that
/// somebody may have mapped. `None` if that cannot be told so quickly.
pub fn still_holds(tree: &Tree, kept: &Kept, proof: Mark) -> Option<Mark> {
    let changes = changes_beside(kept, tree.changes_since_at_once(proof)?)?;
    mapped_files_hold(tree, kept).then_some(changes.mark)
}

/// The same where of those files only the `doubtful` may have changed: no other is looked at.
pub fn still_holds_if(tree: &Tree, kept: &Kept, proof: Mark, doubtful: &[&Item]) -> Option<Mark> {
    let changes = changes_beside(kept, tree.changes_since_at_once(proof)?)?;
    let holds = doubtful.iter().all(|item| mapped_file_holds(tree, item));
    holds.then_some(changes.mark)
}

/// A newer proof for `kept`, if of all that `changes` say since it held nothing concerns it, nor came or went in a
/// directory that it lists.
pub fn untouched(tree: &Tree, kept: &Kept, changes: Changes) -> Option<Mark> {
    let changes = changes_beside(kept, changes)?;
    let mut directories = changes.names.iter().map(|changed| &*changed.directory);
    let is_untouched = !directories.any(|directory| kept.is_listed(directory));
    (is_untouched && mapped_files_hold(tree, kept)).then_some(changes.mark)
}

/// [`revise`], for a thread that others wait for, if it [may look at the files](is_looked_at_in_no_time): `None` if that
/// takes a look at more than those that somebody may have mapped, and a few names that came or went in its directories.
pub fn revise_at_once(
    tree: &Tree,
    kept: &Arc<Kept>,
    proof: Mark,
    is_ours: &dyn Fn(&[u8], &[u8]) -> bool,
) -> Option<(Arc<Kept>, Mark)> {
    let mark = still_holds(tree, kept, proof)?;
    let left = Cell::new(FOLLOWED_NAMES);
    let listed = relist(kept, |path| tree.listing_at_once(path, &left), is_ours)?;
    Some((renewed(kept, Vec::new(), listed), mark))
}

/// Brings `kept` up to date where that takes no discovery; `proof` is what proved that it held, if anything did.
/// `is_ours` says of a name in a directory that quicc published it, so that no lookup unforeseen will ask for it.
pub fn revise(
    tree: &Tree,
    kept: &Arc<Kept>,
    proof: Option<Mark>,
    is_ours: &dyn Fn(&[u8], &[u8]) -> bool,
) -> Revision {
    let listing = |path: &[u8]| tree.listing(path).ok();
    let changes = proof.and_then(|proof| tree.changes_since(proof));
    let beside = changes.and_then(|changes| changes_beside(kept, changes));
    if let Some(Changes { mark, .. }) = beside.filter(|_| mapped_files_hold(tree, kept)) {
        // Its listings may be older than the proof, which outlasts names that nobody asked for.
        return match relist(kept, listing, is_ours) {
            Some(listed) => Revision::Holds {
                kept: renewed(kept, Vec::new(), listed),
                proof: Some(mark),
            },
            None => Revision::Other,
        };
    }
    let mark = tree.refresh();
    let Ok(examined) = examine(tree, kept) else {
        return Revision::Other;
    };
    let Some(edited) = reread(tree, kept, &examined.edited) else {
        return Revision::Other;
    };
    let Some(listed) = relist(kept, listing, is_ours) else {
        return Revision::Other;
    };
    let kept = renewed(kept, edited, listed);
    let proof = mark.filter(|mark| is_proven(tree, &kept, *mark));
    Revision::Holds { kept, proof }
}

/// `kept` with files and listings, by index, as they are now.
fn renewed(kept: &Arc<Kept>, edited: Vec<(usize, Arc<Item>)>, listed: Vec<(usize, Listed)>) -> Arc<Kept> {
    if edited.is_empty() && listed.is_empty() {
        return Arc::clone(kept);
    }
    let mut renewed = Kept::clone(kept);
    if !edited.is_empty() {
        renewed.replace(edited);
    }
    for (index, listed) in listed {
        renewed.listed[index].1 = listed;
    }
    Arc::new(renewed)
}

/// The `changes` since something proved that `kept` held, if nothing of them is a name that `kept` is about.
fn changes_beside(kept: &Kept, changes: Changes) -> Option<Changes> {
    let concerns = |ChangedName { directory, name }: &ChangedName| {
        kept.get(&join(directory, name)).is_some()
            || kept
                .absent_in(directory)
                .is_some_and(|absent| absent.contains(name))
            // Compilers probe for these unasked.
            || precompiled_header_of(name).is_some()
    };
    (!changes.names.iter().any(concerns)).then_some(changes)
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
    for path in unlisted_absences(kept) {
        if !matches!(tree.stat(&path), Ok(None)) {
            return Err(path);
        }
    }
    Ok(Examined { edited })
}

/// The paths looked up in vain in directories that are not listed.
fn unlisted_absences(kept: &Kept) -> impl Iterator<Item = Vec<u8>> {
    let unlisted = kept.absent.iter().filter(|(path, _)| !kept.is_listed(path));
    unlisted.flat_map(|(path, names)| names.iter().map(|name| join(path, name)))
}

enum Standing {
    Same,
    /// A scanned file as before, with other bytes or attributes.
    Edited,
    Other,
}

fn compare(tree: &Tree, path: &Arc<[u8]>, object: &Object) -> Result<Standing, TreeError> {
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
            now == *stat && tree.link_target(path, &now)? == *target,
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
            let Scanned { item, references, .. } = tree.scanned(&item.path, &now).ok()?;
            let defines = |name: &[u8]| before.defined.may_hold(name) || references.defined.may_hold(name);
            let refers_alike = references.refers_as(&before) && !kept.expanded.iter().any(defines);
            refers_alike.then_some((index, item))
        })
        .collect()
}

/// Newer listings of directories, as `listing` gives them; `None` where it gives none, where a name appeared that a
/// lookup asked for, or where names are computed and one appeared that is not ours.
fn relist(
    kept: &Kept,
    listing: impl Fn(&[u8]) -> Option<Listed>,
    is_ours: &dyn Fn(&[u8], &[u8]) -> bool,
) -> Option<Vec<(usize, Listed)>> {
    let mut newer = Vec::new();
    for (index, (path, before)) in kept.listed.iter().enumerate() {
        let now = listing(path)?;
        if Arc::ptr_eq(&now.listing, &before.listing) {
            continue;
        }
        let appeared = |name: &&Arc<[u8]>| !before.listing.names.contains_key(&***name);
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
        // It may be later than all that was examined.
        if appeared_name(kept, path, &before.listing, &now.listing).is_some() {
            return None;
        }
        newer.push((index, now));
    }
    Some(newer)
}

/// Whether the files still stand that may change without a word to their watches, while a proof of all else holds.
fn mapped_files_hold(tree: &Tree, kept: &Kept) -> bool {
    kept.mapped().all(|item| mapped_file_holds(tree, item))
}

fn mapped_file_holds(tree: &Tree, item: &Item) -> bool {
    match &item.object {
        Object::File { stat, settled, .. } => {
            *settled && matches!(tree.stat(&item.path), Ok(Some(now)) if now == *stat)
        }
        Object::Directory { .. } | Object::Symlink { .. } => true,
    }
}

/// Whether every word of the kernel that `kept` rests on is watched, and was as of `mark`.
fn is_proven(tree: &Tree, kept: &Kept, mark: Mark) -> bool {
    let is_again = |item: &Item| match &item.object {
        Object::Directory { stat } => tree.is_directory_proven(&item.path, stat),
        Object::File { .. } | Object::Symlink { .. } => false,
    };
    let items = &mut kept.items.iter();
    items.all(|item| tree.is_proven(&item.path) || is_again(item))
        && kept
            .listed
            .iter()
            .all(|(path, _)| tree.is_listing_proven(path, mark))
        && unlisted_absences(kept).all(|path| tree.is_proven(&path))
}

/// A name that was looked up in vain in `path` and is there now.
fn changed_name(
    tree: &Tree,
    kept: &Kept,
    path: &[u8],
    listed: &Listed,
) -> Result<Option<Vec<u8>>, TreeError> {
    let is_same = listed.settled && tree.stat(path)? == Some(listed.stat);
    let now = if is_same {
        Arc::clone(&listed.listing)
    } else {
        tree.listing(path)?.listing
    };
    Ok(appeared_name(kept, path, &listed.listing, &now))
}

/// A name in `now`, of the directory at `path`, by which a lookup would end otherwise than with the names of `before`.
fn appeared_name(kept: &Kept, path: &[u8], before: &Listing, now: &Listing) -> Option<Vec<u8>> {
    let absent = kept.absent_in(path);
    let is_there = |name: &&[u8]| now.names.contains_key(*name);
    if let Some(name) = absent.and_then(|names| names.iter().find(is_there)) {
        return Some(name.to_vec());
    }
    let was_asked_for = |header: &[u8]| {
        absent.is_some_and(|names| names.contains(header)) || kept.get(&join(path, header)).is_some()
    };
    new_precompiled(before, now, was_asked_for)
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
    let mut added = now
        .names
        .keys()
        .filter(|name| !before.names.contains_key(&***name));
    added
        .find(|name| precompiled_header_of(name).is_some_and(&was_asked_for))
        .map(|name| name.to_vec())
}

#[cfg(test)]
mod proof_tests;
#[cfg(test)]
mod tests;
