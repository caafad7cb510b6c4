//! Macros that stand for `__has_include`: which names a text asks for through one.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::packed;

use super::bounds::PASTED;
use super::text::{LineEnd, Text, is_blank, is_word_byte, line_end};
use super::{Reference, ReferenceKind, Scanner, look_back};

/// What may stand for the operator: `__has_include` and `__has_include_next` are told apart by nothing here.
const KINDS: [ReferenceKind; 2] = [ReferenceKind::HasInclude, ReferenceKind::HasIncludeNext];

/// What a text asks for through one macro.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    /// The literal names.
    pub includes: Vec<Reference>,
    /// A name is asked for that only a preprocessor knows, or the macro is handed on.
    pub computed: bool,
    /// The words that directives have of which `##` may make the macro's name, and whether one may be other than the
    /// last of it: before a parenthesis nothing is pasted to it.
    pub pieces: BTreeMap<Vec<u8>, bool>,
    /// Whether these are all. Otherwise no word is one that [makes](Alias::makes) a name.
    pub is_whole: bool,
}

/// A macro that stands for the operator, made ready to be looked for.
#[derive(Debug)]
pub struct Alias {
    name: Box<[u8]>,
    beginnings: Beginnings,
    /// Finds what every word holds that makes the name. None where that is too short to be seldom.
    long: Option<packed::Searcher>,
}

impl Mentions {
    /// Adds what another text has besides literal names.
    pub fn unite(&mut self, other: &Self) {
        self.computed |= other.computed;
        for (piece, goes_on) in &other.pieces {
            *self.pieces.entry(piece.clone()).or_default() |= goes_on;
        }
    }

    /// Whether `##` may make `alias` of the pieces. A name of more than four words is not looked for: of single
    /// letters any could be made.
    pub fn may_paste(&self, alias: &[u8]) -> bool {
        // The ends of what can be made of so many words.
        let mut ends = BTreeSet::from([0]);
        for _ in 0..PASTED {
            let longer = |end: usize| {
                let rest = alias.get(end..).unwrap_or_default();
                let pieces = self.pieces.iter();
                pieces.filter_map(move |(piece, goes_on)| {
                    let fits = rest.starts_with(piece) && (*goes_on || piece.len() == rest.len());
                    fits.then_some(end + piece.len())
                })
            };
            ends = ends.into_iter().flat_map(longer).collect();
            if ends.contains(&alias.len()) {
                return true;
            }
        }
        false
    }
}

/// The macro that the definition around the operator at `at` makes stand for it: `#define NAME __has_include` or
/// `#define NAME(x) __has_include(x)`, on one line. `end` is behind the operator.
pub(super) fn alias_of(text: Text<'_>, at: usize, end: usize) -> Option<Vec<u8>> {
    let before = text.before(at);
    let line = look_back::physical_line_before(text, at)?;
    let earlier = before.get(..before.len() - line.len()).unwrap_or_default();
    if earlier
        .strip_suffix(b"\n")
        .is_some_and(|earlier| line_end(earlier) != LineEnd::Ends)
    {
        return None;
    }
    let line = strip(line.trim_ascii_start(), b"#")?;
    let line = strip(line.trim_ascii_start(), b"define")?;
    let name = line.trim_ascii_start();
    if name.len() == line.len() {
        return None;
    }
    let (name, rest) = split_word(name);
    if name.is_empty() {
        return None;
    }
    let after = text.from(end);
    let after = if rest.starts_with(b"(") {
        let (parameter, rest) = split_word(rest.get(1..)?.trim_ascii_start());
        if parameter.is_empty() || rest.trim_ascii() != b")" {
            return None;
        }
        let inside = strip(after.trim_ascii_start(), b"(")?;
        let (operand, rest) = split_word(inside.trim_ascii_start());
        if operand != parameter {
            return None;
        }
        strip(rest.trim_ascii_start(), b")")?
    } else if rest.trim_ascii().is_empty() {
        after
    } else {
        return None;
    };
    let blanks = after.iter().take_while(|byte| is_blank(**byte)).count();
    matches!(after.get(blanks), None | Some(b'\n' | b'\r')).then(|| name.to_vec())
}

