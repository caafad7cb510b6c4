//! Which files a compiler's diagnostics quote, as far as their text tells. Never opens one.

use std::collections::BTreeSet;

/// Begins a list of includers, none of which is quoted.
const INCLUDERS: &[u8] = b"In file included from ";

/// The files named by lines that begin with a location: only the lines of those are quoted below (GCC manual,
/// "Diagnostic Message Formatting Options"). `None` when some line is not understood, one in another language or
/// in colour say.
pub(super) fn quoted_files(diagnostics: &[u8]) -> Option<BTreeSet<&[u8]>> {
    let lines = diagnostics.split(|&byte| byte == b'\n');
    // Quoted source and what continues a message are indented.
    let begins = lines.filter(|line| !line.is_empty() && !line.starts_with(b" "));
    begins
        .filter(|line| !line.starts_with(INCLUDERS))
        .map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            line.get(..colon)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_begin_with_a_location_name_the_files() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let expected = expected.map(|names| names.iter().map(|name| name.as_bytes()).collect());
            assert_eq!(quoted_files(text.as_bytes()), expected, "{text}");
        };
        check("", Some(&[]));
        check(
            "In file included from inc/x.h:1,\n                 from a.c:1:\ninc/y.h: In function 'f':\n\
             inc/y.h:2:25: warning: unused\n    2 | int f(void) { int unused; }\n      |     ^~~~~~\n\
             a.c:3:1: note: here\n",
            Some(&["a.c", "inc/y.h"]),
        );
        check("In function 'f',\n    inlined from 'g' at a.c:3:\n", None);
        check(
            "\u{1b}[01m\u{1b}[Ka.c:3:1:\u{1b}[m\n",
            Some(&["\u{1b}[01m\u{1b}[Ka.c"]),
        );
    }
}
