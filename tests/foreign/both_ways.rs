//! Compiles units here and through an embedded farm, and compares all that each compile leaves.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use quicc::compile::Cause;

use crate::support::{QUICC, World};
use crate::unit::{Unit, quote};

/// Units compiled before anything is compared: bounds what is on the disk at once.
const BATCH: usize = 256;
/// Seconds a compile may take either way. A unit that is cut off says nothing.
const TIMEOUT: u32 = 300;
/// What `timeout` exits with when it has cut a command off.
const CUT_OFF: &[u8] = b"124\n";
/// Further compiles through the farm at once: some wait for it.
const WAITING: usize = 2;

/// The reason of a unit that failed on a builder and was done here once more.
const FAILED_AGAIN: &str = "compile-failed";
/// Reasons of a unit's text and surroundings, beside those of its command line, which are [`Cause`]'s. Any other is
/// the farm's.
const OWN_REASONS: &[&str] = &[
    "computed-incbin",
    "computed-line-name",
    "computed-probe",
    "dependencies-failed",
    "frameworks",
    "precompiled-header-diagnostics",
    "scratch-path",
    "search-list",
    "special-directory",
    "temporary-file-named",
    "time-macros",
];

/// A unit whose two compiles are not alike.
pub struct Difference {
    command: String,
    /// What differs of: the files it left by name, `out`, `err`, `code`.
    what: Vec<String>,
    /// Whether two compiles here differ in the same.
    by_itself: bool,
}

/// What came of it.
#[derive(Default)]
pub struct Report {
    /// The units compared.
    pub total: u64,
    /// How many of them compile here.
    pub compiling: u64,
    /// How many took a builder's result.
    pub remote: u64,
    fallbacks: u64,
    reasons: BTreeMap<String, u64>,
    cut_off: Vec<String>,
    differences: Vec<Difference>,
}

/// Compiles all `units` both ways, `jobs` at once.
pub fn compile(units: &[Unit], jobs: usize) -> Report {
    let world = World::new();
    let mut report = Report::default();
    for batch in units.chunks(BATCH) {
        report.add(&world, batch, jobs);
        println!(
            "{} of {}: {} differ, {} remote",
            report.total,
            units.len(),
            report.differences.len(),
            report.remote
        );
    }
    report
}

impl Report {
    /// The part that was remote of the units that nothing in themselves keeps here: all but those with a reason of
    /// their command line or text, and those that failed on a builder and were done here once more.
    pub fn remote_share(&self) -> f64 {
        let counted = |is_counted: &dyn Fn(&str) -> bool| -> u64 {
            let counts = self.reasons.iter().filter(|(code, _)| is_counted(code));
            counts.map(|(_, count)| count).sum()
        };
        let kept = counted(&|code| is_own(code) || code == FAILED_AGAIN);
        self.remote as f64 / (self.total - kept.min(self.total)).max(1) as f64
    }

    /// Whether no unit differs, save where the compiler differs from itself.
    pub fn is_alike(&self) -> bool {
        self.differences.iter().all(|difference| difference.by_itself)
    }

