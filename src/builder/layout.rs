//! What one job finds where it writes. The mirror is shared and read-only; only the directories that outputs go
//! to are the job's own: a fresh directory bound over the mirror's, in which everything the mirror has there
//! appears again, protected.
//!
//! Output directories that lie within each other become one tree, in which every directory on the way is the
//! job's own too; so no two output directories are bound over each other, and the order of binds is free.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use quicc_protocol::identifiers::{EntryId, ROOT};
use quicc_protocol::message::run::{Before, DeclaredOutput, SCRATCH_NAME};
use quicc_protocol::message::table::{FileTime, PoisonKind};

use self::held::Occupant;
pub(super) use self::held::{Held, Opened};
use super::mirror::Still;
use super::place::{POISON_DIRECTORY_MODE, stamp_file, stamp_path};
use super::tree::{Child, Directory, Kind};
use crate::host::files::{FileError, PathContext};
use crate::sandbox::Bind;

mod held;

/// Bytes of a sentinel: unpredictable, so that no compiler writes them by chance or by intent.
pub(super) const SENTINEL_BYTES: usize = 32;

/// Directories of one job's own: each is held open until its outputs are collected.
pub const DIRECTORIES: usize = 64;

/// A time before any compile, for files that stand for older ones: the first second of 2000.
const OLD: FileTime = FileTime {
    seconds: 946_684_800,
    nanoseconds: 0,
};

/// Why a job has no layout.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// An output's directory is no directory of the table (any more).
    #[error("the directory of an output was superseded")]
    Superseded,
    /// The sandbox cannot give a job the root directory.
    #[error("an output in the root directory is not supported")]
    Root,
    /// More than [`DIRECTORIES`], those between output directories within each other included.
    #[error("outputs in more than {DIRECTORIES} directories are not supported")]
    TooManyDirectories,
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The directories of one job and what was in them before it ran.
#[derive(Debug)]
pub struct Layout {
    /// Directories the job may write, none within another.
    pub output_directories: Vec<Bind>,
    /// What is bound read-only over names in them.
    pub protected: Vec<Bind>,
    /// The job's directory for temporary files.
    pub scratch: Bind,
    /// Every directory of the job's own, each after the one it stands in.
    pub(super) directories: Vec<Laid>,
    /// The declared outputs, in order.
    pub(super) outputs: Vec<LaidOutput>,
}

/// A directory of the job's own.
#[derive(Debug)]
pub(super) struct Laid {
    pub(super) held: Held,
    /// The directory of the job's own it stands in and its name there: a job can move it away. `None` for one that
    /// stands where no job reaches.
    pub(super) place: Option<(usize, OsString)>,
    /// Its path on the client.
    pub(super) client_path: PathBuf,
    /// What was behind each name before the run.
    pub(super) before: BTreeMap<OsString, Occupant>,
}

/// A declared output and its stand-in.
#[derive(Debug)]
pub(super) struct LaidOutput {
    /// Its directory among [`Layout::directories`].
    pub(super) directory: usize,
    pub(super) name: OsString,
    pub(super) client_path: PathBuf,
    pub(super) sentinel: Option<Sentinel>,
}

/// A file that stands for the client's old output.
#[derive(Debug)]
pub(super) struct Sentinel {
    pub(super) inode: u64,
    pub(super) content: [u8; SENTINEL_BYTES],
}

