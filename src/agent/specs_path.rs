//! Whether `LIBRARY_PATH` has gcc read specs that depend on the working directory: the driver looks for them along it too
//! (gcc/gcc.cc, `startfile_prefixes`), and an element that is empty or relative means a directory beside the source. A
//! colon too many, which makes one, is a frequent slip.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The elements of `list` that are another directory in every working directory.
fn relative(list: &[u8]) -> impl Iterator<Item = &Path> {
    list.split(|&byte| byte == b':')
        .filter(|element| !element.starts_with(b"/"))
        .map(|element| Path::new(OsStr::from_bytes(element)))
}

/// Whether what gcc reads along `list` may depend on the working directory.
pub(super) fn is_relative(list: &[u8]) -> bool {
    relative(list).next().is_some()
}

/// Whether no relative element of `list` leads from `cwd` to specs, for a driver with these `files`: each compiler
/// proper is in a directory `<target>/<version>`, and the driver looks into directories of these names first.
pub(super) fn is_harmless(list: &[u8], cwd: &Path, files: &[PathBuf]) -> bool {
    let is_compiler = |file: &&PathBuf| {
        let name = file.file_name().unwrap_or_default();
        name.as_bytes().starts_with(b"cc1")
    };
    let installs = files
        .iter()
        .filter(is_compiler)
        .filter_map(|program| program.parent());
    let below = installs.flat_map(|install| {
        let version = install.file_name().map(Path::new);
        let target = install.parent().and_then(Path::file_name).map(Path::new);
        let both = target.zip(version).map(|(target, version)| target.join(version));
        [target.map(Path::to_owned), both].into_iter().flatten()
    });
    let below: Vec<PathBuf> = below.chain([PathBuf::new()]).collect();
    relative(list).all(|element| {
        let place = cwd.join(element);
        below
            .iter()
            .all(|below| !place.join(below).join("specs").exists())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_beside_a_source_do_harm() {
        let root = tempfile::tempdir().unwrap();
        for place in ["plain", "target/x86_64-linux-gnu", "version/x86_64-linux-gnu/12"] {
            let place = root.path().join(place);
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("specs"), "").unwrap();
        }
        let files = ["/usr/bin/gcc", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1"].map(PathBuf::from);
        for (list, relative, harmless) in [
            ("/opt/lib", false, true),
            ("/opt/lib:", true, true),
            ("", true, true),
            ("plain", true, false),
            ("/opt/lib:./target", true, false),
            ("version:/opt/lib", true, false),
            ("missing", true, true),
        ] {
            assert_eq!(is_relative(list.as_bytes()), relative, "{list}");
            let judged = is_harmless(list.as_bytes(), root.path(), &files);
            assert_eq!(judged, harmless, "{list}");
        }
        assert!(!is_harmless(b":", &root.path().join("plain"), &files));
    }
}
