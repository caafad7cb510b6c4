//! The closure of one compile: every file, directory and symlink it may read, and every name it may look
//! for in vain.
//!
//! Follows the scanner's references through the compiler's own search list, over-approximating where the
//! preprocessor's state would decide. Never runs a compiler; where names are computed it says so.

#[cfg(test)]
mod compiler_tests;
mod discovery;
mod expansion;
#[cfg(test)]
mod expansion_tests;
#[cfg(test)]
mod fixture;
mod graph;
#[cfg(test)]
mod graph_tests;
mod lookups;
#[cfg(test)]
mod macro_tests;
mod places;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

pub use discovery::{discover, places};
#[cfg(test)]
pub(crate) use fixture::{Fixture, Mapping};
pub use graph::IncludeGraphs;

use super::names::NameSet;
use super::scan::TimeMacros;
use super::search_list::SearchList;
use super::tree::{ContentDigest, FILE_BYTES, Listed, StatTuple, TreeError};

/// Files, directories and symlinks a closure may hold.
pub const CLOSURE_FILES: usize = 20_000;
/// Bytes they may hold together.
pub const CLOSURE_BYTES: u64 = FILE_BYTES;
/// Symlinks followed for one name, as in Linux (`MAXSYMLINKS`).
pub const SYMLINKS_FOLLOWED: usize = 40;

/// What a compile is known to read before its sources are looked at. Paths are as the compiler gets them;
/// relative ones are relative to `cwd`.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Absolute. Another spelling in `$PWD` belongs to `further_directories`.
    pub cwd: &'a [u8],
    /// The source file.
    pub source: &'a [u8],
    /// The source is a header of which a precompiled one is made: none made before is looked for.
    pub precompiles: bool,
    /// Where includes are searched.
    pub search: &'a SearchList,
    /// Operands of `-D`; `None` where macros may also come from elsewhere than the text of files, from a precompiled
    /// header say.
    pub definitions: Option<&'a [Vec<u8>]>,
    /// Operands of `-include` and `-imacros`.
    pub forced_includes: &'a [Vec<u8>],
    /// Operands of `-I`, `--embed-dir` and their kin, in the closure even if empty, missing or no
    /// directories: both compilers warn about them. The assembler searches them as well.
    pub include_directories: &'a [Vec<u8>],
    /// What the compiler's `-M` named: scanned like includes. A missing one is no error.
    pub dependencies: &'a [Vec<u8>],
    /// Response files, toolchain files and the like, not scanned. A missing one is an error.
    pub further_files: &'a [Vec<u8>],
    /// The same, but a missing one is a failed lookup.
    pub optional_files: &'a [Vec<u8>],
    /// Directories the compiler expects. A missing one is a failed lookup.
    pub further_directories: &'a [Vec<u8>],
}

/// One path the compile may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A directory searched or passed through.
    Directory {
        /// When it was passed.
        stat: StatTuple,
    },
    /// A regular file.
    File {
        /// When it was read.
        stat: StatTuple,
        /// Of its bytes.
        digest: ContentDigest,
        /// Whether anyone may execute it.
        executable: bool,
        /// Whether an equal `stat` proves equal bytes later on.
        settled: bool,
        /// Whether its text was looked at for references; otherwise any byte may decide what else is read.
        scanned: bool,
    },
    /// A symlink; what it leads to is in the closure by itself, as far as it exists.
    Symlink {
        /// Literal.
        target: Vec<u8>,
        /// Of the link itself.
        stat: StatTuple,
    },
}

/// A path of a closure and what is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// Absolute and physical.
    pub path: Arc<[u8]>,
    /// What is there.
    pub object: Object,
}

/// What is at `path` of `items`, which ascend by path.
pub(super) fn find<'a>(items: &'a [Arc<Item>], path: &[u8]) -> Option<&'a Object> {
    let index = items.binary_search_by(|item| (*item.path).cmp(path)).ok()?;
    items.get(index).map(|item| &item.object)
}

/// Everything one compile may read. A path here is absolute and physical: the real path of the parent
/// directory and a name. The root directory itself is not among the `items`.
#[derive(Debug, Clone, Default)]
pub struct Closure {
    /// What exists, ascending by path.
    pub items: Vec<Arc<Item>>,
    /// The directories in which names were looked up, with all their names.
    pub listed: BTreeMap<Arc<[u8]>, Listed>,
    /// By directory, the names looked up and not found.
    pub absent: BTreeMap<Arc<[u8]>, NameSet>,
    /// The macros by which names were found that a file includes or asks for: what defines one of them may change what
    /// is read.
    pub expanded: BTreeSet<Vec<u8>>,
    /// A file includes a name only a preprocessor knows. The closure is then complete only together with
    /// [`Request::dependencies`], and [`super::validate`] cannot see a new file that would shadow one of
    /// them.
    pub computed: bool,
    /// A file probes for a name only a preprocessor knows, which no `-M` of gcc tells: the compile belongs here.
    pub computed_probe: bool,
    /// A file defines a macro that stands for `__has_include`: any edit of any file may ask for another name.
    pub aliased_probe: bool,
    /// A file hands the assembler a name that is not a literal string.
    pub macro_incbin: bool,
    /// A `#line` takes its name from a macro: diagnostics may quote a file that is not in the closure.
    pub computed_line: bool,
    /// The clock and file-time macros that occur in any file.
    pub time_macros: TimeMacros,
    /// A file imports or declares a module.
    pub modules: bool,
    /// The precompiled form (`x.h.gch`, `x.h.pch`) of a header stands beside it and is among `items`.
    pub precompiled: bool,
    /// One stands where no header is, or is a directory of several.
    pub odd_precompiled: bool,
    /// A file loads a precompiled header by pragma.
    pub pch_pragma: bool,
    /// The physical path of the source file, among `items`.
    pub source: Vec<u8>,
    /// Its size in bytes.
    pub source_bytes: u64,
    /// The bytes of all files together.
    pub total_bytes: u64,
}

impl Closure {
    /// What is at `path`.
    pub fn get(&self, path: &[u8]) -> Option<&Object> {
        find(&self.items, path)
    }
}

/// Why no closure could be found: the compile belongs to the local compiler.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A file that must exist does not.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The source file, cwd or further file, as spelled.
        path: PathBuf,
    },
    /// A name stands for a device, FIFO or socket, or the source is a directory.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// The name.
        path: PathBuf,
    },
    /// A directory is reached by two paths, by a bind mount.
    #[error("{} is a directory that is mounted elsewhere as well", path.display())]
    MountedTwice {
        /// Its second path.
        path: PathBuf,
    },
    /// There are more than [`CLOSURE_FILES`].
    #[error("the compile may read more than {limit} files and directories", limit = CLOSURE_FILES)]
    TooManyFiles,
    /// They hold more than [`CLOSURE_BYTES`].
    #[error("the compile may read more than {limit} bytes", limit = CLOSURE_BYTES)]
    TooManyBytes,
    /// A file or directory could not be read, or not twice alike.
    #[error(transparent)]
    Tree(#[from] TreeError),
}