/// Builds the directories of a job that writes `outputs`, inside the empty directory `job` of this machine. Where
/// no output is declared, the mirror's own directory serves, the working directory included: each name of a
/// directory of the job's own costs time, and an undeclared write elsewhere fails, which the client sees.
/// `owner` is the user jobs run as, where that is not this process's.
/// Blocks on the disk.
pub fn lay(
    still: &Still<'_>,
    job: &Path,
    outputs: &[DeclaredOutput],
    owner: Option<(u32, u32)>,
) -> Result<Layout, LayoutError> {
    let wanted: BTreeSet<EntryId> = outputs.iter().map(|output| output.directory).collect();
    if wanted.contains(&ROOT) {
        return Err(LayoutError::Root);
    }
    if wanted.iter().any(|id| still.tree.directory(*id).is_none()) {
        return Err(LayoutError::Superseded);
    }
    let own = with_directories_between(still, &wanted);
    if own.len() > DIRECTORIES {
        return Err(LayoutError::TooManyDirectories);
    }
    let scratch = job.join("scratch");
    fs::create_dir(&scratch).context("create", &scratch)?;
    let mut builder = LayoutBuilder {
        still,
        owner,
        sources: Sources::prepare(job)?,
        own,
        outputs,
        layout: Layout {
            output_directories: Vec::new(),
            protected: Vec::new(),
            scratch: Bind {
                source: scratch.clone(),
                target: Path::new("/").join(OsStr::from_bytes(SCRATCH_NAME)),
            },
            directories: Vec::new(),
            outputs: Vec::new(),
        },
    };
    builder.give(&scratch)?;
    let tops: Vec<EntryId> = wanted
        .iter()
        .copied()
        .filter(|id| !ancestors(still, *id).any(|ancestor| wanted.contains(&ancestor)))
        .collect();
    for (number, id) in tops.into_iter().enumerate() {
        builder.lay_tree(id, job.join(format!("out{number}")))?;
    }
    builder.finish()
}

fn ancestors<'a>(still: &'a Still<'_>, id: EntryId) -> impl Iterator<Item = EntryId> + 'a {
    let parent = |id: &EntryId| still.tree.node(*id).map(|node| node.parent);
    std::iter::successors(parent(&id), move |id| parent(id).filter(|_| *id != ROOT))
}

/// The directories wanted and those on the way from one of them down to another.
fn with_directories_between(still: &Still<'_>, wanted: &BTreeSet<EntryId>) -> BTreeSet<EntryId> {
    let mut own = wanted.clone();
    for id in wanted {
        let above: Vec<EntryId> = ancestors(still, *id).collect();
        if let Some(topmost) = above.iter().rposition(|id| wanted.contains(id)) {
            own.extend(&above[..topmost]);
        }
    }
    own
}

/// What many names of a layout are made from.
struct Sources {
    /// An empty file; a link to it is cheaper than a file, and what is bound over it hides it.
    placeholder: PathBuf,
    randomness: File,
}

impl Sources {
    fn prepare(job: &Path) -> Result<Self, FileError> {
        let placeholder = job.join("placeholder");
        fs::write(&placeholder, "").context("create", &placeholder)?;
        let path = Path::new("/dev/urandom");
        let randomness = File::open(path).context("open", path)?;
        Ok(Self {
            placeholder,
            randomness,
        })
    }

    fn place(&self, target: &Path) -> io::Result<()> {
        // A file system bounds the links of one file.
        fs::hard_link(&self.placeholder, target).or_else(|_| fs::write(target, ""))
    }
}

struct LayoutBuilder<'a> {
    still: &'a Still<'a>,
    owner: Option<(u32, u32)>,
    sources: Sources,
    /// Directories that are the job's own.
    own: BTreeSet<EntryId>,
    outputs: &'a [DeclaredOutput],
    layout: Layout,
}

