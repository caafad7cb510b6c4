//! What is known of the compilers of this machine: their files, and their answers to questions about search
//! lists and dependencies. Asked once, remembered as long as nothing they depend on changed.
//!
//! Blocking; called on threads that may wait.

mod known_toolchain;
mod memory;
mod search;
mod standing;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use known_toolchain::KnownToolchain;
use memory::Memory;
use search::SearchKey;
pub use search::installation_places;
use standing::Standing;

use crate::compile::{self, Plan};
use crate::host::files::write_then_rename;
use crate::host::terminal::Terminal;
use crate::inputs::dependencies;
use crate::inputs::search_list::SearchList;
use crate::inputs::tree::Tree;
use crate::toolchain::locale::{LocaleRoots, LocaleSupport, locale_files_in};
use crate::toolchain::question::{Question, ask, ask_as};
use crate::toolchain::{self, Toolchain};

/// An environment as the wrapper got it.
pub type Environment = [(Vec<u8>, Vec<u8>)];

/// Inode, size and times of a path; a change of any means another answer is possible.
type Fingerprint = Option<(u64, u64, u64, i64, i64, i64, i64)>;

fn fingerprint(path: &Path) -> Fingerprint {
    let data = std::fs::metadata(path).ok()?;
    Some((
        data.dev(),
        data.ino(),
        data.size(),
        data.mtime(),
        data.mtime_nsec(),
        data.ctime(),
        data.ctime_nsec(),
    ))
}

/// Variables that decide which programs a driver runs, and with which specs.
const TOOL_VARIABLES: [&str; 9] = [
    "PATH",
    "LIBRARY_PATH",
    "GCC_EXEC_PREFIX",
    "COMPILER_PATH",
    "LD_LIBRARY_PATH",
    "QEMU_LD_PREFIX",
    "GCC_ROOT",
    "G++_ROOT",
    "BINUTILS_ROOT",
];
/// Variables that decide what language it speaks.
const LOCALE_VARIABLES: [&str; 6] = ["LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LOCPATH"];

