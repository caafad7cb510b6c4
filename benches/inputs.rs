//! What finding a unit's inputs costs the client: scanning headers, discovering a closure, proving it unchanged.
//!
//! The unit includes `<regex>` and `<iostream>` of the installed g++.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends when its ground is missing"
)]

use std::ffi::OsStr;
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use quicc::host::process;
use quicc::inputs::closure::{Closure, IncludeGraphs, Object, Request, discover};
use quicc::inputs::kept::Kept;
use quicc::inputs::scan::{Alias, scan};
use quicc::inputs::search_list::{self, SearchList};
use quicc::inputs::tree::Tree;
use quicc::inputs::validate::{Revision, Validity, revise, validate};

const SOURCE: &str = "#include <regex>\n#include <iostream>\nint main() { std::regex r(\"a\"); }\n";
/// A file just written is believed once a clock granule has passed; a tree that never settles is an error.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .sample_size(20)
        .configure_from_args();
    let unit = Unit::new();
    let tree = Tree::new();
    let closure = unit.settle(&tree);
    scanning(&mut criterion, &closure);
    discovering(&mut criterion, &unit, &tree);
    criterion.final_summary();
}

/// A unit in a directory of its own.
struct Unit {
    directory: tempfile::TempDir,
    search: SearchList,
}

impl Unit {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.cc"), SOURCE).unwrap();
        let search = search_list_of_gxx(directory.path());
        Self { directory, search }
    }

    fn discover(&self, tree: &Tree) -> Closure {
        self.discover_from(tree, &IncludeGraphs::default())
    }

    fn discover_from(&self, tree: &Tree, graphs: &IncludeGraphs) -> Closure {
        let request = Request {
            cwd: self.directory.path().as_os_str().as_bytes(),
            source: b"a.cc",
            search: &self.search,
            definitions: Some(&[]),
            forced_includes: &[],
            include_directories: &[],
            dependencies: &[],
            further_files: &[],
            optional_files: &[],
            precompiles: false,
            further_directories: &[],
        };
        discover(tree, graphs, &request).unwrap()
    }

    /// Discovers until an equal `stat` proves equal bytes and names, as in a tree at rest.
    fn settle(&self, tree: &Tree) -> Closure {
        let start = Instant::now();
        loop {
            let closure = self.discover(tree);
            let is_settled = |object: &Object| !matches!(object, Object::File { settled: false, .. });
            if closure.items.iter().all(|item| is_settled(&item.object))
                && closure.listed.values().all(|listed| listed.settled)
            {
                return closure;
            }
            assert!(
                start.elapsed() < SETTLES_WITHIN,
                "files change while they are looked at"
            );
        }
    }
}

fn search_list_of_gxx(cwd: &Path) -> SearchList {
    let output = process::command(Path::new("/usr/bin/g++"), cwd)
        .args(["-v", "-E", "-x", "c++", "/dev/null"])
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("cannot run /usr/bin/g++: {error}; apt-get install g++"));
    search_list::parse(&output.stderr).unwrap()
}

fn scanning(criterion: &mut Criterion, closure: &Closure) {
    let texts: Vec<_> = closure
        .items
        .iter()
        .filter(|item| matches!(item.object, Object::File { .. }))
        .map(|item| std::fs::read(OsStr::from_bytes(&item.path)).unwrap())
        .collect();
    let total: usize = texts.iter().map(Vec::len).sum();
    println!("the closure: {} files of {total} bytes", texts.len());
    let alias = Alias::new(b"__glibc_has_include");
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Bytes(total as u64));
    group.bench_function("system headers", |bencher| {
        bencher.iter(|| -> usize {
            texts
                .iter()
                .map(|text| scan(black_box(text)).includes.len())
                .sum()
        });
    });
    group.bench_function("what they ask for through a macro", |bencher| {
        bencher.iter(|| -> usize {
            let asked = texts.iter().map(|text| alias.mentions(black_box(text)));
            asked.map(|mentions| mentions.includes.len()).sum()
        });
    });
    group.bench_function("whether that matters", |bencher| {
        bencher.iter(|| {
            let matters = texts.iter().filter(|text| alias.may_matter(black_box(text)));
            matters.count()
        });
    });
    group.finish();
}

fn discovering(criterion: &mut Criterion, unit: &Unit, tree: &Tree) {
    let mut group = criterion.benchmark_group("a unit with <regex> and <iostream>");
    let is_unchanged = |validity| matches!(validity, Validity::Unchanged { .. });
    let both = |tree: &Tree| {
        let kept = Kept::new(tree, unit.discover(tree));
        assert!(is_unchanged(validate(tree, &kept)));
    };
    group.bench_function("discover and validate, nothing known", |bencher| {
        bencher.iter(|| both(&Tree::new()));
    });
    let watching = Tree::watching();
    let kept = Arc::new(Kept::new(&watching, unit.settle(&watching)));
    for (what, tree) in [("asked again", tree), ("watched", &watching)] {
        group.bench_function(format!("discover and validate, all files {what}"), |bencher| {
            bencher.iter(|| both(tree));
        });
        group.bench_function(format!("discover, all files {what}"), |bencher| {
            bencher.iter(|| unit.discover(tree));
        });
        group.bench_function(format!("validate, all files {what}"), |bencher| {
            bencher.iter(|| assert!(is_unchanged(validate(tree, black_box(&kept)))));
        });
        group.bench_function(format!("bring up to date, all files {what}"), |bencher| {
            bencher.iter(|| {
                let revision = revise(tree, black_box(&kept), None, &|_, _| false);
                assert!(matches!(revision, Revision::Holds { .. }));
            });
        });
    }
    let graphs = IncludeGraphs::default();
    group.bench_function("discover, all files watched, from an include graph", |bencher| {
        bencher.iter(|| unit.discover_from(&watching, &graphs));
    });
    group.finish();
}
