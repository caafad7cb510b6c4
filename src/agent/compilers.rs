//! What is known of the compilers of this machine: their files, and their answers to questions about search
//! lists and dependencies. Asked once, remembered as long as nothing they depend on changed.
//!
//! Blocking; called on threads that may wait.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::hash::Hash;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::compile::{self, Language, Plan};
use crate::host::files::write_then_rename;
use crate::inputs::dependencies;
use crate::inputs::search_list::{self, SearchList};
use crate::toolchain::locale::{LocaleRoots, LocaleSupport, locale_files_in};
use crate::toolchain::question::{Question, ask, ask_as};
use crate::toolchain::{self, Toolchain};

/// Answers kept of each kind; beyond it everything is forgotten and asked again.
const REMEMBERED: usize = 4096;

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

/// Variables that decide which programs a driver runs.
const TOOL_VARIABLES: [&str; 5] = [
    "PATH",
    "GCC_EXEC_PREFIX",
    "COMPILER_PATH",
    "LD_LIBRARY_PATH",
    "QEMU_LD_PREFIX",
];
/// Variables that decide where it searches, beside those.
const SEARCH_VARIABLES: [&str; 8] = [
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    "OBJCPLUS_INCLUDE_PATH",
    "SDKROOT",
    "MACOSX_DEPLOYMENT_TARGET",
    "SYSROOT",
];
/// Variables that decide what language it speaks.
const LOCALE_VARIABLES: [&str; 6] = ["LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LOCPATH"];

fn pick(env: &Environment, names: &[&str]) -> Vec<(Vec<u8>, Vec<u8>)> {
    env.iter()
        .filter(|(name, _)| names.iter().any(|wanted| wanted.as_bytes() == name))
        .cloned()
        .collect()
}

/// How long a failure is remembered: it may have been a passing one, a machine out of processes say.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(10);

/// One answer, being asked for or had, and since when.
#[derive(Debug)]
struct Once<V> {
    answer: OnceLock<Result<Arc<V>, String>>,
    since: Instant,
}

impl<V> Once<V> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            answer: OnceLock::new(),
            since: Instant::now(),
        })
    }

    fn is_worn(&self) -> bool {
        matches!(self.answer.get(), Some(Err(_))) && self.since.elapsed() >= FAILURE_REMEMBERED
    }
}

/// Answers by question; concurrent askers of one question wait for one answer.
#[derive(Debug)]
struct Memory<K, V>(Mutex<HashMap<K, Arc<Once<V>>>>);

