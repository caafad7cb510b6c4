//! The proof: a root built from nothing but what discovery names, and headers, compiles to the same bytes.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{COMPILERS, SOURCES, environment, headers, run, shipped, toolchain, walk, workplace};

/// Split debug information without optimisation only: with it, the id that gcc 12 puts into both files differs
/// from one local compile to the next, seed or not (the same under `setarch -R`).
const FLAGS: [&[&str]; 3] = [&["-O2"], &["-g", "-O1"], &["-g", "-gsplit-dwarf"]];

/// Makes `entries` under `root` as they are here: links as links, files by a hard link or else a copy.
fn build_root(root: &Path, entries: &BTreeSet<PathBuf>) {
    for entry in entries {
        let copy = root.join(entry.strip_prefix("/").unwrap());
        let kind = entry.symlink_metadata().unwrap();
        if kind.is_symlink() {
            symlink(entry.read_link().unwrap(), &copy).unwrap();
        } else if kind.is_dir() {
            std::fs::create_dir_all(&copy).unwrap();
        } else if std::fs::hard_link(entry, &copy).is_err() {
            std::fs::copy(entry, &copy).unwrap();
        }
    }
}

/// Runs `compiler` here and in the root with the same arguments; object and messages must be equal.
fn check(compiler: &str, root: &Path, place: &Path, source: &str, flags: &[&str]) {
    let env = environment("C.UTF-8", place);
    let arguments = [&["-Wall", "-c", source, "-o", "unit.o"], flags].concat();
    let local = run(compiler, &arguments, &env, place, "gcc g++ clang");
    assert!(
        local.status.success(),
        "{}",
        String::from_utf8_lossy(&local.stderr)
    );
    let mut line = vec![
        "--user",
        "--map-root-user",
        "--root",
        root.to_str().unwrap(),
        "--wd",
    ];
    line.extend([place.to_str().unwrap(), compiler]);
    line.extend(&arguments);
    let inside = run("/usr/bin/unshare", &line, &env, place, "util-linux");
    assert!(place.join("unit.o").exists());
    let quotes = String::from_utf8_lossy(&local.stderr).contains('\u{2018}');
    let speaks = source != "unit.S" && !compiler.contains("clang");
    assert_eq!(quotes, speaks, "gcc quotes typographically: {compiler} {source}");
    let messages = String::from_utf8_lossy(&inside.stderr).into_owned();
    assert!(
        inside.status.success(),
        "{compiler} {arguments:?} in its own root: {messages} (user namespaces must be allowed: \
         sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0)"
    );
    assert_eq!(
        messages,
        String::from_utf8_lossy(&local.stderr),
        "{compiler} {arguments:?}"
    );
    for output in ["unit.o", "unit.dwo"] {
        let here = place.join(output);
        let there = root.join(here.strip_prefix("/").unwrap());
        let same = std::fs::read(&here).ok() == std::fs::read(&there).ok();
        assert!(same, "{compiler} {arguments:?}: {output} differs");
        for copy in [here, there].iter().filter(|copy| copy.exists()) {
            std::fs::remove_file(copy).unwrap();
        }
    }
}

fn check_all(compiler: &str) {
    let (_scratch, place) = workplace();
    let env = environment("C.UTF-8", &place);
    let mut entries = shipped(&toolchain(compiler, &env), &env);
    for (source, _) in SOURCES {
        for flags in FLAGS {
            let headers = headers(compiler, source, flags, &env, &place);
            entries.extend(headers.iter().flat_map(|header| walk::entries(header).unwrap()));
        }
        entries.extend(walk::entries(&place.join(source)).unwrap());
    }
    let root = tempfile::tempdir().unwrap();
    build_root(root.path(), &entries);
    for (source, _) in SOURCES {
        for flags in FLAGS {
            check(compiler, root.path(), &place, source, flags);
        }
    }
}

#[test]
fn gcc_compiles_the_same_in_a_root_from_nothing() {
    check_all(COMPILERS[0]);
    check_all(COMPILERS[1]);
}

#[test]
fn clang_compiles_the_same_in_a_root_from_nothing() {
    check_all(COMPILERS[2]);
    check_all(COMPILERS[3]);
}