impl LayoutBuilder<'_> {
    /// Lays the directory `top` and those of the job's own below it.
    fn lay_tree(&mut self, top: EntryId, path: PathBuf) -> Result<(), LayoutError> {
        self.layout.output_directories.push(Bind {
            source: path.clone(),
            target: self.client_path(top),
        });
        let mut directories = vec![(top, path, None)];
        while let Some((id, path, place)) = directories.pop() {
            let directory = self.still.tree.directory(id).ok_or(LayoutError::Superseded)?;
            fs::create_dir(&path).context("create", &path)?;
            set_mode(&path, 0o755)?;
            self.give(&path)?;
            let number = self.layout.directories.len();
            for (name, child) in &directory.names {
                let is_output =
                    |output: &DeclaredOutput| output.directory == id && output.name.as_slice() == &name[..];
                if self.outputs.iter().any(is_output) {
                    continue;
                }
                let target = path.join(OsStr::from_bytes(name));
                if let Some(below) = self.lay_name(*child, &target)? {
                    let place = (number, OsStr::from_bytes(name).to_owned());
                    directories.push((below, target, Some(place)));
                }
            }
            self.layout.directories.push(Laid {
                held: Held::open(&path)?,
                place,
                client_path: self.client_path(id),
                before: BTreeMap::new(),
            });
        }
        Ok(())
    }

    /// Puts what the mirror has at a name into the job's directory; a directory of the job's own is returned
    /// instead.
    fn lay_name(&mut self, child: Child, target: &Path) -> Result<Option<EntryId>, FileError> {
        let id = match child {
            Child::Poison(kind) => return poison(kind, target).context("poison", target).map(|()| None),
            Child::Entry(id) if self.own.contains(&id) => return Ok(Some(id)),
            Child::Entry(id) => id,
        };
        match self.still.tree.node(id).map(|node| &node.kind) {
            Some(Kind::Symlink(points_to)) => {
                symlink(OsStr::from_bytes(points_to), target).context("create", target)?;
            }
            Some(Kind::File(_)) if !self.still.is_filled(id) => {
                poison(PoisonKind::Link, target).context("poison", target)?;
            }
            Some(Kind::File(_)) => {
                self.sources.place(target).context("create", target)?;
                self.protect(id);
            }
            Some(Kind::Directory(_)) => {
                fs::create_dir(target).context("create", target)?;
                self.protect(id);
            }
            None => {}
        }
        Ok(None)
    }

    fn protect(&mut self, id: EntryId) {
        self.layout.protected.push(Bind {
            source: self.still.root.join(self.still.tree.path(id)),
            target: self.client_path(id),
        });
    }

    fn client_path(&self, id: EntryId) -> PathBuf {
        Path::new("/").join(self.still.tree.path(id))
    }

    /// Puts the outputs' stand-ins in place, then records and dates the directories.
    fn finish(mut self) -> Result<Layout, LayoutError> {
        for output in self.outputs {
            let client_directory = self.client_path(output.directory);
            let mut laid = self.layout.directories.iter();
            let directory = laid
                .position(|laid| laid.client_path == client_directory)
                .ok_or(LayoutError::Superseded)?;
            let name = OsStr::from_bytes(&output.name);
            let path = self.layout.directories[directory].held.made_at().join(name);
            let sentinel = match output.before {
                Before::Absent => None,
                Before::Writable => Some(self.sentinel(&path, 0o644)?),
                Before::ReadOnly => Some(self.sentinel(&path, 0o444)?),
            };
            self.layout.outputs.push(LaidOutput {
                directory,
                name: name.to_owned(),
                client_path: client_directory.join(name),
                sentinel,
            });
        }
        for laid in &mut self.layout.directories {
            laid.before = occupants(&laid.held)?;
            let id = self.still.tree.find(laid.client_path.as_os_str().as_bytes());
            let directory: Option<&Directory> = id.and_then(|id| self.still.tree.directory(id));
            if let Some(modified) = directory.and_then(|directory| directory.modified) {
                // No compile is told apart by a directory's time: best effort.
                let _ = stamp_path(laid.held.made_at(), modified);
            }
        }
        Ok(self.layout)
    }

    fn sentinel(&mut self, path: &Path, mode: u32) -> Result<Sentinel, FileError> {
        let mut content = [0; SENTINEL_BYTES];
        self.sources
            .randomness
            .read_exact(&mut content)
            .context("read", Path::new("/dev/urandom"))?;
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(&content)?;
            stamp_file(&file, mode, OLD)?;
            Ok(file.metadata()?.ino())
        };
        let inode = write().context("create", path)?;
        self.give(path)?;
        Ok(Sentinel { inode, content })
    }

    fn give(&self, path: &Path) -> Result<(), FileError> {
        match self.owner {
            Some((user, group)) => chown(path, Some(user), Some(group)).context("give away", path),
            None => Ok(()),
        }
    }
}

fn poison(kind: PoisonKind, target: &Path) -> io::Result<()> {
    match kind {
        PoisonKind::Link => symlink(target.file_name().unwrap_or_default(), target),
        PoisonKind::Directory => {
            fs::create_dir(target)?;
            fs::set_permissions(target, fs::Permissions::from_mode(POISON_DIRECTORY_MODE))
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).context("set the mode of", path)
}

fn occupants(directory: &Held) -> Result<BTreeMap<OsString, Occupant>, FileError> {
    let mut occupants = BTreeMap::new();
    directory.list(|name, occupant| {
        occupants.insert(name, occupant);
        ControlFlow::Continue(())
    })?;
    Ok(occupants)
}

#[cfg(test)]
mod tests;
