//! Holds a toolchain against the system calls of real compiles: whatever they find must be shipped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{COMPILERS, environment, headers, run, shipped, toolchain, walk, workplace};

/// What a builder's sandbox has of its own. Everything else needs to be shipped.
const PROVIDED: [(&str, &str); 3] = [
    ("/proc", "the kernel's; clang falls back to argv[0] without it"),
    ("/sys", "the kernel's; only processor counts are read"),
    ("/dev", "null, zero, full and urandom are made in every sandbox"),
];

/// Below a search directory of headers, a lookup crosses directories whose header is found elsewhere. Which
/// ones must exist is the business of the inputs of each compile.
const HEADER_DIRECTORY: &str = "include";

/// Flags that bring in other tools or files, by language.
const C_FLAGS: [&[&str]; 4] = [&["-O2"], &["-g"], &["-g", "-gsplit-dwarf"], &["-flto"]];
const CLANG_FLAGS: [&[&str]; 2] = [
    &["-fno-integrated-as", "-g", "-gsplit-dwarf"],
    &["-fsanitize=address,undefined"],
];

/// The paths that system calls of a compile found, as it spelled them.
fn found_paths(
    compiler: &str,
    arguments: &[&str],
    env: &[(Vec<u8>, Vec<u8>)],
    place: &Path,
) -> BTreeSet<PathBuf> {
    let traces = tempfile::tempdir().unwrap();
    let log = traces.path().join("trace");
    let mut line = vec![
        "-ff",
        "-s",
        "4096",
        "-e",
        "trace=%file,readlink,readlinkat",
        "-o",
        log.to_str().unwrap(),
    ];
    line.push(compiler);
    line.extend(arguments);
    let output = run("/usr/bin/strace", line, env, place, "strace");
    assert!(
        output.status.success(),
        "{compiler} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut found = BTreeSet::new();
    for trace in std::fs::read_dir(traces.path()).unwrap() {
        let text = std::fs::read_to_string(trace.unwrap().path()).unwrap();
        found.extend(text.lines().filter_map(found_path).map(|path| place.join(path)));
    }
    found
}

/// The path of a trace line whose call found something there.
fn found_path(line: &str) -> Option<&str> {
    let (call, result) = line.rsplit_once(" = ")?;
    // A failed readlink that says "no link" has found a file or directory.
    let success = !result.starts_with('-') || result.starts_with("-1 EINVAL");
    let (_, arguments) = call.split_once('(')?;
    let path = arguments
        .split('"')
        .nth(1)
        .filter(|path| !path.is_empty() && success)?;
    assert!(!path.contains('\\'), "escaped path in {line}");
    let from_directory = arguments.starts_with(|digit: char| digit.is_ascii_digit());
    assert!(
        !from_directory || path.starts_with('/'),
        "path beneath a descriptor in {line}"
    );
    Some(path)
}

/// Entries of `found` that are neither shipped nor inputs, outputs or provided by every sandbox.
fn unexplained(
    found: &BTreeSet<PathBuf>,
    shipped: &BTreeSet<PathBuf>,
    inputs: &BTreeSet<PathBuf>,
    place: &Path,
) -> Vec<PathBuf> {
    let provided = |path: &Path| PROVIDED.iter().any(|(directory, _)| path.starts_with(directory));
    let foreign = found
        .iter()
        .filter(|path| !provided(path) && !path.starts_with(place));
    // Files that no longer exist were scratch; those are in `place`, so any here is an error.
    let entries = foreign.flat_map(|path| walk::entries(path).unwrap_or_else(|_| [path.clone()].into()));
    let own: BTreeSet<_> = place.ancestors().map(Path::to_owned).collect();
    let crossed = |entry: &Path| {
        let mut above = entry.parent().into_iter().flat_map(Path::components);
        entry.is_dir() && above.any(|name| name.as_os_str() == HEADER_DIRECTORY)
    };
    let known = |entry: &PathBuf| [shipped, inputs, &own].iter().any(|set| set.contains(entry));
    entries.filter(|entry| !known(entry) && !crossed(entry)).collect()
}

fn check(compiler: &str, source: &str, flags: &[&str], locale: &str) {
    let (_scratch, place) = workplace();
    let env = environment(locale, &place);
    let inputs = headers(compiler, source, flags, &env, &place);
    let inputs: BTreeSet<_> = inputs
        .iter()
        .flat_map(|header| walk::entries(header).unwrap())
        .collect();
    let arguments = [&["-Wall", "-c", source, "-o", "unit.o"], flags].concat();
    let found = found_paths(compiler, &arguments, &env, &place);
    assert!(found.len() > 10, "the trace is empty: {found:?}");
    let missing = unexplained(
        &found,
        &shipped(&toolchain(compiler, &env), &env),
        &inputs,
        &place,
    );
    assert!(
        missing.is_empty(),
        "{compiler} {arguments:?} also needs {missing:?}"
    );
}

#[test]
fn c_compiles_find_nothing_that_is_not_shipped() {
    for compiler in COMPILERS {
        for flags in C_FLAGS {
            check(compiler, "unit.c", flags, "C");
        }
    }
}

#[test]
fn cpp_compiles_find_nothing_that_is_not_shipped() {
    for compiler in COMPILERS {
        check(compiler, "unit.cc", &["-O1", "-g"], "C");
    }
}

#[test]
fn assembler_compiles_find_nothing_that_is_not_shipped() {
    for compiler in COMPILERS {
        check(compiler, "unit.S", &["-g"], "C");
    }
}

#[test]
fn clangs_other_tools_and_lists_are_shipped() {
    for flags in CLANG_FLAGS {
        check("/usr/bin/clang", "unit.c", flags, "C");
    }
}

#[test]
fn a_utf8_locale_is_shipped() {
    for compiler in ["/usr/bin/gcc", "/usr/bin/clang"] {
        check(compiler, "unit.c", &["-g", "-gsplit-dwarf"], "C.UTF-8");
        check(compiler, "unit.S", &["-g"], "en_US.UTF-8");
    }
}

#[test]
fn a_path_that_is_not_shipped_is_noticed() {
    let found = BTreeSet::from([
        "/usr/bin/env".into(),
        "/proc/self/exe".into(),
        "/tmp/place/unit.o".into(),
    ]);
    let shipped = ["/", "/usr", "/usr/bin"].map(PathBuf::from).into();
    let missing = unexplained(&found, &shipped, &BTreeSet::new(), Path::new("/tmp/place"));
    assert!(missing.contains(&"/usr/bin/env".into()), "{missing:?}");
    assert!(
        missing.iter().all(|path| path.starts_with("/usr/bin")),
        "{missing:?}"
    );
}

#[test]
fn trace_lines_are_understood() {
    for (line, expected) in [
        (r#"openat(AT_FDCWD, "/etc/x", O_RDONLY) = 3"#, Some("/etc/x")),
        (
            r#"openat(AT_FDCWD, "/etc/x", O_RDONLY) = -1 ENOENT (No such file or directory)"#,
            None,
        ),
        (
            r#"readlink("/usr", 0x7ffe, 1023) = -1 EINVAL (Invalid argument)"#,
            Some("/usr"),
        ),
        (
            r#"newfstatat(3, "", {st_mode=S_IFREG|0644}, AT_EMPTY_PATH) = 0"#,
            None,
        ),
        (
            r#"execve("/usr/bin/as", ["as", "-o"], 0x1 /* 4 vars */) = 0"#,
            Some("/usr/bin/as"),
        ),
        ("+++ exited with 0 +++", None),
    ] {
        assert_eq!(found_path(line), expected, "{line}");
    }
}
