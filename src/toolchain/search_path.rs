//! Looks a program up along a `PATH`, as `execvp` would.
//!
//! Never runs what it finds and never reads this process's own environment.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What glibc's `execvp` searches when `PATH` is unset (`confstr(_CS_PATH)`).
pub const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The first regular file with an executable bit called `name` along `path`, spelled as the elements of
/// `path` spell it, made absolute by `cwd` (symbolic links stay).
///
/// An empty element means `cwd`. A name with a slash is not searched for, only made absolute. Files for which
/// `skip` says true are passed over; it sees the file behind all links, so a masquerade link can be
/// recognised by its device and inode.
pub fn find_in_path(
    name: &OsStr,
    path: &OsStr,
    cwd: &Path,
    skip: &dyn Fn(&Metadata) -> bool,
) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    let runnable = |candidate: &Path| {
        std::fs::metadata(candidate)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0 && !skip(&found))
    };
    if name.as_bytes().contains(&b'/') {
        return Some(cwd.join(name)).filter(|candidate| runnable(candidate));
    }
    std::env::split_paths(path)
        .map(|element| cwd.join(element).join(name))
        .find(|candidate| runnable(candidate))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// `<root>/<file>` with `mode`, its directory made on the way.
    fn place(root: &Path, file: &str, mode: u32) {
        let file = root.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, b"x").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_runnable_file_wins() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        place(root, "plain/cc", 0o644);
        place(root, "first/cc", 0o755);
        place(root, "second/cc", 0o755);
        std::fs::create_dir_all(root.join("folder/cc")).unwrap();
        std::fs::create_dir_all(root.join("linked")).unwrap();
        symlink("../second/cc", root.join("linked/cc")).unwrap();
        symlink("absent", root.join("plain/as")).unwrap();
        let check = |name: &str, path: &str, expected: Option<&str>| {
            let path = path.replace('@', root.to_str().unwrap());
            let found = find_in_path(name.as_ref(), path.as_ref(), root, &|_| false);
            assert_eq!(found, expected.map(|file| root.join(file)), "{name} along {path}");
        };
        check("cc", "@/first:@/second", Some("first/cc"));
        check("cc", "@/second:@/first", Some("second/cc"));
        check("cc", "@/absent:@/plain:@/folder:@/first", Some("first/cc"));
        check("cc", "@/linked:@/first", Some("linked/cc"));
        check("cc", "second", Some("second/cc"));
        check("cc", "@/plain", None);
        check("as", "@/plain", None);
        check("first/cc", "@/second", Some("first/cc"));
        check("", "@/first", None);
    }

    #[test]
    fn an_empty_element_is_the_working_directory() {
        let scratch = tempfile::tempdir().unwrap();
        place(scratch.path(), "cc", 0o755);
        let found = find_in_path("cc".as_ref(), ":/absent".as_ref(), scratch.path(), &|_| false);
        assert_eq!(found, Some(scratch.path().join("cc")));
    }

    #[test]
    fn a_masquerade_link_is_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        place(root, "quicc", 0o755);
        place(root, "real/cc", 0o755);
        std::fs::create_dir_all(root.join("masquerade")).unwrap();
        symlink("../quicc", root.join("masquerade/cc")).unwrap();
        let own = std::fs::metadata(root.join("quicc")).unwrap();
        let path = std::env::join_paths([root.join("masquerade"), root.join("real")]).unwrap();
        let found = find_in_path("cc".as_ref(), &path, root, &|found| {
            (found.dev(), found.ino()) == (own.dev(), own.ino())
        });
        assert_eq!(found, Some(root.join("real/cc")));
    }
}
