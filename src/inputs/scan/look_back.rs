//! What stands before a position on its line. Only used to keep words in prose from costing a tier: a
//! literal name is believed wherever it stands.

use std::ops::Range;

use super::bounds::{COMMENT_LOOK_BACK, LOOK_BACK, SPLICES};
use super::text::{LineEnd, Text, is_blank, is_word_byte, line_end};

/// Whether nothing but blanks, of Unicode as well, or the end of a comment stands before `position` on its physical line. Only
/// there can a `#` begin a directive, whatever the lexer's state: text on an earlier, spliced line could
/// only make it less of one.
pub(super) fn is_first_on_line(text: Text<'_>, position: usize) -> bool {
    let whole = text.before(position);
    let before = without_trailing(whole, |byte| is_blank(byte) || byte >= 0x80);
    if whole.len() - before.len() >= LOOK_BACK {
        return true;
    }
    match before {
        [] | [.., b'\n' | b'\r'] | [.., b'*', b'/'] => true,
        // A comment may end in a spliced `*/`.
        [rest @ .., b'/'] => matches!(rest, [.., b'\n' | b'\r']),
        _ => false,
    }
}

/// Whether the bytes before `position`, less blanks, end with `word`.
pub(super) fn follows(text: Text<'_>, position: usize, word: &[u8]) -> bool {
    without_blanks(text.before(position)).ends_with(word)
}

/// Whether the bytes before `position`, less blanks, end with the word `word`, and with no longer one.
pub(super) fn follows_word(text: Text<'_>, position: usize, word: &[u8]) -> bool {
    without_blanks(text.before(position))
        .strip_suffix(word)
        .is_some_and(|rest| !may_continue_word(rest))
}

/// Whether the word at `position` is the name that a `#define` defines.
pub(super) fn is_defined(text: Text<'_>, position: usize) -> bool {
    is_named_by(text, position, b"define")
}

/// Whether the word at `position` is only defined, undefined or asked for: `defined NAME`, `#ifdef NAME` and the like.
pub(super) fn is_only_named(text: Text<'_>, position: usize) -> bool {
    const DIRECTIVES: [&[u8]; 6] = [b"define", b"undef", b"ifdef", b"ifndef", b"elifdef", b"elifndef"];
    let before = without_blanks(text.before(position));
    let opened = before.strip_suffix(b"(").map_or(before, without_blanks);
    let is_operand = opened
        .strip_suffix(b"defined")
        .is_some_and(|rest| !may_continue_word(rest));
    is_operand || DIRECTIVES.iter().any(|word| is_named_by(text, position, word))
}

/// Whether the word at `position` is for certain what a directive is called, which no macro makes: a `#` that begins a line
/// stands directly before it.
pub(super) fn is_directives_name(text: Text<'_>, position: usize) -> bool {
    let Some(rest) = without_blanks(text.before(position)).strip_suffix(b"#") else {
        return false;
    };
    match without_blanks(rest) {
        [] => true,
        [before @ .., b'\n'] => line_end(before) == LineEnd::Ends,
        _ => false,
    }
}

/// Whether the directive `directive`, spelled without tricks, stands directly before `position`.
fn is_named_by(text: Text<'_>, position: usize, directive: &[u8]) -> bool {
    let before = without_blanks(text.before(position));
    let Some(rest) = before.strip_suffix(directive) else {
        return false;
    };
    let rest = without_blanks(rest);
    [&b"#"[..], b"%:", b"??="]
        .iter()
        .find_map(|hash| rest.strip_suffix(*hash))
        .is_some_and(|rest| is_first_on_line(text, rest.len()))
}

/// Whether what follows `before` may go on with a word that began there.
fn may_continue_word(before: &[u8]) -> bool {
    let mut before = before;
    for _ in 0..SPLICES {
        let Some(head) = before.strip_suffix(b"\n").or_else(|| before.strip_suffix(b"\r")) else {
            return before
                .last()
                .is_some_and(|byte| is_word_byte(*byte) || *byte == b'$' || *byte >= 0x80);
        };
        if line_end(head) == LineEnd::Ends {
            return false;
        }
        let head = head.strip_suffix(b"\r").unwrap_or(head);
        let head = without_blanks(head);
        let Some(head) = head.strip_suffix(b"\\").or_else(|| head.strip_suffix(b"??/")) else {
            return true;
        };
        before = head;
    }
    true
}

