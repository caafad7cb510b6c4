//! Asks a compiler driver about itself: dialect, version, programs, search directories.
//!
//! Never judges a command line and never reads the files it is told about.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::DiscoverError;
use super::question::{Answer, Question, Run, RunError};
use super::search_path::{DEFAULT_PATH, find_in_path};
use crate::compile::Dialect;

/// Characters kept of a version line.
const MAX_VERSION_LENGTH: usize = 200;

/// The variables that decide which programs and directories a driver uses (gcc manual "Environment
/// Variables"; clang command guide "ENVIRONMENT"). Nothing else reaches it: `DEPENDENCIES_OUTPUT` would
/// write files, `LD_PRELOAD` makes a compile local anyway.
const STEERING_VARIABLES: [&str; 12] = [
    "PATH",
    "HOME",
    "GCC_EXEC_PREFIX",
    "COMPILER_PATH",
    "LIBRARY_PATH",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "SDKROOT",
    "GCC_ROOT",
    "G++_ROOT",
    "BINUTILS_ROOT",
];

/// Macros of compilers that define `__GNUC__` without being gcc: their tools are found in other ways.
const FOREIGN_MACROS: [&str; 5] = [
    "__INTEL_COMPILER",
    "__NVCOMPILER",
    "__PGI",
    "__EDG__",
    "__TINYC__",
];

/// A compiler and the environment it is asked in.
pub(super) struct Driver<'a> {
    compiler: &'a Path,
    environment: Vec<(OsString, OsString)>,
    run: &'a Run<'a>,
    /// What it says with `-v` and of its macros while it preprocesses nothing as C.
    verbose_c: OnceCell<Answer>,
    searched: OnceCell<Searched>,
}

/// What `-print-search-dirs` says.
#[derive(Debug, Default)]
struct Searched {
    install: Vec<PathBuf>,
    programs: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
}

impl<'a> Driver<'a> {
    /// A driver at the absolute path `compiler`, in the client's environment `env`.
    pub(super) fn new(compiler: &'a Path, env: &[(Vec<u8>, Vec<u8>)], run: &'a Run<'a>) -> Self {
        let steering = |name: &[u8]| STEERING_VARIABLES.iter().any(|known| known.as_bytes() == name);
        let mut environment: Vec<_> = env
            .iter()
            .filter(|(name, _)| steering(name))
            .map(|(name, value)| {
                (
                    OsString::from_vec(name.clone()),
                    OsString::from_vec(value.clone()),
                )
            })
            .collect();
        environment.push(("LC_ALL".into(), "C".into()));
        Self {
            compiler,
            environment,
            run,
            verbose_c: OnceCell::new(),
            searched: OnceCell::new(),
        }
    }

    pub(super) fn compiler(&self) -> &Path {
        self.compiler
    }

