//! Discovery against the compilers of this machine: what it names is held against what they open, and a root
//! built from nothing else must compile to the same bytes.

mod errors;
mod root;
mod trace;
mod walk;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::{LocaleSupport, Toolchain, ask, discover, locale_files};
use crate::host::process::command;

/// The C and C++ drivers every test machine has.
const COMPILERS: [&str; 4] = [
    "/usr/bin/gcc",
    "/usr/bin/g++",
    "/usr/bin/clang",
    "/usr/bin/clang++",
];

/// One source per language; C and C++ draw a warning with quotes, the assembler source passes cpp.
const SOURCES: [(&str, &str); 3] = [
    (
        "unit.c",
        "#include <stdio.h>\n#include <limits.h>\nint twice(int n) { int unused; return printf(\"%d\", n + CHAR_BIT); }\n",
    ),
    (
        "unit.cc",
        "#include <vector>\n#include <string>\nstd::size_t f(std::string s) { int unused; return std::vector<char>(s.begin(), s.end()).size(); }\n",
    ),
    (
        "unit.S",
        "#include <limits.h>\n#define NAME start\n.text\n.globl NAME\nNAME:\n ret\n.ascii \"x\"\n",
    ),
];

/// A client's environment in `locale`, with scratch files in `scratch`.
fn environment(locale: &str, scratch: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let scratch = scratch.to_str().unwrap();
    [("PATH", "/usr/bin:/bin"), ("LC_ALL", locale), ("TMPDIR", scratch)]
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .to_vec()
}

/// The toolchain of `compiler`; fails with the remedy where the compiler is missing.
fn toolchain(compiler: &str, env: &[(Vec<u8>, Vec<u8>)]) -> Toolchain {
    assert!(
        Path::new(compiler).exists(),
        "{compiler} is missing: apt-get install gcc g++ clang"
    );
    discover(Path::new(compiler), env, &ask).unwrap()
}

/// A directory with all sources; kept until dropped. Its path has no link in it.
fn workplace() -> (tempfile::TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().canonicalize().unwrap();
    for (name, text) in SOURCES {
        std::fs::write(place.join(name), text).unwrap();
    }
    (scratch, place)
}

/// Runs `program` in `place`; a program that is missing fails the test with the package that has it.
fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    env: &[(Vec<u8>, Vec<u8>)],
    place: &Path,
    package: &str,
) -> Output {
    command(Path::new(program), place)
        .envs(
            env.iter()
                .map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value))),
        )
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}; apt-get install {package}"))
}

/// The headers `compiler` reads for `source` with `flags`, as it spells them. Of the flags optimisation counts,
/// glibc has headers for it; others would make clang name the sanitizers' lists here, which are no headers.
fn headers(
    compiler: &str,
    source: &str,
    flags: &[&str],
    env: &[(Vec<u8>, Vec<u8>)],
    place: &Path,
) -> Vec<PathBuf> {
    let optimisation = flags.iter().copied().filter(|flag| flag.starts_with("-O"));
    let arguments = optimisation.chain(["-M", "-MF", "unit.d", source]);
    let output = run(compiler, arguments, env, place, "gcc g++ clang");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rule = std::fs::read_to_string(place.join("unit.d"))
        .unwrap()
        .replace("\\\n", " ");
    let headers: Vec<PathBuf> = rule
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect();
    assert!(!headers.is_empty(), "{compiler} -M {source} names no header");
    headers
}

/// Everything a compile in `env` needs besides its inputs: entries of the file system without links on the way.
fn shipped(toolchain: &Toolchain, env: &[(Vec<u8>, Vec<u8>)]) -> BTreeSet<PathBuf> {
    let mut entries = BTreeSet::new();
    for path in toolchain.paths.iter().chain(&toolchain.directories) {
        entries.extend(walk::entries(path).unwrap());
    }
    if let LocaleSupport::Files(files) = locale_files(env) {
        entries.extend(files.iter().flat_map(|file| walk::entries(file).unwrap()));
    }
    entries
}

#[test]
fn compilers_are_described() {
    use super::Dialect;
    let env = environment("C", Path::new("/tmp"));
    for (compiler, dialect, word) in [
        ("/usr/bin/gcc", Dialect::Gcc, "gcc"),
        ("/usr/bin/cc", Dialect::Gcc, "cc"),
        ("/usr/bin/g++", Dialect::Gcc, "g++"),
        ("/usr/bin/clang", Dialect::Clang, "clang"),
        ("/usr/bin/clang++", Dialect::Clang, "clang"),
    ] {
        let toolchain = toolchain(compiler, &env);
        assert_eq!(
            (toolchain.compiler.as_path(), toolchain.dialect),
            (Path::new(compiler), dialect)
        );
        assert!(toolchain.version.contains(word), "{}", toolchain.version);
        assert_eq!(toolchain.machine, std::env::consts::ARCH);
        assert!(
            toolchain.paths.contains(&compiler.into()),
            "{:?}",
            toolchain.paths
        );
        assert!(
            toolchain
                .paths
                .iter()
                .all(|path| path.is_absolute() && path.is_file())
        );
        assert!(
            toolchain
                .directories
                .iter()
                .all(|path| path.is_absolute() && path.is_dir())
        );
        // Debian's compilers look there for the tools of their own target, and it has none.
        let target_tools = Path::new("/usr").join(format!("{}-linux-gnu/bin", std::env::consts::ARCH));
        let lists = |directories: &[PathBuf]| {
            let is_tools = |path: &PathBuf| path.ends_with(target_tools.strip_prefix("/usr").unwrap());
            directories.iter().any(is_tools)
        };
        assert_eq!(lists(&toolchain.directories), target_tools.exists());
        assert_eq!(lists(&toolchain.missing_directories), !target_tools.exists());
        assert!(toolchain.missing_directories.iter().all(|path| !path.is_dir()));
        assert!(toolchain.paths.is_sorted() && toolchain.directories.is_sorted());
    }
}