fn pick(env: &Environment, names: &[&str]) -> Vec<(Vec<u8>, Vec<u8>)> {
    env.iter()
        .filter(|(name, _)| names.iter().any(|wanted| wanted.as_bytes() == name))
        .cloned()
        .collect()
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ToolchainKey {
    compiler: PathBuf,
    stamps: Vec<Fingerprint>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A unit that tells whether a compiler heeds [`EPOCH_VARIABLE`], and what one that does makes of its first second.
const EPOCH_SOURCE: &str = "__DATE__ __TIME__\n";
const EPOCH_ANSWER: &[u8] = b"\"Jan  1 1970\" \"00:00:00\"";
/// Stands in for the clock where a compiler heeds it (reproducible-builds.org, "SOURCE_DATE_EPOCH").
const EPOCH_VARIABLE: &[u8] = b"SOURCE_DATE_EPOCH";
/// The last second of the year 9999, beyond which compilers report an error.
const LAST_EPOCH: u64 = 253_402_300_799;

#[derive(Debug, PartialEq, Eq, Hash)]
struct EpochKey {
    compiler: PathBuf,
    stamp: Fingerprint,
    env: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A driver asked for the programs it would run.
#[derive(Debug)]
pub struct DriverQuestion<'a> {
    /// The driver.
    pub toolchain: &'a KnownToolchain,
    /// By which name it is called.
    pub argv0: &'a [u8],
    /// Its further arguments, without response files.
    pub arguments: &'a [Vec<u8>],
    /// Where.
    pub cwd: &'a [u8],
    /// In which environment; the driver gets what a builder's would get.
    pub env: &'a Environment,
    /// With which terminals as standard input, output and error: clang's driver tells its compiler of the last.
    pub terminals: [Option<Terminal>; 3],
}

/// Where the loader finds most libraries (ld.so(8)).
const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// Over all that a driver's steps depend on; the question itself would take more memory than its answer.
type StepsKey = [u8; blake3::OUT_LEN];

impl DriverQuestion<'_> {
    /// The variables a driver sees: those that reach a compiler elsewhere too, and those that make it run here.
    fn environment(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut environment = compile::remote_environment(self.env);
        environment.extend(pick(self.env, &["HOME", "LD_LIBRARY_PATH", "QEMU_LD_PREFIX"]));
        environment
    }

    fn key(&self, environment: &Environment) -> StepsKey {
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        };
        let compiler = &self.toolchain.toolchain.compiler;
        add(compiler.as_os_str().as_bytes());
        add(self.argv0);
        add(self.cwd);
        add(&(self.arguments.len() as u64).to_le_bytes());
        self.arguments.iter().for_each(|argument| add(argument));
        for (name, value) in environment {
            add(name);
            add(value);
        }
        add(format!("{:?}", self.terminals).as_bytes());
        // Every file of it may change the steps, and so may a further installation in a directory it searches.
        let places = installation_places(self.toolchain, self.arguments, self.cwd);
        for path in self
            .toolchain
            .files
            .iter()
            .chain(&self.toolchain.directories)
            .chain(&places)
        {
            add(path);
            let stamp = fingerprint(Path::new(OsStr::from_bytes(path)));
            add(format!("{stamp:?}").as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Locale variables, and the toolchain's catalogues.
type LocaleKey = (Vec<(Vec<u8>, Vec<u8>)>, Vec<PathBuf>);

/// The memory.
#[derive(Debug)]
pub struct Compilers {
    toolchains: Memory<ToolchainKey, KnownToolchain>,
    standing: Standing,
    searches: Memory<SearchKey, SearchList>,
    locales: Memory<LocaleKey, Vec<Vec<u8>>>,
    epochs: Memory<EpochKey, bool>,
    scratch: PathBuf,
    driver_steps: Memory<StepsKey, Vec<u8>>,
}

impl Compilers {
    /// Nothing known yet. `scratch` is a directory for sources of questions.
    pub fn new(scratch: PathBuf) -> Self {
        Self {
            toolchains: Memory::new(),
            standing: Standing::default(),
            searches: Memory::new(),
            locales: Memory::new(),
            epochs: Memory::new(),
            scratch,
            driver_steps: Memory::new(),
        }
    }

    /// Whether `compiler` takes date and time from the environment, so that no clock is read.
    pub fn heeds_epoch(&self, compiler: &Path, env: &Environment) -> bool {
        // Where a name repeats the first definition counts, as for `getenv`.
        let given = env.iter().find(|(name, _)| name == EPOCH_VARIABLE);
        if !given.is_some_and(|(_, value)| is_epoch(value)) {
            return false;
        }
        let key = EpochKey {
            compiler: compiler.to_owned(),
            stamp: fingerprint(compiler),
            env: pick(env, &TOOL_VARIABLES),
        };
        let asked = self.epochs.get(key, || {
            let source = self.scratch.join("epoch.c");
            write_then_rename(&source, EPOCH_SOURCE.as_bytes(), 0o600)
                .map_err(|error| crate::host::text::chain(&error))?;
            let mut environment = pick(env, &TOOL_VARIABLES);
            environment.push((EPOCH_VARIABLE.to_vec(), b"0".to_vec()));
            let mut arguments = ["-E", "-P", "-x", "c"]
                .map(|text| text.as_bytes().to_vec())
                .to_vec();
            arguments.push(source.into_os_string().into_vec());
            let question = question(compiler, arguments, b"/", &environment, true)?;
            let answer = ask(&question).map_err(|error| crate::host::text::chain(&error))?;
            Ok(answer.success && answer.stdout.trim_ascii() == EPOCH_ANSWER)
        });
        asked.is_ok_and(|heeds| *heeds)
    }

    /// The toolchain of `compiler`, or why it cannot travel.
    pub fn toolchain(
        &self,
        tree: &Tree,
        compiler: &Path,
        env: &Environment,
    ) -> Result<Arc<KnownToolchain>, String> {
        let call = (compiler.to_owned(), pick(env, &TOOL_VARIABLES));
        if let Some(known) = self.standing.get(tree, &call) {
            return Ok(known);
        }
        let key = self.toolchain_key(compiler, env);
        let known = self.found_toolchain(&key, env)?;
        if self.standing.is_due(&call) {
            let tools = tool_paths(compiler, env);
            let paths = tools.iter().map(PathBuf::as_path).chain(known.searched());
            let holds = || self.toolchain_key(compiler, env) == key && known.directories_hold();
            self.standing.learn(tree, call, &known, paths, holds);
        }
        Ok(known)
    }

    /// The same, for a thread that others wait for: `None` if it takes more than a look at a few files.
    pub fn toolchain_at_once(
        &self,
        tree: &Tree,
        compiler: &Path,
        env: &Environment,
    ) -> Option<Arc<KnownToolchain>> {
        let call = (compiler.to_owned(), pick(env, &TOOL_VARIABLES));
        self.standing.get_at_once(tree, &call)
    }

    fn toolchain_key(&self, compiler: &Path, env: &Environment) -> ToolchainKey {
        let tools = tool_paths(compiler, env);
        ToolchainKey {
            compiler: compiler.to_owned(),
            stamps: tools.iter().map(|path| fingerprint(path)).collect(),
            env: pick(env, &TOOL_VARIABLES),
        }
    }

    fn found_toolchain(&self, key: &ToolchainKey, env: &Environment) -> Result<Arc<KnownToolchain>, String> {
        let discover = || {
            toolchain::discover(&key.compiler, env, &ask)
                .map(KnownToolchain::from)
                .map_err(|error| crate::host::text::chain(&error))
        };
        let known = self.toolchains.get(key.clone(), discover)?;
        if known.directories_hold() {
            return Ok(known);
        }
        self.toolchains.forget(key);
        self.toolchains.get(key.clone(), discover)
    }

    /// What the compiler's own `-M` names. `None` when it fails: the source has an error the user should see
    /// from the compiler.
    pub fn dependencies(
        &self,
        compiler: &Path,
        plan: &Plan,
        cwd: &[u8],
        env: &Environment,
    ) -> Option<Vec<Vec<u8>>> {
        let question = question(compiler, plan.dependency_arguments.clone(), cwd, env, false).ok()?;
        let answer = ask(&question).ok().filter(|answer| answer.success)?;
        Some(dependencies::parse(&answer.stdout))
    }

    /// What the driver prints of the programs it would run.
    pub fn driver_steps(&self, asked: &DriverQuestion<'_>) -> Result<Arc<Vec<u8>>, String> {
        let environment = asked.environment();
        self.driver_steps.get(asked.key(&environment), || {
            let mut arguments = vec![b"-###".to_vec()];
            arguments.extend_from_slice(asked.arguments);
            let compiler = &asked.toolchain.toolchain.compiler;
            let answer =
                question(compiler, arguments, asked.cwd, &environment, true).and_then(|question| {
                    ask_as(OsStr::from_bytes(asked.argv0), &question, asked.terminals)
                        .map_err(|error| crate::host::text::chain(&error))
                })?;
            if !answer.success || !answer.stdout.is_empty() {
                return Err("the driver does not say what it would run".to_owned());
            }
            Ok(answer.stderr)
        })
    }

    /// The files that make messages and quotes come out as in this environment.
    pub fn locale_files(&self, toolchain: &Toolchain, env: &Environment) -> Arc<Vec<Vec<u8>>> {
        let key = (pick(env, &LOCALE_VARIABLES), toolchain.catalogues.clone());
        let found = self.locales.get(key, || {
            let roots = LocaleRoots::system().with_catalogues(&toolchain.catalogues);
            Ok(match locale_files_in(env, &roots) {
                LocaleSupport::Plain => Vec::new(),
                LocaleSupport::Files(files) => files
                    .into_iter()
                    .map(|file| file.into_os_string().into_vec())
                    .collect(),
            })
        });
        found.unwrap_or_default()
    }
}

/// Whether compilers take `value` for a time.
fn is_epoch(value: &[u8]) -> bool {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    is_number && number.is_some_and(|number| number <= LAST_EPOCH)
}

/// What a toolchain's files depend on: the driver, the loader's cache and which programs `PATH` leads to.
fn tool_paths(compiler: &Path, env: &Environment) -> Vec<PathBuf> {
    let path = env
        .iter()
        .find(|(name, _)| name == b"PATH")
        .map_or(&[][..], |(_, value)| value);
    let directories = path
        .split(|&byte| byte == b':')
        .map(|part| PathBuf::from(OsStr::from_bytes(part)));
    [compiler.to_owned(), PathBuf::from(LOADER_CACHE)]
        .into_iter()
        .chain(directories)
        .collect()
}

fn question(
    compiler: &Path,
    arguments: Vec<Vec<u8>>,
    cwd: &[u8],
    env: &Environment,
    plain_locale: bool,
) -> Result<Question, String> {
    let mut environment: Vec<(OsString, OsString)> = env
        .iter()
        .filter(|(name, _)| !plain_locale || !LOCALE_VARIABLES.iter().any(|locale| locale.as_bytes() == name))
        .map(|(name, value)| {
            (
                OsString::from_vec(name.clone()),
                OsString::from_vec(value.clone()),
            )
        })
        .collect();
    if plain_locale {
        environment.push(("LC_ALL".into(), "C".into()));
    }
    Ok(Question {
        program: compiler.to_owned(),
        arguments: arguments.into_iter().map(OsString::from_vec).collect(),
        environment,
        directory: PathBuf::from(OsStr::from_bytes(cwd)),
    })
}