    /// Asks the compiler with `arguments`.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Answer, RunError> {
        (self.run)(&Question {
            program: self.compiler.to_owned(),
            arguments: arguments.iter().map(OsString::from).collect(),
            environment: self.environment.clone(),
            directory: "/".into(),
        })
    }

    /// The first line of the answer to a `-print-…` or `-dump…` option, `None` if there is none.
    pub(super) fn line(&self, option: &str) -> Result<Option<OsString>, RunError> {
        let answer = self.ask(&[option])?;
        let line = answer
            .stdout
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        Ok((answer.success && !line.is_empty()).then(|| OsStr::from_bytes(line).to_owned()))
    }

    /// The same as a path; `None` also if it is relative, which is how drivers say "not found".
    pub(super) fn path(&self, option: &str) -> Result<Option<PathBuf>, RunError> {
        Ok(self
            .line(option)?
            .map(PathBuf::from)
            .filter(|path| path.is_absolute()))
    }

    /// By whose rules the compiler reads its command line, judged by the macros it defines; names lie (`cc`).
    pub(super) fn dialect(&self) -> Result<Dialect, DiscoverError> {
        let answer = self.verbose_c()?;
        dialect_of(&answer.stdout).ok_or_else(|| DiscoverError::UnknownDialect {
            compiler: self.compiler.to_owned(),
            message: first_line(complaint(&answer.stderr)),
        })
    }

    /// The first line of `--version`, for people.
    pub(super) fn version(&self) -> Result<String, RunError> {
        Ok(first_line(&self.ask(&["--version"])?.stdout))
    }

    /// The program the compiler runs as `name`: where `-print-prog-name` says, or for a bare name the first
    /// along the client's `PATH`, because the compiler leaves it to `execvp`. `None` if there is none.
    pub(super) fn program(&self, name: &str) -> Result<Option<PathBuf>, DiscoverError> {
        let Some(answer) = self.line(&format!("-print-prog-name={name}"))? else {
            return Ok(None);
        };
        if answer.as_bytes().contains(&b'/') {
            return Ok(Some(PathBuf::from(answer)).filter(|path| path.is_absolute() && path.is_file()));
        }
        self.along_path(&answer)
    }

    fn along_path(&self, name: &OsStr) -> Result<Option<PathBuf>, DiscoverError> {
        let variable = self.environment.iter().find(|(name, _)| name == "PATH");
        let path = variable.map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
        for element in std::env::split_paths(path) {
            if !element.is_absolute() {
                return Err(DiscoverError::RelativePath {
                    program: name.to_owned(),
                    element,
                });
            }
            if let Some(program) = find_in_path(name, element.as_os_str(), Path::new("/"), &|_| false) {
                return Ok(Some(program));
            }
        }
        Ok(None)
    }

    /// What the compiler says with `-v` while it preprocesses nothing as `language` (`c`, `c++`): its
    /// directories and configuration files. Empty if it cannot compile the language.
    pub(super) fn verbose(&self, language: &str) -> Result<Vec<u8>, RunError> {
        let said = |answer: &Answer| {
            if answer.success {
                answer.stderr.clone()
            } else {
                Vec::new()
            }
        };
        if language == "c" {
            return Ok(said(self.verbose_c()?));
        }
        Ok(said(&self.ask(&["-v", "-E", "-x", language, "/dev/null"])?))
    }

    fn verbose_c(&self) -> Result<&Answer, RunError> {
        once(&self.verbose_c, || {
            self.ask(&["-v", "-E", "-dM", "-x", "c", "/dev/null"])
        })
    }

    /// The directories of `-print-search-dirs` (gcc and clang: `install`, `programs`, `libraries`) that do not depend on
    /// a working directory.
    pub(super) fn search_directories(&self) -> Result<Vec<PathBuf>, RunError> {
        let Searched {
            install,
            programs,
            libraries,
        } = self.searched()?;
        let all = install.iter().chain(programs).chain(libraries);
        Ok(all.filter(|path| path.is_absolute()).cloned().collect())
    }

    /// The program that gcc runs as `name`, which its configuration cannot have put elsewhere: among its own or along the
    /// client's `PATH`.
    pub(super) fn tool(&self, name: &str) -> Result<Option<PathBuf>, DiscoverError> {
        match self.first_of(|searched| &searched.programs, name, may_run)? {
            Some(Some(own)) => Ok(Some(own)),
            Some(None) => self.along_path(OsStr::new(name)),
            None => self.program(name),
        }
    }

    /// What gcc's `-print-prog-name` says of a program of gcc's own, if that is found: gcc prints all the places where it
    /// looks (gcc/gcc.cc, `find_a_file`), and one process less is started.
    pub(super) fn own_program(&self, name: &str) -> Result<Option<PathBuf>, RunError> {
        match self.first_of(|searched| &searched.programs, name, may_run)? {
            Some(found) => Ok(found),
            None => Ok(self
                .path(&format!("-print-prog-name={name}"))?
                .filter(|program| program.is_file())),
        }
    }

    /// The same of a file and `-print-file-name`.
    pub(super) fn own_file(&self, name: &str) -> Result<Option<PathBuf>, RunError> {
        let may_read = |path: &Path| access(path, AccessFlags::R_OK).is_ok();
        match self.first_of(|searched| &searched.libraries, name, may_read)? {
            Some(found) => Ok(found),
            None => self.path(&format!("-print-file-name={name}")),
        }
    }

    fn searched(&self) -> Result<&Searched, RunError> {
        once(&self.searched, || {
            Ok(Searched::of(&self.ask(&["-print-search-dirs"])?.stdout))
        })
    }

    /// The first `name` in a list of `-print-search-dirs` that `fits`, if any does; `None` where only the compiler can
    /// say: there is no list, it cannot be told apart, or a directory of it depends on a working directory.
    fn first_of(
        &self,
        list: impl FnOnce(&Searched) -> &[PathBuf],
        name: &str,
        fits: impl Fn(&Path) -> bool,
    ) -> Result<Option<Option<PathBuf>>, RunError> {
        let directories = list(self.searched()?);
        // The lists begin at the compiler's own place.
        let has_colon = |path: &Path| path.as_os_str().as_bytes().contains(&b':');
        let real = self.compiler.canonicalize();
        let is_known = !directories.is_empty()
            && directories.iter().all(|path| path.is_absolute())
            && !has_colon(self.compiler)
            && !real.is_ok_and(|real| has_colon(&real));
        let candidates = || directories.iter().map(|directory| directory.join(name));
        Ok(is_known.then(|| candidates().find(|path| fits(path))))
    }
}

