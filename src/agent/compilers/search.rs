//! Where a compiler searches for includes: what it says itself, asked once for each set of flags. Flags that only put
//! directories before those of another set are not asked for.
//!
//! Blocking, as all of [`super`].

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    Compilers, Environment, Fingerprint, KnownToolchain, TOOL_VARIABLES, fingerprint, pick, question,
};
use crate::compile::{Dialect, Language, Plan};
use crate::inputs::search_list::{self, SearchList};
use crate::toolchain;
use crate::toolchain::question::ask;

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

/// Device and inode of what a name leads to, and whether it is a directory: a file system may give a directory the number
/// that a file had.
type Identity = Option<(u64, u64, bool)>;

fn identity(path: &Path) -> Identity {
    let data = std::fs::metadata(path).ok()?;
    Some((data.dev(), data.ino(), data.is_dir()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SearchKey {
    compiler: PathBuf,
    stamp: Fingerprint,
    configurations: Vec<Fingerprint>,
    arguments: Vec<Vec<u8>>,
    language: &'static str,
    cwd: Vec<u8>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    directories: Vec<Identity>,
    /// Of the [`installation_places`].
    installations: Vec<Fingerprint>,
    /// Directories that exist now and did not when the same was asked first.
    appeared: Vec<Vec<u8>>,
}

/// Where a gcc installation that appears makes the compiler of `toolchain` called with `arguments` search elsewhere,
/// besides the directories that are its own.
pub fn installation_places(toolchain: &KnownToolchain, arguments: &[Vec<u8>], cwd: &[u8]) -> Vec<Vec<u8>> {
    const JOINED: &[u8] = b"--sysroot=";
    const SEPARATE: &[u8] = b"--sysroot";
    if toolchain.toolchain.dialect != Dialect::Clang {
        return Vec::new();
    }
    let joined = arguments.iter().filter_map(|word| word.strip_prefix(JOINED));
    let behind = arguments.iter().zip(arguments.iter().skip(1));
    let separate = behind
        .filter(|(word, _)| *word == SEPARATE)
        .map(|(_, root)| root.as_slice());
    let at = Path::new(OsStr::from_bytes(cwd));
    let roots = joined
        .chain(separate)
        .map(|root| at.join(OsStr::from_bytes(root)));
    let places = roots.flat_map(|root| toolchain::installation_places(&root));
    places.map(|place| place.into_os_string().into_vec()).collect()
}

impl Compilers {
    /// Where the compiler of `toolchain` searches under the arguments of `plan`.
    pub fn search_list(
        &self,
        toolchain: &KnownToolchain,
        plan: &Plan,
        cwd: &[u8],
        env: &Environment,
    ) -> Result<Arc<SearchList>, String> {
        let found = self.known_search_list(toolchain, plan, cwd, env, Vec::new())?;
        // A directory that was left out because it did not exist is searched once it does.
        let at = Path::new(OsStr::from_bytes(cwd));
        let exists = |path: &&Vec<u8>| at.join(OsStr::from_bytes(path)).exists();
        let appeared: Vec<_> = found.ignored.iter().filter(exists).cloned().collect();
        if appeared.is_empty() {
            Ok(found)
        } else {
            self.known_search_list(toolchain, plan, cwd, env, appeared)
        }
    }

    fn known_search_list(
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
        // One answer for all directories of a build, and for the trial.
        let is_plain =
            variables.iter().all(|(name, _)| name == b"PATH") && toolchain.configurations.is_empty();
        let is_placed = !is_plain || search_list::depends_on_directory(&plan.search_arguments);
        let asked_in = if is_placed { cwd } else { b"/" };
        let at = Path::new(OsStr::from_bytes(cwd));
        let places = installation_places(toolchain, &plan.search_arguments, cwd);
        let named = plan.include_directories.iter();
        let identities = || -> Vec<_> {
            let paths = named.clone().map(|name| at.join(OsStr::from_bytes(name)));
            paths.map(|path| identity(&path)).collect()
        };
        let directories = identities();
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
            cwd: asked_in.to_owned(),
            env: variables,
            // Existence and identity decide the list; contents do not, so times are left out.
            directories: directories.clone(),
            installations: places
                .iter()
                .map(|place| fingerprint(Path::new(OsStr::from_bytes(place))))
                .collect(),
            appeared,
        };
        self.searches.get(key, || {
            let extended = is_plain.then(|| self.extended_search_list(toolchain, plan, cwd, env));
            let list = match extended.flatten() {
                Some(list) => list,
                None => ask_search_list(compiler, plan, asked_in, env)?,
            };
            // Of which it is, nobody knows.
            if identities() != directories {
                return Err("the directories to be searched changed while the compiler was asked".to_owned());
            }
            Ok(list)
        })
    }

    /// The list of the same flags without `-I`, behind the directories that `-I` names: so it is where each of these is
    /// a directory that is not on the list another time (GCC manual, "Options for Directory Search"). `None` where that
    /// may not be so.
    pub(super) fn extended_search_list(
        &self,
        toolchain: &KnownToolchain,
        plan: &Plan,
        cwd: &[u8],
        env: &Environment,
    ) -> Option<SearchList> {
        let split = search_list::split_first_directories(&plan.search_arguments)?;
        let mut shorter = plan.clone();
        shorter.search_arguments = split.rest;
        for name in &split.directories {
            let at = shorter
                .include_directories
                .iter()
                .position(|known| known == name)?;
            shorter.include_directories.remove(at);
        }
        let list = self.search_list(toolchain, &shorter, cwd, env).ok()?;
        let at = Path::new(OsStr::from_bytes(cwd));
        let directory = |name: &Vec<u8>| {
            identity(&at.join(OsStr::from_bytes(name))).filter(|(.., is_directory)| *is_directory)
        };
        let mut known: Vec<_> = list
            .quote
            .iter()
            .chain(&list.angle)
            .filter_map(directory)
            .collect();
        for name in &split.directories {
            let found = directory(name).filter(|found| !known.contains(found))?;
            known.push(found);
        }
        Some(list.behind(&split.directories))
    }
}

fn ask_search_list(
    compiler: &Path,
    plan: &Plan,
    cwd: &[u8],
    env: &Environment,
) -> Result<SearchList, String> {
    let mut arguments = plan.search_arguments.clone();
    let language = search_language(plan.language);
    let asked = ["-v", "-E", "-dM", "-x", language, "/dev/null"];
    arguments.extend(asked.map(|text| text.as_bytes().to_vec()));
    let answer = question(compiler, arguments, cwd, env, true)
        .and_then(|question| ask(&question).map_err(|error| crate::host::text::chain(&error)))?;
    let list = search_list::parse(&answer.stderr).map_err(|error| crate::host::text::chain(&error))?;
    Ok(SearchList {
        predefined: search_list::predefined(&answer.stdout).filter(|_| answer.success),
        ..list
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::compilers::tests::{plan, shell, toolchain};

    /// `%` stands for a scratch directory.
    const CALLS: [(&str, bool); 20] = [
        ("-I%/a -O2 -I %/b", true),
        ("-I%/a -isystem %/b -iquote %/c -idirafter %/q", true),
        ("-Ia -I b -I. -I..", true),
        ("-I%/sub/../a -I%//c -I./q -Ilink", true),
        ("-std=gnu11 -fPIC -I%/.hidden -I_x", true),
        ("-I%/a/. -I%/b/..", true),
        ("-I%/nowhere", false),
        ("-I%/a -I%/file", false),
        ("-I%/a -Ilink -I%/a", false),
        ("-I%/a -Ilink_to_a", false),
        ("-I/usr/include", false),
        ("-I%/usr", false),
        ("-I%/a -isystem %/a", false),
        ("-I%/a -iquote %/link_to_a", false),
        ("-I%/a/", false),
        ("-I=/a", false),
        ("-I%/a -nostdinc", false),
        ("-I%/a -iprefix % -iwithprefix /b", false),
        ("-Xpreprocessor -I%/a", false),
        ("-isystem %/a", false),
    ];

    #[test]
    fn directories_searched_first_stand_where_a_compiler_says_they_do() {
        let scratch = tempfile::tempdir().unwrap();
        let place = scratch.path().to_str().unwrap();
        shell(
            scratch.path(),
            "mkdir a b c q sub .hidden _x; touch file; ln -s b link; ln -s a link_to_a; ln -s /usr/include usr",
        );
        let cwd = place.as_bytes();
        let env = [(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())];
        for (name, path) in [
            ("gcc", "/usr/bin/gcc"),
            ("g++", "/usr/bin/g++"),
            ("clang", "/usr/bin/clang"),
        ] {
            let toolchain = toolchain(vec![PathBuf::from(path)], Vec::new());
            for (words, is_extended) in CALLS {
                let words: Vec<_> = words.replace('%', place).split(' ').map(str::to_owned).collect();
                let plan = plan(name, &words, cwd, &env);
                assert!(!plan.search_arguments.is_empty(), "{words:?}");
                let compilers = Compilers::new(scratch.path().to_owned());
                let said = ask_search_list(Path::new(path), &plan, cwd, &env).unwrap();
                let extended = compilers.extended_search_list(&toolchain, &plan, cwd, &env);
                assert_eq!(extended.is_some(), is_extended, "{name} {words:?}");
                let found = compilers.search_list(&toolchain, &plan, cwd, &env).unwrap();
                assert_eq!(*found, said, "{name} {words:?}");
                assert_eq!(extended.unwrap_or_else(|| said.clone()), said, "{name} {words:?}");
            }
        }
    }

    #[test]
    fn a_file_is_told_from_a_directory_that_got_its_number() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("file"), "").unwrap();
        let kind = |name| identity(&scratch.path().join(name)).map(|(.., is_directory)| is_directory);
        assert_eq!(
            (kind("."), kind("file"), kind("none")),
            (Some(true), Some(false), None)
        );
    }

    #[test]
    fn a_directory_that_comes_or_becomes_another_is_noticed() {
        let scratch = tempfile::tempdir().unwrap();
        let cwd = scratch.path().as_os_str().as_bytes();
        let env = [(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())];
        let toolchain = toolchain(vec![PathBuf::from("/usr/bin/gcc")], Vec::new());
        let words = ["-Ia", "-Ib", "-isystem", "c"].map(str::to_owned);
        let plan = plan("gcc", &words, cwd, &env);
        let compilers = Compilers::new(scratch.path().to_owned());
        for change in [
            "mkdir a b",
            "mkdir c",
            "rmdir b; ln -s a b",
            "rm b; mkdir b",
            "rmdir c; ln -s b c",
            "rmdir a",
        ] {
            shell(scratch.path(), change);
            let said = ask_search_list(Path::new("/usr/bin/gcc"), &plan, cwd, &env).unwrap();
            let found = compilers.search_list(&toolchain, &plan, cwd, &env).unwrap();
            assert_eq!(
                (&found.quote, &found.angle),
                (&said.quote, &said.angle),
                "{change}"
            );
        }
    }
}
