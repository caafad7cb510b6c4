//! Where actions get their directories: `quicc-jobs` below the configured directory, private to one builder at a
//! time. Never touches anything beside it: the configured directory may be one that others use too.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::BuilderError;
use crate::host::files::{FileError, PathContext};
use crate::store::discard::{Discarder, OwnedDirectory, discard};

/// The one name in the configured directory that is a builder's.
const NAME: &str = "quicc-jobs";
/// Locked while a builder uses the directory it is in.
const LOCK: &str = "lock";

/// The directories of actions.
#[derive(Debug)]
pub(super) struct JobDirectories {
    directory: PathBuf,
    sequence: AtomicU64,
    discarder: Arc<Discarder>,
    /// Let go of after the last removal.
    _lock: Flock<File>,
}

impl JobDirectories {
    /// Takes the place for directories below `build_dir` and removes what an earlier builder left there.
    ///
    /// # Errors
    /// [`BuilderError::BuildDirectoryInUse`] while another builder has it,
    /// [`BuilderError::BuildDirectoryForeign`] when somebody else made something of its name.
    pub(super) fn open(build_dir: &Path, discarder: Arc<Discarder>) -> Result<Self, BuilderError> {
        fs::create_dir_all(build_dir).context("create", build_dir)?;
        let directory = build_dir.join(NAME);
        make_private(&directory)?;
        let lock = lock(&directory)?;
        remove_remains(&directory)?;
        Ok(Self {
            directory,
            sequence: AtomicU64::new(0),
            discarder,
            _lock: lock,
        })
    }

    /// A directory for one action.
    pub(super) fn create(&self) -> Result<OwnedDirectory, FileError> {
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        self.discarder.create(self.directory.join(number.to_string()))
    }
}

/// Makes `directory`, which only this process's user may enter. In a directory like `/tmp` somebody else may have
/// been there first.
fn make_private(directory: &Path) -> Result<(), BuilderError> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error)
                .context("create", directory)
                .map_err(BuilderError::from);
        }
        _ => {}
    }
    let metadata = fs::symlink_metadata(directory).context("inspect", directory)?;
    if !metadata.is_dir() || metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(BuilderError::BuildDirectoryForeign {
            directory: directory.to_owned(),
        });
    }
    let private = fs::Permissions::from_mode(0o700);
    Ok(fs::set_permissions(directory, private).context("set the mode of", directory)?)
}

fn lock(directory: &Path) -> Result<Flock<File>, BuilderError> {
    let path = directory.join(LOCK);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .context("open", &path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => BuilderError::BuildDirectoryInUse {
            directory: directory.to_owned(),
        },
        errno => BuilderError::File(FileError {
            action: "lock",
            path,
            source: errno.into(),
        }),
    })
}

/// Removes what builders leave in a directory of theirs: numbered directories, and what was being removed.
pub(super) fn remove_remains(directory: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(directory).context("list", directory)? {
        let entry = entry.context("list", directory)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".quicc-") || name.bytes().all(|byte| byte.is_ascii_digit()) {
            discard(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    fn open(build_dir: &Path) -> Result<JobDirectories, BuilderError> {
        JobDirectories::open(build_dir, Discarder::start().unwrap())
    }

    #[test]
    fn only_what_builders_made_is_removed_at_the_start() {
        let scratch = tempfile::tempdir().unwrap();
        for name in [
            "17",
            ".quicc-old",
            "quicc-jobs/17/out0",
            "quicc-jobs/.quicc-1-2-out0.tmp",
        ] {
            fs::create_dir_all(scratch.path().join(name)).unwrap();
        }
        open(scratch.path()).unwrap();
        assert_eq!(names(scratch.path()), [".quicc-old", "17", "quicc-jobs"]);
        assert_eq!(names(&scratch.path().join(NAME)), [LOCK]);
    }

    #[test]
    fn one_builder_at_a_time_has_the_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let first = open(scratch.path()).unwrap();
        let action = first.create().unwrap();
        let error = open(scratch.path()).unwrap_err();
        assert!(
            matches!(error, BuilderError::BuildDirectoryInUse { .. }),
            "{error}"
        );
        assert!(action.path().is_dir(), "the first one's action goes on");
        drop((action, first));
        open(scratch.path()).unwrap();
    }

    #[test]
    fn what_is_not_a_directory_of_ours_is_refused_and_ours_is_closed_to_others() {
        let scratch = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir(elsewhere.path().join("17")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), scratch.path().join(NAME)).unwrap();
        let error = open(scratch.path()).unwrap_err();
        assert!(
            matches!(error, BuilderError::BuildDirectoryForeign { .. }),
            "{error}"
        );
        assert_eq!(names(elsewhere.path()), ["17"]);
        fs::remove_file(scratch.path().join(NAME)).unwrap();
        fs::create_dir(scratch.path().join(NAME)).unwrap();
        open(scratch.path()).unwrap();
        let mode = fs::metadata(scratch.path().join(NAME)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