/// What is in `cell`, asked for if it is empty.
fn once<T>(cell: &OnceCell<T>, ask: impl FnOnce() -> Result<T, RunError>) -> Result<&T, RunError> {
    match cell.get() {
        Some(answer) => Ok(answer),
        None => {
            let answer = ask()?;
            Ok(cell.get_or_init(|| answer))
        }
    }
}

fn may_run(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

impl Searched {
    fn of(answer: &[u8]) -> Self {
        let list = |heading: &str| {
            let lines = answer.split(|&byte| byte == b'\n');
            let lists = lines.filter_map(|line| line.strip_prefix(heading.as_bytes()));
            let paths = lists.flat_map(|list| std::env::split_paths(OsStr::from_bytes(list)));
            paths.collect()
        };
        Self {
            install: list("install: "),
            programs: list("programs: ="),
            libraries: list("libraries: ="),
        }
    }
}

/// The dialect told by a list of `#define` lines.
fn dialect_of(macros: &[u8]) -> Option<Dialect> {
    let defines = |wanted: &str| {
        macros.split(|&byte| byte == b'\n').any(|line| {
            let mut words = line.split(|&byte| byte == b' ');
            words.next() == Some(b"#define") && words.next() == Some(wanted.as_bytes())
        })
    };
    if FOREIGN_MACROS.iter().any(|name| defines(name)) {
        None
    } else if defines("__clang__") {
        Some(Dialect::Clang)
    } else {
        defines("__GNUC__").then_some(Dialect::Gcc)
    }
}

/// What a `-v` text says of an error: from the first line on that does, or all of it.
fn complaint(verbose: &[u8]) -> &[u8] {
    let word = b"error";
    let found = verbose.windows(word.len()).position(|window| window == word);
    let start = found.and_then(|at| verbose.get(..at)).map_or(0, |before| {
        before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1)
    });
    verbose.get(start..).unwrap_or_default()
}

/// The first line of `text` for people: lossy, bounded.
pub(super) fn first_line(text: &[u8]) -> String {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line)
        .trim()
        .chars()
        .take(MAX_VERSION_LENGTH)
        .collect()
}

/// The rest of each line of `text` that starts with `prefix`, as a path.
pub(super) fn paths_after<'a>(text: &'a [u8], prefix: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    text.split(|&byte| byte == b'\n')
        .filter_map(move |line| line.strip_prefix(prefix.as_bytes()))
        .map(|rest| PathBuf::from(OsStr::from_bytes(rest)))
}

