//! From references to files: which directories each kind of reference is searched in, and how far.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::expansion::Expansion;
use super::walk::{DirectoryId, FileId, Found, Lookups, PRECOMPILED, ROOT, Walker};
use super::{Closure, DiscoverError, Request};
use crate::inputs::scan::{
    Alias, Form, Mentions, Reference, ReferenceKind, References, TimeMacros, TimePieces, scan,
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
    let mut walker = Walker::new(tree)?;
    for path in paths {
        if let Found::Directory(directory) = walker.walk(ROOT, path, Lookups::Unlisted)? {
            walker.list(directory)?;
        }
    }
    walker.finish()
}

/// Finds everything the compile of `request` may read.
pub fn discover(tree: &Tree, request: &Request<'_>) -> Result<Closure, DiscoverError> {
    tree.refresh();
    let mut walker = Walker::new(tree)?;
    let Found::Directory(cwd) = walker.walk(ROOT, request.cwd, Lookups::Unlisted)? else {
        return Err(DiscoverError::Missing {
            path: as_path(request.cwd).to_owned(),
        });
    };
    let mut discovery = Discovery {
        walker,
        cwd,
        search: Vec::new(),
        quote_only: 0,
        assembler: Vec::new(),
        spellings: HashMap::default(),
        done: HashSet::default(),
        visited: HashSet::default(),
        pending: Vec::new(),
        scanned: Vec::new(),
        expansion: Expansion::new(request.search.predefined.as_deref(), request.definitions),
        summary: Summary::default(),
    };
    let source = discovery.start(request)?;
    discovery.visit_all()?;
    discovery.unite_expansion();
    discovery.unite_time_pieces();
    discovery.list_for_computed()?;
    discovery.walker.list_passages();
    discovery.finish(source)
}

/// A lookup that need not be made again: where it began, what it looked for (an index of
/// [`Discovery::spellings`]) and how far it went.
type Done = (Scope, usize, Extent);

/// Where a lookup begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    /// In an includer's directory, then along the whole list.
    Includer(DirectoryId),
    /// At this place of the list.
    List(usize),
    /// At the root.
    Absolute,
}

/// How many matches of a search matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Extent {
    /// The compiler takes the first.
    First,
    /// Which one depends on where the includer itself was found, so all are kept.
    All,
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
    cwd: DirectoryId,
    /// The directories searched, those for quoted names only first.
    search: Vec<DirectoryId>,
    /// How many of them are for quoted names only.
    quote_only: usize,
    /// Where the assembler looks besides cwd.
    assembler: Vec<DirectoryId>,
    spellings: HashMap<Vec<u8>, usize>,
    done: HashSet<Done>,
    /// A file's references depend on the directory of the name it was reached by, so one file may be
    /// visited under several.
    visited: HashSet<(DirectoryId, FileId)>,
    pending: Vec<(DirectoryId, FileId)>,
    /// The files visited.
    scanned: Vec<(FileId, Arc<References>)>,
    expansion: Expansion,
    summary: Summary,
}

/// What was learned of a macro that stands for `__has_include`.
struct Asked {
    alias: Arc<Alias>,
    /// Of whom, and whether of all their words.
    of: HashSet<(DirectoryId, FileId, bool)>,
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
                self.visit(directory, file);
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
                self.visit(directory, file);
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
            self.summary.time_pieces.unite(scan(given).time_pieces);
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
            while let Some((directory, file)) = self.pending.pop() {
                let references = self.walker.scan(file)?;
                self.summary.unite(&references);
                for reference in &references.includes {
                    self.follow(directory, reference)?;
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
        let visited: Vec<_> = self.visited.iter().copied().collect();
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

    fn ask_alias(
        &mut self,
        known: &mut Asked,
        visited: &[(DirectoryId, FileId)],
    ) -> Result<(), DiscoverError> {
        loop {
            let whole = known.is_pasted();
            for &(directory, file) in visited {
                if !known.of.insert((directory, file, whole)) {
                    continue;
                }
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

    fn finish(self, source: FileId) -> Result<Closure, DiscoverError> {
        let (path, size) = self.walker.file(source);
        let path = path.to_vec();
        Ok(Closure {
            expanded: self.expansion.names(),
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
        self.walker.walk(self.cwd, name, Lookups::Unlisted)
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
                    self.look_up(self.search[index], name, Reading::Opaque)?;
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
            return self.include_absolute(name);
        }
        if form == Form::Quote {
            if !self.begin(Scope::Includer(directory), name, extent) {
                return Ok(());
            }
            let found = self.look_up(directory, name, Reading::Scanned)?;
            if found && extent == Extent::First {
                return Ok(());
            }
        }
        self.search(name, form, extent)
    }

    /// Absolute names list no directory, so precompiled forms are asked for by name.
    fn include_absolute(&mut self, name: &[u8]) -> Result<(), DiscoverError> {
        if !self.begin(Scope::Absolute, name, Extent::First) || self.is_null_device(name)? {
            return Ok(());
        }
        self.look_up(ROOT, name, Reading::Scanned)?;
        let header = self.named(name)?;
        for suffix in PRECOMPILED {
            let precompiled = self.named(&[name, suffix].concat())?;
            self.walker.note_precompiled(header, precompiled);
        }
        Ok(())
    }

    fn is_null_device(&self, name: &[u8]) -> Result<bool, DiscoverError> {
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

    fn search(&mut self, name: &[u8], form: Form, extent: Extent) -> Result<(), DiscoverError> {
        let first = match form {
            Form::Quote => 0,
            Form::Angle => self.quote_only,
        };
        if !self.begin(Scope::List(first), name, extent) {
            return Ok(());
        }
        for index in first..self.search.len() {
            let found = self.look_up(self.search[index], name, Reading::Scanned)?;
            if found && extent == Extent::First {
                break;
            }
        }
        Ok(())
    }

    /// Whether this lookup is made for the first time.
    fn begin(&mut self, scope: Scope, name: &[u8], extent: Extent) -> bool {
        let next = self.spellings.len();
        let spelling = match self.spellings.get(name) {
            Some(spelling) => *spelling,
            None => {
                self.spellings.insert(name.to_vec(), next);
                next
            }
        };
        self.done.insert((scope, spelling, extent))
    }

    /// Everything gas might open: it searches cwd and the `-I` directories; the includer's is added
    /// for integrated assemblers.
    fn assemble(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        reading: Reading,
    ) -> Result<(), DiscoverError> {
        self.look_up(self.cwd, name, reading)?;
        self.look_up(directory, name, reading)?;
        for index in 0..self.assembler.len() {
            self.look_up(self.assembler[index], name, reading)?;
        }
        Ok(())
    }

    /// Whether `name` is a file seen from `directory`. A directory of that name is passed over, as both
    /// compilers do.
    fn look_up(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        reading: Reading,
    ) -> Result<bool, DiscoverError> {
        let Found::File { directory, file } = self.walker.walk(directory, name, Lookups::Listed)? else {
            return Ok(false);
        };
        if reading == Reading::Scanned {
            self.visit(directory, file);
        }
        Ok(true)
    }

    fn visit(&mut self, directory: DirectoryId, file: FileId) {
        if self.visited.insert((directory, file)) {
            self.pending.push((directory, file));
        }
    }
}