/// Whether a word or a comma stands before `position`, and blanks between: then it is no statement's beginning. The letter
/// of an escape like `\\n` is no word.
pub(super) fn is_behind_word(text: Text<'_>, position: usize) -> bool {
    match without_blanks(text.before(position)) {
        [.., b'\\', b'n' | b't' | b'r' | b'v' | b'f'] => false,
        [.., last] => is_word_byte(*last) || *last == b',',
        [] => false,
    }
}

/// Whether a numeric or simple escape of a string, `\\x2e` or `\\n` say, may end before `position`.
pub(super) fn is_behind_escape(text: Text<'_>, position: usize) -> bool {
    let before = text.before(position);
    let rest = without_trailing(before, is_word_byte);
    rest.len() < before.len() && rest.ends_with(b"\\")
}

/// The same, or a string may begin or end there.
pub(super) fn is_behind_escape_or_quote(text: Text<'_>, position: usize) -> bool {
    is_behind_escape(text, position) || text.before(position).ends_with(b"\"")
}

/// Whether the preprocessor may put a dot before the word at `position`: `CAT(., word)` or `. ## word`.
pub(super) fn may_follow_dot(text: Text<'_>, position: usize) -> bool {
    let before = without_blanks(text.before(position));
    let rest = before.strip_suffix(b",").or_else(|| before.strip_suffix(b"##"));
    rest.is_some_and(|rest| without_blanks(rest).ends_with(b"."))
}

/// Whether the word at `position` may be an operand of `##` by what stands before it. Inside a string, a member, behind an
/// operator or a statement's beginning it is none.
pub(super) fn may_be_operand(text: Text<'_>, position: usize) -> bool {
    match without_blanks(text.before(position)) {
        [.., b'?', b'?', b'='] | [.., b'%', b':'] | [.., b'*', b'/'] => true,
        [.., last] => {
            is_word_byte(*last) || matches!(last, b'(' | b')' | b',' | b'#' | b'\n' | b'\r') || *last >= 0x80
        }
        [] => true,
    }
}

/// Whether a statement of an assembler may begin at `position`, unlike the suffix of a file's name or a member.
pub(super) fn may_begin_statement(text: Text<'_>, position: usize) -> bool {
    let last = text.before(position).last();
    let is_inside =
        |byte: &u8| is_word_byte(*byte) || matches!(byte, b')' | b']' | b'.' | b'/' | b'*' | b'-' | b'>');
    !last.is_some_and(is_inside) || is_behind_escape(text, position)
}

/// The physical line up to `position`; none where that is more than [`LOOK_BACK`] bytes.
pub(super) fn physical_line_before(text: Text<'_>, position: usize) -> Option<&[u8]> {
    let before = text.before(position);
    let first = before.len().saturating_sub(LOOK_BACK + 1);
    let window = before.get(first..).unwrap_or_default();
    match memchr::memrchr(b'\n', window) {
        Some(feed) => window.get(feed + 1..),
        None => (window.len() <= LOOK_BACK).then_some(window),
    }
}

/// Whether what stands directly before `position` may have a member, the end of a name, call or subscript, or is a dot.
pub(super) fn is_behind_operand(text: Text<'_>, position: usize) -> bool {
    let last = text.before(position).last();
    last.is_some_and(|byte| is_word_byte(*byte) || matches!(byte, b')' | b']' | b'.'))
}

/// Whether `position` begins a word. A splice before it counts as a boundary.
pub(super) fn begins_word(text: Text<'_>, position: usize) -> bool {
    !text
        .before(position)
        .last()
        .is_some_and(|byte| is_word_byte(*byte))
}

/// A logical line up to some position, of at most [`LOOK_BACK`] bytes.
struct Line<'a> {
    bytes: &'a [u8],
    /// Whether it begins and goes on there for every compiler in every mode; otherwise it may begin later.
    is_clear: bool,
}

