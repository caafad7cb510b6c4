//! What is made of an invocation. Plain data; never decides.

use quicc_protocol::message::wrapper::Predecessor;

use super::{Dialect, Language, Reason};

/// Where an invocation may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A compile that a builder can do with the same result.
    Distribute(Box<Plan>),
    /// A compile that stays on this machine, and why.
    Local(Reason),
    /// No unit of compilation: a link of objects, a question about the compiler, no source at all. Runs on
    /// this machine and is not counted.
    NotACompile,
}

/// All that is known about a distributable compile before a file was read.
///
/// The builder runs the original, unexpanded argv, unless there are [`Plan::native_arguments`]. The other argument
/// lists here serve the search for inputs only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The language the source is compiled as.
    pub language: Language,
    /// The one source file as spelled, relative to cwd or absolute.
    pub source: Vec<u8>,
    /// The files the compiler may write, the main one first; paths are distinct.
    pub outputs: Vec<Output>,
    /// Operands of `-D` and its like, in order, as spelled.
    pub definitions: Vec<Vec<u8>>,
    /// Operands of `-include` and `-imacros`, in order, as spelled.
    pub forced_includes: Vec<Vec<u8>>,
    /// Further files the compile reads: all response files with the nested ones, then sanitizer lists and
    /// their like; as spelled.
    pub input_files: Vec<Vec<u8>>,
    /// Whether a precompiled header, one of `input_files`, is loaded by name.
    pub loads_precompiled: bool,
    /// What the arguments make of `__DATE__` and `__TIME__`.
    pub clock_macros: TimeMacro,
    /// What they make of `__TIMESTAMP__`.
    pub file_time_macro: TimeMacro,
    /// Whether an argument mentions `__has_include` or its kin: a macro of the command line may stand for the question.
    pub mentions_probe: bool,
    /// The expanded arguments that may decide target, search list and predefined macros, for
    /// `cc <these> -v -E -x <language> /dev/null`.
    pub search_arguments: Vec<Vec<u8>>,
    /// The expanded arguments of a `-M` run that preprocesses alike: no action, no outputs, the source in
    /// its place, `-M` last. The caller adds `-MF`.
    pub dependency_arguments: Vec<Vec<u8>>,
    /// All expanded arguments, where they name this machine's own processor: only the driver here can say what that
    /// is, asked with `-###` in front of them and read by [`super::read_driver_steps`]. A builder must not run the
    /// driver then.
    pub native_arguments: Option<Vec<Vec<u8>>>,
    /// Operands of `-I`, `-iquote`, `-isystem`, `-idirafter` and their like, in order, as spelled (gcc's
    /// leading `=` included), existing or not.
    pub include_directories: Vec<Vec<u8>>,
}

/// What a command line makes of a macro that tells the time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum TimeMacro {
    /// Nothing: it has its own meaning wherever a file uses it.
    #[default]
    AsBuiltIn,
    /// It is defined anew, so that no file can use its own meaning: what is taken back is gone.
    Redefined,
    /// Another macro's value mentions it.
    Mentioned,
}

/// A file the compiler may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// As spelled or derived: relative to cwd or absolute.
    pub path: Vec<u8>,
    /// What the file is.
    pub role: Role,
}

/// What an output is. Only [`Role::Object`] and [`Role::Assembly`] are sure to be written by a compile that
/// succeeds; clang, say, leaves out the `.dwo` when no debug information is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The object file of `-c`.
    Object,
    /// The assembly text of `-S`.
    Assembly,
    /// The make rule of `-MD` or `-MMD`.
    DepFile,
    /// The `.dwo` of `-gsplit-dwarf`.
    SplitDwarf,
    /// The `.su` of `-fstack-usage`.
    StackUsage,
    /// The `.ci` of gcc's `-fcallgraph-info`.
    CallGraph,
    /// The `.gcno` of `-ftest-coverage`.
    CoverageNotes,
    /// The `.opt.yaml` of clang's `-fsave-optimization-record`.
    OptimizationRecord,
    /// The file of clang's `--serialize-diagnostics`.
    Diagnostics,
}

impl Role {
    /// What a compiler of `dialect` does with such a file that is there already.
    pub const fn predecessor(self, dialect: Dialect) -> Predecessor {
        match (self, dialect) {
            // Of the assembler and of objcopy: binutils spares what it takes for somebody's temporary file.
            (Self::Object | Self::SplitDwarf, Dialect::Gcc) => Predecessor::KeptIfEmpty,
            (Self::Object | Self::Assembly, Dialect::Clang) | (Self::Diagnostics, _) => Predecessor::Replaced,
            (Self::Assembly, Dialect::Gcc) | (Self::SplitDwarf, Dialect::Clang) => Predecessor::Kept,
            (
                Self::DepFile
                | Self::StackUsage
                | Self::CallGraph
                | Self::CoverageNotes
                | Self::OptimizationRecord,
                _,
            ) => Predecessor::Kept,
        }
    }
}
