//! One compile of a foreign source, as a command line, and the sources of a directory.

use std::path::{Path, PathBuf};

/// One compile. Where its object and dep file go is not its business.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Where it runs.
    pub directory: PathBuf,
    /// Compiler, flags and source, without `-c`, `-o` and `-MF`.
    pub arguments: Vec<String>,
}

/// Which compilers take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// C and assembly.
    C,
    /// C++.
    Cxx,
}

impl Language {
    /// The language of a source file, by its suffix.
    pub fn of(source: &Path) -> Option<Self> {
        match source.extension()?.to_str()? {
            "c" | "S" => Some(Self::C),
            "cc" | "cpp" | "cxx" | "C" => Some(Self::Cxx),
            _ => None,
        }
    }

    /// The compiler of the `turn`-th unit.
    pub fn compiler(self, turn: usize) -> &'static str {
        match self {
            Self::C => ["gcc", "clang"][turn % 2],
            Self::Cxx => ["g++", "clang++"][turn % 2],
        }
    }

    /// Whether `flag` is a standard of the other language.
    pub fn excludes(self, flag: &str) -> bool {
        flag.strip_prefix("-std=")
            .is_some_and(|standard| standard.contains("++") != (self == Self::Cxx))
    }
}

impl Unit {
    /// Compiles `source` with `flags`; the compiler is chosen by `turn`.
    pub fn new<'a>(
        directory: &Path,
        turn: usize,
        flags: impl IntoIterator<Item = &'a str>,
        source: &Path,
    ) -> Self {
        let language = Language::of(source).unwrap_or(Language::C);
        let mut arguments = vec![language.compiler(turn).to_owned()];
        let flags = flags.into_iter().filter(|flag| !language.excludes(flag));
        arguments.extend(flags.map(str::to_owned));
        arguments.push(source.to_str().unwrap().to_owned());
        Self {
            directory: directory.to_owned(),
            arguments,
        }
    }

    /// The command line for a shell, with its object and dep file at `object` and `dep_file`. `wrapper` is
    /// called for a compiler that is not found along `PATH`.
    pub fn command(&self, wrapper: &str, object: &Path, dep_file: &Path) -> String {
        let mut words: Vec<String> = self.arguments.iter().map(|word| quote(word)).collect();
        if self.arguments[0].contains('/') {
            words.insert(0, wrapper.to_owned());
        }
        words.push("-c".to_owned());
        let makes_dep_file = self.arguments.iter().any(|word| word == "-MD" || word == "-MMD");
        if !makes_dep_file {
            words.push("-MD".to_owned());
        }
        for (flag, path) in [("-MF", dep_file), ("-o", object)] {
            words.push(flag.to_owned());
            words.push(quote(path.to_str().unwrap()));
        }
        words.join(" ")
    }
}

/// One word for a shell.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The files below `directory` that `wanted` takes, sorted. A symlink to a directory is not followed.
pub fn files_below(directory: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(directory, wanted, &mut found);
    found
}

fn collect(directory: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap());
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), wanted, found);
        } else if entry.path().is_file() && wanted(&entry.path()) {
            found.push(entry.path());
        }
    }
}
