//! The permanent copy of quicc and the directory of links named like compilers.
//!
//! Build systems store compiler paths. A link must go on working when no farm runs and when the quicc it was made
//! by was rebuilt or removed, so links lead to a copy in the state directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::paths::Paths;
use crate::host::files::{FileError, PathContext, temporary_beside};
use crate::host::process;
use crate::wrapper::compiler::OurFiles;
use crate::wrapper::{WHICH, which};

/// Base names of compilers that are wrapped, before a target's prefix and a version's suffix.
const STEMS: [&str; 8] = ["gcc", "g++", "cc", "c++", "clang", "clang++", "c89", "c99"];

/// Where links lead.
const LINK_TARGET: &str = "../bin/quicc-wrapper";

/// Whether a program of this name is taken for a compiler: `gcc`, `clang++-14`, `aarch64-linux-gnu-g++-12`.
pub fn is_compiler_name(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let unversioned = match name.rsplit_once('-') {
        Some((stem, version))
            if version.starts_with(|first: char| first.is_ascii_digit())
                && version
                    .chars()
                    .all(|other| other.is_ascii_digit() || other == '.') =>
        {
            stem
        }
        _ => name,
    };
    STEMS.iter().any(|stem| {
        unversioned == *stem
            || unversioned
                .strip_suffix(stem)
                .is_some_and(|prefix| prefix.len() > 1 && prefix.ends_with('-'))
    })
}

/// Puts this executable, the wrapper beside it and a link for every compiler in `path` in place. Existing links stay: a
/// stored compiler path must not break because a later build has another `PATH`.
pub fn install(paths: &Paths, path: &OsStr) -> Result<(), FileError> {
    install_executable(Path::new("/proc/self/exe"), &paths.installed())?;
    let links = paths.links();
    std::fs::create_dir_all(&links).context("create", &links)?;
    install_wrapper(paths)?;
    let ours = OurFiles::find(&links, &[paths.installed(), paths.installed_wrapper()]);
    for directory in path
        .as_bytes()
        .split(|&byte| byte == b':')
        .filter(|part| part.starts_with(b"/"))
    {
        let Ok(entries) = std::fs::read_dir(OsStr::from_bytes(directory)) else {
            continue;
        };
        for entry in entries
            .flatten()
            .filter(|entry| is_compiler_name(&entry.file_name()))
        {
            let program = std::fs::metadata(entry.path());
            let is_program = program.is_ok_and(|data| {
                data.is_file() && data.permissions().mode() & 0o111 != 0 && !ours.contains(&data)
            });
            if is_program {
                link(&links.join(entry.file_name()), LINK_TARGET)?;
            }
        }
    }
    Ok(())
}

/// Makes `link` lead to `target`, in one step.
fn link(link: &Path, target: &str) -> Result<(), FileError> {
    if std::fs::read_link(link).is_ok_and(|found| found == Path::new(target)) {
        return Ok(());
    }
    let temporary = temporary_beside(link);
    let made =
        std::os::unix::fs::symlink(target, &temporary).and_then(|()| std::fs::rename(&temporary, link));
    if made.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    made.context("create", link)
}

/// Installs the wrapper beside us if it is of our version. Otherwise its name leads to quicc itself, which does the
/// same: another version would have every agent drain.
fn install_wrapper(paths: &Paths) -> Result<(), FileError> {
    let installed = paths.installed_wrapper();
    let own = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let beside = own.with_file_name("quicc-wrapper");
    let says = || process::command(&beside, Path::new("/")).arg(WHICH).output();
    if beside.is_file() && says().is_ok_and(|output| output.stdout.trim_ascii() == which().as_bytes()) {
        install_executable(&beside, &installed)
    } else {
        link(&installed, "quicc")
    }
}

fn install_executable(own: &Path, installed: &Path) -> Result<(), FileError> {
    let stamp = |path: &Path| std::fs::metadata(path).and_then(|data| Ok((data.len(), data.modified()?)));
    let wanted = stamp(own).context("examine", own)?;
    let is_link = installed.is_symlink();
    if !is_link && stamp(installed).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if let Some(directory) = installed.parent() {
        std::fs::create_dir_all(directory).context("create", directory)?;
    }
    let temporary = temporary_beside(installed);
    let copied = std::fs::copy(own, &temporary)
        .and_then(|_| {
            std::fs::File::options()
                .append(true)
                .open(&temporary)?
                .set_modified(wanted.1)
        })
        .and_then(|()| std::fs::rename(&temporary, installed));
    if copied.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    copied.context("install", installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_known_by_name() {
        for name in [
            "gcc",
            "g++",
            "cc",
            "c++-12",
            "clang++-14",
            "x86_64-linux-gnu-gcc-12",
            "gcc-4.9",
        ] {
            assert!(is_compiler_name(OsStr::new(name)), "{name}");
        }
        for name in [
            "gcc-ar",
            "clang-format",
            "clang-format-14",
            "ccache",
            "distcc",
            "-gcc",
            "gcc-",
            "quicc",
            "rustc",
        ] {
            assert!(!is_compiler_name(OsStr::new(name)), "{name}");
        }
    }
}
