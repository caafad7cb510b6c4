//! What keeps a compile here whose inputs are known: what only this machine can answer, or a builder would have otherwise.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::compilers::KnownToolchain;
use super::outputs::{Located, OddOutput};
use super::reason::LocalReason;
use crate::compile::Plan;
use crate::inputs::closure::{self, Closure};
use crate::inputs::search_list::SearchList;
use crate::inputs::tree::ContentDigest;

/// No `-M` need be asked for: gcc's tells nothing of it.
pub(super) const COMPUTED_PROBE: &str = "computed-probe";
/// The reason where an assembler may read a file whose name only a preprocessor knows.
pub(super) const COMPUTED_INCBIN: &str = "computed-incbin";
/// How the names of C++ and its headers begin.
const CXX: &str = "c++";

/// Refuses C++ of another gcc installation than the toolchain's own: elsewhere it would not be found, nor the headers
/// beside it, and others of the same names might.
pub(super) fn refuse_foreign_installation(
    plan: &Plan,
    toolchain: &KnownToolchain,
    search: &SearchList,
) -> Result<(), LocalReason> {
    let is_known = |installation: &Vec<u8>| {
        let start_file = [&installation[..], b"/crtbegin.o"].concat();
        toolchain.files.contains(&start_file)
    };
    let is_cxx = plan.language.name().starts_with(CXX);
    if is_cxx && !search.installation.as_ref().is_none_or(is_known) {
        return Err("gcc-installation".into());
    }
    Ok(())
}

/// Refuses a compile that writes over what it reads: on a builder the place of an output is not the input's.
pub(super) fn refuse_overwritten(closure: &Closure, outputs: &[Located]) -> Result<(), LocalReason> {
    if outputs
        .iter()
        .any(|output| closure.get(&output.place()).is_some())
    {
        return Err(OddOutput::NotRegular.code().into());
    }
    Ok(())
}

/// Refuses a closure whose response files are not those the command line was read from.
pub(super) fn require_read_alike(
    closure: &Closure,
    read: &[(PathBuf, ContentDigest)],
) -> Result<(), LocalReason> {
    let is_alike = |(path, digest): &(PathBuf, ContentDigest)| {
        let real = path.canonicalize().ok()?;
        match closure.get(real.as_os_str().as_bytes())? {
            closure::Object::File { digest: now, .. } => Some(now == digest),
            closure::Object::Directory { .. } | closure::Object::Symlink { .. } => None,
        }
    };
    if read.iter().all(|file| is_alike(file) == Some(true)) {
        Ok(())
    } else {
        Err("response-file-changed".into())
    }
}

/// What a closure may hold that only this machine can answer.
pub(super) fn refuse_untravelled(closure: &Closure, reads_clock: bool) -> Result<(), LocalReason> {
    if let Some(item) = closure.items.iter().find(|item| is_machine_made(&item.path)) {
        let path = String::from_utf8_lossy(&item.path);
        return Err(LocalReason::because("special-directory", &path));
    }
    let reason = if reads_clock || closure.time_macros.timestamp {
        "time-macros"
    } else if closure.computed_probe {
        COMPUTED_PROBE
    } else if closure.macro_incbin {
        COMPUTED_INCBIN
    } else if closure.odd_precompiled || closure.pch_pragma {
        "precompiled-header"
    } else {
        return Ok(());
    };
    Err(reason.into())
}

/// Whether a path lies where every machine has files of its own making: sandboxes mount theirs there, and the
/// client's would be hidden.
fn is_machine_made(path: &[u8]) -> bool {
    [&b"/dev"[..], b"/proc", b"/sys"].iter().any(|top| {
        path.strip_prefix(*top)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::tree::Tree;

    #[test]
    fn a_command_line_belongs_to_the_response_files_it_was_read_from() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().canonicalize().unwrap().join("flags.rsp");
        std::fs::write(&file, "-DX=1").unwrap();
        let tree = Tree::new();
        let path = file.as_os_str().as_bytes().into();
        let content = tree.content(&path, &tree.stat(&path).unwrap().unwrap()).unwrap();
        let mut closure = Closure::default();
        let object = closure::Object::File {
            stat: content.stat,
            digest: content.digest,
            executable: false,
            settled: true,
            scanned: false,
        };
        closure.put(&path, object);
        let read = |text: &str| vec![(file.clone(), *blake3::hash(text.as_bytes()).as_bytes())];
        assert_eq!(require_read_alike(&closure, &read("-DX=1")), Ok(()));
        assert!(require_read_alike(&closure, &read("-DX=2")).is_err());
        assert!(require_read_alike(&Closure::default(), &read("-DX=1")).is_err());
    }

    #[test]
    fn what_a_machine_makes_for_itself_does_not_travel() {
        for path in ["/dev", "/dev/shm/x/a.h", "/proc/self", "/sys/a"] {
            assert!(is_machine_made(path.as_bytes()), "{path}");
        }
        for path in ["/device/a.h", "/home/dev/a.h", "/"] {
            assert!(!is_machine_made(path.as_bytes()), "{path}");
        }
    }
}
