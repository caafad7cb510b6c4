//! Follows a path as the kernel does and tells every entry on the way.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::super::{ask, driver::Driver};

/// Links the kernel follows in one lookup (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Every directory, link and file met on the way along the absolute `path`, each by its name without links.
pub(super) fn entries(path: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut met = BTreeSet::from([PathBuf::from("/")]);
    let mut place = PathBuf::from("/");
    let mut links = 0;
    let mut pending: Vec<OsString> = reversed(path);
    while let Some(name) = pending.pop() {
        if name == ".." {
            place.pop();
            continue;
        }
        let entry = place.join(&name);
        let found = entry.symlink_metadata()?;
        met.insert(entry.clone());
        if found.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::other("too many links"));
            }
            let target = entry.read_link()?;
            if target.is_absolute() {
                place = PathBuf::from("/");
            }
            pending.extend(reversed(&target));
        } else {
            place = entry;
        }
    }
    Ok(met)
}

/// The names of `path`, last first.
fn reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        _ => None,
    });
    names.collect::<Vec<_>>().into_iter().rev().collect()
}

#[test]
fn every_link_and_directory_is_met() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    std::fs::create_dir_all(root.join("real/sub")).unwrap();
    std::fs::write(root.join("real/file"), b"").unwrap();
    std::os::unix::fs::symlink("real/sub", root.join("link")).unwrap();
    let met = entries(&root.join("link/../file")).unwrap();
    let below: Vec<_> = met
        .iter()
        .filter_map(|entry| entry.strip_prefix(&root).ok())
        .collect();
    assert_eq!(
        below,
        ["", "link", "real", "real/file", "real/sub"].map(Path::new)
    );
    assert!(entries(&root.join("absent")).is_err());
}

#[test]
fn gcc_has_its_own_where_it_says_it_looks() {
    let scratch = tempfile::tempdir().unwrap();
    let env = super::environment("C", scratch.path());
    for compiler in ["/usr/bin/gcc", "/usr/bin/g++"] {
        let driver = Driver::new(Path::new(compiler), &env, &ask);
        for name in ["cc1", "cc1plus", "lto1", "no-such-program"] {
            let said = driver.path(&format!("-print-prog-name={name}")).unwrap();
            assert_eq!(driver.own_program(name).unwrap(), said, "{compiler} {name}");
        }
        let objcopy = driver.program("objcopy").unwrap();
        assert_eq!(driver.tool("objcopy").unwrap(), objcopy, "{compiler}");
        for name in ["liblto_plugin.so", "specs", "libgcc.a", "crt1.o"] {
            let said = driver.path(&format!("-print-file-name={name}")).unwrap();
            assert_eq!(driver.own_file(name).unwrap(), said, "{compiler} {name}");
        }
    }
}
