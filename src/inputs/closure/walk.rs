//! Names resolved as the kernel resolves them, component by component, every step recorded.
//!
//! Never normalises `..` lexically: after a symlink it means the parent of the link's target. Each name is
//! asked of the kernel once per discovery, a failed one not at all where the directory's listing is known. Of what an
//! earlier discovery found only that is looked at again which watches do not tell all of.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::places::{Child, Directory, DirectoryId, Fact, FactId, FileId, Places, ROOT};
use super::{CLOSURE_BYTES, CLOSURE_FILES, Closure, DiscoverError, Item, Object, SYMLINKS_FOLLOWED};
use crate::inputs::scan::{Alias, Definition, Mentions, References};
use crate::inputs::tree::{
    Listed, Listing, Mark, StatTuple, Tree, TreeError, as_path, join, join_to, precompiled_header_of,
};

/// Whether the directories a relative name passes are listed, so that names not shipped can be poisoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// For what a source file names.
    Listed,
    /// For what is only passed through: symlink targets, absolute names, what the command line names.
    Unlisted,
}

/// What a name led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A regular file, and the directory its name was found in, before any symlink of its own.
    File {
        /// Where an include within the file is searched first.
        directory: DirectoryId,
        /// The file itself.
        file: FileId,
    },
    /// A directory.
    Directory(DirectoryId),
    /// Nothing: no such name, a file where a directory is needed, or too many symlinks.
    Absent,
}

/// A set of small numbers.
#[derive(Debug, Default)]
pub(super) struct NumberSet(Vec<bool>);

impl NumberSet {
    /// Whether `number` was not in it.
    pub(super) fn insert(&mut self, number: usize) -> bool {
        if number >= self.0.len() {
            self.0.resize(number + 1, false);
        }
        !std::mem::replace(&mut self.0[number], true)
    }

    fn contains(&self, number: usize) -> bool {
        self.0.get(number).copied().unwrap_or_default()
    }
}

/// Names up to which a directory is listed that is only passed through: each is told to every builder.
const PASSAGE_NAMES: usize = 512;

/// How much earlier discoveries found.
struct Old {
    directories: usize,
    files: usize,
    facts: usize,
}

/// Everything met in one discovery.
pub(super) struct Walker<'t> {
    tree: &'t Tree,
    /// With what earlier discoveries found.
    places: Places,
    /// How much of that.
    old: Old,
    /// The facts met.
    met: Vec<FactId>,
    is_met: NumberSet,
    /// The same in the order they were met in, again and again, for whoever records them.
    pub(super) trace: Vec<FactId>,
    /// The files scanned.
    scanned: NumberSet,
    /// The directories listed, by number.
    listed: Vec<Option<Listed>>,
    /// Where the path of a child is put together that is asked for.
    path: Vec<u8>,
    /// Something was asked that no fact tells of, or a file was read otherwise than it was looked at, or a moment after
    /// it changed.
    is_odd: bool,
}

impl<'t> Walker<'t> {
    /// Goes on from `places` that nothing is known to have changed of, or from nothing.
    pub(super) fn new(tree: &'t Tree, places: Option<Places>) -> Result<Self, DiscoverError> {
        let places = match places {
            Some(places) => places,
            None => {
                let missing = || DiscoverError::Missing {
                    path: as_path(b"/").to_owned(),
                };
                Places::new(tree.stat(b"/")?.ok_or_else(missing)?)
            }
        };
        Ok(Self {
            tree,
            old: Old {
                directories: places.directories.len(),
                files: places.files.len(),
                facts: places.len(),
            },
            places,
            met: Vec::new(),
            is_met: NumberSet::default(),
            trace: Vec::new(),
            scanned: NumberSet::default(),
            listed: Vec::new(),
            path: Vec::new(),
            is_odd: false,
        })
    }

    /// Notes that the discovery rests on `fact`.
    pub(super) fn meet(&mut self, fact: FactId) {
        self.trace.push(fact);
        if self.is_met.insert(fact.0) {
            self.met.push(fact);
        }
    }

    /// Resolves `path` from `start`. An absolute path lists no directory it passes.
    pub(super) fn walk(
        &mut self,
        start: DirectoryId,
        path: &[u8],
        passage: Passage,
    ) -> Result<Found, DiscoverError> {
        self.resolve(start, path, passage, &mut 0)
    }

    /// Notes that the names of `directory` count, and reads them.
    pub(super) fn list(&mut self, directory: DirectoryId) -> Result<(), DiscoverError> {
        let fact = self.places.listed(directory);
        self.meet(fact);
        self.read_names(directory)
    }

