//! Three packages with all their units, and the fixed sample of them that every test run compiles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::packages::packages;
use crate::unit::{Unit, files_below};

/// Units of the sample, by package and optimisation: C++ at `-O2` takes many seconds a unit.
const SAMPLE: [(&str, &str, usize); 6] = [
    ("zstd-sys", "-O2", 16),
    ("zstd-sys", "-O0 -g", 24),
    ("aws-lc-sys", "-O2", 44),
    ("aws-lc-sys", "-O0 -g", 54),
    ("librocksdb-sys", "-O2", 4),
    ("librocksdb-sys", "-O0 -g", 12),
];

/// What is compiled of one package.
pub struct Part {
    /// Its name.
    pub package: &'static str,
    root: PathBuf,
    flags: String,
    sources: Vec<PathBuf>,
}

impl Part {
    /// Its units.
    pub fn units(&self, optimisation: &str) -> Vec<Unit> {
        let flags = || {
            optimisation
                .split_whitespace()
                .chain(self.flags.split_whitespace())
        };
        let sources = self.sources.iter().enumerate();
        sources
            .map(|(turn, source)| Unit::new(&self.root, turn, flags(), source))
            .collect()
    }
}

/// Every n-th unit of each kind.
pub fn units() -> Vec<Unit> {
    let parts: BTreeMap<_, _> = parts().into_iter().map(|part| (part.package, part)).collect();
    let mut chosen = Vec::new();
    for (package, optimisation, wanted) in SAMPLE {
        let of_kind = parts[package].units(optimisation);
        assert!(of_kind.len() >= wanted, "{package} has {} sources", of_kind.len());
        // An odd step takes both compilers.
        let step = ((of_kind.len() / wanted).saturating_sub(1)) | 1;
        chosen.extend(of_kind.into_iter().step_by(step).take(wanted));
    }
    chosen
}

/// The three packages, whose own build files say what is compiled and how.
pub fn parts() -> Vec<Part> {
    let packages = packages("sources");
    let zstd = &packages["zstd-sys"];
    let is_c = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "c" || extension == "S")
    };
    let zstd = Part {
        package: "zstd-sys",
        root: zstd.clone(),
        flags: format!(
            "-I{0}/zstd/lib -I{0}/zstd/lib/common -DZSTD_LEGACY_SUPPORT=1",
            zstd.display()
        ),
        sources: files_below(&zstd.join("zstd/lib"), &is_c),
    };
    let aws = &packages["aws-lc-sys"];
    let listed = listed_sources(&aws.join("builder/cc_builder/x86_64_unknown_linux_gnu.rs"));
    let sources = listed.iter().map(|source| aws.join("aws-lc").join(source));
    let aws = Part {
        package: "aws-lc-sys",
        root: aws.clone(),
        flags: format!(
            "-I{0}/include -I{0}/generated-include -I{0}/aws-lc/include -I{0}/aws-lc/third_party/s2n-bignum/include \
             -I{0}/aws-lc/third_party/s2n-bignum/s2n-bignum-imported/include -I{0}/aws-lc/third_party/jitterentropy -Wall",
            aws.display()
        ),
        sources: sources.filter(|path| path.exists()).collect(),
    };
    let rocks = &packages["librocksdb-sys"];
    let list = std::fs::read_to_string(rocks.join("rocksdb_lib_sources.txt")).unwrap();
    let listed = list.split_whitespace().filter(|name| name.ends_with(".cc"));
    let sources = listed.map(|name| rocks.join("rocksdb").join(name));
    let rocks = Part {
        package: "librocksdb-sys",
        root: rocks.clone(),
        flags: format!(
            "-std=c++20 -I{0}/rocksdb/include -I{0}/rocksdb -I{0} -DNDEBUG=1 -DOS_LINUX -DROCKSDB_PLATFORM_POSIX \
             -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT",
            rocks.display()
        ),
        sources: sources.filter(|path| path.exists()).collect(),
    };
    vec![zstd, aws, rocks]
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
