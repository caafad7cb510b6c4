//! Where a compile's outputs go, and what stands there: judged before the compile travels.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use quicc_protocol::limits::ENTRY_NAME;
use quicc_protocol::message::run::{Before, DeclaredOutput};

use crate::compile::{Output, Role};
use crate::inputs::tree::join;

/// An output, located.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// As the compiler was told.
    pub spelled: Vec<u8>,
    /// The real directory.
    pub directory: Vec<u8>,
    /// For the builder; its directory entry is filled in by the table.
    pub declared: DeclaredOutput,
    /// What it is.
    pub role: Role,
}

impl Located {
    /// Its physical path.
    pub fn place(&self) -> Vec<u8> {
        join(&self.directory, &self.declared.name)
    }
}

/// Why an output keeps the compile here: the local compiler's behaviour or message is the one wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OddOutput {
    /// A symlink, device, FIFO or directory stands at the path, or no file may have its name.
    NotRegular,
    /// The directory is missing or may not be written.
    Directory,
}

impl OddOutput {
    /// Stable reason code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotRegular => "odd-output",
            Self::Directory => "output-directory",
        }
    }
}

/// Locates all outputs of a compile run in `cwd`.
pub fn locate(cwd: &[u8], outputs: &[Output]) -> Result<Vec<Located>, OddOutput> {
    outputs.iter().map(|output| locate_one(cwd, output)).collect()
}

/// The same, for a thread that others wait for: `None` unless every output is fit to travel, and named by the real path
/// of its directory, which `is_known`.
pub fn locate_at_once(
    cwd: &[u8],
    outputs: &[Output],
    is_known: impl Fn(&[u8]) -> bool,
) -> Option<Vec<Located>> {
    let located = outputs.iter().map(|output| {
        let path = spelled(cwd, output);
        let (directory, name) = (path.parent()?, path.file_name()?);
        // Neither is told by a path's components: it may end with a slash, or a dot.
        let is_plain = path.as_os_str().as_bytes().ends_with(name.as_bytes());
        let is_here = is_plain && is_known(directory.as_os_str().as_bytes());
        is_here.then(|| judge(output, directory, name).ok())?
    });
    located.collect()
}

fn spelled(cwd: &[u8], output: &Output) -> PathBuf {
    Path::new(OsStr::from_bytes(cwd)).join(OsStr::from_bytes(&output.path))
}

fn locate_one(cwd: &[u8], output: &Output) -> Result<Located, OddOutput> {
    let path = spelled(cwd, output);
    let name = path
        .file_name()
        .filter(|_| !output.path.ends_with(b"/"))
        .ok_or(OddOutput::NotRegular)?;
    let parent = path.parent().ok_or(OddOutput::NotRegular)?;
    let directory = parent.canonicalize().map_err(|_| OddOutput::Directory)?;
    judge(output, &directory, name)
}

/// Judges what stands at `name` in the real `directory`.
fn judge(output: &Output, directory: &Path, name: &OsStr) -> Result<Located, OddOutput> {
    if name.len() > ENTRY_NAME {
        return Err(OddOutput::NotRegular);
    }
    if directory == Path::new("/") {
        // A sandbox cannot give a job the root directory.
        return Err(OddOutput::Directory);
    }
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|_| OddOutput::Directory)?;
    let real = directory.join(name);
    let before = match std::fs::symlink_metadata(&real) {
        Err(_) => Before::Absent,
        Ok(data) if !data.is_file() => return Err(OddOutput::NotRegular),
        Ok(_) if access(&real, AccessFlags::W_OK).is_ok() => Before::Writable,
        Ok(_) => Before::ReadOnly,
    };
    let declared = DeclaredOutput {
        directory: 0,
        name: name.as_bytes().to_vec(),
        before,
    };
    Ok(Located {
        spelled: output.path.clone(),
        directory: directory.as_os_str().as_bytes().to_vec(),
        declared,
        role: output.role,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_located_behind_links_and_odd_ones_stay_here() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("build")).unwrap();
        std::os::unix::fs::symlink("build", real.join("link")).unwrap();
        std::os::unix::fs::symlink("elsewhere", real.join("build/s.o")).unwrap();
        std::fs::write(real.join("build/old.o"), "").unwrap();
        let at = |path: &str| {
            let output = Output {
                path: path.into(),
                role: Role::Object,
            };
            locate(real.as_os_str().as_bytes(), &[output]).map(|mut located| located.remove(0))
        };
        let located = at("link/a.o").unwrap();
        assert_eq!(located.directory, real.join("build").as_os_str().as_bytes());
        assert_eq!(
            (located.declared.name.as_slice(), located.declared.before),
            (&b"a.o"[..], Before::Absent)
        );
        assert_eq!(at("build/old.o").unwrap().declared.before, Before::Writable);
        assert_eq!(at("build/s.o"), Err(OddOutput::NotRegular));
        assert_eq!(at("/dev/null"), Err(OddOutput::NotRegular));
        assert_eq!(at("build"), Err(OddOutput::NotRegular));
        assert_eq!(at("missing/a.o"), Err(OddOutput::Directory));
        let longest = "a".repeat(ENTRY_NAME);
        assert_eq!(
            at(&longest).unwrap().place(),
            real.join(&longest).as_os_str().as_bytes()
        );
        assert_eq!(at(&format!("{longest}a")), Err(OddOutput::NotRegular));
        let known = real.join("build");
        let at_once = |path: &str| {
            let output = Output {
                path: path.into(),
                role: Role::Object,
            };
            let is_known = |directory: &[u8]| directory == known.as_os_str().as_bytes();
            locate_at_once(real.as_os_str().as_bytes(), &[output], is_known)
        };
        for path in ["build/old.o", "build/new.o", "build//new.o", "build/s.o"] {
            assert_eq!(
                at_once(path),
                at(path).ok().map(|located| vec![located]),
                "{path}"
            );
        }
        for path in [
            "link/a.o",
            "a.o",
            "build/../build/a.o",
            "build/a.o/",
            "build/a.o/.",
            "build/.",
            "build/..",
            "/",
        ] {
            assert_eq!(at_once(path), None, "{path}");
        }
        let mut top = at(&longest).unwrap();
        top.directory = b"/".to_vec();
        assert_eq!(top.place(), format!("/{longest}").as_bytes());
    }
}