    fn read_names(&mut self, directory: DirectoryId) -> Result<(), DiscoverError> {
        if self.listing(directory).is_none() {
            let listed = self.tree.listing(&self.places.directories[directory.0].path)?;
            self.note_listing(directory, listed);
        }
        Ok(())
    }

    fn listing(&self, directory: DirectoryId) -> Option<&Listed> {
        self.listed.get(directory.0)?.as_ref()
    }

    fn note_listing(&mut self, directory: DirectoryId, listed: Listed) {
        if directory.0 >= self.listed.len() {
            self.listed.resize(directory.0 + 1, None);
        }
        self.listed[directory.0] = Some(listed);
    }

    /// Reads the names of the directories that were only passed through as well, as far as that costs little. What a
    /// compiler may ask for there unforeseen, by a `__has_include` that no scanner understands, is then poison, and the
    /// compile fails loudly. Left out are directories of very many names, and those where anybody's come and go.
    pub(super) fn list_passages(&mut self) {
        for directory in self.directories() {
            let entry = &self.places.directories[directory.0];
            if self.listing(directory).is_none() && !entry.stat.is_sticky() {
                let listed = self.tree.listing_of_few(&entry.path, PASSAGE_NAMES);
                if let Some(listed) = listed.ok().flatten() {
                    self.note_listing(directory, listed);
                }
            }
        }
    }

    /// The directories met.
    fn directories(&self) -> Vec<DirectoryId> {
        let met = self.met.iter().filter_map(|fact| match self.places.fact(*fact) {
            Fact::Directory(directory) => Some(*directory),
            _ => None,
        });
        std::iter::once(ROOT).chain(met).collect()
    }

    /// Notes that `precompiled` stands where a precompiled form of what `header` is would be.
    pub(super) fn note_precompiled(&mut self, header: Found, precompiled: Found) {
        let fact = match (header, precompiled) {
            (_, Found::Absent) => return,
            (Found::File { .. }, Found::File { .. }) => Fact::Precompiled,
            _ => Fact::OddPrecompiled,
        };
        let fact = self.places.add(fact);
        self.meet(fact);
    }

    /// Whether any such form was met.
    pub(super) fn meets_precompiled(&self) -> bool {
        let mut facts = self.met.iter().map(|fact| self.places.fact(*fact));
        facts.any(|fact| matches!(fact, Fact::Precompiled | Fact::OddPrecompiled))
    }

    /// Whether there is anything at `path`, which no closure tells.
    pub(super) fn exists(&mut self, path: &[u8]) -> Result<bool, DiscoverError> {
        self.is_odd = true;
        Ok(self.tree.stat(path)?.is_some())
    }

    /// Whether `path` is a device, FIFO or socket, which no closure tells.
    pub(super) fn is_device(&mut self, path: &[u8]) -> Result<bool, DiscoverError> {
        self.is_odd = true;
        let is_other = |stat: StatTuple| !(stat.is_file() || stat.is_directory() || stat.is_symlink());
        Ok(self.tree.stat(path)?.is_some_and(is_other))
    }

    /// What the bytes of `file` refer to.
    pub(super) fn scan(&mut self, file: FileId) -> Result<Arc<References>, DiscoverError> {
        self.scanned.insert(file.0);
        let entry = &mut self.places.files[file.0];
        if let Some(scanned) = &entry.scanned {
            return Ok(Arc::clone(&scanned.references));
        }
        let scanned = self.tree.scanned(&entry.path, &entry.stat)?;
        let references = Arc::clone(&scanned.references);
        entry.scanned = Some(scanned);
        self.is_odd |= !entry.is_still(Some(entry.stat));
        Ok(references)
    }

    /// What `file`, which was scanned, asks for through the macro `alias`; if `whole`, with all its words.
    pub(super) fn mentions(
        &mut self,
        file: FileId,
        alias: &Arc<Alias>,
        whole: bool,
    ) -> Result<Arc<Mentions>, DiscoverError> {
        let entry = &mut self.places.files[file.0];
        let known = entry.mentions.as_ref().filter(|(of, _)| Arc::ptr_eq(of, alias));
        if let Some((_, mentions)) = known.filter(|(_, mentions)| mentions.is_whole || !whole) {
            return Ok(Arc::clone(mentions));
        }
        let Some(scanned) = &entry.scanned else {
            return Ok(Arc::default());
        };
        let mentions = self.tree.mentions(&entry.path, &scanned.digest, alias, whole)?;
        entry.mentions = Some((Arc::clone(alias), Arc::clone(&mentions)));
        Ok(mentions)
    }

