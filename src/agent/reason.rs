//! Why a unit is compiled here: a stable code for counters and a sentence for whoever asks. Never decides.

use std::borrow::Cow;

use crate::compile::{self, Cause};

/// A reason to compile here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReason {
    /// Stable kebab-case code.
    pub code: &'static str,
    /// For people, without a full stop; about the compile, with the flag or file that caused it where one is known.
    pub explanation: Cow<'static, str>,
}

impl LocalReason {
    /// The reason `code` because of `subject`, in any words.
    pub fn because(code: &'static str, subject: &str) -> Self {
        Self {
            code,
            explanation: Cow::Owned(format!("{}: {subject}", sentence(code))),
        }
    }
}

impl From<&'static str> for LocalReason {
    fn from(code: &'static str) -> Self {
        Self {
            code,
            explanation: Cow::Borrowed(sentence(code)),
        }
    }
}

impl From<compile::Reason> for LocalReason {
    fn from(reason: compile::Reason) -> Self {
        Self {
            code: reason.code(),
            explanation: Cow::Owned(reason.explanation()),
        }
    }
}

/// What a code says to people; the code itself where no table knows it.
fn sentence(code: &'static str) -> &'static str {
    let own = SENTENCES.iter().find(|(known, _)| *known == code);
    if let Some((_, sentence)) = own {
        return sentence;
    }
    let cause = Cause::ALL.iter().find(|cause| cause.code() == code);
    cause.map_or(code, |cause| cause.sentence())
}

/// Reasons found while a unit is under way; those of a command line are [`Cause`]'s.
const SENTENCES: &[(&str, &str)] = &[
    (
        "bind-mounted-directory",
        "runs in a directory that PWD names through a bind mount",
    ),
    (
        "builder-busy",
        "the builders refused it for want of a slot, again and again",
    ),
    (
        "builder-lost",
        "the connections to builders were lost while it was there",
    ),
    ("builder-misbehaved", "builders broke the protocol"),
    ("builder-mute", "a builder did not answer in time"),
    ("builder-refuses", "builders refused it"),
    (
        "builder-stale",
        "builders knew other files than the agent told, again and again",
    ),
    ("builder-silent", "nothing was heard of its builder any more"),
    ("builder-unsupported", "a builder cannot run it"),
    (
        "compile-failed",
        "failed on a builder, and only the compiler here can say whether it fails here too",
    ),
    (
        "computed-incbin",
        "hands the assembler a file name made by a macro",
    ),
    (
        "computed-line-name",
        "has messages that may name a file by a #line made by a macro",
    ),
    ("computed-probe", "probes for a header whose name a macro makes"),
    (
        "dependencies-failed",
        "needs the compiler's own list of dependencies, which it did not give",
    ),
    ("farm-lost", "the farm was lost"),
    ("farm-unreachable", "the farm cannot be reached"),
    ("frameworks", "searches frameworks"),
    (
        "gcc-installation",
        "uses another gcc's headers than its compiler does without flags",
    ),
    ("inputs", "reads files that cannot be carried"),
    (
        "inputs-changed",
        "its files changed whenever it was compiled on a builder",
    ),
    ("internal", "the agent failed at it"),
    ("limit-exceeded", "went beyond a limit of the builder"),
    ("no-farm", "there is no farm; `quicc stats` says why"),
    ("no-free-slot", "no builder had a free slot"),
    ("no-output", "ended well on a builder and wrote no output"),
    (
        "other-mount-namespace",
        "was called where other files are mounted than the agent sees",
    ),
    ("other-user", "was called by another user than the agent's"),
    (
        "output-directory",
        "writes into a directory that is missing or must not be written",
    ),
    (
        "own-terminal-description",
        "writes to a terminal that is described in the home directory",
    ),
    (
        "precompiled-header-diagnostics",
        "has messages that may quote a file behind a precompiled header",
    ),
    (
        "response-file-changed",
        "has a response file that changed while it was looked at",
    ),
    (
        "scratch-path",
        "has an output that names a temporary file of the builder",
    ),
    (
        "search-list",
        "the compiler does not say where it searches for headers",
    ),
    ("special-directory", "reads files below /dev, /proc or /sys"),
    ("table", "reads files that a builder cannot be told of"),
    (
        "temporary-file-named",
        "has messages that name a temporary file of the builder",
    ),
    (
        "time-macros",
        "tells the time: it uses __DATE__, __TIME__ or __TIMESTAMP__",
    ),
    (
        "toolchain-untested",
        "the compiler could not be tried on the builder",
    ),
    (
        "toolchain-untrusted",
        "the compiler made other bytes on the builder than here when it was tried",
    ),
    (
        "unexpected-output",
        "writes files that its command line does not tell of",
    ),
    (
        "unknown-compiler",
        "is done by a program that is not known as a compiler",
    ),
    (
        "unknown-process",
        "was called by a process that the kernel does not name",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes in the sources that make reasons: every first literal behind one of the calls that take a code.
    fn codes_in(text: &str) -> Vec<String> {
        let calls = [
            "local(",
            "fallback(",
            "Again(",
            "because(",
            "said(",
            "Some(",
            "Err(",
            "=> ",
            "{",
        ];
        let code_behind = |rest: &str| {
            let code = rest.trim_start().strip_prefix('"')?.split('"').next()?;
            let is_code =
                code.contains('-') && code.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase());
            is_code.then(|| code.to_owned())
        };
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        calls
            .iter()
            .flat_map(|call| production.split(call).skip(1))
            .filter_map(code_behind)
            .collect()
    }

    #[test]
    fn every_reason_has_a_sentence() {
        let sources = [
            include_str!("outputs.rs"),
            include_str!("remote.rs"),
            include_str!("service.rs"),
            include_str!("unit.rs"),
        ];
        let codes: Vec<_> = sources.iter().flat_map(|text| codes_in(text)).collect();
        assert!(codes.len() > 20, "{codes:?}");
        for code in codes {
            let code: &'static str = code.leak();
            assert_ne!(sentence(code), code, "no sentence");
        }
    }

    #[test]
    fn a_sentence_has_one_owner() {
        for (code, _) in SENTENCES {
            assert!(Cause::ALL.iter().all(|cause| cause.code() != *code), "{code}");
        }
        assert_eq!(
            LocalReason::because("inputs", "a.c does not exist").explanation,
            "reads files that cannot be carried: a.c does not exist"
        );
        assert_eq!(
            LocalReason::from("linking").explanation,
            "compiles and links in one step"
        );
    }
}
