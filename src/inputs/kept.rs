//! A closure as it is kept between compiles: what it shares with others is held once.
//!
//! An agent remembers thousands of closures of hundreds of files each; as maps of paths they would fill its memory.

use std::sync::Arc;

use super::closure::{self, Closure, Item, Object};
use super::names::NameSet;
use super::tree::{Listed, Tree, join, may_be_mapped};

/// How much a closure is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Files, those of the compiler included.
    pub files: u64,
    /// Directories searched or passed through.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Names looked up in vain.
    pub absent: u64,
}

impl Extent {
    fn of(items: &[Arc<Item>], absent: &[(Arc<[u8]>, NameSet)]) -> Self {
        let mut extent = Self {
            absent: absent.iter().map(|(_, names)| names.iter().count() as u64).sum(),
            ..Self::default()
        };
        for item in items {
            match &item.object {
                Object::File { stat, .. } => {
                    extent.files += 1;
                    extent.bytes += stat.size;
                }
                Object::Directory { .. } => extent.directories += 1,
                Object::Symlink { .. } => {}
            }
        }
        extent
    }
}

/// Everything one compile may read, as [`Closure`] says it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What exists, ascending by path.
    pub items: Box<[Arc<Item>]>,
    /// The directories in which names were looked up, with all their names.
    pub listed: Box<[(Arc<[u8]>, Listed)]>,
    /// By directory, the names looked up and not found.
    pub absent: Box<[(Arc<[u8]>, NameSet)]>,
    /// [`Closure::expanded`].
    pub expanded: NameSet,
    /// [`Closure::computed`].
    pub computed: bool,
    /// [`Closure::aliased_probe`].
    pub aliased_probe: bool,
    /// [`Closure::computed_line`].
    pub computed_line: bool,
    /// How much it is. Counted once, since thousands of units ask.
    pub extent: Extent,
    /// The indices of the files that [`may_be_mapped`].
    mapped: Box<[u32]>,
}

impl Kept {
    /// Keeps `closure`, sharing the paths of its directories with all that `tree` knows.
    pub fn new(tree: &Tree, closure: Closure) -> Self {
        let absent = closure
            .absent
            .into_iter()
            .map(|(path, names)| (tree.share_directory(path), names));
        let listed = closure
            .listed
            .into_iter()
            .map(|(path, listed)| (tree.share_directory(path), listed));
        let (items, absent): (Box<[_]>, Box<[_]>) = (closure.items.into(), absent.collect());
        Self {
            extent: Extent::of(&items, &absent),
            mapped: mapped(&items),
            items,
            absent,
            listed: listed.collect(),
            expanded: closure.expanded.iter().map(Vec::as_slice).collect(),
            computed: closure.computed,
            aliased_probe: closure.aliased_probe,
            computed_line: closure.computed_line,
        }
    }

    /// Puts files as they are now, by index, in the place of what was there.
    pub fn replace(&mut self, edited: Vec<(usize, Arc<Item>)>) {
        for (index, item) in edited {
            self.items[index] = item;
        }
        self.extent = Extent::of(&self.items, &self.absent);
        self.mapped = mapped(&self.items);
    }

    /// The files of which watches do not tell all.
    pub fn mapped(&self) -> impl Iterator<Item = &Item> {
        let item = |index: &u32| self.items.get(*index as usize).map(Arc::as_ref);
        self.mapped.iter().filter_map(item)
    }

    /// What is at `path`.
    pub fn get(&self, path: &[u8]) -> Option<&Object> {
        closure::find(&self.items, path)
    }

    /// The names of `directory` looked up in vain.
    pub fn absent_in(&self, directory: &[u8]) -> Option<&NameSet> {
        let index = self
            .absent
            .binary_search_by(|(path, _)| (**path).cmp(directory))
            .ok()?;
        self.absent.get(index).map(|(_, names)| names)
    }

    /// Whether the names of `directory` are known.
    pub fn is_listed(&self, directory: &[u8]) -> bool {
        self.listed
            .binary_search_by(|(path, _)| (**path).cmp(directory))
            .is_ok()
    }

    /// The paths looked up in vain.
    pub fn absent_paths(&self) -> impl Iterator<Item = Vec<u8>> {
        self.absent
            .iter()
            .flat_map(|(directory, names)| names.iter().map(|name| join(directory, name)))
    }
}

fn mapped(items: &[Arc<Item>]) -> Box<[u32]> {
    let is_mapped = |item: &Item| matches!(item.object, Object::File { .. }) && may_be_mapped(&item.path);
    let indexed = (0..).zip(items);
    indexed
        .filter_map(|(index, item)| is_mapped(item).then_some(index))
        .collect()
}
