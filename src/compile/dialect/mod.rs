//! The command-line languages of the compilers: tables of flags and the one lookup in them. Never reads a
//! whole command line.

mod clang;
mod flag;
mod gcc;
mod shared;

pub(super) use flag::{Action, DependencyFlag, Flag, Meaning, Operand, Shape, Tool, find, flag};

use super::path;

/// Which compiler family's command line is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// GNU's driver: gcc, g++.
    Gcc,
    /// LLVM's driver in its GNU-like mode: clang, clang++.
    Clang,
}

impl Dialect {
    /// The row for `argument` with the longest spelling, the dialect's own before a shared one.
    pub(super) fn find(self, argument: &[u8]) -> Option<(Flag, Operand<'_>)> {
        let own = match self {
            Self::Gcc => gcc::FLAGS,
            Self::Clang => clang::FLAGS,
        };
        match (find(own, argument), find(shared::FLAGS, argument)) {
            (Some(own), Some(shared)) if shared.0.spelling.len() > own.0.spelling.len() => Some(shared),
            (own, shared) => own.or(shared),
        }
    }
}

/// How a driver treats its files, by the name it is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    /// `gcc`, `clang`: a suffix means its language.
    C,
    /// `g++`, `clang++`: C means C++.
    Cxx,
    /// `cpp`: only preprocesses.
    Preprocessor,
    /// `clang-cl` and its like: another command line altogether.
    Foreign,
}

impl Driver {
    /// The driver that the name `argv0` selects, a version such as `-14` aside.
    pub(super) fn from_name(argv0: &[u8]) -> Self {
        let name = path::file_name(argv0);
        let is_version = |tail: &[u8]| tail.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        let stem = match name.iter().rposition(|&byte| byte == b'-') {
            Some(dash) if is_version(&name[dash + 1..]) => &name[..dash],
            _ => name,
        };
        if stem.ends_with(b"++") {
            Self::Cxx
        } else if stem.ends_with(b"cpp") {
            Self::Preprocessor
        } else if stem.ends_with(b"-cl") || stem.ends_with(b"-dxc") {
            Self::Foreign
        } else {
            Self::C
        }
    }

    /// The driver that clang's `--driver-mode=` selects.
    pub(super) fn from_mode(mode: &[u8]) -> Self {
        match mode {
            b"gcc" => Self::C,
            b"g++" => Self::Cxx,
            b"cpp" => Self::Preprocessor,
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_name_each_spelling_once() {
        for table in [shared::FLAGS, gcc::FLAGS, clang::FLAGS] {
            for pair in table.windows(2) {
                assert!(
                    pair[0].spelling < pair[1].spelling,
                    "{} {}",
                    pair[0].spelling,
                    pair[1].spelling
                );
            }
        }
    }

    #[test]
    fn the_dialects_differ_where_the_compilers_do() {
        let check = |argument: &str, gcc: Option<&str>, clang: Option<&str>| {
            for (dialect, expect) in [(Dialect::Gcc, gcc), (Dialect::Clang, clang)] {
                let found = dialect.find(argument.as_bytes()).map(|(row, _)| row.spelling);
                assert_eq!(found, expect, "{dialect:?} {argument}");
            }
        };
        check("--", None, Some("--"));
        check("-Xclang", None, Some("-Xclang"));
        check("-include-pch", Some("-include"), Some("-include-pch"));
        check("-dumpdir", Some("-dumpdir"), Some("-d"));
        check("-fprofile-use", Some("-fprofile"), Some("-fprofile"));
        check("-fprofile-use=x", Some("-fprofile"), Some("-fprofile-use="));
        check(
            "-fprofile-prefix-map=a=b",
            Some("-fprofile-prefix-map="),
            Some("-fprofile-prefix-map="),
        );
        check("-gsplit-dwarf=single", None, Some("-gsplit-dwarf=single"));
        check("-fcallgraph-info", Some("-fcallgraph-info"), None);
    }

    #[test]
    fn a_driver_is_known_by_its_name() {
        let check = |name: &str, expect| assert_eq!(Driver::from_name(name.as_bytes()), expect, "{name}");
        check("gcc", Driver::C);
        check("/usr/bin/x86_64-linux-gnu-gcc-12", Driver::C);
        check("/usr/bin/x86_64-linux-gnu-g++-12", Driver::Cxx);
        check("c++", Driver::Cxx);
        check("clang++-14", Driver::Cxx);
        check("clang++-14.0.6", Driver::Cxx);
        check("/a++/cc", Driver::C);
        check("cpp-12", Driver::Preprocessor);
        check("clang-cl", Driver::Foreign);
        check("", Driver::C);
    }
}
