//! The include graphs that were found, kept for the next unit of the same cwd and search list.
//!
//! Why what one says is true: all of it was proven by watches when it was kept, as a closure is
//! ([`crate::inputs::validate::prove`]), and nothing it is about has changed since by what watches tell. Files that may
//! change without a word to their watch are looked at by whoever uses it ([`super::walk`]).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Request;
use super::lookups::Lookups;
use super::places::Places;
use crate::inputs::tree::{Mark, Tree};

/// Graphs kept, the last that were used.
pub(super) const GRAPHS: usize = 32;
/// Of one context: discoveries at the same time use one each.
pub(super) const GRAPHS_OF_A_CONTEXT: usize = 4;
/// Facts, lookups and visits in one that is kept: four times those of a C++ unit of a thousand headers.
pub(super) const GRAPH_SIZE: usize = 50_000;
/// In all of them.
const GRAPHS_SIZE: usize = 200_000;

/// What the lookups of a graph depend on besides files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    cwd: Vec<u8>,
    quote: Vec<Vec<u8>>,
    angle: Vec<Vec<u8>>,
    include_directories: Vec<Vec<u8>>,
}

impl Context {
    pub(super) fn of(request: &Request<'_>) -> Self {
        Self {
            cwd: request.cwd.to_vec(),
            quote: request.search.quote.clone(),
            angle: request.search.angle.clone(),
            include_directories: request.include_directories.to_vec(),
        }
    }

    fn is_of(&self, request: &Request<'_>) -> bool {
        self.cwd == request.cwd
            && self.quote == request.search.quote
            && self.angle == request.search.angle
            && self.include_directories == request.include_directories
    }
}

#[derive(Debug)]
pub(super) struct Graph {
    pub(super) context: Context,
    pub(super) places: Places,
    pub(super) lookups: Lookups,
    /// As of when all of it is proven.
    pub(super) mark: Mark,
}

impl Graph {
    fn size(&self) -> usize {
        self.places.len() + self.lookups.len()
    }
}

/// The include graphs of the units discovered last, for any number of discoveries with one and the same [`Tree`].
#[derive(Debug, Default)]
pub struct IncludeGraphs(Mutex<VecDeque<Graph>>);

impl IncludeGraphs {
    /// One that fits `request` and still holds, taken out; then all that changed until now was taken notice of.
    pub(super) fn take(&self, tree: &Tree, request: &Request<'_>) -> Option<Graph> {
        let mut graph = {
            let mut graphs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let index = graphs.iter().rposition(|graph| graph.context.is_of(request))?;
            graphs.remove(index)?
        };
        let changes = tree.changes_since(graph.mark)?;
        graph.mark = changes.mark;
        (!graph.places.are_concerned(&changes)).then_some(graph)
    }

    /// Keeps `graph` for others, unless it has grown too large.
    pub(super) fn put(&self, graph: Graph) {
        if graph.size() > GRAPH_SIZE {
            return;
        }
        let mut forgotten = Vec::new();
        let mut graphs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alike = |other: &Graph| other.context == graph.context;
        if graphs.iter().filter(|other| alike(other)).count() >= GRAPHS_OF_A_CONTEXT {
            let oldest = graphs.iter().position(alike);
            forgotten.extend(oldest.and_then(|oldest| graphs.remove(oldest)));
        }
        graphs.push_back(graph);
        while graphs.len() > GRAPHS || graphs.iter().map(Graph::size).sum::<usize>() > GRAPHS_SIZE {
            forgotten.extend(graphs.pop_front());
        }
        drop(graphs);
        // Which takes a while.
        drop(forgotten);
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