/// The logical line up to `position`, the longest that any compiler reads; none where that is too long to tell.
fn line_before(text: Text<'_>, position: usize) -> Option<Line<'_>> {
    let before = text.before(position);
    let first = before.len().saturating_sub(LOOK_BACK);
    let mut start = before.len();
    let mut is_clear = true;
    loop {
        let head = before.get(first..start).unwrap_or_default();
        let Some(offset) = head.iter().rposition(|byte| *byte == b'\n') else {
            if first > 0 {
                return None;
            }
            start = 0;
            break;
        };
        match line_end(before.get(..first + offset).unwrap_or_default()) {
            LineEnd::Ends => {
                start = first + offset + 1;
                break;
            }
            LineEnd::Spliced => {}
            LineEnd::Unclear => is_clear = false,
        }
        start = first + offset;
    }
    let bytes = before.get(start..).unwrap_or_default();
    let mut returns = memchr::memchr_iter(b'\r', bytes);
    // One without a line feed ends a line for clang only.
    is_clear &= returns.all(|at| bytes.get(at + 1) == Some(&b'\n'));
    Some(Line { bytes, is_clear })
}

/// Whether `position`, unless it is in a comment or string, belongs to an `#if` or `#elif` that begins its logical
/// line, for every compiler in every mode; no for a line too long to tell.
pub(super) fn is_in_condition(text: Text<'_>, position: usize) -> bool {
    let Some(line) = line_before(text, position).filter(|line| line.is_clear) else {
        return false;
    };
    let Some(directive) = line.bytes.trim_ascii_start().strip_prefix(b"#") else {
        return false;
    };
    let directive = directive.trim_ascii_start();
    // Behind the end of a comment or of a raw string the directive may have begun on an earlier line.
    let ends_context = line.bytes.iter().any(|byte| matches!(byte, b'*' | b'"'));
    (directive.starts_with(b"if") || directive.starts_with(b"elif")) && !ends_context
}

/// Whether some compiler may expand the word at `position` in a directive, or have a macro stand for it. Certainly not
/// on a line that no directive begins on or goes on to, nor in one that expands nothing.
pub(super) fn may_be_in_directive(text: Text<'_>, position: usize) -> bool {
    /// What follows these is not expanded. `#include`, `#line` and `#if` expand what they are given.
    const INERT: [&[u8]; 10] = [
        b"ifdef",
        b"ifndef",
        b"elifdef",
        b"elifndef",
        b"else",
        b"endif",
        b"undef",
        b"error",
        b"warning",
        b"pragma",
    ];
    let Some(line) = line_before(text, position) else {
        return true;
    };
    let start = position - line.bytes.len();
    if !line.is_clear || may_leave_context(text, start, line.bytes) {
        return true;
    }
    let Some(hash) = next_solid(text, start) else {
        return false;
    };
    let directive = match hash {
        (b'#', after) => after,
        (b'%', after) => match text.next(after) {
            Some((b':', after)) => after,
            _ => return false,
        },
        (b'?', after) if text.from(after).starts_with(b"?=") => after + 2,
        _ => return false,
    };
    let Some((_, behind)) = next_solid(text, directive) else {
        return false;
    };
    let word = text.word(behind - 1);
    if word.end > position {
        return true;
    }
    let is_condition = matches!(word.as_bytes(), b"if" | b"elif");
    !INERT.contains(&word.as_bytes()) && !is_in_comment(line.bytes, is_condition)
}

/// Whether [`may_be_in_directive`] may hold anywhere on the physical line `line`: a quick look, which is enough for most.
pub(super) fn may_be_of_directive(text: Text<'_>, line: &Range<usize>) -> bool {
    let goes_on = line
        .start
        .checked_sub(1)
        .is_some_and(|feed| line_end(text.before(feed)) != LineEnd::Ends);
    if goes_on || line.len() > LOOK_BACK {
        return true;
    }
    let bytes = text.before(line.end).get(line.start..).unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let mut solid = bytes.iter().filter(|byte| !is_blank(**byte) && **byte < 0x80);
    if matches!(solid.next(), Some(b'#' | b'%' | b'?' | b'\\')) {
        return true;
    }
    // A comment or raw string may end here, a line for one compiler only.
    memchr::memchr3_iter(b'*', b'"', b'\r', bytes).any(|at| match bytes.get(at) {
        Some(b'*') => matches!(bytes.get(at + 1), Some(b'/' | b'\\' | b'?')),
        _ => true,
    })
}

/// Whether a comment or raw string that began on an earlier line may end on this one, which begins at `start`.
fn may_leave_context(text: Text<'_>, start: usize, line: &[u8]) -> bool {
    let ends_comment = |star: usize| matches!(text.next(start + star + 1), Some((b'/', _)));
    let parenthesis = memchr::memchr(b')', line).unwrap_or(line.len());
    memchr::memchr_iter(b'*', line).any(ends_comment)
        || memchr::memrchr(b'"', line).is_some_and(|quote| quote > parenthesis)
}

/// The first byte from `position` on that nobody takes for white space within a line, and the position behind it.
fn next_solid(text: Text<'_>, position: usize) -> Option<(u8, usize)> {
    let mut at = position;
    loop {
        let (byte, after) = text.next(at)?;
        if !is_blank(byte) && byte < 0x80 {
            return Some((byte, after));
        }
        at = after;
    }
}

/// Whether the end of a directive's `line`, on which no comment ends, is in a comment for certain. `//` begins one
/// unless the language is that of 1990, where a condition that has it is an error.
fn is_in_comment(line: &[u8], is_condition: bool) -> bool {
    let mut pairs = line.windows(2);
    let opens = |pair: &[u8]| pair == b"/*" || (is_condition && pair == b"//");
    let is_odd = |pair: &[u8]| matches!(pair.first(), Some(b'"' | b'\'' | b'<'));
    pairs.find(|pair| opens(pair) || is_odd(pair)).is_some_and(opens)
}

/// Whether `position` is on a line of prose in a block comment: behind a star that begins its line, and behind a `/*`
/// that begins a line before it and is not closed. Only a raw string that holds such text looks the same.
pub(super) fn is_in_block_of_prose(text: Text<'_>, position: usize) -> bool {
    let before = text.before(position);
    let window = before
        .get(before.len().saturating_sub(COMMENT_LOOK_BACK)..)
        .unwrap_or(before);
    let begins_line = |end: usize| {
        let head = without_blanks(window.get(..end).unwrap_or_default());
        head.is_empty() && window.len() == before.len() || head.ends_with(b"\n")
    };
    let line = memchr::memrchr(b'\n', window).map_or(0, |feed| feed + 1);
    let is_starred = window
        .get(line..)
        .unwrap_or_default()
        .trim_ascii_start()
        .starts_with(b"*");
    let opened = memchr::memmem::rfind(window, b"/*").filter(|opened| begins_line(*opened));
    let is_open = opened.is_some_and(|opened| memchr::memmem::find(&window[opened + 2..], b"*/").is_none());
    is_starred && is_open
}

/// Whether an odd number of unescaped quotes stands before `position` on its physical line, as inside a
/// string literal of C.
pub(super) fn is_in_string(text: Text<'_>, position: usize) -> bool {
    let before = text.before(position);
    let window = before
        .get(before.len().saturating_sub(LOOK_BACK)..)
        .unwrap_or(before);
    let line_start = window
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |line_end| line_end + 1);
    let line = window.get(line_start..).unwrap_or_default();
    let mut inside = false;
    let mut escaped = false;
    for byte in line {
        match byte {
            b'\\' => escaped = !escaped,
            b'"' if !escaped => inside = !inside,
            _ => escaped = false,
        }
        if *byte == b'"' {
            escaped = false;
        }
    }
    inside || (line_start == 0 && window.len() < before.len())
}

