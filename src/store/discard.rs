//! Removes directory trees that peers or jobs filled. Follows no symbolic link, needs no permission bit to be
//! set, and neither recurses nor opens more than one directory at a time: a tree may be as deep as its maker
//! could make it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};

use crate::host::files::{FileError, PathContext, temporary_beside};

/// How often a tree is tried that somebody still writes to: a killed job dies within a second.
const ATTEMPTS: u32 = 40;
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// A thread that removes directories whose owners are gone. Dropping it waits until all are removed.
#[derive(Debug)]
pub struct Discarder {
    queue: Option<mpsc::Sender<PathBuf>>,
    thread: Option<JoinHandle<()>>,
}

impl Discarder {
    /// Starts the thread.
    pub fn start() -> io::Result<Arc<Self>> {
        Self::start_holding(())
    }

    /// The same, and lets go of `held` only after the last removal: the right to the directories, say, so that
    /// whoever gets it next finds none that are just going.
    pub fn start_holding(held: impl Send + 'static) -> io::Result<Arc<Self>> {
        let (queue, paths) = mpsc::channel::<PathBuf>();
        let remove_all = move || {
            paths.iter().for_each(|path| discard_patiently(&path));
            drop(held);
        };
        let thread = thread::Builder::new()
            .name("discarder".to_owned())
            .spawn(remove_all)?;
        Ok(Arc::new(Self {
            queue: Some(queue),
            thread: Some(thread),
        }))
    }

    /// Makes the directory at `path`, which is removed once the result is dropped. Its parent is private to this
    /// process; see [`discard`].
    pub fn create(self: &Arc<Self>, path: PathBuf) -> Result<OwnedDirectory, FileError> {
        fs::create_dir(&path).context("create", &path)?;
        Ok(OwnedDirectory {
            path,
            discarder: Arc::clone(self),
        })
    }
}

impl Drop for Discarder {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that removes directories panicked");
        }
    }
}

/// A directory that goes, with all in it, soon after its owner.
#[derive(Debug)]
pub struct OwnedDirectory {
    path: PathBuf,
    discarder: Arc<Discarder>,
}

impl OwnedDirectory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnedDirectory {
    fn drop(&mut self) {
        if let Some(queue) = &self.discarder.queue {
            // Fails only without the thread, which ends after this.
            let _ = queue.send(std::mem::take(&mut self.path));
        }
    }
}

fn discard_patiently(path: &Path) {
    for _ in 1..ATTEMPTS {
        if discard(path).is_ok() {
            return;
        }
        thread::sleep(PAUSE);
    }
    if let Err(error) = discard(path) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a directory stays on disk"
        );
    }
}

/// Removes `path` and all below it; nothing there is success. `path`'s directory must be writable and private to
/// this process: deep directories are moved up into it before they are emptied, so that no path grows long.
pub fn discard(path: &Path) -> Result<(), FileError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("inspect", path),
    };
    if !kind.is_dir() {
        return fs::remove_file(path).context("remove", path);
    }
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        empty(&directory, path, &mut directories)?;
        fs::remove_dir(&directory).context("remove", &directory)?;
    }
    Ok(())
}

/// Unlinks the files of a directory and moves its subdirectories beside `top`.
fn empty(directory: &Path, top: &Path, moved: &mut Vec<PathBuf>) -> Result<(), FileError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(directory).context("make accessible", directory)?;
            fs::read_dir(directory)
        }
        entries => entries,
    };
    let mut opened = false;
    for entry in entries.context("list", directory)? {
        let entry = entry.context("list", directory)?;
        let path = entry.path();
        // A directory of mode 0444 lists its names and lets nobody remove them.
        if !opened {
            open_up(directory).context("make accessible", directory)?;
            opened = true;
        }
        if entry.file_type().context("inspect", &path)?.is_dir() {
            // Moving a directory changes its `..`, which takes write permission on it.
            open_up(&path).context("make accessible", &path)?;
            let beside = temporary_beside(top);
            fs::rename(&path, &beside).context("move", &path)?;
            // Until then a job that still ends could put a link in its place; beside `top` none reaches it.
            if fs::symlink_metadata(&beside)
                .context("inspect", &beside)?
                .is_dir()
            {
                moved.push(beside);
            } else {
                fs::remove_file(&beside).context("remove", &beside)?;
            }
        } else {
            fs::remove_file(&path).context("remove", &path)?;
        }
    }
    Ok(())
}

fn open_up(directory: &Path) -> io::Result<()> {
    fchmodat(AT_FDCWD, directory, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn left(directory: &Path) -> Vec<PathBuf> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    #[test]
    fn files_links_and_nothing_are_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        for path in [tree, scratch.path().join("absent")] {
            discard(&path).unwrap();
        }
        assert_eq!(left(&outside), [outside.join("kept")]);
        assert_eq!(left(scratch.path()), [outside]);
    }

    #[test]
    fn closed_directories_are_opened() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir_all(tree.join("closed/inner")).unwrap();
        fs::set_permissions(tree.join("closed/inner"), PermissionsExt::from_mode(0o444)).unwrap();
        fs::set_permissions(tree.join("closed"), PermissionsExt::from_mode(0o000)).unwrap();
        discard(&tree).unwrap();
        assert!(left(scratch.path()).is_empty());
    }

    #[test]
    fn a_directory_goes_with_its_owner() {
        let scratch = tempfile::tempdir().unwrap();
        let discarder = Discarder::start().unwrap();
        let owned = discarder.create(scratch.path().join("owned")).unwrap();
        fs::write(owned.path().join("file"), "").unwrap();
        drop(owned);
        drop(discarder);
        assert!(left(scratch.path()).is_empty());
    }

    #[test]
    fn what_is_held_is_let_go_after_the_last_removal() {
        struct Held(PathBuf, mpsc::Sender<Vec<PathBuf>>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.1.send(left(&self.0)).unwrap();
            }
        }
        let scratch = tempfile::tempdir().unwrap();
        let (sender, found) = mpsc::channel();
        let discarder = Discarder::start_holding(Held(scratch.path().to_owned(), sender)).unwrap();
        let owned: Vec<_> = (0..50)
            .map(|number| discarder.create(scratch.path().join(number.to_string())).unwrap())
            .collect();
        drop((owned, discarder));
        assert_eq!(found.recv().unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn depth_beyond_any_path_is_no_matter() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).unwrap();
        // Built from the inside out: no path here is long, the finished tree's is 100 kB.
        for depth in 0..400 {
            let outer = scratch.path().join("outer");
            fs::create_dir(&outer).unwrap();
            fs::rename(&tree, outer.join("d".repeat(250))).unwrap();
            fs::rename(&outer, &tree).unwrap();
            if depth % 100 == 0 {
                fs::write(tree.join("file"), "").unwrap();
            }
        }
        discard(&tree).unwrap();
        assert!(left(scratch.path()).is_empty());
    }
}
