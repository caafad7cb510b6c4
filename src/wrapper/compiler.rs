//! Which compiler a call means: through our own links to the real one, never back to ourselves.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files that are quicc: the running executable and what the links directory leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurFiles {
    inodes: Vec<(u64, u64)>,
    links: PathBuf,
}

impl OurFiles {
    /// The running executable and the executables installed for `links`.
    pub fn find(links: &Path, installed: &[PathBuf]) -> Self {
        let identify = |path: &Path| std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
        let inodes = std::iter::once(Path::new("/proc/self/exe"))
            .chain(installed.iter().map(PathBuf::as_path))
            .filter_map(identify)
            .collect();
        Self {
            inodes,
            links: links.to_owned(),
        }
    }

    /// The same with the compilers in `callers`, joined as in `PATH`, that this call runs in: to resolve to one of
    /// them would begin it again without end.
    pub fn with_callers(mut self, callers: &OsStr) -> Self {
        let identify = |path: &[u8]| {
            let metadata = std::fs::metadata(OsStr::from_bytes(path)).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let callers = callers.as_bytes().split(|&byte| byte == b':');
        self.inodes.extend(callers.filter_map(identify));
        self
    }

    /// No file is ours: our links count as the programs they stand for.
    pub fn none() -> Self {
        Self {
            inodes: Vec::new(),
            links: PathBuf::new(),
        }
    }

    /// Whether following `metadata`'s path ends in quicc itself or in a compiler that called it.
    pub fn contains(&self, metadata: &Metadata) -> bool {
        self.inodes.contains(&(metadata.dev(), metadata.ino()))
    }

    /// `PATH` without our links directory: what the build would have without quicc.
    pub fn strip(&self, path: &OsStr) -> OsString {
        let kept = path
            .as_bytes()
            .split(|&byte| byte == b':')
            .filter(|part| *part != self.links.as_os_str().as_bytes());
        OsStr::from_bytes(&kept.collect::<Vec<_>>().join(&b':')).to_owned()
    }
}

/// A call, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// The real compiler's path, as the build would have spelled it without quicc; absolute.
    pub path: PathBuf,
    /// What its `argv[0]` is.
    pub argv0: OsString,
}

/// Finds the compiler called as `name`, looking in `path` for a bare name and for the name behind one of our own
/// links. `None` when there is no such program besides ourselves.
pub fn resolve(name: &OsStr, path: &OsStr, cwd: &Path, ours: &OurFiles) -> Option<Compiler> {
    let bare = !name.as_bytes().contains(&b'/');
    if !bare {
        let spelled = cwd.join(name);
        let metadata = std::fs::metadata(&spelled).ok()?;
        if !ours.contains(&metadata) {
            return Some(Compiler {
                path: spelled,
                argv0: name.to_owned(),
            });
        }
    }
    let file_name = Path::new(name).file_name()?;
    let found = search(file_name, path, cwd, ours)?;
    // A driver called by its bare name looks for its own directory along `PATH` (gcc: make_relative_prefix): that
    // must not lead it to a file we passed over.
    let argv0 = if bare && !found.others_before {
        name.to_owned()
    } else {
        found.path.clone().into_os_string()
    };
    Some(Compiler {
        path: found.path,
        argv0,
    })
}

struct Found {
    path: PathBuf,
    /// Whether the compiler's own `PATH`, which lacks our links directory, leads to one of our files first.
    others_before: bool,
}

fn search(name: &OsStr, path: &OsStr, cwd: &Path, ours: &OurFiles) -> Option<Found> {
    let mut others_before = false;
    path.as_bytes().split(|&byte| byte == b':').find_map(|directory| {
        // An empty element of PATH is the working directory (POSIX, "Other Environment Variables").
        let candidate = cwd.join(OsStr::from_bytes(directory)).join(name);
        let metadata = std::fs::metadata(&candidate).ok()?;
        let runs = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        if !runs {
            return None;
        }
        if ours.contains(&metadata) {
            others_before |= directory != ours.links.as_os_str().as_bytes();
            return None;
        }
        Some(Found {
            path: candidate,
            others_before,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        root: tempfile::TempDir,
        ours: OurFiles,
    }

    impl World {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            for directory in ["links", "bin", "other"] {
                std::fs::create_dir(root.path().join(directory)).unwrap();
            }
            for program in ["quicc", "bin/gcc", "other/cc"] {
                let path = root.path().join(program);
                std::fs::write(&path, program).unwrap();
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            }
            for link in ["links/gcc", "links/cc", "links/clang"] {
                std::os::unix::fs::symlink("../quicc", root.path().join(link)).unwrap();
            }
            let ours = OurFiles::find(&root.path().join("links"), &[root.path().join("quicc")]);
            Self { root, ours }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn resolve(&self, name: &str) -> Option<(PathBuf, String)> {
            let path = std::env::join_paths(["links", "bin", "other"].map(|part| self.at(part))).unwrap();
            let found = resolve(OsStr::new(name), &path, self.root.path(), &self.ours)?;
            Some((found.path, found.argv0.into_string().unwrap()))
        }
    }

    #[test]
    fn our_links_are_seen_through() {
        let world = World::new();
        let path_of = |path: &str| world.at(path).into_os_string().into_string().unwrap();
        assert_eq!(
            world.resolve("gcc"),
            Some((world.at("bin/gcc"), "gcc".to_owned()))
        );
        assert_eq!(
            world.resolve(&path_of("links/cc")),
            Some((world.at("other/cc"), path_of("other/cc")))
        );
        assert_eq!(
            world.resolve("bin/gcc"),
            Some((world.at("bin/gcc"), "bin/gcc".to_owned()))
        );
        assert_eq!(world.resolve("clang"), None, "only our own link has this name");
        assert_eq!(world.resolve("/nonexistent/gcc"), None);
    }

    #[test]
    fn a_compiler_that_called_us_is_passed_over() {
        let mut world = World::new();
        let second = world.at("other/gcc");
        std::fs::write(&second, "next").unwrap();
        std::fs::set_permissions(&second, PermissionsExt::from_mode(0o755)).unwrap();
        let callers = std::env::join_paths([world.at("gone"), world.at("bin/gcc")]).unwrap();
        world.ours = world.ours.with_callers(&callers);
        let spelled = second.clone().into_os_string().into_string().unwrap();
        assert_eq!(world.resolve("gcc"), Some((second.clone(), spelled)));
        world.ours = world.ours.with_callers(second.as_os_str());
        assert_eq!(world.resolve("gcc"), None);
    }

    #[test]
    fn the_links_directory_leaves_path() {
        let world = World::new();
        let path = format!("/a:{}:/b::", world.at("links").display());
        assert_eq!(world.ours.strip(OsStr::new(&path)), OsString::from("/a:/b::"));
    }
}
