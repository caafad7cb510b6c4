//! Expansion of `@file` arguments as libiberty's `expandargv` (gcc) and LLVM's GNU tokenizer (clang) do it:
//! at any place after argv\[0\], nested, relative to cwd, an unreadable file literally. Where the two differ
//! the expansion refuses. Never opens a file itself.

use std::collections::BTreeSet;

use super::{Cause, Reason, Surroundings, path};

/// Most response files of one command line, repeats counted; libiberty gives up at 2000.
pub const MAX_RESPONSE_FILES: usize = 1999;

/// Most bytes of all response files of one command line, repeats counted.
pub const MAX_EXPANDED_BYTES: usize = 16 << 20;

/// A command line without response files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expansion {
    /// The arguments, argv\[0\] excluded.
    pub(super) arguments: Vec<Vec<u8>>,
    /// The response files that were read, each once, in order of first use, as spelled.
    pub(super) files: Vec<Vec<u8>>,
}

/// Replaces each `@file` of `arguments` (argv\[0\] excluded) by the arguments in that file.
pub(super) fn expand(
    arguments: &[Vec<u8>],
    cwd: &[u8],
    surroundings: &mut dyn Surroundings,
) -> Result<Expansion, Reason> {
    let mut expansion = Expansion {
        arguments: Vec::with_capacity(arguments.len()),
        files: Vec::new(),
    };
    let mut known_files = BTreeSet::new();
    let (mut file_count, mut byte_count) = (0, 0);
    // The end of the vector is the next argument, so that nested arguments take their place at once.
    let mut pending: Vec<Vec<u8>> = arguments.iter().rev().cloned().collect();
    while let Some(argument) = pending.pop() {
        let content = match argument.strip_prefix(b"@") {
            Some(file) => surroundings.read_response_file(&path::absolute(cwd, file)),
            None => None,
        };
        let Some(content) = content else {
            expansion.arguments.push(argument);
            continue;
        };
        file_count += 1;
        byte_count += content.len();
        if file_count > MAX_RESPONSE_FILES || byte_count > MAX_EXPANDED_BYTES {
            return Err(Reason::new(Cause::ResponseFileLimit, &argument));
        }
        let words = tokenize(&content).ok_or_else(|| Reason::new(Cause::ResponseFileSyntax, &argument))?;
        pending.extend(words.into_iter().rev());
        let file = argument[1..].to_vec();
        if known_files.insert(file.clone()) {
            expansion.files.push(file);
        }
    }
    Ok(expansion)
}

/// The arguments in a response file: separated by blanks, quoted by `'`, `"` or a backslash, which also
/// works within quotes. `None` for what gcc and clang read differently: a byte order mark, NUL, vertical tab
/// or form feed, an empty quoted argument, a backslash at the end.
fn tokenize(content: &[u8]) -> Option<Vec<Vec<u8>>> {
    const BYTE_ORDER_MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if BYTE_ORDER_MARKS.iter().any(|mark| content.starts_with(mark)) {
        return None;
    }
    let mut words = Vec::new();
    // `Some` from the first byte of a word on, be it only a quote.
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = content.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            0 | 0x0b | 0x0c => return None,
            b'\\' => match bytes.next()? {
                0 => return None,
                escaped => word.get_or_insert_default().push(escaped),
            },
            b' ' | b'\t' | b'\n' | b'\r' if quote.is_none() => finish_word(&mut words, word.take())?,
            _ if quote == Some(byte) => quote = None,
            b'\'' | b'"' if quote.is_none() => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            _ => word.get_or_insert_default().push(byte),
        }
    }
    finish_word(&mut words, word)?;
    Some(words)
}

