//! From references to files: which directories each kind of reference is searched in, and how far.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use foldhash::HashSet;

use super::expansion::Expansion;
use super::graph::{Context, Graph, IncludeGraphs};
use super::lookups::{Extent, LookupId, Lookups, Outcome, Scope, VisitId};
use super::places::{DirectoryId, FileId, ROOT};
use super::walk::{Found, NumberSet, PRECOMPILED, Passage, Walker};
use super::{Closure, DiscoverError, Request};
use crate::inputs::scan::{
    self, Alias, Form, Mentions, Reference, ReferenceKind, References, TimeMacros, TimePieces,
};
use crate::inputs::tree::{Tree, as_path};

/// Included by gcc before the first line of every hosted compile, named nowhere (GCC manual, "Standard
/// predefined macros").
const IMPLICIT_INCLUDE: &[u8] = b"stdc-predef.h";

/// Empty to whoever reads it, on every machine: no input.
pub(super) const NULL_DEVICE: &[u8] = b"/dev/null";

/// Macros for `__has_include` that all files of a closure are read for; C libraries have one each.
const ALIASES: usize = 64;

/// Everything on the way to absolute `paths`, and the names in those that are directories.
pub fn places<'a>(tree: &Tree, paths: impl Iterator<Item = &'a [u8]>) -> Result<Closure, DiscoverError> {
    let mut walker = Walker::new(tree, None)?;
    for path in paths {
        if let Found::Directory(directory) = walker.walk(ROOT, path, Passage::Unlisted)? {
            walker.list(directory)?;
        }
    }
    walker.finish()
}

/// Finds everything the compile of `request` may read. One of `graphs`, all of which are of `tree`, is used and put back
/// with what was found, or lost if that cannot be proven.
pub fn discover(
    tree: &Tree,
    graphs: &IncludeGraphs,
    request: &Request<'_>,
) -> Result<Closure, DiscoverError> {
    let (using, graph) = graphs.take(tree, request);
    // An error may be due to what is remembered beyond this compile, or to a file that changed since.
    let found = graph.and_then(|graph| discover_from(tree, request, Some(graph)).ok());
    let (closure, graph) = match found {
        Some(found) => found,
        None => discover_from(tree, request, None)?,
    };
    using.end(graph);
    Ok(closure)
}

/// The same from `graph` or nothing; with the graph that it leads to, if that can be proven.
pub(super) fn discover_from(
    tree: &Tree,
    request: &Request<'_>,
    graph: Option<Graph>,
) -> Result<(Closure, Option<Graph>), DiscoverError> {
    let (context, places, lookups, mark) = match graph {
        Some(graph) => (graph.context, Some(graph.places), graph.lookups, Some(graph.mark)),
        None => (Context::of(request), None, Lookups::default(), tree.refresh()),
    };
    let mut walker = Walker::new(tree, places)?;
    let Found::Directory(cwd) = walker.walk(ROOT, request.cwd, Passage::Unlisted)? else {
        return Err(DiscoverError::Missing {
            path: as_path(request.cwd).to_owned(),
        });
    };
    let mut discovery = Discovery {
        walker,
        lookups,
        cwd,
        search: Vec::new(),
        quote_only: 0,
        assembler: Vec::new(),
        looked_up: NumberSet::default(),
        is_visited: NumberSet::default(),
        visited: Vec::new(),
        pending: Vec::new(),
        trace: Trace::default(),
        scanned: Vec::new(),
        expansion: Expansion::new(request.search.predefined.as_deref(), request.definitions),
        summary: Summary::default(),
    };
    let source = discovery.start(request)?;
    discovery.visit_all()?;
    discovery.unite_expansion();
    discovery.unite_time_pieces();
    discovery.list_for_computed()?;
    discovery.walker.look_again()?;
    discovery.walker.list_passages();
    let closure = discovery.finish(source)?;
    let Discovery { walker, lookups, .. } = discovery;
    let proven = mark.and_then(|mark| walker.proven(mark));
    let graph = proven.map(|(places, mark)| Graph {
        context,
        places,
        lookups,
        mark,
    });
    Ok((closure, graph))
}

/// Whether a file found is scanned in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Scanned,
    Opaque,
}

/// What the files scanned so far said besides names.
#[derive(Default)]
struct Summary {
    computed: bool,
    computed_probe: bool,
    probe_aliases: BTreeSet<Vec<u8>>,
    macro_incbin: bool,
    computed_line: bool,
    modules: bool,
    pch_pragma: bool,
    time_macros: TimeMacros,
    time_pieces: TimePieces,
}

