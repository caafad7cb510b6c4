//! A client's directory for tests.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use super::discovery::discover_from;
use super::{Closure, DiscoverError, IncludeGraphs, Item, Object, Request, discover};
use crate::host::clock;
use crate::inputs::search_list::SearchList;
use crate::inputs::tree::{Listed, Tree, as_path};

/// Compiles `a.c` in a fresh directory, with the search directories it was made with.
pub(crate) struct Fixture {
    _guard: tempfile::TempDir,
    root: PathBuf,
    pub(crate) tree: Tree,
    pub(crate) graphs: IncludeGraphs,
    /// Another memory, that watches and remembers all that this fixture discovered.
    warm: (Tree, IncludeGraphs),
    pub(crate) search: SearchList,
}

impl Fixture {
    pub(crate) fn new(angle: &[&str]) -> Self {
        let guard = tempfile::tempdir().unwrap();
        let root = guard.path().canonicalize().unwrap();
        let angle = angle.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self {
            _guard: guard,
            root,
            tree: Tree::new(),
            graphs: IncludeGraphs::default(),
            warm: (Tree::watching(), IncludeGraphs::default()),
            search: SearchList {
                angle,
                predefined: Some(b"#define linux 1\n".to_vec()),
                ..SearchList::default()
            },
        }
    }

    pub(crate) fn os_path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn path(&self, name: &str) -> Vec<u8> {
        self.os_path(name).as_os_str().as_bytes().to_vec()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.os_path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn directory(&self, name: &str) {
        fs::create_dir_all(self.os_path(name)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.os_path(name)).unwrap();
    }

    pub(crate) fn discover(&self) -> Closure {
        self.discover_with(|_| {})
    }

    pub(crate) fn discover_with<'a>(&'a self, change: impl FnOnce(&mut Request<'a>)) -> Closure {
        self.try_discover(change).unwrap()
    }

    pub(crate) fn try_discover<'a>(
        &'a self,
        change: impl FnOnce(&mut Request<'a>),
    ) -> Result<Closure, DiscoverError> {
        let mut request = self.request(b"a.c");
        change(&mut request);
        let found = discover(&self.tree, &self.graphs, &request);
        let anew = discover(&Tree::new(), &IncludeGraphs::default(), &request);
        let warm = discover(&self.warm.0, &self.warm.1, &request);
        let says = |found: &Result<Closure, DiscoverError>| match found {
            Ok(closure) => closure.essence(&self.root),
            Err(error) => error.to_string(),
        };
        assert_eq!(says(&found), says(&anew), "as if nothing had been remembered");
        assert_eq!(says(&warm), says(&anew), "as if nothing had been remembered");
        found
    }

    pub(crate) fn request<'a>(&'a self, source: &'a [u8]) -> Request<'a> {
        Request {
            cwd: self.root.as_os_str().as_bytes(),
            source,
            search: &self.search,
            definitions: Some(&[]),
            forced_includes: &[],
            include_directories: &[],
            dependencies: &[],
            further_files: &[],
            optional_files: &[],
            precompiles: false,
            further_directories: &[],
        }
    }

    /// Whether `a.c` can be discovered from what is remembered, if it is changed before that is looked at again.
    pub(crate) fn discovers_in_spite_of(&self, change: impl FnOnce(&Self)) -> bool {
        let request = self.request(b"a.c");
        let (_using, graph) = self.graphs.take(&self.tree, &request);
        change(self);
        // As another unit does.
        self.tree.refresh();
        let graph = Some(graph.expect("something is remembered"));
        discover_from(&self.tree, &request, graph).is_ok()
    }

    /// Whether anything that still holds is remembered of earlier discoveries.
    pub(crate) fn remembers(&self) -> bool {
        let (_using, graph) = self.graphs.take(&self.tree, &self.request(b"a.c"));
        graph.map(|graph| self.graphs.put(graph)).is_some()
    }

    /// Discovers until every file and listing is older than a clock granule, as in a tree at rest.
    pub(crate) fn settle(&self) {
        let start = clock::unix_nanos();
        loop {
            let closure = self.discover();
            // A memory that watches a directory needs no settled reading of it.
            let is_settled_directory = |path: &[u8]| Tree::new().listing(path).unwrap().settled;
            let is_settled = |object: &Object| !matches!(object, Object::File { settled: false, .. });
            if closure.items.iter().all(|item| is_settled(&item.object))
                && closure.listed.keys().all(|path| is_settled_directory(path))
            {
                return;
            }
            let waited = clock::unix_nanos() - start;
            assert!(waited < 60_000_000_000, "{} never settles", self.root.display());
        }
    }
}

impl Closure {
    /// All that matters of it, without the names of directories that others change at any time: those not below `root`.
    fn essence(&self, root: &Path) -> String {
        let timeless = |item: &Arc<Item>| {
            let object = match item.object.clone() {
                Object::Directory { stat } => format!("{} {:o}", stat.ino, stat.mode),
                Object::File {
                    stat,
                    digest,
                    executable,
                    scanned,
                    ..
                } => {
                    let times = (stat.mtime_ns, stat.ctime_ns);
                    format!("{} {times:?} {digest:?} {executable} {scanned}", stat.ino)
                }
                Object::Symlink { target, stat } => format!("{} {}", stat.ino, target.escape_ascii()),
            };
            format!("{} {object}", item.path.escape_ascii())
        };
        let names = |(path, listed): (&Arc<[u8]>, &Listed)| (Arc::clone(path), Arc::clone(&listed.listing));
        let is_below = |(path, _): &(&Arc<[u8]>, &Listed)| as_path(path).starts_with(root);
        let listed: Vec<_> = self.listed.iter().filter(is_below).map(names).collect();
        let rest = Self {
            items: Vec::new(),
            listed: BTreeMap::new(),
            ..self.clone()
        };
        let items: Vec<_> = self.items.iter().map(timeless).collect();
        format!("{items:#?} {listed:?} {rest:#?}")
    }

