//! Languages: their `-x` names, the suffixes that mean them, and which are distributed. Never looks at flags.

use super::{Cause, Dialect, path};

/// A language a source may be compiled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// C.
    C,
    /// C++.
    Cxx,
    /// C after preprocessing, `.i`.
    PreprocessedC,
    /// C++ after preprocessing, `.ii`.
    PreprocessedCxx,
    /// Assembly that the C preprocessor reads first, `.S`.
    AssemblerWithCpp,
    /// Assembly as it is, `.s`.
    Assembler,
    /// A C header compiled by itself.
    CHeader,
    /// A C++ header compiled by itself.
    CxxHeader,
    /// Objective-C.
    ObjC,
    /// Objective-C++.
    ObjCxx,
    /// A C++ module interface unit by its suffix (clang).
    CxxModule,
    /// Code for accelerators: CUDA, HIP, OpenCL.
    Accelerator,
    /// A language of the compiler collection that is never distributed: Ada, D, Fortran, Go, LLVM IR.
    Other,
}

impl Language {
    /// The name that `-x` takes; for a family the name of its first member.
    pub const fn name(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Cxx => "c++",
            Self::PreprocessedC => "cpp-output",
            Self::PreprocessedCxx => "c++-cpp-output",
            Self::AssemblerWithCpp => "assembler-with-cpp",
            Self::Assembler => "assembler",
            Self::CHeader => "c-header",
            Self::CxxHeader => "c++-header",
            Self::ObjC => "objective-c",
            Self::ObjCxx => "objective-c++",
            Self::CxxModule => "c++-module",
            Self::Accelerator => "cuda",
            Self::Other => "none",
        }
    }

    /// Whether the compile begins with a preprocessor run, so that there are headers and a dep file.
    pub const fn is_preprocessed_by_compiler(self) -> bool {
        !matches!(
            self,
            Self::PreprocessedC | Self::PreprocessedCxx | Self::Assembler
        )
    }

    /// Whether the source is assembly, which has neither stack usage nor a call graph.
    pub const fn is_assembly(self) -> bool {
        matches!(self, Self::Assembler | Self::AssemblerWithCpp)
    }

    /// Whether the source is a header to be precompiled.
    pub const fn is_header(self) -> bool {
        matches!(self, Self::CHeader | Self::CxxHeader)
    }

    /// Why sources in this language stay local, if they do. gcc writes memory as it is into a precompiled header, which
    /// differs from run to run; clang makes the same from the same files and times (tried with gcc 12.2, clang 14.0.6).
    pub(super) const fn local_cause(self, dialect: Dialect) -> Option<Cause> {
        match self {
            Self::C
            | Self::Cxx
            | Self::PreprocessedC
            | Self::PreprocessedCxx
            | Self::AssemblerWithCpp
            | Self::Assembler => None,
            Self::CHeader | Self::CxxHeader => match dialect {
                Dialect::Gcc => Some(Cause::PrecompiledHeader),
                Dialect::Clang => None,
            },
            Self::CxxModule => Some(Cause::Modules),
            Self::Accelerator => Some(Cause::Offload),
            Self::ObjC | Self::ObjCxx | Self::Other => Some(Cause::UnsupportedLanguage),
        }
    }

    /// The language of a `-x` operand; names not known here are languages not distributed.
    pub(super) fn from_name(name: &[u8]) -> Self {
        match name {
            b"c" => Self::C,
            b"c++" => Self::Cxx,
            b"cpp-output" | b"c-cpp-output" => Self::PreprocessedC,
            b"c++-cpp-output" => Self::PreprocessedCxx,
            b"assembler-with-cpp" => Self::AssemblerWithCpp,
            b"assembler" => Self::Assembler,
            b"c-header" => Self::CHeader,
            b"c++-header" => Self::CxxHeader,
            b"c++-module" | b"c++-system-header" | b"c++-user-header" => Self::CxxModule,
            b"objective-c" | b"objective-c-header" | b"objective-c-cpp-output" | b"objc-cpp-output" => {
                Self::ObjC
            }
            b"objective-c++" | b"objective-c++-header" | b"objective-c++-cpp-output" => Self::ObjCxx,
            b"cuda" | b"hip" | b"cl" | b"clcpp" => Self::Accelerator,
            _ => Self::Other,
        }
    }

    /// The language that the suffix of `path` means (gcc manual, "Overall Options"; clang's Types.cpp), or
    /// `None` for a file left to the linker.
    pub(super) fn from_path(source: &[u8], dialect: Dialect) -> Option<Self> {
        let name = path::file_name(source);
        let dot = name.iter().rposition(|&byte| byte == b'.')?;
        let suffix = &name[dot + 1..];
        let own = match dialect {
            Dialect::Gcc => GCC_SUFFIXES,
            Dialect::Clang => CLANG_SUFFIXES,
        };
        let mut rows = SUFFIXES.iter().chain(own);
        rows.find(|(_, suffixes)| suffixes.split(' ').any(|known| known.as_bytes() == suffix))
            .map(|&(language, _)| language)
    }

    /// Whether either compiler takes a file of this name for a source.
    pub fn is_source_name(path: &[u8]) -> bool {
        [Dialect::Gcc, Dialect::Clang]
            .into_iter()
            .any(|dialect| Self::from_path(path, dialect).is_some())
    }

    /// The same source under a driver named `g++` or `clang++`, which takes C for C++ where no `-x` says
    /// otherwise.
    pub(super) const fn under_cxx_driver(self) -> Self {
        match self {
            Self::C => Self::Cxx,
            Self::PreprocessedC => Self::PreprocessedCxx,
            Self::CHeader => Self::CxxHeader,
            other => other,
        }
    }
}

