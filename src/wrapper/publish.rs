//! Outputs into place with the compiler's own semantics: whole or not at all, mode 0666 less the umask, a
//! read-only or hard-linked predecessor replaced, and written into only where the compiler does so and it shows.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, SigmaskHow};
use quicc_protocol::message::run::After;
use quicc_protocol::message::wrapper::{OutputFile, Predecessor};

use crate::host::files::{FileError, PathContext, create_whole, temporary_beside, write_into};

/// An output ready to be moved into place.
#[derive(Debug)]
struct Staged<'a> {
    temporary: PathBuf,
    path: PathBuf,
    bytes: &'a [u8],
    predecessor: Predecessor,
}

impl Staged<'_> {
    /// Moves it into place. Where the compiler writes into a file that is there, and that file is not what a new one
    /// would be, it is written into here as well; nothing else is ever seen in part.
    fn place(&self) -> Result<(), FileError> {
        if self.keeps_predecessor() {
            write_into(&self.path, self.bytes).context("write", &self.path)?;
            return std::fs::remove_file(&self.temporary).context("remove", &self.temporary);
        }
        std::fs::rename(&self.temporary, &self.path).context("write", &self.path)
    }

    /// Whether the compiler keeps the file that is there, and that has other names, another mode or another owner than
    /// the new one.
    fn keeps_predecessor(&self) -> bool {
        if self.predecessor == Predecessor::Replaced {
            return false;
        }
        let look = |path: &Path| path.symlink_metadata().ok().filter(std::fs::Metadata::is_file);
        let Some(there) = look(&self.path) else {
            return false;
        };
        let kind = |data: &std::fs::Metadata| (data.mode(), data.uid(), data.gid());
        (self.predecessor == Predecessor::Kept || there.len() == 0)
            && (there.nlink() > 1 || look(&self.temporary).is_none_or(|new| kind(&new) != kind(&there)))
    }
}

/// Writes all outputs beside their places first, then moves them: an error before the moves leaves everything as
/// it was.
pub fn publish(cwd: &Path, outputs: &[OutputFile], contents: &[Vec<u8>]) -> Result<(), FileError> {
    let _whole = Uninterrupted::begin();
    let mut staged = Vec::with_capacity(outputs.len());
    let result = stage_all(cwd, outputs, contents, &mut staged)
        .and_then(|()| staged.iter().try_for_each(Staged::place));
    if result.is_err() {
        for file in &staged {
            let _ = std::fs::remove_file(&file.temporary);
        }
        return result;
    }
    for output in outputs.iter().filter(|output| output.after == After::Absent) {
        let path = cwd.join(OsStr::from_bytes(&output.path));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("remove", &path);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Holds signals back, so that an interrupt leaves no temporary file; it takes effect right afterwards.
struct Uninterrupted(Option<SigSet>);

impl Uninterrupted {
    fn begin() -> Self {
        Self(SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok())
    }
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = before.thread_set_mask();
        }
    }
}

fn stage_all<'a>(
    cwd: &Path,
    outputs: &[OutputFile],
    contents: &'a [Vec<u8>],
    staged: &mut Vec<Staged<'a>>,
) -> Result<(), FileError> {
    let mut contents = contents.iter();
    for output in outputs {
        let After::Written { executable } = output.after else {
            continue;
        };
        let path = cwd.join(OsStr::from_bytes(&output.path));
        let temporary = temporary_beside(&path);
        let bytes = contents.next().map_or(&[][..], Vec::as_slice);
        staged.push(Staged {
            temporary: temporary.clone(),
            path,
            bytes,
            predecessor: output.predecessor,
        });
        let mode = if executable { 0o777 } else { 0o666 };
        create_whole(&temporary, bytes, mode).context("write", &temporary)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn written(path: &str) -> OutputFile {
        OutputFile {
            path: path.into(),
            after: After::Written { executable: false },
            predecessor: Predecessor::KeptIfEmpty,
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn predecessors_are_replaced_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("a.o"), "old").unwrap();
        std::fs::hard_link(at("a.o"), at("linked.o")).unwrap();
        std::fs::set_permissions(at("a.o"), PermissionsExt::from_mode(0o444)).unwrap();
        std::fs::write(at("gone.d"), "old").unwrap();
        let gone = OutputFile {
            path: b"gone.d".to_vec(),
            after: After::Absent,
            predecessor: Predecessor::Kept,
        };
        publish(directory.path(), &[written("a.o"), gone], &[b"new".to_vec()]).unwrap();
        assert_eq!(std::fs::read(at("a.o")).unwrap(), b"new");
        assert_eq!(std::fs::read(at("linked.o")).unwrap(), b"old");
        assert_ne!(
            std::fs::metadata(at("a.o")).unwrap().ino(),
            std::fs::metadata(at("linked.o")).unwrap().ino()
        );
        assert_eq!(names(directory.path()), ["a.o", "linked.o"]);
    }

    #[test]
    fn a_predecessor_that_the_compiler_writes_into_stays_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.d");
        let publish_as = |text: &str| {
            let output = OutputFile {
                predecessor: Predecessor::Kept,
                ..written("a.d")
            };
            let before = std::fs::metadata(&path).ok();
            publish(directory.path(), &[output], &[text.into()]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), text.as_bytes());
            let after = std::fs::metadata(&path).unwrap();
            before.map(|before| (before.ino() == after.ino(), before.mode() == after.mode()))
        };
        assert_eq!(publish_as("first"), None);
        assert_eq!(publish_as("second"), Some((false, true)), "whole or not at all");
        std::fs::hard_link(&path, directory.path().join("linked.d")).unwrap();
        assert_eq!(publish_as("3rd"), Some((true, true)));
        assert_eq!(std::fs::read(directory.path().join("linked.d")).unwrap(), b"3rd");
        std::fs::remove_file(directory.path().join("linked.d")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(publish_as("fourth"), Some((true, true)));
        assert_eq!(names(directory.path()), ["a.d"]);
    }

    #[test]
    fn a_failure_leaves_everything_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.o"), "old").unwrap();
        let outputs = [written("a.o"), written("missing/a.d")];
        let error = publish(directory.path(), &outputs, &[b"new".to_vec(), Vec::new()]).unwrap_err();
        assert!(error.to_string().contains("missing/"), "{error}");
        assert_eq!(names(directory.path()), ["a.o"]);
        assert_eq!(std::fs::read(directory.path().join("a.o")).unwrap(), b"old");
    }
}