/// The least bytes that are worth a search of their own: shorter ones are everywhere.
const LONG: usize = 4;

impl Alias {
    /// Of the macro `name`.
    pub fn new(name: &[u8]) -> Self {
        let length = longest_of_fewest(name);
        let long = (length >= LONG)
            .then(|| packed::Searcher::new(name.windows(length)))
            .flatten();
        Self {
            name: name.into(),
            beginnings: Beginnings::of(name),
            long,
        }
    }

    /// The macro.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether `word` is so much of the name that, of as few words as are looked for, one like it has to be among those
    /// that `##` makes the name of.
    pub fn makes(&self, word: &[u8]) -> bool {
        word.len() >= longest_of_fewest(&self.name)
    }

    /// Whether `content` may have the name, or a word that [makes](Self::makes) it: a quick look. If not, it asks for
    /// nothing through the macro, and its words only matter where another text has such a one.
    pub fn may_matter(&self, content: &[u8]) -> bool {
        let Some(long) = &self.long else { return true };
        if splices_words(content) {
            return true;
        }
        let mut matched = long.find_iter(content);
        matched.any(|found| {
            let head = content.get(..found.start()).unwrap_or_default();
            let tail = content.get(found.end()..).unwrap_or_default();
            let start = head.iter().rev().take_while(|byte| is_word_byte(**byte));
            let end = tail.iter().take_while(|byte| is_word_byte(**byte));
            let word = found.start() - start.take(self.name.len()).count()
                ..found.end() + end.take(self.name.len()).count();
            content.get(word).is_some_and(|word| is_part(&self.name, word))
        })
    }

    /// Everything `content` asks for through it.
    pub fn mentions(&self, content: &[u8]) -> Mentions {
        let mut scanner = Scanner::new(content);
        let text = scanner.text;
        let mut computed = false;
        let mut pieces = BTreeMap::new();
        for line in text
            .lines()
            .filter(|line| look_back::may_be_of_directive(text, line))
        {
            let lines = text.before(line.end);
            let mut at = line.start;
            while let Some(start) = self.beginnings.next(lines, at) {
                let length = text
                    .from(start)
                    .iter()
                    .take_while(|byte| is_word_byte(**byte))
                    .count();
                at = start + length;
                let word = text.from(start).get(..length).unwrap_or_default();
                // Seldom is a word all in one piece, and seldom one like the macro's name.
                let Some((word, end)) = spliced(text, word, at, &self.name) else {
                    continue;
                };
                if look_back::is_only_named(text, start)
                    || look_back::is_directives_name(text, start)
                    || !look_back::may_be_in_directive(text, start)
                {
                    continue;
                }
                if *word == *self.name {
                    computed |= !asks_literally(&mut scanner, end);
                } else {
                    let is_called = scanner
                        .skip_trivia(end)
                        .is_ok_and(|open| text.peek(open) == Some(b'('));
                    *pieces.entry(word).or_default() |= !is_called;
                }
            }
        }
        Mentions {
            includes: scanner.names.into_iter().collect(),
            computed,
            pieces,
            is_whole: true,
        }
    }
}

/// What the longest word has at least, of the fewest that can be pasted to `name`.
fn longest_of_fewest(name: &[u8]) -> usize {
    name.len().div_ceil(PASTED)
}