struct Discovery<'t> {
    walker: Walker<'t>,
    /// With those of earlier discoveries.
    lookups: Lookups,
    cwd: DirectoryId,
    /// The directories searched, those for quoted names only first.
    search: Vec<DirectoryId>,
    /// How many of them are for quoted names only.
    quote_only: usize,
    /// Where the assembler looks besides cwd.
    assembler: Vec<DirectoryId>,
    looked_up: NumberSet,
    is_visited: NumberSet,
    visited: Vec<VisitId>,
    pending: Vec<VisitId>,
    trace: Trace,
    /// The files visited.
    scanned: Vec<(FileId, Arc<References>)>,
    expansion: Expansion,
    summary: Summary,
}

/// What was done, for whoever records it.
#[derive(Default)]
struct Trace {
    visits: Vec<VisitId>,
    lookups: Vec<LookupId>,
}

/// Where a record began: how long each list of what is done was.
struct Begun {
    facts: usize,
    visits: usize,
    lookups: usize,
}

/// What was learned of a macro that stands for `__has_include`.
struct Asked {
    alias: Arc<Alias>,
    /// Of whom, and whether of all their words.
    of: HashSet<(VisitId, bool)>,
    /// Of all these.
    mentions: Mentions,
}

impl Asked {
    /// `given` is the text of the command line's macros, if they are known.
    fn new(alias: Arc<Alias>, given: Option<&[u8]>) -> Self {
        let mut mentions = given.map(|given| alias.mentions(given)).unwrap_or_default();
        // Where a macro of the command line asks depends on who uses that.
        mentions.computed |= given.is_none() || !mentions.includes.is_empty();
        Self {
            alias,
            of: HashSet::default(),
            mentions,
        }
    }

    /// Whether some word is so much of the macro's name that it may be made of several.
    fn is_pasted(&self) -> bool {
        let mut words = self.mentions.pieces.keys();
        words.any(|word| self.alias.makes(word))
    }

    /// Whether only a preprocessor knows what is asked for.
    fn is_computed(&self) -> bool {
        self.mentions.computed || self.mentions.may_paste(self.alias.name())
    }
}

impl Summary {
    fn unite(&mut self, references: &References) {
        self.computed |= references.computed;
        self.computed_probe |= references.computed_probe;
        self.probe_aliases
            .extend(references.probe_aliases.iter().cloned());
        self.macro_incbin |= references.macro_incbin;
        self.computed_line |= references.computed_line;
        self.modules |= references.modules;
        self.pch_pragma |= references.pch_pragma;
        self.time_macros.unite(references.time_macros);
        self.time_pieces.unite(references.time_pieces);
    }
}

