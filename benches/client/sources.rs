//! The units: a C library and a part of a C++ one, as their packages hold them, copied to where they can be edited.

use std::path::{Path, PathBuf};

use crate::measure::Compile;
use crate::sample::{Part, parts};
use crate::support::World;
use crate::unit::files_below;

/// How C is compiled.
const C: &str = "-O2";
/// How C++ is compiled: at `-O2` a unit takes a builder many seconds, and this client no other work.
const CXX: &str = "-O0";

/// What of zstd includes 60 to 100 files, and is compiled in a moment.
const LIGHT: [&str; 10] = [
    "common/entropy_common.c",
    "common/error_private.c",
    "common/fse_decompress.c",
    "common/pool.c",
    "common/zstd_common.c",
    "compress/fse_compress.c",
    "compress/hist.c",
    "compress/zstd_compress_literals.c",
    "compress/zstd_preSplit.c",
    "deprecated/zbuff_compress.c",
];

/// What of RocksDB is built. Each includes some 570 files.
const BUILT: [&str; 6] = [
    "db/arena_wrapped_db_iter.cc",
    "db/builder.cc",
    "db/convenience.cc",
    "db/db_filesnapshot.cc",
    "db/db_impl/db_impl_experimental.cc",
    "db/db_impl/db_impl_readonly.cc",
];
/// Whatever else of RocksDB is seen: the rest of this directory.
const OTHERS: &str = "db";
/// What leaves a compiler of a C++ unit nothing to do. Its inputs are found without regard to conditions and stay the
/// same.
pub const CUT: &str = "-DQUICC_BENCH_CUT";
/// How many of those are compiled again.
const HEAVY: usize = 4;

/// The units by what they are measured for.
pub struct Sources {
    /// All of the C library.
    pub library: Vec<Compile>,
    pub light: Vec<Compile>,
    pub built: Vec<Compile>,
    pub heavy: Vec<Compile>,
    /// Two halves of the other C++ units, to be compiled with [`CUT`]: before all else, and when that was built.
    pub first: Vec<Compile>,
    pub sights: Vec<Compile>,
}

impl Sources {
    /// Copies them into `world`; the packages are downloaded if they are not there yet.
    pub fn copy(world: &World) -> Self {
        let parts = parts();
        let of = |package: &str| parts.iter().find(|part| part.package == package).unwrap();
        let mut library = compiles(world, of("zstd-sys"), C, "gcc");
        // distcc assembles here.
        library.retain(|compile| {
            compile
                .source
                .extension()
                .is_some_and(|extension| extension == "c")
        });
        let cxx = compiles(world, of("librocksdb-sys"), CXX, "g++");
        let built = chosen(&cxx, &BUILT);
        let directory = built[0].source.parent().unwrap();
        assert!(directory.ends_with(OTHERS));
        let is_sight = |compile: &&Compile| {
            compile.source.starts_with(directory) && !built.iter().any(|built| built.source == compile.source)
        };
        let others: Vec<_> = cxx.iter().filter(is_sight).cloned().collect();
        for compile in others.iter().chain(&built) {
            make_cuttable(&compile.source);
        }
        let (first, sights) = others.split_at(others.len() / 2);
        Self {
            light: chosen(&library, &LIGHT),
            heavy: built[..HEAVY].to_vec(),
            first: first.to_vec(),
            sights: sights.to_vec(),
            library,
            built,
        }
    }
}

/// All units of a part, in the copy of its package.
pub fn compiles(world: &World, part: &Part, flags: &str, compiler: &str) -> Vec<Compile> {
    let units = part.units(flags);
    let from = units[0].directory.to_str().unwrap();
    let to = world.at(part.package);
    copy(Path::new(from), &to);
    let objects = world.at(&format!("{}-objects", part.package));
    std::fs::create_dir(&objects).unwrap();
    let to = to.to_str().unwrap();
    let units = units.iter().enumerate();
    units
        .map(|(turn, unit)| {
            let mut words: Vec<_> = unit.arguments.iter().map(|word| word.replace(from, to)).collect();
            compiler.clone_into(&mut words[0]);
            Compile {
                source: PathBuf::from(words.last().unwrap()),
                words,
                object: objects.join(format!("{turn}.o")),
            }
        })
        .collect()
}

/// The files a compiler reads.
fn copy(from: &Path, to: &Path) {
    let is_read = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| ["c", "cc", "h", "i", "inc", "S"].contains(&extension))
    };
    for file in files_below(from, &is_read) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&file, copy).unwrap();
    }
}

fn make_cuttable(source: &Path) {
    let text = std::fs::read_to_string(source).unwrap();
    let name = CUT.trim_start_matches("-D");
    std::fs::write(source, format!("#ifndef {name}\n{text}\n#endif\n")).unwrap();
}

fn chosen(compiles: &[Compile], sources: &[&str]) -> Vec<Compile> {
    let find = |source: &&str| {
        let found = compiles.iter().find(|compile| compile.source.ends_with(source));
        found.unwrap_or_else(|| panic!("no source {source}")).clone()
    };
    sources.iter().map(find).collect()
}