/// Whether a word may go on behind a splice.
fn splices_words(content: &[u8]) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| is_word_byte(*byte));
    let goes_on = |at: usize| {
        let after = content.get(at + 1..).unwrap_or_default();
        let gap = after.iter().take_while(|byte| is_blank(**byte)).count();
        let after = after.get(gap..).unwrap_or_default();
        let after = after.strip_prefix(b"\r\n").or(match after {
            [b'\r' | b'\n', after @ ..] => Some(after),
            _ => None,
        });
        // What follows may be another splice.
        after.is_some_and(|after| is_word(after.first()) || matches!(after, [b'\\' | b'?', ..]))
    };
    memchr::memchr_iter(b'\\', content)
        .any(|at| is_word(at.checked_sub(1).and_then(|before| content.get(before))) && goes_on(at))
        || memchr::memmem::find(content, b"??/").is_some()
}

fn is_part(name: &[u8], word: &[u8]) -> bool {
    name.windows(word.len()).any(|part| part == word)
}

/// How the words begin that a name has: the one thing asked of every word of every text.
#[derive(Debug)]
struct Beginnings {
    /// By byte, where the name has it: a bit for each position, which positions far apart share.
    here: [u32; 256],
    /// By byte, where the name has it one position later. What ends a word, or goes on with it behind a splice, fits
    /// everywhere.
    behind: [u32; 256],
}

impl Beginnings {
    fn of(name: &[u8]) -> Self {
        let mut here = [0; 256];
        let mut behind = std::array::from_fn(|byte| if is_word_byte(byte as u8) { 0 } else { u32::MAX });
        for (position, byte) in name.iter().enumerate() {
            here[usize::from(*byte)] |= 1_u32.rotate_left(position as u32);
            if let Some(before) = position.checked_sub(1) {
                behind[usize::from(*byte)] |= 1_u32.rotate_left(before as u32);
            }
        }
        Self { here, behind }
    }

    /// Where from `from` on, which is at no word's middle, the next word begins that may be one of the name's.
    fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut follows_word = false;
        for (offset, byte) in text.get(from..)?.iter().enumerate() {
            let here = self.here[usize::from(*byte)];
            if here != 0 && !follows_word {
                let at = from + offset;
                let next = text.get(at + 1).copied().unwrap_or(b'\n');
                if here & self.behind[usize::from(next)] != 0 {
                    return Some(at);
                }
            }
            follows_word = is_word_byte(*byte);
        }
        None
    }
}

/// The word that begins with `first`, which ends before `end`, over its splices, and the position behind it, if `alias`
/// has it.
fn spliced(text: Text<'_>, first: &[u8], end: usize, alias: &[u8]) -> Option<(Vec<u8>, usize)> {
    if !first.first().is_some_and(|byte| alias.contains(byte)) || !is_part(alias, first) {
        return None;
    }
    let mut word = first.to_vec();
    let mut end = end;
    while let Some((byte, after)) = text.next(end)
        && is_word_byte(byte)
    {
        if word.len() >= alias.len() {
            return None;
        }
        word.push(byte);
        end = after;
    }
    is_part(alias, &word).then_some((word, end))
}

/// Whether the macro whose name ends before `end`, in a directive, asks for a literal name.
fn asks_literally(scanner: &mut Scanner<'_>, end: usize) -> bool {
    let Ok(open) = scanner.skip_trivia(end) else {
        return false;
    };
    // Without an operand it is handed on.
    let Some((b'(', inside)) = scanner.text.next(open) else {
        return false;
    };
    let Ok(operand) = scanner.skip_trivia(inside) else {
        return false;
    };
    KINDS.iter().all(|kind| scanner.literal(*kind, operand))
}

