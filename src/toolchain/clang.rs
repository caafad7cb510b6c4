//! What a clang driver needs for `-c`: its resource directory's lists, external tools, and the files by which
//! it recognises the distribution and the gcc installation whose headers it uses.
//!
//! Nothing for linking, CUDA or ROCm. Headers, the resource directory's too, are inputs, not parts.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::driver::{Driver, include_directories, paths_after};
use super::{DiscoverError, Parts};

/// `as` for `-fno-integrated-as`, `objcopy` for `-gsplit-dwarf` with it.
const PROGRAMS: [&str; 2] = ["as", "objcopy"];

/// Files that tell the distribution (clang/lib/Driver/Distro.cpp); it decides defaults of the cc1 line.
const DISTRIBUTION_FILES: [&str; 10] = [
    "/etc/os-release",
    "/usr/lib/os-release",
    "/etc/lsb-release",
    "/etc/redhat-release",
    "/etc/debian_version",
    "/etc/SuSE-release",
    "/etc/exherbo-release",
    "/etc/alpine-release",
    "/etc/arch-release",
    "/etc/gentoo-release",
];

/// Directories whose names clang lists: toolsets of Red Hat and ROCm (Driver/ToolChains/{Gnu,AMDGPU}.cpp).
const ENUMERATED: [&str; 2] = ["/opt", "/opt/rh"];
/// Beginnings of the names that mean something to clang there.
const ENUMERATED_NAMES: [&[u8]; 4] = [b"gcc-toolset-", b"devtoolset-", b"rocm", b"rh"];
/// Gentoo's gcc-config, which clang reads whole (Driver/ToolChains/Gnu.cpp, `ScanGentooConfigs`).
const GENTOO_DIRECTORY: &str = "/etc/env.d/gcc";

/// Where under each prefix clang looks for `gcc/<target>` (Driver/ToolChains/Gnu.cpp, `LibDirs`).
const LIBRARY_DIRECTORIES: [&str; 4] = ["lib", "lib32", "lib64", "libx32"];
/// What directories of installations are called there.
const INSTALLATIONS: [&str; 2] = ["gcc", "gcc-cross"];
/// The prefix clang looks under besides the one it is installed in.
const SYSTEM_PREFIX: &str = "/usr";

/// How deep a gcc installation's multilib directories nest: `thumb/v7e-m+fp/hard` is three.
const MULTILIB_DEPTH: usize = 4;
/// Entries of one directory looked at.
const MAX_ENTRIES: usize = 4096;

/// Everything below the driver itself.
pub(super) fn parts(driver: &Driver<'_>) -> Result<Parts, DiscoverError> {
    let mut parts = Parts::default();
    for name in PROGRAMS {
        parts.programs.extend(driver.program(name)?);
    }
    parts.directories = driver.search_directories()?;
    if let Some(resources) = driver.path("-print-resource-dir")? {
        // Default ignore lists of the sanitizers: asan_ignorelist.txt and its like.
        parts
            .files
            .extend(entries(&resources.join("share")).filter(|entry| entry.is_file()));
        parts.directories.push(resources);
    }
    let installed = driver.compiler().parent().map(|directory| directory.join(".."));
    for prefix in installed.into_iter().chain([PathBuf::from(SYSTEM_PREFIX)]) {
        let libraries = LIBRARY_DIRECTORIES.map(|name| prefix.join(name));
        parts
            .directories
            .extend(libraries.iter().map(|directory| directory.join("gcc")));
        parts.directories.extend(libraries);
    }
    for language in ["c", "c++"] {
        let verbose = driver.verbose(language)?;
        parts.files.extend(paths_after(&verbose, "Configuration file: "));
        parts.directories.extend(include_directories(&verbose));
        for candidate in paths_after(&verbose, "Found candidate GCC installation: ") {
            gcc_installation(&candidate, &mut parts);
        }
    }
    parts.files.extend(DISTRIBUTION_FILES.iter().map(PathBuf::from));
    parts
        .files
        .extend(entries(Path::new(GENTOO_DIRECTORY)).filter(|entry| entry.is_file()));
    for directory in ENUMERATED.map(Path::new) {
        let listed = entries(directory).filter(|entry| entry.is_dir() && means_something(entry));
        parts.directories.extend(listed);
        parts.directories.push(directory.to_owned());
    }
    Ok(parts)
}