impl<K: Hash + Eq, V> Memory<K, V> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn get(&self, key: K, ask: impl FnOnce() -> Result<V, String>) -> Result<Arc<V>, String> {
        let once = {
            let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if map.len() >= REMEMBERED {
                map.clear();
            }
            let once = map.entry(key).or_insert_with(Once::new);
            if once.is_worn() {
                *once = Once::new();
            }
            Arc::clone(once)
        };
        once.answer.get_or_init(|| ask().map(Arc::new)).clone()
    }

    fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ToolchainKey {
    compiler: PathBuf,
    stamps: Vec<Fingerprint>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SearchKey {
    compiler: PathBuf,
    stamp: Fingerprint,
    configurations: Vec<Fingerprint>,
    arguments: Vec<Vec<u8>>,
    language: &'static str,
    cwd: Vec<u8>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    directories: Vec<Fingerprint>,
    /// Directories that exist now and did not when the same was asked first.
    appeared: Vec<Vec<u8>>,
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
}

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
        // Every file of it may change the steps, and so may a further installation in a directory it searches.
        for path in self.toolchain.files.iter().chain(&self.toolchain.directories) {
            add(path);
            let stamp = fingerprint(Path::new(OsStr::from_bytes(path)));
            add(format!("{stamp:?}").as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Locale variables, and the toolchain's catalogues.
type LocaleKey = (Vec<(Vec<u8>, Vec<u8>)>, Vec<PathBuf>);

/// A toolchain and its files as bytes, in the forms every unit needs.
#[derive(Debug)]
pub struct KnownToolchain {
    /// What discovery found.
    pub toolchain: Toolchain,
    /// Its files, as the tools open them.
    pub files: Vec<Vec<u8>>,
    /// The same files behind all links, in the same order.
    pub real_files: Vec<Vec<u8>>,
    /// Its directories, those that do not exist yet among them.
    pub directories: Vec<Vec<u8>>,
    /// Those of its files that stand in front of every command line: they may name directories and define macros.
    configurations: Vec<PathBuf>,
    /// Its directories when they were searched: a tool or a specs file that appears in one would be used.
    stamps: Vec<Fingerprint>,
}

/// The end of the name of clang's configuration files, whose content stands in front of every command line.
const CONFIGURATION_SUFFIX: &[u8] = b".cfg";
/// The end of the name of gcc's.
const SPECS_SUFFIX: &[u8] = b"specs";
const NATIVE_VALUE: &[u8] = b"=native";

impl KnownToolchain {
    /// Whether nothing came or went in its directories since it was discovered.
    fn directories_hold(&self) -> bool {
        let now = searched(&self.toolchain).map(|path| fingerprint(path));
        now.eq(self.stamps.iter().copied())
    }

    /// Whether every compile names this machine's own processor, because a configuration file does. Read each time:
    /// most toolchains have none, and a person may edit it. A gcc that was configured so records the processor with
    /// `-g`, and its trial tells.
    pub fn is_configured_native(&self) -> bool {
        let names_native = |path: &Vec<u8>| {
            let text = std::fs::read(Path::new(OsStr::from_bytes(path))).unwrap_or_default();
            text.windows(NATIVE_VALUE.len()).any(|part| part == NATIVE_VALUE)
        };
        self.files
            .iter()
            .any(|path| path.ends_with(CONFIGURATION_SUFFIX) && names_native(path))
    }
}

fn configures(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    path.ends_with(CONFIGURATION_SUFFIX) || path.ends_with(SPECS_SUFFIX)
}

/// Every directory in which a tool that appears would be used.
fn searched(toolchain: &Toolchain) -> impl Iterator<Item = &PathBuf> {
    toolchain.directories.iter().chain(&toolchain.missing_directories)
}

impl From<Toolchain> for KnownToolchain {
    fn from(toolchain: Toolchain) -> Self {
        let bytes = |path: &PathBuf| path.as_os_str().as_bytes().to_vec();
        let real = |path: &PathBuf| {
            path.canonicalize()
                .map_or_else(|_| bytes(path), |real| bytes(&real))
        };
        Self {
            files: toolchain.paths.iter().map(bytes).collect(),
            real_files: toolchain.paths.iter().map(real).collect(),
            directories: searched(&toolchain).map(bytes).collect(),
            configurations: toolchain
                .paths
                .iter()
                .filter(|path| configures(path))
                .cloned()
                .collect(),
            stamps: searched(&toolchain).map(|path| fingerprint(path)).collect(),
            toolchain,
        }
    }
}

/// The memory.
#[derive(Debug)]
pub struct Compilers {
    toolchains: Memory<ToolchainKey, KnownToolchain>,
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
    pub fn toolchain(&self, compiler: &Path, env: &Environment) -> Result<Arc<KnownToolchain>, String> {
        let key = ToolchainKey {
            compiler: compiler.to_owned(),
            stamps: tool_stamps(compiler, env),
            env: pick(env, &TOOL_VARIABLES),
        };
        let discover = || {
            toolchain::discover(compiler, env, &ask)
                .map(KnownToolchain::from)
                .map_err(|error| crate::host::text::chain(&error))
        };
        let known = self.toolchains.get(key.clone(), discover)?;
        if known.directories_hold() {
            return Ok(known);
        }
        self.toolchains.forget(&key);
        self.toolchains.get(key, discover)
    }

    /// Where the compiler of `toolchain` searches under the arguments of `plan`.
    pub fn search_list(
        &self,
        toolchain: &KnownToolchain,
        plan: &Plan,
        cwd: &[u8],
        env: &Environment,
    ) -> Result<Arc<SearchList>, String> {
        let found = self.ask_search_list(toolchain, plan, cwd, env, Vec::new())?;
        // A directory that was left out because it did not exist is searched once it does.
        let at = Path::new(OsStr::from_bytes(cwd));
        let exists = |path: &&Vec<u8>| at.join(OsStr::from_bytes(path)).exists();
        let appeared: Vec<_> = found.ignored.iter().filter(exists).cloned().collect();
        if appeared.is_empty() {
            Ok(found)
        } else {
            self.ask_search_list(toolchain, plan, cwd, env, appeared)
        }
    }

    fn ask_search_list(
        &self,
        toolchain: &KnownToolchain,
        plan: &Plan,
        cwd: &[u8],
        env: &Environment,
        appeared: Vec<Vec<u8>>,
    ) -> Result<Arc<SearchList>, String> {
        let compiler = &toolchain.toolchain.compiler;
        let mut variables = pick(env, &TOOL_VARIABLES);
        variables.extend(pick(env, &SEARCH_VARIABLES));
        let at = Path::new(OsStr::from_bytes(cwd));
        let named = plan
            .include_directories
            .iter()
            .map(|directory| at.join(OsStr::from_bytes(directory)));
        let key = SearchKey {
            compiler: compiler.to_owned(),
            stamp: fingerprint(compiler),
            configurations: toolchain
                .configurations
                .iter()
                .map(|path| fingerprint(path))
                .collect(),
            arguments: plan.search_arguments.clone(),
            language: plan.language.name(),
            cwd: cwd.to_owned(),
            env: variables,
            // Existence and identity decide the list; contents do not, so times are left out.
            directories: named
                .map(|path| fingerprint(&path).map(|(dev, ino, ..)| (dev, ino, 0, 0, 0, 0, 0)))
                .collect(),
            appeared,
        };
        self.searches.get(key, || {
            let mut arguments = plan.search_arguments.clone();
            let language = search_language(plan.language);
            let asked = ["-v", "-E", "-dM", "-x", language, "/dev/null"];
            arguments.extend(asked.map(|text| text.as_bytes().to_vec()));
            let answer = question(compiler, arguments, cwd, env, true)
                .and_then(|question| ask(&question).map_err(|error| crate::host::text::chain(&error)))?;
            let list =
                search_list::parse(&answer.stderr).map_err(|error| crate::host::text::chain(&error))?;
            Ok(SearchList {
                predefined: search_list::predefined(&answer.stdout).filter(|_| answer.success),
                ..list
            })
        })
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
                    ask_as(OsStr::from_bytes(asked.argv0), &question)
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

/// `-v` for assembler input without a preprocessor shows no search list; gas searches what `-I` names.
const fn search_language(language: Language) -> &'static str {
    match language {
        Language::Assembler => "assembler-with-cpp",
        Language::PreprocessedC => "c",
        Language::PreprocessedCxx => "c++",
        other => other.name(),
    }
}

/// What a toolchain's files depend on: the driver, the loader's cache and which programs `PATH` leads to.
fn tool_stamps(compiler: &Path, env: &Environment) -> Vec<Fingerprint> {
    let path = env
        .iter()
        .find(|(name, _)| name == b"PATH")
        .map_or(&[][..], |(_, value)| value);
    let directories = path
        .split(|&byte| byte == b':')
        .map(|part| PathBuf::from(OsStr::from_bytes(part)));
    [compiler.to_owned(), PathBuf::from("/etc/ld.so.cache")]
        .into_iter()
        .chain(directories)
        .map(|path| fingerprint(&path))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Dialect;

    #[test]
    fn only_plain_numbers_up_to_the_year_9999_are_epochs() {
        for value in ["0", "1700000000", "253402300799", "007"] {
            assert!(is_epoch(value.as_bytes()), "{value}");
        }
        for value in [
            "",
            "-1",
            "+1",
            "1x",
            " 1",
            "253402300800",
            "99999999999999999999999",
        ] {
            assert!(!is_epoch(value.as_bytes()), "{value}");
        }
    }

    /// Runs `script` in `directory`: a program written by another process is never open for writing here.
    fn shell(directory: &Path, script: &str) {
        let mut command = crate::host::process::command(Path::new("/bin/sh"), directory);
        assert!(command.args(["-c", script]).status().unwrap().success());
    }

    fn toolchain(paths: Vec<PathBuf>, directories: Vec<PathBuf>) -> KnownToolchain {
        KnownToolchain::from(Toolchain {
            compiler: paths[0].clone(),
            dialect: Dialect::Gcc,
            version: String::new(),
            paths,
            directories,
            missing_directories: Vec::new(),
            catalogues: Vec::new(),
            machine: String::new(),
        })
    }

    #[test]
    fn a_tool_that_appears_makes_another_toolchain() {
        let scratch = tempfile::tempdir().unwrap();
        let (program, tools) = (scratch.path().join("gcc"), scratch.path().join("tools"));
        std::fs::write(&program, "").unwrap();
        std::fs::create_dir(&tools).unwrap();
        let known = toolchain(vec![program], vec![tools.clone()]);
        assert!(known.directories_hold());
        std::fs::write(tools.join("as"), "").unwrap();
        assert!(!known.directories_hold());
        let (program, later) = (scratch.path().join("gcc"), scratch.path().join("later/bin"));
        let known = KnownToolchain::from(Toolchain {
            missing_directories: vec![later.clone()],
            ..toolchain(vec![program], Vec::new()).toolchain
        });
        let spelled = later.as_os_str().as_bytes().to_vec();
        assert!(known.directories.contains(&spelled), "every closure looks for it");
        assert!(known.directories_hold());
        std::fs::create_dir_all(later).unwrap();
        assert!(!known.directories_hold());
    }

    #[test]
    fn a_configuration_file_may_make_every_compile_native() {
        let scratch = tempfile::tempdir().unwrap();
        let (program, configuration) = (scratch.path().join("clang"), scratch.path().join("clang.cfg"));
        std::fs::write(&program, "-march=native").unwrap();
        std::fs::write(&configuration, "-O1").unwrap();
        let known = toolchain(vec![program, configuration.clone()], Vec::new());
        assert!(!known.is_configured_native());
        std::fs::write(&configuration, "-O1\n-march=native\n").unwrap();
        assert!(known.is_configured_native());
    }

    /// No file but a source is ever asked for.
    struct Nothing;

    impl compile::Surroundings for Nothing {
        fn read_response_file(&mut self, _: &[u8]) -> Option<Vec<u8>> {
            None
        }

        fn exists(&mut self, _: &[u8]) -> bool {
            false
        }
    }

    #[test]
    fn an_edited_specs_file_makes_another_search_list() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        shell(
            scratch.path(),
            "echo /one >specs; echo '#define linux 1' >macros\n\
             printf '%s\\n' '#!/bin/sh' 'echo \"#include \\\"...\\\" search starts here:\" >&2' \
             'echo \"#include <...> search starts here:\" >&2' 'sed s/^/\\ / specs >&2' \
             'echo \"End of search list.\" >&2' 'cat macros' >driver; chmod +x driver",
        );
        let known = toolchain(vec![at("driver"), at("specs")], Vec::new());
        let compilers = Compilers::new(scratch.path().to_owned());
        let cwd = scratch.path().as_os_str().as_bytes();
        let env = [(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())];
        let invocation = compile::Invocation {
            argv: ["gcc", "-c", "a.c"].map(|word| word.as_bytes().to_vec()).to_vec(),
            cwd: cwd.to_vec(),
            env: env.to_vec(),
        };
        let compile::Verdict::Distribute(plan) = compile::judge(&invocation, Dialect::Gcc, &mut Nothing)
        else {
            panic!("an ordinary compile")
        };
        let check = |expected: &str| {
            let list = compilers.search_list(&known, &plan, cwd, &env).unwrap();
            assert_eq!(list.angle, [expected.as_bytes()]);
            assert_eq!(list.predefined.as_deref(), Some(&b"#define linux 1\n"[..]));
        };
        check("/one");
        // In place, so that no directory's times change.
        shell(scratch.path(), "echo /two >specs");
        check("/two");
    }

    #[test]
    fn a_driver_is_asked_for_its_steps_once_until_something_changes() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        shell(
            scratch.path(),
            "mkdir -p work lib; echo tool >tool\n\
             printf '#!/bin/sh\\necho \"$1 $2 $CPATH $LC_ALL\" | tee -a asked >&2\\n' >driver; chmod +x driver",
        );
        let known = toolchain(vec![at("driver"), at("tool")], vec![at("lib")]);
        let compilers = Compilers::new(scratch.path().to_owned());
        let work = at("work").into_os_string().into_vec();
        let mut expected = 0;
        let mut check = |argument: &str, variables: &str, is_new: bool| {
            let variables = format!("PATH=/usr/bin:/bin LANG=de_DE {variables}");
            let env: Vec<_> = variables
                .split_whitespace()
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect();
            let question = DriverQuestion {
                toolchain: &known,
                argv0: b"driver",
                arguments: &[argument.as_bytes().to_vec()],
                cwd: &work,
                env: &env,
            };
            let answer = compilers.driver_steps(&question).unwrap();
            let cpath = if variables.contains("CPATH") { "x" } else { "" };
            assert_eq!(
                String::from_utf8_lossy(&answer),
                format!("-### {argument} {cpath} C\n")
            );
            expected += usize::from(is_new);
            let asked = std::fs::read_to_string(at("work/asked")).unwrap();
            assert_eq!(asked.lines().count(), expected, "{argument} {variables}");
        };
        check("-O1", "", true);
        check("-O1", "MAKEFLAGS=-j2", false);
        check("-O2", "", true);
        check("-O1", "CPATH=x", true);
        shell(scratch.path(), "echo other >tool");
        check("-O1", "", true);
        shell(scratch.path(), "mkdir lib/13");
        check("-O1", "", true);
        check("-O1", "", false);
    }
}
