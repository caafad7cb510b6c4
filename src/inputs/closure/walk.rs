//! Names resolved as the kernel resolves them, component by component, every step recorded.
//!
//! Never normalises `..` lexically: after a symlink it means the parent of the link's target. Each name is
//! asked of the kernel once per discovery, a failed one not at all where the directory's listing is known.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::{CLOSURE_BYTES, CLOSURE_FILES, Closure, DiscoverError, Item, Object, SYMLINKS_FOLLOWED};
use crate::inputs::scan::{Alias, Definition, Mentions, References};
use crate::inputs::tree::{Listed, Scanned, StatTuple, Tree, as_path, join_to};

/// A directory met in this discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DirectoryId(usize);

/// A regular file met in this discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId(usize);

/// The directory `/`.
pub(super) const ROOT: DirectoryId = DirectoryId(0);

/// Whether the directories a relative name passes are listed, so that names not shipped can be poisoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookups {
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

#[derive(Debug, Clone)]
enum Child {
    Absent,
    Directory(DirectoryId),
    File(FileId),
    Symlink(Arc<[u8]>),
}

#[derive(Debug)]
struct Directory {
    path: Arc<[u8]>,
    parent: DirectoryId,
    stat: StatTuple,
    listed: Option<Listed>,
    children: HashMap<Vec<u8>, Child>,
}

#[derive(Debug)]
struct File {
    path: Arc<[u8]>,
    stat: StatTuple,
    scanned: Option<Scanned>,
}

/// Names up to which a directory is listed that is only passed through: each is told to every builder.
const PASSAGE_NAMES: usize = 512;

/// Everything met so far.
pub(super) struct Walker<'t> {
    tree: &'t Tree,
    directories: Vec<Directory>,
    files: Vec<File>,
    links: Vec<Arc<Item>>,
    /// Where the path of a child is put together that is asked for.
    path: Vec<u8>,
    total_bytes: u64,
    precompiled: bool,
    odd_precompiled: bool,
}

impl<'t> Walker<'t> {
    pub(super) fn new(tree: &'t Tree) -> Result<Self, DiscoverError> {
        let missing = || DiscoverError::Missing {
            path: as_path(b"/").to_owned(),
        };
        let stat = tree.stat(b"/")?.ok_or_else(missing)?;
        let root = Directory::new(b"/"[..].into(), ROOT, stat);
        Ok(Self {
            tree,
            directories: vec![root],
            files: Vec::new(),
            links: Vec::new(),
            path: Vec::new(),
            total_bytes: 0,
            precompiled: false,
            odd_precompiled: false,
        })
    }

    /// Resolves `path` from `start`. An absolute path lists no directory it passes.
    pub(super) fn walk(
        &mut self,
        start: DirectoryId,
        path: &[u8],
        lookups: Lookups,
    ) -> Result<Found, DiscoverError> {
        self.resolve(start, path, lookups, &mut 0)
    }

    /// Reads the names of `directory`.
    pub(super) fn list(&mut self, directory: DirectoryId) -> Result<(), DiscoverError> {
        let entry = &mut self.directories[directory.0];
        if entry.listed.is_none() {
            entry.listed = Some(self.tree.listing(&entry.path)?);
        }
        Ok(())
    }

    /// Reads the names of the directories that were only passed through as well, as far as that costs little. What a
    /// compiler may ask for there unforeseen, by a `__has_include` that no scanner understands, is then poison, and the
    /// compile fails loudly. Left out are directories of very many names, and those where anybody's come and go.
    pub(super) fn list_passages(&mut self) {
        for directory in &mut self.directories {
            if directory.listed.is_none() && !directory.stat.is_sticky() {
                let listed = self.tree.listing_of_few(&directory.path, PASSAGE_NAMES);
                directory.listed = listed.ok().flatten();
            }
        }
    }

    /// Notes that `precompiled` stands where a precompiled form of what `header` is would be.
    pub(super) fn note_precompiled(&mut self, header: Found, precompiled: Found) {
        match (header, precompiled) {
            (_, Found::Absent) => {}
            (Found::File { .. }, Found::File { .. }) => self.precompiled = true,
            _ => self.odd_precompiled = true,
        }
    }

    /// Whether any such form was met.
    pub(super) fn meets_precompiled(&self) -> bool {
        self.precompiled || self.odd_precompiled
    }

