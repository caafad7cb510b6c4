//! The include graphs that were found, kept for the next unit of the same cwd and search list.
//!
//! Why what one says is true: all of it was proven by watches when it was kept, as a closure is
//! ([`crate::inputs::validate::prove`]), and nothing it is about has changed since by what watches tell. Files that may
//! change without a word to their watch are looked at by whoever uses it ([`super::walk`]).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// How long a discovery waits for each graph in use before it makes one more: longer than most discoveries of C++ units.
/// A file system that does not answer is everybody's own trouble.
const PATIENCE: Duration = Duration::from_millis(50);

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
pub struct IncludeGraphs {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Graph>,
    /// Those that a discovery goes on from or makes, as many as there are.
    in_use: Vec<Context>,
    /// Those of which the last discovery gave none back, the latest at the end: nobody waits for another.
    fruitless: VecDeque<Context>,
}

/// The graph a discovery goes on from, and the context among whose graphs in use it counts.
type Begun = (Option<Graph>, Option<Context>);

impl State {
    /// What a discovery begins with that has `waited` so long; or how long it waits yet for a graph to come back.
    fn begin(&mut self, request: &Request<'_>, waited: Duration) -> Result<Begun, Duration> {
        let found = self.kept.iter().rposition(|graph| graph.context.is_of(request));
        let graph = found.and_then(|index| self.kept.remove(index));
        let in_use = self
            .in_use
            .iter()
            .filter(|context| context.is_of(request))
            .count();
        let is_fruitless = self.fruitless.iter().any(|context| context.is_of(request));
        let waits_for = match graph {
            None if !is_fruitless => in_use.min(GRAPHS_OF_A_CONTEXT),
            _ => 0,
        };
        let left = (0..waits_for)
            .map(|_| PATIENCE)
            .sum::<Duration>()
            .saturating_sub(waited);
        if !left.is_zero() {
            return Err(left);
        }
        // More than may be kept are not waited for.
        let context = (in_use < GRAPHS_OF_A_CONTEXT).then(|| Context::of(request));
        self.in_use.extend(context.clone());
        Ok((graph, context))
    }
}

/// A discovery that uses a graph of its context, or makes one, until this is dropped.
#[derive(Debug)]
pub(super) struct Use<'a> {
    graphs: &'a IncludeGraphs,
    context: Option<Context>,
}

impl Use<'_> {
    /// Ends it, which leaves a graph if it could be proven.
    pub(super) fn end(mut self, graph: Option<Graph>) {
        let is_kept = graph.is_some_and(|graph| self.graphs.put(graph));
        self.count_out(is_kept);
    }

    fn count_out(&mut self, is_kept: bool) {
        if let Some(context) = self.context.take() {
            let mut state = self.graphs.lock();
            if let Some(index) = state.in_use.iter().position(|other| *other == context) {
                state.in_use.swap_remove(index);
            }
            state.fruitless.retain(|other| *other != context);
            if !is_kept {
                state.fruitless.push_back(context);
            }
            let excess = state.fruitless.len().saturating_sub(GRAPHS);
            state.fruitless.drain(..excess);
        }
        self.graphs.returned.notify_all();
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        if self.context.is_some() {
            self.count_out(false);
        }
    }
}