    /// The macro `name`, made ready to be looked for.
    pub(super) fn alias(&self, name: &[u8]) -> Arc<Alias> {
        self.tree.alias(name)
    }

    /// What `file`, which was scanned, makes of the macro `name`.
    pub(super) fn definitions(&self, file: FileId, name: &[u8]) -> Result<Arc<[Definition]>, DiscoverError> {
        let entry = &self.places.files[file.0];
        entry.scanned.as_ref().map_or(Ok(Arc::default()), |scanned| {
            Ok(self.tree.definitions(&entry.path, &scanned.digest, name)?)
        })
    }

    /// The physical path of `file` and its size.
    pub(super) fn file(&self, file: FileId) -> (&[u8], u64) {
        let entry = &self.places.files[file.0];
        (&entry.path, entry.stat.size)
    }

    /// Reads the digests still unknown and makes a closure of everything met.
    pub(super) fn finish(&mut self) -> Result<Closure, DiscoverError> {
        self.refuse_directories_of_two_paths()?;
        let mut closure = Closure::default();
        let mut absent: BTreeMap<DirectoryId, Vec<&[u8]>> = BTreeMap::new();
        let met = |fact: &&FactId| self.is_met.contains(fact.0);
        let there: Vec<_> = self.places.in_order().iter().filter(met).copied().collect();
        closure.items.reserve_exact(there.len());
        for fact in there {
            closure.items.push(match self.places.fact(fact) {
                Fact::Directory(directory) => self.directory_item(*directory),
                Fact::File(file) => {
                    closure.total_bytes += self.places.files[file.0].stat.size;
                    self.file_item(*file)?
                }
                Fact::Symlink(item) => Arc::clone(item),
                Fact::Absent(..) | Fact::Listed(_) | Fact::Precompiled | Fact::OddPrecompiled => continue,
            });
        }
        for fact in &self.met {
            match self.places.fact(*fact) {
                Fact::Absent(directory, name) => {
                    // It came meanwhile. Who compares names later would not see that.
                    let listed = self.listing(*directory);
                    if listed.is_some_and(|listed| listed.listing.names.contains_key(name)) {
                        return Err(raced(&self.places.directories[directory.0].path));
                    }
                    absent.entry(*directory).or_default().push(name);
                }
                Fact::Directory(_) | Fact::File(_) | Fact::Symlink(_) | Fact::Listed(_) => {}
                Fact::Precompiled => closure.precompiled = true,
                Fact::OddPrecompiled => closure.odd_precompiled = true,
            }
        }
        let path = |directory: DirectoryId| Arc::clone(&self.places.directories[directory.0].path);
        let absent = absent.into_iter();
        closure.absent = absent
            .map(|(at, names)| (path(at), names.into_iter().collect()))
            .collect();
        let listed = self.listed.iter().enumerate();
        closure.listed = listed
            .filter_map(|(at, listed)| Some((path(DirectoryId(at)), listed.clone()?)))
            .collect();
        Ok(closure)
    }