    /// Whether there is anything at `path`.
    pub(super) fn exists(&self, path: &[u8]) -> Result<bool, DiscoverError> {
        Ok(self.tree.stat(path)?.is_some())
    }

    /// Whether `path` is a device, FIFO or socket.
    pub(super) fn is_device(&self, path: &[u8]) -> Result<bool, DiscoverError> {
        let is_other = |stat: StatTuple| !(stat.is_file() || stat.is_directory() || stat.is_symlink());
        Ok(self.tree.stat(path)?.is_some_and(is_other))
    }

    /// What the bytes of `file` refer to.
    pub(super) fn scan(&mut self, file: FileId) -> Result<Arc<References>, DiscoverError> {
        let entry = &mut self.files[file.0];
        let scanned = self.tree.scanned(&entry.path, &entry.stat)?;
        let references = Arc::clone(&scanned.references);
        entry.scanned = Some(scanned);
        Ok(references)
    }

    /// What `file`, which was scanned, asks for through the macro `alias`; if `whole`, with all its words.
    pub(super) fn mentions(
        &self,
        file: FileId,
        alias: &Alias,
        whole: bool,
    ) -> Result<Arc<Mentions>, DiscoverError> {
        let entry = &self.files[file.0];
        let nothing = Arc::new(Mentions::default());
        entry.scanned.as_ref().map_or(Ok(nothing), |scanned| {
            let mentions = self.tree.mentions(&entry.path, &scanned.digest, alias, whole);
            Ok(mentions?)
        })
    }

    /// The macro `name`, made ready to be looked for.
    pub(super) fn alias(&self, name: &[u8]) -> Arc<Alias> {
        self.tree.alias(name)
    }

    /// What `file`, which was scanned, makes of the macro `name`.
    pub(super) fn definitions(&self, file: FileId, name: &[u8]) -> Result<Arc<[Definition]>, DiscoverError> {
        let entry = &self.files[file.0];
        entry.scanned.as_ref().map_or(Ok(Arc::default()), |scanned| {
            Ok(self.tree.definitions(&entry.path, &scanned.digest, name)?)
        })
    }

    /// The physical path of `file` and its size.
    pub(super) fn file(&self, file: FileId) -> (&[u8], u64) {
        let entry = &self.files[file.0];
        (&entry.path, entry.stat.size)
    }

    /// Reads the digests still unknown and hands everything met to a closure.
    pub(super) fn finish(self) -> Result<Closure, DiscoverError> {
        self.refuse_directories_of_two_paths()?;
        let mut closure = Closure {
            total_bytes: self.total_bytes,
            precompiled: self.precompiled,
            odd_precompiled: self.odd_precompiled,
            ..Closure::default()
        };
        let mut items = self.links;
        items.reserve(self.files.len() + self.directories.len());
        for file in self.files {
            items.push(match file.scanned {
                Some(scanned) => scanned.item,
                None => {
                    let content = self.tree.content(&file.path, &file.stat)?;
                    self.tree.share(file.path, content.object(false))
                }
            });
        }
        for directory in self.directories {
            let absent = directory.children.into_iter();
            let absent: BTreeSet<_> = absent
                .filter_map(|(name, child)| matches!(child, Child::Absent).then_some(name))
                .collect();
            if !absent.is_empty() {
                closure.absent.insert(directory.path.clone(), absent);
            }
            if let Some(listed) = directory.listed {
                closure.listed.insert(directory.path.clone(), listed);
            }
            if *directory.path != *b"/" {
                let object = Object::Directory { stat: directory.stat };
                items.push(self.tree.share(directory.path, object));
            }
        }
        items.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        closure.items = items;
        Ok(closure)
    }

    /// Compilers know a directory again by its inode, whatever its path, and search it once. A bind mount gives it a
    /// second one, which no mirror has.
    fn refuse_directories_of_two_paths(&self) -> Result<(), DiscoverError> {
        let mut inodes = HashSet::default();
        let mut directories = self.directories.iter();
        let again = directories.find(|directory| !inodes.insert((directory.stat.dev, directory.stat.ino)));
        again.map_or(Ok(()), |directory| {
            Err(DiscoverError::MountedTwice {
                path: as_path(&directory.path).to_owned(),
            })
        })
    }