    fn add(&mut self, world: &World, units: &[Unit], jobs: usize) {
        let all: Vec<usize> = (0..units.len()).collect();
        let scripts = write_scripts(world, units);
        let local = |chosen: &[usize], into: &str| {
            prepare(world, chosen);
            let output = world.local(&run_all(world, &scripts, chosen, jobs));
            assert!(output.status.success(), "{}", world.explain(&output));
            std::fs::rename(world.at("out"), world.at(into)).unwrap();
        };
        local(&all, "here");
        prepare(world, &all);
        let script = format!(
            "WRAPPER={} {}",
            quote(QUICC),
            run_all(world, &scripts, &all, jobs + WAITING)
        );
        let (output, summary) = world.run(&script);
        assert!(output.status.success(), "{}", world.explain(&output));
        std::fs::rename(world.at("out"), world.at("there")).unwrap();
        self.remote += summary.remote();
        self.fallbacks += summary.fallbacks();
        for (reason, count) in summary.local_reasons() {
            *self.reasons.entry(reason).or_default() += count;
        }
        let left = |run: &str, n: usize| world.at(&format!("{run}/{n}"));
        let mut differing = Vec::new();
        for (n, unit) in units.iter().enumerate() {
            let code = |run| std::fs::read(left(run, n).join("code")).unwrap();
            if [code("here"), code("there")].contains(&CUT_OFF.to_vec()) {
                self.cut_off.push(unit.arguments.join(" "));
                continue;
            }
            self.total += 1;
            self.compiling += u64::from(code("here") == b"0\n");
            let what = compare(&left("here", n), &left("there", n));
            if !what.is_empty() {
                differing.push((n, what));
            }
        }
        let again: Vec<usize> = differing.iter().map(|(n, _)| *n).collect();
        local(&again, "again");
        for (n, what) in differing {
            let unit = &units[n];
            let itself = compare(&left("here", n), &left("again", n));
            let difference = Difference {
                command: format!(
                    "cd {} && {}",
                    unit.directory.display(),
                    unit.command("", Path::new("o"), Path::new("d"))
                ),
                by_itself: what.iter().all(|name| itself.contains(name)),
                what,
            };
            println!("{difference}");
            self.differences.push(difference);
        }
        for run in ["here", "there", "again"] {
            std::fs::remove_dir_all(world.at(run)).unwrap();
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = if self.by_itself {
            "differs from itself"
        } else {
            "differs"
        };
        write!(f, "{title} in {}: {}", self.what.join(", "), self.command)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        for command in &self.cut_off {
            writeln!(f, "cut off after {TIMEOUT} s: {command}")?;
        }
        for (reason, count) in &self.reasons {
            writeln!(f, "local {count:6} {reason}")?;
        }
        write!(
            f,
            "identical {} of {}; {} compile, {} remote ({:.1} % of those that could be), {} fallbacks",
            self.total - self.differences.len() as u64,
            self.total,
            self.compiling,
            self.remote,
            100.0 * self.remote_share(),
            self.fallbacks
        )
    }
}

/// Whether a reason to compile here lies in the unit, not in the farm.
fn is_own(code: &str) -> bool {
    Cause::ALL.iter().any(|cause| cause.code() == code) || OWN_REASONS.contains(&code)
}

/// A script for each unit, which compiles it into `out/N` and never fails itself.
fn write_scripts(world: &World, units: &[Unit]) -> Vec<PathBuf> {
    std::fs::create_dir_all(world.at("scripts")).unwrap();
    let write = |(n, unit): (usize, &Unit)| {
        let out = world.at(&format!("out/{n}"));
        let command = unit.command("${WRAPPER-}", &out.join("unit.o"), &out.join("unit.d"));
        let text = format!(
            "cd {} || exit\ntimeout {TIMEOUT} {command} >{out}/out 2>{out}/err\necho $? >{out}/code\n",
            quote(unit.directory.to_str().unwrap()),
            out = out.display()
        );
        let path = world.at(&format!("scripts/{n}"));
        std::fs::write(&path, text).unwrap();
        path
    };
    units.iter().enumerate().map(write).collect()
}

/// Empty directories for what the `chosen` units leave.
fn prepare(world: &World, chosen: &[usize]) {
    std::fs::create_dir(world.at("out")).unwrap();
    for n in chosen {
        std::fs::create_dir(world.at(&format!("out/{n}"))).unwrap();
    }
}

/// The command that runs the scripts of the `chosen` units.
fn run_all(world: &World, scripts: &[PathBuf], chosen: &[usize], jobs: usize) -> String {
    let names: String = chosen
        .iter()
        .map(|n| format!("{}\n", scripts[*n].display()))
        .collect();
    std::fs::write(world.at("chosen"), names).unwrap();
    format!("xargs -r -a chosen -n 1 -P {jobs} sh")
}

/// What differs between two directories, which hold files only.
fn compare(one: &Path, other: &Path) -> Vec<String> {
    let (one, other) = (read(one), read(other));
    let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    let differing = names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name));
    differing.cloned().collect()
}

fn read(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect()
}
