//! PURE: what an action's entries lack, looked at again while its blobs come. A look costs what was lacking at the last
//! one: an entry that was in place stays so until it goes, and [`Tree::departures`] says whether any went.
//!
//! [`Tree::departures`]: crate::builder::tree::Tree::departures

use std::collections::BTreeMap;
use std::sync::Arc;

use quicc_protocol::identifiers::EntryId;

use super::still::{Need, Needs, Still};

/// The entries of an action, and which of them are not in place yet.
#[derive(Debug, Clone, Default)]
pub struct Lacking {
    ids: Arc<[EntryId]>,
    /// Those that lacked their bytes at the last look; all of them before the first.
    rest: Vec<EntryId>,
    /// Departures until the last look; none before the first.
    departures: Option<u64>,
    checks: u64,
}

impl Lacking {
    /// Entries nobody looked at yet.
    pub fn new(ids: Arc<[EntryId]>) -> Self {
        Self {
            rest: ids.to_vec(),
            ids,
            departures: None,
            checks: 0,
        }
    }

    /// Entries looked at so far, by all looks together.
    pub fn checks(&self) -> u64 {
        self.checks
    }

    /// What they lack now. All looks must be at one mirror.
    pub(super) fn look(&mut self, still: &Still<'_>) -> Needs {
        let departures = still.tree.departures();
        if self.departures.is_some_and(|before| before != departures) {
            self.checks += self.ids.len() as u64;
            if let Some(gone) = self.ids.iter().find(|id| still.tree.node(**id).is_none()) {
                return Needs::Current(*gone);
            }
        }
        self.checks += self.rest.len() as u64;
        let (mut blobs, mut rest) = (BTreeMap::new(), Vec::new());
        for &id in &self.rest {
            match still.need(id) {
                Need::Nothing => {}
                Need::Current => return Needs::Current(id),
                Need::Covered => return Needs::Covered(id),
                Need::Blob(content, size) => {
                    blobs.insert(content, size);
                    rest.push(id);
                }
            }
        }
        self.rest = rest;
        self.departures = Some(departures);
        if blobs.is_empty() {
            Needs::Nothing
        } else {
            Needs::Blobs(blobs)
        }
    }
}