impl IncludeGraphs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that fits `request` and still holds, taken out; then all that changed until now was taken notice of. Where
    /// all are in use, or one is being made, that is waited for: to go on from it takes a part of the time that making
    /// another does, and two that make one each wait for each other at every file. Blocking.
    pub(super) fn take(&self, tree: &Tree, request: &Request<'_>) -> (Use<'_>, Option<Graph>) {
        let (using, graph) = self.wait(request);
        let graph = graph.and_then(|mut graph| {
            let changes = tree.changes_since(graph.mark)?;
            graph.mark = changes.mark;
            (!graph.places.are_concerned(&changes)).then_some(graph)
        });
        (using, graph)
    }

    fn wait(&self, request: &Request<'_>) -> (Use<'_>, Option<Graph>) {
        let begun = Instant::now();
        let mut state = self.lock();
        loop {
            let patience = match state.begin(request, begun.elapsed()) {
                Err(patience) => patience,
                Ok((graph, context)) => {
                    let using = Use {
                        graphs: self,
                        context,
                    };
                    return (using, graph);
                }
            };
            let waited = self.returned.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Keeps `graph` for others, unless it has grown too large; says which.
    pub(super) fn put(&self, graph: Graph) -> bool {
        if graph.size() > GRAPH_SIZE {
            return false;
        }
        let mut forgotten = Vec::new();
        let mut state = self.lock();
        let kept = &mut state.kept;
        let alike = |other: &Graph| other.context == graph.context;
        if kept.iter().filter(|other| alike(other)).count() >= GRAPHS_OF_A_CONTEXT {
            let oldest = kept.iter().position(alike);
            forgotten.extend(oldest.and_then(|oldest| kept.remove(oldest)));
        }
        kept.push_back(graph);
        while kept.len() > GRAPHS || kept.iter().map(Graph::size).sum::<usize>() > GRAPHS_SIZE {
            forgotten.extend(kept.pop_front());
        }
        drop(state);
        // Which takes a while.
        drop(forgotten);
        true
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fixture;
    use super::*;

    /// Whether there is a graph, and whether it counts; or milliseconds to wait.
    fn told(begun: Result<Begun, Duration>) -> Result<(bool, bool), u128> {
        let told = begun.map(|(graph, context)| (graph.is_some(), context.is_some()));
        told.map_err(|patience| patience.as_millis())
    }

    #[test]
    fn a_graph_in_use_is_waited_for_before_another_is_made() {
        let fixture = Fixture::new(&["first"]);
        let other = Fixture::new(&["first"]);
        let (request, other) = (fixture.request(b"a.c"), other.request(b"a.c"));
        let mut state = State::default();
        let begin = |state: &mut State, request, waited: u64| {
            told(state.begin(request, Duration::from_millis(waited)))
        };
        assert_eq!(
            begin(&mut state, &request, 0),
            Ok((false, true)),
            "nothing is in use"
        );
        assert_eq!(begin(&mut state, &request, 0), Err(50));
        assert_eq!(begin(&mut state, &request, 20), Err(30));
        assert_eq!(
            begin(&mut state, &other, 0),
            Ok((false, true)),
            "in use for others"
        );
        assert_eq!(begin(&mut state, &request, 50), Ok((false, true)));
        assert_eq!(begin(&mut state, &request, 50), Err(50));
        assert_eq!(begin(&mut state, &request, 100), Ok((false, true)));
        assert_eq!(begin(&mut state, &request, 150), Ok((false, true)));
        assert_eq!(begin(&mut state, &request, 150), Err(50));
        assert_eq!(
            begin(&mut state, &request, 200),
            Ok((false, false)),
            "as many as are kept"
        );
        assert_eq!(begin(&mut state, &request, 199), Err(1));
        state.fruitless.push_back(Context::of(&request));
        assert_eq!(
            begin(&mut state, &request, 0),
            Ok((false, false)),
            "there will be none"
        );
    }

    #[test]
    fn a_graph_is_in_use_until_its_discovery_ends_however_it_ends() {
        let fixture = Fixture::new(&["first"]);
        let graphs = IncludeGraphs::default();
        let tree = Tree::watching();
        let request = fixture.request(b"a.c");
        let in_use = || graphs.lock().in_use.len();
        let (using, graph) = graphs.take(&tree, &request);
        assert!(graph.is_none());
        assert_eq!(in_use(), 1);
        drop(using);
        assert_eq!(in_use(), 0);
        assert_eq!(graphs.lock().fruitless.len(), 1);
        fixture.write("a.c", "");
        fixture.settle();
        super::super::discover(&tree, &graphs, &request).unwrap();
        assert_eq!((graphs.len(), in_use()), (1, 0));
        assert_eq!(graphs.lock().fruitless.len(), 0);
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _using = graphs.take(&tree, &request);
            assert_eq!(in_use(), 1);
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(ended.is_err());
        assert_eq!(in_use(), 0);
        assert_eq!(graphs.len(), 0, "who took it did not give it back");
    }
}
