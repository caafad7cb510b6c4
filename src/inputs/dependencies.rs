//! Names in the make rules that `-M` prints.
//!
//! Pure. Never resolves a name: relative ones are relative to the compiler's cwd.

/// The prerequisites of every rule in `rules`, in order, as gcc and clang quote them: `\ ` and `\#` for
/// blank and `#`, `$$` for `$`, and 2N+1 backslashes before a blank for N and that blank (GNU make;
/// libcpp/mkdeps.cc `munge`).
///
/// A name that itself ends in backslashes is ambiguous, since the compilers do not double them: both
/// readings are returned where the text allows two, so a caller treats a missing file as no error.
pub fn parse(rules: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut reader = Reader { rest: rules };
    let mut in_targets = true;
    loop {
        match reader.token() {
            Token::End => return names,
            Token::RuleEnd => in_targets = true,
            Token::Word {
                word,
                alternative,
                target,
            } => {
                if !in_targets {
                    names.extend([Some(word), alternative].into_iter().flatten());
                }
                in_targets &= !target;
            }
        }
    }
}

enum Token {
    /// A name; `target` if the colon that ends a rule's targets stood behind it.
    Word {
        word: Vec<u8>,
        alternative: Option<Vec<u8>>,
        target: bool,
    },
    RuleEnd,
    End,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn token(&mut self) -> Token {
        loop {
            match self.rest {
                [] => return Token::End,
                [b' ' | b'\t' | b'\r', rest @ ..]
                | [b'\\', b'\n', rest @ ..]
                | [b'\\', b'\r', b'\n', rest @ ..] => self.rest = rest,
                [b'\n', rest @ ..] => {
                    self.rest = rest;
                    return Token::RuleEnd;
                }
                _ => return self.word(),
            }
        }
    }

    fn word(&mut self) -> Token {
        let mut word = Vec::new();
        let mut alternative = None;
        loop {
            match self.rest {
                [] | [b' ' | b'\t' | b'\n', ..] | [b'\r', b'\n', ..] => break,
                [b':'] | [b':', b' ' | b'\t' | b'\n' | b'\r', ..] => {
                    self.rest = self.rest.get(1..).unwrap_or_default();
                    return Token::Word {
                        word,
                        alternative,
                        target: true,
                    };
                }
                [b'$', b'$', rest @ ..] => {
                    word.push(b'$');
                    self.rest = rest;
                }
                [b'\\', ..] => {
                    if let Some(other) = self.backslashes(&mut word) {
                        alternative = Some(other);
                        break;
                    }
                    if matches!(self.rest, [b'\\', b'\n', ..] | [b'\\', b'\r', b'\n', ..]) {
                        break;
                    }
                }
                [byte, rest @ ..] => {
                    word.push(*byte);
                    self.rest = rest;
                }
            }
        }
        Token::Word {
            word,
            alternative,
            target: false,
        }
    }

    /// Reads a run of backslashes and what it quotes. Returns the literal reading where the run ends the
    /// word and make would halve it.
    fn backslashes(&mut self, word: &mut Vec<u8>) -> Option<Vec<u8>> {
        let count = self.rest.iter().take_while(|byte| **byte == b'\\').count();
        let after = self.rest.get(count..).unwrap_or_default();
        let kept = match after {
            [b' ' | b'\t', ..] => count / 2,
            [b'\n', ..] | [b'\r', b'\n', ..] if !count.is_multiple_of(2) => {
                // The last one continues the line.
                word.extend(std::iter::repeat_n(b'\\', count - 1));
                self.rest = self.rest.get(count - 1..).unwrap_or_default();
                return None;
            }
            [] | [b'\n', ..] | [b'\r', b'\n', ..] => count / 2,
            [b'#', ..] => count - 1,
            _ => count,
        };
        let literal = [word.as_slice(), &vec![b'\\'; count]].concat();
        word.extend(std::iter::repeat_n(b'\\', kept));
        self.rest = after;
        match after {
            [quoted @ (b' ' | b'\t'), rest @ ..] if !count.is_multiple_of(2) => {
                word.push(*quoted);
                self.rest = rest;
                None
            }
            [b'#', rest @ ..] => {
                word.push(b'#');
                self.rest = rest;
                None
            }
            [] | [b' ' | b'\t' | b'\n', ..] | [b'\r', b'\n', ..] => Some(literal),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(rules: &str, expected: &[&str]) {
        let names = parse(rules.as_bytes());
        let names: Vec<_> = names
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        assert_eq!(names, expected, "{rules:?}");
    }

    #[test]
    fn reads_what_the_compilers_print() {
        check("m.o: m.c a.h\n", &["m.c", "a.h"]);
        check("m.o: m.c \\\n a.h \\\n  b.h\n", &["m.c", "a.h", "b.h"]);
        check("m.o: m.c \\\r\n a.h\r\n", &["m.c", "a.h"]);
        check(
            "m.o: a\\ b.h a\\#b.h a$$b.h a\\b.h a:b.h c:\\ d.h",
            &["a b.h", "a#b.h", "a$b.h", "a\\b.h", "a:b.h", "c: d.h"],
        );
        check(
            "m.o: a\\\\\\ b.h tab\\\tx.h a\\\\#b.h a\\:b.h",
            &["a\\ b.h", "tab\tx.h", "a\\#b.h", "a\\:b.h"],
        );
        check("t1.o t2\\ x.o: a.h\n\na.h:\n\nb.h:\n", &["a.h"]);
        check("m.o: a.h\\\n b.h\n", &["a.h", "b.h"]);
        check("", &[]);
        check("m.o:", &[]);
    }

    #[test]
    fn a_name_ending_in_backslashes_is_read_both_ways() {
        check("m.o: e\\\\ f.h\n", &["e\\", "e\\\\", "f.h"]);
        check("m.o: e\\\\\n", &["e\\", "e\\\\"]);
        check("m.o: e\\\\", &["e\\", "e\\\\"]);
    }

    /// The quoting of gcc's `munge`.
    fn quote(name: &str) -> String {
        let mut quoted = String::new();
        let mut backslashes = 0;
        for letter in name.chars() {
            match letter {
                ' ' | '\t' => quoted.push_str(&"\\".repeat(backslashes + 1)),
                '#' => quoted.push('\\'),
                '$' => quoted.push('$'),
                _ => {}
            }
            backslashes = if letter == '\\' { backslashes + 1 } else { 0 };
            quoted.push(letter);
        }
        quoted
    }

    proptest! {
        #[test]
        fn undoes_the_quoting(names in proptest::collection::vec("[a-z$ \\\\\\t]{0,6}[a-z]", 0..6)) {
            let rule = names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(" \\\n ");
            let expected: Vec<_> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            prop_assert_eq!(parse(format!("t.o: {rule}\n").as_bytes()), expected);
        }

        #[test]
        fn never_panics(rules in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&rules);
        }

        #[test]
        fn never_panics_on_quoting(rules in "[a:# $\\\\\\n\\r]{0,40}") {
            parse(rules.as_bytes());
        }
    }
}
