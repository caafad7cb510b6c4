//! Whether `LD_LIBRARY_PATH` changes what a compiler loads. `cargo run`, IDEs and SDK environments set it all the
//! time, nearly always to directories that hold none of a compiler's libraries.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::inputs::tree::Tree;

/// Subdirectories in which the loader looks for variants of a library (ld.so(8), "Hardware capabilities"; glibc
/// before 2.37 knew further ones).
const VARIANTS: [&[u8]; 5] = [b"glibc-hwcaps", b"tls", b"haswell", b"avx512_1", b"x86_64"];

/// Whether no directory of the list holds a file by the name of one of the toolchain's `files`. An element that
/// is relative or empty means another directory for every working directory, and counts as harmful.
pub fn is_harmless(tree: &Tree, list: &[u8], files: &[Vec<u8>]) -> bool {
    list.split(|&byte| byte == b':' || byte == b';')
        .all(|directory| is_harmless_directory(tree, directory, files))
}

fn is_harmless_directory(tree: &Tree, directory: &[u8], files: &[Vec<u8>]) -> bool {
    if !directory.starts_with(b"/") {
        return false;
    }
    let Ok(real) = Path::new(OsStr::from_bytes(directory)).canonicalize() else {
        // The loader finds nothing there either.
        return !Path::new(OsStr::from_bytes(directory)).exists();
    };
    let Ok(listed) = tree.listing(real.as_os_str().as_bytes()) else {
        return false;
    };
    let names = &listed.listing.names;
    let holds = |path: &Vec<u8>| {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        names.contains_key(name)
    };
    !VARIANTS.iter().any(|variant| names.contains_key(*variant)) && !files.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_with_the_compilers_libraries_do_harm() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for directory in ["empty", "own", "variants/glibc-hwcaps"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        std::fs::write(at("own/libc.so.6"), "").unwrap();
        std::fs::write(at("empty/libother.so"), "").unwrap();
        let files = [b"/lib/x86_64-linux-gnu/libc.so.6".to_vec()];
        let check = |list: &str| is_harmless(&Tree::new(), list.as_bytes(), &files);
        let path = |name: &str| at(name).to_str().unwrap().to_owned();
        assert!(check(&path("empty")));
        assert!(check(&format!("{}:{}", path("missing"), path("empty"))));
        assert!(!check(&path("own")));
        assert!(!check(&path("variants")));
        assert!(
            !check(&format!("{}:", path("empty"))),
            "an empty element is the working directory"
        );
        assert!(!check("relative"));
    }
}