fn strip<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    text.strip_prefix(prefix)
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| is_word_byte(**byte)).count())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inputs::scan::{bounds, scan};

    #[test]
    fn a_macro_for_the_operator_is_known_by_its_definition() {
        let check = |text: &str, aliases: &[&str], probe: bool| {
            let found = scan(text.as_bytes());
            let names: Vec<_> = found
                .probe_aliases
                .iter()
                .map(|name| String::from_utf8_lossy(name))
                .collect();
            assert_eq!(
                (names, found.computed_probe),
                (aliases.iter().map(|name| (*name).into()).collect(), probe),
                "{text:?}"
            );
        };
        check("#define HAS __has_include\n", &["HAS"], false);
        check("#  define HAS(x) __has_include(x)\n", &["HAS"], false);
        check("#define HAS( x ) __has_include( x )", &["HAS"], false);
        check("#define HAS(x) __has_include(MACRO)\n", &[], true);
        check("#define HAS(x) A && __has_include(x)\n", &[], true);
        check("#define HAS(x) __has_include(x) || B\n", &[], true);
        check("#define HAS \\\n __has_include\n", &[], true);
        check("#define HAVE __has_include(<x.h>)\n", &[], false);
        let far = " ".repeat(bounds::LOOK_BACK);
        check(&format!("#define {far}HAS __has_include\n"), &[], true);
        check("#if __has_include(MACRO)\n", &[], false);
        check("#if __has_include(MACRO())\n", &[], true);
    }

    #[test]
    fn more_macros_for_the_operator_than_texts_are_read_for_are_computed() {
        for (count, computed) in [(bounds::ALIASES, false), (bounds::ALIASES + 1, true)] {
            let text: String = (0..count)
                .map(|index| format!("#define HAS_{index} __has_include\n"))
                .collect();
            let found = scan(text.repeat(2).as_bytes());
            assert_eq!(found.probe_aliases.len(), bounds::ALIASES);
            assert_eq!(found.computed_probe, computed, "{count}");
        }
    }

    #[test]
    fn what_is_asked_through_a_macro_is_found() {
        let check = |text: &str, names: &[&str], computed: bool| {
            let found = Alias::new(b"HAS").mentions(text.as_bytes());
            let mut spelled: Vec<_> = found
                .includes
                .iter()
                .map(|name| String::from_utf8_lossy(&name.spelling))
                .collect();
            spelled.dedup();
            assert_eq!(
                (spelled, found.computed),
                (names.iter().map(|name| (*name).into()).collect(), computed),
                "{text:?}"
            );
        };
        check("#ifndef HAS\n#define HAS __has_include\n#endif\n", &[], false);
        check("#define HAS(x) 0\n", &[], false);
        check("#if A || (B && HAS(<x.h>))\n", &["x.h"], false);
        check(
            "#if HAS ( \"../y.h\" ) \\\n && HAS(<z.h>)\n",
            &["../y.h", "z.h"],
            false,
        );
        check("#if HAS(MACRO)\n", &[], true);
        check("#define HAVE_X HAS(\"x.h\")\n", &["x.h"], false);
        check("#define OTHER HAS\n", &[], true);
        check("#define OTHER(x) HAS(x)\n", &[], true);
        check("#if XHAS(MACRO) || HASX(MACRO)\n", &[], false);
        check("/* HAS(x) is\n * HAS(x), and\n // HAS(x)\n", &[], false);
        check("#if A /*\n * */ && HAS(MACRO)\n", &[], true);
        check("#if A \\\n * HAS(MACRO)\n", &[], true);
        check("#if defined(HAS) && HAS(<x.h>)\n", &["x.h"], false);
        check("#if !defined ( HAS ) || \\\n!HAS(<x.h>)\n", &["x.h"], false);
        check("#if A || H\\\nA??/\nS(<x.h>)\n", &["x.h"], false);
        check("#if HAS\u{a0}(<x.h>)\n", &[], true);
        check("#if ID(HAS)(<x.h>)\n", &[], true);
        check("#if xdefined(HAS(<x.h>))\n", &["x.h"], false);
        check("#if xdefined(HAS)(<x.h>)\n", &[], true);
        check("#define has_define HAS(M)\n", &[], true);
        check("#define is_defined HAS\n", &[], true);
        check("// a\r#if HAS(MACRO)\n", &[], true);
        check("* a\r#if HAS(MACRO)\n", &[], true);
        check("#endif // HAS\nHAS(MACRO)\n", &[], false);
    }

    #[test]
    fn a_word_is_passed_over_only_if_the_name_lacks_it() {
        let name = b"__a_name_that_is_longer_than_all_the_bits_of_one_number";
        let beginnings = Beginnings::of(name);
        for length in 1..name.len() {
            for part in name.windows(length) {
                for text in [
                    part.to_vec(),
                    [b"=", part, b"\\\nx"].concat(),
                    [b"zz ", part, b" "].concat(),
                ] {
                    let start = text.windows(length).position(|found| found == part);
                    assert_eq!(beginnings.next(&text, 0), start, "{text:?}");
                }
            }
        }
        assert_eq!(
            beginnings.next(b"xa_name bna 9a", 0),
            None,
            "words begin otherwise"
        );
        assert_eq!(beginnings.next(b"na xx", 2), None);
    }

    #[test]
    fn a_macros_name_may_be_pasted_of_words_in_directives() {
        let check = |text: &str, expected: bool| {
            let found = Alias::new(b"MY_HAS_X").mentions(text.as_bytes());
            assert_eq!(
                found.may_paste(b"MY_HAS_X"),
                expected,
                "{text:?} {:?}",
                found.pieces
            );
        };
        check("#if CAT(MY_HAS, _X)(<x.h>)\n", true);
        check("#define ASK(x) MY_##x\n#if ASK(HAS_X)(<x.h>)\n", true);
        check("#if CAT(MY, CAT(_, CAT(HAS, _X)))(<x.h>)\n", true);
        check("#if CAT(M\\\nY_, HAS_X)(<x.h>)\n", true);
        check("#if CAT(MY_, HAS_X(<x.h>))\n", true);
        check("#if MY_HAS(<x.h>) && CAT(A, _X)\n", false);
        check("#if MY_HAS_X(<x.h>)\n", false);
        check("#if CAT(MY_HAS, X)(<x.h>)\n", false);
        check("#define MY_HAS\nint _X;\n", false);
        check("MY_HAS _X\n", false);
        check("#if M + Y + _ + H + A + S + X\n", false);
    }

    #[test]
    fn a_directives_own_name_is_no_word_of_it() {
        let pieces = |text: &str| Alias::new(b"my_include").mentions(text.as_bytes()).pieces;
        assert!(pieces("#include <q.h>\n# include \"q.h\"\n").is_empty());
        for text in [
            "#define A(include) #include\n",
            "#define A \\\n#include\n",
            "#if include\n",
        ] {
            assert!(pieces(text).contains_key(&b"include"[..]), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_quick_look_misses_nothing_that_matters(
            text in "((#(if|define|include) )?([(,) #\"<>.]|\\\\|\\\\ ?\r?\n|\r|\n|\\?\\?/\n|MY_HAS_X|MY_HAS|HAS_|_X|MY|S_X|HAS_X|_){0,12}){0,4}",
        ) {
            let alias = Alias::new(b"MY_HAS_LONG_X");
            let text = text.replace("HAS_X", "HAS_LONG_X").replace("S_X", "S_LON");
            if !alias.may_matter(text.as_bytes()) {
                let found = alias.mentions(text.as_bytes());
                prop_assert!(found.includes.is_empty() && !found.computed, "{found:?}");
                prop_assert!(!found.pieces.keys().any(|word| alias.makes(word)), "{found:?}");
            }
        }
    }

    #[test]
    fn a_quick_look_passes_over_most_texts() {
        let alias = Alias::new(b"__my_has_include");
        for (text, expected) in [
            ("#include <stdio.h>\n#define __my 1\nint a_has_include_b;\n", true),
            ("#define __my_has 1\n", true),
            ("#if __my_has_include(<x.h>)\n", true),
            ("#define A __my_\\\nhas_include\n", true),
            ("#define __m 1\n#define A a \\\n b\\\n\n", false),
            ("int a_has_include_b, my_hat;\n", false),
        ] {
            assert_eq!(alias.may_matter(text.as_bytes()), expected, "{text:?}");
        }
    }
}
