//! Finds, on the client, every file a compiler needs to run on another machine: inside a root built from
//! nothing, at the same absolute paths.
//!
//! Headers are no part of a toolchain, they are inputs by content like any other. Nothing here digests,
//! packs or ships: the caller walks each path and ships every link and directory on the way.

mod clang;
mod driver;
mod elf;
mod gcc;
mod loader;
pub mod locale;
mod locale_name;
pub mod question;
pub mod search_path;
pub mod terminal;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use clang::installation_places;
pub use elf::ElfError;
pub use locale::{LocaleSupport, locale_files};
pub use question::{Answer, Question, Run, RunError, ask};
pub use search_path::find_in_path;

use crate::compile::Dialect;
use crate::host::files::{FileError, PathContext};
use driver::Driver;

/// Programs that stand in for a compiler and run another one; what they run is decided at each call.
const WRAPPERS: [&str; 8] = [
    "ccache",
    "distcc",
    "icecc",
    "sccache",
    "colorgcc",
    "quicc",
    "gomacc",
    "rewrapper",
];

/// A compiler and all it needs for `-c`, headers aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler as the caller spelled it: absolute, links not resolved, because `argv[0]` has a meaning.
    pub compiler: PathBuf,
    /// By whose rules it reads its command line.
    pub dialect: Dialect,
    /// The first line of `--version`, for people; at most 200 characters.
    pub version: String,
    /// Every file the tools open or execute, spelled as they spell it (links and `..` not resolved), sorted,
    /// without repetition. Each existed and was a regular file behind its links.
    pub paths: Vec<PathBuf>,
    /// Directories the tools look at or list and that must exist, even if empty; sorted, as spelled. Where
    /// clang lists one, the names that mean something to it lead to an entry of `paths` or of this list.
    pub directories: Vec<PathBuf>,
    /// Directories the tools would look at if they existed: what appears there may be used. Sorted, as spelled.
    pub missing_directories: Vec<PathBuf>,
    /// Directories with message catalogues of this compiler, beside the system's; for
    /// [`locale::LocaleRoots::with_catalogues`].
    pub catalogues: Vec<PathBuf>,
    /// The machine its programs run on, as `uname -m` spells it: `x86_64`.
    pub machine: String,
}

/// Why a compiler cannot be described. All of them mean: compile locally.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The compiler's path depends on a working directory.
    #[error("compiler path {} is not absolute", compiler.display())]
    NotAbsolute {
        /// The path as given.
        compiler: PathBuf,
    },
    /// The compiler is a link to a program that runs another compiler.
    #[error("{} is {wrapper}, which runs another compiler", compiler.display())]
    Wrapped {
        /// The path as given.
        compiler: PathBuf,
        /// The file name behind all links.
        wrapper: String,
    },
    /// The compiler or one of its tools is a script or another kind of file, so what it opens is unknown.
    #[error("{} is not an ELF program", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ElfError,
    },
    /// The compiler defines no macro that tells its dialect, or is one whose tools are found in other ways.
    #[error("{} is neither gcc nor clang: {message}", compiler.display())]
    UnknownDialect {
        /// The compiler.
        compiler: PathBuf,
        /// The first line it wrote to standard error; may be empty.
        message: String,
    },
    /// A tool is chosen by the working directory of each compile.
    #[error("{} is searched for in the relative PATH element {}", program.display(), element.display())]
    RelativePath {
        /// The tool's name.
        program: OsString,
        /// The element of `PATH`, which may be empty.
        element: PathBuf,
    },
    /// The program loader could not name the libraries of a tool.
    #[error("{} cannot list the libraries of {}: {message}", loader.display(), program.display())]
    Loader {
        /// The tool.
        program: PathBuf,
        /// Its loader.
        loader: PathBuf,
        /// What the loader wrote, its first line.
        message: String,
    },
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A program gave no answer.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What a driver of either dialect names, before library closures.
#[derive(Debug, Default)]
struct Parts {
    /// Executables besides the driver.
    programs: Vec<PathBuf>,
    /// Other files; those that do not exist are dropped.
    files: Vec<PathBuf>,
    /// Directories, whether they exist or not.
    directories: Vec<PathBuf>,
    /// Directories with message catalogues; those that do not exist are dropped.
    catalogues: Vec<PathBuf>,
}

/// Describes the compiler at the absolute path `compiler`, as it works in the client's environment `env`
/// (`PATH` decides which `as` and `objcopy` gcc runs). `run` is [`ask`] outside tests.
///
/// Blocks: about 15 short processes, each within [`question::TIME_LIMIT`].
pub fn discover(
    compiler: &Path,
    env: &[(Vec<u8>, Vec<u8>)],
    run: &Run<'_>,
) -> Result<Toolchain, DiscoverError> {
    let real = identify(compiler)?;
    let machine = loader::inspect(compiler)?.machine;
    let driver = Driver::new(compiler, env, run);
    let dialect = driver.dialect()?;
    let parts = match dialect {
        Dialect::Gcc => gcc::parts(&driver)?,
        Dialect::Clang => clang::parts(&driver)?,
    };
    let mut paths = parts.files;
    // clang starts its own cc1 by the path behind all links (/proc/self/exe).
    for program in parts
        .programs
        .into_iter()
        .chain([driver.compiler().to_owned(), real])
    {
        paths.extend(loader::closure(&program, run)?);
        paths.push(program);
    }
    let is_missing = |path: &Path| !path.is_dir();
    Ok(Toolchain {
        compiler: compiler.to_owned(),
        dialect,
        version: driver.version()?,
        paths: sorted(paths, Path::is_file),
        missing_directories: sorted(parts.directories.clone(), is_missing),
        directories: sorted(parts.directories, Path::is_dir),
        catalogues: sorted(parts.catalogues, Path::is_dir),
        machine,
    })
}

/// The file behind all links of `compiler`, if it may be a compiler at all.
fn identify(compiler: &Path) -> Result<PathBuf, DiscoverError> {
    if !compiler.is_absolute() {
        return Err(DiscoverError::NotAbsolute {
            compiler: compiler.to_owned(),
        });
    }
    let real = compiler.canonicalize().context("resolve", compiler)?;
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    if WRAPPERS.contains(&name.as_ref()) {
        return Err(DiscoverError::Wrapped {
            compiler: compiler.to_owned(),
            wrapper: name.into_owned(),
        });
    }
    Ok(real)
}

/// `paths` that satisfy `exists`, sorted, each once.
fn sorted(mut paths: Vec<PathBuf>, exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    // PathBuf's equality would take "/a/./b" for "/a/b"; both lead to the same entries, so one is enough.
    paths.sort();
    paths.dedup();
    paths.retain(|path| exists(path));
    paths
}