fn means_something(entry: &Path) -> bool {
    let name = entry.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    ENUMERATED_NAMES
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// Where below the system root `root` clang looks for gcc installations (Driver/ToolChains/Gnu.cpp,
/// `ScanLibDirForGCCTriple`): directories that are there, by one of which it finds libstdc++, and those that are not yet.
pub fn installation_places(root: &Path) -> Vec<PathBuf> {
    let directories_in = |place: &PathBuf| entries(place).filter(|entry| entry.is_dir()).collect::<Vec<_>>();
    let mut places = Vec::new();
    for prefix in [root.to_owned(), root.join("usr")] {
        for library in LIBRARY_DIRECTORIES.map(|name| prefix.join(name)) {
            let named = INSTALLATIONS.map(|name| library.join(name));
            let targets: Vec<_> = named.iter().flat_map(directories_in).collect();
            places.extend(targets.iter().flat_map(directories_in));
            places.extend(targets);
            places.extend(named);
            places.push(library);
        }
    }
    // A directory of files lists in any order.
    places.sort();
    places
}

/// Adds what makes clang take `install` for a gcc installation: `crtbegin.o` there and in its multilib
/// directories, and the directory above, which it lists. A directory without the object is none to clang, so
/// its absence from the list changes nothing.
fn gcc_installation(install: &Path, parts: &mut Parts) {
    parts.directories.extend(install.parent().map(Path::to_owned));
    let mut pending = vec![(install.to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        let start_file = directory.join("crtbegin.o");
        if start_file.is_file() {
            parts.files.push(start_file);
            parts.directories.push(directory.clone());
        }
        if depth < MULTILIB_DEPTH {
            // Links are not followed: a cycle of them would multiply the tree.
            let below = entries(&directory).filter(|entry| entry.is_dir() && !entry.is_symlink());
            pending.extend(below.map(|entry| (entry, depth + 1)));
        }
    }
}

/// The entries of `directory`, at most [`MAX_ENTRIES`]; none if it cannot be listed.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let listing = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .take(MAX_ENTRIES);
    listing.flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::toolchain::question::{Answer, Question};

    #[test]
    fn a_gcc_installation_is_recognised_with_its_multilibs() {
        let scratch = tempfile::tempdir().unwrap();
        let install = scratch.path().join("x86_64-linux-gnu/12");
        for directory in ["", "32", "thumb/v7/hard", "include"] {
            std::fs::create_dir_all(install.join(directory)).unwrap();
        }
        for file in [
            "crtbegin.o",
            "32/crtbegin.o",
            "thumb/v7/hard/crtbegin.o",
            "libgcc.a",
            "include/a.h",
        ] {
            std::fs::write(install.join(file), b"").unwrap();
        }
        symlink("..", install.join("32/loop")).unwrap();
        let mut parts = Parts::default();
        gcc_installation(&install, &mut parts);
        parts.files.sort();
        let expected = ["32/crtbegin.o", "crtbegin.o", "thumb/v7/hard/crtbegin.o"];
        assert_eq!(parts.files, expected.map(|file| install.join(file)));
        assert!(parts.directories.contains(&install.parent().unwrap().to_owned()));
        assert!(!parts.directories.contains(&install.join("include")));
    }

    #[test]
    fn lists_and_configuration_files_are_parts() {
        let scratch = tempfile::tempdir().unwrap();
        let resources = scratch.path().join("lib/clang/18");
        std::fs::create_dir_all(resources.join("share")).unwrap();
        std::fs::write(resources.join("share/asan_ignorelist.txt"), b"").unwrap();
        let run = |question: &Question| {
            let (stdout, stderr) = match question.arguments[0].to_str().unwrap() {
                "-print-resource-dir" => (format!("{}\n", resources.display()), String::new()),
                "-v" => (
                    String::new(),
                    "Configuration file: /etc/clang/clang++.cfg\n".to_owned(),
                ),
                _ => (String::new(), String::new()),
            };
            Ok(Answer {
                success: true,
                stdout: stdout.into(),
                stderr: stderr.into(),
            })
        };
        let parts = parts(&Driver::new(Path::new("/opt/clang"), &[], &run)).unwrap();
        assert!(
            parts.files.contains(&resources.join("share/asan_ignorelist.txt")),
            "{:?}",
            parts.files
        );
        assert!(
            parts.files.contains(&"/etc/clang/clang++.cfg".into()),
            "{:?}",
            parts.files
        );
        assert!(parts.directories.contains(&resources), "{:?}", parts.directories);
    }

    #[test]
    fn only_toolsets_count_in_enumerated_directories() {
        for (name, expected) in [
            ("gcc-toolset-13", true),
            ("devtoolset-9", true),
            ("rocm-5.4", true),
            ("google", false),
        ] {
            assert_eq!(means_something(&Path::new("/opt").join(name)), expected, "{name}");
        }
    }
}
