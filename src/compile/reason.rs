//! Why a compile stays local: stable codes for counters, sentences for users. Never decides.

/// Defines [`Cause`] with the code and the sentence of each variant beside it.
macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $sentence:literal;)+) => {
        /// What keeps a compile local, without the flag or file that did.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause {
            $($(#[$doc])* $variant,)+
        }

        impl Cause {
            /// Every cause, for tables of counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable kebab-case code; one per cause, never reused.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// What is true of the compile, for people, without a full stop.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }
        }
    };
}

causes! {
    /// Neither `-c` nor `-S`: the driver goes on to link.
    Linking = "linking", "compiles and links in one step";
    /// `-E`, or a driver that only preprocesses.
    PreprocessOnly = "preprocess-only", "only preprocesses";
    /// `-M`, `-MM`, `-MG`.
    DependencyOnly = "dependency-only", "only lists dependencies";
    /// `-fsyntax-only` and its like.
    NoObject = "no-object", "produces no object file";
    /// `-v`, `-###`, `-Q`: prints names of temporary files.
    Verbose = "verbose", "prints the compiler's own steps, which name this machine's temporary files";
    /// More than one source on the command line.
    SeveralSources = "several-sources", "compiles several sources at once";
    /// The source is standard input.
    StdinSource = "stdin-source", "reads the source from standard input";
    /// An input below `/dev` or `/proc`.
    SpecialFile = "special-file", "reads a device or a descriptor";
    /// An object, an archive or an unknown file beside the source.
    LinkerInput = "linker-input", "names a file that only a link would use";
    /// Not C, C++ or assembly.
    UnsupportedLanguage = "unsupported-language", "is in a language that is not distributed";
    /// A header is compiled, or a compiled one is used in an unusual way.
    PrecompiledHeader = "precompiled-header", "makes a precompiled header or uses one in an unusual way";
    /// C++20 or clang modules.
    Modules = "modules", "makes or uses modules";
    /// A compiler plugin.
    Plugin = "plugin", "loads a plugin";
    /// Use of a profile, and what is done to one.
    Profile = "profile", "uses or deletes a profile";
    /// The second half of link-time optimisation, and its reports.
    LinkTimeOptimization = "link-time-optimization", "does a part of link-time optimisation that stays local";
    /// `native` as a processor, where the driver's steps cannot stand for it.
    NativeTarget = "native-target", "asks for this machine's own processor in a way that is not carried";
    /// A further output that is not carried.
    ExtraOutput = "extra-output", "writes a file that is not carried back";
    /// An output that is a device, a descriptor, empty, a directory, or named twice.
    OddOutput = "odd-output", "has an output that cannot be replaced as a file";
    /// A combination of dependency flags whose dep file differs between compilers.
    OddDependencyFlags = "odd-dependency-flags", "asks for a dep file in an unusual way";
    /// `-B`, `-specs`, `-wrapper`, `--config`: which programs run.
    ProgramSelection = "program-selection", "changes which programs the compiler runs";
    /// Frameworks, overlays, header maps, another working directory.
    UnsupportedSearch = "unsupported-search", "changes how headers are found in a way not carried";
    /// `-traditional-cpp`, `-remap`, `-fpreprocessed`.
    PreprocessorMode = "preprocessor-mode", "changes how the preprocessor reads files";
    /// A charset other than UTF-8 needs the system's conversion modules.
    CharacterSet = "character-set", "converts character sets";
    /// `-ftime-report` and its like: differs on every run.
    CompilerReport = "compiler-report", "reports the compiler's own time or memory";
    /// Code for accelerators.
    Offload = "offload", "compiles for an accelerator";
    /// `-emit-llvm`, `--analyze`: the action makes something else than an object.
    UnsupportedAction = "unsupported-action", "makes something other than an object or assembly";
    /// The driver imitates another compiler.
    ForeignDriver = "foreign-driver", "takes another compiler's command line";
    /// A flag that no table knows.
    UnknownFlag = "unknown-flag", "has a flag that is not known";
    /// An unknown flag whose value looks like a file.
    UnknownPath = "unknown-path", "has an unknown flag whose value may name a file";
    /// An unknown flag behind `-Wp,`, `-Wa,`, `-Xclang` or `-mllvm`.
    UnknownForwarded = "unknown-forwarded-flag", "forwards a flag that is not known";
    /// The last argument lacks its operand.
    MissingOperand = "missing-operand", "has a flag without its operand";
    /// A response file whose reading differs between compilers.
    ResponseFileSyntax = "response-file-syntax", "has a response file that compilers read differently";
    /// Response files beyond the bounds.
    ResponseFileLimit = "response-file-limit", "has too many or too large response files";
    /// A build system asking what the compiler can do.
    ConfigureProbe = "configure-probe", "is a probe by a build system's configuration";
    /// A variable makes the compiler write a further file.
    EnvironmentOutput = "environment-output", "runs with a variable that makes the compiler write more";
    /// A variable changes the command line.
    EnvironmentFlags = "environment-flags", "runs with a variable that changes the compiler's behaviour";
    /// A variable changes which programs run.
    EnvironmentPrograms = "environment-programs", "runs with a variable that selects programs";
    /// A variable changes what the dynamic loader loads.
    EnvironmentLoader = "environment-loader", "runs with a variable that changes what is loaded";
    /// The call comes from inside a compiler driver.
    InsideDriver = "inside-driver", "is called by a compiler driver";
    /// `ulimit -v`, `-d`, `-f`, `-t`, or a small stack.
    ResourceLimits = "resource-limits", "runs under a limit that no builder applies";
}

/// Why one compile stays local: the cause and what brought it about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What keeps it local.
    pub cause: Cause,
    /// The flag, file or variable responsible, as spelled; empty where there is none.
    pub subject: Vec<u8>,
}

impl Reason {
    pub(super) fn new(cause: Cause, subject: &[u8]) -> Self {
        Self {
            cause,
            subject: subject.to_vec(),
        }
    }

    /// The stable code of the cause, for counters and `--json`.
    pub fn code(&self) -> &'static str {
        self.cause.code()
    }

    /// The reason for a user, without a full stop: `has a flag that is not known: -fnew`.
    pub fn explanation(&self) -> String {
        let sentence = self.cause.sentence();
        if self.subject.is_empty() {
            return sentence.to_owned();
        }
        format!("{sentence}: {}", self.subject.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_kebab_case() {
        let codes: BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.code()).collect();
        assert_eq!(codes.len(), Cause::ALL.len());
        for code in codes {
            assert!(
                code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{code}"
            );
        }
    }

    #[test]
    fn an_explanation_names_the_flag() {
        let reason = Reason::new(Cause::NativeTarget, b"-march=native");
        assert_eq!(
            reason.explanation(),
            "asks for this machine's own processor in a way that is not carried: -march=native"
        );
        assert_eq!(
            Reason::new(Cause::Linking, b"").explanation(),
            "compiles and links in one step"
        );
        assert_eq!(
            Reason::new(Cause::UnknownFlag, b"--\xff\n").explanation(),
            "has a flag that is not known: --\\xff\\n"
        );
    }
}
