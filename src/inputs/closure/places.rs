//! What names led to, in a form that outlasts the discovery that found it.
//!
//! PURE. Everything found is a [`Fact`]: a closure is a set of them. Whether they still hold is for [`super::walk`] and
//! [`super::graph`] to prove; nothing here looks at a file.

use std::sync::Arc;

use foldhash::HashMap;

use super::{Item, Object};
use crate::inputs::scan::{Alias, Mentions};
use crate::inputs::tree::{Changes, Scanned, StatTuple, may_be_mapped, precompiled_header_of};

/// A directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DirectoryId(pub(super) usize);

/// A regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) usize);

/// Something that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FactId(pub(super) usize);

/// The directory `/`.
pub(super) const ROOT: DirectoryId = DirectoryId(0);

/// What is true of a name.
#[derive(Debug)]
pub(super) enum Fact {
    /// A directory is there.
    Directory(DirectoryId),
    /// A regular file is there.
    File(FileId),
    /// A symlink is there.
    Symlink(Arc<Item>),
    /// Nothing is there.
    Absent(DirectoryId, Arc<[u8]>),
    /// Names were looked up in the directory, all of whose names count therefore.
    Listed(DirectoryId),
    /// The precompiled form of a header stands beside it.
    Precompiled,
    /// One stands where no header is, or is a directory of several.
    OddPrecompiled,
}

/// What a name in a directory stands for.
#[derive(Debug, Clone)]
pub(super) enum Child {
    Absent,
    Directory(DirectoryId),
    File(FileId),
    Symlink(Arc<[u8]>),
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: Arc<[u8]>,
    pub(super) parent: DirectoryId,
    pub(super) stat: StatTuple,
    /// As closures held it last, maybe with an earlier `stat`.
    pub(super) item: Option<Arc<Item>>,
    listed: Option<FactId>,
    children: HashMap<Arc<[u8]>, (FactId, Child)>,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) path: Arc<[u8]>,
    pub(super) stat: StatTuple,
    pub(super) may_be_mapped: bool,
    pub(super) scanned: Option<Scanned>,
    /// As a closure holds it in which it is not scanned.
    pub(super) opaque: Option<Arc<Item>>,
    /// What it was last asked about, and what it says of that.
    pub(super) mentions: Option<(Arc<Alias>, Arc<Mentions>)>,
}

/// Everything found, by one discovery or several.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) directories: Vec<Directory>,
    pub(super) files: Vec<File>,
    pub(super) symlinks: usize,
    /// Of all files.
    pub(super) bytes: u64,
    facts: Vec<Fact>,
    /// Of them those that tell what is somewhere, ascending by its path.
    by_order: Vec<FactId>,
    by_path: HashMap<Arc<[u8]>, DirectoryId>,
}

impl Places {
    /// Nothing but the root directory, of which `stat` was said.
    pub(super) fn new(stat: StatTuple) -> Self {
        let mut places = Self {
            directories: Vec::new(),
            files: Vec::new(),
            symlinks: 0,
            bytes: 0,
            facts: Vec::new(),
            by_order: Vec::new(),
            by_path: HashMap::default(),
        };
        places.add_directory(b"/"[..].into(), ROOT, stat);
        places
    }

    /// How many facts there are; those added later have this number or a higher one.
    pub(super) fn len(&self) -> usize {
        self.facts.len()
    }

    /// What is true.
    pub(super) fn fact(&self, fact: FactId) -> &Fact {
        &self.facts[fact.0]
    }

    /// The facts that were added since there were `len`.
    pub(super) fn facts_since(&self, len: usize) -> &[Fact] {
        self.facts.get(len..).unwrap_or_default()
    }

    /// All that tell what is somewhere, ascending by its path.
    pub(super) fn in_order(&self) -> &[FactId] {
        &self.by_order
    }

    /// Where there is what `fact` tells of. Any other fact, which is never among those in order, has the root directory's.
    fn path(&self, fact: FactId) -> &[u8] {
        match self.fact(fact) {
            Fact::Directory(directory) => &self.directories[directory.0].path,
            Fact::File(file) => &self.files[file.0].path,
            Fact::Symlink(item) => &item.path,
            Fact::Absent(..) | Fact::Listed(_) | Fact::Precompiled | Fact::OddPrecompiled => b"/",
        }
    }

    pub(super) fn add(&mut self, fact: Fact) -> FactId {
        self.facts.push(fact);
        FactId(self.facts.len() - 1)
    }

    pub(super) fn add_directory(
        &mut self,
        path: Arc<[u8]>,
        parent: DirectoryId,
        stat: StatTuple,
    ) -> DirectoryId {
        let directory = DirectoryId(self.directories.len());
        self.by_path.insert(Arc::clone(&path), directory);
        self.directories.push(Directory {
            path,
            parent,
            stat,
            item: None,
            listed: None,
            children: HashMap::default(),
        });
        directory
    }

    pub(super) fn add_file(&mut self, path: Arc<[u8]>, stat: StatTuple) -> FileId {
        self.files.push(File {
            may_be_mapped: may_be_mapped(&path),
            path,
            stat,
            scanned: None,
            opaque: None,
            mentions: None,
        });
        FileId(self.files.len() - 1)
    }

    /// What `name` in `directory` stands for, if it was looked up.
    pub(super) fn child(&self, directory: DirectoryId, name: &[u8]) -> Option<&(FactId, Child)> {
        self.directories[directory.0].children.get(name)
    }

    /// Notes what it stands for, and that `fact` says so: that it stands for nothing, if there is none.
    pub(super) fn add_child(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        fact: Option<Fact>,
        child: Child,
    ) -> FactId {
        let name: Arc<[u8]> = name.into();
        let is_there = fact.is_some();
        let fact = self.add(fact.unwrap_or_else(|| Fact::Absent(directory, Arc::clone(&name))));
        if is_there {
            let place = self
                .by_order
                .partition_point(|other| self.path(*other) < self.path(fact));
            self.by_order.insert(place, fact);
        }
        self.directories[directory.0].children.insert(name, (fact, child));
        fact
    }

    /// That names were looked up in `directory`.
    pub(super) fn listed(&mut self, directory: DirectoryId) -> FactId {
        if let Some(fact) = self.directories[directory.0].listed {
            return fact;
        }
        let fact = self.add(Fact::Listed(directory));
        self.directories[directory.0].listed = Some(fact);
        fact
    }

    /// Whether any of the `changes` is a name that was looked up, or one that compilers probe for unasked.
    pub(super) fn are_concerned(&self, changes: &Changes) -> bool {
        changes.names.iter().any(|changed| {
            let directory = self.by_path.get(&changed.directory);
            directory.is_some_and(|directory| {
                self.child(*directory, &changed.name).is_some()
                    || precompiled_header_of(&changed.name).is_some()
            })
        })
    }
}

impl File {
    /// Whether the file is still what all that is known of it was found of, for a certainty, if the kernel says `now`
    /// of it.
    pub(super) fn is_still(&self, now: Option<StatTuple>) -> bool {
        let scanned = self.scanned.as_ref().map(|scanned| &scanned.item);
        let mut items = scanned.into_iter().chain(&self.opaque);
        now == Some(self.stat)
            && items.all(|item| match &item.object {
                Object::File { stat, settled, .. } => *settled && now == Some(*stat),
                Object::Directory { .. } | Object::Symlink { .. } => false,
            })
    }
}