    fn resolve(
        &mut self,
        start: DirectoryId,
        path: &[u8],
        lookups: Lookups,
        links: &mut usize,
    ) -> Result<Found, DiscoverError> {
        if path.is_empty() {
            return Ok(Found::Absent);
        }
        let (start, lookups) = if path.starts_with(b"/") {
            (ROOT, Lookups::Unlisted)
        } else {
            (start, lookups)
        };
        let mut found = Found::Directory(start);
        for component in path.split(|byte| *byte == b'/') {
            let Found::Directory(at) = found else {
                // A trailing slash or dot asks for a directory as well.
                return Ok(Found::Absent);
            };
            found = match component {
                b"" | b"." => Found::Directory(at),
                b".." => Found::Directory(self.directories[at.0].parent),
                name => self.step(at, name, lookups, links)?,
            };
        }
        Ok(found)
    }

    fn step(
        &mut self,
        at: DirectoryId,
        name: &[u8],
        lookups: Lookups,
        links: &mut usize,
    ) -> Result<Found, DiscoverError> {
        if lookups == Lookups::Listed {
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
                match self.resolve(at, &target, Lookups::Unlisted, links)? {
                    Found::File { file, .. } => Found::File { directory: at, file },
                    other => other,
                }
            }
        };
        if lookups == Lookups::Listed {
            self.look_for_precompiled(at, name, found)?;
        }
        Ok(found)
    }

    fn child(&mut self, at: DirectoryId, name: &[u8]) -> Result<Child, DiscoverError> {
        let directory = &self.directories[at.0];
        if let Some(child) = directory.children.get(name) {
            return Ok(child.clone());
        }
        let is_unlisted = directory
            .listed
            .as_ref()
            .is_some_and(|listed| !listed.listing.names.contains_key(name));
        let child = if is_unlisted {
            Child::Absent
        } else {
            self.path.clear();
            join_to(&mut self.path, &directory.path, name);
            match self.tree.look(&self.path)? {
                None => Child::Absent,
                Some((path, stat)) => self.meet(at, path, stat)?,
            }
        };
        self.directories[at.0]
            .children
            .insert(name.to_vec(), child.clone());
        Ok(child)
    }

    /// Records an existing path.
    fn meet(
        &mut self,
        parent: DirectoryId,
        path: Arc<[u8]>,
        stat: StatTuple,
    ) -> Result<Child, DiscoverError> {
        if self.directories.len() + self.files.len() + self.links.len() > CLOSURE_FILES {
            return Err(DiscoverError::TooManyFiles);
        }
        if stat.is_directory() {
            self.directories.push(Directory::new(path, parent, stat));
            return Ok(Child::Directory(DirectoryId(self.directories.len() - 1)));
        }
        if stat.is_symlink() {
            let target = self.tree.link_target(&path, &stat)?;
            let shared: Arc<[u8]> = Arc::from(target.as_slice());
            self.links
                .push(self.tree.share(path, Object::Symlink { target, stat }));
            return Ok(Child::Symlink(shared));
        }
        if !stat.is_file() {
            return Err(DiscoverError::NotRegular {
                path: as_path(&path).to_owned(),
            });
        }
        self.total_bytes = self.total_bytes.saturating_add(stat.size);
        if self.total_bytes > CLOSURE_BYTES {
            return Err(DiscoverError::TooManyBytes);
        }
        self.files.push(File {
            path,
            stat,
            scanned: None,
        });
        Ok(Child::File(FileId(self.files.len() - 1)))
    }

    /// Meets the precompiled forms of `name`, which is `header`: gcc takes `x.h.gch` for `x.h` even where there
    /// is no `x.h`.
    fn look_for_precompiled(
        &mut self,
        at: DirectoryId,
        name: &[u8],
        header: Found,
    ) -> Result<(), DiscoverError> {
        let listed = self.directories[at.0].listed.as_ref();
        let Some(listed) = listed.filter(|listed| listed.listing.has_precompiled) else {
            return Ok(());
        };
        let mut forms = PRECOMPILED.map(|suffix| [name, suffix].concat()).to_vec();
        forms.retain(|form| listed.listing.names.contains_key(form.as_slice()));
        for form in forms {
            let precompiled = self.walk(at, &form, Lookups::Unlisted)?;
            self.note_precompiled(header, precompiled);
        }
        Ok(())
    }
}

/// What gcc and clang append to a header's name to look for its precompiled form.
pub(super) const PRECOMPILED: [&[u8]; 2] = [b".gch", b".pch"];

impl Directory {
    fn new(path: Arc<[u8]>, parent: DirectoryId, stat: StatTuple) -> Self {
        Self {
            path,
            parent,
            stat,
            listed: None,
            children: HashMap::default(),
        }
    }
}