impl Discovery<'_> {
    /// Meets everything the command line names. Returns the source.
    fn start(&mut self, request: &Request<'_>) -> Result<FileId, DiscoverError> {
        self.walker.list(self.cwd)?;
        self.search = self.directories(&request.search.quote)?;
        self.quote_only = self.search.len();
        let angle = self.directories(&request.search.angle)?;
        self.search.extend(angle);
        self.directories(&request.search.ignored)?;
        self.assembler = self.directories(request.include_directories)?;
        self.directories(request.further_directories)?;
        let source = match self.named(request.source)? {
            Found::File { directory, file } => {
                self.walker.list(directory)?;
                self.scan(directory, file);
                // gcc looks for one of the source as well.
                for suffix in PRECOMPILED.iter().copied().filter(|_| !request.precompiles) {
                    let precompiled = self.named(&[request.source, suffix].concat())?;
                    self.walker.note_precompiled(Found::Absent, precompiled);
                }
                file
            }
            Found::Directory(_) => {
                return Err(DiscoverError::NotRegular {
                    path: as_path(request.source).to_owned(),
                });
            }
            Found::Absent => {
                return Err(DiscoverError::Missing {
                    path: as_path(request.source).to_owned(),
                });
            }
        };
        self.search(IMPLICIT_INCLUDE, Form::Angle, Extent::First)?;
        for name in request.forced_includes {
            // GCC manual, `-include`: cwd takes the place of the includer's directory.
            self.include(self.cwd, name, Form::Quote, Extent::First)?;
        }
        for name in request.dependencies {
            if self.is_null_device(name)? {
                continue;
            }
            // clang names a precompiled header among what it was made of.
            if request.further_files.contains(name) || PRECOMPILED.iter().any(|suffix| name.ends_with(suffix))
            {
                self.named(name)?;
            } else if let Found::File { directory, file } = self.named(name)? {
                // Names are computed there: any of its neighbours may be asked for, by `__has_include` say, which
                // `-M` does not tell.
                self.walker.list(directory)?;
                self.scan(directory, file);
            }
        }
        for name in request.further_files {
            if self.named(name)? == Found::Absent {
                return Err(DiscoverError::Missing {
                    path: as_path(name).to_owned(),
                });
            }
        }
        for name in request.optional_files {
            self.named(name)?;
        }
        Ok(source)
    }

    /// Macros that only a preprocessor knows.
    fn unite_expansion(&mut self) {
        if self.expansion.is_empty() && !self.expansion.is_computed() {
            return;
        }
        // These bring macros of their own.
        if self.walker.meets_precompiled() || self.summary.pch_pragma || self.summary.modules {
            self.expansion.fail();
        }
        if self.expansion.is_computed() {
            self.summary.computed = true;
            self.summary.computed_probe |= self.expansion.has_probe();
        }
    }

    /// Macros that read a clock, made of pieces, wherever those are.
    fn unite_time_pieces(&mut self) {
        if let Some(given) = self.expansion.given() {
            self.summary.time_pieces.unite(scan::scan(given).time_pieces);
        }
        self.summary.time_macros.unite(self.summary.time_pieces.pasted());
    }

    /// Lists every directory a name only a preprocessor knows may be looked up in.
    fn list_for_computed(&mut self) -> Result<(), DiscoverError> {
        if self.summary.computed {
            for directory in self.search.iter().chain(&self.assembler) {
                self.walker.list(*directory)?;
            }
        }
        Ok(())
    }

    fn visit_all(&mut self) -> Result<(), DiscoverError> {
        let mut asked = BTreeMap::new();
        loop {
            while let Some(visit) = self.pending.pop() {
                let (directory, file) = self.lookups.visited(visit);
                let references = self.walker.scan(file)?;
                self.summary.unite(&references);
                match self.lookups.outcome_of_visit(visit) {
                    Some(outcome) => self.repeat(&outcome)?,
                    None => {
                        let begun = self.begin();
                        for reference in &references.includes {
                            self.follow(directory, reference)?;
                        }
                        let outcome = self.end(&begun);
                        self.lookups.conclude_visit(visit, outcome);
                    }
                }
                for operand in &references.operands {
                    self.expansion.meet(directory, operand);
                }
                self.scanned.push((file, references));
            }
            self.ask_aliases(&mut asked)?;
            self.expand()?;
            if self.pending.is_empty() {
                return Ok(());
            }
        }
    }

    /// Follows what the files visited ask for through macros that stand for `__has_include`, wherever those are
    /// defined. `asked` is what was learned of each macro.
    fn ask_aliases(&mut self, asked: &mut BTreeMap<Vec<u8>, Asked>) -> Result<(), DiscoverError> {
        if self.summary.probe_aliases.len() > ALIASES {
            self.summary.computed_probe = true;
            return Ok(());
        }
        let visited = self.visited.clone();
        for name in self.summary.probe_aliases.clone() {
            let given = self.expansion.given();
            let known = match asked.entry(name) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(vacant) => {
                    let alias = self.walker.alias(vacant.key());
                    vacant.insert(Asked::new(alias, given))
                }
            };
            self.ask_alias(known, &visited)?;
            self.summary.computed_probe |= known.is_computed();
        }
        Ok(())
    }

    fn ask_alias(&mut self, known: &mut Asked, visited: &[VisitId]) -> Result<(), DiscoverError> {
        loop {
            let whole = known.is_pasted();
            for &visit in visited {
                if !known.of.insert((visit, whole)) {
                    continue;
                }
                let (directory, file) = self.lookups.visited(visit);
                let mentions = self.walker.mentions(file, &known.alias, whole)?;
                known.mentions.unite(&mentions);
                for reference in &mentions.includes {
                    self.follow(directory, reference)?;
                }
            }
            // Then the words of all count.
            if known.is_pasted() == whole {
                return Ok(());
            }
        }
    }

    /// Follows the names that macros stand for by what the files visited make of them.
    fn expand(&mut self) -> Result<(), DiscoverError> {
        if self.expansion.is_empty() || self.expansion.is_computed() {
            return Ok(());
        }
        let files = self.scanned.len();
        while let Some((index, name, searched)) = self.expansion.to_search(files) {
            let mut found = Vec::new();
            for (file, references) in &self.scanned[searched..] {
                if references.defined.may_hold(name) {
                    found.extend_from_slice(&self.walker.definitions(*file, name)?);
                }
            }
            self.expansion.learn(index, files, &found);
        }
        for (directory, reference) in self.expansion.lookups() {
            match self.follow(directory, &reference) {
                // Whether it is really meant only a preprocessor knows.
                Err(DiscoverError::NotRegular { .. }) => self.expansion.fail(),
                followed => followed?,
            }
        }
        Ok(())
    }

    fn finish(&mut self, source: FileId) -> Result<Closure, DiscoverError> {
        let (path, size) = self.walker.file(source);
        let path = path.to_vec();
        Ok(Closure {
            expanded: std::mem::take(&mut self.expansion).names(),
            computed: self.summary.computed,
            computed_probe: self.summary.computed_probe,
            aliased_probe: !self.summary.probe_aliases.is_empty(),
            macro_incbin: self.summary.macro_incbin,
            computed_line: self.summary.computed_line,
            time_macros: self.summary.time_macros,
            modules: self.summary.modules,
            pch_pragma: self.summary.pch_pragma,
            source: path,
            source_bytes: size,
            ..self.walker.finish()?
        })
    }

    /// What the command line means by `name`.
    fn named(&mut self, name: &[u8]) -> Result<Found, DiscoverError> {
        self.walker.walk(self.cwd, name, Passage::Unlisted)
    }

    /// The directories among `names`; what else they are is recorded on the way.
    fn directories(&mut self, names: &[Vec<u8>]) -> Result<Vec<DirectoryId>, DiscoverError> {
        let mut directories = Vec::with_capacity(names.len());
        for name in names {
            if let Found::Directory(directory) = self.named(name)? {
                directories.push(directory);
            }
        }
        Ok(directories)
    }

    /// Looks up `reference` for a file whose name was found in `directory`.
    fn follow(&mut self, directory: DirectoryId, reference: &Reference) -> Result<(), DiscoverError> {
        // To the kernel a name ends at its first NUL.
        let name = reference
            .spelling
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        match reference.kind {
            ReferenceKind::Include | ReferenceKind::Import | ReferenceKind::HasInclude => {
                self.include(directory, name, reference.form, Extent::First)
            }
            // The search goes on behind the includer's directory, whatever the delimiters: among those for quoted names
            // too if that was one of them.
            ReferenceKind::Next | ReferenceKind::HasIncludeNext => {
                self.include(directory, name, Form::Quote, Extent::All)
            }
            ReferenceKind::Line => self.named(name).map(drop),
            ReferenceKind::Incbin => self.assemble(directory, name, Reading::Opaque),
            ReferenceKind::AssemblerInclude => self.assemble(directory, name, Reading::Scanned),
            ReferenceKind::Embed | ReferenceKind::HasEmbed => {
                self.assemble(directory, name, Reading::Opaque)?;
                for index in 0..self.search.len() {
                    self.find(self.search[index], name, Reading::Opaque)?;
                }
                Ok(())
            }
        }
    }

    /// Searches an include: the includer's directory if quoted, then the list.
    fn include(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        form: Form,
        extent: Extent,
    ) -> Result<(), DiscoverError> {
        if name.starts_with(b"/") {
            self.look_up(Scope::Absolute, name, Extent::First)
        } else if form == Form::Quote {
            self.look_up(Scope::Includer(directory), name, extent)
        } else {
            self.search(name, form, extent)
        }
    }

    fn search(&mut self, name: &[u8], form: Form, extent: Extent) -> Result<(), DiscoverError> {
        let first = match form {
            Form::Quote => 0,
            Form::Angle => self.quote_only,
        };
        self.look_up(Scope::List(first), name, extent)
    }

    /// Makes a lookup, unless this discovery did.
    fn look_up(&mut self, scope: Scope, name: &[u8], extent: Extent) -> Result<(), DiscoverError> {
        let lookup = self.lookups.lookup(scope, name, extent);
        self.make(lookup)
    }

    fn make(&mut self, lookup: LookupId) -> Result<(), DiscoverError> {
        self.trace.lookups.push(lookup);
        if !self.looked_up.insert(lookup.0) {
            return Ok(());
        }
        if let Some(outcome) = self.lookups.outcome(lookup) {
            return self.repeat(&outcome);
        }
        let (scope, name, extent) = self.lookups.asked(lookup);
        let begun = self.begin();
        match scope {
            Scope::Absolute => self.include_absolute(&name)?,
            Scope::Includer(directory) => {
                let is_found = self.find(directory, &name, Reading::Scanned)?;
                if !is_found || extent == Extent::All {
                    self.search(&name, Form::Quote, extent)?;
                }
            }
            Scope::List(first) => {
                for index in first..self.search.len() {
                    let is_found = self.find(self.search[index], &name, Reading::Scanned)?;
                    if is_found && extent == Extent::First {
                        break;
                    }
                }
            }
        }
        let outcome = self.end(&begun);
        self.lookups.conclude(lookup, outcome);
        Ok(())
    }

    /// Does what was done when `outcome` came about.
    fn repeat(&mut self, outcome: &Outcome) -> Result<(), DiscoverError> {
        let begun = self.begin();
        for fact in &outcome.facts {
            self.walker.meet(*fact);
        }
        for visit in &outcome.visits {
            self.visit(*visit);
        }
        for lookup in &outcome.lookups {
            self.make(*lookup)?;
        }
        // It is recorded already.
        self.walker.trace.truncate(begun.facts);
        self.trace.visits.truncate(begun.visits);
        self.trace.lookups.truncate(begun.lookups);
        Ok(())
    }

    /// Begins a record of what is done.
    fn begin(&self) -> Begun {
        Begun {
            facts: self.walker.trace.len(),
            visits: self.trace.visits.len(),
            lookups: self.trace.lookups.len(),
        }
    }

    /// Ends it. What is in it is in no other.
    fn end(&mut self, begun: &Begun) -> Outcome {
        Outcome {
            facts: since(&mut self.walker.trace, begun.facts),
            visits: since(&mut self.trace.visits, begun.visits),
            lookups: since(&mut self.trace.lookups, begun.lookups),
        }
    }

    /// Absolute names list no directory, so precompiled forms are asked for by name.
    fn include_absolute(&mut self, name: &[u8]) -> Result<(), DiscoverError> {
        if self.is_null_device(name)? {
            return Ok(());
        }
        self.find(ROOT, name, Reading::Scanned)?;
        let header = self.named(name)?;
        for suffix in PRECOMPILED {
            let precompiled = self.named(&[name, suffix].concat())?;
            self.walker.note_precompiled(header, precompiled);
        }
        Ok(())
    }

    fn is_null_device(&mut self, name: &[u8]) -> Result<bool, DiscoverError> {
        if name != NULL_DEVICE || !self.walker.is_device(name)? {
            return Ok(false);
        }
        for suffix in PRECOMPILED {
            if self.walker.exists(&[name, suffix].concat())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Everything gas might open: it searches cwd and the `-I` directories; the includer's is added
    /// for integrated assemblers.
    fn assemble(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        reading: Reading,
    ) -> Result<(), DiscoverError> {
        self.find(self.cwd, name, reading)?;
        self.find(directory, name, reading)?;
        for index in 0..self.assembler.len() {
            self.find(self.assembler[index], name, reading)?;
        }
        Ok(())
    }

    /// Whether `name` is a file seen from `directory`. A directory of that name is passed over, as both
    /// compilers do.
    fn find(&mut self, directory: DirectoryId, name: &[u8], reading: Reading) -> Result<bool, DiscoverError> {
        let Found::File { directory, file } = self.walker.walk(directory, name, Passage::Listed)? else {
            return Ok(false);
        };
        if reading == Reading::Scanned {
            self.scan(directory, file);
        }
        Ok(true)
    }

    /// Has `file` scanned, whose name was found in `directory`.
    fn scan(&mut self, directory: DirectoryId, file: FileId) {
        let visit = self.lookups.visit(directory, file);
        self.visit(visit);
    }

    fn visit(&mut self, visit: VisitId) {
        self.trace.visits.push(visit);
        if self.is_visited.insert(visit.0) {
            self.visited.push(visit);
            self.pending.push(visit);
        }
    }
}

/// What was added to `list` since it was `length` long, each once, taken out of it.
fn since<T: Ord>(list: &mut Vec<T>, length: usize) -> Box<[T]> {
    let mut added = list.split_off(length);
    added.sort_unstable();
    added.dedup();
    added.into()
}
