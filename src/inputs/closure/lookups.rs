//! Which lookups were made for which file, and what came of each, so that none is made twice.
//!
//! PURE. Lookups are those of one cwd and one search list ([`super::graph`]). What came of one holds as long as the
//! facts it rests on do.

use std::sync::Arc;

use foldhash::HashMap;

use super::places::{DirectoryId, FactId, FileId};

/// A lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LookupId(pub(super) usize);

/// A file to be scanned, as it was found in one directory. Its references depend on that, so one file may be several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct VisitId(pub(super) usize);

/// Where a lookup begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// In an includer's directory, then along the whole list.
    Includer(DirectoryId),
    /// At this place of the list.
    List(usize),
    /// At the root.
    Absolute,
}

/// How many matches of a search matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Extent {
    /// The compiler takes the first.
    First,
    /// Which one depends on where the includer itself was found, so all are kept.
    All,
}

/// What came of a lookup, or of all references of a file.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What was met.
    pub(super) facts: Box<[FactId]>,
    /// What is to be scanned.
    pub(super) visits: Box<[VisitId]>,
    /// What else is to be looked up.
    pub(super) lookups: Box<[LookupId]>,
}

#[derive(Debug)]
struct Lookup {
    scope: Scope,
    name: Arc<[u8]>,
    extent: Extent,
    outcome: Option<Arc<Outcome>>,
}

#[derive(Debug)]
struct Visit {
    directory: DirectoryId,
    file: FileId,
    outcome: Option<Arc<Outcome>>,
}

/// Everything looked up, by one discovery or several.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    names: HashMap<Arc<[u8]>, usize>,
    lookups: Vec<Lookup>,
    by_name: HashMap<(Scope, usize, Extent), LookupId>,
    visits: Vec<Visit>,
    by_file: HashMap<(DirectoryId, FileId), VisitId>,
}

impl Lookups {
    /// The lookup of `name`.
    pub(super) fn lookup(&mut self, scope: Scope, name: &[u8], extent: Extent) -> LookupId {
        let number = self.names.len();
        let (name, number) = match self.names.get_key_value(name) {
            Some((name, number)) => (Arc::clone(name), *number),
            None => {
                let name: Arc<[u8]> = name.into();
                self.names.insert(Arc::clone(&name), number);
                (name, number)
            }
        };
        let next = LookupId(self.lookups.len());
        let lookup = *self.by_name.entry((scope, number, extent)).or_insert(next);
        if lookup == next {
            self.lookups.push(Lookup {
                scope,
                name,
                extent,
                outcome: None,
            });
        }
        lookup
    }

    /// What is looked up, from where and how far.
    pub(super) fn asked(&self, lookup: LookupId) -> (Scope, Arc<[u8]>, Extent) {
        let Lookup {
            scope, name, extent, ..
        } = &self.lookups[lookup.0];
        (*scope, Arc::clone(name), *extent)
    }

    /// What came of it, if it was made.
    pub(super) fn outcome(&self, lookup: LookupId) -> Option<Arc<Outcome>> {
        self.lookups[lookup.0].outcome.clone()
    }

    /// Notes what came of it.
    pub(super) fn conclude(&mut self, lookup: LookupId, outcome: Outcome) {
        self.lookups[lookup.0].outcome = Some(Arc::new(outcome));
    }

    /// The visit of `file`, whose name was found in `directory`.
    pub(super) fn visit(&mut self, directory: DirectoryId, file: FileId) -> VisitId {
        let next = VisitId(self.visits.len());
        let visit = *self.by_file.entry((directory, file)).or_insert(next);
        if visit == next {
            self.visits.push(Visit {
                directory,
                file,
                outcome: None,
            });
        }
        visit
    }

    /// What is visited.
    pub(super) fn visited(&self, visit: VisitId) -> (DirectoryId, FileId) {
        let Visit { directory, file, .. } = &self.visits[visit.0];
        (*directory, *file)
    }

    /// What came of its references, if they were followed.
    pub(super) fn outcome_of_visit(&self, visit: VisitId) -> Option<Arc<Outcome>> {
        self.visits[visit.0].outcome.clone()
    }

    /// Notes what came of them.
    pub(super) fn conclude_visit(&mut self, visit: VisitId, outcome: Outcome) {
        self.visits[visit.0].outcome = Some(Arc::new(outcome));
    }

    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.lookups.len() + self.visits.len()
    }
}