    /// The paths below the fixture's root and what they are: `name`, `name/` or `name -> target`.
    pub(crate) fn names(&self, fixture: &Fixture) -> Vec<String> {
        let below = |path: &[u8]| {
            let path = as_path(path).strip_prefix(&fixture.root).ok()?;
            (!path.as_os_str().is_empty()).then(|| path.display().to_string())
        };
        let name = |item: &Arc<Item>| {
            let name = below(&item.path)?;
            Some(match &item.object {
                Object::Directory { .. } => format!("{name}/"),
                Object::File { .. } => name,
                Object::Symlink { target, .. } => format!("{name} -> {}", as_path(target).display()),
            })
        };
        self.items.iter().filter_map(name).collect()
    }

    /// Puts `object` at `path`.
    pub(crate) fn put(&mut self, path: &[u8], object: Object) {
        let place = self.items.partition_point(|item| &*item.path < path);
        let path = path.into();
        self.items.insert(place, Arc::new(Item { path, object }));
    }
}

/// A store through a shared mapping, which stays until this is dropped.
pub(crate) struct Mapping(std::process::Child);

impl Mapping {
    /// Puts `bytes` at the beginning of `file`.
    pub(crate) fn store(file: &Path, bytes: &str) -> Self {
        let script = "import mmap, sys\n\
                      f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0)\n\
                      def store(s): m[0:len(s)] = s.encode(); print('stored', flush=True)\n\
                      store(sys.argv[2])\n\
                      for line in sys.stdin: store(line.rstrip())\n";
        let mut command = crate::host::process::command(Path::new("/usr/bin/env"), Path::new("/"));
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.args(["python3", "-c", script]).arg(file).arg(bytes);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let process = command.spawn().expect("apt-get install python3");
        let mut mapping = Self(process);
        mapping.wait();
        mapping
    }

    /// Puts other `bytes` there, which changes no time as long as the kernel has not written the first ones.
    pub(crate) fn store_again(&mut self, bytes: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{bytes}").unwrap();
        self.wait();
    }

    fn wait(&mut self) {
        let mut line = [0; 7];
        self.0.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