/// The include directories of a `-v` text, in order and as spelled.
pub(super) fn include_directories(verbose: &[u8]) -> Vec<PathBuf> {
    let framework = b" (framework directory)";
    verbose
        .split(|&byte| byte == b'\n')
        .skip_while(|line| !line.ends_with(b" search starts here:"))
        .take_while(|line| *line != b"End of search list.")
        .filter_map(|line| line.strip_prefix(b" "))
        .map(|line| line.strip_suffix(framework).unwrap_or(line))
        .map(|directory| PathBuf::from(OsStr::from_bytes(directory)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_dialect_comes_from_the_macros() {
        let check = |macros: &[&str], expected: Option<Dialect>| {
            let text: String = macros.iter().map(|name| format!("#define {name} 1\n")).collect();
            assert_eq!(dialect_of(text.as_bytes()), expected, "{macros:?}");
        };
        check(&["__GNUC__"], Some(Dialect::Gcc));
        check(&["__GNUC__", "__clang__"], Some(Dialect::Clang));
        check(&["__clang__"], Some(Dialect::Clang));
        check(&["__GNUC__", "__EDG__", "__INTEL_COMPILER"], None);
        check(&["__TINYC__", "__GNUC__"], None);
        check(&["__clang_major__", "__GNUC_MINOR__"], None);
        check(&[], None);
    }

    #[test]
    fn include_directories_keep_their_spelling() {
        let verbose = b"ignoring nonexistent directory \"/include\"\n\
            #include \"...\" search starts here:\n /quoted\n#include <...> search starts here:\n \
            /usr/bin/../lib/gcc/include\n /Library (framework directory)\nEnd of search list.\n /not/one\n";
        let expected = ["/quoted", "/usr/bin/../lib/gcc/include", "/Library"].map(PathBuf::from);
        assert_eq!(include_directories(verbose), expected);
        assert!(include_directories(b"cc1: error\n").is_empty());
    }

    #[test]
    fn search_directories_are_absolute() {
        let answer =
            b"install: /usr/lib/../lib/\nprograms: =/usr/bin/:/absent/bin/\nlibraries: =relative:/usr\n";
        let asked = RefCell::new(0);
        let run = |_: &Question| {
            *asked.borrow_mut() += 1;
            Ok(Answer {
                success: true,
                stdout: answer.to_vec(),
                stderr: vec![],
            })
        };
        let driver = Driver::new(Path::new("/usr/bin/cc"), &[], &run);
        assert_eq!(
            driver.search_directories().unwrap(),
            ["/usr/lib/../lib/", "/usr/bin/", "/absent/bin/", "/usr"].map(PathBuf::from)
        );
        assert_eq!(driver.own_program("env").unwrap(), Some("/usr/bin/env".into()));
        assert_eq!(driver.own_program("no-such-program").unwrap(), None);
        assert_eq!(*asked.borrow(), 1);
        // A compile elsewhere may find another.
        driver.own_file("bin").unwrap();
        assert_eq!(*asked.borrow(), 2);
        let apart = Driver::new(Path::new("/opt/a:/bin/cc"), &[], &run);
        apart.own_program("env").unwrap();
        assert_eq!(*asked.borrow(), 4);
        assert_eq!(apart.search_directories().unwrap().len(), 4);
    }

    #[test]
    fn only_steering_variables_reach_the_compiler() {
        let asked = RefCell::new(Vec::new());
        let run = |question: &Question| {
            asked.borrow_mut().push(question.clone());
            Ok(Answer {
                success: true,
                stdout: b"cc 1.0\nmore\n".to_vec(),
                stderr: vec![],
            })
        };
        let env = [
            ("PATH", "/usr/bin"),
            ("DEPENDENCIES_OUTPUT", "/x"),
            ("LC_ALL", "de_DE"),
            ("CPATH", "/i"),
        ]
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        assert_eq!(
            Driver::new(Path::new("/usr/bin/cc"), &env, &run)
                .version()
                .unwrap(),
            "cc 1.0"
        );
        let expected = [("PATH", "/usr/bin"), ("CPATH", "/i"), ("LC_ALL", "C")]
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        assert_eq!(asked.borrow()[0].environment, expected);
    }

    #[test]
    fn a_bare_name_is_looked_up_along_the_clients_path() {
        let check = |answer: &str, path: &str| {
            let run = |_: &Question| {
                Ok(Answer {
                    success: true,
                    stdout: format!("{answer}\n").into(),
                    stderr: vec![],
                })
            };
            let env = [(b"PATH".to_vec(), path.as_bytes().to_vec())];
            Driver::new(Path::new("/usr/bin/cc"), &env, &run)
                .program("as")
                .map_err(|error| error.to_string())
        };
        assert_eq!(check("sh", "/absent:/bin"), Ok(Some("/bin/sh".into())));
        assert_eq!(check("/bin/sh", ""), Ok(Some("/bin/sh".into())));
        assert_eq!(check("no-such-program", "/bin"), Ok(None));
        assert_eq!(check("/absent/as", "/bin"), Ok(None));
        assert_eq!(
            check("sh", "/bin:."),
            Ok(Some("/bin/sh".into())),
            "found before the relative element"
        );
        let error = "sh is searched for in the relative PATH element .".to_owned();
        assert_eq!(check("sh", ".:/bin"), Err(error));
    }
}
