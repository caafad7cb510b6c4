//! Sources no one here wrote, compiled both ways: every object, dep file and message equal, nearly all units remote.
//!
//! By default a fixed sample; `tests/foreign/all` runs every unit.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use support::World;

/// Units of the sample, by package and optimisation: C++ at `-O2` takes many seconds a unit.
const SAMPLE: [(&str, &str, usize); 6] = [
    ("zstd-sys", "-O2", 16),
    ("zstd-sys", "-O0 -g", 24),
    ("aws-lc-sys", "-O2", 44),
    ("aws-lc-sys", "-O0 -g", 54),
    ("librocksdb-sys", "-O2", 4),
    ("librocksdb-sys", "-O0 -g", 12),
];
/// Share of units that must be compiled on builders.
const REMOTE_SHARE: f64 = 0.95;

struct Unit {
    package: &'static str,
    optimisation: &'static str,
    command: String,
    source: PathBuf,
}

/// Where the packages' sources are; downloaded if they are not there yet.
fn packages() -> BTreeMap<String, PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/sources/Cargo.toml");
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
            (
                package["name"].as_str().unwrap().to_owned(),
                manifest.parent().unwrap().to_owned(),
            )
        })
        .collect()
}

fn sources_below(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources_below(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "c" || extension == "S")
        {
            found.push(path);
        }
    }
}

/// The strings of a Rust file that end like a C or assembler source.
fn listed_sources(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let strings = text.split('"').skip(1).step_by(2);
    strings
        .filter(|text| text.ends_with(".c") || text.ends_with(".S"))
        .map(str::to_owned)
        .collect()
}

fn units() -> Vec<Unit> {
    let packages = packages();
    let mut units = Vec::new();
    let mut add = |package: &'static str, compilers: [&str; 2], flags: &str, sources: Vec<PathBuf>| {
        for optimisation in ["-O2", "-O0 -g"] {
            for (index, source) in sources.iter().enumerate() {
                let command = format!("{} {optimisation} {flags}", compilers[index % 2]);
                units.push(Unit {
                    package,
                    optimisation,
                    command,
                    source: source.clone(),
                });
            }
        }
    };
    let zstd = &packages["zstd-sys"];
    let mut sources = Vec::new();
    sources_below(&zstd.join("zstd/lib"), &mut sources);
    let flags = format!(
        "-I{0}/zstd/lib -I{0}/zstd/lib/common -DZSTD_LEGACY_SUPPORT=1",
        zstd.display()
    );
    add("zstd-sys", ["gcc", "clang"], &flags, sources);
    let aws = &packages["aws-lc-sys"];
    let sources = listed_sources(&aws.join("builder/cc_builder/x86_64_unknown_linux_gnu.rs"));
    let flags = format!(
        "-I{0}/include -I{0}/generated-include -I{0}/aws-lc/include -I{0}/aws-lc/third_party/s2n-bignum/include \
         -I{0}/aws-lc/third_party/s2n-bignum/s2n-bignum-imported/include -I{0}/aws-lc/third_party/jitterentropy -Wall",
        aws.display()
    );
    let sources = sources
        .iter()
        .map(|source| aws.join("aws-lc").join(source))
        .filter(|path| path.exists())
        .collect();
    add("aws-lc-sys", ["gcc", "clang"], &flags, sources);
    let rocks = &packages["librocksdb-sys"];
    let list = std::fs::read_to_string(rocks.join("rocksdb_lib_sources.txt")).unwrap();
    let flags = format!(
        "-std=c++20 -I{0}/rocksdb/include -I{0}/rocksdb -I{0} -DNDEBUG=1 -DOS_LINUX -DROCKSDB_PLATFORM_POSIX \
         -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT",
        rocks.display()
    );
    let sources = list.split_whitespace().filter(|name| name.ends_with(".cc"));
    let sources = sources
        .map(|name| rocks.join("rocksdb").join(name))
        .filter(|path| path.exists())
        .collect();
    add("librocksdb-sys", ["g++", "clang++"], &flags, sources);
    units
}

/// Every n-th unit of each kind.
fn sample(units: Vec<Unit>) -> Vec<Unit> {
    let mut chosen = Vec::new();
    let mut kinds: BTreeMap<(&str, &str), Vec<Unit>> = BTreeMap::new();
    for unit in units {
        kinds
            .entry((unit.package, unit.optimisation))
            .or_default()
            .push(unit);
    }
    for (package, optimisation, wanted) in SAMPLE {
        let of_kind = kinds.remove(&(package, optimisation)).unwrap();
        assert!(of_kind.len() >= wanted, "{package} has {} sources", of_kind.len());
        // An odd step takes both compilers.
        let step = ((of_kind.len() / wanted).saturating_sub(1)) | 1;
        chosen.extend(of_kind.into_iter().step_by(step).take(wanted));
    }
    chosen
}

/// A makefile whose units go on past errors and keep their messages apart.
fn makefile(units: &[Unit]) -> String {
    let mut text = format!(
        "all: {}\n",
        (0..units.len())
            .map(|n| format!("out/{n}.done "))
            .collect::<String>()
    );
    for (n, unit) in units.iter().enumerate() {
        let source = unit.source.display();
        let command = &unit.command;
        writeln!(
            text,
            "out/{n}.done:\n\t@{command} -MD -c {source} -o out/{n}.o >out/{n}.out 2>out/{n}.err; echo $$? >$@"
        )
        .unwrap();
    }
    text
}

#[test]
fn foreign_sources_compile_alike() {
    let everything = std::env::var_os("QUICC_FOREIGN").is_some_and(|value| value == "all");
    let units = if everything { units() } else { sample(units()) };
    let world = World::new();
    world.write("Makefile", &makefile(&units));
    let jobs = std::thread::available_parallelism().unwrap();
    assert!(
        world
            .local(&format!(
                "mkdir out && make -s -j{jobs} && mv out local && mkdir out"
            ))
            .status
            .success()
    );
    let (output, summary) = world.run(&format!("make -s -j{}", jobs.get() + 2));
    assert!(output.status.success(), "{}", world.explain(&output));
    let files = world.files();
    let mut differing = Vec::new();
    let mut compiled = 0;
    for (n, unit) in units.iter().enumerate() {
        let get = |directory: &str, suffix: &str| files.get(&world.at(&format!("{directory}/{n}.{suffix}")));
        compiled += u64::from(get("local", "done").is_some_and(|code| code == b"0\n"));
        let same = ["done", "o", "d", "out", "err"]
            .iter()
            .all(|suffix| get("local", suffix) == get("out", suffix));
        if !same {
            differing.push(format!("{} {}", unit.command, unit.source.display()));
        }
    }
    let total = units.len();
    println!(
        "identical {} of {total}; {} remote of {compiled} that compile; {summary:?}",
        total - differing.len(),
        summary.remote()
    );
    assert!(differing.is_empty(), "{differing:#?}");
    assert!(
        compiled as f64 >= 0.9 * total as f64,
        "only {compiled} of {total} compile at all"
    );
    let share = summary.remote() as f64 / compiled as f64;
    assert!(
        share >= REMOTE_SHARE,
        "{share} of the units went remote: {summary:?}"
    );
}