    /// Looks at what earlier discoveries found of which watches do not tell all.
    pub(super) fn look_again(&mut self) -> Result<(), DiscoverError> {
        for fact in self.met.clone() {
            match *self.places.fact(fact) {
                Fact::Directory(at) if at.0 < self.old.directories => {
                    let directory = &mut self.places.directories[at.0];
                    match self.tree.stat(&directory.path)? {
                        Some(now) if now.is_same_inode(&directory.stat) => directory.stat = now,
                        _ => return Err(raced(&directory.path)),
                    }
                }
                Fact::File(file) if file.0 < self.old.files => {
                    let file = &self.places.files[file.0];
                    if file.may_be_mapped && !file.is_still(self.tree.stat(&file.path)?) {
                        return Err(raced(&file.path));
                    }
                }
                Fact::Listed(directory) if directory.0 < self.old.directories => {
                    self.read_names(directory)?;
                    self.refuse_new_precompiled(directory)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A precompiled form that came since its header was looked up was not looked for.
    fn refuse_new_precompiled(&self, directory: DirectoryId) -> Result<(), DiscoverError> {
        let listed = self.listing(directory);
        let Some(listed) = listed.filter(|listed| listed.listing.has_precompiled) else {
            return Ok(());
        };
        let is_looked_up = |name: &[u8]| self.places.child(directory, name).is_some();
        let is_new = |name: &[u8]| {
            precompiled_header_of(name).is_some_and(|header| is_looked_up(header) && !is_looked_up(name))
        };
        if listed.listing.names.keys().any(|name| is_new(name)) {
            return Err(raced(&self.places.directories[directory.0].path));
        }
        Ok(())
    }

    fn directory_item(&mut self, directory: DirectoryId) -> Arc<Item> {
        let directory = &mut self.places.directories[directory.0];
        let object = Object::Directory { stat: directory.stat };
        if let Some(item) = directory.item.as_ref().filter(|item| item.object == object) {
            return Arc::clone(item);
        }
        let item = self.tree.share(Arc::clone(&directory.path), object);
        directory.item = Some(Arc::clone(&item));
        item
    }

    fn file_item(&mut self, file: FileId) -> Result<Arc<Item>, DiscoverError> {
        let is_scanned = self.scanned.contains(file.0);
        let file = &mut self.places.files[file.0];
        if let Some(scanned) = file.scanned.as_ref().filter(|_| is_scanned) {
            return Ok(Arc::clone(&scanned.item));
        }
        if let Some(item) = &file.opaque {
            return Ok(Arc::clone(item));
        }
        let content = self.tree.content(&file.path, &file.stat)?;
        let item = self.tree.share(Arc::clone(&file.path), content.object(false));
        file.opaque = Some(Arc::clone(&item));
        self.is_odd |= !file.is_still(Some(file.stat));
        Ok(item)
    }

    /// What this discovery and those before it found, and as of when watches prove all of it; `None` if they do not, or
    /// if more changed since `since` than names that nobody looked up.
    pub(super) fn proven(self, since: Mark) -> Option<(Places, Mark)> {
        if self.is_odd {
            return None;
        }
        let changes = self.tree.changes_since(since)?;
        let mut listings = HashMap::default();
        let mut listing = |directory: DirectoryId| -> Option<Arc<Listing>> {
            let listing = listings
                .entry(directory)
                .or_insert_with(|| self.proven_listing(directory, changes.mark));
            listing.clone()
        };
        let mut is_proven = |fact: &Fact| match fact {
            Fact::Directory(directory) => {
                let Directory { path, stat, .. } = &self.places.directories[directory.0];
                self.tree.is_directory_proven(path, stat)
            }
            Fact::File(file) => {
                let file = &self.places.files[file.0];
                file.is_still(self.tree.proven(&file.path).flatten())
            }
            Fact::Symlink(item) => match &item.object {
                Object::Symlink { stat, .. } => self.tree.proven(&item.path) == Some(Some(*stat)),
                Object::Directory { .. } | Object::File { .. } => false,
            },
            Fact::Absent(directory, name) => {
                let path = &self.places.directories[directory.0].path;
                if self.listing(*directory).is_none() {
                    return self.tree.proven(&join(path, name)) == Some(None);
                }
                listing(*directory).is_some_and(|listing| !listing.names.contains_key(name))
            }
            Fact::Listed(directory) => listing(*directory).is_some(),
            Fact::Precompiled | Fact::OddPrecompiled => true,
        };
        let is_proven = self.places.facts_since(self.old.facts).iter().all(&mut is_proven);
        let holds = is_proven && !self.places.are_concerned(&changes);
        holds.then_some((self.places, changes.mark))
    }

    /// The names in `directory` as of `mark` or later, if all that happens to them has been told of since.
    fn proven_listing(&self, directory: DirectoryId, mark: Mark) -> Option<Arc<Listing>> {
        let path = &self.places.directories[directory.0].path;
        let listed = self.tree.listing(path).ok()?;
        self.tree.is_listing_proven(path, mark).then_some(listed.listing)
    }

    /// Compilers know a directory again by its inode, whatever its path, and search it once. A bind mount gives it a
    /// second one, which no mirror has.
    fn refuse_directories_of_two_paths(&self) -> Result<(), DiscoverError> {
        let mut inodes = HashSet::default();
        for directory in self.directories() {
            let Directory { path, stat, .. } = &self.places.directories[directory.0];
            if !inodes.insert((stat.dev, stat.ino)) {
                return Err(DiscoverError::MountedTwice {
                    path: as_path(path).to_owned(),
                });
            }
        }
        Ok(())
    }

    fn resolve(
        &mut self,
        start: DirectoryId,
        path: &[u8],
        passage: Passage,
        links: &mut usize,
    ) -> Result<Found, DiscoverError> {
        if path.is_empty() {
            return Ok(Found::Absent);
        }
        let (start, passage) = if path.starts_with(b"/") {
            (ROOT, Passage::Unlisted)
        } else {
            (start, passage)
        };
        let mut found = Found::Directory(start);
        for component in path.split(|byte| *byte == b'/') {
            let Found::Directory(at) = found else {
                // A trailing slash or dot asks for a directory as well.
                return Ok(Found::Absent);
            };
            found = match component {
                b"" | b"." => Found::Directory(at),
                b".." => Found::Directory(self.places.directories[at.0].parent),
                name => self.step(at, name, passage, links)?,
            };
        }
        Ok(found)
    }

    fn step(
        &mut self,
        at: DirectoryId,
        name: &[u8],
        passage: Passage,
        links: &mut usize,
    ) -> Result<Found, DiscoverError> {
        if passage == Passage::Listed {
            self.list(at)?;
        }
        let found = match self.child(at, name)? {
            Child::Absent => Found::Absent,
            Child::Directory(directory) => Found::Directory(directory),
            Child::File(file) => Found::File { directory: at, file },
            Child::Symlink(target) => {
                *links += 1;
                if *links > SYMLINKS_FOLLOWED {
                    return Ok(Found::Absent);
                }
                match self.resolve(at, &target, Passage::Unlisted, links)? {
                    Found::File { file, .. } => Found::File { directory: at, file },
                    other => other,
                }
            }
        };
        if passage == Passage::Listed {
            self.look_for_precompiled(at, name, found)?;
        }
        Ok(found)
    }

    fn child(&mut self, at: DirectoryId, name: &[u8]) -> Result<Child, DiscoverError> {
        if let Some((fact, child)) = self.places.child(at, name) {
            let (fact, child) = (*fact, child.clone());
            self.meet(fact);
            return Ok(child);
        }
        let listed = self.listing(at);
        let (fact, child) = if listed.is_some_and(|listed| !listed.listing.names.contains_key(name)) {
            (None, Child::Absent)
        } else {
            self.path.clear();
            join_to(&mut self.path, &self.places.directories[at.0].path, name);
            match self.tree.look(&self.path)? {
                None => (None, Child::Absent),
                Some((path, stat)) => self.record(at, path, stat)?,
            }
        };
        let fact = self.places.add_child(at, name, fact, child.clone());
        self.meet(fact);
        Ok(child)
    }

    /// Records an existing path.
    fn record(
        &mut self,
        parent: DirectoryId,
        path: Arc<[u8]>,
        stat: StatTuple,
    ) -> Result<(Option<Fact>, Child), DiscoverError> {
        let places = &mut self.places;
        if places.directories.len() + places.files.len() + places.symlinks > CLOSURE_FILES {
            return Err(DiscoverError::TooManyFiles);
        }
        if stat.is_directory() {
            let directory = places.add_directory(path, parent, stat);
            return Ok((Some(Fact::Directory(directory)), Child::Directory(directory)));
        }
        if stat.is_symlink() {
            let target = self.tree.link_target(&path, &stat)?;
            let shared: Arc<[u8]> = Arc::from(target.as_slice());
            let item = self.tree.share(path, Object::Symlink { target, stat });
            places.symlinks += 1;
            return Ok((Some(Fact::Symlink(item)), Child::Symlink(shared)));
        }
        if !stat.is_file() {
            return Err(DiscoverError::NotRegular {
                path: as_path(&path).to_owned(),
            });
        }
        places.bytes = places.bytes.saturating_add(stat.size);
        if places.bytes > CLOSURE_BYTES {
            return Err(DiscoverError::TooManyBytes);
        }
        let file = places.add_file(path, stat);
        Ok((Some(Fact::File(file)), Child::File(file)))
    }

    /// Meets the precompiled forms of `name`, which is `header`: gcc takes `x.h.gch` for `x.h` even where there
    /// is no `x.h`.
    fn look_for_precompiled(
        &mut self,
        at: DirectoryId,
        name: &[u8],
        header: Found,
    ) -> Result<(), DiscoverError> {
        let listed = self.listing(at);
        let Some(listed) = listed.filter(|listed| listed.listing.has_precompiled) else {
            return Ok(());
        };
        let mut forms = PRECOMPILED.map(|suffix| [name, suffix].concat()).to_vec();
        forms.retain(|form| listed.listing.names.contains_key(form.as_slice()));
        for form in forms {
            let precompiled = self.walk(at, &form, Passage::Unlisted)?;
            self.note_precompiled(header, precompiled);
        }
        Ok(())
    }
}

/// What gcc and clang append to a header's name to look for its precompiled form.
pub(super) const PRECOMPILED: [&[u8]; 2] = [b".gch", b".pch"];

fn raced(path: &[u8]) -> DiscoverError {
    DiscoverError::Tree(TreeError::Raced {
        path: as_path(path).to_owned(),
    })
}
