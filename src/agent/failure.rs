//! PURE. Whether the text of a failed compile tells of the source, or of the builder: of poison, or of a machine
//! that ran short of something. Knows the words of gcc, clang and gas in English; never reads a file.
//!
//! A text counts as the source's own only where each of its errors has a place in a source; whatever is not known
//! for certain is nobody's to show, and the compile is done on the client again.

use std::borrow::Cow;

use quicc_protocol::message::run::SCRATCH_NAME;

/// What a failure tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The source: the client's own compiler would have said the same.
    Source,
    /// It may be poison: a name that was not shipped was looked up.
    Poison,
    /// It cannot be told, for this reason.
    Unclear(&'static str),
}

/// The kernel's words for poison: a link to itself, a directory that may not be entered. A compiler may break its
/// lines anywhere between two words, so each is looked for by itself.
const POISON: [&[&str]; 2] = [&["levels", "symbolic", "links"], &["Permission", "denied"]];

/// Words for a failed lookup that hide the kernel's answer or the name looked up (gas, clang's assembler), or follow
/// lookups of names no source mentions (clang looks for likely misspellings of a missing header, and for a bracketed one beside its
/// includer).
const VAGUE: [&str; 3] = ["file not found", "Could not find inc", "can't open"];

/// Words of a machine that lacks something, and of a compiler that broke.
const MACHINE: [&str; 34] = [
    "Aborted",
    "Argument list too long",
    "Bad file descriptor",
    "Broken pipe",
    "Bus error",
    "Cannot allocate memory",
    "Device or resource busy",
    "Disk quota exceeded",
    "Exec format error",
    "File size limit",
    "File too large",
    "Function not implemented",
    "Illegal instruction",
    "Input/output error",
    "Interrupted system call",
    "Killed",
    "No space left on device",
    "Operation not permitted",
    "PLEASE submit a bug report",
    "Please submit a full bug report",
    "Read-only file system",
    "Resource temporarily unavailable",
    "Segmentation fault",
    "Stack dump",
    "Stale file handle",
    "Text file busy",
    "Too many open files",
    "cannot open shared object file",
    "failed due to signal",
    "internal compiler error",
    "memory exhausted",
    "out of memory",
    "signal terminated program",
    "stack nearly exhausted",
];

/// How a line of text says that it is an error. gcc is sorry for what it does not implement, which fails a compile too.
const ERRORS: [&str; 5] = [
    "error:",
    "fatal error:",
    "Error:",
    "Fatal error:",
    "sorry, unimplemented:",
];

/// Judges the standard error of a compile that ended with code 1, in English.
pub fn judge(stderr: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(stderr);
    let plain = without_escapes(&text);
    if POISON
        .iter()
        .any(|words| words.iter().all(|word| plain.contains(word)))
    {
        return Failure::Poison;
    }
    let flat = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if VAGUE.iter().any(|words| flat.contains(words)) {
        return Failure::Unclear("a file was not found, and why is not said");
    }
    if MACHINE.iter().any(|words| flat.contains(words)) {
        return Failure::Unclear("the machine or the compiler failed");
    }
    if names_scratch(stderr) {
        return Failure::Unclear("a file of the builder's is named");
    }
    let errors: Vec<bool> = plain.lines().filter_map(is_located).collect();
    if errors.contains(&false) {
        return Failure::Unclear("an error has no place in a source");
    }
    if errors.is_empty() && !plain.lines().any(is_json) {
        return Failure::Unclear("no error is told");
    }
    Failure::Source
}

/// Whether a text tells of a file that is not there.
pub fn misses_file(text: &[u8]) -> bool {
    let flat = String::from_utf8_lossy(text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    flat.contains("No such file or directory")
}

/// Whether a text or an output names a temporary file of the builder's, which has another name here.
pub fn names_scratch(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, SCRATCH_NAME).is_some()
}

/// For a line that is an error: whether it has a place in a source, `name:line` or `name:line:column`, or in the
/// arguments, which gcc numbers no lines of.
fn is_located(line: &str) -> Option<bool> {
    if ERRORS.iter().any(|word| line.starts_with(word)) {
        return Some(false);
    }
    let starts = ERRORS.iter().filter_map(|word| {
        let ends_prefix = |(at, _): &(usize, &str)| line[..*at].ends_with(": ");
        line.match_indices(word).find(ends_prefix).map(|(at, _)| at - 2)
    });
    let prefix = &line[..starts.min()?];
    // clang appends the ranges of what it points at on request.
    let prefix = prefix.split_once(":{").map_or(prefix, |(place, _)| place);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (rest, last) = prefix.rsplit_once(':').unwrap_or_default();
    Some(prefix == "<command-line>" || (!rest.is_empty() && is_number(last)))
}