fn without_blanks(before: &[u8]) -> &[u8] {
    without_trailing(before, is_blank)
}

/// `before` less those of its last [`LOOK_BACK`] bytes that `is_left_out`.
fn without_trailing(before: &[u8], is_left_out: impl Fn(u8) -> bool) -> &[u8] {
    let last = before.iter().rev().take(LOOK_BACK);
    let count = last.take_while(|byte| is_left_out(**byte)).count();
    before.get(..before.len() - count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_is_passed_over_only_if_nothing_on_it_may_be_in_a_directive(
            text in "([#%:?/=\\\\*\"'()<>a_. \\x00\u{a0}\\r]{0,6}[\\\\?/\\* ]{0,3}\\r?\\n){0,6}[#%*\")(\\\\ a]{0,12}",
        ) {
            let text = Text::new(text.as_bytes());
            for line in text.lines().filter(|line| !may_be_of_directive(text, line)) {
                for position in line.clone() {
                    prop_assert!(!may_be_in_directive(text, position), "{position} on {line:?}");
                }
            }
        }
    }

    #[test]
    fn code_and_prose_are_passed_over() {
        for (line, expected) in [
            ("int x = a * b / c;\r\n", false),
            (" * what it is\n", false),
            ("call(a);\n", false),
            ("\n", false),
            (" # define X\n", true),
            (" */ #define X\n", true),
            ("x)y\" #if\n", true),
        ] {
            let text = Text::new(line.as_bytes());
            let first = text.lines().next().unwrap();
            assert_eq!(may_be_of_directive(text, &first), expected, "{line:?}");
        }
        let long = "x".repeat(LOOK_BACK + 1);
        assert!(may_be_of_directive(Text::new(long.as_bytes()), &(0..long.len())));
        assert!(may_be_of_directive(Text::new(b"a \\\nb"), &(4..5)));
    }
}