fn finish_word(words: &mut Vec<Vec<u8>>, word: Option<Vec<u8>>) -> Option<()> {
    match word {
        Some(word) if word.is_empty() => None,
        Some(word) => {
            words.push(word);
            Some(())
        }
        None => Some(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Files(BTreeMap<Vec<u8>, Vec<u8>>);

    impl Surroundings for Files {
        fn is_file(&mut self, _: &[u8]) -> bool {
            false
        }

        fn read_response_file(&mut self, path: &[u8]) -> Option<Vec<u8>> {
            self.0.get(path).cloned()
        }

        fn exists(&mut self, path: &[u8]) -> bool {
            self.0.contains_key(path)
        }
    }

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split_whitespace()
            .map(|word| word.as_bytes().to_vec())
            .collect()
    }

    fn files(list: &[(&str, &str)]) -> Files {
        Files(
            list.iter()
                .map(|(name, text)| (name.as_bytes().to_vec(), text.as_bytes().to_vec()))
                .collect(),
        )
    }

    #[test]
    fn quoting_is_gnu() {
        let check = |content: &[u8], expect: Option<&[&str]>| {
            let expect = expect.map(|words| {
                words
                    .iter()
                    .map(|word| word.as_bytes().to_vec())
                    .collect::<Vec<_>>()
            });
            assert_eq!(tokenize(content), expect, "{}", content.escape_ascii());
        };
        check(b"", Some(&[]));
        check(b" \n\t\r ", Some(&[]));
        check(b"-c a.c\n-DX=1", Some(&["-c", "a.c", "-DX=1"]));
        check(b"-DX=\"a b\" 'c d'e", Some(&["-DX=a b", "c de"]));
        check(b"-DY='q\\\"'", Some(&["-DY=q\""]));
        check(b"'1\\'2'", Some(&["1'2"]));
        check(b"a\\ b \\\\", Some(&["a b", "\\"]));
        check(b"\"it's\" 'a\"b'", Some(&["it's", "a\"b"]));
        check(b"'open to the end", Some(&["open to the end"]));
        check(b"''", None);
        check(b"a '' b", None);
        check(b"a''b", Some(&["ab"]));
        check(b"a\\", None);
        check(b"a\x0bb", None);
        check(b"a\0b", None);
        check(b"\xef\xbb\xbfa", None);
    }

    #[test]
    fn files_nest_in_place_and_are_relative_to_the_working_directory() {
        let mut world = files(&[
            ("/w/sub/a", "-x @sub/b -y"),
            ("/w/sub/b", "1 2"),
            ("/abs", "@missing"),
        ]);
        let expansion = expand(&words("-c @sub/a @/abs @sub/b end"), b"/w", &mut world).unwrap();
        assert_eq!(expansion.arguments, words("-c -x 1 2 -y @missing 1 2 end"));
        assert_eq!(expansion.files, words("sub/a sub/b /abs"));
    }

    #[test]
    fn a_file_naming_itself_ends() {
        let mut world = files(&[("/w/r", "-c @r")]);
        let reason = expand(&words("@r"), b"/w", &mut world).unwrap_err();
        assert_eq!(reason.cause, Cause::ResponseFileLimit);
    }

    #[test]
    fn disputed_content_is_refused_by_name() {
        let mut world = files(&[("/w/r", "-c ''")]);
        let reason = expand(&words("-O2 @r"), b"/w", &mut world).unwrap_err();
        assert_eq!(reason, Reason::new(Cause::ResponseFileSyntax, b"@r"));
    }

    /// Writes a word as CMake, ninja and libiberty's `writeargv` do: a backslash before what has a meaning.
    fn quote(word: &[u8], style: u8) -> Vec<u8> {
        let mut quoted = Vec::new();
        let mark = [None, Some(b'"'), Some(b'\'')][usize::from(style % 3)];
        quoted.extend(mark);
        for &byte in word {
            if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\'' | b'"' | b'\\') {
                quoted.push(b'\\');
            }
            quoted.push(byte);
        }
        quoted.extend(mark);
        quoted
    }

    proptest! {
        #[test]
        fn quoted_words_round_trip(
            words in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..12), 0..12),
            style in any::<u8>(),
        ) {
            let words: Vec<Vec<u8>> = words
                .into_iter()
                .map(|word| word.into_iter().filter(|byte| !matches!(byte, 0x0b | 0x0c)).collect())
                .filter(|word: &Vec<u8>| !word.is_empty())
                .collect();
            let text = words.iter().map(|word| quote(word, style)).collect::<Vec<_>>().join(&b'\n');
            prop_assume!(!text.starts_with(b"\xef\xbb\xbf") && !text.starts_with(b"\xff\xfe"));
            prop_assume!(!text.starts_with(b"\xfe\xff"));
            prop_assert_eq!(tokenize(&text), Some(words));
        }

        #[test]
        fn words_of_the_command_line_are_kept(
            words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..20)
        ) {
            let expansion = expand(&words, b"/w", &mut files(&[])).unwrap();
            prop_assert_eq!(expansion.arguments, words);
        }
    }
}