/// Whether a line is gcc's whole report as JSON, in which an error is told and each has a place.
fn is_json(line: &str) -> bool {
    line.starts_with("[{")
        && line.ends_with(']')
        && ["\"kind\": \"error\"", "\"kind\": \"fatal error\""]
            .iter()
            .any(|kind| line.contains(kind))
        && !line.contains("\"locations\": []")
}

/// The text without what colours it and links its words: control sequences and operating system commands
/// (ECMA-48, 5.4 and 8.3.89).
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\x1b') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = match escape.as_bytes().first() {
            Some(b'[') => {
                let end = escape[1..].find(|letter| matches!(letter, '@'..='~'));
                end.map_or("", |end| &escape[end + 2..])
            }
            Some(b']') => {
                let bell = escape.find('\x07').map(|end| (end, 1));
                let terminator = escape.find("\x1b\\").map(|end| (end, 2));
                let end = [bell, terminator].into_iter().flatten().min();
                end.map_or("", |(end, length)| &escape[end + length..])
            }
            _ => escape,
        };
    }
    plain.push_str(rest);
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Failure) {
        assert_eq!(judge(text.as_bytes()), expected, "{text}");
    }

    fn check_unclear(text: &str) {
        let judged = judge(text.as_bytes());
        assert!(matches!(judged, Failure::Unclear(_)), "{judged:?}: {text}");
    }

    #[test]
    fn errors_of_a_source_are_its_own() {
        for text in [
            "a.c:1:5: error: expected ';'\n    1 | int x\n      |      ^\n",
            "a.c:3:10: fatal error: zz.h: No such file or directory\ncompilation terminated.\n",
            "In file included from a.c:1:\n./b.h:2:1: error: unknown type name 'q'\n1 error generated.\n",
            "a.c: In function ‘f’:\na.c:1: error: x\ncc1: all warnings being treated as errors\n",
            "a.C:9:8: sorry, unimplemented: variable-length array of ‘auto’\n    9 |   auto x[i];\n",
            "a.S: Assembler messages:\na.S:4: Error: no such instruction: `foo'\n",
            "<command-line>: error: expected ‘)’ before ‘;’ token\n",
            "<inline asm>:1:2: error: invalid instruction mnemonic 'foo'\n",
            "a.c:1:2:{1:2-1:3}{4:5-4:6}: error: x\n",
            "\x1b[01m\x1b[Ka b.c:1:5:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kx [\x1b]8;;https://e\x1b\\-Werror\x1b]8;;\x07]\n",
            "[{\"kind\": \"error\", \"message\": \"x\", \"locations\": [{\"caret\": {}}]}]\n",
        ] {
            check(text, Failure::Source);
        }
    }

    #[test]
    fn poison_is_known_by_the_kernels_words_however_they_are_broken() {
        for text in [
            "a.c:1:10: fatal error: loop.h: Too many levels of symbolic links\n",
            "cc1: fatal error: nod/x.h: Permission denied\ncompilation terminated.\n",
            "a.c:1:10: fatal error: cannot open file './loop.h': Too many levels of\n      symbolic links\n",
            "a.c:1:10: error: x: Permission\na.c:1:10: denied\n",
            "a.c:1:1: error: x\n\x1b[1mPermission \x1b[0mdenied\n",
            "a.s:5: Error: can't open l.h for reading: Too many levels of symbolic links\n",
        ] {
            check(text, Failure::Poison);
        }
    }

    #[test]
    fn what_a_machine_or_a_lookup_may_have_caused_is_unclear() {
        for text in [
            "",
            "a.c:1:10: fatal error: 'zz.h' file not found\n",
            "a.c:1:10: fatal error: 'zz.h' file\n      not found\n",
            "a.S:1: Error: file not found: x.bin\n",
            "a.s:2: Error: can't open x.inc for reading: No such file or directory\n",
            "<inline asm>:1:9: error: Could not find incbin file 'x'\n",
            "gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n",
            "gcc: fatal error: cannot execute ‘as’: execvp: No such file or directory\n",
            "a.c:1:1: error: x\ncc1: error: y\n",
            "a.c:1:1: error: x\nerror: unable to open output file 'a.o': 'No such file or directory'\n",
            "a.c:1:1: internal compiler error: Segmentation fault\n",
            "a.c:1:1: error: x\na.c:9:9: internal compiler error: y\n",
            "/.quicc-scratch/ccx.s:1: Error: no such instruction: `foo'\n",
            "Fatal error: can't create a.o: No such file or directory\n",
            "[{\"kind\": \"fatal error\", \"message\": \"x\", \"locations\": []}]\n",
            "cc1: out of memory allocating 65536 bytes\n",
            "a.c:1:1: warning: x\n",
            "\x1b[unfinished",
            "\x1b]8;unfinished",
        ] {
            check_unclear(text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "(\\x1b|\\[|\\]|m|é|error:|: |:|1|\\n|\\\\|\\x07){0,40}") {
            judge(&bytes);
            judge(text.as_bytes());
        }
    }
}