/// Suffixes both compilers agree on, separated by spaces.
const SUFFIXES: &[(Language, &str)] = &[
    (Language::C, "c"),
    (Language::Cxx, "cc cpp cxx C c++ cp CPP"),
    (Language::PreprocessedC, "i"),
    (Language::PreprocessedCxx, "ii"),
    (Language::AssemblerWithCpp, "S"),
    (Language::Assembler, "s"),
    (Language::CHeader, "h"),
    (Language::CxxHeader, "hh H hp hxx hpp HPP h++ tcc"),
    (Language::ObjC, "m mi"),
    (Language::ObjCxx, "mm mii M"),
    (
        Language::Other,
        "f for ftn F FOR fpp FPP FTN f90 f95 f03 f08 F90 F95 F03 F08 go d di dd adb ads rs mod",
    ),
];

/// Suffixes only gcc knows.
const GCC_SUFFIXES: &[(Language, &str)] = &[(Language::AssemblerWithCpp, "sx")];

/// Suffixes only clang knows.
const CLANG_SUFFIXES: &[(Language, &str)] = &[
    (Language::Cxx, "CC CXX C++"),
    (Language::Assembler, "asm"),
    (Language::CxxModule, "cppm ccm cxxm c++m pcm iim ixx"),
    (Language::Accelerator, "cl clcpp cu cui hip"),
    (Language::Other, "ll bc ast gch pch lib"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_means_a_language() {
        let check = |source: &str, gcc: Option<Language>, clang: Option<Language>| {
            assert_eq!(
                Language::from_path(source.as_bytes(), Dialect::Gcc),
                gcc,
                "gcc {source}"
            );
            assert_eq!(
                Language::from_path(source.as_bytes(), Dialect::Clang),
                clang,
                "clang {source}"
            );
        };
        let both = |source, language| check(source, language, language);
        both("a.c", Some(Language::C));
        both("x.c/a.b.cc", Some(Language::Cxx));
        both("a.C", Some(Language::Cxx));
        both("a.s", Some(Language::Assembler));
        both("a.S", Some(Language::AssemblerWithCpp));
        both("dir/.c", Some(Language::C));
        both("a.h", Some(Language::CHeader));
        both("a.m", Some(Language::ObjC));
        both("a.o", None);
        both("a.c/noext", None);
        both("a.", None);
        both("c", None);
        both("@rsp", None);
        check("a.sx", Some(Language::AssemblerWithCpp), None);
        check("a.cu", None, Some(Language::Accelerator));
        check("a.CC", None, Some(Language::Cxx));
    }

    #[test]
    fn names_of_distributed_languages_round_trip() {
        for language in [
            Language::C,
            Language::Cxx,
            Language::PreprocessedC,
            Language::PreprocessedCxx,
            Language::AssemblerWithCpp,
            Language::Assembler,
        ] {
            assert_eq!(Language::from_name(language.name().as_bytes()), language);
            assert_eq!(language.local_cause(Dialect::Gcc), None);
        }
        assert_eq!(Language::from_name(b"f95"), Language::Other);
    }
}
